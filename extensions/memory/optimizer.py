"""``memory_optimizer``: the memory of the current app's processes, for any code in the process."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Final

from flask import current_app

from extensions.memory.advice import Advice, advise
from extensions.memory.relief import Hook
from extensions.memory.watcher import Watcher

NAME: Final = "memory"
INTERVAL_LEAST_MS: Final = 1000


@dataclass(slots=True)
class State:
    """The memory of one app. ``watcher.retire`` is for who can end this process and have another started."""

    watcher: Watcher

    def on_pressure(self, hook: Hook) -> None:
        """Call ``hook(pressure)``, from 0 to 1, when memory is short; it lets go of what it can, and says how many bytes."""
        self.watcher.relief.add(hook)

    def stats(self) -> dict[str, Any]:
        """See ``MemoryOptimizer.get_memory_stats``."""
        return memory_stats(self.watcher)

    def recommendations(self, stats: Mapping[str, Any], settings: Mapping[str, Any]) -> list[Advice]:
        """See ``MemoryOptimizer.get_optimization_recommendations``."""
        return advise(stats, settings, self.watcher.gc_share)


def memory_stats(watcher: Watcher) -> dict[str, Any]:
    """What ``watcher`` knows of its own process, and Redis of the others."""
    watcher.refresh()
    own = watcher.report()
    told = watcher.store.read()
    me = (own["host"], own["pid"])
    others = [one for one in told or () if (one["host"], one["pid"]) != me]
    limit, pressure = watcher.limit, watcher.limit.pressure()
    return {
        "limit_bytes": limit.bytes,
        "limit_source": limit.source,
        "used_bytes": watcher.used_bytes,
        "share": round(watcher.share, 4),
        "level": watcher.level.name,
        "pressure": pressure._asdict() if pressure else None,
        "thresholds": asdict(watcher.rules.thresholds),
        "processes": sorted([own, *others], key=lambda one: (one["host"], one["role"], one["pid"])),
        "system": watcher.system._asdict(),
        "missing": ["other processes (Redis is away)"] if told is None and watcher.store.is_there else [],
    }


class MemoryOptimizer:
    """Of the current app; each method needs an app context."""

    def start_monitoring(self, interval_ms: float = 60_000) -> None:
        """Watch this process from here on; else its first request begins that. The limit is looked at four times a second, USS each interval.

        Raises:
            ValueError: an interval under 1000 ms.
        """
        if interval_ms < INTERVAL_LEAST_MS:
            raise ValueError("interval_ms must be at least 1000 (a second)")
        _state().watcher.start(interval_ms / 1000)

    def get_memory_stats(self) -> dict[str, Any]:
        """Limit, use and level now, and every process of all hosts: sizes in bytes, pauses in ms, shares from 0 to 1.

        ``missing`` names what could not be read: with Redis away, the other processes.
        """
        return _state().stats()

    def get_optimization_recommendations(self) -> list[Advice]:
        """What to change, the most urgent first: ``text``, ``setting``, its value ``now`` and the ``suggested`` one."""
        state = _state()
        return state.recommendations(state.stats(), current_app.config)

    def on_pressure(self, hook: Hook) -> None:
        """Call ``hook(pressure)``, from 0 to 1, when memory is short; it lets go of what it can, and says how many bytes."""
        _state().on_pressure(hook)


memory_optimizer: Final = MemoryOptimizer()
"""That of the current app."""


def _state() -> State:
    state: State = current_app.extensions[NAME]
    return state
