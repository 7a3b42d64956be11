"""Our windows as a storage of `limits`: in Redis, in the memory of the process while Redis is away."""

from __future__ import annotations

import logging
import time
from typing import Final, NoReturn

import redis
from limits.storage import Storage

from extensions.addresses import SCHEMES
from extensions.hold_off import guarded_redis
from extensions.rate_limiting.counting import LocalWindows, Rules, SharedWindows, Verdict

log = logging.getLogger(__name__)
SCHEME: Final = "windows"
_IN_MEMORY: Final = f"{SCHEME}+memory"


class WindowStorage(Storage):
    """Counts, and never fails: while Redis does not answer each process has windows of its own.

    Args:
        uri: ``windows+`` and one of ``addresses``' kinds, or ``windows+memory://``. Connects at first use.
        prefix: what its keys in Redis begin with.
        timeout_ms: the longest wait for Redis, until the hold-off spares the requests that come after.
    """

    STORAGE_SCHEME = [_IN_MEMORY, *(f"{SCHEME}+{one}" for one in SCHEMES)]  # noqa: RUF012  theirs

    def __init__(
        self,
        uri: str = f"{_IN_MEMORY}://",
        wrap_exceptions: bool = False,
        prefix: str = "limit",
        timeout_ms: int = 250,
    ) -> None:
        super().__init__(uri, wrap_exceptions)
        url = uri.removeprefix(f"{SCHEME}+")
        in_memory = uri.startswith(_IN_MEMORY)
        self.client: redis.Redis | None = None if in_memory else guarded_redis(url, timeout_ms / 1000)
        self.counts_in_memory = in_memory
        self._shared = None if self.client is None else SharedWindows(self.client, prefix)
        self._local = LocalWindows(time.monotonic)

    def take(self, caller: str, rules: Rules, amount: int = 1) -> Verdict:
        """Count a request in all its limits or in none, in one round trip; 0: only look."""
        if self._shared is not None:
            try:
                verdict = self._shared.take(caller, rules, amount)
            except redis.RedisError as error:
                if not self.counts_in_memory:
                    log.warning("limits are counted in the memory of each process: %s", error)
                self.counts_in_memory = True
            else:
                self.counts_in_memory = False
                return verdict
        return self._local.take(caller, rules, amount)

    def packed(self, caller: str, rules: Rules) -> bytes | None:
        """``take`` as a command to be sent with others; None while the count is not in Redis."""
        if self._shared is None or self.counts_in_memory:
            return None
        return self._shared.packed(caller, rules)

    def forget(self, caller: str, rules: Rules) -> None:
        """Give a caller all of these limits back.

        Raises:
            redis.RedisError: Redis does not answer.
        """
        names = [name for name, _ in rules]
        self._local.forget(caller, names)
        if self._shared is not None:
            self._shared.forget(caller, names)

    def release(self) -> int:
        """Let go of the windows in memory; how many."""
        return self._local.clear()

    # What `limits` asks of a storage

    @property
    def base_exceptions(self) -> type[Exception]:
        return redis.RedisError

    def check(self) -> bool:
        """Whether the count is where it should be."""
        return self.client is None or not self.counts_in_memory

    def reset(self) -> int:
        """Forget every window; how many there were.

        Raises:
            redis.RedisError: Redis does not answer.
        """
        return self._local.clear() + (0 if self._shared is None else self._shared.clear())

    def incr(self, key: str, expiry: int, amount: int = 1) -> NoReturn:  # noqa: ARG002
        _is_no_counter()

    def get(self, key: str) -> NoReturn:  # noqa: ARG002
        _is_no_counter()

    def get_expiry(self, key: str) -> NoReturn:  # noqa: ARG002
        _is_no_counter()

    def clear(self, key: str) -> NoReturn:  # noqa: ARG002
        _is_no_counter()


def _is_no_counter() -> NoReturn:
    raise NotImplementedError(f"This storage has windows, no counters: take the strategy `{SCHEME}`.")
