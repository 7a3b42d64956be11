"""A read replica: whether it may be read now, and by whom. Knows SQLAlchemy and Redis, not Flask."""

from __future__ import annotations

import os
import threading
import time
from dataclasses import dataclass
from typing import Final

import redis
from sqlalchemy import Engine, text
from sqlalchemy.exc import DBAPIError, SQLAlchemyError

LOOK_EVERY_S: Final = 0.5
"""How old what is known of the replica may be."""
CATCH_UP_S: Final = 0.1
"""The longest that a read which is to show everything waits for the replica; then the primary is quicker."""
_LOOK_AGAIN_S: Final = 0.01
_PRIMARY: Final = text("SELECT pg_current_wal_flush_lsn()::text")
_WRITTEN: Final = text("SELECT pg_current_wal_insert_lsn()::text")
_REPLICA: Final = text(
    "SELECT pg_is_in_recovery() AS is_replica, pg_last_wal_replay_lsn()::text AS replayed,"
    " extract(epoch FROM clock_timestamp() - pg_last_xact_replay_timestamp())::float8 AS since_s"
)
_LAGS_FOREVER: Final = float("inf")


def position_of(lsn: str) -> int:
    """PostgreSQL's ``16/B374D848`` as a number that grows with the log."""
    high, _, low = lsn.partition("/")
    return (int(high, 16) << 32) + int(low, 16)


@dataclass(frozen=True, slots=True)
class Look:
    """What a look at the replica found: how far it is, and how old what it shows (s; infinite: it does not answer)."""

    replayed: int = 0
    lag_s: float = _LAGS_FOREVER
    reason: str = "not looked yet"


class Replica:
    """Watches the replica from a thread of its own, so that no request waits for one that is dead.

    Its lag is 0 while it has replayed all that the primary has written, else the age of what it replayed last. That holds
    when it has lost the primary too, which it cannot know by itself.
    """

    def __init__(self, engine: Engine, primary: Engine, max_lag_s: float) -> None:
        self.engine = engine
        self.look = Look()
        self._primary = primary
        self._max_lag_s = max_lag_s
        self._watcher: int | None = None
        """The process whose thread watches; a child made by a fork has none."""

    @property
    def is_fresh(self) -> bool:
        """Whether it answers and shows what is at most the limit old."""
        if self._watcher != os.getpid():
            self._watcher = os.getpid()
            threading.Thread(target=self._watch, name="replica-watch", daemon=True).start()
        return self.look.lag_s <= self._max_lag_s

    def has(self, position: int) -> bool:
        """Whether it shows what was written up to ``position``; asks it where it did not a moment ago."""
        return self.is_fresh and (self.look.replayed >= position or self.look_now().replayed >= position)

    def look_now(self) -> Look:
        """Ask both servers how far they are."""
        try:
            with self.engine.connect() as connection:
                row = connection.execute(_REPLICA).one()
        except SQLAlchemyError as error:
            self.look = Look(reason=f"no answer ({type(error).__name__})")
            return self.look
        if not row.is_replica or row.replayed is None:
            self.look = Look(reason="this is no replica: it is not in recovery")
            return self.look
        replayed = position_of(row.replayed)
        behind_s = _LAGS_FOREVER if row.since_s is None else max(0.0, row.since_s)
        lag_s = 0.0 if self._is_all(replayed) else behind_s
        reason = "" if lag_s <= self._max_lag_s else f"{lag_s:.1f} s behind"
        self.look = Look(replayed, lag_s, reason)
        return self.look

    def _is_all(self, replayed: int) -> bool:
        """Whether the primary has written no more; no where it cannot say, because its connections are all in use."""
        try:
            with self._primary.connect() as connection:
                return replayed >= position_of(connection.execute(_PRIMARY).scalar_one())
        except SQLAlchemyError:
            return False

    def failed(self) -> None:
        """A statement on it failed: it is not read again before a look finds it well."""
        self.look = Look(reason="a statement failed")

    def _watch(self) -> None:
        pause = threading.Event()
        while True:
            self.look_now()
            pause.wait(LOOK_EVERY_S)


class Unknown(Exception):
    """Redis cannot say what a caller has written: he reads from the primary."""


class Positions:
    """Up to where in the log each caller has written, for as long as a replica may be behind.

    A key says since when Redis knows of all writes; it is missing after a flush, and set anew after a write that Redis
    was not told of. Until it is old enough nobody's writes are known.
    """

    def __init__(self, client: redis.Redis, kept_s: float, prefix: str = "haven:written") -> None:
        self._client = client
        self._kept_s = max(1, int(kept_s) + 1)
        self._prefix = prefix
        self._has_missed = False

    def wrote(self, caller: str, position: int) -> None:
        """Remember that ``caller`` has written up to ``position``."""
        try:
            self._begin_anew_after_a_miss()
            self._client.set(self._name(caller), position, ex=self._kept_s)
        except redis.RedisError:
            self._has_missed = True

    def of(self, caller: str) -> int:
        """Up to where ``caller`` must see; 0: he has written nothing lately.

        Raises:
            Unknown: Redis does not answer, or has not been told of all writes for long enough.
        """
        try:
            self._begin_anew_after_a_miss()
            # Two slots of a cluster, so no MGET.
            asked = self._client.pipeline(transaction=False)
            asked.get(self._name(caller))
            asked.get(f"{self._prefix}:since")
            position, since = asked.execute()
            if since is None:
                self._client.set(f"{self._prefix}:since", time.time(), nx=True)
        except redis.RedisError as error:
            raise Unknown from error
        if since is None or time.time() - float(since) <= self._kept_s:
            raise Unknown
        return int(position or 0)

    def _begin_anew_after_a_miss(self) -> None:
        if self._has_missed:
            self._client.set(f"{self._prefix}:since", time.time())
            self._has_missed = False

    def _name(self, caller: str) -> str:
        return f"{self._prefix}:{caller}"


class Reading:
    """Where each caller's reads may go. ``positions`` None (no Redis): a process knows of no other's writes: the primary."""

    def __init__(self, primary: Engine, replica: Replica | None, positions: Positions | None) -> None:
        self.replica = replica
        self._primary = primary
        self._positions = positions

    def replica_for(self, caller: str) -> Engine | None:
        """The replica, if it shows all that ``caller`` has written and is fresh enough; None: read from the primary."""
        if self.replica is None or self._positions is None or not self.replica.is_fresh:
            return None
        try:
            return self.replica.engine if self.replica.has(self._positions.of(caller)) else None
        except Unknown:
            return None

    def replica_with_everything(self) -> Engine | None:
        """The replica, if it soon shows all that anybody has committed until now; None: read from the primary.

        For what is kept and shown to others: whatever was cleared before this call must be in it.
        """
        if self.replica is None or not self.replica.is_fresh:
            return None
        position, deadline = self._written(), time.monotonic() + CATCH_UP_S
        while not self.replica.has(position):
            if time.monotonic() >= deadline or not self.replica.is_fresh:
                return None
            time.sleep(_LOOK_AGAIN_S)
        return self.replica.engine

    def wrote(self, caller: str) -> None:
        """``caller`` has committed something on the primary."""
        if self.replica is not None and self._positions is not None:
            self._positions.wrote(caller, self._written())

    def _written(self) -> int:
        """Up to where the primary has written; where it cannot say, beyond all that a replica can have."""
        try:
            with self._primary.connect() as connection:
                return position_of(connection.execute(_WRITTEN).scalar_one())
        except SQLAlchemyError:
            return 2**63

    def gave_up(self, error: DBAPIError) -> bool:
        """Whether ``error`` is the replica's, not the statement's: then it is left alone, and the primary can be asked."""
        code = str(getattr(error.orig, "pgcode", None) or "")
        # 40001: the primary removed rows that the statement was reading. 25006: it is a replica, and this is a write.
        is_replicas = error.connection_invalidated or not code or code[:2] in ("08", "53", "57")
        if is_replicas and self.replica is not None:
            self.replica.failed()
        return is_replicas or code in ("40001", "25006")


def make_reading(
    primary: Engine, replica: Engine | None, client: redis.Redis | None, max_lag_s: float
) -> Reading:
    """Where reads of ``primary`` may go. Connects to nothing.

    Args:
        replica: None: there is none.
        client: the Redis where the processes tell each other who wrote what; None: nowhere.
        max_lag_s: a replica further behind is not read.
    """
    if replica is None:
        return Reading(primary, None, None)
    # Twice the lag that is allowed: by then what was written is there, or the replica is not read.
    positions = None if client is None else Positions(client, max_lag_s * 2)
    return Reading(primary, Replica(replica, primary, max_lag_s), positions)
