"""Where the bytes of an export go: into the file as they come, compressed where that is asked for, and into its checksum."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import IO, Any, Final, Protocol

COMPRESSIONS: Final = {"gzip": "gz", "zstd": "zst"}
"""Name → the ending of the file."""
_GZIP_LEVEL: Final = 4
_ZSTD_LEVEL: Final = 3
_GZIP_WINDOW: Final = 31
"""zlib's largest window, with gzip's head and tail."""
_BUFFER: Final = 128 * 1024
"""COPY gives a row at a time: a buffer in C takes them, and Python is called once for each 128 KiB."""


class Compressor(Protocol):
    """What zlib and zstandard both have."""

    def compress(self, data: Any, /) -> bytes: ...

    def flush(self) -> bytes: ...


class Takes(Protocol):
    """A file without a buffer, or what is one to a sink."""

    def write(self, data: Any, /) -> int: ...


class Sink(io.RawIOBase):
    """Writes to a file; tells after each piece; knows the SHA-256 of what is in the file.

    Args:
        told: called after each piece; what it raises ends the writing.
    """

    def __init__(self, file: Takes, told: Callable[[], None], compression: str | None = None) -> None:
        self._file = file
        self._told = told
        self._compressor = _compressor(compression)
        self._digest = hashlib.sha256()
        self.is_dropped = False
        """What still comes is not wanted any more."""

    @property
    def sha256(self) -> bytes:
        """Of all that was written; whole after ``finish``."""
        return self._digest.digest()

    def writable(self) -> bool:
        return True

    def write(self, data: Any, /) -> int:
        if not self.is_dropped:
            self._put(data if self._compressor is None else self._compressor.compress(data))
            self._told()
        return len(data)

    def finish(self) -> None:
        """What the compressor still holds."""
        if self._compressor is not None:
            self._put(self._compressor.flush())

    def _put(self, data: Any) -> None:
        self._digest.update(data)
        left = memoryview(data)
        while left:
            # A pipe, and a disk that is nearly full, take less than they are given.
            left = left[self._file.write(left) :]


@contextmanager
def sink_of(
    file: Takes, told: Callable[[], None], compression: str | None = None
) -> Iterator[tuple[IO[bytes], Sink]]:
    """A buffer before ``file`` (which has none), and the sink between them; the buffer is emptied at the end.

    Where the block raises, what is in the buffer is dropped: closing it must not raise anew.
    """
    sink = Sink(file, told, compression)
    buffered = io.BufferedWriter(sink, _BUFFER)
    try:
        yield buffered, sink
        buffered.flush()
        sink.finish()
    except BaseException:
        sink.is_dropped = True
        raise


def _compressor(name: str | None) -> Compressor | None:
    if name is None:
        return None
    if name == "gzip":
        import zlib

        return zlib.compressobj(_GZIP_LEVEL, zlib.DEFLATED, _GZIP_WINDOW)
    import zstandard

    return zstandard.ZstdCompressor(level=_ZSTD_LEVEL).compressobj()
