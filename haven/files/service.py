"""Keeping what a job made, and giving it out again.

A file's row is written before its bytes go to the storage, so that bytes without a row, which nobody would ever remove, are
not left behind by a worker that dies between the two.
"""

from __future__ import annotations

import datetime as dt
import fcntl
import hashlib
import os
import shutil
import tempfile
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Final

from sqlalchemy import delete, func, select
from sqlalchemy.orm import Session

from config import Settings
from haven.db.base import new_id
from haven.db.session import tenant_of
from haven.errors import NotFound, Unavailable
from haven.files import links
from haven.files.storage import Storage, folder_of, no_room, storage_of
from haven.operations.jobs import JobContext
from haven.operations.models import ExportFile

_BATCH: Final = 500
_SCRATCH_YOUNG_S: Final = 60
"""A folder this young may belong to a process that has not locked it yet."""
_NAMES: Final = 0x46494C45


def keep(
    context: JobContext, path: Path, filename: str, content_type: str, sha256: bytes | None = None
) -> dict[str, Any]:
    """Store the finished file ``path`` for EXPORT_KEEP_DAYS; a job that runs again replaces what it kept before.

    Args:
        filename: what people shall see; where another file of the agency has it, a number goes before the ending.
        sha256: where the caller knows it already.

    Returns:
        ``filename``, ``content_type``, ``size_bytes``, ``sha256`` (hex), ``expires_at`` (ISO 8601) and ``url``, a signed path.

    Raises:
        StorageFull: there is no room.
        Unavailable: the storage does not answer.
    """
    settings = context.runtime.settings
    storage = storage_of(settings)
    context.check_cancelled()
    size_bytes, sha256 = path.stat().st_size, sha256 or _sha256(path)
    expires_at = dt.datetime.now(dt.UTC).replace(microsecond=0) + dt.timedelta(days=settings.export_keep_days)
    with context.session() as session:
        name, replaced = _claim_name(session, context.job_id, filename)
        for key in replaced:
            storage.delete(key)
        row = ExportFile(
            id=new_id(),
            agency_id=context.agency_id,
            job_id=context.job_id,
            filename=name,
            content_type=content_type,
            size_bytes=size_bytes,
            sha256=sha256,
            expires_at=expires_at,
        )
        session.add(row)
    try:
        storage.put(path, key_of(row))
    except BaseException:
        _forget(context, storage, row)
        raise
    return shown(settings, row)


def link(settings: Settings, agency_id: uuid.UUID, filename: str, expires_at: dt.datetime) -> str:
    """The signed path of a file, good until ``expires_at``."""
    return links.link(settings.secret_key, agency_id, filename, expires_at)


def shown(settings: Settings, row: ExportFile) -> dict[str, Any]:
    """A file as it is shown, with a link for as long as it is kept."""
    return {
        "filename": row.filename,
        "content_type": row.content_type,
        "size_bytes": row.size_bytes,
        "sha256": bytes(row.sha256).hex(),
        "expires_at": row.expires_at.isoformat().replace("+00:00", "Z"),
        "url": link(settings, row.agency_id, row.filename, row.expires_at),
    }


def find(session: Session, filename: str, now: dt.datetime) -> ExportFile:
    """The agency's file of this name.

    Raises:
        NotFound: there is none, or its time is over.
    """
    row = session.execute(
        select(ExportFile).where(
            ExportFile.agency_id == tenant_of(session).agency_id,
            ExportFile.filename == filename,
            ExportFile.expires_at > now,
        )
    ).scalar_one_or_none()
    if row is None:
        raise NotFound(f"There is no file {filename}, or its time is over.")
    return row


def is_there(session: Session, settings: Settings, job_id: uuid.UUID) -> bool:
    """Whether the job's file can be fetched: it is kept, and the storage has all of it. Not where the storage is away."""
    row = session.execute(
        select(ExportFile).where(
            ExportFile.agency_id == tenant_of(session).agency_id, ExportFile.job_id == job_id
        )
    ).scalar_one_or_none()
    if row is None:
        return False
    try:
        return storage_of(settings).size(key_of(row)) == row.size_bytes
    except Unavailable:
        return False


def read(settings: Settings, row: ExportFile, start: int, length: int) -> Iterator[bytes]:
    """``length`` bytes of the file from ``start``, in pieces.

    Raises:
        NotFound: the storage has it not.
    """
    return storage_of(settings).open(key_of(row), start, length)


def remove_expired(session: Session, now: dt.datetime) -> int:
    """Remove the agency's files whose time is over, row and bytes, at most 500 a time; how many.

    The settings are those of the session's job (``session.info["settings"]``). A row goes after its bytes: what cannot be
    removed now is found again.
    """
    settings: Settings = session.info["settings"]
    storage = storage_of(settings)
    _sweep(_scratch_root(settings))
    agency_id = tenant_of(session).agency_id
    rows = session.execute(
        select(ExportFile)
        .where(ExportFile.agency_id == agency_id, ExportFile.expires_at <= now)
        .order_by(ExportFile.expires_at)
        .limit(_BATCH)
    ).scalars()
    count = 0
    for row in rows:
        storage.delete(key_of(row))
        session.delete(row)
        count += 1
    return count


@contextmanager
def scratch(settings: Settings) -> Iterator[Path]:
    """A folder for what is being made, on the storage's disk; gone at the end, whatever happens.

    That of a process which died is removed by the next one: it is locked as long as its process lives.

    Raises:
        StorageFull: a write in the block found no room.
    """
    root = _scratch_root(settings)
    try:
        root.mkdir(parents=True, exist_ok=True)
        _sweep(root)
        folder = Path(tempfile.mkdtemp(prefix="job-", dir=root))
    except OSError as error:
        raise (no_room(error) or error) from error
    lock = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield folder
    except OSError as error:
        raise (no_room(error) or error) from error
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        os.close(lock)


def key_of(row: ExportFile) -> str:
    """Where the file's bytes are: two attempts of a job that made different bytes do not write over each other."""
    return f"{row.agency_id}/{row.job_id}/{bytes(row.sha256).hex()[:16]}/{row.filename}"


def _claim_name(session: Session, job_id: uuid.UUID, filename: str) -> tuple[str, list[str]]:
    """A name that no other job's file has, and the keys of what this job kept before, whose rows are gone."""
    agency_id = tenant_of(session).agency_id
    stem, dot, ending = filename.partition(".")
    # Two jobs of one agency that end at once take turns.
    number = int.from_bytes(agency_id.bytes[-4:], "big", signed=True)
    session.execute(select(func.pg_advisory_xact_lock(_NAMES, number)))
    own = session.execute(
        delete(ExportFile)
        .where(ExportFile.agency_id == agency_id, ExportFile.job_id == job_id)
        .returning(ExportFile)
    ).scalars()
    before = {row.filename: key_of(row) for row in own}
    similar = select(ExportFile.filename).where(
        ExportFile.agency_id == agency_id, ExportFile.filename.startswith(stem, autoescape=True)
    )
    taken = set(session.execute(similar).scalars())
    names = [filename, *(f"{stem}-{count}{dot}{ending}" for count in range(2, len(taken) + 2))]
    free = [name for name in names if name not in taken]
    # Its own again, where it has one: links that were given out stay good.
    return next((name for name in free if name in before), free[0]), list(before.values())


def _forget(context: JobContext, storage: Storage, row: ExportFile) -> None:
    """Remove what may have arrived all the same, then its row, which ``remove_expired`` needs where the storage is away."""
    try:
        storage.delete(key_of(row))
    except Unavailable:
        return
    with context.session() as session:
        session.execute(
            delete(ExportFile).where(ExportFile.agency_id == row.agency_id, ExportFile.id == row.id)
        )


def _sha256(path: Path) -> bytes:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").digest()


def _scratch_root(settings: Settings) -> Path:
    return folder_of(settings) / "scratch"


def _sweep(root: Path) -> None:
    """Remove the folders of processes that died."""
    if not root.is_dir():
        return
    for folder in root.iterdir():
        with suppress(OSError):
            if time.time() - folder.stat().st_mtime > _SCRATCH_YOUNG_S:
                _remove_unless_locked(folder)


def _remove_unless_locked(folder: Path) -> None:
    lock = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        shutil.rmtree(folder, ignore_errors=True)
    finally:
        os.close(lock)
