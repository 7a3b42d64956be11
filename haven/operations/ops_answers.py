"""Parts of the operations page as bytes, each computed by one process for all viewers of all processes. No Flask.

A part is in Redis for its life, and in each process that has read it. With it stands the number of actions that operators
had taken when its computing began: after the next one nobody believes it. While Redis is away each process computes its own.
"""

from __future__ import annotations

import hashlib
import threading
import time
from collections.abc import Callable, Mapping
from typing import Any, Final, NamedTuple

import hiredis
import redis

_PREFIX: Final = "haven:ops"
_ACTED: Final = f"{_PREFIX}:acted"
_KEPT_MOST: Final = 64
_COMPUTING_MS: Final = 10_000
"""How long others leave the computing to a process that does not come back."""
ACTED: Final = hiredis.pack_command(("GET", _ACTED))  # type: ignore[arg-type]  # its stub
"""The packed command for the number of actions."""


POLL: Final = "/ops/now"
"""What the page asks, again and again."""
SEEN: Final = "X-Ops-Seen"
"""The header with the tags of the parts that the page has."""
LIVE, STATE, HISTORY = "live", "state", "history"


class Part(NamedTuple):
    """``tag`` names the bytes of ``body``; ``acted`` is the number of actions, ``until`` the end of its life (monotonic, s)."""

    body: bytes
    tag: bytes
    acted: bytes
    until: float


class Answers:
    """The parts that this process knows.

    Args:
        client: one that leaves a dead Redis alone.
    """

    def __init__(self, client: redis.Redis, clock: Callable[[], float] = time.monotonic) -> None:
        self._client = client
        self._clock = clock
        self._lock = threading.Lock()
        self._kept: dict[str, Part] = {}
        self._computing: set[str] = set()

    def young(self, name: str) -> Part | None:
        """The part where its life has not ended; whether it still counts, ``acted`` says."""
        part = self._kept.get(name)
        return part if part is not None and part.until > self._clock() else None

    def commands(self, name: str) -> bytes:
        """The packed commands whose two answers ``read`` takes."""
        key = _key(name)
        return bytes(hiredis.pack_command(("GET", key)) + hiredis.pack_command(("PTTL", key)))  # type: ignore[arg-type]

    def read(self, name: str, stored: Any, left_ms: Any, acted: bytes) -> Part | None:
        """The part in Redis's answers; None where it has none that counts."""
        if not isinstance(stored, bytes) or not isinstance(left_ms, int) or left_ms <= 0:
            return None
        then, _, body = stored.partition(b"\n")
        return self._keep(name, body, acted, left_ms / 1000) if then == acted else None

    def get(self, name: str, life_s: float, compute: Callable[[], bytes]) -> Part | None:
        """The part, computed where neither this process nor Redis has one that counts.

        None: somebody computes it now, and the last one of this process has had its time. Nobody waits for another.
        """
        try:
            acted, stored, left_ms = self._ask(name)
        except redis.RedisError:
            young = self.young(name)
            return young if young is not None else self._computed_alone(name, life_s, compute)
        return self.read(name, stored, left_ms, acted) or self._computed(name, life_s, compute, acted)

    def acted(self) -> None:
        """An operator has changed something: whoever asks from now on is shown what is."""
        with self._lock:
            self._kept.clear()
        try:
            self._client.incr(_ACTED)
        except redis.RedisError:
            return

    def _ask(self, name: str) -> tuple[bytes, Any, Any]:
        pipe = self._client.pipeline(transaction=False)
        pipe.get(_ACTED)
        pipe.get(_key(name))
        pipe.pttl(_key(name))
        acted, stored, left_ms = pipe.execute()
        return acted or b"", stored, left_ms

    def _computed(self, name: str, life_s: float, compute: Callable[[], bytes], acted: bytes) -> Part | None:
        mark = f"{_key(name)}:by"
        try:
            if not self._client.set(mark, b"", px=_COMPUTING_MS, nx=True):
                part = self._kept.get(name)
                return part if part is not None and part.acted == acted else None
        except redis.RedisError:
            return self._computed_alone(name, life_s, compute)
        try:
            body = compute()
            self._put(name, acted + b"\n" + body, life_s)
        finally:
            self._unmark(mark)
        return self._keep(name, body, acted, life_s)

    def _computed_alone(self, name: str, life_s: float, compute: Callable[[], bytes]) -> Part | None:
        with self._lock:
            if name in self._computing:
                return self._kept.get(name)
            self._computing.add(name)
        try:
            return self._keep(name, compute(), b"", life_s)
        finally:
            self._computing.discard(name)

    def _keep(self, name: str, body: bytes, acted: bytes, left_s: float) -> Part:
        tag = hashlib.blake2b(body, digest_size=6).hexdigest().encode()
        part = Part(body, tag, acted, self._clock() + left_s)
        with self._lock:
            self._kept.pop(name, None)
            self._kept[name] = part
            while len(self._kept) > _KEPT_MOST:
                del self._kept[next(iter(self._kept))]
        return part

    def _put(self, name: str, value: bytes, life_s: float) -> None:
        try:
            self._client.set(_key(name), value, px=int(life_s * 1000))
        except redis.RedisError:
            return

    def _unmark(self, mark: str) -> None:
        try:
            self._client.delete(mark)
        except redis.RedisError:
            return


def _key(name: str) -> str:
    return f"{_PREFIX}:part:{name}"


def stored_names(query: str) -> dict[str, str]:
    """Part of an answer → under which name it is stored; the history's differs by what is asked for."""
    return {LIVE: LIVE, STATE: STATE, HISTORY: f"{HISTORY}?{query}"}


def answer_of(parts: Mapping[str, Part | None], seen: str) -> bytes:
    """The parts as one JSON object, without those whose tags are in ``seen`` and those that are being computed."""
    known = frozenset(seen.encode("latin-1").split())
    told = [
        b'"%s":{"tag":"%s","is":%s}' % (name.encode(), part.tag, part.body)
        for name, part in parts.items()
        if part is not None and part.tag not in known
    ]
    return b"{" + b",".join(told) + b"}"
