"""Comparing the books with M-Pesa's own list, which the simulator keeps as the real one does."""

import dataclasses
import datetime as dt
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from sqlalchemy import select, update

from haven.embedded_servers import free_port
from haven.operations.models import Job
from haven.payments import service as payments
from haven.payments.models import C2bAddress, MpesaAttempt, Payment, ReconciliationRun
from haven.payments.mpesa.answers import Fault, PulledPage, read_pulled, read_pulled_page, read_registration
from haven.payments.mpesa.client import CallFailed, MpesaClient
from haven.payments.mpesa.eat import EAT
from haven.payments.mpesa.pulls import pulled_pages
from haven.payments.paybill.pulling import NIGHT_HOUR
from haven.payments.paybill.seen import seen_in_list
from tests.api.conftest import caller_of  # noqa: F401  a fixture
from tests.payments.conftest import wait_until
from tests.payments.paybill.money import (
    a_line,
    a_notice,
    an_address,
    hear,
    notes,
    paid,
    received,
    reference_of,
    set_up,
    waiting,
)
from tests.support.books import check_books
from tests.support.builders import a_payment
from tests.unit.payments.corpus import body_of
from workers.payments import mpesa_pull

NOMINATED = "+254712345678"
NOW = dt.datetime(2026, 11, 24, 9, tzinfo=dt.UTC)


@pytest.fixture
def listed(at):
    """A paybill that gives its list, and whose confirmations all get lost on the way."""

    def make(*options):
        paybill = at(*options)
        paybill.register(NOMINATED)
        with paybill.session() as session:
            session.execute(update(C2bAddress).values(token_hash=b"nobody hears"))
        return paybill

    return make


def pay(paybill, *payments_by_hand):
    """Payers pay by hand; their receipts, once the money has moved."""
    receipts = [paybill.pay(*one) for one in payments_by_hand]
    wait_until(lambda: {one["receipt"] for one in paybill.moved()} >= set(receipts))
    return receipts


def run(paybill, kind="RECENT", now=None):
    result = payments.pull(paybill, kind, now)
    assert result["status"] == "DONE"
    return [result[name] for name in ("checked", "settled", "mismatched", "unanswered")]


def the_run(house):
    with house.session() as session:
        return session.scalars(select(ReconciliationRun).order_by(ReconciliationRun.id.desc())).first()


@pytest.mark.req("P3")
def test_money_that_nobody_told_of_is_found_and_booked_once(listed, house):
    paybill = listed()
    receipts = pay(paybill, (a_line(), 25000, reference_of(house)), (a_line(), 700, "NOWHERE"))
    assert run(paybill) == [2, 2, 0, 0]
    assert [(one.reference, one.lease_id) for one in paid(house)] == [(receipts[0], house.lease_id)]
    assert [(one.receipt, one.source) for one in waiting(house)] == [(receipts[1], "PULL")]
    assert [note.kind for note in notes(house, paid(house)[0].id)] == ["PULL"]
    assert run(paybill) == [2, 0, 0, 0]
    assert run(paybill, "NIGHTLY") == [2, 0, 0, 0]
    assert [note.kind for note in notes(house, paid(house)[0].id)] == ["PULL"], "each run would say it again"
    check_books(house.engine, house.agency_id)


@pytest.mark.req("P3")
def test_a_push_whose_callback_is_lost_is_settled_by_the_list(listed, house):
    paybill = listed()
    push = house.start(f"{a_line()[:-4]}8801")
    payments.send_push(paybill.runtime, push)
    wait_until(paybill.moved)
    assert run(paybill) == [1, 1, 0, 0]
    payment = house.payment(push.payment_id)
    assert (payment.status, payment.reference) == ("COMPLETED", paybill.moved()[0]["receipt"])
    assert house.attempt(push.attempt_id).state == "PAID"
    check_books(house.engine, house.agency_id)


def test_what_was_told_is_confirmed_by_the_list_and_said_so_once(at, house):
    paybill = at()
    paybill.register(NOMINATED)
    pay(paybill, (a_line(), 25000, reference_of(house)))
    wait_until(lambda: paid(house))
    for _ in range(2):
        assert run(paybill) == [1, 0, 0, 0]
    with house.session() as session:
        entries = payments.evidence(session, paid(house)[0].id)["entries"]
    assert [entry["source"] for entry in entries] == ["C2B", "PULL"]
    assert entries[1]["detail"]["says"] == "the same"


def test_the_list_and_the_confirmation_at_once_are_one_payment(at, house):
    paybill = at()
    paybill.register(NOMINATED)
    paybill.pay(a_line(), 25000, reference_of(house))
    threads = [threading.Thread(target=payments.pull, args=(paybill, "RECENT")) for _ in range(3)]
    wait_until(paybill.moved)
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    wait_until(lambda: house.inbox() and house.inbox()[0].state in ("APPLIED", "IGNORED"))
    assert received(house) == 25000
    check_books(house.engine, house.agency_id)


def test_a_long_list_is_read_page_by_page(listed, house):
    paybill = listed("--pull-page", "2")
    receipts = pay(paybill, *((a_line(), amount, reference_of(house)) for amount in range(1, 6)))
    assert run(paybill) == [5, 5, 0, 0]
    assert {one.reference for one in paid(house)} == set(receipts)


def test_what_differs_is_reported_and_never_corrected(listed, house):
    paybill = listed()
    (receipt,) = pay(paybill, (a_line(), 700, reference_of(house)))
    a_payment(house.engine, house.agency_id, house.lease_id, "800.00", method="MPESA", reference=receipt)
    assert run(paybill) == [1, 0, 1, 0]
    (difference,) = the_run(house).mismatches
    assert difference["receipt"] == receipt
    assert "needs a look" in difference["why"]
    assert received(house) == 800


def test_a_night_finds_receipts_that_mpesa_never_gave(listed, house):
    paybill = listed()
    now = dt.datetime.now(dt.UTC)
    for hours, receipt in ((10, "UKO0TYPED1"), (1, "UKO0RECENT"), (47, "UKO0OLDONE")):
        paid_at = now - dt.timedelta(hours=hours)
        a_payment(
            house.engine,
            house.agency_id,
            house.lease_id,
            "5.00",
            method="MPESA",
            reference=receipt,
            paid_at=paid_at,
        )
    assert run(paybill, "NIGHTLY") == [0, 0, 1, 0]
    assert [one["receipt"] for one in the_run(house).mismatches] == ["UKO0TYPED1"]
    assert run(paybill) == [0, 0, 0, 0]


def test_what_the_list_does_not_settle_is_counted(listed, house):
    paybill = listed()
    push = house.start(a_line(), now=dt.datetime.now(dt.UTC) - dt.timedelta(minutes=5))
    assert run(paybill) == [0, 0, 0, 1]
    with house.session() as session:
        session.execute(update(MpesaAttempt).values(state="PAID"))
        session.execute(
            update(Payment)
            .where(Payment.id == push.payment_id)
            .values(status="COMPLETED", paid_at=dt.datetime.now(dt.UTC) - dt.timedelta(minutes=4))
        )
    assert run(paybill) == [0, 0, 0, 1], "it is paid, but by which receipt is not known"


def test_a_run_that_mpesa_does_not_answer_has_failed_and_says_why(listed, house):

    paybill = listed()
    nowhere = dataclasses.replace(paybill.runtime.settings, mpesa_base_url=f"http://127.0.0.1:{free_port()}")
    paybill.runtime = dataclasses.replace(paybill.runtime, settings=nowhere)
    assert payments.pull(paybill, "RECENT")["status"] == "FAILED"
    row = the_run(house)
    assert (row.status, row.finished_at is not None) == ("FAILED", True)
    assert row.error


def test_a_run_without_credentials_has_failed_and_is_not_tried_again_at_once(listed, house):
    paybill = listed()
    set_up(house, mpesa_credentials=b"sealed with another key")
    assert payments.pull(paybill, "RECENT")["status"] == "FAILED"
    assert "SECRET_KEY" in the_run(house).error
    assert "RECENT" not in due(house, dt.datetime.now(dt.UTC))[1]


def test_runs_of_long_ago_are_removed(listed, house):
    paybill = listed()
    ran(house, "RECENT", dt.datetime.now(dt.UTC) - dt.timedelta(days=91))
    ran(house, "RECENT", dt.datetime.now(dt.UTC) - dt.timedelta(days=89))
    run(paybill)
    with house.session() as session:
        assert len(session.scalars(select(ReconciliationRun.id)).all()) == 2


def test_a_run_that_was_cut_off_is_ended_by_the_next(listed, house):
    paybill = listed()
    with house.session() as session:
        session.add(ReconciliationRun(agency_id=house.agency_id, kind="RECENT", since=NOW, until=NOW))
    run(paybill)
    with house.session() as session:
        rows = session.scalars(select(ReconciliationRun.status).order_by(ReconciliationRun.id)).all()
    assert sorted(rows) == ["DONE", "FAILED"]


def test_the_job_is_the_run(listed, house):
    paybill = listed()
    pay(paybill, (a_line(), 10, reference_of(house)))
    assert mpesa_pull(paybill, kind="NIGHTLY")["settled"] == 1


# When


def due(house, now):
    with house.session() as session:
        return payments.submit_due_pulls(session, now), [
            job.arguments["kind"] for job in session.scalars(select(Job).order_by(Job.id))
        ]


def ran(house, kind, at):
    with house.session() as session:
        session.execute(update(Job).values(status="SUCCEEDED"))
        session.add(
            ReconciliationRun(
                agency_id=house.agency_id, kind=kind, since=at, until=at, created_at=at, status="DONE"
            )
        )


def test_an_agency_whose_paybill_gives_no_list_is_left_alone(house):
    an_address(house, "619999")
    assert due(house, NOW) == (0, [])


def test_a_run_is_due_each_quarter_of_an_hour_and_one_each_night(house):
    an_address(house, "619998")
    with house.session() as session:
        session.execute(update(C2bAddress).values(pull_state="REGISTERED"))
    assert due(house, NOW) == (2, ["RECENT", "NIGHTLY"])
    assert due(house, NOW)[1] == ["RECENT", "NIGHTLY"], "asked again, they are the same jobs"
    for kind in ("RECENT", "NIGHTLY"):
        ran(house, kind, NOW)
    assert due(house, NOW + dt.timedelta(minutes=14))[0] == 0
    assert due(house, NOW + dt.timedelta(minutes=15))[1][-1] == "RECENT"
    night = (NOW.astimezone(EAT) + dt.timedelta(days=1)).replace(hour=NIGHT_HOUR, minute=0)
    ran(house, "RECENT", night - dt.timedelta(minutes=1))
    assert due(house, night - dt.timedelta(minutes=1))[0] == 0
    assert due(house, night)[1][-1] == "NIGHTLY"


# Reading


def test_the_published_list_is_read():
    page = read_pulled_page(body_of("c2b-13.json"))
    assert isinstance(page, PulledPage)
    assert (page.listed, [row.payer for row in page.rows]) == (2, ["72200000"] * 2)
    assert [str(row.amount) for row in page.rows] == ["168.00", "647.00"]


@pytest.mark.parametrize(
    "body,listed,rows",
    [
        (b'{"ResponseCode": "1001", "Response": [[]]}', 0, 0),
        (b'{"ResponseCode": 1000, "Response": [{"transactionId": "UKO1ABCDEF", "amount": 5}]}', 1, 1),
        (b'{"ResponseCode": "1000", "Response": [[{"transactionId": "UKO1ABCDEF"}, {}, 7]]}', 1, 0),
        (b'{"ResponseCode": "1000"}', 0, 0),
    ],
)
def test_lists_of_other_shapes(body, listed, rows):
    page = read_pulled_page(body)
    assert isinstance(page, PulledPage)
    assert (page.listed, len(page.rows)) == (listed, rows)


@pytest.mark.parametrize(
    "body", [b"", b"<html>", b"[]", b'{"ResponseCode": "500"}', b'{"errorCode": "400.002.02"}']
)
def test_what_is_no_list_is_no_empty_list(body):
    assert isinstance(read_pulled_page(body), Fault)


@pytest.mark.parametrize(
    "status,body,taken",
    [
        (200, body_of("c2b-12.json"), True),
        (200, body_of("c2b-15.json"), False),
        (500, b'{"errorCode": "500.003.1001", "errorMessage": "Urls are already registered"}', False),
        (200, b'{"Response Status": "1000", "Response Description": "Success"}', True),
        (200, b'{"ResponseStatus": "1001", "Response Description": "ShortCode already Registered"}', False),
    ],
)
def test_a_registration_is_taken_or_was_before(status, body, taken):
    assert read_registration(status, {}, body) is taken


@pytest.mark.parametrize(
    "status,body",
    [
        (200, b"{}"),
        (200, b"<html>"),
        (200, b'{"ResponseCode": "2001", "ResponseDescription": "no"}'),
        (500, b'{"errorCode": "500.003.1001", "errorMessage": "Internal Server Error"}'),
        (503, b""),
    ],
)
def test_anything_else_is_a_fault(status, body):
    assert isinstance(read_registration(status, {}, body), Fault)


@pytest.mark.parametrize(
    "written,meant",
    [
        (dt.timedelta(minutes=-10), dt.timedelta(minutes=-10)),
        (dt.timedelta(hours=2, minutes=50), dt.timedelta(minutes=-10)),
        (dt.timedelta(hours=9), dt.timedelta(0)),
    ],
)
def test_a_time_to_come_is_nairobis(written, meant):
    row = read_pulled(body_of("c2b-13.json"))[0]
    row = dataclasses.replace(row, paid_at=NOW + written)
    assert seen_in_list(row, NOW).paid_at == NOW + meant


@pytest.fixture
def same_page_for_ever():
    """A provider that heeds no offset."""

    class Handler(BaseHTTPRequestHandler):
        def _answer(self, body):
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def do_GET(self):
            self._answer(b'{"access_token": "t", "expires_in": 3599}')

        def do_POST(self):
            self.rfile.read(int(self.headers["Content-Length"]))
            self._answer(body_of("c2b-13.json"))

        def log_message(self, *_):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()


def test_an_offset_that_is_not_heeded_ends_the_list(same_page_for_ever):
    with MpesaClient(same_page_for_ever, "k", "s", "600100", "p") as client:
        pages = list(pulled_pages(client, "600100", NOW - dt.timedelta(hours=3), NOW, NOW))
    assert [page.listed for page in pages] == [2]


def test_no_list_is_asked_of_a_provider_that_is_away():
    with (
        MpesaClient(f"http://127.0.0.1:{free_port()}", "k", "s", "600100", "p") as client,
        pytest.raises(Exception, match="access token") as failure,
    ):
        list(pulled_pages(client, "600100", NOW, NOW, NOW))
    assert not isinstance(failure.value, CallFailed)


def test_the_runs_are_listed(caller_of, house):  # noqa: F811
    ran(house, "NIGHTLY", NOW)
    (row,) = caller_of("VIEWER", house.agency_id).get("/payments/mpesa/reconciliations").get_json()["data"]
    assert (row["kind"], row["status"], row["checked"], row["mismatches"]) == ("NIGHTLY", "DONE", 0, [])


def test_a_confirmation_after_the_list_is_a_duplicate(listed, house):
    paybill = listed()
    (receipt,) = pay(paybill, (a_line(), 25000, reference_of(house)))
    run(paybill)
    row = hear(house, an_address(house), a_notice(receipt, account=reference_of(house)))
    assert (row.state, received(house)) == ("IGNORED", 25000)
    assert [note.kind for note in notes(house, paid(house)[0].id)] == ["PULL", "C2B"]
