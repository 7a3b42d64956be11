"""The routes of billing."""

from haven.billing.routes.credit_notes import CREDIT_NOTES
from haven.billing.routes.credit_notes import blueprint as _credit_notes
from haven.billing.routes.deposits import blueprint as _deposits
from haven.billing.routes.invoices import INVOICES
from haven.billing.routes.invoices import blueprint as _invoices
from haven.billing.routes.ledger import ACCOUNTS, ENTRIES
from haven.billing.routes.ledger import blueprint as _ledger
from haven.billing.routes.paid_out import DISBURSEMENTS
from haven.billing.routes.paid_out import blueprint as _paid_out
from haven.billing.routes.statements import blueprint as _statements

blueprints = [_invoices, _credit_notes, _deposits, _paid_out, _statements, _ledger]

__all__ = ["ACCOUNTS", "CREDIT_NOTES", "DISBURSEMENTS", "ENTRIES", "INVOICES", "blueprints"]
