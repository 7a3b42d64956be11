"""Published payloads, disturbed, each with what it must come to. The manifest is the judge, never a parser of ours."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass, replace
from decimal import Decimal
from functools import cache
from typing import Any

from hypothesis import strategies as st

from tests.support.mutation import Members, Number, disturbed_shape, read, retyped, spaced
from tests.unit.payments.corpus import body_of, named

NOT_FINAL = ("4999", "26", "9999", "7777", "nobody-knows")


@dataclass(frozen=True)
class Truth:
    """What a callback must come to: ``paid``, ``failed``, ``pending`` or ``unreadable``.

    ``amount`` and ``receipt`` are None where the body does not say them, or says two of them.
    """

    outcome: str
    amount: Decimal | None = None
    receipt: str | None = None


@dataclass
class Callback:
    """A callback being disturbed."""

    tree: Members
    truth: Truth

    @property
    def inner(self) -> Members:
        return self.tree.get("Body").get("stkCallback")

    @property
    def listed(self) -> list[Any]:
        """The list of items, odd ones with it; empty, and of no use, in a callback without any."""
        metadata = self.inner.get("CallbackMetadata")
        return metadata.get("Item") if metadata else []

    def named(self, name: str | None = None) -> list[Members]:
        """The items of a name, or all that have one."""
        named = [one for one in self.listed if isinstance(one, Members) and one.get("Name")]
        return [one for one in named if name in {None, one.get("Name")}]

    def forget(self, name: str) -> None:
        """The body no longer says this."""
        if name == "Amount":
            self.truth = replace(self.truth, amount=None)
        if name == "MpesaReceiptNumber":
            self.truth = replace(self.truth, receipt=None)


Draw = Callable[..., Any]


def retype(draw: Draw, callback: Callback) -> None:
    """Numbers become texts and texts numbers."""
    callback.inner.pairs = [(name, retyped(draw, value)) for name, value in callback.inner.pairs]
    for item in callback.named():
        is_money = item.get("Name") == "Amount"
        item.pairs = [(name, retyped(draw, value, is_money=is_money)) for name, value in item.pairs]


def reorder_items(draw: Draw, callback: Callback) -> None:
    if callback.listed:
        callback.inner.get("CallbackMetadata").put("Item", draw(st.permutations(callback.listed)))


def add_an_item(draw: Draw, callback: Callback) -> None:
    fee = [("Name", "Fee"), ("Value", Number("9"))]
    callback.listed.append(draw(st.sampled_from([None, "x", [], Number("1")])) or Members(fee))


def lose_what_nobody_needs(draw: Draw, callback: Callback) -> None:
    callback.inner.drop(draw(st.sampled_from(["MerchantRequestID", "ResultDesc"])))


def null_what_nobody_needs(draw: Draw, callback: Callback) -> None:
    callback.inner.put(draw(st.sampled_from(["MerchantRequestID", "ResultDesc"])), None)


def lose_an_item(draw: Draw, callback: Callback) -> None:
    if callback.named():
        name = draw(st.sampled_from(callback.named())).get("Name")
        callback.listed[:] = [one for one in callback.listed if one not in callback.named(name)]
        callback.forget(name)


def empty_an_item(draw: Draw, callback: Callback) -> None:
    """Its value is null, or is not there, as Balance is in real ones."""
    if callback.named():
        name, is_null = draw(st.sampled_from(callback.named())).get("Name"), draw(st.booleans())
        for one in callback.named(name):
            one.put("Value", None) if is_null else one.drop("Value")
        callback.forget(name)


def contradict_an_item(draw: Draw, callback: Callback) -> None:
    """Two values for one thing: neither may be believed."""
    name, other = draw(st.sampled_from([("Amount", Number("987654")), ("MpesaReceiptNumber", "ZZZ9ZZZ9ZZ")]))
    said = [one for one in callback.named(name) if one.get("Value") is not None]
    if not said:
        return
    if draw(st.booleans()):
        callback.listed.insert(draw(st.integers(0, 1)), Members([("Name", name), ("Value", other)]))
    else:
        said[0].pairs.insert(draw(st.integers(0, len(said[0].pairs))), ("Value", other))
    callback.forget(name)


def lose_what_decides(draw: Draw, callback: Callback) -> None:
    name = draw(st.sampled_from(["ResultCode", "CheckoutRequestID"]))
    if draw(st.booleans()):
        callback.inner.drop(name)
    else:
        callback.inner.put(name, draw(st.sampled_from([None, "", True, [], Number("1.5"), Members([])])))
    callback.truth = Truth("unreadable")


def contradict_what_decides(draw: Draw, callback: Callback) -> None:
    """A result code or an id said twice: whichever one reads last must not win."""
    name = draw(st.sampled_from(["ResultCode", "CheckoutRequestID"]))
    if callback.inner.get(name) is None:
        return
    at = draw(st.integers(0, len(callback.inner.pairs)))
    other: Any = draw(st.sampled_from(["1032", "0"])) if name == "ResultCode" else "ws_CO_another"
    if str(callback.inner.get(name)).partition(".")[0] == other:
        other = "1037"
    callback.inner.pairs.insert(at, (name, other))
    callback.truth = Truth("unreadable")


def a_code_that_settles_nothing(draw: Draw, callback: Callback) -> None:
    if callback.truth.outcome == "unreadable":
        return
    callback.inner.put("ResultCode", draw(st.sampled_from(NOT_FINAL)))
    callback.truth = replace(callback.truth, outcome="pending")


HARMLESS = (retype, reorder_items, add_an_item, lose_what_nobody_needs, null_what_nobody_needs)
HARMFUL = (lose_an_item, empty_an_item, contradict_an_item, lose_what_decides, a_code_that_settles_nothing)


@cache
def published() -> tuple[tuple[Members, Truth], ...]:
    """Every published STK callback, and what the manifest says became of it."""
    return tuple((read(body_of(row["file"])), _truth_of(row)) for row in named("stk_callback-"))


def _truth_of(row: dict[str, Any]) -> Truth:
    if row["outcome"] != "paid":
        return Truth(row["outcome"])
    callback = Callback(read(body_of(row["file"])), Truth("paid"))
    (amount,), (receipt,) = callback.named("Amount"), callback.named("MpesaReceiptNumber")
    return Truth("paid", Decimal(amount.get("Value")), receipt.get("Value"))


@st.composite
def disturbed(draw: Draw, tree: Members, truth: Truth) -> tuple[bytes, Truth]:
    """``tree``, a callback, disturbed, and what it must come to."""
    callback = Callback(copy.deepcopy(tree), truth)
    for disturb in draw(st.lists(st.sampled_from(HARMLESS + HARMFUL), max_size=5)):
        disturb(draw, callback)
    disturbed_shape(draw, callback.tree)
    # Last, since it makes of a name two.
    if draw(st.integers(0, 5)) == 0:
        contradict_what_decides(draw, callback)
    return spaced(draw, callback.tree), callback.truth
