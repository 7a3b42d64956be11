"""A callback that has come in is stored and committed first; then applied at once, or, failing that, by the sweeper. No Flask."""

from __future__ import annotations

from typing import Final

import structlog
from sqlalchemy.orm import Session

from config import Settings
from haven.db.session import tell_along
from haven.payments import callbacks
from haven.payments.callbacks import Kept, Kind
from haven.payments.sources import refusal

log = structlog.get_logger(__name__)
KEPT_HEADERS: Final = ("Content-Type", "Businessshortcode", "User-Agent", "X-Forwarded-For", "X-Request-Id")
"""What is stored of a request's headers."""


def keep(
    session: Session,
    settings: Settings,
    *,
    token: str,
    body: bytes,
    headers: dict[str, str],
    address: str | None,
    kind: Kind,
) -> tuple[Kept | None, bool]:
    """Keep what came, and commit; and whether it is refused, so not to be applied. None: the token is none of ours.

    Args:
        headers: those of ``KEPT_HEADERS`` that came with it.
        address: where it came from.
    """
    tell_along(session)
    refused = refusal(settings, address)
    kept = callbacks.store(
        session, token=token, body=body, headers=headers, address=address, kind=kind, refused=refused
    )
    session.commit()
    return kept, refused is not None


def apply_at_once(session: Session, kept: Kept) -> None:
    """Apply what is kept, and commit. Whatever goes wrong with that, it stays for the sweeper."""
    try:
        outcome = callbacks.apply(session, kept)
        session.commit()
        log.info("callback_applied", inbox_id=str(kept.id), outcome=outcome)
    except Exception:
        session.rollback()
        log.exception("callback_kept_for_later", inbox_id=str(kept.id))
