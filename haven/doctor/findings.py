"""What an examination finds: one thing looked at, how it is, and what to do."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

TIMEOUT_S: Final = 20.0
"""The longest that one check may take; each call within it has a shorter time-out of its own."""


class Level(StrEnum):
    """``WARN`` is worth a look; with a ``FAIL`` Haven does not work as it should."""

    OK = "ok"
    WARN = "warn"
    FAIL = "fail"


@dataclass(frozen=True, slots=True)
class Finding:
    """``says`` is a sentence, and so is ``do`` where something is to be done. Neither holds a secret."""

    check: str
    level: Level
    says: str
    do: str = ""


def ok(check: str, says: str) -> Finding:
    return Finding(check, Level.OK, says)


def warn(check: str, says: str, do: str) -> Finding:
    return Finding(check, Level.WARN, says, do)


def fail(check: str, says: str, do: str) -> Finding:
    return Finding(check, Level.FAIL, says, do)


@dataclass(frozen=True, slots=True)
class Check:
    """A name, and what looks."""

    name: str
    look: Callable[[], Iterable[Finding]]


def examine(checks: Sequence[Check], timeout_s: float = TIMEOUT_S) -> list[Finding]:
    """The findings of all checks, in their order. They run side by side; one that is late is a finding itself."""
    answers = [_started(check) for check in checks]
    ends_at = time.monotonic() + timeout_s
    found: list[Finding] = []
    for check, answer in zip(checks, answers, strict=True):
        try:
            found += answer.get(timeout=max(0.0, ends_at - time.monotonic()))
        except queue.Empty:
            found.append(
                fail(
                    check.name,
                    f"It did not answer within {timeout_s:g} s.",
                    "Look at the network, the firewall and the name server between here and there.",
                )
            )
    return found


def _started(check: Check) -> queue.SimpleQueue[list[Finding]]:
    answer: queue.SimpleQueue[list[Finding]] = queue.SimpleQueue()
    threading.Thread(target=lambda: answer.put(_looked(check)), daemon=True).start()
    return answer


def _looked(check: Check) -> list[Finding]:
    try:
        return list(check.look())
    except Exception as error:  # noqa: BLE001  whatever it is, the other checks are still told
        # Its text may hold an address with a password: the type has to do.
        kind = type(error).__name__
        return [fail(check.name, f"It could not be looked at ({kind}).", "Tell Haven's maintainers of this.")]
