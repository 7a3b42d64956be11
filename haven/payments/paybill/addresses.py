"""The secret addresses that M-Pesa calls for what is paid to an agency's paybill.

M-Pesa in production takes them once; so each one ever made works for good, and a new one changes nothing about those
before. Only the hash of the secret is kept: the addresses are shown when they are made, and never again.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

import structlog
from sqlalchemy import func, select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from config import Settings
from haven.db.base import new_id
from haven.db.session import tenant_of
from haven.errors import Conflict
from haven.identity.models import Agency
from haven.operations.jobs import job_session
from haven.payments.models import C2bAddress
from haven.payments.mpesa.client import MpesaError, PushNotSent
from haven.payments.mpesa.credentials import Credentials, client_for, credentials_of
from haven.payments.mpesa.registrations import register_c2b, register_pull
from haven.payments.stk import new_token, token_hash

if TYPE_CHECKING:
    from haven.runtime import Runtime

log = structlog.get_logger(__name__)

MOST: Final = 20
"""Addresses of one agency. All work for ever, so that making more is a mistake."""


@dataclass(frozen=True, slots=True)
class Registration:
    """An address that is written down and about to be told to M-Pesa. ``problem``: why it cannot be told."""

    agency_id: uuid.UUID
    actor: str
    address_id: uuid.UUID
    shortcode: str | None
    token: str = field(repr=False)
    nominated_number: str | None = field(repr=False)
    problem: str | None = None

    def url(self, public_url: str, call: str) -> str:
        """The address of the ``confirmation`` or the ``validation``."""
        return f"{public_url.rstrip('/')}/api/v1/hooks/c2b/{call}/{self.token}"


def start_registration(
    session: Session, settings: Settings, nominated_number: str | None = None
) -> Registration:
    """Make an address, before M-Pesa is told of it: it may call the very moment it knows.

    Args:
        nominated_number: E.164, named with the paybill at M-Pesa; with it, Pull Transactions are asked for as well.

    Raises:
        Conflict: another agency has registered the paybill, or there are too many addresses.
    """
    tenant = tenant_of(session)
    count = select(func.count()).select_from(C2bAddress).where(C2bAddress.agency_id == tenant.agency_id)
    if session.execute(count).scalar_one() >= MOST:
        raise Conflict(f"There are {MOST} addresses already, and each of them works: use one of those.")
    shortcode, problem = _shortcode(session, settings)
    token = new_token(tenant.agency_id)
    address_id = new_id()
    try:
        with session.begin_nested():
            session.add(
                C2bAddress(
                    agency_id=tenant.agency_id,
                    id=address_id,
                    shortcode=shortcode,
                    token_hash=token_hash(token),
                    state="SENDING" if problem is None else "REFUSED",
                    detail=problem,
                )
            )
    except IntegrityError:
        raise Conflict(f"The paybill {shortcode} is another agency's.") from None
    return Registration(
        tenant.agency_id, tenant.actor, address_id, shortcode, token, nominated_number, problem
    )


def send_registration(runtime: Runtime, registration: Registration) -> dict[str, Any]:
    """Tell M-Pesa of the addresses, with no transaction open, and show them: this once.

    Keys: ``id, shortcode, confirmation_url, validation_url, state, pull_state, detail``. ``ALREADY_REGISTERED``: M-Pesa
    keeps others, which go on working. What M-Pesa answers raises nothing: it is in the states.
    """
    states = _States("REFUSED", "NOT_ASKED", registration.problem)
    if registration.problem is None:
        states = _told(runtime, registration)
        with job_session(runtime, registration.agency_id, registration.actor) as session:
            row = session.get_one(C2bAddress, (registration.agency_id, registration.address_id))
            row.state, row.pull_state, row.detail = states.state, states.pull_state, states.detail
            if {row.state, row.pull_state} <= {"REFUSED", "NOT_ASKED"}:
                # Another agency may turn out to be the one that has it.
                row.shortcode = None
    public_url = runtime.settings.public_url
    return {
        "id": registration.address_id,
        "shortcode": registration.shortcode,
        "confirmation_url": registration.url(public_url, "confirmation"),
        "validation_url": registration.url(public_url, "validation"),
        "state": states.state,
        "pull_state": states.pull_state,
        "detail": states.detail,
    }


@dataclass(frozen=True, slots=True)
class _States:
    """What M-Pesa says of the addresses and of Pull, and why it does not take one of them."""

    state: str
    pull_state: str
    detail: str | None


def _shortcode(session: Session, settings: Settings) -> tuple[str | None, str | None]:
    """The paybill that is this agency's own; or None, and why there is none."""
    agency = session.execute(
        select(Agency.mpesa_shortcode, Agency.mpesa_credentials.is_not(None).label("has_own")).where(
            Agency.id == tenant_of(session).agency_id
        )
    ).one()
    try:
        credentials = credentials_of(session, settings)
    except (Conflict, ValueError) as error:
        return None, str(error)
    # The paybill of the settings may serve several agencies' pushes, but only one can be told of all that is paid to it.
    if not agency.has_own and agency.mpesa_shortcode != credentials.shortcode:
        return None, (
            f"The paybill {credentials.shortcode} of the settings is not this agency's:"
            " set mpesa_shortcode of the agency to it if it is."
        )
    return credentials.shortcode, None


def _told(runtime: Runtime, registration: Registration) -> _States:
    with job_session(runtime, registration.agency_id, registration.actor) as session:
        credentials = credentials_of(session, runtime.settings)
    state, why = _ask(lambda: _register_c2b(runtime, registration, credentials))
    pull_state, pull_why = "NOT_ASKED", None
    if registration.nominated_number is not None:
        pull_state, pull_why = _ask(lambda: _register_pull(runtime, registration, credentials))
    return _States(state, pull_state, why or pull_why)


def _register_c2b(runtime: Runtime, registration: Registration, credentials: Credentials) -> bool:
    public_url = runtime.settings.public_url
    confirmation = registration.url(public_url, "confirmation")
    validation = registration.url(public_url, "validation")
    with client_for(runtime, credentials) as client:
        return register_c2b(client, credentials.shortcode, confirmation, validation)


def _register_pull(runtime: Runtime, registration: Registration, credentials: Credentials) -> bool:
    assert registration.nominated_number is not None
    url = registration.url(runtime.settings.public_url, "confirmation")
    with client_for(runtime, credentials) as client:
        return register_pull(client, credentials.shortcode, registration.nominated_number, url)


def _ask(call: Callable[[], bool]) -> tuple[str, str | None]:
    """The state that a registration is in once ``call`` has been made, and why, where it was not taken."""
    try:
        return ("REGISTERED" if call() else "ALREADY_REGISTERED"), None
    except MpesaError as error:
        log.warning("registration_failed", code=error.code, message=error.message)
        is_unclear = error.code == "NO_ANSWER" or isinstance(error, PushNotSent)
        return ("UNKNOWN" if is_unclear else "REFUSED"), f"{error.code}: {error.message}"
