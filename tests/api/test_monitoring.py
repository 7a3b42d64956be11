"""What an operator sees of how Haven does."""

from __future__ import annotations

import uuid

import pytest

from extensions.circuit_breaker import Breakers
from haven.runtime import breaker_rules
from tests.api.operations import assert_is_problem

PATH = "/monitoring/breakers"


def row(answer, name):
    (found,) = (one for one in answer.get_json()["breakers"] if one["name"] == name)
    return found


def test_an_operator_sees_what_is_left_alone_by_whatever_process(caller_of, settings, app):
    operator, name = caller_of("PLATFORM_ADMIN"), f"mail server {uuid.uuid4().hex}:587"
    # A worker's: this process has never called it.
    breaker = Breakers(breaker_rules(settings), app.extensions["haven"].redis)[name]
    for _ in range(settings.breaker_minimum_calls - 1):
        with breaker.calling() as call:
            call.fail()
    seen = row(operator.get(PATH), name)
    calls = settings.breaker_minimum_calls - 1
    assert (seen["state"], seen["is_shared"]) == ("closed", True)
    assert seen["window"] == {"calls": calls, "failed": calls, "slow": 0}
    assert set(seen["counts"].values()) == {0}
    with breaker.calling() as call:
        call.fail()
    answer = operator.get(PATH)
    assert row(answer, name)["state"] == "open"
    assert answer.get_json()["rules"]["open_s"] == settings.breaker_open_time
    assert answer.get_json()["redis"] == {"state": "closed", "failures_in_a_row": 0}


@pytest.mark.parametrize("role", ["AGENCY_ADMIN", "MANAGER", "VIEWER"])
def test_nobody_else_does(caller_of, role):
    assert_is_problem(caller_of(role).get(PATH), 403)
