"""A load test as people read it: a table for the terminal, and one HTML file with plots that needs no network."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from typing import Final

from rich.table import Table

from haven.benchmarking.html import document
from haven.loadtest.outcome import Outcome
from haven.loadtest.tally import FLOW, HTTP, Series

_COLOURS: Final = {"pass": "green", "warn": "yellow", "critical": "bold red", "not known": "dim"}
_CLASSES: Final = {"pass": "faster", "warn": "unclear", "critical": "slower", "not known": "quiet"}
"""The styles of ``haven.benchmarking.html``."""
_STROKES: Final = ("var(--same)", "var(--unclear)", "var(--slower)", "var(--faster)", "var(--quiet)")
_WIDTH: Final = 760
_LEFT: Final = 56
_HEIGHT: Final = 150
_FOOT: Final = 18
_ERRORS_SHOWN: Final = 20


def targets_table(outcome: Outcome) -> Table:
    """Each figure beside its target."""
    table = Table("target", box=None)
    for heading in ("measured", "wanted (critical)"):
        table.add_column(heading, justify="right")
    table.add_column("")
    table.add_column("")
    for one in outcome.verdicts:
        colour = _COLOURS[one.verdict]
        value = one.target.shown(one.value) or "–"
        table.add_row(one.target.title, value, one.target.wanted, f"[{colour}]{one.verdict}[/]", one.why)
    return table


def requests_table(outcome: Outcome) -> Table:
    """Every route and flow, the most frequent first."""
    table = Table("what", box=None)
    for heading in ("count", "failed", "mean", "P50", "P95", "P99", "max (ms)"):
        table.add_column(heading, justify="right")
    for kind in (FLOW, HTTP):
        for name, series in _rows(outcome, kind):
            table.add_row(name, *_cells(series))
    return table


def page(outcome: Outcome) -> str:
    """The whole file."""
    plan = outcome.plan
    title = f"Load test of Haven: {plan.scenario.name}, {plan.users} users"
    parts = [
        f"<h1>{escape(title)}</h1><p class=quiet>{escape(_head(outcome))}</p>",
        *(f"<p><b>{escape(one)}</b></p>" for one in [*outcome.limits.sentences, *outcome.notes]),
        f"<h2>Targets</h2>{_targets(outcome)}",
        f"<h2>Over time</h2>{_plots(outcome)}",
        f"<h2>What people waited for</h2>{_figures(outcome, FLOW)}",
        f"<h2>Requests</h2>{_figures(outcome, HTTP)}",
        f"<h2>Errors</h2>{_errors(outcome)}",
        f"<h2>What Haven measured</h2>{_server(outcome)}",
    ]
    return document(title, parts)


def _head(outcome: Outcome) -> str:
    plan, revision = outcome.plan, outcome.revision
    changed = " with changes" if revision.is_changed else ""
    load = sum(outcome.load_averages) / len(outcome.load_averages) if outcome.load_averages else 0.0
    return (
        f"{plan.host}, {outcome.started_at:%Y-%m-%d %H:%M} UTC, {outcome.took_s:.0f} s, {plan.generators} generator(s),"
        f" revision {revision.commit[:12]}{changed}; {', '.join(map(str, outcome.machine.document().values()))};"
        f" load average {load:.1f}"
    )


def _targets(outcome: Outcome) -> str:
    rows = "".join(
        f"<tr><td>{escape(one.target.title)}<td class=n>{escape(one.target.shown(one.value)) or '–'}"
        f'<td class=n>{escape(one.target.wanted)}<td class="{_CLASSES[one.verdict]}">{one.verdict}'
        f"<td class=quiet>{escape(one.why)}"
        for one in outcome.verdicts
    )
    heads = "<th>target<th class=n>measured<th class=n>wanted (critical)<th><th>"
    return f"<table><tr>{heads}{rows}</table>"


def _figures(outcome: Outcome, kind: str) -> str:
    heads = "".join(
        f"<th class=n>{one}" for one in ("count", "failed", "mean", "P50", "P95", "P99", "max (ms)")
    )
    rows = "".join(
        f"<tr><td>{escape(name)}" + "".join(f"<td class=n>{cell}" for cell in _cells(series))
        for name, series in _rows(outcome, kind)
    )
    return f"<table><tr><th>what{heads}{rows}</table>" if rows else "<p class=quiet>None.</p>"


def _errors(outcome: Outcome) -> str:
    rows = "".join(
        f"<tr><td class=n>{count:,}<td>{escape(words)}"
        for words, count in outcome.tally.errors.most_common(_ERRORS_SHOWN)
    )
    return f"<table>{rows}</table>" if rows else "<p class=quiet>None.</p>"


def _server(outcome: Outcome) -> str:
    served = outcome.served
    if served.performance is None:
        return f"<p class=quiet>Not known: {escape(served.why)}.</p>"
    routes = "".join(
        f"<tr><td>{escape(row['method'])} {escape(row['route'])}<td class=n>{row['count']:,}<td class=n>{row['mean'] or 0:.3g}"
        f"<td class=n>{row['p95'] or 0:.3g}<td class=n>{row['sql_ms_mean']:.3g}"
        for row in served.document()["longest_routes"]
    )
    statements = "".join(
        f"<tr><td>{escape(one['text'][:200])}<td class=n>{one['count']:,}<td class=n>{one['mean_ms'] or 0:.3g}"
        f"<td class=n>{one['p95_ms'] or 0:.3g}<td class=n>{one['total_ms'] or 0:.0f}"
        for one in served.slow_statements
    )
    return (
        f"<p class=quiet>In the last {served.window_s} s, of all processes; durations in ms.</p>"
        f"<table><tr><th>route<th class=n>count<th class=n>mean<th class=n>P95<th class=n>of it SQL{routes}</table>"
        f"<p></p><table><tr><th>statement<th class=n>count<th class=n>mean<th class=n>P95<th class=n>in all{statements}</table>"
    )


@dataclass(frozen=True, slots=True)
class _Line:
    name: str
    points: Sequence[tuple[float, float | None]]


def _plots(outcome: Outcome) -> str:
    step, steps = outcome.step_s, outcome.tally.steps(outcome.step_s)
    users = outcome.tally.users
    of_share: dict[float, list[tuple[float, float | None]]] = {0.5: [], 0.95: [], 0.99: []}
    for at, one in steps:
        for share, ms in zip(of_share, one.percentiles(tuple(of_share)), strict=True):
            of_share[share].append((at, ms))
    percentiles = [_Line(f"P{share * 100:g}", points) for share, points in of_share.items()]
    rates = [_Line("requests/s", [(at, one.count / step) for at, one in steps])]
    failures = [_Line("failed/s", [(at, one.failed / step) for at, one in steps])]
    there = [_Line("users", [(at, float(count)) for at, count in users.items()])]
    return "".join(
        (
            _plot("Requests a second", rates),
            _plot("Duration of requests, ms", percentiles),
            _plot("Failed a second", failures),
            _plot("Users", there),
            _plot("Cores used", _cores(outcome)),
        )
    )


def _cores(outcome: Outcome) -> list[_Line]:
    """The generators', and on one machine those of the four that use most."""
    seconds = outcome.machine_seconds
    total: dict[str, float] = {}
    for second in seconds:
        for who, used in second.cores.items():
            total[who] = total.get(who, 0.0) + used
    most = sorted(total, key=lambda who: -total[who])[: len(_STROKES)]
    return [
        _Line(who, [(float(at), second.cores.get(who, 0.0)) for at, second in enumerate(seconds)])
        for who in most
    ]


def _plot(title: str, lines: Sequence[_Line]) -> str:
    """Lines from left to right, from nought up; where there is no value the line has a gap."""
    known = [(x, y) for line in lines for x, y in line.points if y is not None]
    if not known:
        return ""
    right, top = max(x for x, _ in known) or 1.0, max(y for _, y in known) * 1.1 or 1.0
    floor = _HEIGHT - _FOOT

    def place(x: float, y: float) -> str:
        return f"{_LEFT + (_WIDTH - _LEFT) * x / right:.1f},{floor - (floor - 8) * y / top:.1f}"

    drawn = []
    for line, stroke in zip(lines, _STROKES, strict=False):
        for run in _runs(line.points):
            path = " ".join(place(x, y) for x, y in run)
            drawn.append(
                f'<polyline style="stroke: {stroke}" class="line" points="{path}"><title>{escape(line.name)}</title></polyline>'
            )
    legend = " ".join(
        f'<span style="color: {stroke}">{escape(line.name)}</span>'
        for line, stroke in zip(lines, _STROKES, strict=False)
    )
    return (
        f"<h3>{escape(title)}</h3><p>{legend}</p>"
        f'<svg viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img" aria-label="{escape(title)}">'
        f'<line class="axis" x1="{_LEFT}" x2="{_WIDTH}" y1="{floor}" y2="{floor}"/>'
        f'<text x="0" y="14">{top:.3g}</text><text x="0" y="{floor}">0</text>'
        f'<text x="{_LEFT}" y="{_HEIGHT - 4}">0 s</text>'
        f'<text x="{_WIDTH}" y="{_HEIGHT - 4}" text-anchor="end">{right:.0f} s</text>{"".join(drawn)}</svg>'
    )


def _runs(points: Sequence[tuple[float, float | None]]) -> list[list[tuple[float, float]]]:
    """Stretches without a gap."""
    found: list[list[tuple[float, float]]] = [[]]
    for x, y in points:
        if y is None:
            found.append([])
        else:
            found[-1].append((x, y))
    return [run for run in found if run]


def _rows(outcome: Outcome, kind: str) -> list[tuple[str, Series]]:
    found = [(name, one) for (of, name), one in outcome.tally.of.items() if of == kind]
    return sorted(found, key=lambda row: -row[1].count)


def _cells(series: Series) -> list[str]:
    times = (series.mean, *series.percentiles((0.5, 0.95, 0.99)), series.max)
    return [
        f"{series.count:,}",
        f"{series.failed:,}",
        *(f"{ms or 0:,.0f}" if (ms or 0) >= 100 else f"{ms or 0:.3g}" for ms in times),
    ]
