"""One M-Pesa access token for all processes.

Each token request kills the token before it, so a token of one's own in each process means that they take
turns in breaking each other. The token is kept in Redis; whoever finds none fetches one under a lock while
the rest wait for it. When Redis is away each process falls back to a token of its own and lives with that.
"""

from __future__ import annotations

import hashlib
import logging
import secrets
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Final

from redis.exceptions import RedisError

from haven.payments.mpesa.answers import AccessToken

_log = logging.getLogger(__name__)

MARGIN_S: Final = 60
"""A token is given up this many seconds before its end, so that none dies on its way."""
_POLL_S: Final = 0.05
_REDIS_REST_S: Final = 5.0
_DELETE_IF_SAME: Final = """
if redis.call('get', KEYS[1]) == ARGV[1] then return redis.call('del', KEYS[1]) end
return 0
"""


@dataclass(slots=True)
class _Own:
    """A token only this process knows, until ``ends_at``, and how long Redis is left alone (monotonic seconds)."""

    lock: threading.Lock = field(default_factory=threading.Lock)
    value: str | None = None
    ends_at: float = 0.0
    redis_away_until: float = 0.0

    def get(self) -> str | None:
        return self.value if time.monotonic() < self.ends_at else None

    def keep(self, token: AccessToken) -> None:
        self.value, self.ends_at = token.value, time.monotonic() + _usable_s(token)


# By key, for all stores of the process: a client may be made for each call, and each fetch ends the last token.
_OWN: Final[dict[str, _Own]] = {}


class TokenStore:
    """The shared token of one set of credentials.

    Args:
        identity: what the token belongs to (address and credentials); only its hash reaches Redis.
        fetch: asks the provider for a new token; what it raises is raised by :meth:`get`.
        redis: the shared store, None for none. Give its client socket time-outs.
        lock_s: seconds a fetch may take before another process stops waiting for it.
    """

    def __init__(self, identity: str, fetch: Callable[[], AccessToken], redis: Any, lock_s: float) -> None:
        self._key = "mpesa:token:" + hashlib.sha256(identity.encode()).hexdigest()[:32]
        self._fetch = fetch
        self._redis = redis
        self._lock_s = lock_s
        self._own = _OWN.setdefault(self._key, _Own())

    def get(self) -> str:
        """A token that is good as far as anyone knows."""
        if self._redis is not None and time.monotonic() >= self._own.redis_away_until:
            try:
                return self._shared()
            except RedisError as error:
                # Each try may cost the client's time-outs and retries, and a payer is waiting.
                self._own.redis_away_until = time.monotonic() + _REDIS_REST_S
                _log.warning("Redis is away (%s); using a token of this process", type(error).__name__)
        return self._unshared()

    def discard(self, value: str) -> None:
        """Forget a token the provider refused, unless another process has put a newer one in its place."""
        with self._own.lock:
            if self._own.value == value:
                self._own.value = None
        if self._redis is not None and time.monotonic() >= self._own.redis_away_until:
            try:
                self._redis.eval(_DELETE_IF_SAME, 1, self._key, value)
            except RedisError as error:
                _log.warning("Redis is away (%s); the refused token stays there", type(error).__name__)

    def _shared(self) -> str:
        lock, holder = f"{self._key}:lock", secrets.token_hex(8)
        give_up_at = time.monotonic() + self._lock_s
        while time.monotonic() < give_up_at:
            known = self._read()
            if known is not None:
                return known
            if self._redis.set(lock, holder, nx=True, px=int(self._lock_s * 1000)):
                try:
                    return self._read() or self._fetch_shared()
                finally:
                    self._release(lock, holder)
            time.sleep(_POLL_S)
        return self._fetch_shared()

    def _read(self) -> str | None:
        value = self._redis.get(self._key)
        return value.decode() if isinstance(value, bytes) else value

    def _fetch_shared(self) -> str:
        token = self._fetch()
        try:
            self._redis.set(self._key, token.value, px=int(_usable_s(token) * 1000))
        except RedisError:
            with self._own.lock:
                self._own.keep(token)
        return token.value

    def _release(self, lock: str, holder: str) -> None:
        try:
            self._redis.eval(_DELETE_IF_SAME, 1, lock, holder)
        except RedisError:
            _log.warning("Redis went away while a token was fetched; its lock ends by itself")

    def _unshared(self) -> str:
        with self._own.lock:
            known = self._own.get()
            if known is not None:
                return known
            token = self._fetch()
            self._own.keep(token)
            return token.value


def _usable_s(token: AccessToken) -> float:
    """Seconds a token is used for: its life less the margin, or half of a very short life."""
    return max(token.life_s - MARGIN_S, token.life_s / 2, 0.001)
