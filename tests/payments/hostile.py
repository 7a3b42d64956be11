"""Bodies that a stranger might send to a callback address."""

from __future__ import annotations

from typing import Final

from tests.payments.test_callbacks import CHECKOUT_ID

NESTED: Final = 100_000


def paid_with(amount: str, checkout: str = CHECKOUT_ID) -> bytes:
    """A callback of success whose amount is spelt as given."""
    return (
        f'{{"Body":{{"stkCallback":{{"CheckoutRequestID":"{checkout}","ResultCode":0,"CallbackMetadata":'
        f'{{"Item":[{{"Name":"Amount","Value":{amount}}},{{"Name":"MpesaReceiptNumber","Value":"UKO1ABCDEF"}}]}}'
        "}}}"
    ).encode()


REFUSED: Final = {
    "nothing": b"",
    "no JSON": b"<html><body>503</body></html>",
    "half a JSON": b'{"Body":{"stkCallback":{',
    "two JSONs": b"{}{}",
    "a list": b"[]",
    "a text": b'"paid"',
    "brackets": b"[" * NESTED + b"]" * NESTED,
    "brackets without end": b"[" * NESTED,
    "braces": b'{"a":' * 20_000 + b"1" + b"}" * 20_000,
    "no UTF-8": b'{"Body":"\xff\xfe\xfa"}',
    "NUL": b"\x00" * 100,
    "NUL in a JSON": b'{"Body":\x00{}}',
    "not a number": paid_with("NaN"),
    "infinity": paid_with("-Infinity"),
    "an exponent past Decimal": paid_with("1e9999999999999999999999"),
    "more digits than Python reads": paid_with("9" * 5_000),
    "a member twice": b'{"Body":{"stkCallback":{"CheckoutRequestID":"ws_CO_1","ResultCode":1032,"ResultCode":0}}}',
    "longer than any": b'{"Body":' + b" " * 70_000 + b"}",
    "a lone surrogate": b'{"Body":{"stkCallback":{"CheckoutRequestID":"\\ud800","ResultCode":0}}}',
}
"""What cannot be used: kept, and rejected."""

NEEDS_A_PERSON: Final = {
    "an exponent": paid_with("1e999999"),
    "a small exponent": paid_with("1e-999999"),
    "below nought": paid_with("-25000"),
    "huge": paid_with("9" * 400),
    "a fraction of a cent": paid_with("25000.001"),
    "true": paid_with("true"),
    "a list": paid_with("[25000]"),
    "another amount": paid_with("25000.01"),
    "a comma": paid_with('"2,5000"'),
    "full-width digits": paid_with('"\uff12\uff15\uff10\uff10\uff10"'),
}
"""Said to be paid, with no amount that was asked for."""
