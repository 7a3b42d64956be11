"""The double-entry ledger: what is posted, how it is undone, and what the accounts add up to.

Nothing posted is ever changed. A mistake is corrected by its mirror image, which names what it reverses. That
each transaction balances is checked by the database when it commits.
"""

from __future__ import annotations

import datetime as dt
import uuid
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from types import MappingProxyType
from typing import Any, Final

import orjson
from sqlalchemy import func, select, text
from sqlalchemy.orm import Session

from haven.billing.models import LedgerAccount, LedgerEntry, LedgerTransaction
from haven.db.session import tenant_of
from haven.db.statements import Statement

NOUGHT: Final = Decimal("0.00")

MPESA_CLEARING: Final = "MPESA_CLEARING"
BANK: Final = "BANK"
CASH: Final = "CASH"
TENANT_RECEIVABLE: Final = "TENANT_RECEIVABLE"
TENANT_CREDIT: Final = "TENANT_CREDIT"
DEPOSITS_HELD: Final = "DEPOSITS_HELD"
OTHER_INCOME: Final = "OTHER_INCOME"
OWNER_PAYABLE: Final = "OWNER_PAYABLE"
RENT_TO_OWNERS: Final = "RENT_TO_OWNERS"
OTHER_TO_OWNERS: Final = "OTHER_TO_OWNERS"
MANAGEMENT_FEE_INCOME: Final = "MANAGEMENT_FEE_INCOME"
SUSPENSE: Final = "SUSPENSE"

ACCOUNT_KINDS: Final = MappingProxyType(
    {
        MPESA_CLEARING: "ASSET",
        BANK: "ASSET",
        CASH: "ASSET",
        TENANT_RECEIVABLE: "ASSET",
        TENANT_CREDIT: "LIABILITY",
        DEPOSITS_HELD: "LIABILITY",
        SUSPENSE: "LIABILITY",
        OWNER_PAYABLE: "LIABILITY",
        "RENT_INCOME": "INCOME",
        "UTILITY_INCOME": "INCOME",
        "LATE_FEE_INCOME": "INCOME",
        OTHER_INCOME: "INCOME",
        MANAGEMENT_FEE_INCOME: "INCOME",
        RENT_TO_OWNERS: "EXPENSE",
        OTHER_TO_OWNERS: "EXPENSE",
    }
)
INCOME_OF_LINE: Final = MappingProxyType(
    {
        "RENT": "RENT_INCOME",
        "DEPOSIT": DEPOSITS_HELD,
        "UTILITY": "UTILITY_INCOME",
        "LATE_FEE": "LATE_FEE_INCOME",
        "OTHER": OTHER_INCOME,
        "CREDIT": OTHER_INCOME,
    }
)
"""Line kind → the account it is credited to. A deposit is owed to the tenant, so it is no income."""
CLEARING_OF_METHOD: Final = MappingProxyType(
    {
        "MPESA": MPESA_CLEARING,
        "CASH": CASH,
        "BANK": BANK,
        "CARD": BANK,
        "CHEQUE": BANK,
        "DEPOSIT": DEPOSITS_HELD,
    }
)
"""Payment method → the account its money comes into; a deposit that pays arrears is held already."""


@dataclass(frozen=True, slots=True)
class Entry:
    """A debit or a credit of one account; ``lease_id`` or ``owner_id`` for one kept for each lease or owner."""

    code: str
    debit: Decimal = NOUGHT
    credit: Decimal = NOUGHT
    lease_id: uuid.UUID | None = None
    owner_id: uuid.UUID | None = None


@dataclass(frozen=True, slots=True)
class Posting:
    """One transaction to be. Entries of nought are left out; one with none left is not posted."""

    kind: str
    at: dt.datetime
    description: str
    entries: Sequence[Entry]
    invoice_id: uuid.UUID | None = None
    payment_id: uuid.UUID | None = None
    disbursement_id: uuid.UUID | None = None


@dataclass(frozen=True, slots=True)
class AccountTotal:
    """One line of a trial balance, over all leases; ``balance`` is debit less credit."""

    code: str
    kind: str
    debit: Decimal
    credit: Decimal
    balance: Decimal = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "balance", self.debit - self.credit)


def invoice_posting(
    invoice_id: uuid.UUID,
    lease_id: uuid.UUID,
    name: str,
    at: dt.datetime,
    lines: Mapping[str, Decimal],
) -> Posting:
    """What issuing an invoice posts: Dr tenant receivable, Cr the account of each kind of line.

    Args:
        lines: line kind → the sum of its amounts. CREDIT is below nought and is a debit of other income.
    """
    total = sum(lines.values(), NOUGHT)
    entries = [Entry(TENANT_RECEIVABLE, debit=total, lease_id=lease_id)]
    for kind, amount in lines.items():
        account = INCOME_OF_LINE[kind]
        entries.append(Entry(account, debit=-amount) if amount < 0 else Entry(account, credit=amount))
    return Posting("INVOICE", at, f"{name} issued", entries, invoice_id=invoice_id)


def payment_posting(
    payment_id: uuid.UUID,
    lease_id: uuid.UUID,
    name: str,
    at: dt.datetime,
    method: str,
    amount: Decimal,
    allocated: Decimal,
) -> Posting:
    """What a completed payment posts: Dr clearing; Cr receivable what it pays, tenant credit the rest."""
    entries = (
        Entry(CLEARING_OF_METHOD[method], debit=amount),
        Entry(TENANT_RECEIVABLE, credit=allocated, lease_id=lease_id),
        Entry(TENANT_CREDIT, credit=amount - allocated, lease_id=lease_id),
    )
    return Posting("PAYMENT", at, f"{name} received", entries, payment_id=payment_id)


def credit_posting(
    kind: str,
    at: dt.datetime,
    description: str,
    lease_id: uuid.UUID,
    payment_id: uuid.UUID,
    invoice_id: uuid.UUID,
    amount: Decimal,
) -> Posting:
    """What moves a payment's money between credit and an invoice.

    ``amount`` above nought pays the invoice from credit, below nought makes it credit again.
    """
    to_invoice, to_credit = max(amount, NOUGHT), max(-amount, NOUGHT)
    entries = (
        Entry(TENANT_CREDIT, debit=to_invoice, credit=to_credit, lease_id=lease_id),
        Entry(TENANT_RECEIVABLE, debit=to_credit, credit=to_invoice, lease_id=lease_id),
    )
    return Posting(kind, at, description, entries, invoice_id=invoice_id, payment_id=payment_id)


def suspense_posting(receipt: str, at: dt.datetime, amount: Decimal) -> Posting:
    """What money that names no lease posts: Dr M-Pesa clearing, Cr suspense."""
    entries = (Entry(MPESA_CLEARING, debit=amount), Entry(SUSPENSE, credit=amount))
    return Posting("UNMATCHED", at, f"Unmatched receipt {receipt}", entries)


def matched_posting(receipt: str, at: dt.datetime, amount: Decimal) -> Posting:
    """What takes such money out of suspense; its payment then posts as any other does.

    It names no payment, so reversing the payment sends the money back to the payer, not into suspense.
    """
    entries = (Entry(SUSPENSE, debit=amount), Entry(MPESA_CLEARING, credit=amount))
    return Posting("MATCHED", at, f"Receipt {receipt} matched", entries)


# Ids are made by the server while the lease is locked, so along one lease they rise in the order of events. An account is
# found by one branch for each kind, so that each reads the unique index of code, lease and owner.
_POST: Final = Statement(
    """
    WITH wanted AS MATERIALIZED (
      SELECT * FROM jsonb_to_recordset(CAST(:accounts AS jsonb))
          AS w(account int, code text, lease_id uuid, owner_id uuid)
    ), found AS MATERIALIZED (
      SELECT w.account, a.id
        FROM wanted w JOIN ledger_account a
          ON a.agency_id = :agency_id AND a.code = w.code AND a.lease_id = w.lease_id AND a.owner_id IS NULL
      UNION ALL
      SELECT w.account, a.id
        FROM wanted w JOIN ledger_account a
          ON a.agency_id = :agency_id AND a.code = w.code AND a.lease_id IS NULL AND a.owner_id = w.owner_id
      UNION ALL
      SELECT w.account, a.id
        FROM wanted w JOIN ledger_account a
          ON a.agency_id = :agency_id AND a.code = w.code AND a.lease_id IS NULL AND a.owner_id IS NULL
       WHERE w.lease_id IS NULL AND w.owner_id IS NULL
    ), posting AS MATERIALIZED (
      SELECT uuidv7() AS id, p.*
        FROM jsonb_to_recordset(CAST(:postings AS jsonb))
          AS p(place int, kind text, at timestamptz, description text, invoice_id uuid, payment_id uuid,
               disbursement_id uuid)
       WHERE (SELECT count(*) FROM found) = (SELECT count(*) FROM wanted)
    ), posted AS (
      INSERT INTO ledger_transaction
             (agency_id, id, at, kind, description, invoice_id, payment_id, disbursement_id)
      SELECT :agency_id, id, at, kind, description, invoice_id, payment_id, disbursement_id FROM posting
    )
    INSERT INTO ledger_entry (agency_id, id, transaction_id, account_id, debit, credit)
    SELECT :agency_id, uuidv7(), posting.id, found.id, e.debit, e.credit
      FROM jsonb_to_recordset(CAST(:entries AS jsonb)) AS e(place int, account int, debit numeric, credit numeric)
      JOIN posting USING (place) JOIN found USING (account)
    """
)
_OPEN_ACCOUNTS: Final = text(
    """
    INSERT INTO ledger_account (agency_id, id, code, kind, lease_id, owner_id)
    SELECT :agency_id, uuidv7(), w.code, w.kind, w.lease_id, w.owner_id
      FROM jsonb_to_recordset(CAST(:wanted AS jsonb))
        AS w(code text, kind text, lease_id uuid, owner_id uuid)
     ORDER BY w.code, w.lease_id, w.owner_id
    ON CONFLICT DO NOTHING
    """
)


def post(session: Session, postings: Iterable[Posting]) -> None:
    """Write transactions into the ledger: one statement however many there are, three where accounts are new."""
    real = [posting for posting in postings if any(_is_something(entry) for entry in posting.entries)]
    entries = [
        (place, entry) for place, one in enumerate(real) for entry in one.entries if _is_something(entry)
    ]
    if not entries:
        return
    # Each account once: those of the whole agency are in every posting of a run.
    numbers: dict[_Key, int] = {}
    rows = [_row(place, numbers.setdefault(_key(entry), len(numbers)), entry) for place, entry in entries]
    accounts = [_account(key) | {"account": number} for key, number in numbers.items()]
    values = {
        "agency_id": tenant_of(session).agency_id,
        "postings": as_json([_head(place, one) for place, one in enumerate(real)]),
        "accounts": as_json(accounts),
        "entries": as_json(rows),
    }
    written = _written(session, values)
    if written == 0:
        # Not all of the accounts are there yet.
        session.execute(_OPEN_ACCOUNTS, {"agency_id": values["agency_id"], "wanted": values["accounts"]})
        written = _written(session, values)
    if written != len(entries):
        raise RuntimeError(f"{written} of {len(entries)} entries of the ledger were written")


_MIRROR: Final = """
    WITH original AS MATERIALIZED (
      SELECT t.id, t.invoice_id, t.payment_id, t.disbursement_id, uuidv7() AS mirror_id
        FROM ledger_transaction t
       WHERE t.agency_id = :agency_id AND {condition}
         AND NOT EXISTS (SELECT FROM ledger_transaction r
                          WHERE r.agency_id = :agency_id AND r.reverses_id = t.id)
    ), mirrored AS (
      INSERT INTO ledger_transaction
             (agency_id, id, at, kind, description, invoice_id, payment_id, disbursement_id, reverses_id)
      SELECT :agency_id, mirror_id, :at, :kind, :description, invoice_id, payment_id, disbursement_id, id
        FROM original
    )
    INSERT INTO ledger_entry (agency_id, id, transaction_id, account_id, debit, credit)
    SELECT :agency_id, uuidv7(), o.mirror_id, e.account_id, e.credit, e.debit
      FROM original o JOIN ledger_entry e ON e.agency_id = :agency_id AND e.transaction_id = o.id
"""
_MIRROR_INVOICE: Final = text(_MIRROR.format(condition="t.invoice_id = :subject AND t.kind = 'INVOICE'"))
_MIRROR_PAYMENT: Final = text(_MIRROR.format(condition="t.payment_id = :subject AND t.kind <> 'REVERSAL'"))
_MIRROR_DISBURSEMENT: Final = text(
    _MIRROR.format(condition="t.disbursement_id = :subject AND t.kind <> 'REVERSAL'")
)


def mirror_invoice(session: Session, invoice_id: uuid.UUID, at: dt.datetime, description: str) -> None:
    """Undo what issuing the invoice posted, by the opposite entries (INVOICE_VOID)."""
    _mirror(session, _MIRROR_INVOICE, invoice_id, "INVOICE_VOID", at, description)


def mirror_payment(session: Session, payment_id: uuid.UUID, at: dt.datetime, description: str) -> None:
    """Undo all that a payment has posted, its credit's ways included, by the opposite entries (REVERSAL)."""
    _mirror(session, _MIRROR_PAYMENT, payment_id, "REVERSAL", at, description)


def mirror_disbursement(
    session: Session, disbursement_id: uuid.UUID, at: dt.datetime, description: str
) -> None:
    """Undo what money paid out has posted, by the opposite entries (REVERSAL)."""
    _mirror(session, _MIRROR_DISBURSEMENT, disbursement_id, "REVERSAL", at, description)


def trial_balance(session: Session, until: dt.datetime | None = None) -> list[AccountTotal]:
    """Each account code with its debits and credits, by code; all debits equal all credits.

    Args:
        until: only transactions before this moment; None: all.
    """
    agency_id = tenant_of(session).agency_id
    query = (
        select(
            LedgerAccount.code, LedgerAccount.kind, func.sum(LedgerEntry.debit), func.sum(LedgerEntry.credit)
        )
        .join(
            LedgerEntry,
            (LedgerEntry.agency_id == LedgerAccount.agency_id) & (LedgerEntry.account_id == LedgerAccount.id),
        )
        .where(LedgerAccount.agency_id == agency_id)
        .group_by(LedgerAccount.code, LedgerAccount.kind)
        .order_by(LedgerAccount.code)
    )
    if until is not None:
        query = query.join(
            LedgerTransaction,
            (LedgerTransaction.agency_id == LedgerEntry.agency_id)
            & (LedgerTransaction.id == LedgerEntry.transaction_id),
        ).where(LedgerTransaction.at < until)
    return [AccountTotal(*row) for row in session.execute(query)]


def as_json(rows: list[dict[str, Any]]) -> str:
    """Rows as the JSON that ``jsonb_to_recordset`` reads; money as text, so that no float comes near it."""
    return orjson.dumps(rows, default=str).decode()


def _written(session: Session, values: Mapping[str, Any]) -> int:
    """How many entries were posted: all of them, or, where an account is missing, none."""
    return _POST.run(session, **values).rowcount


def _head(place: int, one: Posting) -> dict[str, Any]:
    return {
        "place": place,
        "kind": one.kind,
        "at": one.at,
        "description": one.description,
        "invoice_id": one.invoice_id,
        "payment_id": one.payment_id,
        "disbursement_id": one.disbursement_id,
    }


def _row(place: int, account: int, entry: Entry) -> dict[str, Any]:
    return {"place": place, "account": account, "debit": str(entry.debit), "credit": str(entry.credit)}


_Key = tuple[str, uuid.UUID | None, uuid.UUID | None]
"""Code, lease, owner: what an account is found by."""


def _key(entry: Entry) -> _Key:
    return entry.code, entry.lease_id, entry.owner_id


def _account(key: _Key) -> dict[str, Any]:
    code, lease_id, owner_id = key
    return {"code": code, "kind": ACCOUNT_KINDS[code], "lease_id": lease_id, "owner_id": owner_id}


def _mirror(
    session: Session, statement: Any, subject: uuid.UUID, kind: str, at: dt.datetime, description: str
) -> None:
    values = {"subject": subject, "kind": kind, "at": at, "description": description}
    session.execute(statement, {"agency_id": tenant_of(session).agency_id, **values})


def _is_something(entry: Entry) -> bool:
    return entry.debit != 0 or entry.credit != 0
