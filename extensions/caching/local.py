"""Stored bytes in the process's own memory, so that a hit fetches only generations from Redis.

Nothing here is served unasked: an entry's key holds its version, and the version is read from Redis each time. But for
namespaces that declare a time for which it may be (``Declared.unasked_s``): theirs are under keys without a version.
"""

from __future__ import annotations

import threading
from collections import OrderedDict

from extensions.caching.values import Entry


class LocalEntries:
    """The entries used last, up to ``most_bytes`` together."""

    def __init__(self, most_bytes: int) -> None:
        self._most_bytes = most_bytes
        self._lock = threading.Lock()
        self._entries: OrderedDict[str, tuple[Entry, str]] = OrderedDict()
        self._of: dict[str, set[str]] = {}
        """Version → the keys of what is kept of it."""
        self.bytes = 0

    def get(self, key: str) -> Entry | None:
        with self._lock:
            kept = self._entries.get(key)
            if kept is None:
                return None
            self._entries.move_to_end(key)
            return kept[0]

    def put(self, key: str, entry: Entry, version: str = "") -> None:
        """Keep it, and let go of those used longest ago. One that is larger than a quarter of the whole is not kept.

        Args:
            version: what ``forget`` is told when this, and all else that is of it, is served no more.
        """
        size = entry.size + len(key)
        if size > self._most_bytes // 4:
            return
        with self._lock:
            self._drop(key)
            self.bytes += size
            self._entries[key] = entry, version
            if version:
                self._of.setdefault(version, set()).add(key)
            self._shrink(self._most_bytes)

    def drop(self, key: str) -> None:
        """Let go of one entry, where it is kept."""
        with self._lock:
            self._drop(key)

    def forget(self, version: str) -> None:
        """Let go of all that was kept of a version: nobody will ask for it again."""
        with self._lock:
            for key in list(self._of.get(version, ())):
                self._drop(key)

    def release(self, share: float) -> int:
        """Let go of ``share`` (0 to 1) of the bytes; how many went."""
        with self._lock:
            before = self.bytes
            self._shrink(int(before * (1 - share)))
            return before - self.bytes

    def _shrink(self, most_bytes: int) -> None:
        while self.bytes > most_bytes and self._entries:
            self._drop(next(iter(self._entries)))

    def _drop(self, key: str) -> None:
        kept = self._entries.pop(key, None)
        if kept is None:
            return
        entry, version = kept
        self.bytes -= entry.size + len(key)
        keys = self._of.get(version)
        if keys is not None:
            keys.discard(key)
            if not keys:
                del self._of[version]
