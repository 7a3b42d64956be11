-- Count a request in every window of KEYS, or in none where one of them has no room for it.
--
-- A window is cut into SLOTS slots, each with its own count; a slot counts until all of it has left the window, so no
-- span of the window's length ever has more than the limit. The hash of a window holds: a slot's number -> its count,
-- t: the sum, o: the oldest slot that may hold something, w: a slot's width in ms.
--
-- ARGV: SLOTS, how much the request counts (0: only look), then for each key its limit and its window (ms).
-- Returns: 1 or 0 (counted or not), then for each key what is left, and the ms until its oldest slot leaves.
--
-- Redis's own clock: that of all hosts.
local slots, amount = tonumber(ARGV[1]), tonumber(ARGV[2])
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local answer = {1}
local windows = {}

for i, key in ipairs(KEYS) do
    local limit = tonumber(ARGV[2 * i + 1])
    local width = math.max(1, math.floor(tonumber(ARGV[2 * i + 2]) / slots))
    local slot = math.floor(now / width)
    local first = slot - slots
    local held = redis.call('HMGET', key, 't', 'o', 'w')
    local total, oldest = tonumber(held[1]) or 0, tonumber(held[2]) or slot
    if tonumber(held[3]) ~= width or oldest + slots < first then
        -- Another window than before, or nothing in it is young enough.
        if held[1] then redis.call('DEL', key) end
        total, oldest = 0, slot
        redis.call('HSET', key, 't', 0, 'o', slot, 'w', width)
        redis.call('PEXPIRE', key, width * (slots + 2))
    else
        local start = oldest
        while oldest < slot do
            local count = redis.call('HGET', key, oldest)
            if count then
                if oldest >= first then break end
                total = total - count
                redis.call('HDEL', key, oldest)
            end
            oldest = oldest + 1
        end
        if oldest ~= start then redis.call('HSET', key, 't', total, 'o', oldest) end
    end
    if total + amount > limit then answer[1] = 0 end
    windows[i] = {slot = slot, total = total, limit = limit, life = width * (slots + 2)}
    answer[2 * i + 1] = (oldest + slots + 1) * width - now
end

for i, key in ipairs(KEYS) do
    local window = windows[i]
    if answer[1] == 1 and amount > 0 then
        -- The first count of a slot: the window lives until that has left it.
        if redis.call('HINCRBY', key, window.slot, amount) == amount then
            redis.call('PEXPIRE', key, window.life)
        end
        redis.call('HINCRBY', key, 't', amount)
        window.total = window.total + amount
    end
    answer[2 * i] = math.max(0, window.limit - window.total)
end
return answer
