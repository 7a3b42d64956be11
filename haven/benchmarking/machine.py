"""What a figure was measured on: two machines are told apart by what makes them fast or slow."""

from __future__ import annotations

import os
import platform
import sys
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

_CPUINFO: Final = Path("/proc/cpuinfo")


@dataclass(frozen=True, slots=True)
class Machine:
    """No host name: the file that holds it is for git."""

    processor: str
    cpus: int
    """That this process may use."""
    memory_gib: int
    system: str
    python: str

    def document(self) -> dict[str, Any]:
        return asdict(self)

    @staticmethod
    def of(document: dict[str, Any]) -> Machine:
        return Machine(**{name: document[name] for name in Machine.__slots__})

    def differs_from(self, other: Machine) -> list[str]:
        """What is different, in words; nothing where figures can be compared as they are."""
        found = []
        for name in Machine.__slots__:
            mine, theirs = getattr(self, name), getattr(other, name)
            if mine != theirs:
                found.append(f"{name.replace('_', ' ')} {mine} (was {theirs})")
        return found


def machine() -> Machine:
    """The one we are on."""
    import psutil

    return Machine(
        _processor(),
        len(os.sched_getaffinity(0)),
        round(psutil.virtual_memory().total / 2**30),
        f"{platform.system()} {platform.release()}",
        f"{platform.python_implementation()} {'.'.join(map(str, sys.version_info[:3]))}",
    )


def _processor() -> str:
    try:
        lines = _CPUINFO.read_text().splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()
