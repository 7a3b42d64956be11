"""What a caller asks of a report, checked: its kind, days, format and filters."""

from __future__ import annotations

import datetime as dt
import hashlib
import json
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from haven.errors import Fault, Invalid, NotFound

FORMATS: Final = ("json", "xlsx", "pdf")
LONGEST_DAYS: Final = 1_096
"""Three years: what one report reads is bounded."""
_SHAPE: Final = "1"
"""Of the reports this code makes: raised when a figure or a column changes, so that no older file is handed out."""


@dataclass(frozen=True, slots=True)
class Kind:
    """One kind of report: its title, the filters it takes, the one it cannot do without."""

    title: str
    filters: tuple[str, ...]
    needs: str | None = None


KINDS: Final[Mapping[str, Kind]] = {
    "financial": Kind("Financial summary", ("property_id", "owner_id")),
    "rent-roll": Kind("Rent roll", ("property_id", "owner_id")),
    "arrears": Kind("Arrears ageing", ("property_id", "owner_id")),
    "collections": Kind("Collections", ("property_id", "owner_id")),
    "occupancy": Kind("Occupancy", ("property_id", "owner_id")),
    "owner-statement": Kind("Owner statement", ("owner_id",), "owner_id"),
    "tenant-statement": Kind("Tenant statement", ("tenant_id",), "tenant_id"),
}


@dataclass(frozen=True, slots=True)
class Ask:
    """A report that may be made; both days are inclusive, where the agency is."""

    kind: str
    first: dt.date
    last: dt.date
    format: str
    filters: Mapping[str, uuid.UUID]

    def arguments(self) -> dict[str, Any]:
        """As JSON, for a job."""
        return {
            "kind": self.kind,
            "first": self.first.isoformat(),
            "last": self.last.isoformat(),
            "format": self.format,
            "filters": {name: str(value) for name, value in self.filters.items()},
        }

    def key(self, today: dt.date) -> str:
        """The same for two that ask the same on the same day where the agency is: balances and ages are of a day."""
        text = json.dumps([_SHAPE, today.isoformat(), self.arguments()], sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()


def ask_of(arguments: Mapping[str, Any]) -> Ask:
    """The ask whose ``arguments()`` these are."""
    filters = {name: uuid.UUID(value) for name, value in arguments["filters"].items()}
    first, last = (dt.date.fromisoformat(arguments[name]) for name in ("first", "last"))
    return Ask(arguments["kind"], first, last, arguments["format"], filters)


def checked_kind(name: str) -> Kind:
    """Raises ``NotFound``: there is no such kind of report."""
    if name not in KINDS:
        raise NotFound(f"There is no report {name!r}; there are {', '.join(KINDS)}.")
    return KINDS[name]


def checked(
    kind: str, first: dt.date, last: dt.date, form: str, filters: Mapping[str, Any], today: dt.date
) -> Ask:
    """The ask, if every rule is kept.

    Raises:
        NotFound: there is no such kind of report.
        Invalid: naming each field that breaks a rule.
    """
    faults = _faults_of_days(first, last, today) + filter_faults(kind, filters)
    if form not in FORMATS:
        faults.append(Fault("/format", f"must be one of {', '.join(FORMATS)}"))
    refuse(faults)
    return Ask(kind, first, last, form, {name: uuid.UUID(str(value)) for name, value in filters.items()})


def filter_faults(kind: str, filters: Mapping[str, Any]) -> list[Fault]:
    """What is wrong with the filters of a report of this kind."""
    spec = checked_kind(kind)
    known = ", ".join(spec.filters)
    faults = []
    for name, value in filters.items():
        if name not in spec.filters:
            faults.append(Fault(f"/filters/{name}", f"is not a filter of {kind}; it has {known}"))
        elif not _is_id(value):
            faults.append(Fault(f"/filters/{name}", "must be an id"))
    if spec.needs is not None and spec.needs not in filters:
        faults.append(Fault(f"/filters/{spec.needs}", f"must be given: {kind} is of one alone"))
    return faults


def refuse(faults: list[Fault]) -> None:
    """Raise ``Invalid`` if there are faults."""
    if faults:
        raise Invalid(f"{faults[0].pointer.lstrip('/')}: {faults[0].detail}", faults=tuple(faults))


def _faults_of_days(first: dt.date, last: dt.date, today: dt.date) -> list[Fault]:
    if first > last:
        return [Fault("/from", f"must not be after `to`, {last}")]
    if first > today:
        return [Fault("/from", f"must not be after today, {today}")]
    if (last - first).days >= LONGEST_DAYS:
        return [Fault("/to", f"must be less than {LONGEST_DAYS} days after `from`")]
    if not first.year >= 1970 or last.year > 2999:
        return [Fault("/from", "must be from 1970 on")]
    return []


def _is_id(value: Any) -> bool:
    try:
        uuid.UUID(str(value))
    except ValueError:
        return False
    return isinstance(value, str | uuid.UUID)
