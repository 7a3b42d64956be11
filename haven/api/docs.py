"""The OpenAPI description, and the page that shows it, with no asset from outside."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from flask import Blueprint, Response
from flask_smorest import Api

docs_blueprint = Blueprint("docs", __name__)
_PAGE: Final = Path(__file__).with_name("docs.html")
_ICON: Final = '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 16 16"><path fill="#14663d" d="M8 1 1 7v8h5v-5h4v5h5V7z"/></svg>'
_ICON_KEPT_S: Final = 86_400

_PROBLEM: Final = {
    "type": "object",
    "description": "RFC 9457",
    "required": ["type", "title", "status", "detail", "instance", "request_id"],
    "properties": {
        "type": {"type": "string"},
        "title": {"type": "string"},
        "status": {"type": "integer"},
        "detail": {"type": "string"},
        "instance": {"type": "string"},
        "request_id": {"type": "string"},
        "errors": {
            "type": "array",
            "items": {
                "type": "object",
                "required": ["pointer", "detail"],
                "properties": {"pointer": {"type": "string"}, "detail": {"type": "string"}},
            },
        },
    },
}


def describe(api: Api) -> None:
    """What the description says besides the endpoints."""
    api.spec.components.schema("Problem", _PROBLEM)
    api.spec.components.security_scheme(
        "bearer",
        {"type": "http", "scheme": "bearer", "description": "An access token, or an API key (`hvn_…`)."},
    )


@docs_blueprint.get("/docs")
def page() -> Response:
    """The API to read: made in the browser from ``/api/v1/openapi.json``."""
    policy = (
        "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; connect-src 'self';"
        " frame-ancestors 'none'"
    )
    headers = {"Content-Security-Policy": policy, "Cache-Control": "no-cache"}
    return Response(_PAGE.read_bytes(), headers=headers, content_type="text/html; charset=utf-8")


@docs_blueprint.get("/favicon.ico")
def icon() -> Response:
    """The picture that browsers ask for beside any page."""
    headers = {
        "Cache-Control": f"public, max-age={_ICON_KEPT_S}",
        "Content-Security-Policy": "default-src 'none'",
    }
    return Response(_ICON, headers=headers, content_type="image/svg+xml")
