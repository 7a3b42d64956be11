"""What does not change when Haven does: the same work on every machine and revision, so a measure of the machine alone."""

from __future__ import annotations

import hashlib
import json

from benchmarks.suite.benchmark import Benchmark

_ROWS = [{"id": number, "name": f"Unit {number}", "rent": f"{number * 1000}.00"} for number in range(60)]


def _work() -> int:
    """Bytecode, dictionaries, text, JSON and a hash: some of each, as a request has it."""
    total = 0
    seen: dict[str, int] = {}
    for number in range(1500):
        key = f"k{number % 97}"
        seen[key] = seen.get(key, 0) + number
        total += number * 3 % 7
    text = json.dumps(_ROWS)
    total += len(json.loads(text))
    digest = hashlib.sha256(text.encode() * 4).hexdigest()
    return total + len(sorted(seen, key=lambda one: seen[one])) + len(digest)


def calibration(clock: str) -> Benchmark:
    """The work by one of the two clocks: what is measured by it is divided by this."""
    return Benchmark(f"calibration_{clock}", _work, 4, "cpu" if clock == "cpu" else "wall")
