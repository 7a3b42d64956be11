"""Which test process runs what."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Final

from xdist.scheduler import LoadScopeScheduling  # type: ignore[import-untyped]

SHARED: Final = "live_stack"


class OneLiveStack(LoadScopeScheduling):  # type: ignore[misc]  # its base has no types
    """Each test goes to whoever is free, but the files that use the live stack all go to one process.

    A mark would say so more plainly, but xdist 3.8 loses its groups on pytest 9.2 (pytest-xdist issue 1386).
    """

    def _split_scope(self, nodeid: str) -> str:
        file = self.config.rootpath / nodeid.partition("::")[0]
        return SHARED if uses_live_stack(file) else nodeid


@cache
def uses_live_stack(file: Path) -> bool:
    """Whether a test of the file asks for the stack that all share."""
    return SHARED in file.read_text(encoding="utf-8")
