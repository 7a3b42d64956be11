"""Two instances behind the real HAProxy are replaced one after the other: of 50 connections none sees a failure."""

from __future__ import annotations

import signal
import time

import pytest

from tests.faults.test_rolling_restart import replace, start, wait_for
from tests.support.haproxy import haproxy
from tests.support.servers_behind_proxy import Clients

# As in test_rolling_restart, at more connections and behind a proxy.
pytestmark = [pytest.mark.long, pytest.mark.timeout(240)]
__all__ = ["start"]
FIFTY = {"/alive": 30, "/slow?for=0.02": 14, "/slow?for=2": 6}


@pytest.mark.req("R6")
def test_fifty_connections_see_no_failure_while_both_instances_are_replaced_and_reloaded(start, tmp_path):
    servers = [start(), start()]
    for one in servers:
        one.wait_ready()
    with (
        haproxy(servers, tmp_path / "haproxy.log") as front,
        Clients([front], FIFTY, pause_s=0.05).asking() as seen,
    ):
        wait_for(seen, 500)
        for times, server in enumerate(servers, start=1):
            replace(server)
            front.wait_back(times)
        for server in servers:
            server.tell(signal.SIGHUP)
            time.sleep(3)
        wait_for(seen, len(seen.ms) + 500)
    assert seen.failures == []
    print(f"\n{len(seen.ms)} requests over 50 connections, none lost")  # noqa: T201


def test_the_proxy_does_not_hide_an_instance_that_is_killed(start, tmp_path):
    """The control: what an instance was answering when it is killed is lost, and seen."""
    servers = [start(), start()]
    for one in servers:
        one.wait_ready()
    with (
        haproxy(servers, tmp_path / "haproxy.log") as front,
        Clients([front], FIFTY, pause_s=0.05).asking() as seen,
    ):
        wait_for(seen, 200)
        servers[0].stop()
        wait_for(seen, len(seen.ms) + 200)
    assert seen.failures
