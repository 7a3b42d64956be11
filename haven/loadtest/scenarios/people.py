"""What all simulated people have in common: a key, a taste, and a way to ask."""

from __future__ import annotations

import itertools
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from random import Random
from typing import Any, Final, TypeVar

import gevent
from locust import FastHttpUser, between
from locust.exception import StopUser

from haven.loadtest.callers import API
from haven.loadtest.phones import phones
from haven.loadtest.tally import FLOW

_Choice = TypeVar("_Choice")
_POLL_S: Final = 0.5


class FlowFailed(Exception):
    """What a person wanted was not done; the message says what came instead."""


@dataclass
class Population:
    """What the people of one generator share: what ``preparing`` made, dealt out in turn."""

    prepared: Mapping[str, Any]
    seed: str
    seated: Iterator[int] = field(default_factory=itertools.count)

    def __post_init__(self) -> None:
        self._keys = {
            True: itertools.cycle(self.prepared["writers"]),
            False: itertools.cycle(self.prepared["readers"]),
        }
        self._leases = itertools.cycle(self.prepared["leases"])
        self._units = itertools.cycle(_parts(self.prepared["units"], BULK_UNITS))
        self.phones = phones(self.seed)

    def key(self, *, may_write: bool) -> str:
        """An API key for one more person."""
        return str(next(self._keys[may_write]))

    def lease(self) -> Mapping[str, str]:
        """A lease that nobody pays for at this moment: each gets its turn, as long as there are more than people."""
        return next(self._leases)

    def units(self) -> Sequence[Mapping[str, Any]]:
        """Units that nobody else changes at this moment, in the same sense."""
        return next(self._units)


BULK_UNITS: Final = 100


class HavenUser(FastHttpUser):
    """Somebody at an agency, or a tenant. Locust starts one for each person; what he does are the tasks of the classes below."""

    abstract = True
    wait_time = between(2, 6)
    connection_timeout = 10.0
    network_timeout = 60.0
    insecure = False
    may_write = False

    def on_start(self) -> None:
        """Take a key, and a taste of one's own. People do not all begin in the same instant."""
        self.people: Population = self.environment.population
        self.number = next(self.people.seated)
        self.random = Random(f"{self.people.seed}/{self.number}")
        self.headers = {"Authorization": f"Bearer {self.people.key(may_write=self.may_write)}"}
        gevent.sleep(self.random.random() * self.first_wait_s)

    first_wait_s = 2.0

    def ask(
        self,
        method: str,
        path: str,
        name: str = "",
        *,
        json: Any = None,
        data: str | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Any:
        """The JSON of an answer, or None where it is no success, which is counted as an error.

        Args:
            path: behind ``/api/v1``.
            name: under which it is counted: the route, where the path names a row or a query.
        """
        more = self.headers | (dict(headers) if headers else {})
        kind = {"json": json} if data is None else {"data": data}
        with self.client.request(
            method,
            f"{API}{path}",
            name=name or path.partition("?")[0],
            headers=more,
            catch_response=True,
            **kind,
        ) as answer:
            if answer.status_code is None or not 200 <= answer.status_code < 300:
                answer.failure(_said(answer))
                return None
            return answer.json() if answer.content else {}

    def wait_until(
        self, path: str, name: str, for_s: float, key: str, values: Sequence[object]
    ) -> dict[str, Any]:
        """The answer once its ``key`` has one of the values, asked for twice a second.

        Raises:
            FlowFailed: it has not, in the time.
        """
        deadline = time.monotonic() + for_s
        found: dict[str, Any] = {}
        while time.monotonic() < deadline:
            found = self.ask("GET", path, name) or found
            if found.get(key) in values:
                return found
            gevent.sleep(_POLL_S)
        raise FlowFailed(f"still {found.get(key)} after {for_s:.0f} s")

    @contextmanager
    def flow(self, name: str) -> Iterator[None]:
        """Count what a person waits for as a whole; ``FlowFailed`` in it counts as an error, and goes no further."""
        began = time.perf_counter()
        failure: Exception | None = None
        try:
            yield
        except FlowFailed as error:
            failure = error
        self.environment.events.request.fire(
            request_type=FLOW,
            name=name,
            response_time=(time.perf_counter() - began) * 1000,
            response_length=0,
            exception=failure,
            context={},
        )

    def one_of(self, choices: Sequence[_Choice]) -> _Choice:
        """One of them; the first ones far more often, as some rows are looked at more than others (Zipf).

        Raises:
            StopUser: there is none.
        """
        if not choices:
            raise StopUser
        place = int(len(choices) ** self.random.random())
        return choices[min(place, len(choices)) - 1]


def _parts(rows: Sequence[Any], size: int) -> list[Sequence[Any]]:
    return [rows[at : at + size] for at in range(0, len(rows), size)] or [[]]


def _said(answer: Any) -> str:
    """Why an answer is no success: its status, and what its problem document says of no row in particular."""
    if not answer.status_code:
        return str(answer.error or "no answer")
    try:
        return f"{answer.status_code} {answer.json().get('title', '')}".strip()
    except (ValueError, AttributeError):
        return str(answer.status_code)
