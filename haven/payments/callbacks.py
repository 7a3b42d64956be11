"""What M-Pesa sends: stored byte for byte before anything else, then applied once.

Callbacks may come twice, late, in any order, before our own request has returned, or not at all.
"""

from __future__ import annotations

import datetime as dt
import re
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Final, Literal, NamedTuple

import orjson
import structlog
from sqlalchemy import exists, select
from sqlalchemy.orm import Session

from haven.billing import service as billing
from haven.db.session import Tenant, set_tenant, tenant_of
from haven.db.statements import Statement
from haven.errors import NotFound
from haven.operations.alerts import PAYMENTS_NEED_REVIEW, raise_alert, resolve_alert
from haven.payments.models import MpesaAttempt, Payment
from haven.payments.mpesa.messages import (
    MAX_BODY_BYTES,
    StkCallback,
    UnreadableCallback,
    parse_c2b,
    parse_stk_callback,
)
from haven.payments.mpesa.receipts import is_odd_receipt
from haven.payments.mpesa.results import Outcome, result_code
from haven.payments.paybill.both_ways import record_besides, was_found_by_paybill
from haven.payments.paybill.seen import seen_in_notice
from haven.payments.paybill.witness import witness
from haven.payments.statuses import (
    PAID,
    WAITING,
    HeldPush,
    MayBeRecorded,
    ReceiptTaken,
    complete,
    complete_held,
    fail,
    lock_attempt,
    lock_to_complete,
    send_to_review,
)
from haven.payments.stk import token_hash
from haven.payments.suspense import claim

log = structlog.get_logger(__name__)

_TOKEN: Final = re.compile(r"[0-9a-f]{96}", re.ASCII)
_SECRET_HEADERS: Final = frozenset({"authorization", "cookie", "proxy-authorization"})
_MAX_HEADERS: Final = 40
_MAX_HEADER: Final = 300
_ACTOR: Final = "mpesa"
Kind = Literal["STK", "C2B_VALIDATION", "C2B_CONFIRMATION"]

# The token is the only key: whose attempt it is and whether there is one is one index lookup.
_STORE: Final = """
    INSERT INTO mpesa_inbox (agency_id, id, attempt_id, kind, body, headers, address, state, outcome)
    SELECT agency_id, uuidv7(), {attempt}, :kind, :body, CAST(:headers AS jsonb), :address, :state, :outcome
      FROM {owner} WHERE agency_id = :agency_id AND token_hash = :token_hash
    RETURNING id, attempt_id
"""
_STORE_OF_PUSH: Final = Statement(_STORE.format(attempt="id", owner="mpesa_attempt"))
_STORE_OF_PAYBILL: Final = Statement(_STORE.format(attempt="NULL", owner="mpesa_c2b_address"))


class Kept(NamedTuple):
    """A row of the inbox, as far as it never changes."""

    id: uuid.UUID
    kind: str
    attempt_id: uuid.UUID | None
    body: bytes


def store(
    session: Session,
    *,
    token: str,
    body: bytes,
    headers: Mapping[str, str],
    address: str | None,
    kind: Kind = "STK",
    refused: str | None = None,
) -> Kept | None:
    """Keep a callback as it came; None, and nothing kept, where the token is not ours.

    Makes the session the agency's, which the token names. One statement; the caller commits before it answers
    M-Pesa, and then applies it. What is not applied, a sweep finds.

    Args:
        refused: why it is to be kept without being applied (``haven.payments.sources``); a person can replay it.
    """
    if not _TOKEN.fullmatch(token):
        return None
    agency_id = uuid.UUID(hex=token[:32])
    set_tenant(session, Tenant(agency_id, _ACTOR))
    # One byte over what is read is enough to see that it was too long.
    body = body[: MAX_BODY_BYTES + 1]
    statement = _STORE_OF_PUSH if kind == "STK" else _STORE_OF_PAYBILL
    stored = statement.row(
        session,
        agency_id=agency_id,
        token_hash=token_hash(token),
        kind=kind,
        body=body,
        headers=orjson.dumps(_without_secrets(headers)).decode(),
        address=address,
        state="RECEIVED" if refused is None else "REJECTED",
        outcome=refused,
    )
    return None if stored is None else Kept(stored.id, kind, stored.attempt_id, body)


def apply(session: Session, callback: Kept | uuid.UUID, now: dt.datetime | None = None) -> str:
    """Act on a stored callback; what came of it, in a sentence. One that was applied before changes nothing.

    Args:
        callback: as ``store`` gave it, or its id in the inbox, from where it is read again.

    Raises:
        NotFound: there is no such row in the inbox of this agency.
    """
    kept = callback if isinstance(callback, Kept) else _read(session, callback)
    return _apply(session, kept, now or dt.datetime.now(dt.UTC), is_replay=False)


def replay(session: Session, inbox_id: uuid.UUID, now: dt.datetime | None = None) -> str:
    """Act on a stored callback as if it had just come; safe, because what it says is done at most once.

    Raises:
        NotFound: there is no such row in the inbox of this agency.
    """
    return _apply(session, _read(session, inbox_id), now or dt.datetime.now(dt.UTC), is_replay=True)


@dataclass(frozen=True, slots=True)
class _Verdict:
    """What becomes of the inbox row.

    ``APPLIED``: it was acted on; ``IGNORED``: it was known; ``REJECTED``: it cannot be used. ``needs_person``: money may
    have moved of which nothing is booked, so an alert says so. ``settles_as``: the attempt is yet to be settled as PAID, with this
    code.
    """

    state: str
    outcome: str
    needs_person: bool = False
    settles_as: str | None = None


_READ: Final = Statement(
    "SELECT id, kind, attempt_id, body FROM mpesa_inbox WHERE agency_id = :agency_id AND id = :inbox_id"
)
_LOCK: Final = Statement(
    "SELECT state, outcome, tries FROM mpesa_inbox"
    " WHERE agency_id = :agency_id AND id = :inbox_id FOR NO KEY UPDATE"
)
_CLOSE_WORDS: Final = (
    "UPDATE mpesa_inbox SET state = :state, outcome = :outcome, applied_at = :now, tries = tries + 1"
    " WHERE agency_id = :agency_id AND id = :inbox_id"
)
_SETTLE_WORDS: Final = (
    "UPDATE mpesa_attempt SET state = 'PAID', result_code = :code, settled_at = :now, next_query_at = NULL"
    " WHERE agency_id = :agency_id AND id = :attempt_id"
)
_CLOSE: Final = Statement(_CLOSE_WORDS)
_SETTLE_AND_CLOSE: Final = Statement(f"WITH settled AS ({_SETTLE_WORDS}) {_CLOSE_WORDS}")


class _Standing(NamedTuple):
    """What has become of a locked row of the inbox so far."""

    state: str
    outcome: str | None
    tries: int


def _read(session: Session, inbox_id: uuid.UUID) -> Kept:
    row = _READ.row(session, agency_id=tenant_of(session).agency_id, inbox_id=inbox_id)
    if row is None:
        raise NotFound(f"There is nothing {inbox_id} in the M-Pesa inbox.")
    return Kept(row.id, row.kind, row.attempt_id, bytes(row.body))


def _apply(session: Session, kept: Kept, now: dt.datetime, *, is_replay: bool) -> str:
    """One that says paid locks its row with all else, after the receipt and the lease; any other its row first."""
    callback = _callback_of(kept)
    held: HeldPush | None = None
    if isinstance(callback, StkCallback) and kept.attempt_id is not None and _says_paid(callback):
        held = lock_to_complete(session, kept.attempt_id, kept.id, callback.receipt, now)
        standing = _Standing(held.inbox_state, held.inbox_outcome, held.inbox_tries)
    else:
        standing = _lock_inbox(session, kept.id)
    if standing.state != "RECEIVED" and not is_replay:
        return standing.outcome or "Already applied."
    verdict = _judge(session, kept, callback, held, now)
    _close(session, kept, verdict, now)
    if verdict.needs_person:
        about = {"inbox_id": str(kept.id), "why": verdict.outcome}
        raise_alert(session, PAYMENTS_NEED_REVIEW, f"inbox:{kept.id}", **about)
    elif standing.tries:
        resolve_alert(session, PAYMENTS_NEED_REVIEW, f"inbox:{kept.id}")
    return verdict.outcome


_Callback = StkCallback | UnreadableCallback | None
"""What is said of a push, or why it cannot be read; None: it is something else."""


def _callback_of(kept: Kept) -> _Callback:
    if kept.kind != "STK":
        return None
    try:
        return parse_stk_callback(kept.body)
    except UnreadableCallback as error:
        return error


def _says_paid(callback: StkCallback) -> bool:
    return result_code(callback.result_code).outcome is Outcome.PAID


def _lock_inbox(session: Session, inbox_id: uuid.UUID) -> _Standing:
    row = _LOCK.row(session, agency_id=tenant_of(session).agency_id, inbox_id=inbox_id)
    if row is None:
        raise NotFound(f"There is nothing {inbox_id} in the M-Pesa inbox.")
    return _Standing(*row)


def _close(session: Session, kept: Kept, verdict: _Verdict, now: dt.datetime) -> None:
    values = {
        "agency_id": tenant_of(session).agency_id,
        "inbox_id": kept.id,
        "state": verdict.state,
        "outcome": verdict.outcome,
        "now": now,
    }
    if verdict.settles_as is not None:
        _SETTLE_AND_CLOSE.run(session, **values, attempt_id=kept.attempt_id, code=verdict.settles_as)
    else:
        _CLOSE.run(session, **values)


def _judge(
    session: Session, kept: Kept, callback: _Callback, held: HeldPush | None, now: dt.datetime
) -> _Verdict:
    if kept.kind == "C2B_CONFIRMATION":
        return _judge_confirmation(session, kept, now)
    if kept.kind == "C2B_VALIDATION":
        return _Verdict("IGNORED", "It asks whether a payment may be made: nothing has moved.")
    if kept.attempt_id is None or callback is None:
        return _Verdict("REJECTED", "It names no payment request.")
    if isinstance(callback, UnreadableCallback):
        log.warning("callback_unreadable", inbox=str(kept.id), why=str(callback))
        return _Verdict("REJECTED", f"It cannot be read: {callback}.")
    straight = None if held is None else _complete_straight(session, held, callback, now)
    if straight is not None:
        return straight
    attempt, payment = lock_attempt(session, kept.attempt_id)
    if not _belongs(session, attempt, callback):
        log.error("callback_for_another_request", inbox=str(kept.id), attempt=str(attempt.id))
        return _Verdict("REJECTED", "Its CheckoutRequestID is not the one of this payment request.")
    attempt.checkout_request_id = callback.checkout_request_id
    attempt.merchant_request_id = attempt.merchant_request_id or callback.merchant_request_id or None
    if held is not None:
        return _paid(session, held.lease, attempt, payment, callback, now)
    return _not_paid(session, attempt, payment, callback, now)


def _judge_confirmation(session: Session, kept: Kept, now: dt.datetime) -> _Verdict:
    """Money came to the paybill; it may be the other telling of a push's payment."""
    try:
        notice = parse_c2b(kept.body)
    except UnreadableCallback as error:
        log.warning("confirmation_unreadable", inbox=str(kept.id), why=str(error))
        return _Verdict("REJECTED", f"It cannot be read: {error}.", needs_person=True)
    sighting = witness(session, seen_in_notice(notice, kept.id, now), now)
    return _Verdict(_STATE_OF_SIGHTING[sighting.result], sighting.outcome)


_STATE_OF_SIGHTING: Final = {"SETTLED": "APPLIED", "KNOWN": "IGNORED", "MISMATCHED": "REJECTED"}


def _belongs(session: Session, attempt: MpesaAttempt, callback: StkCallback) -> bool:
    """Whether the callback speaks of this attempt. One that came before our own answer tells us the id."""
    if attempt.checkout_request_id is not None:
        return attempt.checkout_request_id == callback.checkout_request_id
    taken = exists().where(
        MpesaAttempt.agency_id == attempt.agency_id,
        MpesaAttempt.checkout_request_id == callback.checkout_request_id,
    )
    return not session.execute(select(taken)).scalar_one()


def _complete_straight(
    session: Session, held: HeldPush, callback: StkCallback, now: dt.datetime
) -> _Verdict | None:
    """Complete a push that was paid as it was asked, by as few statements as can be; None: nothing is done yet.

    Whatever is odd about it (``_paid``) is looked at with the objects of its rows.
    """
    payment = held.payment
    is_as_asked = (
        callback.receipt is not None
        and callback.amount == payment.amount
        and payment.status in WAITING
        and callback.checkout_request_id == held.checkout_request_id
        and (held.merchant_request_id or not callback.merchant_request_id)
    )
    if not is_as_asked:
        return None
    try:
        complete_held(session, held.lease, payment, paid_at=_paid_at(callback, now), receipt=callback.receipt)
    except ReceiptTaken:
        return None
    _warn_of_oddities(payment.id, payment.status, callback)
    return _Verdict("APPLIED", "Paid.", settles_as=callback.result_code)


def _paid(
    session: Session,
    lease: billing.LockedLease,
    attempt: MpesaAttempt,
    payment: Payment,
    callback: StkCallback,
    now: dt.datetime,
) -> _Verdict:
    if payment.status in PAID:
        return _paid_again(session, lease, attempt, payment, callback, now)
    if callback.amount != payment.amount:
        why = f"M-Pesa says that {_shown(callback.amount)} was paid, but {payment.amount} was asked for."
        return _review(session, attempt, payment, callback, "AMOUNT_DIFFERS", why, now)
    was = payment.status
    _settle(attempt, "PAID", callback.result_code, now)
    try:
        complete(session, lease, payment, paid_at=_paid_at(callback, now), receipt=callback.receipt)
    except ReceiptTaken:
        why = f"The receipt {callback.receipt} is already on another payment."
        return _review(session, attempt, payment, callback, "RECEIPT_TAKEN", why, now)
    except MayBeRecorded as error:
        return _review(session, attempt, payment, callback, "MAY_BE_RECORDED", str(error), now)
    _warn_of_oddities(attempt.payment_id, was, callback)
    if was in ("FAILED", "CANCELLED"):
        return _Verdict("APPLIED", f"Paid after it was {was}.")
    return _Verdict("APPLIED", "Paid.")


def _paid_again(
    session: Session,
    lease: billing.LockedLease,
    attempt: MpesaAttempt,
    payment: Payment,
    callback: StkCallback,
    now: dt.datetime,
) -> _Verdict:
    """A callback of success for a payment that is completed, or was and is reversed."""
    if payment.reference is not None and callback.receipt in (None, payment.reference):
        return _Verdict("IGNORED", "A duplicate: it is already paid with this receipt.")
    if callback.receipt is None:
        return _Verdict("IGNORED", "A duplicate: it is already paid, and this says no receipt either.")
    if payment.reference is not None and was_found_by_paybill(session, payment):
        return _paid_by_hand_as_well(session, lease, attempt, payment, callback, now)
    if payment.reference is not None:
        log.error("second_receipt_for_one_request", payment=str(payment.id))
        return _Verdict(
            "REJECTED",
            f"It is already paid with the receipt {payment.reference}; {callback.receipt} needs a look.",
            needs_person=True,
        )
    if callback.amount != payment.amount:
        log.error("amount_differs_after_payment", payment=str(payment.id))
        return _Verdict(
            "REJECTED",
            f"It is already paid, but this says {_shown(callback.amount)}: it needs a look.",
            needs_person=True,
        )
    if _is_taken(session, payment, callback.receipt):
        log.error("receipt_taken", payment=str(payment.id))
        return _Verdict(
            "REJECTED",
            f"The receipt {callback.receipt} is already on another payment: it needs a look.",
            needs_person=True,
        )
    payment.reference = callback.receipt
    claim(session, callback.receipt, payment.id, now)
    return _Verdict("APPLIED", "Already paid by a status query; now its receipt is known.")


def _paid_by_hand_as_well(
    session: Session,
    lease: billing.LockedLease,
    attempt: MpesaAttempt,
    payment: Payment,
    callback: StkCallback,
    now: dt.datetime,
) -> _Verdict:
    """The payer paid the paybill by hand, which was taken for the push, and then answered the push as well."""
    if callback.amount != payment.amount:
        log.error("amount_differs_after_payment", payment=str(payment.id))
        why = f"It is already paid, but this says {_shown(callback.amount)}: it needs a look."
        return _Verdict("REJECTED", why, needs_person=True)
    if _is_taken(session, payment, callback.receipt):
        return _Verdict("IGNORED", "A duplicate: the payment made by hand besides has this receipt.")
    assert callback.receipt is not None
    second = record_besides(session, lease, attempt, callback.receipt, _paid_at(callback, now))
    return _Verdict("APPLIED", f"Paid besides a payment by hand: it is the payment {second.id}.")


def _not_paid(
    session: Session, attempt: MpesaAttempt, payment: Payment, callback: StkCallback, now: dt.datetime
) -> _Verdict:
    known = result_code(callback.result_code)
    if payment.status in PAID:
        log.warning("failure_after_payment", payment=str(payment.id), code=callback.result_code)
        return _Verdict(
            "IGNORED",
            f"It says {callback.result_code} of a payment that is {payment.status}: paid stays paid.",
        )
    if not known.is_final:
        log.error("callback_not_final", attempt=str(attempt.id), code=callback.result_code)
        return _Verdict("APPLIED", f"The code {callback.result_code} settles nothing; M-Pesa will be asked.")
    if attempt.state in ("FAILED", "REJECTED"):
        return _Verdict("IGNORED", "A duplicate: it has already failed.")
    if attempt.state == "NEEDS_REVIEW" and attempt.result_code == "0":
        return _Verdict(
            "IGNORED", f"It says {callback.result_code}, but another said paid: a person is to look."
        )
    if known.is_alarm:
        log.error("mpesa_setup_at_fault", code=callback.result_code, meaning=known.meaning)
    _settle(attempt, "FAILED", callback.result_code, now)
    is_cancelled = known.outcome is Outcome.CANCELLED
    fail(session, payment, code=callback.result_code, words=known.words, is_cancelled=is_cancelled)
    return _Verdict("APPLIED", f"{payment.status}: {known.meaning}")


def _review(
    session: Session,
    attempt: MpesaAttempt,
    payment: Payment,
    callback: StkCallback,
    code: str,
    why: str,
    now: dt.datetime,
) -> _Verdict:
    log.error("payment_needs_review", payment=str(payment.id), code=code)
    _settle(attempt, "NEEDS_REVIEW", callback.result_code, now)
    send_to_review(session, payment, code=code, why=why)
    return _Verdict("APPLIED", f"Needs review: {why}")


def _settle(attempt: MpesaAttempt, state: str, code: str, now: dt.datetime) -> None:
    attempt.state = state
    attempt.result_code = code
    attempt.settled_at = now
    attempt.next_query_at = None


def _is_taken(session: Session, payment: Payment, receipt: str | None) -> bool:
    taken = exists().where(
        Payment.agency_id == payment.agency_id,
        Payment.method == "MPESA",
        Payment.reference == receipt,
        Payment.id != payment.id,
    )
    return receipt is not None and bool(session.execute(select(taken)).scalar_one())


def _paid_at(callback: StkCallback, now: dt.datetime) -> dt.datetime:
    """When the money moved; now where the callback does not say, or says a time to come."""
    return now if callback.paid_at is None else min(callback.paid_at, now)


def _warn_of_oddities(payment_id: uuid.UUID, was: str, callback: StkCallback) -> None:
    if was in ("FAILED", "CANCELLED"):
        log.warning("paid_after_failure", payment=str(payment_id), was=was)
    if callback.receipt is None:
        log.warning("paid_without_receipt", payment=str(payment_id))
    elif is_odd_receipt(callback.receipt, callback.paid_at):
        log.warning("odd_receipt", payment=str(payment_id))


def _shown(amount: Decimal | None) -> str:
    return "no amount" if amount is None else str(amount)


def _without_secrets(headers: Mapping[str, str]) -> dict[str, str]:
    """The headers that are stored: no secrets, and no more than is sensible."""
    kept = [(name, value) for name, value in headers.items() if name.lower() not in _SECRET_HEADERS]
    return {name[:_MAX_HEADER]: value[:_MAX_HEADER] for name, value in kept[:_MAX_HEADERS]}
