"""The one table of what each role may do. The guards read it, and ``docs/permissions.md`` is made from it."""

from __future__ import annotations

from typing import Final

PERMISSIONS: Final[dict[str, str]] = {
    "agencies:read": "List every agency",
    "agencies:write": "Make, change and remove agencies",
    "agency:read": "Read one's own agency",
    "agency:write": "Change one's own agency",
    "users:read": "List and read users",
    "users:write": "Make, change and remove users",
    "api_keys:read": "List API keys",
    "api_keys:write": "Make and revoke API keys",
    "audit:read": "Read who changed what",
    "owners:read": "List and read owners",
    "owners:write": "Make, change and remove owners",
    "properties:read": "List and read properties",
    "properties:write": "Make, change and remove properties",
    "units:read": "List and read units",
    "units:write": "Make, change and remove units",
    "tenants:read": "List and read tenants",
    "tenants:write": "Make, change and remove tenants",
    "leases:read": "List and read leases",
    "leases:write": "Make, change, activate and terminate leases",
    "invoices:read": "List and read invoices",
    "invoices:write": "Make, issue, credit and void invoices; run the month's rent",
    "disbursements:read": "List and read money that was paid out",
    "disbursements:write": "Settle deposits; record and reverse payouts to owners and expenses",
    "ledger:read": "Read the ledger, tenants' statements and owners' balances",
    "dashboard:read": "Read the dashboard: figures of a month, and what happened last",
    "reports:read": "List and read reports and their schedules",
    "reports:write": "Make reports; make, change and remove their schedules",
    "payments:read": "List and read payments and receipts",
    "payments:write": "Ask for rent by M-Pesa, record cash and bank payments",
    "payments:reverse": "Reverse a payment",
    "payments:resolve": "Decide a payment that needs review",
    "payments:admin": "Replay what the provider sent; register the paybill's addresses",
    "notifications:read": "Read who was told what",
    "notifications:write": "Send a failed notification again",
    "exports:read": "List the agency's files and fetch them",
    "exports:write": "Export what one may read",
    "jobs:read": "Read jobs",
    "jobs:write": "Cancel and retry jobs",
    "jobs:admin": "Read everybody's jobs and their numbers; empty a queue, run its failures again",
    "queues:write": "Pause and resume queues; rq-dashboard",
    "cache:read": "Read how the cache does",
    "cache:write": "Clear and warm the cache",
    "webhooks:read": "List and read webhooks and their deliveries",
    "webhooks:write": "Make, change and remove webhooks",
    "rate_limits:read": "Read the rate limits and who was refused",
    "rate_limits:write": "Change rate limits",
    "monitoring:read": "Read how Haven does",
    "alerts:read": "List and read alerts and silences",
    "alerts:write": "Acknowledge alerts; silence them",
    "alert_rules:read": "List and read alert rules",
    "alert_rules:write": "Make, change and remove alert rules",
}

_SHARED = frozenset({"agency:read", "jobs:read"})
_READING = _SHARED | {
    f"{part}:read"
    for part in (
        "owners",
        "properties",
        "units",
        "tenants",
        "leases",
        "invoices",
        "payments",
        "disbursements",
        "ledger",
        "dashboard",
        "reports",
        "notifications",
        "exports",
        "alerts",
        "alert_rules",
    )
}
_PLATFORM_ONLY = frozenset(
    {"agencies:read", "agencies:write", "monitoring:read", "rate_limits:read", "rate_limits:write"}
    | {"queues:write", "alert_rules:write"}
)

ROLES: Final[dict[str, frozenset[str]]] = {
    "PLATFORM_ADMIN": _PLATFORM_ONLY
    | {"agency:read", "users:read", "users:write", "api_keys:read", "api_keys:write", "audit:read"}
    | {"jobs:read", "jobs:write", "jobs:admin", "cache:read", "cache:write"}
    | {"alerts:read", "alerts:write", "alert_rules:read"},
    "AGENCY_ADMIN": frozenset(PERMISSIONS) - _PLATFORM_ONLY,
    "MANAGER": _READING
    | {
        f"{part}:write"
        for part in (
            "owners",
            "properties",
            "units",
            "tenants",
            "leases",
            "invoices",
            "payments",
            "disbursements",
            "reports",
        )
    }
    | {"users:read", "api_keys:read", "api_keys:write", "jobs:write", "notifications:write", "exports:write"}
    | {"alerts:write"},
    "ACCOUNTANT": _READING
    | {
        "owners:write",
        "invoices:write",
        "payments:write",
        "payments:reverse",
        "disbursements:write",
        "reports:write",
        "audit:read",
    }
    | {"api_keys:read", "api_keys:write", "jobs:write", "notifications:write", "payments:resolve"}
    | {"exports:write", "alerts:write"},
    "VIEWER": _READING,
}
"""Role → permissions. Operators see no agency's tenants or money: they run the platform, not the agencies."""

ALL_SCOPES: Final = "*"


def permissions_of(role: str, scopes: list[str] | None = None) -> frozenset[str]:
    """What a role may do; with an API key's ``scopes``, only what both allow."""
    held = ROLES[role]
    if scopes is None or ALL_SCOPES in scopes:
        return held
    return held & frozenset(scopes)
