"""What operators say and see: limits that are changed while all processes run, and who was refused."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any, Final

import redis

from extensions.rate_limiting.refusals import Refusals, Refused
from extensions.rate_limiting.rules import Limits, Rule

SYNC_EVERY_S: Final = 2.0
"""How old what this process knows of operators' limits may be."""
_IN_FORCE: Final = "in force"
"""A field of the overrides that is there whenever they are: without it Redis has lost them."""

Restore = Callable[[], Mapping[str, str]]


class Control:
    """Of one process: the limits in force, and the refusals.

    Args:
        client: the Redis by which processes tell each other; None: this one is alone.
        restore: what operators have said, from where it is kept safely; asked when Redis has lost it. A
            ``LookupError`` says that it cannot be read now.
    """

    def __init__(
        self, limits: Limits, client: redis.Redis | None, prefix: str, restore: Restore | None = None
    ) -> None:
        self.limits = limits
        self.refusals = Refusals(time.time, prefix)
        self._client = client
        self._overrides_name = f"{prefix}:overrides"
        self._restore = restore
        self._sync_at = 0.0

    def override(self, texts: Mapping[str, str]) -> None:
        """Put ``texts`` (class → rule) in force in every process, instead of what was overridden before.

        Raises:
            ValueError: one is no rule, or of no class.
            redis.RedisError: Redis does not answer; nothing has changed.
        """
        for name, text in texts.items():
            if name not in self.limits.settings:
                raise ValueError(f"There is no limit {name!r}; there are {', '.join(self.limits.settings)}.")
            Rule.parse(text)
        if self._client is not None:
            self._store(texts)
        self.limits.override(texts)

    def sync(self, *, now: bool = False) -> None:
        """Learn what operators have said, and tell Redis who was refused: every two seconds, in one round trip."""
        if self._client is None or (time.monotonic() < self._sync_at and not now):
            return
        # Set first: of the threads of a process one syncs.
        self._sync_at = time.monotonic() + SYNC_EVERY_S
        pipeline = self._client.pipeline(transaction=False)
        take_back = self.refusals.send(pipeline)
        pipeline.hgetall(self._overrides_name)
        try:
            stored = pipeline.execute()[-1]
            texts = {name.decode(): text.decode() for name, text in stored.items()}
            if texts.pop(_IN_FORCE, None) is None and self._restore is not None:
                texts = dict(self._restore())
                self._store(texts)
        except redis.RedisError:
            # What was in force before stays so.
            take_back()
            return
        except LookupError:
            return
        self.limits.override(texts)

    def last_hour(self) -> tuple[Refused, bool]:
        """Who was refused in the last hour, and whether that is of all processes or of this one alone."""
        if self._client is not None:
            self.sync(now=True)
            try:
                return self.refusals.last_hour_of_all(self._client), True
            except redis.RedisError:
                pass
        return self.refusals.last_hour(), False

    def _store(self, texts: Mapping[str, str]) -> None:
        assert self._client is not None
        pipeline = self._client.pipeline()
        pipeline.delete(self._overrides_name)
        stored: dict[Any, Any] = {_IN_FORCE: "1", **texts}
        pipeline.hset(self._overrides_name, mapping=stored)
        pipeline.execute()
