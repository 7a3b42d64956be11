"""``haven loadtest``."""

from __future__ import annotations

import importlib.util
import json
import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click
from rich.console import Console

from haven.benchmarking.errors import INTERRUPTED, CannotMeasure, said
from haven.loadtest.plan import SCENARIOS, Plan, ramp_of
from haven.stack_folder import StackFolder, data_option

if TYPE_CHECKING:
    from haven.loadtest.outcome import Outcome

CRITICAL: Final = 1
"""The exit code where a target is missed critically."""
_NEEDED: Final = ("locust", "psutil")


class _Duration(click.ParamType[float]):
    """``90``, ``60s``, ``5m`` or ``1h``, as seconds."""

    name = "duration"
    _UNITS: Final = {"s": 1, "m": 60, "h": 3600}
    _LONGEST_S: Final = 86_400

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        text = str(value).strip().lower()
        number = text[:-1] if text[-1:] in self._UNITS else text
        try:
            seconds = float(number) * self._UNITS.get(text[-1:], 1)
        except ValueError:
            self.fail(f"{value!r} is no duration: give seconds, or 60s, 5m, 1h.", param, ctx)
        if not 1 <= seconds <= self._LONGEST_S:
            self.fail(f"{value!r} must be from 1 s to 24 h.", param, ctx)
        return seconds


@click.command()
@click.argument("scenario", type=click.Choice(list(SCENARIOS)))
@click.option("--users", type=click.IntRange(1, 10_000), help="At once.  [default: as the targets speak of]")
@click.option(
    "--duration", "duration_s", type=_Duration(), default="60s", show_default=True, help="Such as 60s or 5m."
)
@click.option("--host", help="Any Haven, as https://haven.example.  [default: that of `haven up`]")
@data_option("Folder of the stack that `haven up` runs.")
@click.option("--ramp", "ramp_s", type=click.FloatRange(0, 3600), help="Seconds in which the users start.")
@click.option(
    "--generators",
    type=click.IntRange(1, 64),
    default=1,
    show_default=True,
    help="Processes that make the load; one is good for some hundred requests a second.",
)
@click.option("--seed", type=int, default=2026, show_default=True, help="Of what users choose.")
@click.option(
    "--simulated-mpesa", is_flag=True, help="The Haven at --host asks a simulator for money: no phone rings."
)
@click.option(
    "--out",
    type=click.Path(file_okay=False, path_type=Path),
    default=Path(".loadtest"),
    show_default=True,
    help="Folder of the reports.",
)
@click.option("--json", "as_json", is_flag=True, help="Print the report as JSON; progress goes to stderr.")
def loadtest(
    scenario: str,
    users: int | None,
    duration_s: float,
    host: str | None,
    folder: Path,
    ramp_s: float | None,
    generators: int,
    seed: int,
    simulated_mpesa: bool,
    out: Path,
    as_json: bool,
) -> None:
    """Let simulated people use Haven, and judge how it does.

    They go to the stack that `haven up` runs here, or to --host: then HAVEN_LOADTEST_EMAIL and HAVEN_LOADTEST_PASSWORD are an
    agency's administrator, HAVEN_LOADTEST_OPERATOR_EMAIL and HAVEN_LOADTEST_OPERATOR_PASSWORD an operator. payments, bulk and
    mixed write. Exit code 1: a target is missed critically; 3: could not measure. `docs/loadtest.md` says how to read it.
    """
    console = Console(stderr=as_json) if sys.stdout.isatty() else Console(stderr=as_json, width=200)
    with said(), _asked() as asked:
        _check_installed()
        _make(out)
        from haven.loadtest.running import run
        from haven.loadtest.site import find_site

        site = find_site(host, StackFolder(folder), os.environ)
        chosen = SCENARIOS[scenario]
        count = users or chosen.users
        plan = Plan(
            chosen,
            count,
            duration_s,
            ramp_of(count) if ramp_s is None else ramp_s,
            min(generators, count),
            site.host,
            seed,
        )
        outcome = run(
            plan,
            site,
            lambda step: console.print(f"· {step}", highlight=False, markup=False),
            asked.times,
            may_ring=simulated_mpesa,
        )
        paths = _write(outcome, out)
    _show(outcome, console, paths, as_json=as_json)
    if not outcome.is_whole:
        sys.exit(INTERRUPTED)
    if any(one.verdict == "critical" for one in outcome.verdicts):
        sys.exit(CRITICAL)


def _check_installed() -> None:
    missing = [name for name in _NEEDED if importlib.util.find_spec(name) is None]
    if missing:
        raise CannotMeasure(
            f"{', '.join(missing)} cannot be imported: load tests need what requirements-dev.txt locks"
            " (`python -m pip install --require-hashes -r requirements-dev.txt`), or `python -m pip install locust`."
        )


class _Asked:
    """Counts Ctrl-C: the first ends the measuring, the second also the waiting. What is not measuring ends at the first."""

    def __init__(self) -> None:
        self._times = 0
        self._is_counted = False

    def times(self) -> int:
        """How often; who calls this looks at it, so from now on a signal only counts."""
        self._is_counted = True
        return self._times

    def count(self, *_: object) -> None:
        """Somebody asks to stop."""
        self._times += 1
        if not self._is_counted:
            raise KeyboardInterrupt


@contextmanager
def _asked() -> Iterator[_Asked]:
    asked = _Asked()
    before = {number: signal.signal(number, asked.count) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield asked
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _make(folder: Path) -> None:
    """The folder of the reports: that it cannot be is said before anything is measured."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise CannotMeasure(_unwritable(folder, error)) from None
    if not os.access(folder, os.W_OK):
        raise CannotMeasure(f"The reports cannot be written to {folder}: choose another --out.")


def _unwritable(folder: Path, error: OSError) -> str:
    return f"The reports cannot be written to {folder} ({error.strerror}): choose another --out."


def _write(outcome: Outcome, folder: Path) -> list[Path]:
    """The two reports."""
    from haven.loadtest.report import page

    name = f"{outcome.plan.scenario.name}-{outcome.plan.users}-{outcome.started_at:%Y%m%dT%H%M%SZ}"
    paths = [folder / f"{name}.json", folder / f"{name}.html"]
    try:
        paths[0].write_text(json.dumps(outcome.document(), indent=1) + "\n", encoding="utf-8")
        paths[1].write_text(page(outcome), encoding="utf-8")
    except OSError as error:
        raise CannotMeasure(_unwritable(folder, error)) from None
    return paths


def _show(outcome: Outcome, console: Console, paths: list[Path], *, as_json: bool) -> None:
    from haven.loadtest.report import requests_table, targets_table

    if as_json:
        click.echo(json.dumps(outcome.document(), indent=1))
        return
    console.print()
    console.print(requests_table(outcome))
    console.print()
    console.print(targets_table(outcome))
    console.print(
        f"\n{outcome.requests_a_second:.1f} requests/s with {outcome.plan.users} users", highlight=False
    )
    for words, count in outcome.tally.errors.most_common(5):
        console.print(f"· {count} times {words}", highlight=False, markup=False)
    for sentence in [*outcome.limits.sentences, *outcome.notes]:
        console.print(f"· {sentence}", highlight=False, markup=False)
    console.print("Reports: " + ", ".join(map(str, paths)), highlight=False)
