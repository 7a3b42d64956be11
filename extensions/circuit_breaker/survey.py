"""Every circuit that any process has used: for whoever looks after them all from one process."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from redis import RedisError

from extensions.circuit_breaker.breaker import Breakers
from extensions.circuit_breaker.rules import Standing
from extensions.circuit_breaker.shared import enrolled, standings

MOST: Final = 200


@dataclass(frozen=True, slots=True)
class Seen:
    """One circuit. ``is_shared``: over all processes; else it is this one's own. ``counts``: what this process made of it."""

    name: str
    standing: Standing
    is_shared: bool
    counts: Mapping[str, int]


def survey(breakers: Breakers, most: int = MOST) -> list[Seen]:
    """The circuits by name: those of this process, and the latest ``most`` of all; its own alone while Redis is away."""
    own = {one.name: one for one in breakers}
    shared: dict[str, Standing] = {}
    if breakers.redis is not None:
        try:
            names = [*own, *enrolled(breakers.redis, most)]
            shared = standings(breakers.redis, dict.fromkeys(names), breakers.rules)
        except RedisError:
            shared = {}
    seen = [
        Seen(name, standing, True, dict(own[name].counts) if name in own else {})
        for name, standing in shared.items()
        if name not in own or own[name].is_shared
    ]
    known = {one.name for one in seen}
    seen += [
        Seen(one.name, one.standing_here(), False, dict(one.counts))
        for one in own.values()
        if one.name not in known
    ]
    return sorted(seen, key=lambda one: one.name)
