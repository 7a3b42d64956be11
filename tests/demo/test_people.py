"""Names, numbers and codes are shaped as real ones are."""

from __future__ import annotations

import datetime as dt
import re
from random import Random

import phonenumbers
import pytest

from haven.demo.calendar import day_of, midnight
from haven.demo.names import person
from haven.demo.people import Numbers
from haven.demo.places import AGENCIES, ESTATES
from haven.demo.receipts import bank_reference, mpesa_receipt
from haven.payments.phones import normalise_phone
from tests.demo.loaded import Loaded


def test_phones_are_valid_kenyan_mobiles(loaded: Loaded):
    phones = [phone for (phone,) in loaded.rows("SELECT phone FROM tenant UNION ALL SELECT phone FROM owner")]
    assert phones
    for phone in phones:
        assert re.fullmatch(r"\+254[17][0-9]{8}", phone)
        assert normalise_phone(phone) == phone
        assert phonenumbers.is_valid_number(phonenumbers.parse(phone))


def test_no_two_people_of_an_agency_share_a_phone_a_card_or_a_pin():
    numbers = Numbers(Random(3))
    for kind in (numbers.phone, numbers.national_id, numbers.tax_pin):
        assert len({kind() for _ in range(20_000)}) == 20_000


def test_owners_have_a_tax_pin_and_a_fee(loaded: Loaded):
    for pin, fee in loaded.rows("SELECT tax_pin, management_fee_percent FROM owner"):
        assert re.fullmatch(r"A[0-9]{9}[A-Z]", pin)
        assert 0 < fee <= 10


def test_what_a_tenant_types_is_short_and_his_own(loaded: Loaded):
    for (reference,) in loaded.rows("SELECT payment_reference FROM unit"):
        assert re.fullmatch(r"[A-Z0-9]{4,12}", reference)


@pytest.mark.parametrize(
    "day, start",
    [((2026, 11, 9), "UK9"), ((2026, 11, 10), "UKA"), ((2026, 12, 31), "ULV"), ((2017, 1, 1), "LA1")],
)
def test_a_receipt_begins_with_its_day(day: tuple[int, int, int], start: str):
    assert mpesa_receipt(midnight(day_of(dt.date(*day))), 1).startswith(start)


def test_a_receipt_s_day_is_nairobi_s():
    noon = midnight(day_of(dt.date(2026, 11, 24)))
    assert mpesa_receipt(noon - 1, 1)[2] == "N"
    assert mpesa_receipt(noon, 1)[2] == "O"


def test_receipts_differ():
    codes = {mpesa_receipt(0, number) for number in range(1, 50_000)}
    assert len(codes) == 49_999
    assert all(re.fullmatch(r"[A-Z0-9]{10}", code) and not code.endswith("0000000") for code in codes)


def test_a_bank_s_reference_has_its_year_and_day():
    assert bank_reference(midnight(day_of(dt.date(2026, 2, 1))), 5).startswith("FT26032")


def test_people_are_of_many_communities():
    rng = Random(1)
    names = [person(rng) for _ in range(2_000)]
    families = {name.split()[-1] for name in names}
    assert len(families) > 100
    assert all(2 <= len(name.split()) <= 3 for name in names)


def test_places_are_told_apart():
    assert len({estate.code for estate in ESTATES}) == len(ESTATES)
    assert len({slug for _, slug in AGENCIES}) == len(AGENCIES) == 20
    assert all(list(estate.rents) == sorted(estate.rents) for estate in ESTATES)
