"""Users, agencies and API keys."""

from __future__ import annotations

import datetime as dt
import uuid
from typing import Any

from sqlalchemy import delete as sql_delete
from sqlalchemy import select
from sqlalchemy.orm import Session

from extensions.caching.writes import note
from haven.db.base import PLATFORM, new_id
from haven.db.rows import change, locked
from haven.db.session import Tenant, after_commit, set_tenant, tenant_of
from haven.errors import Conflict, Forbidden, Invalid, NotFound, VersionMismatch
from haven.identity.models import Agency, ApiKey, SignInAddress, User
from haven.identity.permissions import ALL_SCOPES
from haven.identity.principals import Principal, Principals
from haven.identity.sign_in import SignIn
from haven.identity.tokens import new_api_key
from haven.operations.cached_tables import CLEARS

_PLATFORM_ROLE = "PLATFORM_ADMIN"


def create_user(session: Session, desk: SignIn, body: dict[str, Any]) -> uuid.UUID:
    """Make a user of the tenant, or, for operators, of the agency that ``agency_id`` names."""
    tenant = tenant_of(session)
    agency_id = body.pop("agency_id", None) or tenant.agency_id
    if agency_id != tenant.agency_id:
        _enter_agency(session, agency_id)
    _check_role(agency_id, body["role"])
    password = body.pop("password")
    user = User(agency_id=agency_id, id=new_id(), password_hash=desk.hash(password), **body)
    session.add(user)
    session.flush()
    session.add(SignInAddress(email=user.email, agency_id=agency_id, user_id=user.id))
    session.flush()
    return user.id


def update_user(
    session: Session, desk: SignIn, user_id: uuid.UUID, changes: dict[str, Any], version: int | None
) -> None:
    """Change a user. A password or DISABLED ends his sessions; a role is in force with his next request.

    Raises:
        Conflict: it would leave the agency without an administrator.
    """
    user = locked(session, User, user_id, version)
    _check_role(user.agency_id, changes.get("role", user.role))
    if changes.get("role", user.role) != user.role or changes.get("status", "ACTIVE") != "ACTIVE":
        _keep_an_administrator(session, user)
    password = changes.pop("password", None)
    if "email" in changes and changes["email"] != user.email:
        _move_address(session, user, changes["email"])
    change(user, changes)
    if password is not None:
        user.password_hash = desk.hash(password)
    if password is not None or user.status == "DISABLED":
        desk.end_all(session, user, "password changed" if password else "user disabled")
    else:
        desk.read_again(session, user)


def delete_user(session: Session, desk: SignIn, user_id: uuid.UUID, version: int | None) -> None:
    """Remove a user with his sessions. One who has made API keys is disabled instead: their maker stays known."""
    user = locked(session, User, user_id, version)
    _keep_an_administrator(session, user)
    if session.execute(select(ApiKey.id).where(ApiKey.created_by == user_id).limit(1)).first():
        raise Conflict("This user has made API keys: set status to DISABLED instead, which stops them too.")
    desk.end_all(session, user, "user removed")
    session.flush()
    session.delete(user)


def _check_role(agency_id: uuid.UUID, role: str) -> None:
    if (agency_id == PLATFORM) != (role == _PLATFORM_ROLE):
        raise Invalid.field(
            "role", "PLATFORM_ADMIN is for operators, every other role for users of an agency"
        )


def _keep_an_administrator(session: Session, user: User) -> None:
    """Somebody must be left to let people in. The rows are locked, so that two cannot remove each other."""
    if user.role not in (_PLATFORM_ROLE, "AGENCY_ADMIN") or user.status != "ACTIVE":
        return
    others = session.execute(
        select(User.id)
        .where(
            User.agency_id == user.agency_id,
            User.role == user.role,
            User.status == "ACTIVE",
            User.id != user.id,
        )
        .limit(1)
        .with_for_update()
    ).first()
    if others is None:
        raise Conflict(f"This is the last active {user.role}: make another one first.")


def _move_address(session: Session, user: User, email: str) -> None:
    session.execute(
        sql_delete(SignInAddress).where(
            SignInAddress.agency_id == user.agency_id, SignInAddress.user_id == user.id
        )
    )
    session.add(SignInAddress(email=email, agency_id=user.agency_id, user_id=user.id))


def _enter_agency(session: Session, agency_id: uuid.UUID) -> None:
    tenant = tenant_of(session)
    if not tenant.is_platform:
        raise Forbidden("Only operators make users of another agency.")
    if session.get(Agency, agency_id) is None:
        raise Invalid.field("agency_id", "there is no agency with this id")
    set_tenant(session, Tenant(agency_id, tenant.actor, tenant.request_id, is_platform=True))


def create_agency(session: Session, body: dict[str, Any]) -> uuid.UUID:
    """Make an agency."""
    agency = Agency(id=new_id(), **body)
    session.add(agency)
    session.flush()
    return agency.id


def update_agency(
    session: Session, principal: Principal, agency_id: uuid.UUID, changes: dict[str, Any], version: int | None
) -> None:
    """Change an agency; its own people may not change its status or slug."""
    agency = _agency(session, principal, agency_id, version)
    if not principal.is_platform:
        for name in ("status", "slug"):
            if name in changes:
                raise Forbidden(f"Only operators change an agency's {name}.")
    for name, value in changes.items():
        setattr(agency, name, value)
    # An operator's transaction is not the agency's: what it clears has to be said.
    note(session.connection(), str(agency_id), CLEARS["agency"])


def delete_agency(session: Session, principal: Principal, agency_id: uuid.UUID, version: int | None) -> None:
    """Remove an agency that has nothing yet; one that has is suspended instead (the database refuses)."""
    session.delete(_agency(session, principal, agency_id, version))


def _agency(session: Session, principal: Principal, agency_id: uuid.UUID, version: int | None) -> Agency:
    agency = session.get(Agency, agency_id, with_for_update=True)
    if (
        agency is None
        or (agency_id == PLATFORM)
        or not (principal.is_platform or agency_id == principal.agency_id)
    ):
        raise NotFound(f"There is no agency {agency_id}.")
    if version is not None and agency.version != version:
        raise VersionMismatch(f"The agency is at version {agency.version}, not {version}: read it again.")
    return agency


def create_api_key(session: Session, principal: Principal, body: dict[str, Any]) -> tuple[uuid.UUID, str]:
    """Make an API key; its id, and its secret, which nobody can read again.

    Raises:
        Forbidden: a scope that the maker himself has not.
    """
    beyond = [scope for scope in body["scopes"] if scope != ALL_SCOPES and scope not in principal.permissions]
    if beyond:
        raise Forbidden(f"You have not the permission {beyond[0]}, so you cannot give it to a key.")
    if principal.api_key_id is not None and ALL_SCOPES in body["scopes"]:
        body["scopes"] = sorted(principal.permissions)
    expires_at = body.get("expires_at")
    if expires_at is not None and expires_at <= dt.datetime.now(dt.UTC):
        raise Invalid.field("expires_at", "must be in the future")
    token = new_api_key(principal.agency_id)
    key = ApiKey(
        agency_id=principal.agency_id,
        id=new_id(),
        name=body["name"],
        prefix=token.prefix,
        secret_hash=token.hash,
        scopes=body["scopes"],
        created_by=principal.user_id,
        expires_at=expires_at,
    )
    session.add(key)
    session.flush()
    return key.id, token.text


def revoke_api_key(session: Session, principals: Principals, key_id: uuid.UUID) -> None:
    """End an API key, at once and for good."""
    key = session.get(ApiKey, (tenant_of(session).agency_id, key_id), with_for_update=True)
    if key is None or key.revoked_at is not None:
        raise NotFound(f"There is no API key {key_id}.")
    key.revoked_at = dt.datetime.now(dt.UTC)
    secret_hash = key.secret_hash
    after_commit(session, lambda: principals.forget([secret_hash]))
