"""What simulated users need before they begin, made once and outside of what is measured: a key each, and rows to choose from.

Keys, because sign-ins are throttled by address and cost a password hash each: a hundred from one machine would measure that.
A key's requests are checked and limited as a signed-in user's are.
"""

from __future__ import annotations

import datetime as dt
import secrets
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Final

from haven.benchmarking.errors import CannotMeasure
from haven.identity.permissions import ROLES
from haven.loadtest.callers import Caller
from haven.loadtest.plan import Plan
from haven.loadtest.site import Site

WRITER: Final = "MANAGER"
READERS: Final = ("ACCOUNTANT", "VIEWER")
_OUTLIVES: Final = dt.timedelta(hours=1)
_PROPERTIES: Final = 200
_LEASES: Final = 4_000
_UNITS: Final = 2_000
_TENANTS: Final = 200
_DELETED_AT_ONCE: Final = 1_000
_DELETIONS_MOST: Final = 100


@dataclass(frozen=True, slots=True)
class Prepared:
    """What users share. ``writers`` and ``readers`` are keys; half of the users write, where the scenario has such."""

    mark: str
    """In the name of all that this load test makes, to find it again."""
    writers: list[str] = field(repr=False)
    readers: list[str] = field(repr=False)
    properties: list[str]
    words: list[str]
    leases: list[dict[str, str]]
    units: list[dict[str, Any]]

    def part(self, number: int, of: int) -> dict[str, Any]:
        """For one of several generators: no key, lease or unit is in two of them."""
        own = {
            name: getattr(self, name)[number::of] or getattr(self, name)
            for name in ("writers", "readers", "leases", "units")
        }
        return {"mark": self.mark, "properties": self.properties, "words": self.words, **own}


@contextmanager
def prepared(site: Site, plan: Plan, say: Callable[[str], None]) -> Iterator[Prepared]:
    """Sign in and prepare; at the end keys are revoked, and rows that bulk operations left behind are removed.

    Raises:
        CannotMeasure: the sign-in is refused, or the agency has too little to choose from.
    """
    with Caller(site.host, site.admin) as admin:
        mark = f"Loadtest {secrets.token_hex(4)}"
        keys: list[tuple[str, str]] = []
        try:
            say(f"Signed in as {admin.email}; making {plan.users} keys")
            yield _prepare(admin, plan, mark, keys)
        finally:
            say(
                "Revoking the keys" + (", removing what is left of bulk rows" if plan.scenario.writes else "")
            )
            _clean_up(admin, plan, mark, keys, say)


def _prepare(admin: Caller, plan: Plan, mark: str, keys: list[tuple[str, str]]) -> Prepared:
    role = admin.get("/auth/me")["role"]
    if role != "AGENCY_ADMIN":
        raise CannotMeasure(
            f"{admin.email} is {role}: load tests need an agency's administrator, who makes keys."
        )
    properties = admin.pages(f"/properties?limit={_PROPERTIES}", _PROPERTIES)
    if not properties:
        raise CannotMeasure("That agency has no property to look at. Load a demo: `haven up --demo large`.")
    tenants = admin.pages(f"/tenants?limit={_TENANTS}", _TENANTS)
    words = sorted(
        {one["full_name"].split()[-1] for one in tenants}
        | {one["location"] for one in properties if one["location"]}
    )
    leases = admin.pages("/leases?status=ACTIVE&limit=200", _LEASES) if plan.scenario.rings else []
    if plan.scenario.rings and not leases:
        raise CannotMeasure("That agency has no active lease to pay for.")
    units = admin.pages("/units?limit=200", _UNITS) if plan.scenario.writes else []
    _make_keys(admin, plan, mark, keys)
    return Prepared(
        mark,
        [secret for _, secret in keys[::2]],
        [secret for _, secret in keys[1::2]] or [keys[0][1]],
        [one["id"] for one in properties],
        words,
        [{"id": one["id"], "rent": one["rent_amount"]} for one in leases],
        [{"id": one["id"], "bedrooms": one["bedrooms"]} for one in units],
    )


def _make_keys(admin: Caller, plan: Plan, mark: str, keys: list[tuple[str, str]]) -> None:
    """A key for each user, of roles in turn; ids and secrets go into ``keys`` at once, so that a break leaves none behind."""
    expires = dt.datetime.now(dt.UTC) + dt.timedelta(seconds=plan.duration_s) + _OUTLIVES
    for number in range(plan.users):
        role = READERS[number // 2 % len(READERS)] if number % 2 else WRITER
        made = admin.ask(
            "POST",
            "/api-keys",
            {
                "name": f"{mark} {number}",
                "scopes": sorted(ROLES[role] & ROLES["AGENCY_ADMIN"]),
                "expires_at": expires.isoformat(),
            },
        )
        keys.append((made["id"], made["secret"]))


def _clean_up(
    admin: Caller, plan: Plan, mark: str, keys: list[tuple[str, str]], say: Callable[[str], None]
) -> None:
    try:
        for key_id, _ in keys:
            admin.ask("DELETE", f"/api-keys/{key_id}")
        if plan.scenario.writes:
            _remove_tenants(admin, mark)
    except CannotMeasure as error:
        say(f"Not everything was cleaned up: {error} Keys end by themselves; tenants are named {mark}.")


def _remove_tenants(admin: Caller, mark: str) -> None:
    """Those that a bulk operation made and was not let remove."""
    word = mark.rsplit(maxsplit=1)[-1]
    for _ in range(_DELETIONS_MOST):
        found = admin.pages(f"/tenants?q={word}&limit=200", _DELETED_AT_ONCE)
        mine = [{"id": one["id"]} for one in found if one["full_name"].startswith(mark)]
        if not mine:
            return
        admin.ask("DELETE", "/tenants/bulk", mine)
