"""One computation for all who ask at the same time: a flight. Within a process; ``Leases`` do it over processes."""

from __future__ import annotations

import secrets
import threading
from typing import Any, Final

from extensions.addresses import Client
from extensions.caching.link import Link, Script

_RELEASE: Final = Script("""
if redis.call('GET', KEYS[1]) == ARGV[1] then return redis.call('DEL', KEYS[1]) end
return 0
""")


class Flight:
    """A computation under way. ``result`` stays None where it gave nothing that others could use."""

    def __init__(self) -> None:
        self._landed = threading.Event()
        self.result: Any = None

    def land(self, result: Any = None) -> None:
        self.result = result
        self._landed.set()

    def wait(self, timeout_s: float) -> Any:
        """Its result; None when it failed or takes too long."""
        return self.result if self._landed.wait(timeout_s) else None


class Flights:
    """The computations of this process."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._flying: dict[str, Flight] = {}

    def board(self, key: str) -> tuple[Flight, bool]:
        """The flight of ``key``, and whether the caller is its pilot, who has to ``land`` it."""
        with self._lock:
            flight = self._flying.get(key)
            if flight is not None:
                return flight, False
            flight = self._flying[key] = Flight()
            return flight, True

    def land(self, key: str, flight: Flight, result: Any = None) -> None:
        with self._lock:
            self._flying.pop(key, None)
        flight.land(result)


class Leases:
    """Who computes, over all processes: a key in Redis with an end, deleted only by the one who set it.

    One that dies is no deadlock: its lease ends after ``lease_s``.
    """

    def __init__(self, link: Link, lease_s: float) -> None:
        self._link = link
        self._lease_ms = int(lease_s * 1000)

    def take(self, name: str, entry: str) -> tuple[str | None, bytes | None]:
        """A token where the lease is ours now, None where another has it; and what is stored at ``entry`` by now."""
        token = secrets.token_hex(8)

        def ask(client: Client) -> tuple[bool | None, bytes | None]:
            pipe = client.pipeline(transaction=False)
            pipe.set(name, token, nx=True, px=self._lease_ms)
            pipe.get(entry)
            taken, stored = pipe.execute()
            return taken, stored

        taken, stored = self._link.run(ask)
        return (token if taken else None), stored

    def release(self, name: str, token: str) -> None:
        self._link.run(lambda client: _RELEASE(client, [name], token))
