"""What becomes of requests for payment, counted for operators: how many, never whose."""

from __future__ import annotations

from typing import Final

from sqlalchemy.orm import Session

from extensions import trace
from haven.db.session import after_commit

EVENT: Final = "payment"
STEPS: Final = ("asked", "rung", "paid", "failed")
ASKED, RUNG, PAID, FAILED = STEPS


def count(session: Session, step: str) -> None:
    """Count a step once the transaction has committed: ``asked``, ``rung``, ``paid``, or ``failed <code>``."""
    after_commit(session, lambda: trace.add(trace.EVENT, f"{EVENT}:{step}"))
