"""Who is asking, whether they may, and the one transaction that a request is."""

from __future__ import annotations

from collections.abc import Callable
from copy import deepcopy
from functools import wraps
from typing import Any, Final

from flask import Response, current_app, g, has_request_context, request
from sqlalchemy.orm import Session

from extensions.caching.keys import NOBODY
from haven.api.cached import CacheRule, cached_answer
from haven.db.session import set_tenant, tell_along
from haven.errors import Forbidden, HavenError, NotSignedIn
from haven.identity.permissions import PERMISSIONS
from haven.identity.principals import Principal, Principals
from haven.runtime import Runtime

View = Callable[..., Any]
FAILED: Final = "haven.failed"
"""The key of the WSGI environment under which stands what went wrong when the answer was computed before Flask."""
SIGNED_IN: Final = "signed-in"
"""The permission of views that are for everybody who is signed in."""

_EXEMPT_ROLES: Final = ("PLATFORM_ADMIN", "AGENCY_ADMIN")
_PROBLEM: Final = {"application/problem+json": {"schema": {"$ref": "#/components/schemas/Problem"}}}


def requires(permission: str, cached: CacheRule | None = None) -> Callable[[View], View]:
    """Let only callers with ``permission`` in, and make the view one transaction of their agency.

    The transaction commits when the view has returned, so whatever the database refuses then is still answered as a
    problem; any exception rolls it back.

    Args:
        cached: answer from the cache where that has it, without a transaction.
    """
    if permission != SIGNED_IN and permission not in PERMISSIONS:
        raise LookupError(f"{permission} is not in haven/identity/permissions.py")

    def decorate(view: View) -> View:
        @wraps(view)
        def guarded(*args: Any, **kwargs: Any) -> Any:
            principal = current_principal()
            if permission != SIGNED_IN and permission not in principal.permissions:
                raise Forbidden(
                    f"This needs the permission {permission}, which {_held_by(principal)} has not."
                )

            def computed() -> Any:
                return _in_own_transaction(principal, view, args, kwargs)

            return computed() if cached is None else cached_answer(cached, principal, computed)

        document = deepcopy(getattr(view, "_apidoc", {}))
        manual = document.setdefault("manual_doc", {})
        manual["security"] = [{"bearer": []}]
        if permission != SIGNED_IN:
            manual["x-permission"] = permission
        responses = manual.setdefault("responses", {})
        for status, words in (("401", "Not signed in"), ("403", "Not allowed"), ("429", "Too many requests")):
            responses.setdefault(status, {"description": words, "content": _PROBLEM})
        guarded._apidoc = document  # type: ignore[attr-defined]
        if cached is not None:
            guarded.cached_under = (permission, cached)  # type: ignore[attr-defined]
        return guarded

    return decorate


def _in_own_transaction(principal: Principal, view: View, args: Any, kwargs: Any) -> Any:
    """What the view answers in a transaction of the caller's agency, or what has already gone wrong in its place."""
    if (failed := request.environ.pop(FAILED, None)) is not None:
        raise failed
    session = current_session()
    if request.method == "GET":
        tell_along(session)
    set_tenant(session, principal.tenant(g.get("request_id", "")))
    return in_transaction(session, view, *args, **kwargs)


def in_transaction(session: Session, view: View, *args: Any, **kwargs: Any) -> Any:
    """Call the view and commit; then do what it left for after the commit (``answer_after_commit``)."""
    try:
        answer = view(*args, **kwargs)
        session.commit()
        finish: Callable[[], Response] | None = g.pop("answer_after_commit", None)
        if finish is not None:
            answer = finish()
            session.commit()
    except BaseException:
        session.rollback()
        raise
    return answer


def answer_after_commit(finish: Callable[[], Response]) -> None:
    """Once the transaction is committed call ``finish`` in another one; its answer goes before the view's own.

    For what must not happen before its record is safe: ringing a phone.
    """
    g.answer_after_commit = finish


def current_principal() -> Principal:
    """Who is asking; worked out once for a request.

    Raises:
        NotSignedIn: nobody, or not with a token that is good.
    """
    outcome: Principal | HavenError | None = g.get("principal")
    if outcome is None:
        try:
            outcome = _authenticate()
        except NotSignedIn as error:
            outcome = error
        g.principal = outcome
    if isinstance(outcome, HavenError):
        raise outcome
    return outcome


def caller() -> str:
    """Whose requests the rate limit counts together: a user's or key's, else those of the address."""
    try:
        return current_principal().actor
    except NotSignedIn:
        return f"address:{request.remote_addr}"


def cache_owner() -> str:
    """Whose values ``cache_manager`` means: those of the caller's agency; outside of requests nobody's."""
    return str(current_principal().agency_id) if has_request_context() else NOBODY


def is_exempt() -> bool:
    """Administrators who have signed in are not rate limited (``ENABLE_ADMIN_BYPASS``); their API keys are."""
    if not runtime().settings.enable_admin_bypass:
        return False
    try:
        return is_signed_in_administrator(current_principal())
    except NotSignedIn:
        return False


def is_signed_in_administrator(principal: Principal) -> bool:
    """An administrator himself, not a key of his."""
    return principal.role in _EXEMPT_ROLES and principal.api_key_id is None


def is_known_operator() -> bool:
    """Whether the caller of the request at hand has turned out to be an operator; asks no database."""
    principal = g.get("principal")
    return isinstance(principal, Principal) and "monitoring:read" in principal.permissions


def current_session() -> Session:
    """The request's database session."""
    if (replica := g.get("replica_session")) is not None:
        return replica  # type: ignore[no-any-return]
    session: Session = current_app.extensions["sqlalchemy"].session()
    session.info.setdefault("wake", runtime().wake)
    session.info.setdefault("job_attempts", runtime().settings.max_job_attempts)
    return session


def runtime() -> Runtime:
    """What this process shares: settings, engine, Redis."""
    found: Runtime = current_app.extensions["haven"]
    return found


def principals() -> Principals:
    """The sign-ins of this process."""
    found: Principals = current_app.extensions["haven_principals"]
    return found


def bearer_token() -> str:
    """The token that the request was sent with.

    Raises:
        NotSignedIn: there is none.
    """
    kind, _, token = request.headers.get("Authorization", "").partition(" ")
    if kind.lower() != "bearer" or not token.strip():
        raise NotSignedIn("Send an access token or API key as Authorization: Bearer ….")
    return token.strip()


def _authenticate() -> Principal:
    return principals().authenticate(current_session(), bearer_token())


def _held_by(principal: Principal) -> str:
    return f"the role {principal.role}" if principal.api_key_id is None else "this API key"
