"""What to change, in words, from the numbers: each with the setting, its value now and the one to try."""

from __future__ import annotations

import gc
import os
import resource
from collections.abc import Callable, Iterator, Mapping
from functools import lru_cache
from typing import Any, Final

MIB: Final = 1_048_576
PAUSE_LONG_MS: Final = 100.0
GC_SHARE_MOST: Final = 0.05
WAITING_MOST: Final = 10.0
FILES_MOST: Final = 0.8
BUSY_PERCENT: Final = 70.0
_CACHE_SHARE_LEAST: Final = 0.05
_INTERVAL_MS: Final = 60_000
_PER_SERVER: Final = {"web": "MEMORY_PROCESS_LIMIT", "worker": "WORKER_MEMORY_LIMIT"}

Advice = dict[str, Any]
Stats = Mapping[str, Any]
Settings = Mapping[str, Any]


def advise(stats: Stats, settings: Settings, gc_share: float = 0.0) -> list[Advice]:
    """The recommendations for these statistics, the most urgent first.

    Args:
        stats: as ``memory_optimizer.get_memory_stats()`` gives them.
        settings: names to values; those that are not there are not advised on.
        gc_share: the share of its life for which this process stood still to collect.
    """
    found = [one for look in _LOOKS for one in look(stats, settings)]
    return found + list(_collections(stats, settings, gc_share))


def _leaks(stats: Stats, settings: Settings) -> Iterator[Advice]:
    """A process that loses memory: who does, and what bounds the harm until it is mended."""
    for role, setting in _PER_SERVER.items():
        leaking = [one for one in _of(stats, role) if one["trend"]["is_leak"]]
        if not leaking:
            continue
        worst = max(leaking, key=lambda one: one["trend"]["bytes_per_minute"])
        trend = worst["trend"]
        named = ", ".join(_culprit(one) for one in trend["culprits"]) or "not known yet"
        now = settings.get(setting, 0)
        suggested = _up(max(worst["rss_bytes"] * 3 // 2, 128 * MIB), 64 * MIB)
        yield _advice(
            f"{len(leaking)} of {len(_of(stats, role))} {role} processes lose memory: process {worst['pid']} on"
            f" {worst['host']} {trend['bytes_per_minute'] / MIB:.1f} MiB a minute. What grew: {named}. Mend that; until"
            f" then a process above the setting is replaced.",
            setting,
            now,
            min(now, suggested) if now else suggested,
        )


def _fewer_processes(stats: Stats, settings: Settings) -> Iterator[Advice]:
    """Short of memory with several processes: fewer of them."""
    count = settings.get("WEB_CONCURRENCY", 0)
    warning = stats["thresholds"]["warning"]
    if stats["share"] < warning or count < 2 or not _of(stats, "web"):
        return
    each = _mean(_of(stats, "web"), "uss_bytes")
    over = stats["used_bytes"] - (warning - 0.05) * stats["limit_bytes"]
    fewer = max(1, count - max(1, -int(-over // max(each, 1))))
    yield _advice(
        f"Memory is at {stats['share']:.0%} of {_mib(stats['limit_bytes'])}. Each of {count} web processes has"
        f" {_mib(each)} of its own: with {fewer} it would be at"
        f" {(stats['used_bytes'] - (count - fewer) * each) / stats['limit_bytes']:.0%}.",
        "WEB_CONCURRENCY",
        count,
        fewer,
    )


def _more_memory(stats: Stats, settings: Settings) -> Iterator[Advice]:  # noqa: ARG001
    """Short of memory, or waiting for it: a higher limit."""
    pressure = stats["pressure"] or {"some_avg10": 0.0}
    is_waiting = pressure["some_avg10"] >= WAITING_MOST
    if stats["share"] < stats["thresholds"]["critical"] and not is_waiting:
        return
    suggested = _up(int(stats["used_bytes"] / (stats["thresholds"]["warning"] - 0.1)), 64 * MIB)
    waiting = f", and processes wait for it {pressure['some_avg10']:.0f} % of the time" if is_waiting else ""
    name = {
        "setting": "MEMORY_LIMIT",
        "cgroup": "memory.max of the container",
        "machine": "memory of the machine",
    }
    yield _advice(
        f"{_mib(stats['used_bytes'])} of {_mib(stats['limit_bytes'])} are in use{waiting}."
        f" {_mib(suggested)} would leave room for what comes at once.",
        name[stats["limit_source"]],
        stats["limit_bytes"],
        max(suggested, stats["limit_bytes"]),
    )


def _smaller_caches(stats: Stats, settings: Settings) -> Iterator[Advice]:
    """Short of memory, with answers kept in each process."""
    each, count = settings.get("CACHE_LOCAL_BYTES", 0), len(_of(stats, "web"))
    if (
        stats["share"] < stats["thresholds"]["warning"]
        or each * count < _CACHE_SHARE_LEAST * stats["limit_bytes"]
    ):
        return
    yield _advice(
        f"Each of {count} web processes may keep {_mib(each)} of stored answers besides Redis, {_mib(each * count)}"
        f" together of {_mib(stats['limit_bytes'])}. With half of it some answers come from Redis instead.",
        "CACHE_LOCAL_BYTES",
        each,
        each // 2,
    )


def _more_processes(stats: Stats, settings: Settings) -> Iterator[Advice]:
    """Processors idle, processes busy, memory free: one process more."""
    web, count = _of(stats, "web"), settings.get("WEB_CONCURRENCY", 0)
    if not web or not count or count >= stats["system"]["cpus"]:
        return
    with_one_more = (stats["used_bytes"] + _mean(web, "uss_bytes")) / stats["limit_bytes"]
    if _mean(web, "cpu_percent") < BUSY_PERCENT or with_one_more >= stats["thresholds"]["warning"]:
        return
    yield _advice(
        f"{count} web processes are busy {_mean(web, 'cpu_percent'):.0f} % of the time on"
        f" {stats['system']['cpus']} processors, and memory is at {stats['share']:.0%}: there is room for one more.",
        "WEB_CONCURRENCY",
        count,
        count + 1,
    )


def _more_files(stats: Stats, settings: Settings) -> Iterator[Advice]:  # noqa: ARG001
    """A process near its limit of open files."""
    most = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    worst = max((one["open_files"] for one in stats["processes"]), default=0)
    if most == resource.RLIM_INFINITY or worst < FILES_MOST * most:
        return
    yield _advice(
        f"A process has {worst} of {most} files and sockets open; past that it can accept nobody.",
        "ulimit -n",
        most,
        most * 4,
    )


def _finer_points(stats: Stats, settings: Settings) -> Iterator[Advice]:  # noqa: ARG001
    """Memory measured so seldom that a leak takes hours to be seen."""
    now = settings.get("MEMORY_MONITORING_INTERVAL", _INTERVAL_MS)
    if now > _INTERVAL_MS:
        yield _advice(
            f"A leak is seen after twelve measurements: {12 * now / 3_600_000:.1f} hours at this interval.",
            "MEMORY_MONITORING_INTERVAL",
            now,
            _INTERVAL_MS,
        )


def _collections(stats: Stats, settings: Settings, gc_share: float) -> Iterator[Advice]:
    """Collections that stop a process for long, or often."""
    longest = max(
        (one["pause_ms_max"] for process in _of(stats, "web") for one in process["gc"]), default=0.0
    )
    if longest >= PAUSE_LONG_MS and not _has_frozen(os.getpid()):
        yield _advice(
            f"A collection held everything up for {longest:.0f} ms. What is loaded before the fork need not be looked"
            " at each time: preload the application and call gc.freeze() in gunicorn's when_ready.",
            "gc.freeze",
            0,
            "after preload",
        )
    if gc_share >= GC_SHARE_MOST:
        now = settings.get("MEMORY_GC_THRESHOLD", 0) or gc.get_threshold()[0]
        yield _advice(
            f"This process stands still {gc_share:.0%} of its time to collect; collecting more seldom costs some memory.",
            "MEMORY_GC_THRESHOLD",
            now,
            now * 10,
        )


@lru_cache(maxsize=1)
def _has_frozen(process_id: int) -> bool:  # noqa: ARG001  one answer for each
    """Whether this process has frozen what it had loaded. Python counts that object by object: tens of milliseconds."""
    return gc.get_freeze_count() > 0


_LOOKS: Final[tuple[Callable[[Stats, Settings], Iterator[Advice]], ...]] = (
    _leaks, _fewer_processes, _more_memory, _smaller_caches, _more_files, _more_processes, _finer_points,
)  # fmt: skip


def _advice(text: str, setting: str, now: Any, suggested: Any) -> Advice:
    return {"text": text, "setting": setting, "now": now, "suggested": suggested}


def _of(stats: Stats, role: str) -> list[Any]:
    return [one for one in stats["processes"] if one["role"] == role]


def _mean(processes: list[Any], name: str) -> float:
    return float(sum(one[name] for one in processes)) / len(processes)


def _culprit(one: Mapping[str, Any]) -> str:
    return (
        f"{one['what']} ({_mib(one['bytes'])})" if "bytes" in one else f"{one['what']} ({one['count']} more)"
    )


def _mib(size: float) -> str:
    return f"{size / MIB:.0f} MiB" if size >= MIB else f"{size / 1024:.0f} KiB"


def _up(size: int, to: int) -> int:
    return -(-size // to) * to
