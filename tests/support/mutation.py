"""JSON bodies as a tree that keeps what a parser throws away (order, doubles, spelling), and ways to disturb it.

Each disturbance is honest about what it does: it leaves the meaning alone, or it takes named values away. What a
disturbed body should come to is therefore known without asking the parser that is under test.
"""

from __future__ import annotations

import copy
import json
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from hypothesis import strategies as st

WHOLE = re.compile(r"(0|[1-9][0-9]{0,13})(\.0{1,2})?")


class Number(str):
    """A number as it is spelt."""

    __slots__ = ()


@dataclass
class Members:
    """A JSON object: its members in order, a name perhaps more than once."""

    pairs: list[tuple[str, Any]]

    def names(self) -> list[str]:
        return [name for name, _ in self.pairs]

    def get(self, name: str) -> Any:
        return next((value for key, value in self.pairs if key == name), None)

    def put(self, name: str, value: Any) -> None:
        """Give the member another value, where it stands."""
        self.pairs = [(key, value if key == name else old) for key, old in self.pairs]

    def drop(self, name: str) -> None:
        self.pairs = [(key, value) for key, value in self.pairs if key != name]


def read(body: bytes) -> Any:
    return json.loads(body, object_pairs_hook=Members, parse_int=Number, parse_float=Number)


def write(node: Any, space: str = "") -> bytes:
    return _written(node, space).encode("utf-8", "surrogatepass")


def _written(node: Any, space: str) -> str:
    if isinstance(node, Members):
        inner = f",{space}".join(f"{json.dumps(k)}:{space}{_written(v, space)}" for k, v in node.pairs)
        return f"{{{space}{inner}{space}}}"
    if isinstance(node, list):
        return f"[{space}" + f",{space}".join(_written(one, space) for one in node) + "]"
    return str(node) if isinstance(node, Number) else json.dumps(node)


def objects(node: Any) -> Iterator[Members]:
    """Every object in the tree, the outermost first."""
    if isinstance(node, Members):
        yield node
        for _, value in node.pairs:
            yield from objects(value)
    elif isinstance(node, list):
        for one in node:
            yield from objects(one)


def retyped(draw: Callable[..., Any], value: Any, *, is_money: bool = False) -> Any:
    """The same value in another type: 1, 1.0, 1.00, "1", and for money "1.00"; anything else as it is."""
    if not isinstance(value, str) or not WHOLE.fullmatch(value):
        return value
    whole = value.partition(".")[0]
    spellings = [Number(whole), whole, Number(f"{whole}.0"), Number(f"{whole}.00")]
    if is_money:
        spellings += [f"{whole}.0", f"{whole}.00"]
    return draw(st.sampled_from(spellings))


_NEW = st.text("abcdefghijklmnopqrstuvwxyzQ_", min_size=1, max_size=12).map("x_".__add__)
_JUNK = st.sampled_from(
    [None, "", "text", Number("0"), Number("-1.5"), True, [], Members([]), [None, "é\u0000"]]
)
"""Copy it: a tree that holds one of these twice holds one object twice."""


def shuffle(draw: Callable[..., Any], tree: Any) -> None:
    """The members of every object in another order."""
    for one in objects(tree):
        one.pairs = draw(st.permutations(one.pairs))


def add_fields(draw: Callable[..., Any], tree: Any) -> None:
    """A member nobody knows, anywhere."""
    place = draw(st.sampled_from(list(objects(tree))))
    at = draw(st.integers(0, len(place.pairs)))
    place.pairs.insert(at, (draw(_NEW), copy.deepcopy(draw(_JUNK))))


def double(draw: Callable[..., Any], tree: Any) -> None:
    """A member said twice, with one value."""
    places = [one for one in objects(tree) if one.pairs]
    place = draw(st.sampled_from(places))
    name, value = draw(st.sampled_from(place.pairs))
    place.pairs.insert(draw(st.integers(0, len(place.pairs))), (name, copy.deepcopy(value)))


def disturbed_shape(draw: Callable[..., Any], tree: Any) -> None:
    """Disturb the shape alone, in an order in which what is said twice stays the same both times."""
    for disturb, most in ((add_fields, 2), (double, 2), (shuffle, 1)):
        for _ in range(draw(st.integers(0, most))):
            disturb(draw, tree)


def spaced(draw: Callable[..., Any], tree: Any) -> bytes:
    """The tree as bytes, with blanks of some kind, and a mark of byte order now and then."""
    body = write(tree, draw(st.sampled_from(["", " ", "\n", "\r\n\t "])))
    return draw(st.sampled_from([b"", b"", b"", b"\xef\xbb\xbf"])) + body
