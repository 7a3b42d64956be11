"""The pace of status queries: Safaricom's sandbox allows five in 60 seconds with a burst of one (measured)."""

from __future__ import annotations

from typing import Any, Final

DEFAULT_INTERVAL_S: Final = 12.0

# One key holds when the next query may go. Redis's clock decides, so all processes share one.
_RESERVE: Final = """
local now = redis.call('time')
local now_ms = now[1] * 1000 + math.floor(now[2] / 1000)
local next_ms = tonumber(redis.call('get', KEYS[1]) or '0')
if next_ms > now_ms then return next_ms - now_ms end
redis.call('set', KEYS[1], now_ms + ARGV[1], 'PX', ARGV[1])
return 0
"""


class QueryPace:
    """Lets one status query of a shortcode go in each ``interval_s`` seconds, over all processes."""

    def __init__(self, redis: Any, interval_s: float = DEFAULT_INTERVAL_S) -> None:
        self._redis = redis
        self._interval_ms = max(1, int(interval_s * 1000))

    def reserve(self, shortcode: str) -> float:
        """0.0 when a query may go now (the place is then taken), else the seconds to wait before asking again.

        Raises:
            redis.exceptions.RedisError: Redis is away; a query that is not paced is better put off.
        """
        return float(self._redis.eval(_RESERVE, 1, f"mpesa:query:{shortcode}", self._interval_ms)) / 1000
