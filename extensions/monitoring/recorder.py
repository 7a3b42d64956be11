"""What a process measures: requests put down what they know in a queue; one thread of its own counts it and sends it on.

A request pays for an entry in a queue, nothing else: no lock, no Redis, no arithmetic of sketches.
"""

from __future__ import annotations

import atexit
import hashlib
import logging
import os
import re
import threading
import time
import weakref
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, Final

from extensions import trace
from extensions.contract import Metric
from extensions.monitoring.requests import Call, Finished
from extensions.monitoring.sketch import Sketch
from extensions.monitoring.slots import SLOT_S, Slot, Slots, labels_text
from extensions.monitoring.slow import slow_request
from extensions.monitoring.store import Store

log = logging.getLogger(__name__)

HTTP, STREAM, STATUS, BYTES, SQL, WAIT = (
    "http", "http_stream", "http_status", "http_bytes", "http_sql", "http_wait",
)  # fmt: skip
STATEMENT, OUTSIDE, CACHE, EVENT = "statement", "outside", "cache", "event"
JOB: Final = "job"
"""The metric of background jobs, and what stands for the method of one."""
FLUSH_S: Final = 1.0
SAMPLE_S: Final = 10.0
TELL_AGAIN_S: Final = 3600.0
"""How often Redis is told the text of a statement that it may have forgotten."""
_WAITING_MOST: Final = 100_000
"""Entries that wait to be counted; only a process whose thread is dead has so many."""
_TEXTS_MOST: Final = 2000
_STATEMENTS_MOST: Final = 300
_EVENT_STREAM: Final = "text/event-stream"
_NUMBERED: Final = re.compile(r"%\((\w+?)(?:_\d+)+\)s|%\((\w+)\)s")
_LIST: Final = re.compile(r"(%\(\w+\)s(?:::[\w \[\]]+)?)(?:, %\(\w+\)s(?:::[\w \[\]]+)?)+")
_QUOTED: Final = re.compile(r"'(?:[^']|'')*'")
_TEXT_LONGEST: Final = 2000


@dataclass(frozen=True, slots=True)
class Rules:
    """How a process measures.

    Args:
        slow_ms: a request over it is kept with its breakdown.
        slow_statement_ms: a statement over it is counted as slow.
        series_most: series of one slot.
        slow_kept: slow requests kept, here and over all processes.
    """

    slow_ms: float = 1000.0
    slow_statement_ms: float = 1000.0
    series_most: int = 2000
    slow_kept: int = 200


@dataclass(slots=True)
class Statement:
    """What is known of a statement besides its numbers. ``sample`` is its text as it was sent, without values."""

    fingerprint: str
    text: str
    sample: str
    route: str = ""
    request_id: str = ""
    told_at: float = 0.0


Sampler = Callable[[], Iterable[Metric]]


class Recorder:
    """The measurements of one app in one process.

    Args:
        store: where they go; it may be away at any time.
        clock: seconds since 1970; a test holds it.
    """

    def __init__(
        self, store: Store, rules: Rules | None = None, clock: Callable[[], float] = time.time
    ) -> None:
        self.rules = rules or Rules()
        self.store = store
        self.clock = clock
        self.on_finished: list[Callable[[list[Finished]], None]] = []
        """Told of the requests of each second by the counting thread, some at a time: those of a list are of one method,
        route and status."""
        self.on_sample: list[Callable[[list[Metric]], None]] = []
        self.samplers: list[Sampler] = []
        """Asked every ten seconds for their numbers, which become history."""
        self.begin_anew()
        _recorders.add(self)
        atexit.register(_flush_at_exit, weakref.ref(self))

    def begin_anew(self) -> None:
        """What a new process begins with: nothing of its parent's."""
        self._waiting: deque[Finished | tuple[str, str, float, bool]] = deque(maxlen=_WAITING_MOST)
        self._open: dict[int, float] = {}
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None
        self._stopped = threading.Event()
        self._sampled_at = 0.0
        self._last_totals: dict[tuple[str, str], float] = {}
        self._fingerprints: dict[str, Statement] = {}
        self.statements: dict[str, Statement] = {}
        self.slots = Slots(self.rules.series_most)
        self.slow: deque[dict[str, Any]] = deque(maxlen=self.rules.slow_kept)
        self._slow_untold: deque[dict[str, Any]] = deque(maxlen=self.rules.slow_kept)
        self.store.begin_anew()

    @property
    def in_flight(self) -> int:
        """Requests of this process whose answers are not closed yet."""
        return len(self._open)

    def opened(self, call: Call) -> None:
        """A request has come. The first of a process starts its thread."""
        if self._thread is None:
            self.start()
        # No reference to it: a call that its server forgets must be able to end.
        self._open[id(call)] = call.began_at

    def closed(self, call: Call, finished: Finished) -> None:
        """Its answer is closed."""
        self._open.pop(id(call), None)
        self._waiting.append(finished)

    def done(self, finished: Finished) -> None:
        """A piece of work is done that is no request: a job."""
        self._waiting.append(finished)

    def observe(self, metric: str, value: float, labels: str = "", *, is_error: bool = False) -> None:
        """Count one value of any metric: a duration in ms, a size, a level."""
        self._waiting.append((metric, labels, value, is_error))

    def own_slots(self, starts: frozenset[int]) -> list[Slot]:
        """Copies of what this process alone has counted in these slots, the newest included."""
        with self._lock:
            self._fold()
            return self.slots.copies(starts)

    def start(self) -> None:
        """Start the thread that counts and sends, unless it runs."""
        with self._lock:
            if self._thread is None:
                self._thread = threading.Thread(
                    target=_run, args=(weakref.ref(self), self._stopped), name="monitoring", daemon=True
                )
                self._thread.start()

    def stop(self) -> None:
        """Count and send what there is, and end the thread."""
        self._stopped.set()
        if self._thread is not None and self._thread is not threading.current_thread():
            self._thread.join(timeout=FLUSH_S)
        # A child that has measured nothing has nothing to say, least of all by its parent's connections.
        if self._thread is not None or self._waiting:
            self.flush()

    def sample_now(self) -> None:
        """Make the extensions' numbers those of this moment."""
        with self._lock:
            self._fold()
            self._sampled_at = 0.0
            self._sample()

    def statements_told(self, fingerprints: list[str]) -> dict[str, dict[str, str]]:
        """Fingerprint → text, sample, route and request id; what Redis does not say, this process may know."""
        own = {
            one.fingerprint: {
                "text": one.text, "sample": one.sample, "route": one.route, "request_id": one.request_id
            }
            for one in list(self.statements.values())
            if one.fingerprint in fingerprints
        }  # fmt: skip
        return own | (self.store.statements(fingerprints) or {})

    def flush(self) -> None:
        """Count what waits and send it."""
        with self._lock:
            self._fold()
            self._sample()
            now = self.clock()
            slot = self.slots.at(now)
            if slot.in_flight != self.in_flight or not slot.at:
                slot.is_sent = False
            slot.in_flight, slot.at, slot.process = self.in_flight, now, self.store.process
            told = [one for one in self.statements.values() if now - one.told_at >= TELL_AGAIN_S]
            slow = list(self._slow_untold)
            if self.store.send(self.slots.unsent(), slow, told, self.rules.slow_kept):
                for _ in slow:
                    self._slow_untold.popleft()
                for statement in told:
                    statement.told_at = now

    def _fold(self) -> None:
        alike: dict[tuple[int, str, str, int, bool], list[Finished]] = {}
        for _ in range(len(self._waiting)):
            one = self._waiting.popleft()
            if isinstance(one, Finished):
                is_stream = one.content_type.startswith(_EVENT_STREAM)
                kind = (int(one.at) // SLOT_S, one.method, one.route, one.status, is_stream)
                if (ones := alike.get(kind)) is None:
                    alike[kind] = [one]
                else:
                    ones.append(one)
            else:
                metric, labels, value, is_error = one
                slot = self.slots.at(self.clock())
                self.slots.sketch(slot, metric, labels).add(value, is_error=is_error)
        # Together, as what they share is looked up once: while they are counted no request is answered.
        for (number, method, _, _, is_stream), ones in alike.items():
            slot = self.slots.at(number * SLOT_S)
            if method == JOB:
                self._count_jobs(ones, slot)
            else:
                self._count_requests(ones, slot, is_stream=is_stream)

    def _count_jobs(self, ones: list[Finished], slot: Slot) -> None:
        kind = ones[0].route
        self._count_work(ones, f"{JOB} {kind}", slot)
        taken = _taken(ones)
        for labels in ("", kind):
            self.slots.sketch(slot, JOB, labels, len(ones)).merge(taken)

    def _count_requests(self, ones: list[Finished], slot: Slot, *, is_stream: bool) -> None:
        slots, count = self.slots, len(ones)
        first = ones[0]
        route = f"{first.method} {first.route}"
        self._count_work(ones, route, slot)
        taken = _taken(ones)
        slots.sketch(slot, STATUS, str(first.status), count).tally(count, taken.sum)
        slots.sketch(slot, BYTES, route, count).tally(count, sum([one.bytes for one in ones]))
        waited = [one.wait_ms for one in ones if one.wait_ms is not None]
        if waited:
            slots.sketch(slot, WAIT, "").add_all(waited)
        self._tell(ones)
        if is_stream:
            # It is as long as its client listens: that says nothing of how fast the application is.
            slots.sketch(slot, STREAM, route, count).merge(taken)
            return
        for labels in ("", route):
            slots.sketch(slot, HTTP, labels, count).merge(taken)
        for one in [one for one in ones if one.ms >= self.rules.slow_ms]:
            kept = slow_request(one, self._fingerprint)
            self.slow.append(kept)
            self._slow_untold.append(kept)

    def _tell(self, ones: list[Finished]) -> None:
        for told in self.on_finished:
            try:
                told(ones)
            except Exception:
                # A full disk under Prometheus' files must not take what is counted here.
                log.exception("requests could not be told of")

    def _count_work(self, ones: list[Finished], route: str, slot: Slot) -> None:
        slots = self.slots
        lookups: dict[str, int] = {}
        count, ms = 0, 0.0
        for one in ones:
            if one.trace.beyond:
                beyond = one.trace.beyond.get(trace.SQL, (0, 0.0))
                count += int(beyond[0])
                ms += beyond[1]
            for span in one.trace.spans:
                kind, name, _, span_ms, has_failed = span
                if kind == trace.LOOKUP:
                    lookups[name] = lookups.get(name, 0) + 1
                elif kind == trace.SQL:
                    count += 1
                    ms += span_ms
                    statement = self._statement(name)
                    is_slow = span_ms >= self.rules.slow_statement_ms
                    slots.sketch(slot, STATEMENT, statement.fingerprint).add(span_ms, is_error=is_slow)
                    self._note(statement, one, route, is_slow=is_slow)
                elif kind == trace.EVENT:
                    slots.sketch(slot, EVENT, name).tally(1, 0.0)
                elif kind == trace.OUTSIDE:
                    slots.sketch(slot, OUTSIDE, name).add(span_ms, is_error=has_failed)
        for name, times in lookups.items():
            slots.sketch(slot, CACHE, name, times).tally(times, 0.0)
        slots.sketch(slot, SQL, route, len(ones)).tally(count, ms)

    @staticmethod
    def _note(statement: Statement, one: Finished, route: str, *, is_slow: bool) -> None:
        """Whose statement it is: the last request where it was slow, else the first one that sent it."""
        if is_slow or not statement.request_id:
            statement.request_id, statement.route = one.request_id, route
            statement.told_at = 0.0

    def _statement(self, sample: str) -> Statement:
        found = self._fingerprints.get(sample)
        if found is None:
            found = self._known(sample)
            if len(self._fingerprints) < _TEXTS_MOST:
                self._fingerprints[sample] = found
        return found

    def _known(self, sample: str) -> Statement:
        text = statement_text(sample)
        fingerprint = hashlib.blake2b(text.encode(), digest_size=6).hexdigest()
        found = self.statements.get(fingerprint)
        if found is not None:
            return found
        if len(self.statements) >= _STATEMENTS_MOST:
            return self.statements.setdefault("other", Statement("other", "all other statements", ""))
        return self.statements.setdefault(fingerprint, Statement(fingerprint, text, sample))

    def _fingerprint(self, sample: str) -> tuple[str, str]:
        found = self._statement(sample)
        return found.fingerprint, found.text

    def _sample(self) -> None:
        """The extensions' numbers, every ten seconds: a level is one value, of a total what it grew by."""
        now = self.clock()
        if now - self._sampled_at < SAMPLE_S or not self.samplers:
            return
        self._sampled_at = now
        slot = self.slots.at(now)
        numbers = [one for sampler in self.samplers for one in sampled(sampler)]
        for one in numbers:
            labels = labels_text(dict(one.labels))
            sketch = self.slots.sketch(slot, one.name, labels)
            if one.name.endswith("_total"):
                before = self._last_totals.get((one.name, labels), 0.0)
                sketch.tally(1, max(one.value - before, 0.0))
                self._last_totals[one.name, labels] = one.value
            else:
                sketch.add(one.value)
        for told in self.on_sample:
            told(numbers)


def _taken(ones: list[Finished]) -> Sketch:
    """How long they took; of one status, so that all are errors or none is."""
    taken = Sketch()
    taken.add_all([one.ms for one in ones], len(ones) if ones[0].is_error else 0)
    return taken


def sampled(sampler: Sampler) -> list[Metric]:
    """The numbers of one source; none where it fails, which is logged."""
    try:
        return list(sampler())
    except Exception:
        log.exception("numbers could not be collected")
        return []


def statement_text(sample: str) -> str:
    """A statement as one line without values: all that differ in values or in how many they list have one text."""
    line = " ".join(sample.split())
    line = _QUOTED.sub("'?'", line)
    line = _NUMBERED.sub(lambda found: f"%({found[1] or found[2]})s", line)
    return _LIST.sub(r"\1, …", line)[:_TEXT_LONGEST]


def _run(of: weakref.ref[Recorder], stopped: threading.Event) -> None:
    while not stopped.wait(FLUSH_S):
        recorder = of()
        if recorder is None:
            return
        try:
            recorder.flush()
        except Exception:
            # Whatever it is, the next second is measured again.
            log.exception("monitoring failed for a second")
        del recorder


def _flush_at_exit(of: weakref.ref[Recorder]) -> None:
    recorder = of()
    if recorder is not None:
        recorder.stop()


_recorders: weakref.WeakSet[Recorder] = weakref.WeakSet()


def _begin_anew_in_child() -> None:
    for recorder in list(_recorders):
        recorder.begin_anew()


# A fork takes no thread along, and a lock as it is. Asking at each request which process this is would be a system call each.
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_begin_anew_in_child)
