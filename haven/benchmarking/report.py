"""The report: one HTML file with its plots in it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from html import escape
from typing import Final

from haven.benchmarking.html import document
from haven.benchmarking.plan import OF_NAME
from haven.benchmarking.runs import Run, Verdict
from haven.benchmarking.trends import Trend

_WIDTH: Final = 760
_LEFT: Final = 120
_ROW: Final = 22
_HEIGHT: Final = 120


def page(last: Run, base: Run | None, trends: Sequence[Trend]) -> str:
    """The whole file."""
    head = f"{last.revision[:12]}{' with changes' if last.is_changed else ''}, {last.started_at:%Y-%m-%d %H:%M} UTC"
    parts = [
        f"<h1>Benchmarks of Haven</h1><p class=quiet>{escape(head)}; {escape(', '.join(map(str, last.machine.document().values())))}</p>",
        "".join(f"<p>{escape(note)}</p>" for note in last.notes),
    ]
    if last.verdicts:
        parts.append(f"<h2>Against {escape(last.against)}</h2>{_forest(last.verdicts)}")
    parts.append(f"<h2>Figures</h2>{_figures(last, base)}")
    parts.append(
        "<h2>Rounds</h2><p class=quiet>Each round as a ratio to the calibration beside it, start after start.</p>"
    )
    parts += [_rounds(last, name) for name in last.figures]
    parts.append("<h2>History</h2>")
    parts += [_history(one) for one in trends] or ["<p class=quiet>No runs are kept in a database.</p>"]
    return document("Benchmarks of Haven", parts)


def _forest(verdicts: Sequence[Verdict]) -> str:
    """Each ratio with its interval; the middle line is no change."""
    reach = max(0.1, *(abs(math.log(end)) for one in verdicts for end in (one.low, one.high)))
    reach = min(reach, math.log(3))

    def x(ratio: float) -> float:
        part = max(-1.0, min(1.0, math.log(ratio) / reach))
        return _LEFT + (_WIDTH - _LEFT - 150) * (part + 1) / 2

    height = _ROW * len(verdicts) + 24
    lines = [f'<line class="axis" x1="{x(1):.1f}" x2="{x(1):.1f}" y1="0" y2="{height - 20}"/>']
    for number, one in enumerate(verdicts):
        y = _ROW * number + 14
        lines.append(
            f'<g class="{one.decision}"><title>{escape(one.name)}: {one.ratio:.3f} times, between {one.low:.3f} and {one.high:.3f}</title>'
            f'<line class="reach" x1="{x(one.low):.1f}" x2="{x(one.high):.1f}" y1="{y}" y2="{y}"/>'
            f'<circle class="dot" cx="{x(one.ratio):.1f}" cy="{y}" r="4"/></g>'
            f'<text x="0" y="{y + 4}">{escape(one.name)}</text>'
            f'<text x="{_WIDTH - 140}" y="{y + 4}">{one.ratio:.3f}  {one.decision}</text>'
        )
    ends = "".join(
        f'<text x="{x(at):.1f}" y="{height - 4}" text-anchor="middle">{at:.2f}</text>'
        for at in (math.exp(-reach), 1, math.exp(reach))
    )
    return f'<svg viewBox="0 0 {_WIDTH} {height}" role="img" aria-label="Ratios with their intervals">{"".join(lines)}{ends}</svg>'


def _figures(last: Run, base: Run | None) -> str:
    rows = []
    for name, figure in last.figures.items():
        old = base.figures.get(name) if base else None
        before = f"{old.ratio:.3g}" if old else ""
        rows.append(
            f"<tr><td>{escape(name)}<td>{escape(OF_NAME[name].title)}<td class=n>{figure.seconds * 1000:.3g}"
            f"<td class=n>{figure.ratio:.3g}<td class=n>{before}"
        )
    heads = "<th>benchmark<th>what<th class=n>ms<th class=n>times the calibration<th class=n>in the baseline"
    return f"<table><tr>{heads}{''.join(rows)}</table>"


def _rounds(run: Run, name: str) -> str:
    values = [ratio for one in run.figures[name].starts for ratio in one]
    if not values:
        return ""
    return f"<h3>{escape(name)}</h3>{_plot(values, [str(value) for value in values], [], has_line=False)}"


def _history(trend: Trend) -> str:
    tips = [f"{run.started_at:%Y-%m-%d %H:%M} {run.revision[:10]}" for run in trend.runs]
    words = "; ".join(
        f"{change.ratio:.2f} times since {at:%Y-%m-%d} ({revision[:10]})"
        for change, at, revision in trend.told()
    )
    plot = _plot(trend.ratios, tips, [change.at for change in trend.changes], has_line=True)
    return f"<h3>{escape(trend.name)}</h3><p class=quiet>{escape(words) or 'no change of level'}</p>{plot}"


def _plot(values: Sequence[float], tips: Sequence[str], cuts: Sequence[int], *, has_line: bool) -> str:
    """Values from left to right, from nought up; ``cuts`` are marked."""
    # A single round ten times as long would press all others flat: it is drawn at the edge, with its figure.
    top = min(max(values), 3 * sorted(values)[len(values) // 2]) * 1.1
    step = (_WIDTH - 60) / max(1, len(values) - 1)
    places = [
        (40 + step * at, _HEIGHT - 14 - (_HEIGHT - 24) * min(value, top) / top)
        for at, value in enumerate(values)
    ]
    dots = "".join(
        f'<circle class="dot" cx="{x:.1f}" cy="{y:.1f}" r="2.5"><title>{escape(tip)}: {value:.4g}</title></circle>'
        for (x, y), tip, value in zip(places, tips, values, strict=True)
    )
    path = " ".join(f"{x:.1f},{y:.1f}" for x, y in places)
    line = f'<polyline class="line" points="{path}"/>' if has_line else ""
    marks = "".join(
        f'<line class="cut" x1="{places[at][0] - step / 2:.1f}" x2="{places[at][0] - step / 2:.1f}" y1="0" y2="{_HEIGHT - 14}"/>'
        for at in cuts
    )
    axis = f'<line class="axis" x1="40" x2="{_WIDTH}" y1="{_HEIGHT - 14}" y2="{_HEIGHT - 14}"/>'
    scale = f'<text x="0" y="14">{top:.3g}</text><text x="0" y="{_HEIGHT - 10}">0</text>'
    return f'<svg class="same" viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img">{axis}{scale}{line}{marks}{dots}</svg>'
