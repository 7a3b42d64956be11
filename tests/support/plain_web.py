"""An app of WSGI alone, for tests of how gunicorn serves: no database, no Redis."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from types import SimpleNamespace
from typing import Any
from urllib.parse import parse_qs

Environ = dict[str, Any]
Start = Callable[..., Any]
TEXT = ("Content-Type", "text/plain")


def app(environ: Environ, start: Start) -> Iterable[bytes]:
    """What is asked for by path; by default the path itself."""
    return {"/slow": _slow, "/large": _large, "/stream": _stream, "/empty": _empty, "/echo": _echo, "/bad": _bad,
            "/breaks": _breaks, "/exits": _exits, "/longer": _longer}.get(environ["PATH_INFO"], _path)(environ, start)  # fmt: skip


def _asked(environ: Environ, name: str) -> str:
    return parse_qs(environ["QUERY_STRING"])[name][0]


def _whole(start: Start, body: bytes, status: str = "200 OK") -> Iterable[bytes]:
    start(status, [TEXT, ("Content-Length", str(len(body)))])
    return [body]


def _path(environ: Environ, start: Start) -> Iterable[bytes]:
    return _whole(start, environ["PATH_INFO"].encode())


def _slow(environ: Environ, start: Start) -> Iterable[bytes]:
    time.sleep(float(_asked(environ, "for")))
    return _whole(start, b"slow")


def _large(environ: Environ, start: Start) -> Iterable[bytes]:
    return _whole(start, b"x" * int(_asked(environ, "bytes")))


def _stream(_environ: Environ, start: Start) -> Iterable[bytes]:
    start("200 OK", [TEXT])
    yield b"one "
    yield b""
    yield b"two"


def _empty(_environ: Environ, start: Start) -> Iterable[bytes]:
    start("204 NO CONTENT", [])
    return []


def _echo(environ: Environ, start: Start) -> Iterable[bytes]:
    return _whole(start, environ["wsgi.input"].read())


def _bad(_environ: Environ, start: Start) -> Iterable[bytes]:
    start("200 OK", [("Content-Type", "text/plain\r\nX-Planted: yes"), ("Content-Length", "3")])
    return [b"bad"]


def _breaks(_environ: Environ, start: Start) -> Iterable[bytes]:
    start("200 OK", [TEXT, ("Content-Length", "100")])
    yield b"begun"
    raise RuntimeError("in the middle")


def _exits(_environ: Environ, _start: Start) -> Iterable[bytes]:
    raise SystemExit(3)


def _longer(_environ: Environ, start: Start) -> Iterable[bytes]:
    start("200 OK", [TEXT, ("Content-Length", "3")])
    return [b"longer"]


# What gunicorn.conf.py asks of an application.
app.wsgi = lambda: app  # type: ignore[attr-defined]
app.config = {"DRAIN_SECONDS": 0}  # type: ignore[attr-defined]
app.extensions = {  # type: ignore[attr-defined]
    "after_fork": lambda: None,
    "haven_streams": SimpleNamespace(),
    "haven_drain": SimpleNamespace(is_on=False),
}
