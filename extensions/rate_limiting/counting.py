"""Counting requests in sliding windows: in Redis for all processes, in memory for one."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple

import hiredis
import redis
from redis.commands.core import Script

from extensions.rate_limiting.rules import Rule

SLOTS: Final = 100
"""Parts of a window. A count leaves at most one part late: with 100, after 101 % of the window."""
CALLERS_KEPT: Final = 10_000
"""Windows that one process keeps in memory; the ones longest unused go."""
_SCRIPT: Final = (Path(__file__).parent / "window.lua").read_text(encoding="utf-8")

Rules = Sequence[tuple[str, Rule]]


class Standing(NamedTuple):
    """Where a caller stands in one limit: how many requests are left, and when the next one comes free."""

    name: str
    rule: Rule
    left: int
    frees_in_ms: int


class Verdict(NamedTuple):
    """Whether a request may go on, and where its caller stands in each limit."""

    is_allowed: bool
    standings: tuple[Standing, ...]

    @property
    def tightest(self) -> Standing:
        return tightest(self.standings)


def tightest(standings: Iterable[Standing]) -> Standing:
    """The limit with the least left; of two the one that keeps the caller waiting longer."""
    return min(standings, key=lambda one: (one.left, -one.frees_in_ms))


def verdict_of(rules: Rules, answer: Sequence[int]) -> Verdict:
    """What ``window.lua`` answered."""
    standings = [
        Standing(name, rule, answer[2 * at + 1], answer[2 * at + 2]) for at, (name, rule) in enumerate(rules)
    ]
    return Verdict(bool(answer[0]), tuple(standings))


class SharedWindows:
    """Windows in Redis: one script, one round trip, whatever the number of limits."""

    def __init__(self, client: redis.Redis, prefix: str) -> None:
        self._client = client
        self._prefix = prefix
        self._script: Script = client.register_script(_SCRIPT)

    def take(self, caller: str, rules: Rules, amount: int = 1) -> Verdict:
        """Count a request ``amount`` times; 0: only look.

        Raises:
            redis.RedisError: Redis does not answer.
        """
        keys, arguments = self._asked(caller, rules, amount)
        return verdict_of(rules, self._script(keys=keys, args=arguments, client=self._client))

    def packed(self, caller: str, rules: Rules) -> bytes:
        """The command that counts a request once, for whoever sends it together with others; ``verdict_of`` reads its answer."""
        keys, arguments = self._asked(caller, rules, 1)
        command: bytes = hiredis.pack_command(("EVALSHA", self._script.sha, len(keys), *keys, *arguments))
        return command

    def _asked(self, caller: str, rules: Rules, amount: int) -> tuple[list[str], list[Any]]:
        keys = [self._key(caller, name) for name, _ in rules]
        arguments: list[Any] = [SLOTS, amount]
        for _, rule in rules:
            arguments += (rule.amount, rule.window_ms)
        return keys, arguments

    def forget(self, caller: str, names: Iterable[str]) -> None:
        """Give a caller all of these limits back.

        Raises:
            redis.RedisError: Redis does not answer.
        """
        self._client.unlink(*(self._key(caller, name) for name in names))

    def clear(self) -> int:
        """Forget every window; how many there were.

        Raises:
            redis.RedisError: Redis does not answer.
        """
        count = 0
        for key in self._client.scan_iter(match=f"{self._prefix}:{{*", count=1000):
            count += int(self._client.unlink(key))
        return count

    def _key(self, caller: str, name: str) -> str:
        # The braces keep the windows of a caller on one node of a cluster.
        return f"{self._prefix}:{{{caller}}}:{name}"


class LocalWindows:
    """The same windows in the memory of one process; ``clock`` says the time in s."""

    def __init__(self, clock: Callable[[], float], kept: int = CALLERS_KEPT) -> None:
        self._clock = clock
        self._kept = kept
        self._windows: OrderedDict[tuple[str, str], _Window] = OrderedDict()
        self._lock = threading.Lock()

    def take(self, caller: str, rules: Rules, amount: int = 1) -> Verdict:
        """Count a request ``amount`` times; 0: only look."""
        now_ms = int(self._clock() * 1000)
        with self._lock:
            windows = [self._window(caller, name, rule) for name, rule in rules]
            for window in windows:
                window.move_to(now_ms)
            is_allowed = all(
                window.total + amount <= rule.amount for window, (_, rule) in zip(windows, rules, strict=True)
            )
            standings = []
            for window, (name, rule) in zip(windows, rules, strict=True):
                frees_in_ms = window.frees_at_ms - now_ms
                if is_allowed and amount:
                    window.count(now_ms, amount)
                standings.append(Standing(name, rule, max(0, rule.amount - window.total), frees_in_ms))
        return Verdict(is_allowed, tuple(standings))

    def forget(self, caller: str, names: Iterable[str]) -> None:
        """Give a caller all of these limits back."""
        with self._lock:
            for name in names:
                self._windows.pop((caller, name), None)

    def clear(self) -> int:
        """Forget every window; how many there were."""
        with self._lock:
            count = len(self._windows)
            self._windows.clear()
        return count

    def _window(self, caller: str, name: str, rule: Rule) -> _Window:
        width_ms = max(1, rule.window_ms // SLOTS)
        found = self._windows.get((caller, name))
        if found is None or found.width_ms != width_ms:
            found = self._windows[caller, name] = _Window(width_ms)
            if len(self._windows) > self._kept:
                self._windows.popitem(last=False)
        self._windows.move_to_end((caller, name))
        return found


class _Window:
    """One window, as ``window.lua`` has it."""

    __slots__ = ("_counts", "_slot", "total", "width_ms")

    def __init__(self, width_ms: int) -> None:
        self.width_ms = width_ms
        self.total = 0
        self._counts: OrderedDict[int, int] = OrderedDict()
        self._slot = 0

    def move_to(self, now_ms: int) -> None:
        """Let go of the slots that have left the window."""
        self._slot = now_ms // self.width_ms
        while self._counts and next(iter(self._counts)) < self._slot - SLOTS:
            self.total -= self._counts.popitem(last=False)[1]

    def count(self, now_ms: int, amount: int) -> None:
        slot = now_ms // self.width_ms
        self._counts[slot] = self._counts.get(slot, 0) + amount
        self.total += amount

    @property
    def frees_at_ms(self) -> int:
        oldest = next(iter(self._counts), self._slot)
        return (oldest + SLOTS + 1) * self.width_ms
