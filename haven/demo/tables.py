"""What the demo writes: tables in the order of their foreign keys, with the columns it fills."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

_STAMPS: Final = " created_at updated_at"

COLUMNS: Final[dict[str, tuple[str, ...]]] = {
    table: tuple(columns.split())
    for table, columns in {
        "agency": "id name slug" + _STAMPS,
        "user_account": "agency_id id email full_name phone role status password_hash" + _STAMPS,
        "sign_in_address": "email agency_id user_id",
        "api_key": "agency_id id name prefix secret_hash scopes created_by created_at",
        "owner": "agency_id id full_name email phone tax_pin payout_details management_fee_percent" + _STAMPS,
        "property": "agency_id id name code kind address location county latitude longitude status owner_id"
        + _STAMPS,
        "unit": "agency_id id property_id label bedrooms rent_amount deposit_amount status payment_reference"
        + _STAMPS,
        "tenant": "agency_id id full_name email phone national_id status notes" + _STAMPS,
        "lease": "agency_id id unit_id tenant_id start_date end_date rent_amount deposit_amount billing_day grace_days"
        " late_fee_kind late_fee_amount status activated_at terminated_at termination_reason" + _STAMPS,
        "counter": "agency_id name value",
        "ledger_account": "agency_id id code kind lease_id owner_id",
        "invoice": "agency_id id lease_id tenant_id number period_start period_end issued_at due_at total paid status"
        " run_period" + _STAMPS,
        "invoice_line": "agency_id id invoice_id position kind description amount",
        "payment": "agency_id id lease_id tenant_id invoice_id amount method status paid_at reference phone failure_code"
        " failure_reason allocated receipt_number reversed_at reversal_reason" + _STAMPS,
        "allocation": "agency_id id payment_id invoice_id amount created_at",
        "ledger_transaction": "agency_id id at created_at kind description invoice_id payment_id reverses_id",
        "ledger_entry": "agency_id id transaction_id account_id debit credit",
        "owner_share": "agency_id id invoice_id owner_id fee_percent rent other fee",
        "unmatched_receipt": "agency_id id receipt amount received_at account_typed payer created_at",
    }.items()
}
"""Table → columns. What is not listed takes its default or is computed by the database."""

LARGE: Final = (
    *("invoice", "invoice_line", "payment", "allocation", "owner_share"),
    *("ledger_transaction", "ledger_entry"),
)
"""Tables that grow with every month: written by binary COPY, the others by text."""

REBUILT: Final = ("unit", "tenant", "lease", "ledger_account", *LARGE)
"""Tables whose indexes and keys a large load makes again."""


@dataclass(frozen=True, slots=True)
class Block:
    """Rows of one table, ready to COPY."""

    table: str
    rows: int
    content: bytes

    @property
    def statement(self) -> str:
        """The COPY that reads ``content``."""
        columns = ", ".join(COLUMNS[self.table])
        options = " WITH (FORMAT binary)" if self.table in LARGE else ""
        return f"COPY {self.table} ({columns}) FROM STDIN{options}"


_ESCAPES: Final = str.maketrans({"\\": "\\\\", "\t": "\\t", "\n": "\\n", "\r": "\\r"})


def text_block(table: str, rows: list[tuple[str | None, ...]]) -> Block:
    """Rows of texts (None is null) in COPY's text format."""
    lines = [
        "\t".join("\\N" if value is None else value.translate(_ESCAPES) for value in row) + "\n"
        for row in rows
    ]
    return Block(table, len(rows), "".join(lines).encode())
