"""The processes of one program: the one that made the app (a server that forks, a pool of workers) and all below it."""

from __future__ import annotations

import os
import resource
import time
from collections.abc import Callable
from typing import Final

import psutil

from extensions.memory.files import KernelFile

LOOK_EVERY_S: Final = 5.0
"""How often the processes are looked for."""
WEIGH_EVERY_S: Final = 15.0
"""How often shared memory is told apart, which takes the kernel a millisecond for 100 MB."""

_PAGE: Final = resource.getpagesize()
_MOST: Final = 1000


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
        self._members: dict[int, Member] = {}
        self._looked_at = float("-inf")
        self._weighed_at = float("-inf")
        self._counted_twice = 0
        self.changed_at = float("-inf")
        """When a process last came or went."""

    def members(self) -> list[Member]:
        """The processes that are alive, the root first."""
        now = self._clock()
        if now - self._looked_at >= LOOK_EVERY_S:
            self._looked_at = now
            found = _tree(self.root)
            if set(found) != self._members.keys():
                self.changed_at = now
                self._weighed_at = float("-inf")
            self._members = {pid: self._members.get(pid) or Member(pid) for pid in found}
        return list(self._members.values())

    def used(self) -> int:
        """Bytes that all use together."""
        members = self.members()
        resident = sum(one.resident() for one in members)
        now = self._clock()
        if now - self._weighed_at >= WEIGH_EVERY_S:
            self._weighed_at = now
            self._counted_twice = resident - sum(one.weight() for one in members)
        return max(resident - self._counted_twice, 0)

    def resident(self) -> int:
        """Bytes that all use, what they share counted for each of them."""
        return sum(one.resident() for one in self.members())

    def is_largest(self, pid: int) -> bool:
        """Whether no other process but the first is larger than this one; of two alike the one with the lower pid is."""
        sizes = {one.pid: one.resident() for one in self.members() if one.pid != self.root or one.pid == pid}
        return pid in sizes and max(sizes, key=lambda one: (sizes[one], -one)) == pid


class Member:
    """One process of a family. One that has ended has nothing."""

    def __init__(self, pid: int) -> None:
        self.pid = pid
        self._sizes = KernelFile(f"/proc/{pid}/statm")

    def resident(self) -> int:
        """Its resident bytes."""
        pages = self._sizes.read().split()
        return int(pages[1]) * _PAGE if pages else _elsewhere(self.pid)

    def weight(self) -> int:
        """The same with its part of what it shares; slow."""
        try:
            full = psutil.Process(self.pid).memory_full_info()
        except psutil.AccessDenied:
            return self.resident()
        except psutil.Error:
            return 0
        # Only Linux knows a share of shared pages; elsewhere what is the process's own.
        return int(getattr(full, "pss", full.uss))


def _elsewhere(pid: int) -> int:
    """Resident bytes where there is no ``/proc``."""
    try:
        return 0 if psutil.LINUX else int(psutil.Process(pid).memory_info().rss)
    except psutil.Error:
        return 0


def _tree(root: int) -> list[int]:
    """The pids of a process and of all below it."""
    found = [root]
    for pid in found:
        if len(found) > _MOST:
            break
        found += [int(child) for child in _children(pid)]
    return found


def _children(pid: int) -> list[bytes] | list[int]:
    # Those that the first thread has forked, as every server does; asking psutil reads all processes of the machine.
    listed = KernelFile(f"/proc/{pid}/task/{pid}/children")
    text = listed.read()
    if text or os.path.exists(f"/proc/{pid}/task/{pid}/children"):
        return text.split()
    try:
        return [child.pid for child in psutil.Process(pid).children()]
    except psutil.Error:
        return []
