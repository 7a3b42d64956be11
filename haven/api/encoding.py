"""JSON as Haven speaks it: money as text, times in UTC with a Z, ids as text, by orjson."""

from __future__ import annotations

import time
from decimal import Decimal
from typing import Any

import orjson
from flask import Response
from flask.json.provider import JSONProvider

from extensions import trace

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
    """An ``application/json`` answer."""
    return Response(encode(value), status, headers, content_type="application/json")


class OrjsonProvider(JSONProvider):
    """Flask's JSON by orjson."""

    def dumps(self, obj: Any, **kwargs: Any) -> str:  # noqa: ARG002
        return encode(obj).decode()

    def loads(self, s: str | bytes, **kwargs: Any) -> Any:  # noqa: ARG002
        return orjson.loads(s)

    def response(self, *args: Any, **kwargs: Any) -> Response:
        return json_response(self._prepare_response_obj(args, kwargs))
