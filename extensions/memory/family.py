"""The processes of one program: the one that made the app (a server that forks, a pool of workers) and all below it."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from typing import Final

import psutil

LOOK_EVERY_S: Final = 5.0
"""How often the processes are looked for."""
WEIGH_EVERY_S: Final = 15.0
"""How often shared memory is told apart, which takes the kernel a millisecond for 100 MB."""


class Family:
    """What the processes of a program use together.

    A page that processes share counts once (PSS), but that is slow to read. So between two weighings only the resident
    sizes are read, and what was counted twice at the last weighing is taken off.

    Args:
        root: the pid of the first process; this one when not given.
        clock: seconds; a test holds it.
    """

    def __init__(self, root: int | None = None, clock: Callable[[], float] = time.monotonic) -> None:
        self.root = os.getpid() if root is None else root
        self._clock = clock
        self._members: dict[int, psutil.Process] = {}
        self._looked_at = float("-inf")
        self._weighed_at = float("-inf")
        self._counted_twice = 0
        self.changed_at = float("-inf")
        """When a process last came or went."""

    def members(self) -> list[psutil.Process]:
        """The processes that are alive, the root first."""
        now = self._clock()
        if now - self._looked_at >= LOOK_EVERY_S:
            self._looked_at = now
            found = {process.pid: process for process in _tree(self.root)}
            if found.keys() != self._members.keys():
                self.changed_at = now
                self._weighed_at = float("-inf")
            self._members = found
        return list(self._members.values())

    def used(self) -> int:
        """Bytes that all use together."""
        members = self.members()
        sizes = [_resident(process) for process in members]
        now = self._clock()
        if now - self._weighed_at >= WEIGH_EVERY_S:
            self._weighed_at = now
            self._counted_twice = sum(sizes) - sum(_weight(process) for process in members)
        return max(sum(sizes) - self._counted_twice, 0)

    def is_largest(self, pid: int) -> bool:
        """Whether no other process but the first is larger than this one; of two alike the one with the lower pid is."""
        sizes = {one.pid: _resident(one) for one in self.members() if one.pid != self.root or one.pid == pid}
        return pid in sizes and max(sizes, key=lambda one: (sizes[one], -one)) == pid


def _tree(root: int) -> list[psutil.Process]:
    try:
        process = psutil.Process(root)
        return [process, *process.children(recursive=True)]
    except psutil.Error:
        return []


def _resident(process: psutil.Process) -> int:
    try:
        return int(process.memory_info().rss)
    except psutil.Error:
        return 0


def _weight(process: psutil.Process) -> int:
    try:
        full = process.memory_full_info()
    except psutil.AccessDenied:
        return _resident(process)
    except psutil.Error:
        return 0
    # Only Linux knows a share of shared pages; elsewhere what is the process's own.
    return int(getattr(full, "pss", full.uss))
