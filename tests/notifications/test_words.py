"""Every text in both languages, with every value in it."""

from __future__ import annotations

import datetime as dt
import uuid

import pytest

from haven.notifications.models import TENANT_KINDS
from haven.notifications.texts import LANGUAGES, compose

PAYMENT = {
    "payment_id": str(uuid.UUID(int=5)),
    "amount": "25000.00",
    "currency": "KES",
    "method": "CASH",
    "reference": "UKO1ABCDEF",
    "receipt_number": "RCT-000007",
    "failure_code": "2001",
    "failure_reason": "The PIN was wrong.",
}
INVOICE = {
    "number": "INV-000042",
    "total": "27500.50",
    "balance": "26000.00",
    "currency": "KES",
    "due_at": dt.date(2026, 12, 5),
}
SAID = {
    "PAYMENT_COMPLETED": ("KES 25,000.00", "RCT-000007", "UKO1ABCDEF"),
    "PAYMENT_FAILED": ("KES 25,000.00",),
    "PAYMENT_NEEDS_REVIEW": ("KES 25,000.00",),
    "INVOICE_ISSUED": ("INV-000042", "KES 27,500.50"),
    "RENT_DUE": ("INV-000042", "KES 26,000.00"),
    "RENT_OVERDUE": ("INV-000042", "KES 26,000.00"),
}


@pytest.mark.parametrize("kind", TENANT_KINDS)
@pytest.mark.parametrize("language", LANGUAGES)
def test_a_text_has_its_values_and_only_the_names_are_left_to_the_database(kind, language):
    texts = compose(kind, PAYMENT | INVOICE)[language]
    for value in SAID[kind]:
        assert value in texts["tenant_body"]
    for name in ("tenant_subject", "tenant_body", "tenant_sms"):
        assert "{unit}, {property}" in texts[name]
        left = texts[name]
        for known in ("{tenant}", "{agency}", "{property}", "{unit}"):
            left = left.replace(known, "")
        assert "{" not in left
        assert left.strip()
    assert "{agency}" in texts["tenant_sms"]
    assert bool(texts["agency_body"]) is kind.startswith("PAYMENT_")


def test_both_languages_have_the_same_and_differ_in_words():
    english, swahili = LANGUAGES["en"], LANGUAGES["sw"]
    assert english.words.keys() == swahili.words.keys() == set(TENANT_KINDS)
    assert english.mails.keys() == swahili.mails.keys()
    assert english.labels.keys() == swahili.labels.keys()
    assert len(english.months) == len(swahili.months) == 12
    for kind in TENANT_KINDS:
        texts = compose(kind, PAYMENT | INVOICE)
        assert texts["en"]["tenant_body"] != texts["sw"]["tenant_body"]


def test_dates_and_reasons_are_said_in_the_language():
    due = compose("RENT_DUE", INVOICE)
    assert "5 December 2026" in due["en"]["tenant_sms"]
    assert "5 Desemba 2026" in due["sw"]["tenant_sms"]
    failed = compose("PAYMENT_FAILED", PAYMENT)
    assert "The PIN was wrong." in failed["en"]["tenant_body"]
    assert "PIN uliyoweka si sahihi." in failed["sw"]["tenant_body"]
    unheard = compose("PAYMENT_FAILED", PAYMENT | {"failure_code": "77"})["sw"]["tenant_body"]
    assert "The PIN" not in unheard
    assert "\n\n\n" not in unheard
    assert "Njia ya malipo: pesa taslimu" in compose("PAYMENT_COMPLETED", PAYMENT)["sw"]["tenant_body"]
