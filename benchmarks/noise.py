"""``python -m benchmarks.noise FILE``: the same code against itself, so that what differs is noise; added to what FILE holds.

The error rates of `haven bench` are tested with such noise (`tests/data/benchmarking/noise.json`). Seconds in millionths, of both sides
and of the calibration before each, by session and round. Run it some times over an hour or more: a machine is busy by turns.
"""

from __future__ import annotations

import datetime as dt
import json
from pathlib import Path
from typing import Any

import click

from haven.benchmarking.machine import machine
from haven.benchmarking.measuring import Measured, Side, measure
from haven.benchmarking.plan import Plan
from haven.stack_programs import CHECKOUT

_SIDES = ("here", "there")


@click.command()
@click.argument("file", type=click.Path(dir_okay=False, path_type=Path))
@click.option("--sessions", default=2, show_default=True)
@click.option("--rounds", default=16, show_default=True)
def main(file: Path, sessions: int, rounds: int) -> None:
    """Record sessions of the same code on both sides."""
    plan = Plan(sessions=sessions, rounds=rounds)
    measured = measure(plan, [Side(name, CHECKOUT) for name in _SIDES], calibrates=True)
    if measured.missing:
        raise click.ClickException(f"missing: {measured.missing}")
    kept: dict[str, Any] = json.loads(file.read_text()) if file.exists() else {"benchmarks": {}}
    kept["machine"] = machine().document()
    at = dt.datetime.now(dt.UTC).isoformat(timespec="seconds")
    kept.setdefault("recorded_at", []).extend([at] * sessions)
    _add(kept["benchmarks"], measured)
    file.write_text(_lines(kept))


def _add(kept: dict[str, Any], measured: Measured) -> None:
    for side in _SIDES:
        for name, times in measured.of[side].items():
            one = kept.setdefault(name, {})
            one.setdefault(side, []).extend(_millionths(times.seconds))
            one.setdefault(f"calibration_{side}", []).extend(_millionths(times.calibration))


def _millionths(sessions: list[list[float]]) -> list[list[float]]:
    return [[float(f"{seconds * 1e6:.5g}") for seconds in rounds] for rounds in sessions]


def _lines(kept: dict[str, Any]) -> str:
    """JSON with a session to a line."""
    parts = []
    for name, series in sorted(kept["benchmarks"].items()):
        rows = [
            f'   "{what}": [\n' + ",\n".join(f"    {json.dumps(one)}" for one in sessions) + "\n   ]"
            for what, sessions in series.items()
        ]
        parts.append(f'  "{name}": {{\n' + ",\n".join(rows) + "\n  }")
    head = ",\n".join(f' "{key}": {json.dumps(kept[key])}' for key in ("machine", "recorded_at"))
    return f'{{\n{head},\n "benchmarks": {{\n' + ",\n".join(parts) + "\n }\n}\n"


if __name__ == "__main__":
    main()
