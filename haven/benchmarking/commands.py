"""``haven bench``."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from haven.benchmarking import files
from haven.benchmarking.errors import CannotMeasure, said
from haven.benchmarking.plan import NAMES, OF_NAME, QUICK, WHOLE, Plan
from haven.stack_folder import HERE, StackFolder

if TYPE_CHECKING:
    from sqlalchemy.orm import Session

    from haven.benchmarking.runs import Run

_COLOURS: Final = {"slower": "bold red", "faster": "green", "same": "dim", "unclear": "yellow"}
_NEEDED: Final = ("numpy", "scipy", "ruptures")
REGRESSED: Final = 1
"""The exit code of `haven bench regress` where something became slower."""

_Command = Callable[..., None]


@click.group()
def bench() -> None:
    """Measure Haven; say what became slower, and since when. `docs/benchmarks.md` says how to read it.

    It needs a checkout with what requirements-dev.txt locks, and starts servers of its own. Runs are kept in the database of
    DATABASE_URL, else of the stack of `haven up` in .haven, where there is one.
    """


def _measuring(command: _Command) -> _Command:
    """The options of what measures."""
    options = (
        click.option("--quick", is_flag=True, help="A look: some 30 s, and less sure."),
        click.option(
            "--only", multiple=True, type=click.Choice(NAMES), help="This benchmark; may be repeated."
        ),
        click.option("--sessions", type=click.IntRange(2, 100), help="Starts of the processes."),
        click.option("--rounds", type=click.IntRange(3, 200), help="Of each start."),
        click.option("--json", "as_json", is_flag=True, help="Print the run as JSON."),
        _database_option,
    )
    for option in reversed(options):
        command = option(command)
    return command


_database_option = click.option(
    "--database-url", envvar="DATABASE_URL", help="Where runs are kept.  [default: DATABASE_URL, else .haven]"
)
_baseline_option = click.option(
    "--baseline",
    "path",
    type=click.Path(dir_okay=False, path_type=Path),
    default=files.BASELINE,
    help="The file of the baseline.  [default: benchmarks/baseline.json]",
)
_threshold_option = click.option(
    "--threshold",
    type=click.FloatRange(0.01, 1.0),
    default=0.05,
    show_default=True,
    help="The least change that matters.",
)


@bench.command()
@_measuring
def run(as_json: bool, database_url: str | None, **options: Any) -> None:
    """Measure this checkout."""
    with said(), _progress(as_json) as progress:
        found = _performance().measure_here(_plan(**options), progress=progress)
        _kept(found, database_url)
    _show(found, as_json=as_json)


@bench.command()
@_measuring
@_baseline_option
def baseline(as_json: bool, database_url: str | None, path: Path, **options: Any) -> None:
    """Measure this checkout, and write what later ones are compared with; the file is for git."""
    with said(), _progress(as_json) as progress:
        found = _performance().establish_baseline(_plan(**options), path=path, progress=progress)
        _kept(found, database_url)
    _show(found, as_json=as_json)
    if not as_json:
        click.echo(f"The baseline is in {path}.")


@bench.command()
@_measuring
@_baseline_option
@_threshold_option
@click.argument("rev", required=False)
def compare(
    as_json: bool, database_url: str | None, path: Path, threshold: float, rev: str | None, **options: Any
) -> None:
    """Compare this checkout with the revision REV, both measured in turns; without REV with the figures of the baseline."""
    with said(), _progress(as_json) as progress:
        plan, rules = _plan(**options), _rules(threshold)
        if rev is None:
            found = _performance().compare_against_baseline(plan, path=path, progress=progress, rules=rules)
        else:
            found = _performance().compare_revisions(rev, plan, progress=progress, rules=rules)
        _kept(found, database_url)
    _show(found, as_json=as_json)


@bench.command()
@_measuring
@_baseline_option
@_threshold_option
@click.option("--against", metavar="REV", help="A revision.  [default: that of the baseline]")
def regress(
    as_json: bool, database_url: str | None, path: Path, threshold: float, against: str | None, **options: Any
) -> None:
    """Exit code 1 where this checkout is slower than the baseline's revision, both measured in turns; an alert fires, too.

    It ends when a later run finds it gone. Exit code 3: nothing could be measured.
    """
    with said(), _progress(as_json) as progress:
        found = _performance().run_regression_test(
            _plan(**options), against=against, path=path, progress=progress, rules=_rules(threshold)
        )
        _kept(found, database_url, tells=True)
    _show(found, as_json=as_json)
    if found.regressions:
        names = ", ".join(f"{one.name} ({one.ratio:.2f} times)" for one in found.regressions)
        click.echo(f"Slower than {found.against}: {names}.", err=True)
        sys.exit(REGRESSED)


@bench.command()
@_database_option
@click.option("--json", "as_json", is_flag=True, help="Print the changes as JSON.")
def trend(database_url: str | None, as_json: bool) -> None:
    """Since when what is slower or faster: changes of level over the runs that were kept."""
    with said():
        _performance()
        from haven.benchmarking.trends import trends

        found = trends(_past(database_url))
    if as_json:
        click.echo(json.dumps([one.document() for one in found], indent=2))
        return
    table = Table("benchmark", "runs", "now", "changes of level", box=None)
    for one in found:
        words = [
            f"{change.ratio:.2f} times since {at:%Y-%m-%d %H:%M} ({revision[:10]})"
            for change, at, revision in one.told()
        ]
        table.add_row(one.name, str(len(one.runs)), _time(one.seconds), "; ".join(words) or "none")
    Console().print(table)


@bench.command()
@_database_option
@_baseline_option
@click.option(
    "--out",
    type=click.Path(dir_okay=False, path_type=Path),
    default=Path(".bench/report.html"),
    show_default=True,
    help="The file.",
)
def report(database_url: str | None, path: Path, out: Path) -> None:
    """One HTML file with the last run, the baseline and the history; it needs no network."""
    with said():
        _performance()
        from haven.benchmarking.report import page
        from haven.benchmarking.trends import trends

        last = files.read(files.LAST)
        base = files.read(path) if path.exists() else None
        past = _past(database_url) if _database(database_url) else []
        out.parent.mkdir(parents=True, exist_ok=True)
        out.write_text(page(last, base, trends(past)), encoding="utf-8")
    click.echo(f"The report is in {out}.")


def _performance() -> Any:
    """The module that measures and decides; it needs what only developers have installed."""
    import importlib

    missing = []
    for name in _NEEDED:
        try:
            importlib.import_module(name)
        except ImportError:
            missing.append(name)
    if missing:
        raise CannotMeasure(
            f"{', '.join(missing)} cannot be imported: benchmarks need what requirements-dev.txt locks"
            " (`python -m pip install --require-hashes -r requirements-dev.txt`)."
        )
    from haven.benchmarking import performance_benchmark

    return performance_benchmark


def _rules(threshold: float) -> Any:
    _performance()
    from haven.benchmarking.statistics import Rules

    return Rules(threshold)


def _plan(quick: bool, only: tuple[str, ...], sessions: int | None, rounds: int | None) -> Plan:
    plan = QUICK if quick else WHOLE
    if only:
        plan = replace(plan, names=tuple(name for name in NAMES if name in only))
    if sessions is not None:
        plan = replace(plan, sessions=sessions, most=sessions)
    return plan if rounds is None else replace(plan, rounds=rounds)


@contextmanager
def _progress(as_json: bool) -> Iterator[Callable[[int, int, str], None]]:
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.percentage:.0f} %"),
        TimeElapsedColumn(),
    )
    console = Console(stderr=True)
    with Progress(*columns, console=console, transient=True, disable=as_json) as bar:
        task = bar.add_task("starting servers …", total=None)
        yield lambda done, total, what: bar.update(task, completed=done, total=total, description=what)


def _kept(found: Run, database_url: str | None, *, tells: bool = False) -> None:
    """Keep a run: in a file, and in the database where there is one."""
    files.write(found, files.LAST)
    url = _database(database_url)
    if not url:
        found.notes.append(
            "Not kept in a database, and nobody was alerted: there is none (DATABASE_URL, or `haven up`)."
        )
        return
    from haven.benchmarking import history

    with _session(url) as session:
        history.keep(session, found)
        if tells:
            history.tell(session, found.verdicts)


def _past(database_url: str | None) -> list[Run]:
    from haven.benchmarking import history

    url = _database(database_url)
    if not url:
        raise CannotMeasure(
            "There is no history: set DATABASE_URL, or start `haven up` here, and measure some runs."
        )
    with _session(url) as session:
        return history.past(session)


def _database(given: str | None) -> str:
    """Where runs are kept; empty where nowhere."""
    if given:
        return given
    stack = StackFolder(HERE).read("stack.json")
    return str(stack["database_url"]) if stack else ""


@contextmanager
def _session(url: str) -> Iterator[Session]:
    from sqlalchemy import create_engine
    from sqlalchemy.exc import SQLAlchemyError

    import haven.models  # noqa: F401  every table must be known before the first query
    from haven.db.base import PLATFORM
    from haven.db.migrate import sqlalchemy_url
    from haven.db.session import tenant_session

    try:
        engine = create_engine(sqlalchemy_url(url), connect_args={"connect_timeout": 10})
        try:
            with tenant_session(engine, PLATFORM, "haven bench", is_platform=True) as session:
                yield session
        finally:
            engine.dispose()
    except SQLAlchemyError as error:
        reason = str(getattr(error, "orig", error)).strip().partition("\n")[0]
        raise CannotMeasure(f"the database of the runs does not answer as it should: {reason}") from None


def _show(found: Run, *, as_json: bool) -> None:
    if as_json:
        click.echo(json.dumps(found.document(), indent=2))
        return
    console = Console()
    verdicts = {one.name: one for one in found.verdicts}
    table = Table("benchmark", "what", box=None)
    headings = ("takes", "times the calibration", *(("ratio", "between", "starts", "") if verdicts else ()))
    for heading in headings:
        table.add_column(heading, justify="right")
    for name, figure in found.figures.items():
        row = [name, OF_NAME[name].title, _time(figure.seconds), f"{figure.ratio:.3g}"]
        if name in verdicts:
            one = verdicts[name]
            colour = _COLOURS[one.decision]
            row += [f"{one.ratio:.3f}", f"{one.low:.3f} and {one.high:.3f}", str(one.starts)]
            row.append(f"[{colour}]{one.decision}[/]")
        table.add_row(*row)
    console.print(table)
    against = f", against {found.against}" if found.against else ""
    console.print(
        f"\n{found.revision[:12]}{' with changes' if found.is_changed else ''}{against}", highlight=False
    )
    for note in found.notes:
        console.print(f"· {note}", highlight=False, markup=False)


def _time(seconds: float) -> str:
    for unit, factor in (("s", 1.0), ("ms", 1e3)):
        if seconds * factor >= 1:
            return f"{seconds * factor:.3g} {unit}"
    return f"{seconds * 1e6:.3g} µs"
