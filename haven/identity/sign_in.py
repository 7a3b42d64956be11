"""Signing in and out: sessions with rotating refresh tokens, and a throttle that slows only whoever guesses."""

from __future__ import annotations

import datetime as dt
import hashlib
import uuid
from dataclasses import dataclass
from typing import Any, Final

from sqlalchemy import case, delete, func, select, text, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from haven.db.base import PLATFORM, new_id
from haven.db.session import Tenant, after_commit, set_tenant
from haven.errors import Invalid, NotSignedIn, TooMany
from haven.identity.models import Agency, RefreshToken, SignInAddress, SignInSession, SignInThrottle, User
from haven.identity.passwords import Passwords
from haven.identity.principals import Principal, Principals
from haven.identity.tokens import ACCESS, REFRESH, NewToken, new_token, read_token

_LONGEST_WAIT_S: Final = 900
_THROTTLE_MEMORY: Final = dt.timedelta(hours=1)
_AGENT_LONGEST: Final = 200


@dataclass(frozen=True, slots=True)
class SignInRules:
    """How long tokens live (s), and when guessing has to wait."""

    access_ttl_s: int
    refresh_ttl_s: int
    max_failures: int
    lock_s: int


@dataclass(frozen=True, slots=True)
class Client:
    """Where a sign-in comes from."""

    address: str
    user_agent: str


class SignIn:
    """The sign-in desk of one process."""

    def __init__(self, rules: SignInRules, passwords: Passwords, principals: Principals) -> None:
        self._rules = rules
        self._passwords = passwords
        self._principals = principals

    def log_in(self, session: Session, email: str, password: str, client: Client) -> dict[str, Any]:
        """Sign in; the tokens and the user.

        Raises:
            NotSignedIn: wrong address or password, or a disabled user. One answer for all: it tells nothing.
            TooMany: too many wrong tries for this account from this address.
        """
        throttle = _throttle_key(email, client.address)
        self._refuse_while_locked(session, throttle)
        user = _find(session, email)
        is_right = self._passwords.is_right(user.password_hash if user else None, password)
        if user is None or not is_right or not _may_enter(session, user):
            self._count_failure(session, throttle)
            raise NotSignedIn("Wrong e-mail address or password.")
        if self._passwords.is_outdated(user.password_hash):
            session.execute(_of(user).values(password_hash=self._passwords.hash(password)))
        session.execute(delete(SignInThrottle).where(SignInThrottle.key == throttle))
        return self._open(session, user, client)

    def refresh(self, session: Session, token_text: str) -> dict[str, Any]:
        """New tokens for a refresh token, which is good for one use.

        Raises:
            NotSignedIn: it is unknown or expired; or used before, in which case it has been stolen and its whole
                session ends.
        """
        token = read_token(token_text)
        if token is None or token.kind != REFRESH:
            raise NotSignedIn("This is no refresh token.")
        set_tenant(session, _tenant(token.agency_id))
        now = dt.datetime.now(dt.UTC)
        stored = session.execute(
            select(RefreshToken)
            .where(RefreshToken.agency_id == token.agency_id, RefreshToken.token_hash == token.hash)
            .with_for_update()
        ).scalar_one_or_none()
        if stored is None or stored.expires_at <= now:
            raise NotSignedIn("This refresh token is unknown or expired: sign in again.")
        sign_in = _lock_session(session, token.agency_id, stored.session_id)
        if stored.used_at is not None:
            self._end(session, [sign_in], "refresh token used twice")
            session.commit()
            raise NotSignedIn(
                "This refresh token was used before: the session has been ended. Sign in again."
            )
        user = session.get(User, (token.agency_id, sign_in.user_id))
        if sign_in.revoked_at is not None or user is None or not _may_enter(session, user):
            raise NotSignedIn("This sign-in has ended: sign in again.")
        stored.used_at = now
        return self._renew(session, sign_in, user, now)

    def log_out(self, session: Session, principal: Principal) -> None:
        """End the caller's own session. An API key has none: it is revoked, not signed out."""
        if principal.session_id is None:
            raise Invalid("An API key is not signed in; revoke it with DELETE /api-keys/{id}.")
        self.end_session(session, principal.agency_id, principal.user_id, principal.session_id)

    def end_session(
        self, session: Session, agency_id: uuid.UUID, user_id: uuid.UUID, session_id: uuid.UUID
    ) -> bool:
        """End one session of a user; False where there is none that is open."""
        found = session.execute(
            select(SignInSession).where(
                SignInSession.agency_id == agency_id,
                SignInSession.id == session_id,
                SignInSession.user_id == user_id,
                SignInSession.revoked_at.is_(None),
            )
        ).scalar_one_or_none()
        if found is not None:
            self._end(session, [found], "signed out")
        return found is not None

    def end_all(self, session: Session, user: User, reason: str, keep: uuid.UUID | None = None) -> None:
        """End every session of a user, but ``keep``."""
        self._end(session, [one for one in _open_sessions(session, user) if one.id != keep], reason)

    def read_again(self, session: Session, user: User) -> None:
        """The user's role has changed: no cached answer of his open sessions holds any longer."""
        hashes = [one.access_token_hash for one in _open_sessions(session, user)]
        after_commit(session, lambda: self._principals.refresh(hashes))

    def change_password(self, session: Session, principal: Principal, current: str, new: str) -> None:
        """Set a new password and end every other session of the user.

        Raises:
            Invalid: ``current`` is not the password.
        """
        user = session.get(User, (principal.agency_id, principal.user_id), with_for_update=True)
        if user is None or not self._passwords.is_right(user.password_hash, current):
            raise Invalid.field("current_password", "is not your password")
        user.password_hash = self._passwords.hash(new)
        self.end_all(session, user, "password changed", keep=principal.session_id)

    def hash(self, password: str) -> str:
        """The hash of a new password."""
        return self._passwords.hash(password)

    def _open(self, session: Session, user: User, client: Client) -> dict[str, Any]:
        now = dt.datetime.now(dt.UTC)
        access = new_token(ACCESS, user.agency_id)
        sign_in = SignInSession(
            agency_id=user.agency_id,
            id=new_id(),
            user_id=user.id,
            access_token_hash=access.hash,
            access_expires_at=now + dt.timedelta(seconds=self._rules.access_ttl_s),
            expires_at=now + dt.timedelta(seconds=self._rules.refresh_ttl_s),
            address=client.address,
            user_agent=client.user_agent[:_AGENT_LONGEST],
        )
        session.add(sign_in)
        session.flush()
        return self._tokens(access, self._hand_out_refresh(session, sign_in), user)

    def _renew(
        self, session: Session, sign_in: SignInSession, user: User, now: dt.datetime
    ) -> dict[str, Any]:
        replaced = sign_in.access_token_hash
        after_commit(session, lambda: self._principals.forget([replaced]))
        access = new_token(ACCESS, user.agency_id)
        sign_in.access_token_hash = access.hash
        sign_in.access_expires_at = now + dt.timedelta(seconds=self._rules.access_ttl_s)
        sign_in.last_used_at = now
        return self._tokens(access, self._hand_out_refresh(session, sign_in), user)

    def _hand_out_refresh(self, session: Session, sign_in: SignInSession) -> NewToken:
        token = new_token(REFRESH, sign_in.agency_id)
        session.add(
            RefreshToken(
                agency_id=sign_in.agency_id,
                id=new_id(),
                session_id=sign_in.id,
                token_hash=token.hash,
                expires_at=sign_in.expires_at,
            )
        )
        return token

    def _tokens(self, access: NewToken, refresh: NewToken, user: User) -> dict[str, Any]:
        return {
            "access_token": access.text,
            "refresh_token": refresh.text,
            "token_type": "Bearer",
            "expires_in": self._rules.access_ttl_s,
            "user": shown(user),
        }

    def _end(self, session: Session, ended: list[SignInSession], reason: str) -> None:
        now = dt.datetime.now(dt.UTC)
        for one in ended:
            one.revoked_at = one.revoked_at or now
            one.revoked_reason = one.revoked_reason or reason
        hashes = [one.access_token_hash for one in ended]
        after_commit(session, lambda: self._principals.forget(hashes))

    def _refuse_while_locked(self, session: Session, key: str) -> None:
        row = session.execute(select(SignInThrottle.locked_until).where(SignInThrottle.key == key)).first()
        now = dt.datetime.now(dt.UTC)
        if row is None or row.locked_until is None or row.locked_until <= now:
            return
        wait_s = int((row.locked_until - now).total_seconds()) + 1
        raise TooMany(f"Too many wrong passwords from here: wait {wait_s} s.", retry_after_s=wait_s)

    def _count_failure(self, session: Session, key: str) -> None:
        """One more failure; past the limit the wait doubles with each. Committed, though the request fails."""
        now = dt.datetime.now(dt.UTC)
        known = SignInThrottle.failures
        is_old = SignInThrottle.last_failure_at < now - _THROTTLE_MEMORY
        counted = insert(SignInThrottle).values(key=key, failures=1, last_failure_at=now)
        failures: int = session.execute(
            counted.on_conflict_do_update(
                index_elements=["key"],
                set_={"failures": case((is_old, 1), else_=known + 1), "last_failure_at": now},
            ).returning(SignInThrottle.failures)
        ).scalar_one()
        beyond = failures - self._rules.max_failures
        if beyond >= 0:
            wait_s = min(self._rules.lock_s * 2 ** min(beyond, 10), _LONGEST_WAIT_S)
            locked_until = now + dt.timedelta(seconds=wait_s)
            session.execute(
                update(SignInThrottle).where(SignInThrottle.key == key).values(locked_until=locked_until)
            )
        session.commit()


def shown(user: User) -> dict[str, Any]:
    """The user as sign-in answers show him."""
    return {
        "id": user.id,
        "email": user.email,
        "full_name": user.full_name,
        "phone": user.phone,
        "role": user.role,
        "status": user.status,
        "agency_id": None if user.agency_id == PLATFORM else user.agency_id,
    }


def _find(session: Session, email: str) -> User | None:
    """The user of an address; his agency is the session's tenant from here on."""
    session.execute(text("SELECT set_config('haven.sign_in_email', :email, true)"), {"email": email})
    row = session.execute(
        select(SignInAddress.agency_id, SignInAddress.user_id).where(SignInAddress.email == email)
    ).first()
    if row is None:
        return None
    set_tenant(session, _tenant(row.agency_id, f"user:{row.user_id}"))
    return session.get(User, (row.agency_id, row.user_id))


def _may_enter(session: Session, user: User) -> bool:
    if user.status != "ACTIVE":
        return False
    return session.execute(select(Agency.status).where(Agency.id == user.agency_id)).scalar_one() == "ACTIVE"


def _tenant(agency_id: uuid.UUID, actor: str = "sign-in") -> Tenant:
    return Tenant(agency_id, actor, is_platform=agency_id == PLATFORM)


def _throttle_key(email: str, address: str) -> str:
    """Of account and address both: whoever guesses from afar locks himself out, never the owner of the account."""
    return hashlib.sha256(f"{email}\n{address}".encode()).hexdigest()


def _lock_session(session: Session, agency_id: uuid.UUID, session_id: uuid.UUID) -> SignInSession:
    return session.execute(
        select(SignInSession)
        .where(SignInSession.agency_id == agency_id, SignInSession.id == session_id)
        .with_for_update()
    ).scalar_one()


def _open_sessions(session: Session, user: User) -> list[SignInSession]:
    found = session.execute(
        select(SignInSession).where(
            SignInSession.agency_id == user.agency_id,
            SignInSession.user_id == user.id,
            SignInSession.revoked_at.is_(None),
            SignInSession.expires_at > func.now(),
        )
    )
    return list(found.scalars())


def _of(user: User) -> Any:
    return update(User).where(User.agency_id == user.agency_id, User.id == user.id)
