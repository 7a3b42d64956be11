"""The least that a WSGI application can do: the bytes of the page from memory. What gunicorn costs by itself."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

_BODY = Path(os.environ["PEER_BODY"]).read_bytes()
_HEADERS = [("Content-Type", "application/json"), ("Content-Length", str(len(_BODY)))]


def app(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:  # noqa: ARG001
    """200 and the bytes."""
    start_response("200 OK", _HEADERS)
    return [_BODY]


# What gunicorn.conf.py asks of an application.
app.wsgi = lambda: app  # type: ignore[attr-defined]
app.config = {"DRAIN_SECONDS": 0}  # type: ignore[attr-defined]
app.extensions = {  # type: ignore[attr-defined]
    "after_fork": lambda: None,
    "haven_streams": SimpleNamespace(),
    "haven_drain": SimpleNamespace(is_on=False),
}
