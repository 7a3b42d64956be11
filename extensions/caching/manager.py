"""``cache_manager``: the cache of whichever app is at work, under one name for the whole process.

Keys are ``namespace:key``. What a namespace's values are computed from, and how long they live, is declared once for all
(``CACHE_NAMESPACES``), so that who reads need not know what the writer knew.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from flask import current_app

from extensions.caching.keys import Place

if TYPE_CHECKING:
    from extensions.caching import State

NAME: Final = "caching"


@dataclass(frozen=True, slots=True)
class Declared:
    """What holds for a namespace: the tags that clear its values, and their life (s; None: the default)."""

    tags: tuple[str, ...] = ()
    ttl_s: float | None = None


class CacheManager:
    """Needs an app context; keeps no state of its own.

    ``owner`` is whose value it is: by default what ``CACHE_OWNER`` says, in Haven the caller's agency.
    """

    def get(self, key: str, *, owner: str | None = None) -> Any:
        """The value; None where there is none."""
        return self._state().cache.get(self._place(key, owner))

    def set(self, key: str, value: Any, ttl: float | None = None, *, owner: str | None = None) -> bool:
        """Store a JSON value for ``ttl`` seconds; False where Redis could not take it."""
        return self._state().cache.set(self._place(key, owner), value, self._life(key, ttl))

    def delete(self, key: str, *, owner: str | None = None) -> bool:
        """Remove a value; whether there was one. Raises ``Unavailable`` where Redis cannot be told."""
        return self._state().cache.delete(self._place(key, owner))

    def get_or_compute(
        self, key: str, compute: Callable[[], Any], ttl: float | None = None, *, owner: str | None = None
    ) -> Any:
        """The value, computed once however many ask at the same time; computed for each while Redis is away."""
        return self._state().cache.get_or_compute(self._place(key, owner), compute, self._life(key, ttl))

    def invalidate_pattern(self, pattern: str, *, owner: str | None = None) -> int | None:
        """Remove what is like ``dashboard:*``; how many, or None where a new generation began. Raises ``Unavailable``."""
        return self._state().cache.clear_pattern(self._owner(owner), pattern)

    def invalidate_tags(self, tags: Iterable[str], *, owner: str | None = None) -> None:
        """Remove what was computed from any of the tags. Raises ``Unavailable``."""
        self._state().cache.clear_tags(self._owner(owner), tags)

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


def _split(key: str) -> tuple[str, str]:
    namespace, colon, rest = key.partition(":")
    return (namespace, rest) if colon else ("default", key)


cache_manager: Final = CacheManager()
