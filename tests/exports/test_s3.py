"""The same files in a bucket: moto's S3 over HTTP on the loopback."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from moto.server import ThreadedMotoServer

from haven.errors import NotFound, Unavailable
from haven.files import service
from haven.files.s3 import Bucket
from haven.files.storage import Storage, storage_of

CONTENT = bytes(range(256)) * 50_000  # 12.8 MB: more than one part


@pytest.fixture(scope="module")
def endpoint() -> Iterator[str]:
    import httpx

    server = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    url = f"http://{host}:{port}"
    httpx.put(f"{url}/haven-files", timeout=10).raise_for_status()
    yield url
    server.stop()


@pytest.fixture
def s3(settings, endpoint) -> Any:
    return replace(
        settings,
        export_s3_bucket="haven-files",
        export_s3_endpoint=endpoint,
        export_s3_access_key="testing",
        export_s3_secret_key="testing",
    )


def test_put_read_size_delete(s3, tmp_path: Path):
    storage: Storage = storage_of(s3)
    assert isinstance(storage, Bucket)
    path = tmp_path / "a"
    path.write_bytes(CONTENT)

    storage.put(path, "agency/job/a.csv")

    assert not path.exists()
    assert storage.size("agency/job/a.csv") == len(CONTENT)
    assert b"".join(storage.open("agency/job/a.csv", 0, len(CONTENT))) == CONTENT
    assert b"".join(storage.open("agency/job/a.csv", 1_000_001, 300)) == CONTENT[1_000_001:1_000_301]
    storage.delete("agency/job/a.csv")
    storage.delete("agency/job/a.csv")
    assert storage.size("agency/job/a.csv") is None
    with pytest.raises(NotFound):
        storage.open("agency/job/a.csv", 0, 10)


def test_a_kept_file_lies_in_the_bucket_and_nothing_stays_here(s3, at_jobs, engine, tmp_path):
    from tests.support.builders import an_agency

    at = at_jobs.with_settings(
        **{name: getattr(s3, name) for name in dir(s3) if name.startswith("export_s3")}
    )
    context = at.a_context(an_agency(engine))
    with service.scratch(at.runtime.settings) as folder:
        (folder / "out").write_bytes(b"0123456789")
        service.keep(context, folder / "out", "makao.csv", "text/csv")
    assert at.files() == []
    import datetime as dt

    with context.session() as session:
        row = service.find(session, "makao.csv", dt.datetime.now(dt.UTC))
        assert b"".join(service.read(at.runtime.settings, row, 3, 4)) == b"3456"
        assert service.remove_expired(session, row.expires_at) == 1
        assert storage_of(s3).size(service.key_of(row)) is None


def test_a_bucket_that_does_not_answer_is_said_without_the_keys(s3, tmp_path):
    away = replace(s3, export_s3_endpoint="http://127.0.0.1:9", export_s3_timeout=1.0)
    path = tmp_path / "a"
    path.write_bytes(b"x")
    with pytest.raises(Unavailable, match="haven-files") as said:
        storage_of(away).put(path, "a")
    assert "testing" not in str(said.value)
    assert path.exists()
