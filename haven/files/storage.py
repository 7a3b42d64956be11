"""Where files lie: a folder by default, or any store that speaks as S3. A key is a relative path of plain characters."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Final, Protocol

from config import Settings
from haven.errors import NotFound, Unavailable

CHUNK: Final = 1 << 20
"""Bytes that are read at once (1 MiB)."""
_FULL: Final = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


class StorageFull(Unavailable):
    """There is no room for the file."""

    title = "No room for the file"


def no_room(error: OSError) -> StorageFull | None:
    """What to say where ``error`` means that the disk, the quota or the largest file allowed is used up; else None."""
    if error.errno not in _FULL:
        return None
    return StorageFull(
        f"There is no room for the file ({os.strerror(error.errno)}): nothing of it was kept. Free space in EXPORT_DIR, or"
        " ask for less, and run the job again."
    )


class Storage(Protocol):
    """What Haven asks of a storage."""

    def put(self, path: Path, key: str) -> None:
        """Take the finished file ``path``, which may be moved: whole and lasting under ``key``, or not at all.

        Raises:
            StorageFull: there is no room.
            Unavailable: the storage does not answer.
        """

    def open(self, key: str, start: int, length: int) -> Iterator[bytes]:
        """``length`` bytes from ``start``, in pieces of about 1 MiB.

        Raises:
            NotFound: there is no such file; at the call, not at the first piece.
            Unavailable: the storage does not answer.
        """

    def delete(self, key: str) -> None:
        """Remove it; no error where it is not there."""

    def size(self, key: str) -> int | None:
        """Its bytes; None where it is not there."""


class Folder:
    """A folder of one disk, which all web processes and workers see."""

    def __init__(self, root: Path) -> None:
        self._root = root

    def put(self, path: Path, key: str) -> None:
        """Move it there: a rename on one disk is whole or has not happened."""
        place = self._place(key)
        try:
            _sync(path)
            place.parent.mkdir(parents=True, exist_ok=True)
            path.replace(place)
            for folder in list(place.parents)[: key.count("/") + 1]:
                _sync(folder)
        except OSError as error:
            raise no_room(error) or Unavailable(f"EXPORT_DIR cannot be written: {error.strerror}.") from error

    def open(self, key: str, start: int, length: int) -> Iterator[bytes]:
        try:
            file = self._place(key).open("rb", buffering=0)
            file.seek(start)
        except FileNotFoundError:
            raise NotFound("The file is not there any more.") from None
        except OSError as error:
            raise Unavailable(f"EXPORT_DIR cannot be read: {error.strerror}.") from error
        return _Pieces(file, length)

    def delete(self, key: str) -> None:
        place = self._place(key)
        try:
            place.unlink()
        except NotADirectoryError:
            return
        except FileNotFoundError:
            pass  # its folders may still be there
        except OSError as error:
            raise Unavailable(f"EXPORT_DIR cannot be written: {error.strerror}.") from error
        # Those of the file and of its job: nobody else makes anything in them.
        for folder in list(place.parents)[:2]:
            try:
                folder.rmdir()
            except OSError:  # another file is in it
                return

    def size(self, key: str) -> int | None:
        try:
            return self._place(key).stat().st_size
        except FileNotFoundError:
            return None

    def _place(self, key: str) -> Path:
        return self._root / key


def storage_of(settings: Settings) -> Storage:
    """The storage that the settings name. Connects to nothing."""
    if not settings.export_s3_bucket:
        return Folder(folder_of(settings) / "files")
    from haven.files.s3 import Bucket

    return Bucket(settings)


def folder_of(settings: Settings) -> Path:
    """EXPORT_DIR: of files, and of what is being made."""
    return Path(settings.export_dir).absolute()


class _Pieces:
    """The next ``length`` bytes of an open file, in pieces. Closed at their end, or by ``close`` where nobody reads so far."""

    def __init__(self, file: IO[bytes], length: int) -> None:
        self._file = file
        self._left = length

    def __iter__(self) -> Iterator[bytes]:
        return self

    def __next__(self) -> bytes:
        piece = self._file.read(min(CHUNK, self._left)) if self._left > 0 else b""
        self._left -= len(piece)
        if not piece:
            self.close()
            raise StopIteration
        return piece

    def close(self) -> None:
        self._left = 0
        self._file.close()


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
