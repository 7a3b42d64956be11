"""Bodies and answers of sign-in, users, agencies, API keys and the audit trail."""

from __future__ import annotations

from zoneinfo import available_timezones

from marshmallow import Schema, ValidationError, fields, validate

from haven.api.fields import Body, Email, Line, Phone, Row, choice
from haven.identity.permissions import ALL_SCOPES, PERMISSIONS, ROLES

AGENCY_STATUS = ("ACTIVE", "SUSPENDED")
USER_STATUS = ("ACTIVE", "DISABLED")
PASSWORD_SHORTEST = 10


def _password(text: str) -> None:
    if not PASSWORD_SHORTEST <= len(text) <= 200:
        raise ValidationError(f"Must have {PASSWORD_SHORTEST} to 200 characters.")


def _timezone(text: str) -> None:
    if text not in available_timezones():
        raise ValidationError("Must be a time zone of the IANA database, such as Africa/Nairobi.")


class UserRow(Row):
    """A person who signs in."""

    email = fields.String(required=True)
    full_name = fields.String(required=True)
    phone = fields.String(required=True, allow_none=True)
    role = choice(*ROLES, required=True)
    status = choice(*USER_STATUS, required=True)


class UserBody(Body):
    """A new user."""

    email = Email(required=True)
    full_name = Line(required=True)
    phone = Phone(allow_none=True)
    role = choice(*ROLES, required=True)
    password = fields.String(required=True, load_only=True, validate=_password)
    status = choice(*USER_STATUS)
    agency_id = fields.UUID(metadata={"description": "Operators only: the agency that the user is for."})


class UserPatch(Body):
    """Changes of a user. A new password signs the user out everywhere."""

    email = Email()
    full_name = Line()
    phone = Phone(allow_none=True)
    role = choice(*ROLES)
    password = fields.String(load_only=True, validate=_password)
    status = choice(*USER_STATUS)


def _days(description: str, lowest: int) -> fields.List[int]:
    """At most five different numbers of days."""
    return fields.List(
        fields.Integer(strict=True, validate=validate.Range(lowest, 60)),
        validate=[validate.Length(max=5), _no_repetition],
        metadata={"description": description},
    )


def _no_repetition(values: list[int]) -> None:
    if len(set(values)) != len(values):
        raise ValidationError("Must not have the same twice.")


class AgencyRow(Row):
    """A letting agency."""

    name = fields.String(required=True)
    slug = fields.String(required=True)
    timezone = fields.String(required=True)
    currency = fields.String(required=True)
    status = choice(*AGENCY_STATUS, required=True)
    mpesa_shortcode = fields.String(required=True, allow_none=True)
    c2b_reject_unknown_accounts = fields.Boolean(required=True)
    language = choice("en", "sw", required=True)
    notify_invoices = fields.Boolean(required=True)
    reminders_before_due = fields.List(fields.Integer(), required=True)
    reminders_after_due = fields.List(fields.Integer(), required=True)


class AgencyBody(Body):
    """A letting agency."""

    name = Line(required=True)
    slug = fields.String(
        required=True,
        validate=validate.Regexp(
            r"^[a-z0-9](?:[a-z0-9-]{0,48}[a-z0-9])?\Z", error="Must be a-z, 0-9 and inner hyphens."
        ),
    )
    timezone = fields.String(validate=_timezone)
    currency = fields.String(
        validate=validate.Regexp(r"^[A-Z]{3}\Z", error="Must be an ISO 4217 code, such as KES.")
    )
    status = choice(*AGENCY_STATUS)
    mpesa_shortcode = fields.String(
        allow_none=True, validate=validate.Regexp(r"^\d{5,7}\Z", error="Must have 5 to 7 digits.")
    )
    c2b_reject_unknown_accounts = fields.Boolean(
        metadata={
            "description": "Turn away payments to the paybill that name no lease, where M-Pesa asks first."
        }
    )

    language = choice("en", "sw", metadata={"description": "What its tenants and people are written to in."})
    notify_invoices = fields.Boolean(metadata={"description": "Tell tenants of each invoice issued."})
    reminders_before_due = _days(
        "Days before an invoice is due on which its tenant is reminded; 0: the day itself.", 0
    )
    reminders_after_due = _days("Days after an invoice was due on which its tenant is reminded.", 1)


class LoginBody(Body):
    """Sign-in by e-mail address and password."""

    email = Email(required=True)
    password = fields.String(required=True, load_only=True, validate=validate.Length(1, 200))


class RefreshBody(Body):
    """The refresh token of the last sign-in or refresh."""

    refresh_token = fields.String(required=True, load_only=True, validate=validate.Length(1, 200))


class PasswordBody(Body):
    """A new password. All other sign-ins of the user end."""

    current_password = fields.String(required=True, load_only=True, validate=validate.Length(1, 200))
    new_password = fields.String(required=True, load_only=True, validate=_password)


class SignedInUser(Schema):
    """Who is signed in."""

    id = fields.UUID(required=True)
    email = fields.String(required=True)
    full_name = fields.String(required=True)
    phone = fields.String(required=True, allow_none=True)
    role = choice(*ROLES, required=True)
    status = choice(*USER_STATUS, required=True)
    agency_id = fields.UUID(required=True, allow_none=True)


class Me(SignedInUser):
    """Who is asking, and what they may do."""

    permissions = fields.List(fields.String(), required=True)


class Tokens(Schema):
    """A sign-in."""

    access_token = fields.String(required=True)
    refresh_token = fields.String(required=True)
    token_type = choice("Bearer", required=True)
    expires_in = fields.Integer(
        required=True, metadata={"description": "Life of the access token in seconds."}
    )
    user = fields.Nested(SignedInUser, required=True)


class SessionRow(Schema):
    """One sign-in of the caller."""

    id = fields.UUID(required=True)
    created_at = fields.AwareDateTime(required=True)
    last_used_at = fields.AwareDateTime(required=True)
    expires_at = fields.AwareDateTime(required=True)
    address = fields.String(required=True, allow_none=True)
    user_agent = fields.String(required=True, allow_none=True)


class ApiKeyRow(Schema):
    """A program's key, without its secret."""

    id = fields.UUID(required=True)
    name = fields.String(required=True)
    prefix = fields.String(required=True)
    scopes = fields.List(fields.String(), required=True)
    created_by = fields.UUID(required=True)
    created_at = fields.AwareDateTime(required=True)
    last_used_at = fields.AwareDateTime(required=True, allow_none=True)
    expires_at = fields.AwareDateTime(required=True, allow_none=True)
    revoked_at = fields.AwareDateTime(required=True, allow_none=True)


class NewApiKey(ApiKeyRow):
    """A key just made: the only time its secret is shown."""

    secret = fields.String(required=True)


class ApiKeyBody(Body):
    """A new API key. It may do what both its scopes and its maker's role allow."""

    name = Line(longest=100, required=True)
    scopes = fields.List(
        choice(ALL_SCOPES, *PERMISSIONS),
        load_default=lambda: [ALL_SCOPES],
        validate=validate.Length(1, len(PERMISSIONS)),
    )
    expires_at = fields.AwareDateTime(allow_none=True)


class AuditRow(Schema):
    """One change of one row."""

    id = fields.UUID(required=True)
    at = fields.AwareDateTime(required=True)
    actor = fields.String(required=True, metadata={"description": "user:…, key:… or the name of a job"})
    request_id = fields.String(required=True)
    action = choice("INSERT", "UPDATE", "DELETE", required=True)
    entity = fields.String(required=True)
    entity_id = fields.UUID(required=True)
    changes = fields.Dict(
        keys=fields.String(),
        values=fields.List(fields.Raw(allow_none=True)),
        required=True,
        metadata={"description": "Field → [before, after]."},
    )
