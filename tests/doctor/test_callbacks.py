"""M-Pesa's rules for the address it calls back to."""

from __future__ import annotations

import dataclasses
import ipaddress

import pytest

from haven.doctor.callbacks import check_callbacks
from haven.doctor.findings import Level

PUBLIC = [ipaddress.ip_address("196.201.214.200")]


@pytest.fixture
def findings(settings):
    def of(public_url, addresses=PUBLIC, mpesa="https://api.safaricom.co.ke"):
        changed = dataclasses.replace(settings, public_url=public_url, mpesa_base_url=mpesa)
        return list(check_callbacks(changed, resolve=lambda *_: addresses))

    return of


def test_a_good_address_is_well(findings):
    (found,) = findings("https://rent.makao.co.ke")
    assert found.level is Level.OK


@pytest.mark.parametrize(
    "url, level, words",
    [
        ("http://rent.makao.co.ke", Level.FAIL, "not https"),
        ("https://Rent.makao.co.ke", Level.FAIL, "capital letters"),
        ("https://mpesa.makao.co.ke", Level.FAIL, "'mpesa'"),
        ("https://M-PESA.makao.co.ke".lower(), Level.FAIL, "'m-pesa'"),
        ("https://makao.co.ke/safaricom", Level.FAIL, "'safaricom'"),
        ("https://executive.co.ke", Level.FAIL, "'exec'"),
        ("https://makao.co.ke/CMD", Level.FAIL, "'cmd'"),
        ("https://mysql.co.ke", Level.FAIL, "'sql'"),
        ("https://query.co.ke", Level.FAIL, "'query'"),
        ("https://1a2b.ngrok-free.app", Level.WARN, "usually blocks"),
    ],
)
def test_each_rule(findings, url, level, words):
    found = [one for one in findings(url) if words in one.says]
    assert [one.level for one in found] == [level]
    assert found[0].do


@pytest.mark.parametrize("address", ["10.0.0.8", "127.0.0.1", "192.168.1.4", "::1"])
def test_a_private_address_cannot_be_reached(findings, address):
    (found,) = findings("https://rent.makao.co.ke", [ipaddress.ip_address(address)])
    assert (found.level, "private" in found.says) == (Level.FAIL, True)


def test_a_name_that_is_not_known_is_told(findings):
    (found,) = findings("https://rent.makao.co.ke", [])
    assert (found.level, "not known" in found.says) == (Level.FAIL, True)


def test_a_simulator_here_may_call_back_here(findings):
    (found,) = findings("http://127.0.0.1:8000", [], mpesa="http://127.0.0.1:8081")
    assert found.level is Level.OK
