"""Statements that are kept in ``.sql`` files beside the code."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from sqlalchemy import TextClause, text

_HERE: Final = Path(__file__).parent


def query(name: str) -> TextClause:
    """The statement of ``{name}.sql``. Its comments are left out: a ``:name`` in one would be taken for a parameter."""
    lines = (_HERE / f"{name}.sql").read_text(encoding="utf-8").splitlines()
    return text("\n".join(line for line in lines if not line.lstrip().startswith("--")))
