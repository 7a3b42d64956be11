"""How much memory there is and how much is used: of a cgroup, of the machine, or as a setting says."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal, NamedTuple, Protocol

import psutil

from extensions.memory.family import Family
from extensions.memory.files import KernelFile

Source = Literal["cgroup", "machine", "setting"]
Pattern = re.Pattern[bytes]
ROOT: Final = Path("/")
_AVERAGE: Final = re.compile(rb"^(some|full) avg10=([0-9.]+)", re.MULTILINE)
_INACTIVE: Final = re.compile(rb"^inactive_file (\d+)$", re.MULTILINE)
_TOTAL_INACTIVE: Final = re.compile(rb"^total_inactive_file (\d+)$", re.MULTILINE)
_MACHINE_PRESSURE: Final = "proc/pressure/memory"


class Pressure(NamedTuple):
    """The shares (per cent) of the last ten seconds in which some, and all, processes waited for memory."""

    some_avg10: float
    full_avg10: float


class Limit(Protocol):
    """What memory is measured against."""

    @property
    def source(self) -> Source:
        """Who sets it."""

    @property
    def bytes(self) -> int:
        """How much it is."""

    def used(self) -> int:
        """Bytes in use, without what the kernel gives back when it is asked (cached files)."""

    def pressure(self) -> Pressure | None:
        """How processes wait for memory; None where the kernel does not say."""


def find_limit(setting: int, family: Family, root: Path = ROOT) -> Limit:
    """The setting's where there is one (bytes), else the tightest of the cgroups that this process is in, else the machine's.

    Args:
        root: where ``/proc`` and ``/sys`` are; a test has its own.
    """
    if setting:
        return SettingLimit(setting, family, KernelFile(root / _MACHINE_PRESSURE))
    machine = psutil.virtual_memory().total
    cgroups = [one for one in (*_second(root), *_first(root)) if one.bytes < machine]
    return (
        min(cgroups, key=lambda one: one.bytes)
        if cgroups
        else MachineLimit(machine, KernelFile(root / _MACHINE_PRESSURE))
    )


@dataclass(frozen=True, slots=True)
class SettingLimit:
    """A limit of which only a person knows: for this program, a server with all its processes."""

    bytes: int
    family: Family
    pressure_file: KernelFile
    source: Source = "setting"

    def used(self) -> int:
        return self.family.used()

    def pressure(self) -> Pressure | None:
        return _pressure(self.pressure_file)


@dataclass(frozen=True, slots=True)
class MachineLimit:
    """All that the machine has, shared with everything else on it."""

    bytes: int
    pressure_file: KernelFile
    source: Source = "machine"

    def used(self) -> int:
        memory = psutil.virtual_memory()
        return int(memory.total - memory.available)

    def pressure(self) -> Pressure | None:
        return _pressure(self.pressure_file)


@dataclass(frozen=True, slots=True)
class CgroupLimit:
    """A control group's. Of its use is taken off what the kernel can drop at once, as Kubernetes does (working set)."""

    bytes: int
    usage: KernelFile
    statistics: KernelFile
    inactive: Pattern
    pressure_file: KernelFile
    source: Source = "cgroup"

    def used(self) -> int:
        found = self.inactive.search(self.statistics.read())
        return max((self.usage.number() or 0) - (int(found[1]) if found else 0), 0)

    def pressure(self) -> Pressure | None:
        return _pressure(self.pressure_file)


def _second(root: Path) -> Iterator[CgroupLimit]:
    """Limits of cgroup v2: ``memory.max`` of this process's group and of those around it."""
    for folder in _folders(
        root, _mounted(root, "sys/fs/cgroup", "sys/fs/cgroup/unified"), lambda names: not names
    ):
        size = KernelFile(folder / "memory.max").number()
        if size is not None:
            yield CgroupLimit(
                size,
                KernelFile(folder / "memory.current"),
                KernelFile(folder / "memory.stat"),
                _INACTIVE,
                KernelFile(folder / "memory.pressure"),
            )


def _first(root: Path) -> Iterator[CgroupLimit]:
    """Limits of cgroup v1, which older platforms still have; it knows no pressure of a group, so it is the machine's."""
    for folder in _folders(root, root / "sys/fs/cgroup/memory", lambda names: "memory" in names):
        size = KernelFile(folder / "memory.limit_in_bytes").number()
        if size is not None:
            yield CgroupLimit(
                size,
                KernelFile(folder / "memory.usage_in_bytes"),
                KernelFile(folder / "memory.stat"),
                _TOTAL_INACTIVE,
                KernelFile(root / _MACHINE_PRESSURE),
            )


def _mounted(root: Path, *places: str) -> Path:
    return next(
        (root / place for place in places if (root / place / "cgroup.controllers").exists()), root / places[0]
    )


def _folders(root: Path, mount: Path, is_it: Callable[[list[str]], bool]) -> Iterator[Path]:
    """The folder of this process's group, and of each around it up to the mount."""
    for line in KernelFile(root / "proc/self/cgroup").read().decode("utf-8", "replace").splitlines():
        _, names, path = line.split(":", 2)
        if not is_it([name for name in names.split(",") if name]):
            continue
        folder = mount / path.lstrip("/")
        # In a container the path may be the host's: then what is mounted is the container's own group.
        yield from (one for one in (folder, *folder.parents) if one.is_relative_to(mount) and one != mount)
        yield mount


def _pressure(file: KernelFile) -> Pressure | None:
    averages = {name: float(number) for name, number in _AVERAGE.findall(file.read())}
    return Pressure(averages.get(b"some", 0.0), averages.get(b"full", 0.0)) if averages else None
