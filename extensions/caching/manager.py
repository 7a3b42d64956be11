"""``cache_manager``: the cache of whichever app is at work, under one name for the whole process.

Keys are ``namespace:key``. What a namespace's values are computed from, and how long they live, is declared once for all
(``CACHE_NAMESPACES``), so that who reads need not know what the writer knew.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from flask import current_app

from extensions.caching.keys import Place
from extensions.caching.statistics import HITS
from extensions.caching.values import Entry, from_json, to_json

if TYPE_CHECKING:
    from extensions.caching import State

NAME: Final = "caching"


@dataclass(frozen=True, slots=True)
class Declared:
    """What holds for a namespace.

    ``tags`` clear its values; ``ttl_s`` is their life (None: the default). For ``unasked_s`` a process serves a value that it
    has just had from its own memory, without asking Redis: what others change or clear meanwhile it serves as it was. 0, as
    long as nobody declares otherwise: nothing is ever served that was cleared.
    """

    tags: tuple[str, ...] = ()
    ttl_s: float | None = None
    unasked_s: float = 0


class CacheManager:
    """Needs an app context; keeps no state of its own.

    ``owner`` is whose value it is: by default what ``CACHE_OWNER`` says, in Haven the caller's agency.
    """

    def get(self, key: str, *, owner: str | None = None) -> Any:
        """The value; None where there is none."""
        place = self._place(key, owner)
        return self._lately(place, lambda: self._state().cache.get(place))

    def set(self, key: str, value: Any, ttl: float | None = None, *, owner: str | None = None) -> bool:
        """Store a JSON value for ``ttl`` seconds; False where Redis could not take it."""
        place = self._place(key, owner)
        self._state().cache.local.drop(_near(place))
        return self._state().cache.set(place, value, self._life(key, ttl))

    def delete(self, key: str, *, owner: str | None = None) -> bool:
        """Remove a value; whether there was one. Raises ``Unavailable`` where Redis cannot be told."""
        place = self._place(key, owner)
        self._state().cache.local.drop(_near(place))
        return self._state().cache.delete(place)

    def get_or_compute(
        self, key: str, compute: Callable[[], Any], ttl: float | None = None, *, owner: str | None = None
    ) -> Any:
        """The value, computed once however many ask at the same time; computed for each while Redis is away."""
        place, life_s = self._place(key, owner), self._life(key, ttl)
        return self._lately(place, lambda: self._state().cache.get_or_compute(place, compute, life_s))

    def invalidate_pattern(self, pattern: str, *, owner: str | None = None) -> int | None:
        """Remove what is like ``dashboard:*``; how many, or None where a new generation began. Raises ``Unavailable``."""
        return self._state().cache.clear_pattern(self._owner(owner), pattern)

    def invalidate_tags(self, tags: Iterable[str], *, owner: str | None = None) -> None:
        """Remove what was computed from any of the tags. Raises ``Unavailable``."""
        self._state().cache.clear_tags(self._owner(owner), tags)

    def _lately(self, place: Place, ask: Callable[[], Any]) -> Any:
        """What this process was told less than ``unasked_s`` ago, where its namespace allows that; else what it is told now."""
        cache, unasked_s = self._state().cache, self._declared(place.namespace).unasked_s
        if not unasked_s or not cache.rules.is_on:
            return ask()
        known = cache.local.get(_near(place))
        if known is not None and not known.is_expired():
            cache.statistics.count(place.owner, place.namespace, HITS)
            return from_json(known.body)
        value = ask()
        if value is not None:
            cache.local.put(_near(place), Entry(time.time(), unasked_s, 0, b"", to_json(value)))
        return value

    def _place(self, key: str, owner: str | None) -> Place:
        namespace, rest = _split(key)
        return Place(self._owner(owner), namespace, rest, self._declared(namespace).tags)

    def _life(self, key: str, ttl: float | None) -> float | None:
        return self._declared(_split(key)[0]).ttl_s if ttl is None else ttl

    def _declared(self, namespace: str) -> Declared:
        return self._state().namespaces.get(namespace, Declared())

    def _owner(self, owner: str | None) -> str:
        return self._state().owner() if owner is None else owner

    @staticmethod
    def _state() -> State:
        found: State = current_app.extensions[NAME]
        return found


def _near(place: Place) -> str:
    """Where a process keeps what it serves unasked. No stored answer has such a key: theirs begin with the prefix."""
    return f"\0{place.owner}\0{place.namespace}\0{place.key}"


def _split(key: str) -> tuple[str, str]:
    namespace, colon, rest = key.partition(":")
    return (namespace, rest) if colon else ("default", key)


cache_manager: Final = CacheManager()
