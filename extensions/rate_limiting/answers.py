"""What a caller is told: where he stands, in headers; that he must wait, in a problem document."""

from __future__ import annotations

import re
import time
from collections.abc import Sequence
from functools import lru_cache
from typing import Final

import orjson
from flask import Response, g

from extensions.rate_limiting.counting import Rules, Standing, tightest
from extensions.rate_limiting.strategy import noted

_UNSAFE: Final = re.compile(r"[^ !#-\[\]-~]")
"""What a string in a structured header may not hold."""


def refusal(by: Standing) -> Response:
    """The answer of an app that has no way of its own with errors; ``tell`` adds ``Retry-After`` to whatever is sent."""
    g.rate_limit_refused_by = by
    document = {"type": "about:blank", "title": "Too many requests", "status": 429, "detail": sentence(by)}
    return Response(orjson.dumps(document), 429, content_type="application/problem+json")


def sentence(by: Standing) -> str:
    """What was too much, and how long to wait."""
    return f"The limit `{by.name}` is {by.rule}: wait {_seconds(by.frees_in_ms)} s."


def tell(response: Response) -> Response:
    """Say where the caller stands: in each limit by the IETF's fields, in the tightest one by the ``X-RateLimit`` ones."""
    standings = list(noted().values())
    by: Standing | None = g.pop("rate_limit_refused_by", None)
    if not standings:
        return response
    headers = response.headers
    for name, value in told(standings):
        headers[name] = value
    if response.status_code == 429 and by is not None:
        headers.setdefault("Retry-After", str(_seconds(by.frees_in_ms)))
    # An app context may outlive the request: that of a test does.
    noted().clear()
    return response


def policy_of(rules: Rules) -> str:
    """What ``RateLimit-Policy`` says of limits: the same until an operator changes them."""
    return ", ".join(f"{_quoted(name)};q={rule.amount};w={rule.window_ms // 1000}" for name, rule in rules)


def told(standings: Sequence[Standing], policy: str = "") -> list[tuple[str, str]]:
    """Both families of headers.

    Args:
        policy: ``policy_of`` the standings' limits, where that is at hand.
    """
    least = tightest(standings)
    standing = ", ".join(
        [f"{_quoted(one.name)};r={one.left};t={_seconds(one.frees_in_ms)}" for one in standings]
    )
    return [
        ("RateLimit-Policy", policy or policy_of([(one.name, one.rule) for one in standings])),
        ("RateLimit", standing),
        ("X-RateLimit-Limit", str(least.rule.amount)),
        ("X-RateLimit-Remaining", str(least.left)),
        ("X-RateLimit-Reset", str(int(time.time()) + _seconds(least.frees_in_ms))),
    ]


@lru_cache(maxsize=256)
def _quoted(name: str) -> str:
    return f'"{_UNSAFE.sub("?", name)}"'


def _seconds(ms: int) -> int:
    """Whole seconds, rounded up: who waits that long is not refused again for a rounding."""
    return max(1, -(-ms // 1000))
