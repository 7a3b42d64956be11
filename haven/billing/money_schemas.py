"""Bodies and answers of deposits, of money paid out, of statements and of the ledger."""

from __future__ import annotations

from marshmallow import Schema, fields

from haven.api.fields import Body, Line, Money, Row, choice

ACCOUNT_KIND = ("ASSET", "LIABILITY", "INCOME", "EXPENSE")
METHOD = ("MPESA", "CASH", "BANK", "CARD", "CHEQUE")
DISBURSEMENT_KIND = ("DEPOSIT_REFUND", "PAYOUT", "EXPENSE")
STATEMENT_KIND = (
    "INVOICE", "LATE_FEE", "CREDIT_NOTE", "VOID", "PAYMENT", "DEPOSIT_USED", "REVERSAL", "DEPOSIT_REFUND", "OTHER"
)  # fmt: skip


class DepositRow(Schema):
    """The deposit of a lease."""

    lease_id = fields.UUID(required=True)
    charged = Money(required=True, metadata={"description": "Asked for by invoices, less what is credited."})
    paid = Money(required=True, metadata={"description": "What of it has come in."})
    used = Money(required=True, metadata={"description": "What has paid arrears or was retained."})
    refunded = Money(required=True)
    held = Money(required=True, metadata={"description": "What may still be used or refunded."})


class ApplyDepositBody(Body):
    """How much of the deposit pays arrears."""

    amount = Money(sign="positive", metadata={"description": "As much as is held and owed where left out."})


class RetainDepositBody(Body):
    """What is kept of the deposit, and why."""

    amount = Money(sign="positive", required=True)
    reason = Line(longest=170, required=True)


class RefundDepositBody(Body):
    """What has gone back to the tenant. Haven records it; it moves no money."""

    amount = Money(sign="positive", metadata={"description": "All that is held where it is left out."})
    method = choice(*METHOD, required=True)
    reference = Line(longest=64, allow_none=True)
    paid_at = fields.AwareDateTime(metadata={"description": "Now where it is left out; not in the future."})


class PayoutBody(Body):
    """Money paid to an owner. Haven records it; it moves no money."""

    amount = Money(sign="positive", required=True)
    method = choice(*METHOD, required=True)
    reference = Line(longest=64, allow_none=True)
    description = Line()
    paid_at = fields.AwareDateTime(metadata={"description": "Now where it is left out; not in the future."})


class ExpenseBody(PayoutBody):
    """Money spent for an owner; ``description`` says what for."""

    description = Line(required=True)


class DisbursementRow(Row):
    """Money that has left: a payout to an owner, an expense for him, a deposit back to a tenant."""

    kind = choice(*DISBURSEMENT_KIND, required=True)
    lease_id = fields.UUID(required=True, allow_none=True)
    owner_id = fields.UUID(required=True, allow_none=True)
    amount = Money(required=True)
    currency = fields.String(required=True)
    method = choice(*METHOD, required=True)
    reference = fields.String(required=True, allow_none=True)
    description = fields.String(required=True)
    status = choice("RECORDED", "REVERSED", required=True)
    paid_at = fields.AwareDateTime(required=True)
    reversed_at = fields.AwareDateTime(required=True, allow_none=True)
    reversal_reason = fields.String(required=True, allow_none=True)


class ReverseDisbursementBody(Body):
    """Why what was recorded is undone."""

    reason = Line(longest=500, required=True)


class StatementLine(Schema):
    """One event of a tenant's account."""

    at = fields.AwareDateTime(required=True)
    date = fields.Date(required=True, metadata={"description": "Where the agency is."})
    kind = choice(*STATEMENT_KIND, required=True)
    description = fields.String(required=True)
    lease_id = fields.UUID(required=True)
    invoice_id = fields.UUID(required=True, allow_none=True)
    payment_id = fields.UUID(required=True, allow_none=True)
    debit = Money(required=True, metadata={"description": "What the tenant owes more, or was paid."})
    credit = Money(required=True, metadata={"description": "What the tenant owes less, or was released."})
    balance = Money(
        required=True, sign="any", metadata={"description": "What is owed after it; below nought: credit."}
    )


class TenantStatement(Schema):
    """What happened on a tenant's account, over all leases, in order."""

    tenant_id = fields.UUID(required=True)
    currency = fields.String(required=True)
    first_day = fields.Date(required=True, data_key="from")
    last_day = fields.Date(required=True, data_key="to")
    opening_balance = Money(required=True, sign="any")
    lines = fields.List(fields.Nested(StatementLine), required=True)
    closing_balance = Money(required=True, sign="any")


class OwnerBalance(Schema):
    """opening_balance + collected - management_fee - expenses - payouts = closing_balance."""

    owner_id = fields.UUID(required=True)
    currency = fields.String(required=True)
    first_day = fields.Date(required=True, data_key="from")
    last_day = fields.Date(required=True, data_key="to")
    opening_balance = Money(required=True, sign="any")
    collected = Money(
        required=True,
        sign="any",
        metadata={"description": "Of the owner's units, less reversals; no deposits."},
    )
    rent_collected = Money(required=True, sign="any", metadata={"description": "What of it is rent."})
    management_fee = Money(
        required=True, sign="any", metadata={"description": "Per cent of the rent collected."}
    )
    expenses = Money(required=True, sign="any")
    payouts = Money(required=True, sign="any")
    closing_balance = Money(required=True, sign="any")


class AccountRow(Schema):
    """An account of the ledger, with all that stands on it."""

    id = fields.UUID(required=True)
    code = fields.String(required=True, metadata={"example": "TENANT_RECEIVABLE"})
    kind = choice(*ACCOUNT_KIND, required=True)
    lease_id = fields.UUID(required=True, allow_none=True)
    owner_id = fields.UUID(required=True, allow_none=True)
    debit = Money(required=True)
    credit = Money(required=True)
    balance = Money(required=True, sign="any", metadata={"description": "debit less credit."})


class EntryRow(Schema):
    """A debit or a credit of one account, with the transaction it is part of."""

    id = fields.UUID(required=True)
    transaction_id = fields.UUID(required=True)
    account_id = fields.UUID(required=True)
    code = fields.String(required=True)
    lease_id = fields.UUID(required=True, allow_none=True)
    owner_id = fields.UUID(required=True, allow_none=True)
    at = fields.AwareDateTime(required=True)
    kind = fields.String(required=True, metadata={"example": "PAYMENT"})
    description = fields.String(required=True)
    debit = Money(required=True)
    credit = Money(required=True)
    invoice_id = fields.UUID(required=True, allow_none=True)
    payment_id = fields.UUID(required=True, allow_none=True)
    disbursement_id = fields.UUID(required=True, allow_none=True)
    reverses_id = fields.UUID(required=True, allow_none=True)


class AccountTotalRow(Schema):
    """What stands on the accounts of one code."""

    code = fields.String(required=True)
    kind = choice(*ACCOUNT_KIND, required=True)
    debit = Money(required=True)
    credit = Money(required=True)


class TrialBalance(Schema):
    """The sums of all accounts: debits equal credits, always."""

    data = fields.List(fields.Nested(AccountTotalRow), required=True)
    debit = Money(required=True)
    credit = Money(required=True)
