"""The callback of a push before Flask: what comes to a well-formed address is taken here, in one connection's two transactions.

An address that is none of ours, a body of unusual length, and whatever fails before the callback is stored go on to the app
as if nothing had been, which has the words for it.
"""

from __future__ import annotations

import io
import re
from collections.abc import Callable, Iterable
from typing import Any, Final

import structlog
from flask import Flask
from sqlalchemy.orm import Session

from extensions.database.counting import counting
from extensions.logs import Logs, begun_of, name_lines, write_answered
from extensions.monitoring.requests import ROUTE
from haven.api.deadlines import read_within
from haven.payments.mpesa.messages import MAX_BODY_BYTES
from haven.payments.taking import KEPT_HEADERS, apply_at_once, keep
from haven.runtime import Runtime

log = structlog.get_logger(__name__)
Environ = dict[str, Any]
StartResponse = Callable[..., Any]
ACCEPTED: Final = b'{"ResultCode":0,"ResultDesc":"Accepted"}'
"""The answer to a callback that is kept."""
BODY_TIMEOUT_S: Final = 5.0
"""M-Pesa sends its few hundred bytes at once."""
_PATH: Final = re.compile(r"/api/v1/hooks/stk/([0-9a-f]{96})", re.ASCII)
_RULE: Final = "/api/v1/hooks/stk/<string:token>"
_NAMES: Final = tuple((name, f"HTTP_{name.upper().replace('-', '_')}") for name in KEPT_HEADERS)


class CallbackPath:
    """WSGI middleware around Flask itself.

    Args:
        headers: what every answer of the app has.
    """

    def __init__(self, app: Flask, headers: Iterable[tuple[str, str]]) -> None:
        self.taken = 0
        """How many callbacks it has taken."""
        self._app = app
        self._behind = app.wsgi_app
        self._longest = min(MAX_BODY_BYTES, app.config["MAX_CONTENT_LENGTH"])
        self._headers = [
            ("Content-Type", "application/json"),
            ("Content-Length", str(len(ACCEPTED))),
            *headers,
        ]

    def __call__(self, environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        address = _PATH.fullmatch(environ["PATH_INFO"])
        if address is None or _is_unusual(environ, self._longest) or Logs.name not in self._app.extensions:
            return self._behind(environ, start_response)
        begun = begun_of(environ)
        name_lines(begun.request_id, begun.trace_id)
        body = read_within(environ, BODY_TIMEOUT_S)
        with counting(f"POST {_RULE}") as counted:
            is_taken = self._took(environ, address[1], body)
        if not is_taken:
            # In the same environment: who measures around this reads from it which route the app found.
            environ["wsgi.input"], environ["CONTENT_LENGTH"] = io.BytesIO(body), str(len(body))
            return self._behind(environ, start_response)
        self.taken += 1
        environ[ROUTE] = _RULE
        start_response("200 OK", [*self._headers, ("X-Request-ID", begun.request_id)])
        write_answered(
            begun,
            self._app.config["SLOW_REQUEST_THRESHOLD"],
            method="POST",
            route=_RULE,
            status=200,
            size=len(ACCEPTED),
            statements=counted.count,
            statements_ms=counted.total_ms,
        )
        return [ACCEPTED]

    def _took(self, environ: Environ, token: str, body: bytes) -> bool:
        """Whether the callback is kept; then it is applied as well, or waits for the sweeper."""
        runtime: Runtime = self._app.extensions["haven"]
        try:
            with (
                runtime.engine.connect() as connection,
                Session(connection, expire_on_commit=False) as session,
            ):
                session.info["wake"] = runtime.wake
                session.info["job_attempts"] = runtime.settings.max_job_attempts
                kept, is_refused = keep(
                    session,
                    runtime.settings,
                    token=token,
                    body=body,
                    headers=_headers_of(environ),
                    address=environ.get("REMOTE_ADDR"),
                    kind="STK",
                )
                if kept is not None and not is_refused:
                    apply_at_once(session, kept)
        except Exception:
            log.exception("callback_left_to_the_app")
            return False
        return kept is not None


def _is_unusual(environ: Environ, longest: int) -> bool:
    """Whether it is anything but a POST whose short body is announced by its length."""
    length = environ.get("CONTENT_LENGTH") or ""
    return (
        environ["REQUEST_METHOD"] != "POST"
        or bool(environ.get("SCRIPT_NAME"))
        or not (length.isascii() and length.isdigit() and int(length) <= longest)
    )


def _headers_of(environ: Environ) -> dict[str, str]:
    found = {name: environ[key] for name, key in _NAMES if key in environ}
    kind = environ.get("CONTENT_TYPE")
    return found if not kind else found | {"Content-Type": kind}


def put_before_flask(app: Flask, headers: Iterable[tuple[str, str]]) -> None:
    """Take callbacks of pushes before Flask. The first of what is put around the app, so that it is told who really calls."""
    app.extensions["callback_path"] = app.wsgi_app = CallbackPath(app, headers)  # type: ignore[method-assign]
