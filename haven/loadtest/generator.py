"""``python -m haven.loadtest.generator``: one process of users. The command starts it; by hand it is of no use.

One line of JSON on standard input says what to do. Each second a line on standard output tells what happened in it. Another
line on standard input, a number of seconds, ends it: users finish what is under way in that time. The end of standard input
ends it at once, so that it never outlives the command.
"""

from __future__ import annotations

import gc
import json
import logging
import os
import sys
import time
from collections import Counter
from collections.abc import Mapping
from typing import Any, Final

import gevent
import gevent.os
from locust.env import Environment

from haven.loadtest import scenarios
from haven.loadtest.scenarios import Population
from haven.loadtest.tally import FLOW, HTTP, Key, short

_TELL_S: Final = 1.0
_TIMER_S: Final = 0.05
_ERROR_LONGEST: Final = 160
_ERRORS_MOST: Final = 50
"""Kinds of errors told in a second; what is more is told as one."""


class _Told:
    """What happened since the last line."""

    def __init__(self) -> None:
        self.series: dict[Key, dict[str, Any]] = {}
        self.errors: Counter[str] = Counter()

    def request(
        self, request_type: str, name: str, response_time: float, exception: Exception | None = None, **_: Any
    ) -> None:
        """Count a request or a flow; Locust calls it."""
        kind, named = (FLOW, name) if request_type == FLOW else (HTTP, f"{request_type} {name}")
        row = self.series.get((kind, named))
        if row is None:
            row = {"kind": kind, "name": named, "count": 0, "failed": 0, "sum_ms": 0.0, "times": Counter()}
            self.series[kind, named] = row
        row["count"] += 1
        row["sum_ms"] += response_time
        row["times"][f"{response_time:.3g}"] += 1
        if exception is not None:
            row["failed"] += 1
            self._error(f"{named}: {exception}")

    def user_error(self, user_instance: Any, exception: BaseException, **_: Any) -> None:
        """A scenario is wrong: that counts as an error, too; Locust calls it."""
        name = type(user_instance).__name__
        self.request(
            FLOW, f"{name} (a task broke)", 0.0, RuntimeError(f"{type(exception).__name__}: {exception}")
        )

    def _error(self, words: str) -> None:
        shown = words[:_ERROR_LONGEST]
        self.errors[shown if shown in self.errors or len(self.errors) < _ERRORS_MOST else "other errors"] += 1

    def taken(self) -> dict[str, Any]:
        """What there is, and begin anew."""
        found = {
            "series": [row | {"times": dict(row["times"])} for row in self.series.values()],
            "errors": dict(self.errors),
        }
        self.series, self.errors = {}, Counter()
        return found


class _Timer:
    """How late a timer of this process wakes: whoever waits for the processor, or behind another user, measures too much."""

    def __init__(self) -> None:
        self._late: list[float] = []

    def run(self) -> None:
        """For ever."""
        while True:
            began = time.perf_counter()
            gevent.sleep(_TIMER_S)
            self._late.append((time.perf_counter() - began - _TIMER_S) * 1000)

    def taken(self) -> float:
        """The mean since the last call, in ms."""
        late, self._late = self._late, []
        # Where it has not woken at all, it is late by as much as it is told of less often.
        return sum(late) / len(late) if late else _TELL_S * 1000


class _Teller:
    """Tells of each second. ``at`` in a line is the middle of what it tells of, in seconds since the process was asked."""

    def __init__(self, runner: Any, told: _Told, timer: _Timer) -> None:
        self._runner, self._told, self._timer = runner, told, timer
        self._began = self._at = time.monotonic()
        self._cpu_s = time.process_time()

    def run(self) -> None:
        """For ever."""
        while True:
            gevent.sleep(_TELL_S)
            self.tell()

    def tell(self) -> None:
        """A line of what happened since the last one."""
        cpu_s, at = time.process_time(), time.monotonic()
        line = {
            "at": round((self._at + at) / 2 - self._began, 2),
            "users": self._runner.user_count,
            "cpu": short((cpu_s - self._cpu_s) / max(at - self._at, 0.001)),
            "late_ms": short(self._timer.taken()),
            **self._told.taken(),
        }
        self._cpu_s, self._at = cpu_s, at
        sys.stdout.write(json.dumps(line) + "\n")
        sys.stdout.flush()


def main() -> None:
    """Make the load that standard input asks for."""
    logging.basicConfig(level=logging.WARNING, stream=sys.stderr)
    asked = json.loads(sys.stdin.buffer.readline())
    environment = _environment(asked)
    runner = environment.create_local_runner()
    told, timer = _Told(), _Timer()
    environment.events.request.add_listener(told.request)  # type: ignore[no-untyped-call]
    environment.events.user_error.add_listener(told.user_error)  # type: ignore[no-untyped-call]
    # What is here by now stays: no collection of a hundred thousand objects in the midst of a measurement.
    gc.collect()
    gc.freeze()
    teller = _Teller(runner, told, timer)
    helpers = [gevent.spawn(timer.run), gevent.spawn(teller.run)]
    if asked["users"]:
        runner.start(asked["users"], spawn_rate=asked["users"] / max(asked["ramp_s"], 0.1))
    environment.stop_timeout = _wait_for_the_end()
    runner.quit()
    gevent.killall(helpers)
    teller.tell()
    # Threads and pools of libraries have nothing to say any more.
    os._exit(0)


def _environment(asked: Mapping[str, Any]) -> Environment:
    classes = [getattr(scenarios, name) for name in asked["classes"]]
    environment = Environment(user_classes=classes, host=asked["host"])
    environment.population = Population(asked["prepared"], asked["seed"])  # type: ignore[attr-defined]
    return environment


def _wait_for_the_end() -> float:
    """Seconds that users have to finish; 0 where the command is gone."""
    line = b""
    while not line.endswith(b"\n"):
        read = gevent.os.tp_read(sys.stdin.fileno(), 64)
        if not read:
            return 0.0
        line += read
    return float(line)


if __name__ == "__main__":
    main()
