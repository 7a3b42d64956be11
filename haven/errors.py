"""The errors of the business. Services raise them; ``haven.api.problems`` turns each into its problem document."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Fault:
    """One thing wrong with a request: ``pointer`` is a JSON pointer into the body (RFC 6901) or a parameter's name."""

    pointer: str
    detail: str

    def document(self) -> dict[str, Any]:
        """The fault as JSON."""
        return {"pointer": self.pointer, "detail": self.detail}


class HavenError(Exception):
    """What a caller is told. ``status`` is the HTTP status, ``title`` the kind of problem, ``str()`` the detail."""

    status = 500
    title = "Internal error"

    def __init__(
        self, detail: str, *, faults: tuple[Fault, ...] = (), retry_after_s: int | None = None
    ) -> None:
        super().__init__(detail)
        self.detail = detail
        self.faults = faults
        self.retry_after_s = retry_after_s


class Malformed(HavenError):
    """The request cannot be read."""

    status = 400
    title = "Malformed request"


class NotSignedIn(HavenError):
    """No token, or one that is not good."""

    status = 401
    title = "Not signed in"


class Forbidden(HavenError):
    """Signed in, but the role or the key's scopes do not allow it."""

    status = 403
    title = "Not allowed"


class NotFound(HavenError):
    """There is no such row, or it is another agency's."""

    status = 404
    title = "Not found"


class Conflict(HavenError):
    """The state of things does not allow it."""

    status = 409
    title = "Conflict"


class VersionMismatch(HavenError):
    """The row has changed since the caller read it (``If-Match``)."""

    status = 412
    title = "Changed meanwhile"


class Invalid(HavenError):
    """The request can be read, but a value breaks a rule."""

    status = 422
    title = "Invalid"

    @classmethod
    def field(cls, name: str, detail: str) -> Invalid:
        """The error of one field of the body."""
        return cls(f"{name}: {detail}", faults=(Fault(f"/{name}", detail),))


class TooLarge(HavenError):
    """The answer would be larger than is sent; the detail says what to ask for instead."""

    status = 422
    title = "Answer too large"


class TooMany(HavenError):
    """Too often; ``retry_after_s`` says when again."""

    status = 429
    title = "Too many requests"


class Unavailable(HavenError):
    """Something Haven needs is away for a moment; ``retry_after_s`` says when to try again."""

    status = 503
    title = "Unavailable for a moment"
