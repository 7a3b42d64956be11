"""What every table has: the declarative base, column types and the tenant's keys."""

from __future__ import annotations

import datetime as dt
import uuid
from decimal import Decimal
from typing import Annotated, Any, Final

import uuid_utils
from sqlalchemy import (
    CheckConstraint,
    Computed,
    DateTime,
    ForeignKey,
    ForeignKeyConstraint,
    Index,
    MetaData,
    Numeric,
    PrimaryKeyConstraint,
    Text,
    Uuid,
    func,
)
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import DeclarativeBase, Mapped, declared_attr, mapped_column

PLATFORM = uuid.UUID(int=0)
"""The agency of what belongs to no agency: operators, platform jobs. It is a row of its own, so no key is null."""

Money = Annotated[Decimal, mapped_column(Numeric(14, 2))]
Instant = Annotated[dt.datetime, mapped_column(DateTime(timezone=True))]
Id = Annotated[uuid.UUID, mapped_column(Uuid())]
Name = Annotated[str, mapped_column(Text)]
Json = Annotated[Any, mapped_column(JSONB)]

_NAMES = {
    "ix": "%(table_name)s_%(column_0_N_name)s_idx",
    "uq": "%(table_name)s_%(column_0_N_name)s_key",
    "ck": "%(table_name)s_%(constraint_name)s_check",
    "fk": "%(table_name)s_%(column_0_N_name)s_fkey",
    "pk": "%(table_name)s_pkey",
}


class Base(DeclarativeBase):
    """The base of every model."""

    metadata = MetaData(naming_convention=_NAMES)
    type_annotation_map = {str: Text(), dict[str, Any]: JSONB(), list[Any]: JSONB()}  # noqa: RUF012


def new_id() -> uuid.UUID:
    """A UUIDv7 (RFC 9562): ids rise with time, so creation order is primary-key order."""
    return uuid.UUID(int=uuid_utils.uuid7().int)


ONE_OF: Final = "one_of"
"""What a check made by ``one_of`` says of itself: its column, and the words that may be in it."""


def one_of(column: str, *values: str) -> CheckConstraint:
    """A check that a text column holds one of ``values``.

    Text with a check, not an enum: comparing enums is not leakproof, so under row-level security an index on an enum
    status is not used (10,000 heap blocks read for 87 rows, against 87).
    """
    listed = ", ".join(f"'{value}'" for value in values)
    return CheckConstraint(f"{column} IN ({listed})", name=column, info={ONE_OF: (column, values)})


def owned_key(column: str, target: str, **options: Any) -> ForeignKeyConstraint:
    """A foreign key within the agency: ``(agency_id, column)`` → ``target(agency_id, id)``."""
    return ForeignKeyConstraint(["agency_id", column], [f"{target}.agency_id", f"{target}.id"], **options)


def searchable(*columns: str) -> Any:
    """A stored column of the lower-case text that ``q`` searches in: the given columns or SQL expressions, joined."""
    joined = " || ' ' || ".join(f"coalesce({column}, '')" for column in columns)
    return mapped_column(Text, Computed(f"lower({joined})", persisted=True), deferred=True)


def search_index(table: str) -> Index:
    """The trigram index of ``search``, within an agency (btree_gin gives the uuid its place in a GIN index)."""
    return Index(
        f"{table}_search_idx",
        "agency_id",
        "search",
        postgresql_using="gin",
        postgresql_ops={"search": "gin_trgm_ops"},
    )


class Timestamps:
    """When a row was made and last changed."""

    created_at: Mapped[Instant] = mapped_column(DateTime(timezone=True), server_default=func.now())
    updated_at: Mapped[Instant] = mapped_column(
        DateTime(timezone=True), server_default=func.now(), onupdate=func.now()
    )


class Owned:
    """A row of an agency: primary key ``(agency_id, id)``, walled in by row-level security."""

    agency_id: Mapped[uuid.UUID] = mapped_column(Uuid(), ForeignKey("agency.id"), sort_order=-3)
    id: Mapped[uuid.UUID] = mapped_column(Uuid(), default=new_id, sort_order=-2)

    @declared_attr.directive
    def __table_args__(cls) -> tuple[Any, ...]:  # noqa: N805
        return (PrimaryKeyConstraint("agency_id", "id"), *getattr(cls, "__rules__", ()))


class Versioned(Owned, Timestamps):
    """An owned row that clients change: its version makes the ETag and guards against lost updates."""

    version: Mapped[int] = mapped_column(default=1, server_default="1")

    @declared_attr.directive
    def __mapper_args__(cls) -> dict[str, Any]:  # noqa: N805
        return (
            {"version_id_col": cls.__table__.c.version}
            if hasattr(cls, "__table__")
            else {"version_id_col": cls.version}
        )
