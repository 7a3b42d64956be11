"""The receipt as a typeset page: complete, on any text, and with nothing of it read as markup."""

from __future__ import annotations

import datetime as dt
import threading
import uuid
from decimal import Decimal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from haven.errors import Unavailable
from haven.payments import receipt_pdf as module
from haven.payments.receipt_pdf import receipt_pdf
from tests.api.conftest import caller_of
from tests.support.builders import a_payment, a_phone

__all__ = ["caller_of"]

NOW = dt.datetime(2026, 11, 24, 7, 15, 30, tzinfo=dt.UTC)


def a_share(number=1, amount="25000.00", start=dt.date(2026, 11, 1), end=dt.date(2026, 11, 30)):
    return {
        "invoice_id": uuid.uuid4(),
        "number": f"INV-{number:06}",
        "period_start": start,
        "period_end": end,
        "amount": Decimal(amount),
    }


def a_receipt(**changes):
    return {
        "number": "RCT-000042",
        "payment_id": uuid.UUID(int=7),
        "status": "COMPLETED",
        "agency": "Makao Letting",
        "timezone": "Africa/Nairobi",
        "tenant": "Wanjiku Kamau",
        "property": "Jacaranda Court",
        "unit": "A12",
        "amount": Decimal("25000.00"),
        "currency": "KES",
        "method": "MPESA",
        "reference": "UKO1ABCDEF",
        "phone": "+2547*****678",
        "paid_at": NOW,
        "allocations": [a_share()],
        "unallocated": Decimal("0.00"),
        "balance_after": Decimal("0.00"),
    } | changes


def words_of(receipt):
    """What the page says, by the names of its template."""
    return module._shown(receipt)


def test_it_is_a_pdf_and_the_same_receipt_is_the_same_bytes():
    made = receipt_pdf(a_receipt())
    assert made.startswith(b"%PDF-")
    assert made.rstrip().endswith(b"%%EOF")
    assert receipt_pdf(a_receipt()) == made
    assert receipt_pdf(a_receipt(tenant="Otieno Njoroge")) != made


def test_times_are_the_agencys_and_sums_are_written_out():
    words = words_of(a_receipt(unallocated=Decimal("1500.00"), balance_after=Decimal("-1500.00")))
    assert words["amount"] == "KES 25,000.00"
    assert words["paid_at"] == "24 November 2026, 10:15 EAT"
    assert words["lines"] == [("INV-000001", "November 2026", "25,000.00")]
    assert words["sums"] == [
        ("Kept as credit for what is billed next", "1,500.00"),
        ("In credit after this payment", "1,500.00"),
    ]


def test_what_is_owed_is_called_so_and_part_of_a_month_has_its_days():
    part = a_share(start=dt.date(2026, 11, 10), end=dt.date(2026, 11, 30))
    words = words_of(a_receipt(allocations=[part], balance_after=Decimal("300.50")))
    assert words["lines"][0][1] == "10 November 2026 to 30 November 2026"
    assert words["sums"] == [("Owed after this payment", "300.50")]


def test_cash_without_a_reference_has_no_empty_lines():
    facts = dict(words_of(a_receipt(method="CASH", reference=None, phone=None))["facts"])
    assert facts == {
        "Received from": "Wanjiku Kamau",
        "Property": "Jacaranda Court",
        "Unit": "A12",
        "Paid by": "Cash",
    }


def test_a_reversed_payment_says_so_in_large():
    assert "reversed" in words_of(a_receipt(status="REVERSED"))["notice"]
    assert receipt_pdf(a_receipt(status="REVERSED")) != receipt_pdf(a_receipt())


@pytest.mark.parametrize("year", [1, 1950, 2026, 9998])
def test_a_payment_of_any_time_has_a_page(year):
    assert receipt_pdf(a_receipt(paid_at=NOW.replace(year=year, microsecond=999_999))).startswith(b"%PDF-")


def test_many_invoices_become_one_line_at_the_end_and_nothing_is_lost():
    shares = [a_share(number, "100.00") for number in range(1, 101)]
    lines = words_of(a_receipt(allocations=shares))["lines"]
    assert len(lines) == 61
    assert lines[-1] == ("…", "and 40 more invoices", "4,000.00")
    assert receipt_pdf(a_receipt(allocations=shares)).startswith(b"%PDF-")


@pytest.mark.parametrize(
    "markup",
    [
        '#panic("markup was run")',
        "#{while true {}}",
        '#read("/etc/passwd")',
        "$ broken",
        "*bold",
        "`raw",
        "<label> @nothing",
        '"quoted" \\u{41}',
        "] } )",
        '#import "@preview/cetz:0.3.0": *',
    ],
)
def test_typst_in_a_name_is_text(markup):
    """Each would stop the typesetting, or never end, were it read as markup."""
    made = receipt_pdf(
        a_receipt(agency=markup, tenant=markup, property=markup, unit=markup, reference=markup)
    )
    assert made.startswith(b"%PDF-")


ANY_TEXT = st.text(
    st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1, max_size=300
)


@settings(max_examples=60)
@given(agency=ANY_TEXT, tenant=ANY_TEXT, unit=ANY_TEXT)
def test_any_text_makes_a_page(agency, tenant, unit):
    assert receipt_pdf(a_receipt(agency=agency, tenant=tenant, unit=unit)).startswith(b"%PDF-")


@pytest.mark.parametrize(
    "name",
    [
        "محمد علي",
        "王小明",
        "🏠🔑",
        "Ngũgĩ wa Thiong'o",
        "e\u0301" * 80,
        "\u202eabc",
        "x" * 5000,
        "\x07\x1b[31m",
    ],
)
def test_odd_names_make_a_page(name):
    assert receipt_pdf(a_receipt(tenant=name, agency=name)).startswith(b"%PDF-")


def test_a_long_name_is_cut_and_a_control_character_is_a_space():
    facts = dict(words_of(a_receipt(tenant="x" * 5000, unit="A\t1\x07\n"))["facts"])
    assert len(facts["Received from"]) == 160
    assert facts["Unit"] == "A 1"


def test_when_too_many_are_made_at_once_the_next_is_told_to_come_back(monkeypatch):
    monkeypatch.setattr(module, "_WAIT_S", 0.01)
    monkeypatch.setattr(module, "_places", threading.BoundedSemaphore(1))
    with module._places, pytest.raises(Unavailable, match="at once"):
        receipt_pdf(a_receipt())
    assert receipt_pdf(a_receipt()).startswith(b"%PDF-")


def test_a_receipt_is_served_as_a_page(house, app, caller_of):
    payment_id = a_payment(house.engine, house.agency_id, house.lease_id)
    by = caller_of(agency_id=house.agency_id)
    answer = by.get(f"/payments/{payment_id}/receipt.pdf")
    assert (answer.status_code, answer.content_type) == (200, "application/pdf")
    assert answer.headers["Content-Disposition"] == 'inline; filename="RCT-000001.pdf"'
    assert answer.get_data().startswith(b"%PDF-")
    other = caller_of().get(f"/payments/{payment_id}/receipt.pdf")
    assert other.status_code == 404


def test_what_is_not_paid_has_no_page(house, caller_of):
    push = house.start(a_phone())
    answer = caller_of(agency_id=house.agency_id).get(f"/payments/{push.payment_id}/receipt.pdf")
    assert answer.status_code == 409
