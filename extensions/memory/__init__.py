"""Memory: watched against its limit, with leaks found and named, and requests refused before the system ends the process."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from flask import Flask, current_app

from extensions.contract import Base, Health, Metric, Setting
from extensions.hold_off import guarded_redis
from extensions.memory.levels import Level, Thresholds
from extensions.memory.optimizer import NAME, MemoryOptimizer, State, memory_optimizer, memory_stats
from extensions.memory.shedding import NEVER, Priorities, Priority, Shedding
from extensions.memory.store import Store
from extensions.memory.watcher import Rules, Watcher

__all__ = [
    "NAME",
    "Level",
    "Memory",
    "MemoryOptimizer",
    "Priorities",
    "Priority",
    "Rules",
    "State",
    "Store",
    "Thresholds",
    "Watcher",
    "memory_optimizer",
    "memory_stats",
    "refuse_outermost",
]

_LOADED: Final = "haven_extensions"


class Memory(Base):
    """Watches the memory of an app's processes. Without Redis each knows of itself alone."""

    name = NAME
    requires = ("logs",)
    settings = (
        Setting(
            "MEMORY_LIMIT", 0, "What this program may have; 0: as the cgroup or the machine has it", "bytes"
        ),
        Setting("MEMORY_WARNING", 70.0, "Use from which collections are forced", "%"),
        Setting(
            "MEMORY_CRITICAL", 80.0, "Use from which caches shrink and what is least needed is refused", "%"
        ),
        Setting("MEMORY_EMERGENCY", 90.0, "Use from which requests are refused and caches dropped", "%"),
        Setting(
            "MEMORY_PROCESS_LIMIT",
            0,
            "A process above it is replaced, where `retire` is set; 0: none",
            "bytes",
        ),
        Setting(
            "MEMORY_MONITORING_INTERVAL",
            60_000,
            "Time between measurements of USS and points of the trend",
            "ms",
        ),
        Setting("MEMORY_GC_THRESHOLD", 0, "Allocations before the youngest are collected; 0: Python's own"),
        Setting("MEMORY_SHED_NEVER", NEVER, "Beginnings of paths that are never refused"),
        Setting("MEMORY_SHED_LAST", (), "Beginnings of paths that are refused last"),
        Setting("MEMORY_SHED_FIRST", (), "Beginnings of paths that are refused first"),
        Setting("MEMORY_PREFIX", "haven", "What every key in Redis begins with"),
        Setting("REDIS_TIMEOUT", 250, "Longest wait for Redis", "ms"),
        Setting("REDIS_URL", "", "Where processes meet; empty: each knows of itself", "URL"),
    )

    def init_app(self, app: Flask) -> None:
        """Watch the processes of ``app`` from the first request of each on. Starts no thread before that."""
        of = {setting.name: self.setting(app, setting.name) for setting in self.settings}
        client = guarded_redis(of["REDIS_URL"], of["REDIS_TIMEOUT"] / 1000) if of["REDIS_URL"] else None
        rules = Rules(
            limit_bytes=of["MEMORY_LIMIT"],
            thresholds=Thresholds(
                of["MEMORY_WARNING"] / 100, of["MEMORY_CRITICAL"] / 100, of["MEMORY_EMERGENCY"] / 100
            ),
            interval_s=of["MEMORY_MONITORING_INTERVAL"] / 1000,
            process_limit_bytes=of["MEMORY_PROCESS_LIMIT"],
            gc_threshold=of["MEMORY_GC_THRESHOLD"],
        )
        priorities = Priorities(
            tuple(of["MEMORY_SHED_NEVER"]), tuple(of["MEMORY_SHED_LAST"]), tuple(of["MEMORY_SHED_FIRST"])
        )
        watcher = Watcher(rules, Store(client, of["MEMORY_PREFIX"]), priorities=priorities)
        app.extensions[self.name] = State(watcher)
        watcher.relief.add(lambda pressure: _release(app, pressure))
        refuse_outermost(app)

    def health(self) -> Health:
        """``degraded`` while this program is short of memory or loses it."""
        watcher = _watcher()
        watcher.refresh()
        is_short = watcher.level >= Level.CRITICAL and watcher.is_ours
        numbers = {
            "level": watcher.level.name,
            "share": round(watcher.share, 4),
            "limit_bytes": watcher.limit.bytes,
            "limit_source": watcher.limit.source,
            "rss_bytes": watcher.used.rss_bytes,
            "is_leak": watcher.verdict.is_leak,
            "refused": sum(watcher.gate.refused.values()),
        }
        return Health("degraded" if is_short or watcher.verdict.is_leak else "ok", numbers)

    def collect(self) -> Iterable[Metric]:
        """Of the limit what every process tells alike, so the largest counts; of the process its own."""
        watcher = _watcher()
        watcher.refresh()
        pressure = watcher.limit.pressure()
        yield Metric("memory_limit_bytes", watcher.limit.bytes, merge="max")
        yield Metric("memory_used_bytes", watcher.used_bytes, merge="max")
        yield Metric("memory_share", watcher.share, merge="max")
        yield Metric("memory_level", int(watcher.level), merge="max")
        yield Metric("memory_pressure_some", pressure.some_avg10 if pressure else 0.0, merge="max")
        yield from _of_process(watcher)
        yield from _of_collector(watcher)
        yield Metric("memory_system_cpu_percent", watcher.system.cpu_percent, merge="max")
        yield Metric("memory_load_1m", watcher.system.load_1m, merge="max")


def refuse_outermost(app: Flask) -> None:
    """Refuse before all that stands around ``app.wsgi_app`` by now too; for an app that wraps itself after its extensions."""
    state: State | None = app.extensions.get(NAME)
    if state is not None and not isinstance(app.wsgi_app, Shedding):
        app.wsgi_app = Shedding(app.wsgi_app, state.watcher.gate, state.watcher.start)  # type: ignore[method-assign]


def _of_process(watcher: Watcher) -> Iterable[Metric]:
    for name, number in watcher.used._asdict().items():
        yield Metric(f"memory_{name}", number)
    yield Metric("memory_trend_bytes_per_minute", watcher.report()["trend"]["bytes_per_minute"])
    yield Metric("memory_leak", int(watcher.verdict.is_leak), merge="max")
    yield Metric("memory_released_bytes_total", watcher.relief.released_bytes)
    for priority, count in watcher.gate.refused.items():
        yield Metric("memory_shed_total", count, {"priority": priority.name.lower()})


def _of_collector(watcher: Watcher) -> Iterable[Metric]:
    for one in watcher.collector.generations:
        labels = {"generation": str(one.generation)}
        yield Metric("memory_gc_collections_total", one.collections, labels)
        yield Metric("memory_gc_collected_total", one.collected, labels)
    yield Metric("memory_gc_pause_ms_total", watcher.collector.pause_ms_total)
    yield Metric(
        "memory_gc_pause_longest_ms",
        max(one.pause_ms_max for one in watcher.collector.generations),
        merge="max",
    )


def _release(app: Flask, pressure: float) -> int:
    """Have the app's other extensions let go of what they can; one that fails is logged by name."""
    released = 0
    with app.app_context():
        for extension in app.extensions.get(_LOADED, ()):
            release = getattr(extension, "release", None)
            if release is None or extension.name == NAME:
                continue
            try:
                released += release(pressure)
            except Exception:
                app.logger.exception("the extension %s could not release memory", extension.name)
    return released


def _watcher() -> Watcher:
    state: State = current_app.extensions[NAME]
    return state.watcher
