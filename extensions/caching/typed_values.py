"""Values that come back from JSON as they went in: for code that cannot tell a stored value from one just computed.

A ``Decimal`` is a ``Decimal`` again, a tuple a tuple, an answer an answer. JSON's own types are themselves; any other is
``{"$type": …}``; a dict that could be taken for such a one, or whose keys are not text, is ``{"$dict": [[key, value], …]}``.
Only what is listed here can be stored: nothing is pickled, and nothing comes back as something like it.
"""

from __future__ import annotations

import datetime as dt
import math
import uuid
from base64 import b64decode, b64encode
from collections.abc import Callable
from decimal import Decimal
from typing import Any, Final

from flask import Response
from markupsafe import Markup
from werkzeug.wrappers import Response as AnyResponse

_MARK: Final = "$"
_ITSELF: Final = (str, int, bool, type(None))


def encode(value: Any) -> Any:
    """``value`` in JSON's own types.

    Raises:
        TypeError: something in it is of a type that could not be given back.
    """
    kind = type(value)
    if kind in _ITSELF or (kind is float and math.isfinite(value)):
        return value
    if kind is list:
        return [encode(one) for one in value]
    if kind is dict:
        return _dict(value)
    if isinstance(value, AnyResponse):
        return {"$Response": _answer(value)}
    if kind not in _TYPES:
        known = ", ".join(sorted(one.__name__ for one in _TYPES))
        raise TypeError(
            f"a value of type {kind.__name__} cannot be stored: it would not come back from JSON as it is. "
            f"Besides JSON's own types there are {known}, and answers."
        )
    return {f"{_MARK}{kind.__name__}": _TYPES[kind][0](value)}


def decode(stored: Any) -> Any:
    """What ``encode`` was given."""
    if isinstance(stored, list):
        return [decode(one) for one in stored]
    if not isinstance(stored, dict):
        return stored
    if len(stored) == 1:
        ((name, held),) = stored.items()
        if name[:1] == _MARK:
            return _NAMED[name[1:]](held)
    return {key: decode(one) for key, one in stored.items()}


def is_storable(value: Any) -> bool:
    """Whether a view's answer may be given to others: it is whole, sets nobody's cookie, and is no error that was raised.

    (What is made of an exception is for the app's error handlers to say each time.)
    """
    if type(value) is tuple:
        return all(map(is_storable, value))
    if isinstance(value, AnyResponse):
        return not (value.is_streamed or value.direct_passthrough or "Set-Cookie" in value.headers)
    return not isinstance(value, BaseException)


def _dict(value: dict[Any, Any]) -> dict[str, Any]:
    is_plain = all(type(key) is str for key in value)
    if is_plain and not (len(value) == 1 and next(iter(value))[:1] == _MARK):
        return {key: encode(one) for key, one in value.items()}
    return {"$dict": [[encode(key), encode(one)] for key, one in value.items()]}


def _answer(value: AnyResponse) -> list[Any]:
    return [value.status, [list(pair) for pair in value.headers.items()], _text(value.get_data())]


def _answer_again(held: list[Any]) -> Response:
    status, headers, body = held
    return Response(b64decode(body), status, [(name, one) for name, one in headers])


def _text(value: bytes) -> str:
    return b64encode(value).decode()


def _each(value: Any) -> list[Any]:
    return [encode(one) for one in value]


_TYPES: Final[dict[type, tuple[Callable[[Any], Any], Callable[[Any], Any]]]] = {
    float: (str, float),
    Decimal: (str, Decimal),
    Markup: (str, Markup),
    bytes: (_text, b64decode),
    uuid.UUID: (str, uuid.UUID),
    dt.datetime: (dt.datetime.isoformat, dt.datetime.fromisoformat),
    dt.date: (dt.date.isoformat, dt.date.fromisoformat),
    dt.time: (dt.time.isoformat, dt.time.fromisoformat),
    dt.timedelta: (
        lambda value: [value.days, value.seconds, value.microseconds],
        lambda held: dt.timedelta(*held),
    ),
    tuple: (_each, lambda held: tuple(map(decode, held))),
    set: (_each, lambda held: set(map(decode, held))),
    frozenset: (_each, lambda held: frozenset(map(decode, held))),
}
"""Type → to JSON, and back. An aware time comes back with its distance from UTC in place of its zone."""
_NAMED: Final[dict[str, Callable[[Any], Any]]] = {
    **{kind.__name__: back for kind, (_, back) in _TYPES.items()},
    "dict": lambda held: {decode(key): decode(one) for key, one in held},
    "Response": _answer_again,
}
