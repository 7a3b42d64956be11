"""``/ledger``: accounts, entries, trial balance. It is only read here: what happens writes it."""

from __future__ import annotations

from flask import Response
from flask_smorest import Blueprint
from marshmallow import fields
from sqlalchemy import func, join, select, true

from haven.api.encoding import json_response
from haven.api.guard import current_session, requires
from haven.api.listing import Filter, Listing
from haven.api.resource import list_answer, list_doc, page_schema
from haven.billing import money_schemas as schemas
from haven.billing import service
from haven.billing.ledger import NOUGHT
from haven.billing.models import LedgerAccount, LedgerEntry, LedgerTransaction

blueprint = Blueprint("ledger", __name__, description="The double-entry ledger.")

# Added up from the index alone, for the accounts of one page.
_sums = (
    select(
        func.coalesce(func.sum(LedgerEntry.debit), NOUGHT).label("debit"),
        func.coalesce(func.sum(LedgerEntry.credit), NOUGHT).label("credit"),
    )
    .where(LedgerEntry.agency_id == LedgerAccount.agency_id, LedgerEntry.account_id == LedgerAccount.id)
    .correlate(LedgerAccount)
    .lateral("sums")
)


ACCOUNTS = Listing(
    "account",
    LedgerAccount.id,
    {name: getattr(LedgerAccount, name) for name in ("id", "code", "kind", "lease_id", "owner_id")}
    | {"debit": _sums.c.debit, "credit": _sums.c.credit, "balance": _sums.c.debit - _sums.c.credit},
    joined=join(LedgerAccount, _sums, true()),
    is_widened=True,
    filters={
        "code": Filter(LedgerAccount.code, fields.String()),
        "kind": Filter(LedgerAccount.kind, fields.String()),
        "lease_id": Filter(LedgerAccount.lease_id, fields.UUID()),
        "owner_id": Filter(LedgerAccount.owner_id, fields.UUID()),
    },
)

ENTRIES = Listing(
    "entry",
    LedgerEntry.id,
    {name: getattr(LedgerEntry, name) for name in ("id", "transaction_id", "account_id", "debit", "credit")}
    | {name: getattr(LedgerAccount, name) for name in ("code", "lease_id", "owner_id")}
    | {
        name: getattr(LedgerTransaction, name)
        for name in "at kind description invoice_id payment_id disbursement_id reverses_id".split()
    },
    joined=join(
        LedgerEntry,
        LedgerTransaction,
        (LedgerTransaction.agency_id == LedgerEntry.agency_id)
        & (LedgerTransaction.id == LedgerEntry.transaction_id),
    ).join(
        LedgerAccount,
        (LedgerAccount.agency_id == LedgerEntry.agency_id) & (LedgerAccount.id == LedgerEntry.account_id),
    ),
    filters={
        "account_id": Filter(LedgerEntry.account_id, fields.UUID()),
        "transaction_id": Filter(LedgerEntry.transaction_id, fields.UUID()),
        "code": Filter(LedgerAccount.code, fields.String()),
        "lease_id": Filter(LedgerAccount.lease_id, fields.UUID()),
        "owner_id": Filter(LedgerAccount.owner_id, fields.UUID()),
        "kind": Filter(LedgerTransaction.kind, fields.String()),
        "at": Filter(LedgerTransaction.at, fields.AwareDateTime(), ordered=True),
        "invoice_id": Filter(LedgerTransaction.invoice_id, fields.UUID()),
        "payment_id": Filter(LedgerTransaction.payment_id, fields.UUID()),
        "disbursement_id": Filter(LedgerTransaction.disbursement_id, fields.UUID()),
    },
)


@blueprint.route("/ledger/accounts", methods=["GET"])
@requires("ledger:read")
@blueprint.response(200, page_schema(schemas.AccountRow))
@blueprint.doc(summary="List accounts, with what stands on them", **list_doc(ACCOUNTS))
def accounts() -> Response:
    return list_answer(ACCOUNTS)


@blueprint.route("/ledger/entries", methods=["GET"])
@requires("ledger:read")
@blueprint.response(200, page_schema(schemas.EntryRow))
@blueprint.doc(summary="List debits and credits", **list_doc(ENTRIES))
def entries() -> Response:
    return list_answer(ENTRIES)


@blueprint.route("/ledger/trial-balance", methods=["GET"])
@requires("ledger:read")
@blueprint.response(200, schemas.TrialBalance)
@blueprint.doc(summary="The sums of all accounts")
def trial_balance() -> Response:
    totals = service.trial_balance(current_session())
    rows = [{"code": t.code, "kind": t.kind, "debit": t.debit, "credit": t.credit} for t in totals]
    debit, credit = (sum((getattr(t, side) for t in totals), start=0) for side in ("debit", "credit"))
    return json_response({"data": rows, "debit": f"{debit:.2f}", "credit": f"{credit:.2f}"})
