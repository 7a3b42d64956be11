"""The operations page while what is behind it is away, and when that is back."""

from __future__ import annotations

import re
from contextlib import ExitStack

import pytest

from haven.db.base import PLATFORM
from haven.embedded_servers import free_port
from tests.api.conftest import PASSWORD, make_user
from tests.browser.looks import low_contrasts
from tests.browser.test_ops_pages import sign_in, text_of, wait
from tests.support.own_valkey import own_valkey
from tests.support.web import running_web


class OwnServers:
    """Web processes at one address, with a Valkey of their own."""

    def __init__(self, environ, folder, port):
        self._environ, self._folder, self._port = environ, folder, port
        self.url = f"http://127.0.0.1:{port}"
        self._running = ExitStack()

    def start(self):
        self._running.enter_context(running_web(self._environ, self._folder, port=self._port))

    def stop(self):
        self._running.close()


@pytest.fixture
def valkey(tmp_path):
    with own_valkey(tmp_path) as server:
        yield server


@pytest.fixture
def servers(environ, valkey, tmp_path):
    own = {"REDIS_URL": valkey.url, "REDIS_TIMEOUT": "1000", "DRAIN_SECONDS": "0", "WEB_CONCURRENCY": "2"}
    own |= {"JOB_QUEUE_REDIS_DB": "1"}
    servers = OwnServers({**environ, **own}, tmp_path, free_port())
    servers.start()
    yield servers
    servers.stop()


@pytest.fixture
def page(app, engine, browser, servers):
    _, email = make_user(app, engine, PLATFORM, "PLATFORM_ADMIN")
    sign_in(browser, servers, {"email": email, "password": PASSWORD})
    wait(browser, lambda: text_of(browser, "#state-words").startswith("live"))
    wait(browser, lambda: "POST /ops/sign-in" in text_of(browser, "#routes"))
    return browser


def is_old(page):
    return page.execute_script("return document.querySelector('main').dataset.old") == "true"


def test_servers_that_go_and_come_back(page, servers, valkey):
    valkey.kill()
    wait(page, lambda: "other processes (Redis is away)" in text_of(page, "#missing"))
    # It goes on with what it has.
    assert text_of(page, "#state-words").startswith("live")
    assert not is_old(page)
    assert "requests a second" in text_of(page, "#numbers")
    assert text_of(page, "#alerts .body")
    valkey.start()
    wait(page, lambda: text_of(page, "#missing") == "")
    wait(page, lambda: "POST /ops/sign-in" in text_of(page, "#routes"))

    servers.stop()
    wait(page, lambda: is_old(page))
    said = text_of(page, "#state-words")
    assert re.fullmatch(r"no answer since \d\d:\d\d:\d\d: old numbers", said)
    assert "POST /ops/sign-in" in text_of(page, "#routes")
    found, _ = low_contrasts(page, [])
    assert found == []
    page.execute_script(
        "window.told = 0; new MutationObserver(() => window.told++).observe(document.getElementById('state'), {subtree: true, childList: true, characterData: true})"
    )
    asked = (
        "return performance.getEntriesByType('resource').filter(one => one.name.includes('/ops/now')).length"
    )
    before = page.execute_script(asked)
    wait(page, lambda: page.execute_script(asked) >= before + 2)
    # Since then, not since now; and said aloud once.
    assert text_of(page, "#state-words") == said
    assert page.execute_script("return window.told") == 0

    servers.start()
    wait(page, lambda: text_of(page, "#state-words").startswith("live"))
    assert not is_old(page)
    assert page.current_url == f"{servers.url}/ops/"
