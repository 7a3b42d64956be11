"""The routes with a rate limit of their own, all of them here.

Each counts beside the limit that all requests of a caller share (``RATE_LIMIT_MAX_REQUESTS``), of which ``share`` is its
part. The first that matches holds.
"""

from __future__ import annotations

from typing import Final

from extensions.rate_limiting import RouteClass

_API: Final = "/api/v1"

CLASSES: Final = (
    # By address also with a token in hand: a password is guessed by somebody who is not yet anybody.
    RouteClass(
        "login",
        0.03,
        (f"POST {_API}/auth/login", f"POST {_API}/auth/password", "POST /ops/sign-in"),
        by_address=True,
    ),
    # Each rings a phone.
    RouteClass("payment_requests", 0.06, (f"POST {_API}/payments/mpesa/stk-push",)),
    # Each is minutes of work for a job.
    RouteClass("jobs", 0.03, (f"POST {_API}/exports", f"POST {_API}/reports", f"POST {_API}/invoices/run")),
    RouteClass("writes", 0.6, tuple(f"{method} {_API}/" for method in ("POST", "PUT", "PATCH", "DELETE"))),
)
