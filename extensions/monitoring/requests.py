"""One request as it is measured, from the first line of the middleware until its answer is closed."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from extensions import trace

if TYPE_CHECKING:
    from extensions.monitoring.recorder import Recorder

ROUTE: Final = "haven.route"
"""The key of the WSGI environment under which an answer that never reaches Flask says which rule it is of."""
REQUEST_ID: Final = "haven.request_id"
"""The key under which such an answer says its id, and with it that it is no stream: then its headers are not searched."""
MEASURED: Final = "haven.measured"
NO_ROUTE: Final = "(no route)"
"""What every path is counted under that no rule knows: an attacker's paths are one series."""
_CONTENT_TYPE: Final = frozenset({"Content-Type", "content-type"})
_REQUEST_ID: Final = frozenset({"X-Request-ID", "X-Request-Id", "x-request-id"})
_NOTED: Final = _CONTENT_TYPE | _REQUEST_ID
METHODS: Final = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
_LONGEST_WAIT_MS: Final = 600_000.0
_NOTHING: Final[Iterator[bytes]] = iter(())
_NO_ENVIRON: Final[dict[str, Any]] = {}


class Finished(NamedTuple):
    """A request whose answer is closed.

    ``wait_ms`` is how long it stood in front of the server (None: its proxy does not say), ``has_failed`` that it raised
    an exception that the application did not answer.
    """

    at: float
    method: str
    route: str
    status: int
    ms: float
    started: float
    bytes: int
    wait_ms: float | None
    has_failed: bool
    content_type: str
    request_id: str
    trace: trace.Trace

    @property
    def is_error(self) -> bool:
        return self.has_failed or self.status >= 500


class Call:
    """A call of the application, and the body that it answers with.

    What stays the same for most calls are attributes of the class: to set each of them costs a call more than all it measures.
    """

    _bytes = 0
    _content_type = ""
    _is_open = True
    _is_whole = False
    _request_id = ""
    _route = ""
    _status = "500"
    has_failed = False

    def __init__(self, recorder: Recorder, environ: dict[str, Any], give_headers: Callable[..., Any]) -> None:
        self._recorder = recorder
        self._environ = environ
        self._give_headers = give_headers
        self._body: Iterable[bytes] = ()
        self._iterator: Iterator[bytes] = _NOTHING
        self._trace = trace.begin()
        self.began_at = time.time()
        self._started = time.perf_counter()
        recorder.opened(self)

    def start_response(self, status: str, headers: list[tuple[str, str]], exc_info: Any = None) -> Any:
        """Notes the status and passes it on."""
        self._status = status
        environ = self._environ
        route = environ.get(ROUTE)
        # Flask takes its request out of the environment before the body is read.
        self._route = _route(environ) if route is None else route
        request_id = environ.get(REQUEST_ID)
        if request_id is None:
            self._note(headers)
        else:
            self._request_id = request_id
        if exc_info is None:
            return self._give_headers(status, headers)
        return self._give_headers(status, headers, exc_info)

    def _note(self, headers: list[tuple[str, str]]) -> None:
        # Not the list itself: what waits to be counted should be few objects for the garbage collector to walk.
        for name, value in headers:
            if name not in _NOTED:
                continue
            if name in _CONTENT_TYPE:
                self._content_type = value
            else:
                self._request_id = value

    def answer(self, body: Iterable[bytes]) -> Iterable[bytes]:
        """The body, measured until it is closed.

        A file that the server can send by itself stays what it is, so that it does.
        """
        if type(body) is list:
            self._is_whole = True
            self._iterator = iter(body)
            self._bytes = len(body[0]) if len(body) == 1 else sum(map(len, body))
            return self
        wrapper = self._environ.get("wsgi.file_wrapper")
        if isinstance(wrapper, type) and isinstance(body, wrapper):
            _close_then(body, self._end)
            return body
        self._body = body
        self._iterator = iter(body)
        return self

    def __iter__(self) -> Iterator[bytes]:
        # A list gives its chunks itself: making them takes no time and cannot fail. It is over when it is closed.
        return self._iterator if self._is_whole else self

    def __next__(self) -> bytes:
        try:
            chunk = next(self._iterator)
        except StopIteration:
            self._end()
            raise
        except BaseException:
            self.has_failed = True
            raise
        self._bytes += len(chunk)
        return chunk

    def close(self) -> None:
        """Close the body; the request is over."""
        if self._is_whole:
            self._end()
            return
        try:
            close = getattr(self._body, "close", None)
            if close is not None:
                close()
        except BaseException:
            self.has_failed = True
            raise
        finally:
            self._end()

    def __del__(self) -> None:
        # A server that forgets to close must not leave a request in flight for ever. Here garbage is collected: see ``trace.begin``.
        if self._is_open:
            self._end()

    def fail(self) -> None:
        """The application raised: nobody else will close this call."""
        self.has_failed = True
        self._end()

    def _end(self) -> None:
        if not self._is_open:
            return
        self._is_open = False
        self._trace.is_over = True
        ms = (time.perf_counter() - self._started) * 1000
        environ = self._environ
        method = environ.get("REQUEST_METHOD", "")
        said = environ.get("HTTP_X_REQUEST_START")
        # In the order of its fields: by their names it takes twice as long.
        finished = Finished(
            self.began_at + ms / 1000,
            method if method in METHODS else "OTHER",
            self._route or _route(environ),
            500 if self.has_failed else int(self._status[:3]),
            ms,
            self._started,
            self._bytes,
            None if said is None else _wait_ms(said, self.began_at),
            self.has_failed,
            self._content_type,
            self._request_id,
            self._trace,
        )
        self._recorder.closed(self, finished)
        # What the server may keep of this call for a while must not keep the request alive.
        self._environ = _NO_ENVIRON


class Middleware:
    """Measures every call of a WSGI application, whatever it answers or raises, until its answer is closed."""

    def __init__(self, application: Callable[..., Iterable[bytes]], recorder: Recorder) -> None:
        self._application = application
        self._recorder = recorder

    def __call__(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        if MEASURED in environ:
            # One that stands further out has begun already.
            return self._application(environ, start_response)
        environ[MEASURED] = True
        call = Call(self._recorder, environ, start_response)
        try:
            return call.answer(self._application(environ, call.start_response))
        except BaseException:
            call.fail()
            raise


def _route(environ: dict[str, Any]) -> str:
    named = environ.get(ROUTE)
    if named is not None:
        return str(named)
    # Werkzeug leaves the request in its environment, and Flask the rule in the request.
    rule = getattr(environ.get("werkzeug.request"), "url_rule", None)
    return NO_ROUTE if rule is None else str(rule.rule)


def _wait_ms(said: str | None, began_at: float) -> float | None:
    """How long a request waited since a proxy stamped it, in ms: ``t=`` and seconds, ms or µs since 1970."""
    if not said:
        return None
    try:
        stamp = float(said.removeprefix("t="))
    except ValueError:
        return None
    if not 0 < stamp < 1e17:
        return None
    while stamp > 1e11:
        stamp /= 1000
    waited = (began_at - stamp) * 1000
    # Another host's clock may be ahead; what claims ten minutes is no stamp of ours.
    return max(waited, 0.0) if waited < _LONGEST_WAIT_MS else None


def _close_then(body: Any, end: Callable[[], None]) -> None:
    close = getattr(body, "close", None)

    def closing() -> None:
        try:
            if close is not None:
                close()
        finally:
            end()

    body.close = closing
