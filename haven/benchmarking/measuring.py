"""Measures one checkout, or two in turns: each side is a process of its own, started anew for each session."""

from __future__ import annotations

import json
import os
import select
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from random import Random
from typing import Any, Final

from haven.benchmarking.errors import CannotMeasure
from haven.benchmarking.plan import OF_NAME, Plan
from haven.stack_programs import CHECKOUT

Progress = Callable[[int, int, str], None]
"""Told of figures measured, figures to come in all, and what is measured now."""

_LAUNCH: Final = Path("benchmarks") / "suite" / "launch.py"
_READY_S: Final = 180
_FIGURE_S: Final = 120
_SERVERS_S: Final = 90
_CALLBACKS_A_FIGURE: Final = 9
"""As ``benchmarks/suite/endpoints.py`` has it; a test compares them."""
_SETTINGS_START: Final = ("HAVEN_", "PROMETHEUS_MULTIPROC_DIR")


@dataclass(frozen=True, slots=True)
class Side:
    """A checkout under a name: ``here``, ``there``."""

    name: str
    checkout: Path


@dataclass(slots=True)
class Times:
    """Seconds by session and round."""

    seconds: list[list[float]] = field(default_factory=list)
    calibration: list[list[float]] = field(default_factory=list)
    """Of the calibration that was measured right before each; empty where it was not asked for."""


@dataclass(slots=True)
class Measured:
    """``of[side][name]``, and why what is missing is missing."""

    of: dict[str, dict[str, Times]]
    missing: dict[str, str]
    took_s: float = 0.0


def measure(
    plan: Plan,
    sides: Sequence[Side],
    *,
    calibrates: bool,
    progress: Progress = lambda *_: None,
    unclear: Callable[[Measured], Sequence[str]] = lambda _: (),
) -> Measured:
    """Every benchmark of the plan on every side, in turns.

    Args:
        calibrates: measure the calibration before each figure: for figures that are kept and compared with later ones.
        unclear: asked after each of the plan's looks which benchmarks need more sessions.

    Raises:
        CannotMeasure: there is no checkout, no servers, or a process failed.
    """
    _check(sides)
    began = time.monotonic()
    measured = Measured({side.name: {} for side in sides}, {})
    with tempfile.TemporaryDirectory(prefix="haven-bench-") as folder, _servers(plan, Path(folder)) as where:
        walk = _Walk(plan, sides, calibrates, progress, measured)
        for session in range(plan.looks[-1]):
            if session in plan.looks:
                plan = replace(plan, names=tuple(unclear(measured)))
            if not plan.names:
                break
            walk.plan = plan
            with ExitStack() as stack:
                agents = {
                    side.name: stack.enter_context(_agent(plan, side, number, session, where, Path(folder)))
                    for number, side in enumerate(sides)
                }
                for agent in agents.values():
                    agent.wait_ready()
                walk.session(session, agents)
    measured.took_s = time.monotonic() - began
    return measured


class Agent:
    """A process that measures one side."""

    def __init__(self, asked: Mapping[str, Any], log: Path) -> None:
        self._log = log
        argv = [sys.executable, str(CHECKOUT / _LAUNCH), json.dumps(asked)]
        with log.open("ab") as errors:
            self._process = subprocess.Popen(
                argv,
                cwd=asked["checkout"],
                env=_environ(),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
            )
        self.names: set[str] = set()
        self.missing: dict[str, str] = {}

    def wait_ready(self) -> None:
        """Until it has all that is measured, or knows why not."""
        ready = self._answer(_READY_S)
        self.names, self.missing = set(ready["ready"]), ready["missing"]

    def measure(self, name: str) -> float:
        """Seconds of one."""
        assert self._process.stdin is not None
        with suppress(BrokenPipeError):  # it is dead: the answer that does not come says so
            self._process.stdin.write(json.dumps({"measure": name}).encode() + b"\n")
            self._process.stdin.flush()
        return float(self._answer(_FIGURE_S)["s"])

    def stop(self) -> None:
        """Let it end what it started, and see that it does."""
        assert self._process.stdin is not None
        with suppress(BrokenPipeError):
            self._process.stdin.close()
        try:
            self._process.wait(40)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def _answer(self, timeout_s: float) -> dict[str, Any]:
        out = self._process.stdout
        assert out is not None
        line = out.readline() if select.select([out], [], [], timeout_s)[0] else b""
        if not line:
            tail = self._log.read_text(errors="replace")[-3000:]
            raise CannotMeasure(f"A measuring process failed or did not answer in {timeout_s:.0f} s:\n{tail}")
        found: dict[str, Any] = json.loads(line)
        return found


class _Walk:
    """The order in which everything is measured."""

    def __init__(
        self,
        plan: Plan,
        sides: Sequence[Side],
        calibrates: bool,
        progress: Progress,
        measured: Measured,
    ) -> None:
        self.plan, self._sides = plan, sides
        self._calibrates, self._progress, self._measured = calibrates, progress, measured
        self._random = Random(plan.seed)
        self._done = self._in_session = 0
        self._session = -1

    def session(self, session: int, agents: Mapping[str, Agent]) -> None:
        """All rounds after one start."""
        for agent in agents.values():
            self._measured.missing.update(agent.missing)
        names = [one for one in self.plan.names if all(one in agent.names for agent in agents.values())]
        for name in names:
            for side in self._sides:
                times = self._measured.of[side.name].setdefault(name, Times())
                times.seconds.append([])
                if self._calibrates:
                    times.calibration.append([])
        for number in range(self.plan.warm_up + self.plan.rounds):
            counts = number >= self.plan.warm_up
            for at, name in enumerate(self._random.sample(names, len(names))):
                # Who comes first takes turns too: the second finds caches warm, or the processor hot.
                ordered = self._sides if (number + at) % 2 else tuple(reversed(self._sides))
                for side in ordered:
                    self._figure(side, name, agents[side.name], counts=counts)
                self._tell(session, name, len(names))

    def _figure(self, side: Side, name: str, agent: Agent, *, counts: bool) -> None:
        calibration = agent.measure(f"calibration_{OF_NAME[name].clock}") if self._calibrates else 0.0
        seconds = agent.measure(name)
        if not counts:
            return
        times = self._measured.of[side.name][name]
        times.seconds[-1].append(seconds)
        if self._calibrates:
            times.calibration[-1].append(calibration)

    def _tell(self, session: int, name: str, names: int) -> None:
        self._done += 1
        planned = next(look for look in self.plan.looks if look > session)
        left = (planned - session) * (self.plan.warm_up + self.plan.rounds) * names
        self._in_session = (self._in_session + 1) if session == self._session else 1
        self._session = session
        self._progress(
            self._done, self._done + left - self._in_session, f"start {session + 1} of {planned} · {name}"
        )


def _check(sides: Sequence[Side]) -> None:
    for path in (CHECKOUT / _LAUNCH, *(side.checkout / "haven" / "app.py" for side in sides)):
        if not path.exists():
            raise CannotMeasure(
                f"{path} is missing: benchmarks are made in a checkout of Haven's repository, with what requirements-dev.txt"
                " locks installed."
            )


@contextmanager
def _agent(
    plan: Plan, side: Side, number: int, session: int, where: Mapping[str, Any], folder: Path
) -> Iterator[Agent]:
    own = folder / side.name
    own.mkdir(exist_ok=True)
    pushes = plan.figures_a_session * _CALLBACKS_A_FIGURE
    asked = {
        "names": list(plan.names),
        "checkout": str(side.checkout),
        "folder": str(own),
        "addresses": dict(where),
        "database": f"haven_bench_{side.name}",
        "redis": 2 * number,
        "pushes": pushes * plan.looks[-1],
        "first_push": pushes * session,
    }
    agent = Agent(asked, own / "agent.log")
    try:
        yield agent
    finally:
        agent.stop()


@contextmanager
def _servers(plan: Plan, folder: Path) -> Iterator[Mapping[str, Any]]:
    """PostgreSQL and Valkey for what needs them, thrown away at the end."""
    if all(OF_NAME[name].kind == "micro" for name in plan.names):
        yield {}
        return
    log = folder / "servers.log"
    with log.open("ab") as errors:
        process = subprocess.Popen(
            [sys.executable, "-m", "benchmarks.suite.servers"],
            cwd=CHECKOUT,
            env=_environ(),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=errors,
        )
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        found = select.select([process.stdout], [], [], _SERVERS_S)[0]
        line = process.stdout.readline() if found else b""
        if not line:
            tail = log.read_text(errors="replace")[-2000:]
            raise CannotMeasure(f"PostgreSQL and Valkey could not be started:\n{tail}")
        yield json.loads(line)
    finally:
        process.stdin.close()
        try:
            process.wait(60)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _environ() -> dict[str, str]:
    """The environment without settings of Haven: a benchmark is of the code, not of what is set here."""
    from dataclasses import fields

    from config import Settings

    ours = {one.name.upper() for one in fields(Settings)}
    return {
        name: value
        for name, value in os.environ.items()
        if name not in ours and not name.startswith(_SETTINGS_START)
    }
