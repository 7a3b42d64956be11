"""The revision that is measured, and another one beside it."""

from __future__ import annotations

import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from haven.benchmarking.errors import CannotMeasure
from haven.stack_programs import CHECKOUT

_GIT_S: Final = 60


@dataclass(frozen=True, slots=True)
class Revision:
    """A commit; ``is_changed``: files differ from it. Without git it is ``unknown``."""

    commit: str
    is_changed: bool


def revision() -> Revision:
    """That of this checkout."""
    try:
        changed = git("status", "--porcelain", "--untracked-files=no")
        return Revision(git("rev-parse", "HEAD"), bool(changed))
    except CannotMeasure:
        return Revision("unknown", is_changed=True)


def has(name: str) -> bool:
    """Whether git here knows the revision."""
    try:
        git("rev-parse", "--verify", "--quiet", f"{name}^{{commit}}")
    except CannotMeasure:
        return False
    return True


@contextmanager
def worktree(name: str) -> Iterator[Path]:
    """The files of a revision, in a folder that goes at the end.

    Raises:
        CannotMeasure: git knows no such revision.
    """
    if name.startswith("-") or not has(name):
        raise CannotMeasure(
            f"git knows no revision {name!r} here. `git log --oneline` lists those there are."
        )
    git("worktree", "prune")
    with tempfile.TemporaryDirectory(prefix="haven-bench-tree-") as folder:
        path = Path(folder) / "haven"
        git("worktree", "add", "--detach", "--quiet", str(path), name)
        try:
            yield path
        finally:
            git("worktree", "remove", "--force", str(path))


def git(*arguments: str) -> str:
    """What git says.

    Raises:
        CannotMeasure: it says no, or is not there.
    """
    try:
        done = subprocess.run(
            ["git", *arguments], cwd=CHECKOUT, capture_output=True, text=True, check=False, timeout=_GIT_S
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise CannotMeasure(f"git cannot be run here: {error}.") from None
    if done.returncode:
        raise CannotMeasure(f"git {arguments[0]}: {done.stderr.strip() or 'refused'}")
    return done.stdout.strip()
