"""One attempt at a job: call its function under watch, and write down what came of it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, Protocol

import structlog

from extensions.jobs.watch import Connections, Interrupted, Reason, Watch

log = structlog.get_logger(__name__)

TIMED_OUT: Final = (
    "The attempt took longer than the {timeout_s:.0f} s that this kind of job may, and was stopped."
)
TOO_BIG: Final = (
    "The attempt needed more memory than the {limit_mib:.0f} MiB that a worker may use, and was stopped."
)
KILLED: Final = "The process that ran the attempt was killed ({how}): most often it was out of memory."


class Cancelled(Exception):
    """Somebody has cancelled the job; it stops where it can."""


class Postponed(Exception):
    """The job's time has not come: it waits ``wait_s`` seconds more, and this attempt does not count."""

    def __init__(self, wait_s: float, why: str) -> None:
        super().__init__(why)
        self.wait_s = wait_s


class CodeGone(Exception):
    """The job's function is not there any more."""


class Ledger(Protocol):
    """What writes one claim's job down. Each call is a transaction of its own."""

    def look(self, renews: bool) -> bool | None:
        """True: it shall be cancelled. None: it is not this claim's any more."""

    def succeed(self, result: dict[str, Any]) -> None: ...

    def fail(self, error: str, *, for_good: bool = False) -> None: ...

    def stop(self) -> None: ...

    def put_back(self, wait_s: float = 0) -> None: ...


def run_attempt(
    act: Callable[[Watch], dict[str, Any]],
    ledger: Ledger,
    *,
    timeout_s: float,
    memory_limit: int = 0,
    connections: Connections | None = None,
    words_of: Callable[[Exception], str] = lambda error: f"{type(error).__name__}: {error}",
) -> tuple[str, str]:
    """Make the attempt.

    Args:
        act: the job; ``watch.check()`` in it ends it where it shall end.
        connections: in a work horse; see ``Watch``.
        words_of: what is written of an error.

    Returns:
        What came of it (``SUCCEEDED``, ``FAILED``, ``CANCELLED``, ``PUT_BACK`` or ``LOST``), and why.
    """

    def ended(reason: Reason) -> tuple[str, str]:
        try:
            return _write_end(ledger, reason, timeout_s, memory_limit)
        except Exception as error:  # noqa: BLE001  the watch may have cancelled this statement with the job's own
            log.warning("job_end_not_written", error=type(error).__name__)
            return _write_end(ledger, reason, timeout_s, memory_limit)

    watch = Watch(ledger.look, ended_quietly(ended), timeout_s, memory_limit, connections)
    failure: BaseException | None = None
    result: dict[str, Any] = {}
    try:
        with watch:
            result = act(watch)
    except (Interrupted, Exception) as error:  # noqa: BLE001  whatever it is, the job's row must say so
        failure = error
    try:
        if watch.reason is not None and failure is not None:
            return ended(watch.reason)
        if isinstance(failure, Cancelled):
            ledger.stop()
            return "CANCELLED", ""
        if isinstance(failure, Postponed):
            ledger.put_back(failure.wait_s)
            return "PUT_BACK", str(failure)
        if isinstance(failure, Exception):
            log.error("job_attempt_failed", exc_info=failure)
            words = words_of(failure)
            ledger.fail(words, for_good=isinstance(failure, CodeGone))
            return "FAILED", words
        ledger.succeed(result)
    finally:
        watch.over()
    log.info("job_succeeded")
    return "SUCCEEDED", ""


def ended_quietly(ended: Callable[[Reason], tuple[str, str]]) -> Callable[[Reason], None]:
    """For the watch, which has no use for the answer."""

    def end(reason: Reason) -> None:
        ended(reason)

    return end


def _write_end(ledger: Ledger, reason: Reason, timeout_s: float, memory_limit: int) -> tuple[str, str]:
    log.warning("job_ended_early", reason=str(reason))
    if reason is Reason.CANCELLED:
        ledger.stop()
        return "CANCELLED", ""
    if reason is Reason.PUT_BACK:
        ledger.put_back()
        return "PUT_BACK", ""
    if reason is Reason.LOST:
        return "LOST", "Another worker has the job, or it has ended meanwhile."
    template = TIMED_OUT if reason is Reason.TIMED_OUT else TOO_BIG
    words = template.format(timeout_s=timeout_s, limit_mib=memory_limit / 2**20)
    ledger.fail(words)
    return "FAILED", words
