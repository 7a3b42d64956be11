"""Which test process runs what."""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path
from typing import Final

from xdist.scheduler import LoadScopeScheduling  # type: ignore[import-untyped]

SHARED: Final = "live_stack"
_GROUP: Final = re.compile(r'xdist_group\("(\w+)"\)')


class OneLiveStack(LoadScopeScheduling):  # type: ignore[misc]  # its base has no types
    """Each test goes to whoever is free, but the files that use the live stack all go to one process.

    So do those that name a group (``xdist_group``), as what their fixtures start takes long to start. The name is read in the
    file: xdist 3.8 loses its groups on pytest 9.2 (pytest-xdist issue 1386).
    """

    def _split_scope(self, nodeid: str) -> str:
        file = self.config.rootpath / nodeid.partition("::")[0]
        return SHARED if uses_live_stack(file) else group_of(file) or nodeid


@cache
def uses_live_stack(file: Path) -> bool:
    """Whether a test of the file asks for the stack that all share."""
    return SHARED in file.read_text(encoding="utf-8")


@cache
def group_of(file: Path) -> str | None:
    """The group that a file names: all its tests go to one process."""
    found = _GROUP.search(file.read_text(encoding="utf-8"))
    return found and found[1]
