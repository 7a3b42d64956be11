"""The least that a WSGI app can do: an answer of bytes that it has. What gunicorn costs by itself."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Final

BODY: Final = "BARE_BODY"
"""Where the environment says which file is the answer."""


def bare(body: bytes) -> Callable[..., Iterable[bytes]]:
    """An app that answers with these bytes."""
    headers = [("Content-Type", "application/json"), ("Content-Length", str(len(body)))]

    def app(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        start_response("200 OK", headers)
        return [body]

    return app


app: Any = bare(Path(os.environ[BODY]).read_bytes() if BODY in os.environ else b"{}")

# What gunicorn.conf.py asks of an application.
app.wsgi = lambda: app
app.config = {"DRAIN_SECONDS": 0}
app.extensions = {
    "after_fork": lambda: None,
    "haven_streams": SimpleNamespace(),
    "haven_drain": SimpleNamespace(is_on=False),
}
