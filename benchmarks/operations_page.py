"""``python -m benchmarks.operations_page``: what ten viewers of ``/ops`` cost the web processes, in per cent of a core.

The processor time of gunicorn's workers over a while, with nobody, and with viewers who ask as the page does: every five seconds
for what they do not have yet. Before that some routes were asked, so that there is something to show.
"""

from __future__ import annotations

import tempfile
import threading
import time
from pathlib import Path
from typing import Final

import click
import httpx
import psutil

from config import load_settings
from haven.app import create_app
from haven.db.base import PLATFORM
from haven.db.prepare import APP_ROLE, OWNER_ROLE
from haven.operations.ops_answers import SEEN
from tests.api.conftest import PASSWORD, make_user
from tests.support.servers import ThrowAwayServers
from tests.support.web import Web, running_web

DATABASE: Final = "haven_operations_page"
AIM: Final = 1.0
POLL_S: Final = 5
"""As in ``haven/operations/ops/app.js``."""
_PATHS: Final = ("/alive", "/health", "/docs", "/api/v1/openapi.json", "/api/v1/units", "/nothing")


@click.command()
@click.option("--viewers", default=10, show_default=True)
@click.option("--seconds", default=30, show_default=True, help="How long each of the two whiles is.")
def main(viewers: int, seconds: int) -> None:
    """Measure the page's viewers against nobody."""
    servers = ThrowAwayServers()
    addresses = servers.start()
    try:
        addresses.new_database(DATABASE)
        environ = {
            "DATABASE_URL": addresses.database_url(APP_ROLE, DATABASE),
            "DATABASE_OWNER_URL": addresses.database_url(OWNER_ROLE, DATABASE),
            "REDIS_URL": f"{addresses.redis_url}/0",
            "SECRET_KEY": "a key that is used in benchmarks and nowhere else",
            "WEB_CONCURRENCY": "2",
        }
        app = create_app(load_settings(environ))
        _, email = make_user(app, app.extensions["haven"].engine, PLATFORM, "PLATFORM_ADMIN")
        with tempfile.TemporaryDirectory() as folder, running_web(environ, Path(folder)) as web:
            _ask_something(web)
            nobody = _share_of_a_core(web, seconds)
            with_viewers = _with_viewers(web, email, viewers, seconds)
    finally:
        servers.stop()
    cost = with_viewers - nobody
    verdict = "within" if cost < AIM else "OVER"
    click.echo(
        f"nobody {nobody:.2f} % of a core, {viewers} viewers {with_viewers:.2f} %: they cost {cost:.2f} %, {verdict} {AIM:g} %"
    )


def _ask_something(web: Web) -> None:
    with httpx.Client(base_url=web.url, timeout=10) as client:
        for _ in range(50):
            for path in _PATHS:
                client.get(path)


def _with_viewers(web: Web, email: str, viewers: int, seconds: int) -> float:
    is_over = threading.Event()
    watching = [threading.Thread(target=_view, args=(web, email, is_over)) for _ in range(viewers)]
    for one in watching:
        one.start()
    time.sleep(3)  # the sign-ins are not the page
    share = _share_of_a_core(web, seconds)
    is_over.set()
    for one in watching:
        one.join()
    return share


def _view(web: Web, email: str, is_over: threading.Event) -> None:
    """What one browser asks."""
    with httpx.Client(base_url=web.url, timeout=10, headers={"Sec-Fetch-Site": "same-origin"}) as client:
        assert client.post("/ops/sign-in", data={"email": email, "password": PASSWORD}).status_code == 303
        tags: dict[str, str] = {}
        while not is_over.wait(POLL_S):
            answer = client.get("/ops/now?window=300", headers={SEEN: " ".join(tags.values())})
            tags |= {name: part["tag"] for name, part in answer.raise_for_status().json().items()}


def _share_of_a_core(web: Web, seconds: int) -> float:
    before, began = _cpu_s(web), time.monotonic()
    time.sleep(seconds)
    return (_cpu_s(web) - before) / (time.monotonic() - began) * 100


def _cpu_s(web: Web) -> float:
    times = [one.cpu_times() for one in psutil.Process(web.pid).children()]
    return sum(one.user + one.system for one in times)


if __name__ == "__main__":
    main()
