"""Who writes and then reads, on any process, sees what he wrote: over real processes, and with the guard taken away."""

from __future__ import annotations

import random
import threading

import httpx
import pytest

from tests.support.web_server import gunicorn

FEW = 300
MANY = 10_000
THREADS = 8


@pytest.fixture
def two_servers(environ):
    """Two gunicorns of two processes each, on one PostgreSQL and one Valkey."""
    with (
        gunicorn(environ | {"WEB_CONCURRENCY": "2"}) as one,
        gunicorn(environ | {"WEB_CONCURRENCY": "2"}) as other,
    ):
        yield one, other


def stale_reads(servers, caller_of, number: int) -> tuple[int, int]:
    """Writes and reads in pairs by several clients of one agency, each on a server at random: (stale, hits).

    Each client renames a property of its own, then lists, and must find the new name. Others do so at the same time, so a
    list is cleared, computed and stored all the while.
    """
    by = caller_of()
    stale, hits, faults = [0], [0], list[Exception]()
    each = number // THREADS

    def client(which: int) -> None:
        chance = random.Random(which)
        headers = {"Authorization": f"Bearer {by.token}"}
        ends = [httpx.Client(base_url=f"{url}/api/v1", headers=headers, timeout=30) for url in servers]
        made = ends[0].post("/properties", json={"name": "Old", "code": f"RYW{which}", "kind": "HOUSE"})
        row_id = made.json()["id"]
        try:
            for step in range(each):
                name = f"Name {which} {step}"
                answer = chance.choice(ends).patch(f"/properties/{row_id}", json={"name": name})
                assert answer.status_code == 200, answer.text
                for _ in range(chance.choice((1, 1, 2))):
                    read = chance.choice(ends).get("/properties?limit=200")
                    assert read.status_code == 200, read.text
                    found = {row["id"]: row["name"] for row in read.json()["data"]}
                    hits[0] += read.headers["X-Cache"] == "HIT"
                    stale[0] += found.get(row_id) != name
        except Exception as error:  # noqa: BLE001  told by the thread that waits
            faults.append(error)

    threads = [threading.Thread(target=client, args=(which,)) for which in range(THREADS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not faults, faults[0]
    return stale[0], hits[0]


@pytest.mark.req("C6")
def test_a_client_never_reads_what_was_before_its_own_write(two_servers, caller_of):
    stale, hits = stale_reads(two_servers, caller_of, FEW)
    assert stale == 0
    assert hits > 0  # the cache did answer, so it could have been wrong


@pytest.mark.long
@pytest.mark.timeout(1500)
@pytest.mark.req("C6")
def test_nor_in_ten_thousand_pairs(two_servers, caller_of, record_property):
    stale, hits = stale_reads(two_servers, caller_of, MANY)
    record_property("hits", hits)
    print(f"\n{MANY} writes, {stale} stale reads, {hits} hits")  # noqa: T201
    assert stale == 0


@pytest.mark.req("C6")
def test_without_the_watched_engine_the_old_value_is_seen(environ, caller_of):
    """The control: the same with writes that clear nothing."""
    unwatched = {"WEB_CONCURRENCY": "1", "PYTHONPATH": "."}
    with gunicorn(environ | unwatched, program="tests.support.unwatched:app") as url:
        stale, _ = stale_reads((url, url), caller_of, THREADS * 3)
    assert stale > 0
