"""The processes that make the load, as the command sees them."""

from __future__ import annotations

import json
import queue
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Final

from haven.benchmarking.errors import CannotMeasure
from haven.loadtest.plan import Plan
from haven.loadtest.preparing import Prepared
from haven.stack_programs import CHECKOUT

_LAST_S: Final = 15.0
"""Longest wait for a process that was told to end, beyond the time that its users have."""
_ENDED: Final = "ended"


class Generators:
    """All of them; ``lines`` gives what they tell."""

    def __init__(self, plan: Plan, folder: Path) -> None:
        self._lines: queue.Queue[tuple[int, Mapping[str, Any]]] = queue.Queue()
        self._logs = [folder / f"generator-{number}.log" for number in range(plan.generators)]
        self._processes = [_start(log) for log in self._logs]
        self._running = set(range(plan.generators))
        self._is_told_to_end = False

    @property
    def pids(self) -> list[int]:
        return [process.pid for process in self._processes]

    def begin(self, plan: Plan, prepared: Prepared) -> None:
        """Ask each for its share, at once: they have been loading since they were started."""
        for number, process in enumerate(self._processes):
            asked = {
                "classes": list(plan.scenario.classes),
                "users": plan.users_of(number),
                "ramp_s": plan.ramp_s,
                "host": plan.host,
                "seed": f"{plan.seed}/{number}",
                "prepared": prepared.part(number, plan.generators),
            }
            _write(process, json.dumps(asked))
            threading.Thread(target=self._read, args=(number, process), daemon=True).start()

    def end(self, within_s: float) -> None:
        """Let users finish what is under way, in so many seconds; told once."""
        if not self._is_told_to_end:
            self._is_told_to_end = True
            for process in self._processes:
                _write(process, f"{within_s:g}")

    @property
    def are_done(self) -> bool:
        """Whether all have ended, and all they told has been taken."""
        return not self._running and self._lines.empty()

    def lines(self, wait_s: float) -> Iterator[tuple[int, Mapping[str, Any]]]:
        """What was told, each line with the number of its process; waits for the first.

        Raises:
            CannotMeasure: a process ended that nobody had told to.
        """
        with suppress(queue.Empty):
            yield from self._taken(*self._lines.get(timeout=wait_s))
            while True:
                yield from self._taken(*self._lines.get_nowait())

    def _taken(self, number: int, line: Mapping[str, Any]) -> Iterator[tuple[int, Mapping[str, Any]]]:
        if _ENDED not in line:
            yield number, line
            return
        self._running.discard(number)
        if not self._is_told_to_end:
            tail = self._logs[number].read_text(errors="replace")[-2000:]
            raise CannotMeasure(f"The load generator ended by itself:\n{tail}")

    def _read(self, number: int, process: subprocess.Popen[bytes]) -> None:
        assert process.stdout is not None
        for line in process.stdout:
            with suppress(ValueError):
                self._lines.put((number, json.loads(line)))
        self._lines.put((number, {_ENDED: True}))

    def stop(self) -> None:
        """See that none is left."""
        for process in self._processes:
            assert process.stdin is not None
            with suppress(OSError):
                process.stdin.close()
        for process in self._processes:
            try:
                process.wait(_LAST_S)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


@contextmanager
def generators(plan: Plan, folder: Path) -> Iterator[Generators]:
    """Processes that load what they need, and wait; at the end there are none."""
    started = Generators(plan, folder)
    try:
        yield started
    finally:
        started.stop()


def _start(log: Path) -> subprocess.Popen[bytes]:
    with log.open("wb") as errors:
        return subprocess.Popen(
            [sys.executable, "-m", "haven.loadtest.generator"],
            cwd=CHECKOUT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=errors,
            start_new_session=True,  # Ctrl-C is for the command, which lets them finish
        )


def _write(process: subprocess.Popen[bytes], line: str) -> None:
    assert process.stdin is not None
    with suppress(OSError):  # it is dead: its output, which ends, says so
        process.stdin.write(line.encode() + b"\n")
        process.stdin.flush()
