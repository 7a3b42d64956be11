"""One process's memory, looked at four times a second by a thread of its own, and what is done when it gets short."""

from __future__ import annotations

import gc
import logging
import os
import threading
import time
import weakref
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from typing import Any, Final, Literal

from extensions.memory.collector import Collector, give_large_blocks_back
from extensions.memory.culprits import Culprit, Suspects
from extensions.memory.family import Family
from extensions.memory.leak import LeakDetector
from extensions.memory.levels import Level, Thresholds
from extensions.memory.limits import Limit, find_limit
from extensions.memory.process import Process, System, Used, own_bytes, read_system
from extensions.memory.relief import Relief
from extensions.memory.shedding import Gate, Priorities, shed_up_to
from extensions.memory.store import Report, Store

log = logging.getLogger(__name__)

Role = Literal["web", "worker", "clock"]
LOOK_S: Final = 0.25
LOOK_SHORT_S: Final = 0.05
"""How often it looks while memory is short. A look takes some 50 µs, and requests may ask for a lot in a second."""
SAMPLE_S: Final = 5.0
POINT_LEAST_S: Final = 60.0
"""Points of the trend are so far apart at the least: within a minute a process that warms up grows like one that leaks."""
AGAIN_S: Final = {Level.WARNING: 60.0, Level.CRITICAL: 5.0, Level.EMERGENCY: 2.0}
"""How often room is made while a level lasts."""
RETIRE_AFTER_S: Final = 10.0
"""How long an emergency lasts, whatever was done, before a process is given up."""
OURS_LEAST: Final = 0.1
"""A program with less than this share of the limit is not the one to refuse its callers: it would free nothing."""
GROWN_LEAST: Final = 0.05
"""A process that has grown by less than this share of the limit frees too little by its end."""
_WORTH_TELLING: Final = 1 << 20
NAMED_FOR_S: Final = 3600.0
"""How long a culprit is believed before it is looked for again."""


@dataclass(frozen=True, slots=True)
class Rules:
    """How memory is watched.

    Args:
        limit_bytes: what a program may have; 0: as the cgroup or the machine has it.
        interval_s: how often USS is read.
        process_limit_bytes: a process above it is replaced, where somebody does that; 0: none is.
        gc_threshold: allocations before the youngest are collected; 0: as Python has it.
    """

    limit_bytes: int = 0
    thresholds: Thresholds = field(default_factory=Thresholds)
    interval_s: float = 60.0
    process_limit_bytes: int = 0
    gc_threshold: int = 0


class Watcher:
    """Watches this process, and those it is forked into, each on its own.

    Args:
        family: the processes of the program.
        limit: what memory is measured against; found when it is first wanted.
        size: this process's own bytes, for the trend.
        clock: seconds; a test holds it.
    """

    def __init__(
        self,
        rules: Rules,
        store: Store,
        role: Role = "web",
        priorities: Priorities | None = None,
        *,
        family: Family | None = None,
        limit: Limit | None = None,
        size: Callable[[], int] = own_bytes,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.rules = rules
        self.interval_s = rules.interval_s
        self.store = store
        self.role: Role = role
        self.family = family or Family(clock=clock)
        self.gate = Gate(priorities or Priorities())
        self.relief = Relief()
        self.collector = Collector(size)
        self.retire: Callable[[], object] | None = None
        """Ends this process once its requests are done; somebody starts another in its place. None: nobody would."""
        self._given_limit = limit
        self._clock = clock
        self._suspects = Suspects()
        weakref.finalize(self, self.collector.detach)
        self.begin_anew()
        _watchers.add(self)

    def begin_anew(self) -> None:
        """What a new process begins with: nothing of its parent's, and no thread."""
        self._lock = threading.Lock()
        self._acting = threading.RLock()
        self._thread: threading.Thread | None = None
        self._stopped = threading.Event()
        self.gate.begin_anew()
        self.collector.begin_anew()
        self._drop_suspects()
        self._leaks = LeakDetector()
        self.verdict = self._leaks.verdict()
        self.culprits: list[Culprit] = []
        self._limit: Limit | None = None
        self._process: Process | None = None
        self._began_at = self._clock()
        self.level = Level.NORMAL
        self.used_bytes = 0
        self.used = Used(0, 0, 0.0, 0, 0)
        self.system = System(0.0, 0.0, 0.0, 0.0, 1)
        self.is_retiring = False
        self._level_since = self._sampled_at = self._weighed_at = float("-inf")
        self._relieved_at = self._named_at = float("-inf")
        self._point_at = self._clock()

    @property
    def limit(self) -> Limit:
        """What memory is measured against."""
        if self._limit is None:
            self._limit = self._given_limit or find_limit(self.rules.limit_bytes, self.family)
        return self._limit

    @property
    def share(self) -> float:
        """Used of the limit, from 0; over 1 where a setting is exceeded."""
        return self.used_bytes / self.limit.bytes

    @property
    def is_ours(self) -> bool:
        """Whether this program has enough of the memory for its own doing to help; a cgroup is for it alone."""
        return self.limit.source != "machine" or self.family.resident() >= OURS_LEAST * self.limit.bytes

    @property
    def is_watching(self) -> bool:
        """Whether this process's thread looks."""
        return self._thread is not None and self._thread.is_alive()

    @property
    def is_shedding(self) -> bool:
        return self.gate.up_to is not None

    @property
    def gc_share(self) -> float:
        """The share of this process's life for which it stood still to collect."""
        return self.collector.pause_ms_total / 1000 / max(self._clock() - self._began_at, 1.0)

    @property
    def pause_s(self) -> float:
        """How long until the next look."""
        return LOOK_S if self.level == Level.NORMAL else LOOK_SHORT_S

    def start(self, interval_s: float | None = None) -> None:
        """Watch from here on, unless it is watched.

        Args:
            interval_s: how often USS is read, in place of the rules'.
        """
        with self._lock:
            if interval_s is not None:
                self.interval_s = interval_s
            if self._thread is None:
                self._thread = threading.Thread(
                    target=_run, args=(weakref.ref(self), self._stopped), name="memory", daemon=True
                )
                self._begin()
                self._thread.start()

    def stop(self) -> None:
        """Watch no more."""
        self._stopped.set()
        thread = self._thread
        if thread is not None and thread is not threading.current_thread():
            thread.join(timeout=LOOK_S)
        self.collector.detach()
        self._drop_suspects()

    def tick(self) -> None:
        """One look, and whatever is due."""
        with self._acting:
            self._look()
            self._act()
            self._sample_when_due()
            if self._clock() - self._point_at >= max(self.interval_s, POINT_LEAST_S):
                self._take_point()
            self._retire_when_due()

    def refresh(self) -> None:
        """Make the numbers those of this moment, whoever watches."""
        with self._acting:
            self._look()
            self._sample_when_due()

    def report(self) -> Report:
        """This process as others are told of it."""
        verdict = self.verdict
        point_s = max(self.interval_s, POINT_LEAST_S)
        return {
            "host": self.store.host,
            "pid": os.getpid(),
            "role": self.role,
            "at": time.time(),
            **self.used._asdict(),
            "level": self.level.name,
            "shedding": self.is_shedding,
            "gc": [_rounded(asdict(one)) for one in self.collector.generations],
            "trend": {
                "bytes_per_minute": round(verdict.bytes_per_point * 60 / point_s),
                "confidence": round(verdict.confidence, 5),
                "is_leak": verdict.is_leak,
                "culprits": self.culprits,
            },
        }

    def _begin(self) -> None:
        if self.rules.gc_threshold:
            gc.set_threshold(self.rules.gc_threshold, *gc.get_threshold()[1:])
        give_large_blocks_back()
        self.collector.attach()
        self.gate.set(self.gate.up_to)
        self._process = Process()

    def _look(self) -> None:
        self.used_bytes = self.limit.used()
        level = self.rules.thresholds.level(self.share, self.level)
        if level != self.level:
            log.log(
                logging.WARNING if level > self.level else logging.INFO,
                "memory is at %.0f %% of %d MiB (%s): %s",
                100 * self.share,
                self.limit.bytes >> 20,
                self.limit.source,
                level.name,
            )
            self._relieved_at = self._relieved_at if level < self.level else float("-inf")
            self.level, self._level_since = level, self._clock()

    def _act(self) -> None:
        self._shed()
        if self.level == Level.NORMAL or self._clock() - self._relieved_at < AGAIN_S[self.level]:
            return
        before = self.used_bytes
        self.relief.act(self.level.pressure)
        self._relieved_at = self._clock()
        self._look()
        self._shed()
        if before - self.used_bytes >= _WORTH_TELLING:
            log.info("made room under memory pressure: %d MiB", (before - self.used_bytes) >> 20)

    def _shed(self) -> None:
        up_to = shed_up_to(self.level, self.share, self.rules.thresholds)
        if up_to is not None and not self.is_ours:
            up_to = None
        if (up_to is None) != (self.gate.up_to is None):
            words = (
                "requests are refused no more; %d were"
                if up_to is None
                else "requests are refused; %d were before"
            )
            log.warning(words, sum(self.gate.refused.values()))
        self.gate.set(up_to)

    def _sample_when_due(self) -> None:
        now = self._clock()
        if now - self._sampled_at < SAMPLE_S:
            return
        process = self._process = self._process or Process()
        if now - self._weighed_at >= self.interval_s:
            self._weighed_at = now
            process.weigh()
        self._sampled_at = now
        self.used, self.system = process.used(), read_system()
        self.store.write(self.report())

    def _take_point(self) -> None:
        """A point of the trend, and the search for who leaks, where one is suspected."""
        self._point_at = self._clock()
        had_leak = self.verdict.is_leak
        self._leaks.add(self.collector.size_after_collection())
        self.verdict = verdict = self._leaks.verdict()
        if verdict.is_leak and not had_leak:
            log.warning("this process loses memory: %.1f MiB at each look", verdict.bytes_per_point / 2**20)
        if not (verdict.is_leak or verdict.is_suspect):
            self._drop_suspects()
            self.culprits = []
        elif self._suspects.is_watching and verdict.is_leak:
            self._name()
        elif not self._suspects.is_watching and self._may_watch():
            self._suspects.begin()

    def _may_watch(self) -> bool:
        """Whether it is time to look for who leaks. Counting takes memory too: not while there is none."""
        return self._clock() - self._named_at >= NAMED_FOR_S and self.level < Level.EMERGENCY

    def _name(self) -> None:
        self.culprits = self._suspects.end()
        self._named_at = self._clock()
        log.warning("what has grown most: %s", ", ".join(one["what"] for one in self.culprits) or "nothing")

    def _drop_suspects(self) -> None:
        if self._suspects.is_watching:
            self._suspects.drop()

    def _retire_when_due(self) -> None:
        if self.retire is None or self.is_retiring or not (self._is_hopeless() or self._is_too_large()):
            return
        if not self.family.is_largest(os.getpid()):
            # One at a time, and the one that frees most.
            return
        self.is_retiring = True
        log.warning(
            "this process ends, so that another takes its place: it has %d MiB", self.used.rss_bytes >> 20
        )
        self.retire()

    def _is_hopeless(self) -> bool:
        """Whether the emergency goes on whatever was done, since it began or a process last came or went."""
        if self.level < Level.EMERGENCY or not self.is_ours or self._process is None:
            return False
        grown = self._process.rss() - self._process.began_with
        waited_s = self._clock() - max(self._level_since, self.family.changed_at)
        return waited_s >= RETIRE_AFTER_S and grown >= GROWN_LEAST * self.limit.bytes

    def _is_too_large(self) -> bool:
        most = self.rules.process_limit_bytes
        return bool(most) and self._process is not None and self._process.rss() > most


def _rounded(generation: dict[str, Any]) -> dict[str, Any]:
    return {name: round(number, 3) for name, number in generation.items()}


def _run(of: weakref.ref[Watcher], stopped: threading.Event) -> None:
    pause_s = 0.0
    while not stopped.wait(pause_s):
        watcher = of()
        if watcher is None:
            return
        try:
            watcher.tick()
        except Exception:
            # Whatever it is, the next second is looked at again.
            log.exception("memory could not be watched for a moment")
        pause_s = watcher.pause_s
        del watcher


_watchers: weakref.WeakSet[Watcher] = weakref.WeakSet()


def _begin_anew_in_child() -> None:
    for watcher in list(_watchers):
        watcher.begin_anew()


# A fork takes no thread along, and a lock as it is: whoever forks, the child begins anew.
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_begin_anew_in_child)
