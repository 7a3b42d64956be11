"""``python -m benchmarks.suite.servers``: a PostgreSQL and a Valkey until standard input ends; where they are, as JSON."""

from __future__ import annotations

import signal
import sys

from tests.support.servers import ThrowAwayServers


def main() -> None:
    """Start them, say where, wait, remove them."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    servers = ThrowAwayServers()
    try:
        print(servers.start().to_json(), flush=True)  # noqa: T201
        sys.stdin.read()
    except KeyboardInterrupt:
        pass
    finally:
        servers.stop()


if __name__ == "__main__":
    main()
