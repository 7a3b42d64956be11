"""Makes a cache, and has an engine's writes clear it. No Flask: workers need it as much as web processes."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final

from sqlalchemy import Engine

from extensions.caching.cache import Cache, Rules
from extensions.caching.debts import DebtTable, Settle
from extensions.caching.keys import EVERYTHING, Keys
from extensions.caching.link import Link, Unavailable
from extensions.caching.writes import Writes

TIMEOUT_S: Final = 0.2


def build_cache(
    url: str, rules: Rules | None = None, prefix: str = "haven", timeout_s: float = TIMEOUT_S
) -> Cache:
    """A cache over the Redis at ``url``; it connects at first use."""
    return Cache(Link(url, timeout_s), Keys(prefix), rules)


def watch_writes(
    cache: Cache, engine: Engine, clears: Mapping[str, Iterable[str]], *, debts: bool = False
) -> None:
    """Clear tags when a transaction of ``engine`` that wrote their tables commits.

    Args:
        clears: table → tags.
        debts: the database has the table ``cache_debt``; without it, what is written while Redis is away shows when the
            stored values end.
    """
    if debts:
        # Everything of the owner: by the time it is settled nobody knows any more which tags it was.
        cache.debts = DebtTable(engine, _settle_with(cache), Unavailable)
    Writes(cache.generations, cache.debts, clears).watch(engine)


def _settle_with(cache: Cache) -> Settle:
    def settle(owner: str, tags: list[str], token: str) -> None:
        if tags:
            cache.generations.settle(owner, tags, token)
        cache.generations.clear(owner, [EVERYTHING])

    return settle
