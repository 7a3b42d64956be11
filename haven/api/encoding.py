"""JSON as Haven speaks it: money as text, times in UTC with a Z, ids as text, by orjson."""

from __future__ import annotations

import re
import time
from decimal import Decimal
from typing import Any, Final

import orjson
from flask import Response, current_app, has_request_context, request
from flask.json.provider import JSONProvider

from extensions import trace
from haven.errors import TooLarge

_LIST: Final = re.compile(r"/api/v1/(properties|units|tenants|leases|invoices|payments)")
_REPORT: Final = re.compile(r"/api/v1/reports/[0-9a-f-]{36}")
_OPTIONS = orjson.OPT_UTC_Z | orjson.OPT_NAIVE_UTC


def _other(value: Any) -> str:
    if isinstance(value, Decimal):
        return str(value)
    raise TypeError(f"cannot write {type(value).__name__} as JSON")


def encode(value: Any) -> bytes:
    """``value`` as UTF-8 JSON; ``Decimal`` becomes text with its own digits ("25000.00")."""
    started = time.perf_counter()
    text = orjson.dumps(value, default=_other, option=_OPTIONS)
    trace.add(trace.JSON, "orjson", started, (time.perf_counter() - started) * 1000)
    return text


def json_response(value: Any, status: int = 200, headers: dict[str, str] | None = None) -> Response:
    """An ``application/json`` answer.

    Raises:
        TooLarge: the request reads, and the answer is longer than ``MAX_RESPONSE_BYTES``.
    """
    text = encode(value)
    check_size(len(text))
    return Response(text, status, headers, content_type="application/json")


def check_size(length: int) -> None:
    """Refuse an answer to a read that is longer than ``MAX_RESPONSE_BYTES``. What has been changed is always told."""
    if has_request_context() and request.method in ("GET", "HEAD"):
        check_length(length, current_app.config["MAX_RESPONSE_BYTES"], request.path)


def check_length(length: int, most: int, path: str) -> None:
    """Refuse what is longer than ``most`` bytes.

    Raises:
        TooLarge: with what to ask for instead.
    """
    if length > most:
        raise TooLarge(f"The answer has more than {most:,} bytes (MAX_RESPONSE_BYTES). {instead(path)}")


def instead(path: str) -> str:
    """What to ask for where the answer at ``path`` is too large."""
    if found := _LIST.fullmatch(path):
        return (
            f"Make an export, which has no such bound: POST /api/v1/exports/{found[1]} with the same filters."
        )
    if _REPORT.fullmatch(path):
        return "Ask for the report as a file: POST it with format xlsx or pdf."
    return "Ask for less: fewer rows by limit, a shorter time, or narrower filters."


class OrjsonProvider(JSONProvider):
    """Flask's JSON by orjson."""

    def dumps(self, obj: Any, **kwargs: Any) -> str:  # noqa: ARG002
        return encode(obj).decode()

    def loads(self, s: str | bytes, **kwargs: Any) -> Any:  # noqa: ARG002
        return orjson.loads(s)

    def response(self, *args: Any, **kwargs: Any) -> Response:
        return json_response(self._prepare_response_obj(args, kwargs))
