"""Which lease money paid to the paybill is for; and that nothing is guessed."""

import datetime as dt
import hashlib
from decimal import Decimal

import pytest
from sqlalchemy import create_engine, text

from haven.db.migrate import sqlalchemy_url
from haven.payments.paybill.accounts import folded
from haven.payments.paybill.matching import place
from haven.payments.paybill.payers import payer_of
from tests.payments.paybill.money import masked, phone_of, reference_of, rename
from tests.support.builders import a_lease, a_phone, a_tenant, a_unit, an_invoice

NOW = dt.datetime(2026, 11, 24, 9, tzinfo=dt.UTC)


def found(house, account="", payer="", amount="77.00", at=NOW):
    """The lease that is found and what by, or None."""
    with house.session() as session:
        one = place(session, account, payer_of(payer), Decimal(amount), at)
    return None if one is None else (one.lease_id, one.matched_by)


def hashed(phone):
    return hashlib.sha256(phone[1:].encode()).hexdigest()


def another_lease(house, **columns):
    return a_lease(house.engine, house.agency_id, **columns)


# By account


@pytest.mark.parametrize("typed", ["G70", "g-70", "G 7 0", "g7o", "G.7O"])
def test_the_account_however_it_is_typed(house, typed):
    rename(house, "G70")
    assert found(house, typed) == (house.lease_id, "ACCOUNT")


def test_of_two_references_that_look_alike_the_one_that_was_typed_is_meant(house):
    other = another_lease(house)
    rename(house, "BO1")
    rename(house, "B01", other)
    assert found(house, "bo1") == (house.lease_id, "ACCOUNT")
    assert found(house, "b01") == (other, "ACCOUNT")


def test_of_two_that_look_alike_and_were_not_typed_neither_is_taken(house):
    other = another_lease(house)
    rename(house, "BO1")
    rename(house, "B01", other)
    assert found(house, "BOI") is None
    assert found(house, "BOI", hashed(phone_of(house, other))) == (other, "ACCOUNT"), "but for the payer"


def test_a_vacant_unit_takes_no_money_whoever_pays(house):
    a_unit(house.engine, house.agency_id, payment_reference="EMPTY7")
    assert found(house, "EMPTY7", phone_of(house), "25000.00") is None


def test_the_unit_of_a_draft_takes_none(house):
    unit_id = a_unit(house.engine, house.agency_id, payment_reference="DRAFT7")
    another_lease(house, unit_id=unit_id, status="DRAFT")
    assert found(house, "DRAFT7") is None


def test_after_the_last_tenant_left_owing_the_account_is_still_theirs(house):
    unit_id = a_unit(house.engine, house.agency_id, payment_reference="LEFT7")
    gone = another_lease(house, unit_id=unit_id, status="TERMINATED", end=dt.date(2026, 6, 30))
    assert found(house, "LEFT7") is None
    an_invoice(house.engine, house.agency_id, gone, "500.00")
    assert found(house, "LEFT7") == (gone, "ACCOUNT")


def test_the_one_who_lives_there_goes_before_one_who_left_owing_but_for_the_payer(house):
    unit_id = a_unit(house.engine, house.agency_id, payment_reference="NEXT7")
    gone = another_lease(house, unit_id=unit_id, status="ENDED", end=dt.date(2026, 6, 30))
    an_invoice(house.engine, house.agency_id, gone, "500.00")
    here = another_lease(house, unit_id=unit_id, start=dt.date(2026, 7, 1))
    assert found(house, "NEXT7") == (here, "ACCOUNT")
    assert found(house, "NEXT7", masked(phone_of(house, gone))) == (here, "ACCOUNT"), "a mask is not enough"
    assert found(house, "NEXT7", hashed(phone_of(house, gone))) == (gone, "ACCOUNT")


def test_of_two_active_leases_the_one_that_runs_that_day_is_meant(house):
    unit_id = a_unit(house.engine, house.agency_id, payment_reference="TWO7")
    now = another_lease(house, unit_id=unit_id, end=dt.date(2026, 11, 30))
    later = another_lease(house, unit_id=unit_id, start=dt.date(2026, 12, 1))
    assert found(house, "TWO7") == (now, "ACCOUNT")
    midnight = dt.datetime(2026, 11, 30, 21, 0, tzinfo=dt.UTC)
    assert found(house, "TWO7", at=midnight - dt.timedelta(seconds=1)) == (now, "ACCOUNT")
    assert found(house, "TWO7", at=midnight) == (later, "ACCOUNT"), "the day is Nairobi's"


def test_the_account_goes_before_the_payer(house):
    other = another_lease(house)
    assert found(house, reference_of(house), phone_of(house, other)) == (house.lease_id, "ACCOUNT")


def test_an_account_of_another_agency_is_none_of_ours(house, engine):
    from tests.support.builders import an_agency

    elsewhere = an_agency(engine)
    a_lease(engine, elsewhere, unit_id=a_unit(engine, elsewhere, payment_reference="YONDER"))
    assert found(house, "YONDER") is None


@pytest.mark.parametrize("reference", ["G70", "G7O", "io01", "OOO", "I", "Z9"])
def test_the_database_folds_as_the_code_does(house, reference):
    rename(house, reference)
    with house.session() as session:
        stored = session.execute(
            text("SELECT account_key FROM unit WHERE payment_reference = :r"), {"r": reference}
        )
        assert stored.scalar_one() == folded(reference)


# By payer


@pytest.mark.parametrize(
    "shown", [lambda phone: phone[1:], hashed, masked], ids=["plain", "hashed", "masked"]
)
def test_the_payer_however_it_is_shown(house, shown):
    another_lease(house)
    assert found(house, "rent", shown(phone_of(house))) == (house.lease_id, "PAYER")


def test_a_phone_that_is_typed_as_the_account(house):
    assert found(house, "0" + phone_of(house)[4:], a_phone()) == (house.lease_id, "PAYER")


def test_a_mask_that_fits_two_tenants_names_neither(house):
    for phone in ("+254711000999", "+254722000999"):
        another_lease(house, tenant_id=a_tenant(house.engine, house.agency_id, phone=phone))
    assert found(house, "", "2547 ***** 999") is None
    assert found(house, "", "25471*****999")[1] == "PAYER"


def test_a_mask_names_no_tenant_who_has_left(house):
    tenant_id = a_tenant(house.engine, house.agency_id, phone="+254711000888")
    gone = another_lease(house, tenant_id=tenant_id, status="ENDED", end=dt.date(2026, 6, 30))
    an_invoice(house.engine, house.agency_id, gone, "500.00")
    assert found(house, "", "2547 ***** 888") is None
    assert found(house, "", "254711000888") == (gone, "PAYER")


def test_of_two_leases_of_a_payer_the_one_that_owes_just_this_is_meant(house):
    tenant_id = a_tenant(house.engine, house.agency_id, phone="+254711000777")
    first, second = (another_lease(house, tenant_id=tenant_id) for _ in range(2))
    assert found(house, "", "254711000777") is None
    an_invoice(house.engine, house.agency_id, first, "400.00")
    an_invoice(house.engine, house.agency_id, second, "600.00")
    assert found(house, "", "254711000777", "600.00") == (second, "PAYER")
    assert found(house, "", "254711000777", "700.00") is None
    assert found(house, "", "254711000777", "25000.00") is None, "the amount of a stranger overrules no payer"


# By balance


def test_the_only_lease_that_owes_just_this(house):
    assert found(house, "rent", "", "25000.00") == (house.lease_id, "BALANCE")
    assert found(house, "rent", a_phone(), "25000.00") == (house.lease_id, "BALANCE")
    assert found(house, "rent", "", "24999.00") is None


def test_of_two_that_owe_just_this_neither_is_taken(house):
    other = another_lease(house)
    for part in ("10000.00", "15000.00"):
        an_invoice(house.engine, house.agency_id, other, part)
    assert found(house, "rent", "", "25000.00") is None


# Speed


MANY = """
    INSERT INTO tenant (agency_id, id, full_name, phone)
    SELECT :a, uuidv7(), 'Tenant ' || n, '+2547' || lpad((n * 7919)::text, 8, '0') FROM generate_series(1, 4000) n;
    INSERT INTO unit (agency_id, id, property_id, label, rent_amount, payment_reference)
    SELECT :a, uuidv7(), (SELECT property_id FROM unit WHERE agency_id = :a LIMIT 1), 'L' || n, 1, 'U' || n
      FROM generate_series(1, 4000) n;
    INSERT INTO mpesa_attempt (agency_id, id, payment_id, phone, amount, account_reference, token_hash, state, created_at)
    SELECT :a, uuidv7(), :p, '+2547' || n, 25000, 'G70', sha256(n::text::bytea), 'FAILED', now() - n * interval '5 minutes'
      FROM generate_series(1, 4000) n;
"""
LOOK_UPS = {
    "unit_agency_id_account_key_idx": "SELECT id FROM unit WHERE agency_id = :a AND account_key = 'G70'",
    "tenant_agency_id_phone_hash_idx": "SELECT id FROM tenant WHERE agency_id = :a AND phone_hash = sha256('254'::bytea)",
    "tenant_agency_id_phone_ending_idx": "SELECT id FROM tenant WHERE agency_id = :a AND phone_ending = '126'",
    "mpesa_attempt_agency_id_created_at_idx": "SELECT id FROM mpesa_attempt WHERE agency_id = :a AND amount = 25000"
    " AND created_at >= now() - interval '17 minutes' AND created_at <= now()",
}

COLUMNS = ("account_key", "phone_hash", "phone_ending", "created_at")


def test_among_thousands_accounts_payers_and_pushes_are_found_by_their_indexes(house, owner_url):
    push = house.start(a_phone())
    with house.session() as session:
        for statement in MANY.split(";")[:-1]:
            session.execute(
                text(statement.replace("::", "\\:\\:")), {"a": house.agency_id, "p": push.payment_id}
            )
    owner = create_engine(sqlalchemy_url(owner_url))
    with owner.connect() as connection:
        connection.execute(text("ANALYZE tenant, unit, mpesa_attempt"))
        connection.commit()
    owner.dispose()
    with house.session() as session:
        for index, query in LOOK_UPS.items():
            rows = session.execute(text(f"EXPLAIN {query}".replace("::", "\\:\\:")), {"a": house.agency_id})
            lines = rows.scalars().all()
            (condition,) = (line for line in lines if "Index Cond" in line)
            assert any(index in line for line in lines), lines
            assert any(f"{column} " in condition for column in COLUMNS), lines
