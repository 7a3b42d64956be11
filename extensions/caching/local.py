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
        self._entries: OrderedDict[str, Entry] = OrderedDict()
        self.bytes = 0

    def get(self, key: str) -> Entry | None:
        with self._lock:
            entry = self._entries.get(key)
            if entry is not None:
                self._entries.move_to_end(key)
            return entry

    def put(self, key: str, entry: Entry) -> None:
        """Keep it, and let go of those used longest ago. One that is larger than a quarter of the whole is not kept."""
        size = entry.size + len(key)
        if size > self._most_bytes // 4:
            return
        with self._lock:
            known = self._entries.pop(key, None)
            self.bytes += size - (0 if known is None else known.size + len(key))
            self._entries[key] = entry
            self._shrink(self._most_bytes)

    def drop(self, key: str) -> None:
        """Let go of one entry, where it is kept."""
        with self._lock:
            entry = self._entries.pop(key, None)
            if entry is not None:
                self.bytes -= entry.size + len(key)

    def release(self, share: float) -> int:
        """Let go of ``share`` (0 to 1) of the bytes; how many went."""
        with self._lock:
            before = self.bytes
            self._shrink(int(before * (1 - share)))
            return before - self.bytes

    def _shrink(self, most_bytes: int) -> None:
        while self.bytes > most_bytes and self._entries:
            key, entry = self._entries.popitem(last=False)
            self.bytes -= entry.size + len(key)
