"""Runs in files: the baseline, which git holds, and the last run, which it does not."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Final

from haven.benchmarking.errors import CannotMeasure
from haven.benchmarking.runs import Run
from haven.stack_programs import CHECKOUT

BASELINE: Final = CHECKOUT / "benchmarks" / "baseline.json"
LAST: Final = CHECKOUT / ".bench" / "last.json"


def write(run: Run, path: Path) -> None:
    """Sorted, one start to a line: a new baseline is a diff that can be read."""
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_name(f".{path.name}.part")
    unfinished.write_text(_text(run.document()), encoding="utf-8")
    unfinished.replace(path)


def read(path: Path) -> Run:
    """What was written.

    Raises:
        CannotMeasure: there is none, or it cannot be read.
    """
    try:
        return Run.read(json.loads(path.read_text(encoding="utf-8")))
    except FileNotFoundError:
        raise CannotMeasure(
            f"There is no {path}. Make it: `haven bench baseline` or `haven bench run`."
        ) from None
    except (ValueError, KeyError, TypeError) as error:
        raise CannotMeasure(
            f"{path} cannot be read ({type(error).__name__}: {error}). Make it anew."
        ) from None


def _text(document: dict[str, Any]) -> str:
    figures = document.pop("figures")
    head = json.dumps(document, indent=1, sort_keys=True).rstrip("}\n")
    parts = []
    for name, one in figures.items():
        starts = ",\n".join(f"    {json.dumps(rounds)}" for rounds in one["starts"])
        parts.append(
            f'  "{name}": {{\n   "seconds": {one["seconds"]},\n   "ratio": {one["ratio"]},\n   "starts": [\n{starts}\n   ]\n  }}'
        )
    return f'{head},\n "figures": {{\n' + ",\n".join(parts) + "\n }\n}\n"
