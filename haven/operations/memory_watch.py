"""Memory of processes that serve no web requests: workers and the clock, watched and told of as the web processes are."""

from __future__ import annotations

from typing import Final

from config import Settings
from extensions.hold_off import guarded_redis
from extensions.memory import Rules, Store, Thresholds, Watcher
from extensions.memory.family import Family
from extensions.memory.watcher import Role

_EXTENSION: Final = "extensions.memory:Memory"
_watched: list[Watcher] = []
"""Kept for the life of the process: a watcher that nobody holds stops."""


def watch_memory(settings: Settings, role: Role, root: int) -> Watcher | None:
    """Watch this process from here on; None where the extension is not wanted.

    Args:
        root: the pid of the first process of the program, whose processes share MEMORY_LIMIT.
    """
    if _EXTENSION not in settings.extensions:
        return None
    # A client of its own: a job's process that is forked meanwhile shares no lock with this thread.
    store = Store(guarded_redis(settings.redis_url, settings.redis_timeout / 1000))
    watcher = Watcher(rules_of(settings), store, role, family=Family(root))
    watcher.start()
    _watched[:] = [watcher]
    return watcher


def rules_of(settings: Settings) -> Rules:
    """How memory is watched, as the settings say. A worker that grows too large is the pool's to replace."""
    thresholds = Thresholds(
        settings.memory_warning / 100, settings.memory_critical / 100, settings.memory_emergency / 100
    )
    return Rules(
        limit_bytes=settings.memory_limit,
        thresholds=thresholds,
        interval_s=settings.memory_monitoring_interval / 1000,
        gc_threshold=settings.memory_gc_threshold,
    )
