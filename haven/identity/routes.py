"""``/auth``, ``/users``, ``/agencies``, ``/api-keys`` and ``/audit``."""

from __future__ import annotations

import uuid
from typing import Any

from flask import Response, current_app, request
from flask_smorest import Blueprint
from marshmallow import fields

from haven.api.bodies import body
from haven.api.encoding import json_response
from haven.api.from_replica import from_replica
from haven.api.guard import (
    SIGNED_IN,
    current_principal,
    current_session,
    in_transaction,
    principals,
    requires,
)
from haven.api.idempotency import idempotent
from haven.api.listing import Filter, Listing
from haven.api.resource import Resource, list_answer, list_doc, page_schema, problems, register
from haven.db.base import PLATFORM
from haven.errors import Forbidden, NotFound
from haven.identity import schemas, service
from haven.identity.models import Agency, ApiKey, AuditEntry, SignInSession, User
from haven.identity.sign_in import Client, SignIn, shown

auth = Blueprint("auth", __name__, description="Signing in and out, and the sign-ins one has open.")
users = Blueprint("users", __name__, description="The people who sign in.")
agencies = Blueprint("agencies", __name__, description="Letting agencies: the tenants of this service.")
api_keys = Blueprint("api-keys", __name__, description="Keys of programs.")
audit = Blueprint("audit", __name__, description="Who changed what, from what to what.")
blueprints = [auth, users, agencies, api_keys, audit]


def desk() -> SignIn:
    found: SignIn = current_app.extensions["haven_sign_in"]
    return found


def _client() -> Client:
    return Client(request.remote_addr or "", request.user_agent.string)


@auth.route("/auth/login", methods=["POST"])
@auth.response(200, schemas.Tokens)
@auth.doc(summary="Sign in", security=[], responses=problems(400, 415, 422))
@body(schemas.LoginBody)
def log_in(values: dict[str, Any]) -> Response:
    session = current_session()
    answer = in_transaction(session, desk().log_in, session, values["email"], values["password"], _client())
    return json_response(answer)


@auth.route("/auth/refresh", methods=["POST"])
@auth.response(200, schemas.Tokens)
@auth.doc(summary="New tokens for a refresh token", security=[], responses=problems(400, 415, 422))
@body(schemas.RefreshBody)
def refresh(values: dict[str, Any]) -> Response:
    session = current_session()
    return json_response(in_transaction(session, desk().refresh, session, values["refresh_token"]))


@auth.route("/auth/logout", methods=["POST"])
@requires(SIGNED_IN)
@auth.response(204, description="Signed out")
@auth.doc(summary="Sign out")
def log_out() -> Response:
    desk().log_out(current_session(), current_principal())
    return Response(status=204)


@auth.route("/auth/password", methods=["POST"])
@requires(SIGNED_IN)
@auth.response(204, description="Changed; other sign-ins have ended")
@auth.doc(summary="Change one's password", responses=problems(400, 415, 422))
@body(schemas.PasswordBody)
def change_password(values: dict[str, Any]) -> Response:
    desk().change_password(
        current_session(), current_principal(), values["current_password"], values["new_password"]
    )
    return Response(status=204)


@auth.route("/auth/me", methods=["GET"])
@requires(SIGNED_IN)
@auth.response(200, schemas.Me)
@auth.doc(summary="Who is asking, and what they may do")
def me() -> Response:
    principal = current_principal()
    user = current_session().get(User, (principal.agency_id, principal.user_id))
    if user is None:
        raise NotFound("The user of this token has been removed.")
    return json_response({**shown(user), "permissions": sorted(principal.permissions)})


def _sessions() -> Listing:
    one = SignInSession
    columns = {
        name: getattr(one, name)
        for name in ("id", "created_at", "last_used_at", "expires_at", "address", "user_agent")
    }
    own = (one.user_id == current_principal().user_id, one.revoked_at.is_(None))
    return Listing("session", one.id, columns, always=own)


@auth.route("/auth/sessions", methods=["GET"])
@requires(SIGNED_IN)
@auth.response(200, page_schema(schemas.SessionRow))
@auth.doc(summary="The caller's open sign-ins", responses=problems(422))
def list_sessions() -> Response:
    return list_answer(_sessions())


@auth.route("/auth/sessions", methods=["DELETE"])
@requires(SIGNED_IN)
@auth.response(204, description="Ended")
@auth.doc(summary="End all of the caller's other sign-ins")
def end_sessions() -> Response:
    principal = current_principal()
    user = current_session().get(User, (principal.agency_id, principal.user_id))
    if user is not None:
        desk().end_all(current_session(), user, "signed out elsewhere", keep=principal.session_id)
    return Response(status=204)


@auth.route("/auth/sessions/<uuid:session_id>", methods=["DELETE"])
@requires(SIGNED_IN)
@auth.response(204, description="Ended")
@auth.doc(summary="End one of the caller's sign-ins", responses=problems(404))
def end_session(session_id: uuid.UUID) -> Response:
    principal = current_principal()
    if not desk().end_session(current_session(), principal.agency_id, principal.user_id, session_id):
        raise NotFound(f"There is no session {session_id}.")
    return Response(status=204)


_COMMON = ("id", "created_at", "updated_at", "version")

USERS = Resource(
    "user",
    "/users",
    "users",
    schemas.UserRow,
    Listing(
        "user",
        User.id,
        {name: getattr(User, name) for name in ("email", "full_name", "phone", "role", "status", *_COMMON)},
        filters={
            "email": Filter(User.email, fields.String()),
            "role": Filter(User.role, fields.String()),
            "status": Filter(User.status, fields.String()),
        },
        sorts={"full_name": User.full_name, "email": User.email},
        search=User.search,
    ),
    schemas.UserBody,
    schemas.UserPatch,
    create=lambda session, values: service.create_user(session, desk(), values),
    update=lambda session, row_id, values, version: service.update_user(
        session, desk(), row_id, values, version
    ),
    delete=lambda session, row_id, version: service.delete_user(session, desk(), row_id, version),
)
register(users, USERS)

_AGENCY_COLUMNS = (
    "name",
    "slug",
    "timezone",
    "currency",
    "status",
    "mpesa_shortcode",
    "c2b_reject_unknown_accounts",
    "language",
    "notify_invoices",
    "reminders_before_due",
    "reminders_after_due",
    *_COMMON,
)
AGENCIES = Resource(
    "agency",
    "/agencies",
    "agencies",
    schemas.AgencyRow,
    Listing(
        "agency",
        Agency.id,
        {name: getattr(Agency, name) for name in _AGENCY_COLUMNS},
        filters={
            "slug": Filter(Agency.slug, fields.String()),
            "status": Filter(Agency.status, fields.String()),
        },
        sorts={"slug": Agency.slug},
        search=Agency.search,
        always=(Agency.id != PLATFORM,),
    ),
    schemas.AgencyBody,
)


@agencies.route("/agencies", methods=["GET"])
@requires("agency:read")
@agencies.response(200, page_schema(schemas.AgencyRow))
@agencies.doc(summary="List agencies: operators all, others their own", **list_doc(AGENCIES.listing))
def list_agencies() -> Response:
    return list_answer(AGENCIES.listing)


@agencies.route("/agencies", methods=["POST"])
@requires("agencies:write")
@idempotent
@agencies.response(201, schemas.AgencyRow)
@agencies.doc(summary="Make an agency", responses=problems(400, 409, 415, 422))
@body(schemas.AgencyBody)
def create_agency(values: dict[str, Any]) -> Response:
    return AGENCIES.created(service.create_agency(current_session(), values))


@agencies.route("/agencies/<uuid:row_id>", methods=["GET"])
@requires("agency:read")
@agencies.response(200, schemas.AgencyRow)
@agencies.doc(summary="Read one agency", responses=problems(404))
def read_agency(row_id: uuid.UUID) -> Response:
    return AGENCIES.read(row_id)


@agencies.route("/agencies/<uuid:row_id>", methods=["PATCH"])
@requires(SIGNED_IN)
@agencies.response(200, schemas.AgencyRow)
@agencies.doc(summary="Change an agency (merge patch)", responses=problems(400, 404, 409, 412, 415, 422))
@body(schemas.AgencyBody, partial=True)
def update_agency(values: dict[str, Any], row_id: uuid.UUID) -> Response:
    principal = current_principal()
    if not principal.permissions & {"agency:write", "agencies:write"}:
        raise Forbidden(f"This needs the permission agency:write, which the role {principal.role} has not.")
    return AGENCIES.changed(
        row_id,
        lambda session, version: service.update_agency(session, principal, row_id, values, version),
    )


@agencies.route("/agencies/<uuid:row_id>", methods=["DELETE"])
@requires("agencies:write")
@agencies.response(204, description="Removed")
@agencies.doc(summary="Remove an agency that has nothing yet", responses=problems(404, 409, 412))
def delete_agency(row_id: uuid.UUID) -> Response:
    return AGENCIES.removed(
        lambda session, version: service.delete_agency(session, current_principal(), row_id, version)
    )


_KEY_COLUMNS = (
    "id",
    "name",
    "prefix",
    "scopes",
    "created_by",
    "created_at",
    "last_used_at",
    "expires_at",
    "revoked_at",
)
KEYS = Listing("API key", ApiKey.id, {name: getattr(ApiKey, name) for name in _KEY_COLUMNS})


@api_keys.route("/api-keys", methods=["GET"])
@requires("api_keys:read")
@api_keys.response(200, page_schema(schemas.ApiKeyRow))
@api_keys.doc(summary="List API keys", **list_doc(KEYS))
def list_keys() -> Response:
    return list_answer(KEYS)


@api_keys.route("/api-keys", methods=["POST"])
@requires("api_keys:write")
@api_keys.response(201, schemas.NewApiKey)
@api_keys.doc(summary="Make an API key; its secret is shown this once", responses=problems(400, 415, 422))
@body(schemas.ApiKeyBody)
def create_key(values: dict[str, Any]) -> Response:
    key_id, secret = service.create_api_key(current_session(), current_principal(), values)
    row = KEYS.one(current_session(), key_id)
    return json_response({**row, "secret": secret}, 201, {"Location": f"{request.path}/{key_id}"})


@api_keys.route("/api-keys/<uuid:key_id>", methods=["GET"])
@requires("api_keys:read")
@api_keys.response(200, schemas.ApiKeyRow)
@api_keys.doc(summary="Read one API key", responses=problems(404))
def read_key(key_id: uuid.UUID) -> Response:
    return json_response(KEYS.one(current_session(), key_id))


@api_keys.route("/api-keys/<uuid:key_id>", methods=["DELETE"])
@requires("api_keys:write")
@api_keys.response(204, description="Revoked")
@api_keys.doc(summary="Revoke an API key", responses=problems(404))
def revoke_key(key_id: uuid.UUID) -> Response:
    service.revoke_api_key(current_session(), principals(), key_id)
    return Response(status=204)


_AUDIT_COLUMNS = ("id", "at", "actor", "request_id", "action", "entity", "entity_id", "changes")
AUDIT = Listing(
    "audit entry",
    AuditEntry.id,
    {name: getattr(AuditEntry, name) for name in _AUDIT_COLUMNS},
    filters={
        "entity": Filter(AuditEntry.entity, fields.String()),
        "entity_id": Filter(AuditEntry.entity_id, fields.UUID()),
        "action": Filter(AuditEntry.action, fields.String()),
        "at": Filter(AuditEntry.at, fields.AwareDateTime(), ordered=True),
    },
    sorts={"at": AuditEntry.at},
)


@audit.route("/audit", methods=["GET"])
@requires("audit:read")
@from_replica
@audit.response(200, page_schema(schemas.AuditRow))
@audit.doc(summary="Who changed what, from what to what", **list_doc(AUDIT))
def list_audit() -> Response:
    return list_answer(AUDIT)
