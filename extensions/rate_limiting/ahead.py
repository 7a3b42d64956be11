"""Counting a request before Flask has it, by a command that goes to Redis together with others.

Whoever does so leaves the outcome in the WSGI environment. Should the request go on to the app after all, it is not counted
a second time.
"""

from __future__ import annotations

from collections.abc import MutableMapping
from typing import Any, Final, NamedTuple

from extensions.rate_limiting.counting import Rules, Verdict, verdict_of

_COUNTED: Final = "rate_limiting.counted"
Environ = MutableMapping[str, Any]


class Ahead(NamedTuple):
    """The command that counts one request of ``caller`` in the limits ``rules``, and what ``RateLimit-Policy`` says of them."""

    caller: str
    rules: Rules
    command: bytes
    policy: str

    def counted(self, environ: Environ, answer: Any) -> Verdict | None:
        """The verdict in Redis's answer; None where the answer is an error: nothing was counted."""
        if not isinstance(answer, list):
            return None
        verdict = verdict_of(self.rules, answer)
        environ[_COUNTED] = (self.caller, self.rules, verdict)
        return verdict


def take_counted(environ: Environ, caller: str, rules: Rules) -> Verdict | None:
    """What was counted ahead for this request, once; None where nothing was, or not this."""
    counted_caller, counted_rules, verdict = environ.pop(_COUNTED, (None, None, None))
    is_this = counted_caller == caller and tuple(counted_rules or ()) == tuple(rules)
    return verdict if is_this else None
