"""Reads that bear to be a few seconds old go to the replica, where there is one: exports, reports, dashboards.

A caller always sees what he has written himself: his reads go to the primary until the replica has it.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any, Final

from flask import Response, g, request
from sqlalchemy import Engine
from sqlalchemy.exc import DBAPIError
from sqlalchemy.orm import Session

from extensions.database import Reading
from haven.api.guard import current_principal, runtime
from haven.db.session import set_tenant
from haven.identity.principals import Principal

View = Callable[..., Any]
_READ_ONLY: Final = frozenset({"GET", "HEAD", "OPTIONS"})


def from_replica(view: View) -> View:
    """Let ``current_session()`` of this view be the replica's. Goes directly under ``requires``; the view only reads.

    Where the replica fails in the middle, the view is called again with the primary. Not for a view whose answers are stored.
    """
    return _routed(view, lambda reading: reading.replica_for(current_principal().actor))


def stored_from_replica(view: View) -> View:
    """The same for a view whose answers are stored, and so shown to others than the caller.

    The generation under which an answer is stored was read before the view is called. Only a replica that has all that was
    committed by then may be read: an older answer would be served as that generation's until its life ends.
    """
    return _routed(view, lambda reading: reading.replica_with_everything())


def _routed(view: View, choose: Callable[[Reading], Engine | None]) -> View:
    @wraps(view)
    def routed(*args: Any, **kwargs: Any) -> Any:
        reading = runtime().reading
        engine = choose(reading)
        if engine is None:
            return view(*args, **kwargs)
        with Session(engine, expire_on_commit=False) as session:
            set_tenant(session, current_principal().tenant(g.get("request_id", "")))
            g.replica_session = session
            try:
                return view(*args, **kwargs)
            except DBAPIError as error:
                if not reading.gave_up(error):
                    raise
            finally:
                g.pop("replica_session", None)
        return view(*args, **kwargs)

    return routed


def remember_write(response: Response) -> Response:
    """Note how far the caller of a request that may have written has written."""
    reading, principal = runtime().reading, g.get("principal")
    if reading.replica is not None and request.method not in _READ_ONLY and isinstance(principal, Principal):
        reading.wrote(principal.actor)
    return response
