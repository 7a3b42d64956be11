"""A circuit in Redis, one for all processes: the same state machine as ``local``, in Lua, so each step is one."""

from __future__ import annotations

import time
from collections.abc import Iterable
from typing import Any, Final

from extensions.circuit_breaker.rules import Decision, Outcome, Rules, Standing, State

_KEPT_MS: Final = 86_400_000
"""A circuit that nobody has used for a day is forgotten, and closed."""
_ROLL: Final = "breakers"
"""The names of all circuits, by when they were last used."""
_ENROLLED_S: Final = 3600
_ENROLLED_MOST: Final = 1000

# Times are Redis's own, which all hosts share, in milliseconds; a test may say what time it is.
_COMMON: Final = """
local circuit, calls, leases = KEYS[1], KEYS[2], KEYS[3]
local now = tonumber(ARGV[1])
if not now then
  local time = redis.call('TIME')
  now = time[1] * 1000 + math.floor(time[2] / 1000)
end
local read = redis.call('HMGET', circuit, 'state', 'generation', 'opened_at', 'passed')
local state, generation = read[1] or 'closed', tonumber(read[2] or '0')
local opened_at, passed = tonumber(read[3] or '0'), tonumber(read[4] or '0')
local was = state

local function enter(new)
  state, generation = new, generation + 1
  redis.call('HSET', circuit, 'state', new, 'generation', generation, 'passed', 0, 'opened_at', now)
  redis.call('PEXPIRE', circuit, KEPT_MS)
  redis.call('DEL', calls, leases)
  passed = 0
end

local function answer(may_go, wait_ms)
  return {may_go, was, state, generation, wait_ms}
end
""".replace("KEPT_MS", str(_KEPT_MS))

_ASK: Final = (
    _COMMON
    + """
local permit, open_ms, probes, lease_ms = ARGV[2], tonumber(ARGV[3]), tonumber(ARGV[4]), tonumber(ARGV[5])
if state == 'open' then
  -- A clock that was put back must not keep it open until it has caught up.
  if opened_at > now then
    opened_at = now
    redis.call('HSET', circuit, 'opened_at', now)
  end
  local left = opened_at + open_ms - now
  if left > 0 then return answer(0, left) end
  enter('half_open')
end
if state == 'closed' then return answer(1, 0) end
redis.call('ZREMRANGEBYSCORE', leases, '-inf', now)
if redis.call('ZCARD', leases) + passed >= probes then
  local first = redis.call('ZRANGE', leases, 0, 0, 'WITHSCORES')
  return answer(0, tonumber(first[2]) - now)
end
redis.call('ZADD', leases, now + lease_ms, permit)
redis.call('PEXPIRE', leases, KEPT_MS)
return answer(1, 0)
""".replace("KEPT_MS", str(_KEPT_MS))
)

_TELL: Final = (
    _COMMON
    + """
local permit, told, failed, slow, is_bad = ARGV[2], tonumber(ARGV[3]), ARGV[4], ARGV[5], ARGV[6] == '1'
local counts, probes = ARGV[7] == '1', tonumber(ARGV[8])
local window_ms, window_calls, minimum = tonumber(ARGV[9]), tonumber(ARGV[10]), tonumber(ARGV[11])
local failure_rate, slow_rate = tonumber(ARGV[12]), tonumber(ARGV[13])
if told ~= generation then return answer(1, 0) end
if state == 'half_open' then
  local was_leased = redis.call('ZREM', leases, permit) == 1
  if is_bad then
    enter('open')
  elseif was_leased and counts then
    passed = redis.call('HINCRBY', circuit, 'passed', 1)
    if passed >= probes then enter('closed') end
  end
elseif state == 'closed' and counts then
  redis.call('LPUSH', calls, failed .. slow .. now)
  redis.call('LTRIM', calls, 0, window_calls - 1)
  redis.call('PEXPIRE', calls, KEPT_MS)
  local total, failures, slows = 0, 0, 0
  for _, call in ipairs(redis.call('LRANGE', calls, 0, -1)) do
    if window_ms == 0 or tonumber(string.sub(call, 3)) > now - window_ms then
      total = total + 1
      failures = failures + tonumber(string.sub(call, 1, 1))
      slows = slows + tonumber(string.sub(call, 2, 2))
    end
  end
  if total >= minimum and (failures >= failure_rate * total or slows >= slow_rate * total) then enter('open') end
end
return answer(1, 0)
""".replace("KEPT_MS", str(_KEPT_MS))
)


class SharedCircuit:
    """See ``Circuit``. Every method may raise ``redis.RedisError``.

    Args:
        redis: a client with socket time-outs.
        now_ms: the clock of a test; Redis's own when not given.
    """

    def __init__(self, name: str, rules: Rules, redis: Any, now_ms: Any = None) -> None:
        self._keys = _keys(name)
        self._rules = rules
        self._redis = redis
        self._ask = redis.register_script(_ASK)
        self._tell = redis.register_script(_TELL)
        self._now_ms = now_ms or (lambda: "")
        self._name = name
        self._enrolled_until = float("-inf")

    def ask(self, permit: str) -> Decision:
        self._enrol()
        rules = self._rules
        arguments = [permit, _ms(rules.open_s), rules.probes, _ms(rules.probe_lease_s)]
        return _decision(self._ask(self._keys, [self._now_ms(), *arguments]))

    def tell(self, permit: str, generation: int, outcome: Outcome) -> Decision:
        rules = self._rules
        said = [int(outcome.is_failure), int(outcome.is_slow), int(rules.is_bad_probe(outcome))]
        counts = int(outcome is not Outcome.ABANDONED)
        window = [_ms(rules.window_s), rules.window_calls, rules.minimum_calls]
        rates = [rules.failure_rate, rules.slow_call_rate]
        arguments = [permit, generation, *said, counts, rules.probes, *window, *rates]
        return _decision(self._tell(self._keys, [self._now_ms(), *arguments]))

    def state(self) -> State:
        found = self._redis.hget(self._keys[0], "state")
        return State(_text(found)) if found else State.CLOSED

    def _enrol(self) -> None:
        """Be found by ``enrolled``: once an hour."""
        if time.monotonic() < self._enrolled_until:
            return
        pipe = self._redis.pipeline(transaction=False)
        pipe.zadd(_ROLL, {self._name: time.time()})
        pipe.zremrangebyscore(_ROLL, "-inf", time.time() - _KEPT_MS / 1000)
        pipe.zremrangebyrank(_ROLL, 0, -_ENROLLED_MOST - 1)
        pipe.execute()
        self._enrolled_until = time.monotonic() + _ENROLLED_S


def enrolled(redis: Any, most: int) -> list[str]:
    """The names of the circuits that any process has used in the last day, the latest first."""
    return [_text(name) for name in redis.zrevrange(_ROLL, 0, most - 1)]


def standings(redis: Any, names: Iterable[str], rules: Rules) -> dict[str, Standing]:
    """How these circuits stand, in one round trip. The window is cut by this host's clock: a cluster has no common one."""
    asked = list(names)
    pipe = redis.pipeline(transaction=False)
    for name in asked:
        circuit, calls, _ = _keys(name)
        pipe.hget(circuit, "state")
        pipe.lrange(calls, 0, rules.window_calls - 1)
    found = pipe.execute()
    oldest_ms = time.time() * 1000 - _ms(rules.window_s) if rules.window_s else float("-inf")
    pairs = zip(found[::2], found[1::2], strict=True)
    return {
        name: _standing(state, calls, oldest_ms) for name, (state, calls) in zip(asked, pairs, strict=True)
    }


def _standing(state: bytes | str | None, calls: list[bytes | str], oldest_ms: float) -> Standing:
    # A call is written as "failed" and "slow", 0 or 1 each, and its time.
    counted = [call for call in map(_text, calls) if int(call[2:]) > oldest_ms]
    failed, slow = (sum(call[place] == "1" for call in counted) for place in (0, 1))
    return Standing(State(_text(state)) if state else State.CLOSED, len(counted), failed, slow)


def _keys(name: str) -> list[str]:
    # The braces keep the three in one slot of a cluster, where a script may use them together.
    return [f"breaker:{{{name}}}", f"breaker:{{{name}}}:calls", f"breaker:{{{name}}}:leases"]


def _ms(seconds: float) -> int:
    return round(seconds * 1000)


def _text(value: bytes | str) -> str:
    return value.decode() if isinstance(value, bytes) else value


def _decision(answer: list[Any]) -> Decision:
    may_go, was, state, generation, wait_ms = answer
    return Decision(
        bool(may_go), State(_text(was)), State(_text(state)), int(generation), float(wait_ms) / 1000
    )
