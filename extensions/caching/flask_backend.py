"""Flask-Caching on this store: what ``@cache.cached`` and ``@cache.memoize`` keep is kept here.

So it has our keys, generations and statistics, belongs to whoever ``CACHE_OWNER`` says, is bounded in size and life, never
pickled, and never raises because of Redis: what cannot be read is computed, what cannot be stored is not.
"""

from __future__ import annotations

import datetime as dt
import logging
from typing import TYPE_CHECKING, Any, Final

from flask import Flask
from flask_caching.backends.base import BaseCache

from extensions.caching.counters import increment
from extensions.caching.keys import Place
from extensions.caching.link import Unavailable
from extensions.caching.manager import NAME, Declared
from extensions.caching.typed_values import decode, encode, is_storable

if TYPE_CHECKING:
    from extensions.caching import State

log = logging.getLogger(__name__)

NAMESPACE: Final = "flask"
CACHE_TYPE: Final = "extensions.caching.flask_backend.Backend"
"""What a ``flask_caching.Cache`` of one's own says, on an app that ``Caching`` is part of."""
_LONGEST_S: Final = 7 * 86_400
"""A life of 0 is "for ever" to Flask-Caching; a generation, which everything stored belongs to, lasts eight days."""

Life = int | dt.timedelta | None


class Backend(BaseCache):
    """What Flask-Caching asks of a store. Keys are of the caller's owner (``CACHE_OWNER``), in the namespace ``flask``."""

    def __init__(self, state: State, default_timeout: int, *, ignores_errors: bool) -> None:
        super().__init__(default_timeout, ignores_errors)
        self._cache = state.cache
        self._owner = state.owner
        self._tags = state.namespaces.get(NAMESPACE, Declared()).tags

    @classmethod
    def factory(cls, app: Flask, config: dict[str, Any], args: list[Any], kwargs: dict[str, Any]) -> Backend:  # noqa: ARG003
        """The backend of ``app``; called by Flask-Caching.

        Raises:
            RuntimeError: ``Caching`` is no part of the app (yet).
        """
        if NAME not in app.extensions:
            raise RuntimeError(f"CACHE_TYPE {CACHE_TYPE} needs the extension: call Caching(app) first.")
        ignores_errors = bool(kwargs["ignore_delete_many_errors"])
        return cls(app.extensions[NAME], kwargs["default_timeout"], ignores_errors=ignores_errors)

    def get(self, key: str) -> Any:
        """The value; None where there is none, and while Redis is away."""
        return decode(self._cache.get(self._place(key)))

    def has(self, key: str) -> bool:
        return self._cache.has(self._place(key))

    def set(self, key: str, value: Any, timeout: Life = None) -> bool:
        """Whether it is stored. A value that could not come back as it is, is a ``TypeError``."""
        return self._set(key, value, timeout, only_new=False)

    def add(self, key: str, value: Any, timeout: Life = None) -> bool:
        """The same where nothing is stored; of many who add at once one succeeds."""
        return self._set(key, value, timeout, only_new=True)

    def delete(self, key: str) -> bool:
        """Whether there was one, and is none any more."""
        return bool(self._removed(key))

    def delete_many(self, *keys: str) -> list[Any]:
        """The keys at which there is nothing any more: all but those that Redis could not be told of."""
        return [key for key in keys if self._removed(key) is not None]

    def clear(self) -> bool:
        """Begin a new generation of all that Flask-Caching keeps for this owner: one step, however much it is."""
        try:
            self._cache.clear_pattern(self._owner(), f"{NAMESPACE}:*")
        except Unavailable:
            log.warning("Redis is away: what Flask-Caching has stored for %s is not cleared", self._owner())
            return False
        return True

    def inc(self, key: str, delta: int = 1) -> int | None:
        """The number then, in one step for all processes; None where Redis could not do it."""
        return increment(self._cache, self._place(key), delta, self._life_s(None))

    def dec(self, key: str, delta: int = 1) -> int | None:
        return self.inc(key, -delta)

    def _set(self, key: str, value: Any, timeout: Life, *, only_new: bool) -> bool:
        if not is_storable(value):
            return False
        life_s = self._life_s(timeout)
        return self._cache.set_exactly(self._place(key), encode(value), life_s, only_new=only_new)

    def _removed(self, key: str) -> bool | None:
        """Whether there was something to remove; None where Redis cannot be told."""
        try:
            return self._cache.delete(self._place(key))
        except Unavailable:
            log.warning("Redis is away: %r, stored by Flask-Caching, is not removed", key)
            return None

    def _place(self, key: str) -> Place:
        return Place(self._owner(), NAMESPACE, key, self._tags)

    def _life_s(self, timeout: Life) -> int:
        life_s: int = self._normalize_timeout(timeout)
        return min(life_s, _LONGEST_S) if life_s > 0 else _LONGEST_S
