"""The least that a WSGI app can do: as many bytes as a page of ten units. What gunicorn costs by itself."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from types import SimpleNamespace
from typing import Any

BODY = b'{"data":[' + b",".join([b'{"id":"' + b"0" * 330 + b'"}'] * 10) + b"]}"
HEADERS = [("Content-Type", "application/json"), ("Content-Length", str(len(BODY)))]


def app(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
    """200 and the bytes."""
    start_response("200 OK", HEADERS)
    return [BODY]


# What gunicorn.conf.py asks of an application.
app.wsgi = lambda: app  # type: ignore[attr-defined]
app.config = {"DRAIN_SECONDS": 0}  # type: ignore[attr-defined]
app.extensions = {  # type: ignore[attr-defined]
    "after_fork": lambda: None,
    "haven_streams": SimpleNamespace(),
    "haven_drain": SimpleNamespace(is_on=False),
}
