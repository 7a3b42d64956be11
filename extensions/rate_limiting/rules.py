"""What is limited: rules, and the classes of routes that have one of their own. Plain data, no Flask, no Redis."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from limits import parse

DEFAULT: Final = "default"
"""The class that every request counts in."""
RULE_PATTERN: Final = r"^[1-9][0-9]{0,7} per ([1-9][0-9]{0,3} )?(second|minute|hour)s?$"
_SHAPE: Final = re.compile(RULE_PATTERN)
_LONGEST_WINDOW_MS: Final = 86_400_000


@dataclass(frozen=True, slots=True)
class Rule:
    """At most ``amount`` requests in any ``window_ms``."""

    amount: int
    window_ms: int

    def __str__(self) -> str:
        seconds = self.window_ms / 1000
        return f"{self.amount} per {seconds:g} seconds"

    @classmethod
    def parse(cls, text: str) -> Rule:
        """The rule that ``text`` says: ``30 per minute``, ``5 per 10 seconds``.

        Raises:
            ValueError: it says none, or one with a window over a day.
        """
        if not _SHAPE.fullmatch(text):
            raise ValueError(f"{text!r} is no limit: write one like `30 per minute` or `5 per 10 seconds`.")
        item = parse(text)
        if item.get_expiry() * 1000 > _LONGEST_WINDOW_MS:
            raise ValueError(f"{text!r} has a window over a day.")
        return cls(item.amount, item.get_expiry() * 1000)


@dataclass(frozen=True, slots=True)
class RouteClass:
    """Routes with a limit of their own, beside the one that all requests share.

    ``routes`` are beginnings of ``METHOD /rule``, the rule as Flask has it. ``share`` is the part of the default limit that
    the class may have, so that one setting moves all. ``by_address`` counts by address also those who are signed in: for
    routes that tell who one is.
    """

    name: str
    share: float
    routes: tuple[str, ...]
    by_address: bool = False

    def rule(self, default: Rule) -> Rule:
        """The rule of the class where nothing else is said."""
        return Rule(max(1, round(default.amount * self.share)), default.window_ms)


class Limits:
    """Which rules a request has: those of the settings, with what an operator has said in their place."""

    def __init__(self, default: Rule, classes: Sequence[RouteClass] = ()) -> None:
        self.classes = tuple(classes)
        self.settings: dict[str, Rule] = {DEFAULT: default} | {one.name: one.rule(default) for one in classes}
        self.overrides: dict[str, Rule] = {}
        self._class_of: dict[str, RouteClass | None] = {}

    def override(self, texts: Mapping[str, str]) -> None:
        """Put what an operator has said in force, all of it at once. What is no rule, or of no class, is left out."""
        self.overrides = {
            name: Rule.parse(text)
            for name, text in texts.items()
            if name in self.settings and _SHAPE.fullmatch(text)
        }

    def class_of(self, route: str) -> RouteClass | None:
        """The class of a route such as ``POST /api/v1/auth/login``; None: the default one alone."""
        try:
            return self._class_of[route]
        except KeyError:
            found = next((one for one in self.classes if route.startswith(one.routes)), None)
            self._class_of[route] = found
            return found

    def rules_of(self, route_class: RouteClass | None) -> list[tuple[str, Rule]]:
        """Name and rule of each limit that a request of the class counts in, its own first."""
        names = (DEFAULT,) if route_class is None else (route_class.name, DEFAULT)
        return [(name, self.overrides.get(name) or self.settings[name]) for name in names]
