"""The cache itself: look, or compute once for all who ask. Knows Redis, not Flask.

Nothing here raises because of Redis: while it is away every value is computed, and every clearing is either kept as a debt
(``writes``) or refused with ``Unavailable`` to the one who asked for it by hand.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any, Final, Generic, NamedTuple, TypeVar

from extensions import trace
from extensions.caching.debts import Debts, NoDebts
from extensions.caching.flights import Flight, Flights, Leases
from extensions.caching.generations import Generations, Question
from extensions.caching.keys import EVERYTHING, Keys, Place, lease, namespace_tag
from extensions.caching.link import Link, Unavailable
from extensions.caching.local import LocalEntries
from extensions.caching.statistics import BYPASSED, BYTES, COMPUTED, HITS, MISSES, STALE, Statistics
from extensions.caching.values import Entry, from_json, pack, to_json, unpack

T = TypeVar("T")
HIT, MISS, STALE_HIT, BYPASS = "HIT", "MISS", "STALE", "BYPASS"
_COUNTED: Final = {HIT: HITS, MISS: MISSES, STALE_HIT: STALE, BYPASS: BYPASSED}
_VERSIONS_KEPT: Final = 10_000
_SCAN_STEP: Final = 200
_UNLINK_AT_ONCE: Final = 200
_FIRST_POLL_S: Final = 0.005
_LONGEST_POLL_S: Final = 0.05


@dataclass(frozen=True, slots=True)
class Rules:
    """How a cache behaves; seconds and bytes."""

    is_on: bool = True
    """False: nothing is read or stored; what is written is still cleared, so that it can be switched on again."""
    ttl_s: float = 3600
    stale_s: float = 60
    """How long after its end a value may be served while somebody computes the next."""
    wait_s: float = 2
    """The longest that one waits for another's computation."""
    lease_s: float = 10
    """The longest that a computation keeps others, in other processes, from beginning theirs."""
    beta: float = 1.0
    compress_from: int = 4096
    largest: int = 1_048_576
    local_bytes: int = 16_777_216


class Asked(NamedTuple):
    """A place, with what stays the same each time that ``guess`` is asked for it."""

    place: Place
    tags: tuple[str, ...]
    hit: trace.Span
    """A hit as statistics and traces know it."""
    question: Question


class Guess(NamedTuple):
    """What this process keeps of a place, and the question to Redis whose answer says whether that still counts."""

    asked: Asked
    version: str
    entry: Entry
    question: Question


@dataclass(frozen=True, slots=True)
class Fetched(Generic[T]):
    """What a look-up gave: ``value`` where it was computed here, ``entry`` where it was stored, or both."""

    outcome: str
    value: T | None
    entry: Entry | None


def _newer(stored: Entry | None, seen: Entry | None) -> Entry | None:
    """What is stored, if it is good and not what was seen before."""
    if stored is None or stored.is_expired() or (seen is not None and stored.at <= seen.at):
        return None
    return stored


class Cache:
    """One cache over one Redis."""

    def __init__(self, link: Link, keys: Keys | None = None, rules: Rules | None = None) -> None:
        self.link = link
        self.keys = keys or Keys()
        self.rules = rules or Rules()
        self.generations = Generations(link, self.keys)
        self.debts: Debts = NoDebts()
        self._leases = Leases(link, self.rules.lease_s)
        self._start()

    def _start(self) -> None:
        self.statistics = Statistics(self.link, self.keys)
        self.local = LocalEntries(self.rules.local_bytes)
        self._flights = Flights()
        self._versions: dict[tuple[str, tuple[str, ...]], str] = {}

    def reset(self) -> None:
        """As new, after a fork: connections, locks and counts were the parent's."""
        self.link.reset()
        self.debts.reset()
        self._start()

    # Single values

    def get(self, place: Place) -> Any:
        """The value; None where there is none (any more)."""
        entry = self._stored(place)
        return None if entry is None else from_json(entry.body)

    def has(self, place: Place) -> bool:
        """Whether there is a value, None too."""
        return self._stored(place) is not None

    def set(self, place: Place, value: Any, ttl_s: float | None = None) -> bool:
        """Store a JSON value; whether that worked. One that JSON cannot hold is a ``TypeError``."""
        return self._set(place, value, ttl_s, self.rules.stale_s)

    def set_exactly(
        self, place: Place, value: Any, ttl_s: float | None = None, *, only_new: bool = False
    ) -> bool:
        """The same, but at its end the value is gone: nobody is served it while the next is computed.

        Args:
            only_new: store only where there is none; of many who do so at once one succeeds.
        """
        return self._set(place, value, ttl_s, 0, only_new=only_new)

    def delete(self, place: Place) -> bool:
        """Remove one value; whether there was one. Raises ``Unavailable``: what could not be removed is still there."""
        version, _ = self.generations.read(place.owner, place.every_tag())
        if version is None:
            return False
        return bool(self.link.run(lambda client: client.unlink(self.keys.entry(place, version))))

    def get_or_compute(self, place: Place, compute: Callable[[], T], ttl_s: float | None = None) -> Any:
        """The stored value, or that of ``compute``, called once however many ask at the same time.

        What is computed comes back as JSON has it, so the first caller and the second get the same.
        """
        fetched = self.fetch(place, compute, lambda value: (b"", to_json(value)), ttl_s)
        if fetched.entry is not None:
            return from_json(fetched.entry.body)
        return from_json(to_json(fetched.value))

    # Clearing

    def clear_tags(self, owner: str, tags: Iterable[str]) -> None:
        """Everything of ``owner`` with one of the tags is gone, for every process, at once. Raises ``Unavailable``."""
        self.generations.clear(owner, tags)

    def clear_pattern(self, owner: str, pattern: str) -> int | None:
        """Everything of ``owner`` like ``namespace:key`` is gone. Raises ``Unavailable``.

        ``*`` and ``namespace:*`` begin a new generation, in one step whatever is stored (the answer is None). Any other
        pattern is looked for, a few hundred keys at a time so that Redis serves others in between (the answer is how many).
        A whole ``key`` part of ``*`` also reaches what processes keep in their own memory.
        """
        namespace, _, key = pattern.partition(":")
        if pattern == "*" or (namespace == "*" and key in ("", "*")):
            self.generations.clear(owner, [EVERYTHING])
            return None
        if key in ("", "*") and not set(namespace) & set("*?["):
            self.generations.clear(owner, [namespace_tag(namespace)])
            return None
        return self.link.run(lambda client: self._clear_found(client, owner, namespace, key or "*"))

    # The computation of one for all

    def fetch(
        self,
        place: Place,
        compute: Callable[[], T],
        store: Callable[[T], tuple[bytes, bytes] | None],
        ttl_s: float | None = None,
        *,
        keeps_locally: bool = False,
    ) -> Fetched[T]:
        """Look, or compute.

        Args:
            store: head and body to store of what was computed; None: it is not to be stored.
            keeps_locally: keep the bytes in this process as well; they are served only under a version read from Redis.
        """
        if not self.rules.is_on:
            return Fetched(BYPASS, compute(), None)
        try:
            fetched = self._fetch(place, compute, store, self._ttl(ttl_s), keeps_locally)
        except Unavailable:
            fetched = Fetched(BYPASS, compute(), None)
        self.statistics.count(place.owner, place.namespace, _COUNTED[fetched.outcome])
        return fetched

    def _fetch(
        self,
        place: Place,
        compute: Callable[[], T],
        store: Callable[[T], tuple[bytes, bytes] | None],
        ttl_s: float,
        keeps_locally: bool,
    ) -> Fetched[T]:
        # Before the version is read: see ``debts``.
        is_trusted = self.debts.is_fresh()
        for _ in range(2):
            version, entry = self._look(place, keeps_locally)
            if version is None:
                if not is_trusted:
                    self.debts.are_none()  # the hold may be one that a debt ends
                break
            key = self.keys.entry(place, version)
            flight, is_pilot = self._flights.board(key) if self._is_wanting(entry) else (None, False)
            if is_pilot and flight is not None:
                return self._fly(place, version, entry, flight, is_trusted, compute, store, ttl_s)
            if not is_trusted:
                is_trusted = self.debts.are_none()
                if not is_trusted:
                    break
                continue
            if entry is not None:
                return Fetched(STALE_HIT if entry.is_expired() else HIT, None, entry)
            assert flight is not None
            landed: Entry | None = flight.wait(self.rules.wait_s)
            if landed is not None:
                return Fetched(HIT, None, landed)
            break
        return Fetched(BYPASS, compute(), None)

    def _is_wanting(self, entry: Entry | None) -> bool:
        return entry is None or entry.is_to_refresh(self.rules.beta)

    def _fly(
        self,
        place: Place,
        version: str,
        entry: Entry | None,
        flight: Flight,
        is_trusted: bool,
        compute: Callable[[], T],
        store: Callable[[T], tuple[bytes, bytes] | None],
        ttl_s: float,
    ) -> Fetched[T]:
        """Compute for everybody in this process; where another process is at it, serve what there is, or wait for that.

        ``is_trusted`` was so before the version was read: without it nothing that others computed is served.
        """
        key = self.keys.entry(place, version)
        landed: Entry | None = None
        token: str | None = None
        try:
            token, stored = self._leases.take(lease(key), key)
            if token is None and not is_trusted:
                is_trusted = self._is_still(place, version)
            if is_trusted:
                # What another has stored since we looked, what there was, or what another is about to store.
                landed = _newer(unpack(stored), entry) or (entry if token is None else None)
                if token is None and landed is None:
                    landed, token = self._await(key)
                if landed is not None:
                    return Fetched(STALE_HIT if landed.is_expired() else HIT, None, landed)
            began = time.perf_counter()
            value = compute()
            parts = store(value)
            if parts is not None:
                landed = Entry(time.time(), ttl_s, time.perf_counter() - began, *parts)
                self._store(place, version, landed)
            self.statistics.count(place.owner, place.namespace, COMPUTED)
            return Fetched(MISS, value, landed)
        finally:
            self._flights.land(key, flight, landed)
            if token is not None:
                with contextlib.suppress(Unavailable):
                    self._leases.release(lease(key), token)

    def _await(self, key: str) -> tuple[Entry | None, str | None]:
        """What another process stores there meanwhile, or the lease that it left without storing anything."""
        deadline = time.monotonic() + self.rules.wait_s
        pause_s = _FIRST_POLL_S
        while time.monotonic() < deadline:
            time.sleep(pause_s)
            pause_s = min(pause_s * 1.5, _LONGEST_POLL_S)
            stored, holder = self.link.run(lambda client: client.mget([key, lease(key)]))
            entry = unpack(stored)
            if entry is not None:
                return entry, None
            if holder is None:
                token, stored = self._leases.take(lease(key), key)
                if token is not None:
                    return unpack(stored), token
        return None, None

    def _is_still(self, place: Place, version: str) -> bool:
        """Whether there are no debts, and, read after that was seen, the version is the same."""
        return self.debts.are_none() and self.generations.read(place.owner, place.every_tag())[0] == version

    # The short way, for whoever asks Redis several things at once

    def asked(self, place: Place) -> Asked:
        """What ``guess`` is asked for, to be kept for the next time."""
        tags = place.every_tag()
        hit = trace.Span(trace.LOOKUP, f"{place.namespace}:{HITS}", 0.0, 0.0, False)
        return Asked(place, tags, hit, self.generations.question(place.owner, tags))

    def guess(self, asked: Asked) -> Guess | None:
        """What ``fetch`` would answer if nothing has been cleared; ``is_right`` tells. None: ask ``fetch``.

        Only of what this process keeps itself and is not to be refreshed yet, not even by chance.
        """
        if not self.rules.is_on:
            return None
        place = asked.place
        version = self._versions.get((place.owner, asked.tags))
        entry = self.local.get(self.keys.entry(place, version)) if version else None
        if version is None or entry is None or entry.is_to_refresh(self.rules.beta, chance=0):
            return None
        # Before the version is read: see ``debts``.
        if not (self.debts.is_fresh() or self.debts.are_none()):
            return None
        return Guess(asked, version, entry, self.generations.asked_now(asked.question))

    def is_right(self, guess: Guess, answer: Any) -> bool:
        """Whether the guess counts, by Redis's answer to its question. Then it is a hit."""
        if not self.generations.is_at(guess.version, guess.question, answer):
            return False
        self.statistics.count_hit(guess.asked.place.owner, guess.asked.hit)
        return True

    # Redis

    def _look(self, place: Place, keeps_locally: bool) -> tuple[str | None, Entry | None]:
        """The version that counts now, and what is stored under it: one round trip unless something was cleared."""
        tags = place.every_tag()
        guess = self._versions.get((place.owner, tags))
        guessed = self.keys.entry(place, guess) if guess else None
        known = self.local.get(guessed) if keeps_locally and guessed else None
        if known is not None and known.age_s() >= known.ttl_s + self.rules.stale_s:
            known = None
        version, stored = self.generations.read(place.owner, tags, None if known else guessed)
        if version is None:
            return None, None
        if version == guess:
            entry = known or unpack(stored)
        else:
            self._remember(place.owner, tags, version)
            key = self.keys.entry(place, version)
            entry = unpack(self.link.run(lambda client: client.get(key)))
        if entry is not None and known is None and keeps_locally:
            self.local.put(self.keys.entry(place, version), entry, version)
        return version, entry

    def _remember(self, owner: str, tags: tuple[str, ...], version: str) -> None:
        if len(self._versions) >= _VERSIONS_KEPT:
            self._versions.clear()
        before = self._versions.get((owner, tags))
        self._versions[owner, tags] = version
        if before is not None and before != version:
            # A version never comes back: what a write has cleared would lie here until other entries push it out.
            self.local.forget(before)

    def _stored(self, place: Place) -> Entry | None:
        with contextlib.suppress(Unavailable):
            is_trusted = self.debts.is_fresh()
            for _ in range(2 if self.rules.is_on else 0):
                version, entry = self._look(place, keeps_locally=False)
                if version is None:
                    break
                if entry is None or entry.is_expired():
                    self.statistics.count(place.owner, place.namespace, MISSES)
                    return None
                if is_trusted:
                    self.statistics.count(place.owner, place.namespace, HITS)
                    return entry
                is_trusted = self.debts.are_none()
                if not is_trusted:
                    break
        self.statistics.count(place.owner, place.namespace, BYPASSED)
        return None

    def _set(
        self, place: Place, value: Any, ttl_s: float | None, stale_s: float, *, only_new: bool = False
    ) -> bool:
        entry = Entry(time.time(), self._ttl(ttl_s), 0, b"", to_json(value))
        if not self.rules.is_on:
            return False
        with contextlib.suppress(Unavailable):
            version, _ = self.generations.read(place.owner, place.every_tag())
            if version is not None:
                return self._store(place, version, entry, stale_s, only_new=only_new)
        return False

    def _store(
        self,
        place: Place,
        version: str,
        entry: Entry,
        stale_s: float | None = None,
        *,
        only_new: bool = False,
    ) -> bool:
        """Whether it is stored. What is too large is not; what is computed anew replaces what is there."""
        packed = pack(entry, self.rules.compress_from)
        if len(packed) > self.rules.largest:
            return False
        key = self.keys.entry(place, version)
        life_ms = entry.life_ms(self.rules.stale_s if stale_s is None else stale_s)
        try:
            is_stored = self.link.run(lambda client: client.set(key, packed, px=life_ms, nx=only_new))
        except Unavailable:
            return False
        if is_stored:
            self.statistics.count(place.owner, place.namespace, BYTES, len(packed))
        return bool(is_stored)

    def _clear_found(self, client: Any, owner: str, namespace: str, key: str) -> int:
        pattern = self.keys.pattern(owner, namespace, key)
        home = self.keys.generation(owner, EVERYTHING)
        found, whole = 0, set[str]()
        waiting: list[bytes] = []
        for name in self.link.scan(client, home, pattern, _SCAN_STEP):
            found += 1
            waiting.append(name)
            of = self.keys.namespace_of(name.decode())
            if key == "*" and fnmatchcase(of, namespace):
                whole.add(namespace_tag(of))
            if len(waiting) >= _UNLINK_AT_ONCE:
                client.unlink(*waiting)
                waiting = []
        if waiting:
            client.unlink(*waiting)
        if whole:
            self.generations.clear(owner, whole)
        return found

    def _ttl(self, ttl_s: float | None) -> float:
        return self.rules.ttl_s if ttl_s is None else ttl_s
