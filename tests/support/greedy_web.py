"""Haven with routes more that take memory and write rows: for tests of a server that memory is short for."""

from __future__ import annotations

import os
import time
from typing import Any, Final

from flask import request
from sqlalchemy import text

from extensions.memory import memory_optimizer
from haven.app import create_app

app = create_app()
_kept: Final[list[bytearray]] = []
_cached: Final[list[bytearray]] = []


@app.post("/writes/<uuid:row_id>")
def write(row_id: Any) -> tuple[str, int]:
    """Take ``mib`` of memory for ``seconds``, write a row, and answer 201 once it is committed."""
    taken = bytearray(os.urandom(1)) * (int(request.args.get("mib", 0)) << 20)
    time.sleep(float(request.args.get("seconds", 0)))
    with app.extensions["haven"].engine.begin() as connection:
        connection.execute(text("INSERT INTO test_write (id) VALUES (:id)"), {"id": row_id})
    return str(len(taken)), 201


@app.post("/hoard")
def hoard() -> tuple[str, int]:
    """Keep ``mib`` of memory: for good, or with ``cached`` until memory is short."""
    place = _cached if "cached" in request.args else _kept
    place.append(bytearray(os.urandom(1)) * (int(request.args["mib"]) << 20))
    return str(os.getpid()), 201


@app.get("/health/memory")
def memory() -> dict[str, Any]:
    """What is known of it, with who answers; under a path that is never refused."""
    watcher = app.extensions["memory"].watcher
    return {
        "pid": os.getpid(),
        **memory_optimizer.get_memory_stats(),
        "refused": {priority.name: count for priority, count in watcher.gate.refused.items()},
    }


def _forget(pressure: float) -> int:
    count = int(len(_cached) * pressure)
    size = sum(map(len, _cached[:count]))
    del _cached[:count]
    return size


with app.app_context():
    memory_optimizer.on_pressure(_forget)
