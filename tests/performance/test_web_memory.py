"""What a web process holds after many requests of all kinds, against what it holds after a few.

`make bench` shows the figures. Whatever a caller may vary (paths, queries, ids, tokens, request ids) is varied here: a
process that kept something of each would grow.
"""

from __future__ import annotations

import http.client
import json
import random
import secrets
from collections.abc import Callable
from typing import Final

import psutil
import pytest

from tests.api.conftest import caller_of
from tests.support.builders import a_property
from tests.support.web_server import WebServer

__all__ = ["caller_of"]
FEW: Final = 1_000
MANY: Final = 100_000
GROWTH_MOST: Final = 1.1
PROPERTIES: Final = 60


class Client:
    """One kept-alive connection."""

    def __init__(self, port: int, token: str) -> None:
        self._connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
        self._headers = {"Authorization": f"Bearer {token}"}

    def ask(self, method: str, path: str, body: object = None, **headers: str) -> int:
        """The status."""
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        told = None if body is None else json.dumps(body)
        kind = {} if body is None else {"Content-Type": "application/json"}
        self._connection.request(method, path, told, self._headers | kind | named)
        answer = self._connection.getresponse()
        answer.read()
        return answer.status


KINDS: Final[tuple[tuple[int, Callable[[Client, random.Random, list[str]], int]], ...]] = (
    (50, lambda by, chance, _: by.ask("GET", f"/api/v1/properties?limit={chance.randrange(1, 51)}")),
    (20, lambda by, chance, _: by.ask("GET", f"/api/v1/units?limit=9&q={chance.randrange(300)}")),
    (
        10,
        lambda by, *_: by.ask("GET", f"/nothing/{secrets.token_hex(8)}", X_Request_ID=secrets.token_hex(8)),
    ),
    (6, lambda by, chance, ids: by.ask("GET", f"/api/v1/properties/{chance.choice(ids)}")),
    (4, lambda by, *_: by.ask("GET", "/api/v1/units", Authorization=f"Bearer hvn_{secrets.token_hex(40)}")),
    (3, lambda by, *_: by.ask("GET", "/api/v1/properties?limit=50", Cache_Control="no-cache")),
    (2, lambda by, *_: by.ask("GET", f"/api/v1/properties?cursor={secrets.token_hex(9)}")),
    (
        1,
        lambda by, *_: by.ask(
            "POST", "/api/v1/properties", a_new_property(), Idempotency_Key=secrets.token_hex(12)
        ),
    ),
    (2, lambda by, *_: by.ask("GET", "/health/detailed")),
    (2, lambda by, *_: by.ask("GET", "/alive")),
)
"""How many of a hundred, and how one is asked."""


def a_new_property() -> dict[str, str]:
    return {"name": "Umoja", "code": secrets.token_hex(6).upper(), "kind": "APARTMENT"}


@pytest.mark.long
@pytest.mark.timeout(3000)
def test_a_web_process_does_not_grow_with_what_it_has_answered(
    environ, engine, caller_of, tmp_path, record_property
):
    by = caller_of()
    ids = [str(a_property(engine, by.agency_id, name=f"Umoja {number}")) for number in range(PROPERTIES)]
    settings = {"WEB_CONCURRENCY": "1", "CACHE_TIMEOUT": "5", "RATE_LIMIT_MAX_REQUESTS": "10000000"}
    server = WebServer(environ | settings, tmp_path / "web.log", "wsgi:app")
    try:
        server.wait_ready("/alive")
        (process,) = psutil.Process(server.pid).children()
        client, chance = Client(server.port, by.token), random.Random(7)
        bytes_after, statuses = {}, set()
        weights, asks = zip(*KINDS, strict=True)
        for number, ask in enumerate(chance.choices(asks, weights, k=MANY), 1):
            statuses.add(ask(client, chance, ids))
            if number in (FEW, MANY // 10, MANY // 2, MANY):
                bytes_after[number] = process.memory_info().rss
    finally:
        server.stop()
    assert statuses == {200, 201, 401, 404, 422}
    growth = bytes_after[MANY] / bytes_after[FEW]
    record_property("growth", growth)
    told = ", ".join(f"{size / 1e6:.1f} MB after {number}" for number, size in bytes_after.items())
    print(f"\na web process: {told}: x {growth:.3f}")  # noqa: T201
    assert growth <= GROWTH_MOST
