"""People who sign in to the demo, with passwords that are made anew in each load and stored only as hashes."""

from __future__ import annotations

import secrets
import uuid
from dataclasses import dataclass, field
from random import Random
from typing import Any, Final

from argon2 import PasswordHasher

from haven.db.base import PLATFORM
from haven.demo import places
from haven.demo.binary import Ids
from haven.demo.calendar import HOUR_MS, instant
from haven.demo.names import person
from haven.demo.people import Numbers
from haven.demo.plan import AgencyPlan, Row, hexed
from haven.demo.tables import Block, text_block
from haven.identity.tokens import NewToken, new_api_key

PLATFORM_ADMIN: Final = "operator@haven.example"
STAFF: Final = (
    ("admin", "AGENCY_ADMIN", "ACTIVE"),
    ("manager", "MANAGER", "ACTIVE"),
    ("estates", "MANAGER", "ACTIVE"),
    ("accounts", "ACCOUNTANT", "ACTIVE"),
    ("viewer", "VIEWER", "ACTIVE"),
    ("former", "MANAGER", "DISABLED"),
)
"""Mailbox, role and status of the people of each agency."""

_TIME_COST: Final = 2
_MEMORY_KIB: Final = 19_456
_SCOPES: Final = "{*}"


@dataclass
class Passwords:
    """A password for each kind of login, and its hash: one hash for a password, however many people share it."""

    words: dict[str, str] = field(default_factory=dict)
    hashes: dict[str, str] = field(default_factory=dict)

    def of(self, role: str) -> str:
        """The kind of login a role has: operators and administrators have passwords of their own."""
        return role if role in ("PLATFORM_ADMIN", "AGENCY_ADMIN") else "STAFF"


def new_passwords() -> Passwords:
    """Passwords nobody can guess: 96 bits each."""
    hasher = PasswordHasher(time_cost=_TIME_COST, memory_cost=_MEMORY_KIB, parallelism=1)
    passwords = Passwords()
    for kind in ("PLATFORM_ADMIN", "AGENCY_ADMIN", "STAFF"):
        passwords.words[kind] = secrets.token_urlsafe(12)
        passwords.hashes[kind] = hasher.hash(passwords.words[kind])
    return passwords


class SignIns:
    """Rows of agencies, users, sign-in addresses and API keys; ``logins`` is what the caller is told."""

    def __init__(self, plans: list[AgencyPlan], seed: int) -> None:
        self._rng = Random(f"{seed}/sign-ins")
        self._ids, self._numbers = Ids(self._rng), Numbers(self._rng)
        self._passwords = new_passwords()
        self._users: list[Row] = []
        self._addresses: list[Row] = []
        self._keys: list[Row] = []
        self._plans = plans
        self._others: list[dict[str, str]] = []
        self._key = ""
        operated_at = plans[0].joined_at() - 24 * HOUR_MS
        self._add_user(PLATFORM.hex, PLATFORM_ADMIN, "PLATFORM_ADMIN", "ACTIVE", operated_at)
        for plan in plans:
            self._add_staff(plan)

    @property
    def logins(self) -> dict[str, Any]:
        """``platform_admin`` and ``agency_admin`` of the first agency, and its ``others``."""
        words = self._passwords.words
        admin = {
            "email": _email(self._plans[0], "admin"),
            "password": words["AGENCY_ADMIN"],
            "api_key": self._key,
        }
        return {
            "platform_admin": {"email": PLATFORM_ADMIN, "password": words["PLATFORM_ADMIN"]},
            "agency_admin": admin,
            "others": self._others,
        }

    def blocks(self) -> list[Block]:
        """The rows, table by table in the order of their foreign keys."""
        agencies: list[Row] = []
        for plan in self._plans:
            at = instant(plan.joined_at())
            agencies.append((plan.agency, places.AGENCIES[plan.number][0], plan.slug, at, at))
        return [
            text_block("agency", agencies),
            text_block("user_account", self._users),
            text_block("sign_in_address", self._addresses),
            text_block("api_key", self._keys),
        ]

    def _add_staff(self, plan: AgencyPlan) -> None:
        for number, (mailbox, role, status) in enumerate(STAFF):
            at = plan.joined_at() + number * 1_000
            email = _email(plan, mailbox)
            user = self._add_user(plan.agency, email, role, status, at)
            if role == "AGENCY_ADMIN":
                self._add_key(plan, user, at + 500)
            elif plan is self._plans[0] and status == "ACTIVE":
                password = self._passwords.words[self._passwords.of(role)]
                self._others.append({"email": email, "role": role, "password": password})

    def _add_user(self, agency: str, email: str, role: str, status: str, at: int) -> str:
        user = hexed(self._ids.at(at))
        password_hash = self._passwords.hashes[self._passwords.of(role)]
        row = (agency, user, email, person(self._rng), self._numbers.phone(), role, status, password_hash)
        self._users.append((*row, instant(at), instant(at)))
        self._addresses.append((email, agency, user))
        return user

    def _add_key(self, plan: AgencyPlan, user: str, at: int) -> None:
        token: NewToken = new_api_key(uuid.UUID(plan.agency))
        key = hexed(self._ids.at(at))
        self._keys.append(
            (plan.agency, key, "Demo", token.prefix, "\\x" + token.hash.hex(), _SCOPES, user, instant(at))
        )
        if plan is self._plans[0]:
            self._key = token.text


def _email(plan: AgencyPlan, mailbox: str) -> str:
    return f"{mailbox}@{plan.slug}.example"
