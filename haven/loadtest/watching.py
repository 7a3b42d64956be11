"""What is read beside the load: how busy the machine is and with what, and what Haven itself measures."""

from __future__ import annotations

import threading
import time
from collections import defaultdict
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, Final

import psutil

from haven.benchmarking.errors import CannotMeasure
from haven.loadtest.bottleneck import GENERATOR, OTHERS, MachineSecond
from haven.loadtest.callers import Caller
from haven.loadtest.site import Site

_MACHINE_S: Final = 1.0
_MEMORY_S: Final = 3.0
_SETTLE_S: Final = 2.5
"""Processes write what they measured each second."""
_SLOT_S: Final = 10
_SHORTEST_WINDOW_S: Final = 30
"""From this length on a run is read from its first whole slot on, without the requests that prepared it."""
_ROLES: Final = {
    "web": "Haven's web",
    "worker": "Haven's workers",
    "cron": "Haven's clock",
    "postgres": "PostgreSQL",
}


class Machine:
    """Watches the machine, second by second. With ``pids`` of the embedded stack it tells who used what.

    Args:
        pids: processes by name, with all that they start.
        generators: those of the load.
    """

    def __init__(self, pids: Mapping[str, int], generators: Sequence[int]) -> None:
        self.seconds: list[MachineSecond] = []
        self.load_averages: list[float] = []
        self._roots = {_ROLES.get(name, name): pid for name, pid in pids.items() if name != "supervisor"}
        self._generators = generators
        self._used: dict[psutil.Process, float] = {}
        self._is_over = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> Machine:
        psutil.cpu_percent()
        self._cores(1.0)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._is_over.set()
        self._thread.join(5)

    def _run(self) -> None:
        at = time.monotonic()
        while not self._is_over.wait(_MACHINE_S):
            now = time.monotonic()
            busy, at, elapsed_s = psutil.cpu_percent() / 100, now, now - at
            cores = self._cores(elapsed_s)
            used = busy * (psutil.cpu_count() or 1)
            cores[OTHERS] = max(0.0, used - sum(cores.values()))
            self.seconds.append(MachineSecond(busy, cores))
            self.load_averages.append(psutil.getloadavg()[0])

    def _cores(self, elapsed_s: float) -> dict[str, float]:
        """Cores that each used since the last call."""
        found: dict[str, float] = defaultdict(float)
        before, self._used = self._used, {}
        for who, pid in [*self._roots.items(), *((GENERATOR, pid) for pid in self._generators)]:
            for process in _family(pid):
                with suppress(psutil.Error):
                    times = process.cpu_times()
                    self._used[process] = times.user + times.system
                    found[who] += max(0.0, self._used[process] - before.get(process, self._used[process]))
        return {who: used / elapsed_s for who, used in found.items()}


def _family(pid: int) -> list[psutil.Process]:
    with suppress(psutil.Error):
        process = psutil.Process(pid)
        return [process, *process.children(recursive=True)]
    return []


@dataclass
class Served:
    """What Haven says of itself; what could not be read is None, and ``why`` says for which reason."""

    performance: dict[str, Any] | None = None
    database: dict[str, Any] | None = None
    slow_statements: list[dict[str, Any]] = field(default_factory=list)
    memory: list[float] = field(default_factory=list)
    """Shares of the limit, from 0 to 1, each few seconds."""
    memory_limit: str = ""
    window_s: int = 0
    why: str = ""

    @property
    def cache_hit_rate(self) -> float | None:
        """Of all namespaces, from 0 to 1; None where nothing was looked for."""
        rows = (self.performance or {}).get("cache", [])
        hits = sum(row["hits"] for row in rows)
        asked = hits + sum(row["misses"] for row in rows)
        return hits / asked if asked else None

    def document(self) -> dict[str, Any]:
        """As JSON holds it: the figures, and the ten routes that took most."""
        performance = self.performance or {}
        routes = sorted(performance.get("endpoints", []), key=lambda row: -row["count"] * (row["mean"] or 0))
        whole = {name: value for name, value in performance.items() if name not in ("endpoints", "cache")}
        return {
            "why_not_known": self.why,
            "window_s": self.window_s,
            "requests": whole or None,
            "cache": performance.get("cache", []),
            "cache_hit_rate": self.cache_hit_rate,
            "statements": (self.database or {}).get("statements"),
            "pool": (self.database or {}).get("pool"),
            "memory_most": max(self.memory, default=None),
            "memory_limit": self.memory_limit,
            "longest_routes": routes[:10],
            "longest_statements": self.slow_statements,
        }


class Watcher:
    """An operator who reads Haven's own numbers while the load is on."""

    def __init__(self, site: Site) -> None:
        self.served = Served()
        self._site = site
        self._began = time.time()
        self._is_over = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._operator: Caller | None = None

    def __enter__(self) -> Watcher:
        if self._site.operator is None:
            self.served.why = "no operator's sign-in was given"
            return self
        try:
            self._operator = Caller(self._site.host, self._site.operator)
            self._look_at_memory(self._operator)
        except (CannotMeasure, KeyError) as error:
            self.served.why = f"the operator cannot read it: {error}"
            self._close()
        return self

    def __exit__(self, *_: object) -> None:
        self._is_over.set()
        if self._thread.is_alive():
            self._thread.join(30)
        self._close()

    def begin(self) -> None:
        """The load begins."""
        self._began = time.time()
        if self._operator is not None:
            self._thread.start()

    def finish(self) -> Served:
        """The load is over: read what was measured meanwhile."""
        self._is_over.set()
        if self._operator is None:
            return self.served
        self._thread.join(30)
        time.sleep(_SETTLE_S)
        served = self.served
        served.window_s = window_of(self._began, time.time())
        try:
            asked = f"?window={served.window_s}"
            served.performance = self._operator.get(f"/monitoring/performance{asked}")
            served.database = self._operator.get(f"/monitoring/database{asked}")
            statements = self._operator.get(f"/monitoring/slow-queries{asked}&order=total&limit=5")[
                "statements"
            ]
            served.slow_statements = [
                {name: one[name] for name in ("text", "count", "total_ms", "mean_ms", "p95_ms", "route")}
                for one in statements
            ]
        except (CannotMeasure, KeyError) as error:
            served.why = f"the operator could not read it: {error}"
        return served

    def _run(self) -> None:
        assert self._operator is not None
        while not self._is_over.wait(_MEMORY_S):
            # One that fails is not the last: what matters is the most that was in use.
            with suppress(CannotMeasure, KeyError):
                self._look_at_memory(self._operator)

    def _look_at_memory(self, operator: Caller) -> None:
        found = operator.get("/monitoring/memory")
        self.served.memory_limit = found["limit_source"]
        self.served.memory.append(found["share"])

    def _close(self) -> None:
        if self._operator is not None:
            self._operator.__exit__()
            self._operator = None


def window_of(began: float, now: float) -> int:
    """Seconds to read of Haven's slots of ten, so that they hold the load and little else. Both are seconds since 1970."""
    if now - began < _SHORTEST_WINDOW_S:
        return max(_SLOT_S, int(now - began) + 1)
    first = -(-began // _SLOT_S) * _SLOT_S
    return int(now - first)
