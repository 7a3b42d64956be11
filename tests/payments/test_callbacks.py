"""What M-Pesa sends, in whatever order, number and shape."""

import datetime as dt
import json
import secrets
import threading
from decimal import Decimal

import pytest
from sqlalchemy import event, select, text, update
from sqlalchemy.orm import Session

from haven.db.statements import Statement
from haven.errors import NotFound
from haven.leasing.models import Lease
from haven.operations.models import Alert, WebhookDelivery, WebhookEndpoint
from haven.payments import callbacks, statuses
from haven.payments import service as payments
from haven.payments.models import MpesaAttempt, MpesaInbox
from haven.payments.mpesa.answers import QueryAnswer
from haven.payments.mpesa.results import outcome_of
from haven.payments.suspense import lock_receipt
from tests.payments.conftest import wait_until
from tests.support.books import check_books
from tests.support.builders import a_payment, a_phone, an_agency, an_invoice
from tests.unit.payments.corpus import body_of, named

CHECKOUT_ID = "ws_CO_24112026101500000712345678"


def paid_body(receipt="UKO1ABCDEF", amount=25000, checkout=CHECKOUT_ID, **items):
    values = {"Amount": amount, "MpesaReceiptNumber": receipt, "TransactionDate": 20261124101530} | items
    rows = [{"Name": name, "Value": value} for name, value in values.items() if value is not None]
    return _body(checkout, 0, {"CallbackMetadata": {"Item": rows}})


def failed_body(code=1032, checkout=CHECKOUT_ID):
    return _body(checkout, code, {})


def _body(checkout, code, more):
    callback = {
        "MerchantRequestID": "29115-1",
        "CheckoutRequestID": checkout,
        "ResultCode": code,
        "ResultDesc": "…",
    }
    return json.dumps({"Body": {"stkCallback": callback | more}}).encode()


@pytest.fixture
def push(house):
    return house.start(a_phone())


def store(house, push, body):
    with Session(house.engine) as session:
        kept = payments.store_callback(
            session,
            token=push.token,
            body=body,
            headers={"Cookie": "no", "X-A": "yes"},
            address="196.201.212.69",
        )
        session.commit()
    assert kept is not None
    return kept.id


def apply(house, inbox_id):
    with house.session() as session:
        return payments.apply_callback(session, inbox_id)


def hear(house, push, body):
    """Store a callback and apply it; its row in the inbox."""
    inbox_id = store(house, push, body)
    apply(house, inbox_id)
    return next(row for row in house.inbox() if row.id == inbox_id)


def test_it_is_kept_byte_for_byte_before_it_is_read(house, push):
    store(house, push, b"\xff not even JSON")
    (kept,) = house.inbox()
    assert (bytes(kept.body), kept.state, kept.attempt_id) == (
        b"\xff not even JSON",
        "RECEIVED",
        push.attempt_id,
    )
    assert (kept.headers, kept.address) == ({"X-A": "yes"}, "196.201.212.69")


def test_keeping_it_costs_one_statement_and_one_to_say_whose_it_is(house, push):
    counted = []
    with Session(house.engine) as session:
        event.listen(session.connection(), "before_cursor_execute", lambda *args: counted.append(args[2]))
        payments.store_callback(session, token=push.token, body=b"{}", headers={}, address=None)
        session.commit()
    assert len(counted) == 2


@pytest.mark.parametrize(
    "change", [lambda t: t[:-1] + ("0" if t[-1] != "0" else "1"), str.upper, lambda t: t[:64], lambda t: ""]
)
def test_a_token_that_is_not_ours_leaves_nothing(house, push, change):
    with Session(house.engine) as session:
        token = change(push.token)
        assert payments.store_callback(session, token=token, body=b"{}", headers={}, address=None) is None
        session.commit()
    assert house.inbox() == []


def test_a_token_of_one_agency_does_not_open_another(house, push):
    token = an_agency(house.engine).hex + push.token[32:]
    with Session(house.engine) as session:
        assert payments.store_callback(session, token=token, body=b"{}", headers={}, address=None) is None


def test_paid(house, push):
    row = hear(house, push, paid_body())
    payment = house.payment(push.payment_id)
    assert (row.state, row.outcome) == ("APPLIED", "Paid.")
    assert (payment.status, payment.reference, payment.allocated) == ("COMPLETED", "UKO1ABCDEF", 25000)
    assert payment.paid_at == dt.datetime(2026, 11, 24, 7, 15, 30, tzinfo=dt.UTC)
    assert house.attempt(push.attempt_id).checkout_request_id == CHECKOUT_ID
    check_books(house.engine, house.agency_id)


def test_webhooks_hear_of_what_was_paid_and_what_failed_once(house, push):
    with house.session() as session:
        session.add(
            WebhookEndpoint(
                agency_id=house.agency_id,
                url="https://x.test",
                events=["payment.completed", "payment.failed"],
                secret=b"sealed",
            )
        )
    for body in (failed_body(1037), failed_body(1037), paid_body(), paid_body()):
        hear(house, push, body)
    with house.session() as session:
        rows = session.execute(
            select(WebhookDelivery.event, WebhookDelivery.payload).order_by(WebhookDelivery.id)
        )
        told = [(name, payload["status"], payload["reference"]) for name, payload in rows]
    assert told == [
        ("payment.failed", "FAILED", None),
        ("payment.completed", "COMPLETED", "UKO1ABCDEF"),
    ]


def test_a_time_to_come_is_not_believed(house, push):
    hear(house, push, paid_body(TransactionDate=20991124101530))
    assert house.payment(push.payment_id).paid_at <= dt.datetime.now(dt.UTC)


def test_applied_twice_it_is_done_once(house, push):
    inbox_id = store(house, push, paid_body())
    assert apply(house, inbox_id) == apply(house, inbox_id) == "Paid."
    assert house.inbox()[0].tries == 1
    check_books(house.engine, house.agency_id)


def test_replayed_it_is_done_once(house, push):
    inbox_id = store(house, push, paid_body())
    apply(house, inbox_id)
    with house.session() as session:
        assert "duplicate" in payments.replay_callback(session, inbox_id)
    assert house.inbox()[0].tries == 2
    check_books(house.engine, house.agency_id)


def test_a_duplicate_says_so(house, push):
    hear(house, push, paid_body())
    assert hear(house, push, paid_body()).state == "IGNORED"


def test_copies_at_once_pay_once(house, push):
    inbox = [store(house, push, paid_body()) for _ in range(8)]
    outcomes = []
    threads = [threading.Thread(target=lambda one=one: outcomes.append(apply(house, one))) for one in inbox]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert min(outcomes).startswith("A duplicate")
    assert outcomes.count("Paid.") == 1
    assert house.invoice().paid == 25000
    check_books(house.engine, house.agency_id)


def test_one_callback_applied_at_once_by_many_is_applied_once(house, push):
    inbox_id = store(house, push, paid_body())
    threads = [threading.Thread(target=apply, args=(house, inbox_id)) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert house.inbox()[0].tries == 1
    check_books(house.engine, house.agency_id)


def test_the_receipt_is_locked_before_any_row_of_the_money_is(house, push):
    """Who waits for a receipt holds no lease: so whoever holds the receipt may go on to that lease."""
    inbox_id = store(house, push, paid_body())
    lease = select(Lease.id).where(Lease.id == house.lease_id).with_for_update(nowait=True)
    waits = text(
        "SELECT count(*) FROM pg_locks JOIN pg_database d ON d.oid = database"
        " WHERE datname = current_database() AND locktype = 'advisory' AND NOT granted"
    )
    with house.session() as holder:
        lock_receipt(holder, "UKO1ABCDEF")
        thread = threading.Thread(target=apply, args=(house, inbox_id))
        thread.start()
        wait_until(lambda: holder.execute(waits).scalar_one() > 0)
        assert holder.execute(lease).scalar_one() == house.lease_id
    thread.join()
    assert house.payment(push.payment_id).status == "COMPLETED"


def test_without_the_lock_of_the_inbox_row_a_copy_is_applied_twice(house, push, monkeypatch):
    """The negative control: the tests above are about the locks, for without them they fail."""
    inbox_id = store(house, push, paid_body())
    gate = threading.Barrier(2, timeout=10)
    unlocked = statuses.LOCK_ALL_AND_RECEIPT.words.replace("FOR NO KEY UPDATE OF l, p, t, i", "")
    assert "UPDATE" not in unlocked
    monkeypatch.setattr(statuses, "LOCK_ALL_AND_RECEIPT", Statement(unlocked))
    monkeypatch.setattr(statuses, "receipt_lock", lambda *_: secrets.randbits(62))
    judge = callbacks._judge

    def judge_together(*args):
        gate.wait()
        return judge(*args)

    monkeypatch.setattr(callbacks, "_judge", judge_together)
    failures = []

    def apply_it():
        try:
            apply(house, inbox_id)
        except Exception as error:  # noqa: BLE001  the test is about whatever it is
            failures.append(error)

    threads = [threading.Thread(target=apply_it) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures or house.inbox()[0].tries == 2, "two at once went through unnoticed"
    # Even so the version of the row, and the receipt's index, let only one of them book it.
    check_books(house.engine, house.agency_id)


@pytest.mark.parametrize("amount", [24999, 25000.5, 25001, None, "much", -25000])
def test_another_amount_needs_a_person(house, push, amount):
    row = hear(house, push, paid_body(amount=amount))
    payment = house.payment(push.payment_id)
    assert row.outcome.startswith("Needs review")
    assert (payment.status, payment.failure_code, payment.receipt_number) == (
        "NEEDS_REVIEW",
        "AMOUNT_DIFFERS",
        None,
    )
    assert house.attempt(push.attempt_id).state == "NEEDS_REVIEW"


@pytest.mark.parametrize("amount", [25000, 25000.0, "25000.00"])
def test_the_same_amount_in_any_spelling_is_the_same(house, push, amount):
    assert hear(house, push, paid_body(amount=amount)).outcome == "Paid."


def test_what_needs_a_person_alerts_and_is_told_to_the_webhooks(house, push):
    with house.session() as session:
        session.add(
            WebhookEndpoint(
                agency_id=house.agency_id, url="https://x.test", events=["alert.firing"], secret=b"sealed"
            )
        )
    hear(house, push, paid_body(amount=1))
    with house.session() as session:
        (alert,) = session.scalars(select(Alert))
        (told,) = session.scalars(select(WebhookDelivery.payload))
    assert (alert.state, alert.fingerprint) == ("FIRING", f"payments_need_review/payment:{push.payment_id}")
    assert (told["payment_id"], told["code"]) == (str(push.payment_id), "AMOUNT_DIFFERS")


def test_a_receipt_of_another_payment_needs_a_person(house, push):
    a_payment(house.engine, house.agency_id, house.lease_id, "10.00", method="MPESA", reference="UKO1ABCDEF")
    row = hear(house, push, paid_body())
    payment = house.payment(push.payment_id)
    assert "UKO1ABCDEF" in row.outcome
    assert (payment.status, payment.failure_code, payment.receipt_number) == (
        "NEEDS_REVIEW",
        "RECEIPT_TAKEN",
        None,
    )
    check_books(house.engine, house.agency_id)


def test_one_receipt_for_two_requests_at_once_completes_one(house):
    pushes = [
        house.start(a_phone(), str(amount), invoice_id=None, lease_id=house.lease_id)
        for amount in (10, 20, 30)
    ]
    inbox = [
        store(house, push, paid_body(amount=int(push.amount), checkout=f"ws_CO_{place}"))
        for place, push in enumerate(pushes)
    ]
    threads = [threading.Thread(target=apply, args=(house, one)) for one in inbox]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    statuses = sorted(house.payment(push.payment_id).status for push in pushes)
    assert statuses == ["COMPLETED", "NEEDS_REVIEW", "NEEDS_REVIEW"]
    check_books(house.engine, house.agency_id)


def test_another_id_than_the_one_we_were_given_is_not_applied(house, push):
    with house.session() as session:
        session.execute(update(MpesaAttempt).values(checkout_request_id="ws_CO_ours", state="ACCEPTED"))
    assert hear(house, push, paid_body()).state == "REJECTED"
    assert house.payment(push.payment_id).status == "PENDING"


def test_an_id_of_another_request_is_not_taken_over(house, push):
    hear(house, push, paid_body())
    second = house.start(a_phone(), "10", invoice_id=None, lease_id=house.lease_id)
    assert hear(house, second, paid_body(amount=10, receipt="UKO2ABCDEF")).state == "REJECTED"
    assert house.payment(second.payment_id).status == "PENDING"


@pytest.mark.parametrize("body", [b"", b"[]", b"{", b"<html>", b'{"Body": {}}', b"\x00" * 70_000])
def test_what_cannot_be_read_is_kept_and_changes_nothing(house, push, body):
    assert hear(house, push, body).state == "REJECTED"
    assert house.payment(push.payment_id).status == "PENDING"
    assert hear(house, push, paid_body()).outcome == "Paid."


def test_cancelled(house, push):
    row = hear(house, push, failed_body(1032))
    payment = house.payment(push.payment_id)
    assert (payment.status, payment.failure_code) == ("CANCELLED", "1032")
    assert row.state == "APPLIED"
    assert hear(house, push, failed_body(1032)).state == "IGNORED"


def test_paid_after_it_failed_is_paid(house, push):
    hear(house, push, failed_body(1037))
    assert hear(house, push, paid_body()).outcome == "Paid after it was FAILED."
    payment = house.payment(push.payment_id)
    assert (payment.status, payment.failure_code, payment.failure_reason) == ("COMPLETED", None, None)
    check_books(house.engine, house.agency_id)


@pytest.mark.parametrize("code", [1037, 1032, "SFC_IC0003", 7777])
def test_a_late_failure_never_undoes_a_payment(house, push, code):
    hear(house, push, paid_body())
    assert hear(house, push, failed_body(code)).state == "IGNORED"
    assert house.payment(push.payment_id).status == "COMPLETED"


@pytest.mark.parametrize("code", [7777, 4999, 26, "E9"])
def test_a_code_that_settles_nothing_leaves_it_waiting(house, push, code):
    hear(house, push, failed_body(code))
    assert house.payment(push.payment_id).status == "PENDING"
    assert house.attempt(push.attempt_id).next_query_at is not None


def test_a_payment_known_from_a_query_gets_its_receipt_later(house, push):
    with house.session() as session:
        payments.apply_answer(session, push.attempt_id, QueryAnswer("PAID", "0", "processed"))
    assert house.payment(push.payment_id).reference is None
    assert (
        hear(house, push, paid_body()).outcome == "Already paid by a status query; now its receipt is known."
    )
    assert house.payment(push.payment_id).reference == "UKO1ABCDEF"
    assert hear(house, push, paid_body()).state == "IGNORED"
    check_books(house.engine, house.agency_id)


def test_a_receipt_that_comes_later_and_is_taken_needs_a_look(house, push):
    a_payment(house.engine, house.agency_id, house.lease_id, "10.00", method="MPESA", reference="UKO1ABCDEF")
    with house.session() as session:
        payments.apply_answer(session, push.attempt_id, QueryAnswer("PAID", "0", "processed"))
    assert hear(house, push, paid_body()).state == "REJECTED"


def test_a_second_receipt_for_one_request_needs_a_look(house, push):
    hear(house, push, paid_body())
    row = hear(house, push, paid_body(receipt="UKO2ABCDEF"))
    assert row.state == "REJECTED"
    with house.session() as session:
        assert session.scalars(select(Alert.fingerprint)).all() == [f"payments_need_review/inbox:{row.id}"]
    check_books(house.engine, house.agency_id)


def test_a_callback_for_a_reversed_payment_changes_nothing(house, push):
    inbox_id = store(house, push, paid_body())
    apply(house, inbox_id)
    with house.session() as session:
        payments.reverse(session, push.payment_id, "why")
        payments.replay_callback(session, inbox_id)
    assert house.payment(push.payment_id).status == "REVERSED"
    check_books(house.engine, house.agency_id)


def test_what_is_not_in_the_inbox_is_not_found(house):
    with house.session() as session, pytest.raises(NotFound):
        payments.apply_callback(session, house.lease_id)


@pytest.mark.parametrize("row", named("stk_callback"), ids=lambda row: row["file"])
def test_every_published_callback_is_understood(house, row):
    body = body_of(row["file"])
    callback = json.loads(body)["Body"]["stkCallback"]
    items = callback.get("CallbackMetadata", {}).get("Item", [])
    amount = next((item["Value"] for item in items if item["Name"] == "Amount"), 10)
    push = house.start(a_phone(), str(int(amount)), invoice_id=None, lease_id=house.lease_id)
    hear(house, push, body)
    expected = {"paid": ("COMPLETED",), "failed": ("FAILED", "CANCELLED")}[row["outcome"]]
    is_final = outcome_of(str(callback["ResultCode"])) != "PENDING"
    assert house.payment(push.payment_id).status in (expected if is_final else ("PENDING",))
    check_books(house.engine, house.agency_id)


def test_a_large_payment_is_spread_over_all_that_is_owed(house):
    for day in range(1, 4):
        an_invoice(house.engine, house.agency_id, house.lease_id, "1000.00", due=dt.date(2098, 1, day))
    push = house.start(a_phone(), "26500", invoice_id=None, lease_id=house.lease_id)
    hear(house, push, paid_body(amount=26500))
    assert house.payment(push.payment_id).allocated == 26500
    assert house.invoice().balance == Decimal("1500.00")
    with house.session() as session:
        assert len(session.scalars(select(MpesaInbox)).all()) == 1
    check_books(house.engine, house.agency_id)
