"""What this process uses, as the system counts it."""

from __future__ import annotations

import os
import resource
import time
from typing import Final, NamedTuple

import psutil

_PAGE: Final = resource.getpagesize()


class Used(NamedTuple):
    """``cpu_percent`` is of one processor since the reading before; ``open_files`` are all descriptors, sockets too."""

    rss_bytes: int
    uss_bytes: int
    cpu_percent: float
    threads: int
    open_files: int


class System(NamedTuple):
    """The machine. ``cpu_percent`` is of all processors since the reading before."""

    cpu_percent: float
    load_1m: float
    load_5m: float
    load_15m: float
    cpus: int


class Process:
    """This process. Made anew after a fork."""

    def __init__(self) -> None:
        self._process = psutil.Process()
        self._cpu_at = time.monotonic()
        self._cpu_s = self._cpu()
        self._uss = 0
        self.began_with = self.rss()
        """What it was given, before it did anything."""
        psutil.cpu_percent(None)

    def rss(self) -> int:
        """Resident bytes."""
        return int(self._process.memory_info().rss)

    def weigh(self) -> None:
        """Read USS anew."""
        try:
            self._uss = int(self._process.memory_full_info().uss)
        except psutil.Error:
            self._uss = own_bytes()

    def used(self) -> Used:
        """Everything, USS as it was weighed last."""
        with self._process.oneshot():
            return Used(
                self.rss(), self._uss, self._cpu_percent(), self._process.num_threads(), self._open_files()
            )

    def _open_files(self) -> int:
        return int(self._process.num_fds()) if hasattr(self._process, "num_fds") else 0

    def _cpu_percent(self) -> float:
        now, cpu_s = time.monotonic(), self._cpu()
        passed_s, used_s = now - self._cpu_at, cpu_s - self._cpu_s
        if passed_s <= 0:
            return 0.0
        self._cpu_at, self._cpu_s = now, cpu_s
        return round(100 * used_s / passed_s, 1)

    def _cpu(self) -> float:
        times = self._process.cpu_times()
        return float(times.user + times.system)


def read_system() -> System:
    """The machine now."""
    one, five, fifteen = (round(load, 2) for load in psutil.getloadavg())
    return System(psutil.cpu_percent(None), one, five, fifteen, os.cpu_count() or 1)


def own_bytes() -> int:
    """Resident bytes that are no file's: what a leak makes grow. Some microseconds, where USS takes milliseconds."""
    try:
        with open("/proc/self/statm", "rb") as told:
            _, resident, shared, *_ = told.read().split()
    except OSError:
        # No Linux: what is resident must do.
        return int(psutil.Process().memory_info().rss)
    return (int(resident) - int(shared)) * _PAGE
