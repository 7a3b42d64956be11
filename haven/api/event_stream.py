"""Server-sent events: one document, shown at once and at each change, until it is final.

A stream holds a thread of its web process, so a process has few places for them and refuses the rest: streams never
starve the API. Between two looks it holds nothing else: no database connection, no transaction. It looks at PostgreSQL
itself, with one statement; so it needs no Redis, and a NOTIFY would make all commits of payments wait for each other.
"""

from __future__ import annotations

import select
import socket
import threading
import time
from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass
from typing import Any, Final

import structlog
from flask import Response, current_app, request
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Session

from haven.api.encoding import encode
from haven.api.guard import bearer_token, current_principal, current_session, principals, runtime
from haven.api.resource import problems
from haven.db.session import set_tenant, tenant_of
from haven.errors import NotFound, NotSignedIn, Unavailable

log = structlog.get_logger(__name__)

MEDIA_TYPE: Final = "text/event-stream"
EXTENSION: Final = "haven_streams"
LOOK_EVERY_S: Final = 0.5
RECHECK_S: Final = 10.0
"""How soon a sign-in that has ended ends its streams."""
HEARTBEAT_S: Final = 15.0
"""Shorter than the 30 s and more after which proxies give up on a silent connection."""
RETRY_MS: Final = 2000
_REFUSED_FOR_S: Final = 5
# Linux alone says so; elsewhere a client that has left is noticed when a heartbeat cannot be written.
_PEER_LEFT: Final = getattr(select, "POLLRDHUP", 0)


@dataclass(frozen=True, slots=True)
class Shown:
    """A document as it is now; ``id`` changes with it. Nothing follows one that is final."""

    id: str
    document: dict[str, Any]
    is_final: bool

    def event(self) -> bytes:
        """The event that shows it."""
        return b"id: %b\nevent: status\ndata: %b\n\n" % (self.id.encode(), encode(self.document))


class Streams:
    """The event streams of one web process.

    Args:
        places: how many may be open at once.
        life_s: after so many seconds a stream ends, and its client asks again.
    """

    def __init__(self, places: int, life_s: float, clock: Callable[[], float] = time.monotonic) -> None:
        self.places = places
        self.life_s = life_s
        self.clock = clock
        self.is_serving: Callable[[], bool] = lambda: True
        """Whether the process goes on; its server may put its own answer here, so that streams end with it."""
        self._open = 0
        # A forgotten stream gives its place back where garbage is collected: that may be in this thread, within the lock.
        self._lock = threading.RLock()

    @property
    def open(self) -> int:
        """How many are open."""
        return self._open

    def take_place(self) -> None:
        """Count a stream more.

        Raises:
            Unavailable: every place is taken.
        """
        with self._lock:
            if self._open >= self.places or not self.is_serving():
                raise Unavailable(
                    f"All {self.places} places for event streams of this process are taken: ask for the status instead,"
                    " or come back.",
                    retry_after_s=_REFUSED_FOR_S,
                )
            self._open += 1

    def give_place_back(self) -> None:
        with self._lock:
            self._open -= 1


class EventStream:
    """The bytes of one stream. It takes a place when it is made and gives it back when it is closed, or forgotten.

    Args:
        first: the document as the request found it.
        look: the document as it is now. ``NotFound`` and ``NotSignedIn`` end the stream; an error of the database
            does not.
        seen: the id of the last event that the client has had, if any.
        peer: the client's connection, where the server lends it.
    """

    def __init__(
        self,
        streams: Streams,
        first: Shown,
        look: Callable[[], Shown],
        seen: str | None = None,
        peer: socket.socket | None = None,
    ) -> None:
        self._is_closed = True
        streams.take_place()
        self._is_closed = False
        self._streams = streams
        self._look = look
        self._seen = seen
        self._peer = _watched(peer)
        self._ends_at = streams.clock() + streams.life_s
        self._first = first
        self._events: Generator[bytes, None, None] | None = None

    def __iter__(self) -> Iterator[bytes]:
        # Made only now: a generator refers to its stream, and a stream that is never begun must be forgotten at once.
        self._events = self._made(self._first)
        return self._events

    def close(self) -> None:
        """Give the place back."""
        if not self._is_closed:
            self._is_closed = True
            if self._events is not None:
                self._events.close()
            self._streams.give_place_back()

    def __del__(self) -> None:
        # A response that is thrown away before its first byte is never closed.
        self.close()

    def _made(self, shown: Shown) -> Generator[bytes, None, None]:
        clock, said_at = self._streams.clock, self._streams.clock()
        yield b"retry: %d\n\n" % RETRY_MS
        if shown.id != self._seen:
            yield shown.event()
        while not shown.is_final and self._goes_on():
            if self._has_left_after(LOOK_EVERY_S):
                return
            try:
                now = self._look()
            except (NotFound, NotSignedIn):
                return
            except SQLAlchemyError as error:
                log.warning("event_stream_cannot_look", error=type(error).__name__)
                now = shown
            if now != shown:
                shown, said_at = now, clock()
                yield shown.event()
            elif clock() - said_at >= HEARTBEAT_S:
                said_at = clock()
                yield b": nothing new\n\n"

    def _goes_on(self) -> bool:
        return self._streams.clock() < self._ends_at and self._streams.is_serving()

    def _has_left_after(self, seconds: float) -> bool:
        """Wait; at once true when the client closes the connection."""
        if self._peer is None:
            time.sleep(seconds)
            return False
        return bool(self._peer.poll(seconds * 1000))


def event_stream(look: Callable[[Session], Shown]) -> Response:
    """The answer to a GET of a stream: ``look`` reads the document in a session of the caller's agency.

    A client that comes back (``Last-Event-ID``) is not shown again what it has seen; 204, which tells it to stay away,
    where that was final.

    Raises:
        NotFound: as ``look``.
        Unavailable: too many streams are open in this process.
    """
    first, seen = look(current_session()), request.headers.get("Last-Event-ID")
    if first.is_final and first.id == seen:
        return Response(status=204)
    if request.method == "HEAD":
        return Response(content_type=MEDIA_TYPE)

    streams: Streams = current_app.extensions[EXTENSION]
    events = EventStream(streams, first, _looking_again(look), seen, request.environ.get("gunicorn.socket"))
    # nginx would otherwise keep the events until its buffer is full.
    return Response(events, content_type=MEDIA_TYPE, headers={"X-Accel-Buffering": "no"})


def _looking_again(look: Callable[[Session], Shown]) -> Callable[[], Shown]:
    """``look`` for the time after the request: in sessions of its own, and while the caller is still who he was."""
    tenant, engine = tenant_of(current_session()), runtime().engine
    who, token, known = current_principal(), bearer_token(), principals()
    checked_at = time.monotonic()

    def look_again() -> Shown:
        nonlocal checked_at
        with Session(engine) as session:
            if time.monotonic() - checked_at >= RECHECK_S:
                checked_at = time.monotonic()
                if known.authenticate(session, token) != who:
                    raise NotSignedIn("What the caller may do has changed.")
            set_tenant(session, tenant)
            return look(session)

    return look_again


def stream_doc(summary: str, schema: str) -> dict[str, Any]:
    """What ``blueprint.doc`` says of a stream whose events hold a document of the named schema."""
    description = (
        f"Server-sent events: `event: status` with a `{schema}` as `data`, at once and at each change; the stream ends"
        " when it is final, and after EVENT_STREAM_LIFE. Send the last `id` as `Last-Event-ID` when you come back."
    )
    content = {MEDIA_TYPE: {"schema": {"type": "string"}}}
    header = {"in": "header", "name": "Last-Event-ID", "required": False, "schema": {"type": "string"}}
    responses = {
        "200": {"description": description, "content": content},
        "204": {"description": "You have seen the final status: do not come back."},
        **problems(404, 503),
    }
    return {"summary": summary, "parameters": [header], "responses": responses}


def _watched(peer: socket.socket | None) -> Any:
    if peer is None or not _PEER_LEFT:
        return None
    watched = select.poll()
    watched.register(peer, _PEER_LEFT)
    return watched
