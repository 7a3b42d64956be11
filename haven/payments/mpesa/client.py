"""Calls to M-Pesa (Daraja): push a payment to a phone, ask what became of it.

The rule that shapes this file: **a push is never sent twice**. M-Pesa has no idempotency, so a second POST rings
the phone a second time. Only a call the provider refused because of its token is repeated, once. Everything
that leaves it open whether the phone rang is :class:`PushUnknown`, and only the callback or a query settles it.
"""

from __future__ import annotations

import base64
import re
import ssl
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from functools import cache
from typing import Any, Final

import httpcore  # noqa: F401  httpx imports it with its first client: that would be in each job's process anew
import httpx

from extensions.circuit_breaker.breaker import Breaker, CircuitOpen
from haven.payments.mpesa.answers import (
    AccessToken,
    Fault,
    FaultKind,
    PushAccepted,
    QueryAnswer,
    is_outage,
    read_fault,
    read_push,
    read_query,
    read_token,
    redact,
)
from haven.payments.mpesa.eat import stamp
from haven.payments.mpesa.tokens import TokenStore
from haven.payments.phones import InvalidPhone, msisdn

OAUTH_PATH: Final = "/oauth/v1/generate"
PUSH_PATH: Final = "/mpesa/stkpush/v1/processrequest"
QUERY_PATH: Final = "/mpesa/stkpushquery/v1/query"
MAX_AMOUNT: Final = 250_000
"""Shillings M-Pesa takes in one payment (Daraja documentation)."""
CIRCUIT_OPEN: Final = "CIRCUIT_OPEN"
"""The code of a call that was not made, because M-Pesa has not answered of late."""
BUSY_WAIT_S: Final = 60
"""Seconds to leave a locked subscriber alone (Daraja documentation: at least one minute)."""
_MAX_ANSWER_BYTES: Final = 256 * 1024
_REFERENCE: Final = re.compile(r"[A-Za-z0-9]{1,12}", re.ASCII)
_UNFIT_FOR_PROMPT: Final = re.compile(r"[^A-Za-z0-9 .,/-]", re.ASCII)
_NEVER_SENT: Final = (
    httpx.ConnectError,
    httpx.ConnectTimeout,
    httpx.PoolTimeout,
    httpx.UnsupportedProtocol,
    httpx.ProxyError,
    httpx.InvalidURL,
)

_TLS_LOCK: Final = threading.Lock()


class MpesaError(Exception):
    """A push that was not accepted. ``code`` is the provider's (or Haven's own), ``message`` is fit for a log."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(f"{code}: {message}")
        self.code = code
        self.message = message


class PushRejected(MpesaError):
    """Final: the phone did not ring. ``is_configuration``: credentials, shortcode or address; staff must act."""

    def __init__(self, code: str, message: str, *, is_configuration: bool = False) -> None:
        super().__init__(code, message)
        self.is_configuration = is_configuration


class PushNotSent(PushRejected):
    """The push never left Haven, or was turned away at the gate: it may be tried again later."""

    def __init__(self, code: str, message: str, *, retry_after_s: int = 5) -> None:
        super().__init__(code, message)
        self.retry_after_s = retry_after_s


class PushNotCalled(PushNotSent):
    """M-Pesa has not answered of late and is left alone for ``retry_after_s`` seconds: nothing was sent."""


class PushBusy(PushRejected):
    """The payer has another M-Pesa request open; ask again after ``retry_after_s`` seconds."""

    def __init__(self, code: str, message: str, *, retry_after_s: int = BUSY_WAIT_S) -> None:
        super().__init__(code, message)
        self.retry_after_s = retry_after_s


class CallFailed(MpesaError):
    """A call other than a push came to nothing; asked again later it does no harm."""


class PushUnknown(MpesaError):
    """No answer that settles it: the phone may have rung. Wait for the callback; never push again on this."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What M-Pesa answered: the HTTP status, headers and body."""

    status: int
    headers: httpx.Headers
    body: bytes


class _TokenRefused(Exception):
    def __init__(self, fault: Fault) -> None:
        super().__init__(fault.code)
        self.fault = fault


class MpesaClient:
    """Daraja for one shortcode. Safe to share between threads; :meth:`close` it, or use it in a ``with``.

    Args:
        base_url: ``https://api.safaricom.co.ke``, the sandbox, or Haven's simulator.
        consumer_key: of the Daraja application.
        consumer_secret: of the Daraja application.
        shortcode: paybill number, or the store number of a till.
        passkey: of the shortcode.
        timeout_s: seconds for a whole call, connecting and reading.
        redis: holds the shared token; None keeps it in this process.
        till: the till number, where money goes to a till and not to a paybill.
        breaker: keeps calls from an M-Pesa that does not answer; None: every call is made.
        now: the clock, aware.
    """

    def __init__(
        self,
        base_url: str,
        consumer_key: str,
        consumer_secret: str,
        shortcode: str,
        passkey: str,
        timeout_s: float = 10.0,
        redis: Any = None,
        *,
        till: str | None = None,
        breaker: Breaker | None = None,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._base_url = base_url.rstrip("/")
        self._credentials = httpx.BasicAuth(consumer_key, consumer_secret)
        self._shortcode = shortcode
        self._passkey = passkey
        self._timeout_s = timeout_s
        self._till = till
        self._breaker = breaker
        self._now = now
        # A kept-alive connection the other side has just closed fails after the push was written, and nobody can
        # tell whether it rang. A new connection for each call costs a handshake and leaves no such doubt.
        self._http = httpx.Client(
            timeout=timeout_s, limits=httpx.Limits(max_keepalive_connections=0), verify=_tls()
        )
        identity = f"{self._base_url}\n{consumer_key}\n{consumer_secret}"
        self._tokens = TokenStore(identity, self._fetch_token, redis, lock_s=timeout_s + 1)

    def __enter__(self) -> MpesaClient:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    def sign_in(self) -> None:
        """Have an access token: the one that all processes share, or a new one where there is none.

        Raises:
            PushRejected: the credentials are refused; its kind PushNotSent: no answer.
        """
        self._tokens.get()

    def push(
        self, phone: str, amount: Decimal, reference: str, description: str, callback_url: str
    ) -> PushAccepted:
        """Ask the owner of ``phone`` to pay ``amount`` shillings.

        Args:
            phone: any Kenyan mobile form.
            amount: whole shillings, 1 to 250,000.
            reference: one to twelve letters and digits, shown in the prompt.
            description: shown by some phones; cut at thirteen characters.
            callback_url: where M-Pesa says what became of it.

        Raises:
            PushRejected: final, the phone did not ring; its kinds PushBusy and PushNotSent say when to try again.
            PushUnknown: no answer that settles it: it may have rung.
        """
        request = self._push_body(phone, amount, reference, description, callback_url)
        try:
            answer = self._authorised(PUSH_PATH, request)
        except CircuitOpen as refused:
            raise _not_called(refused) from refused
        except _NEVER_SENT as error:
            raise PushNotSent("NOT_SENT", f"M-Pesa cannot be reached ({type(error).__name__})") from error
        except httpx.HTTPError as error:
            raise PushUnknown("NO_ANSWER", f"no answer to a push ({type(error).__name__})") from error
        except _TokenRefused as refused:
            raise PushRejected(refused.fault.code, refused.fault.message, is_configuration=True) from refused
        return _settled_push(answer)

    def query(self, checkout_request_id: str) -> QueryAnswer:
        """What became of a push. Whatever goes wrong on the way is ``PENDING``: no answer is not a failure.

        ``code`` is ``CIRCUIT_OPEN`` where M-Pesa was not asked at all.
        """
        body = {**self._signed(), "CheckoutRequestID": checkout_request_id}
        try:
            answer = self._authorised(QUERY_PATH, body)
        except (CircuitOpen, PushNotCalled) as refused:
            return QueryAnswer("PENDING", CIRCUIT_OPEN, str(refused), refused.retry_after_s)
        except httpx.HTTPError as error:
            return QueryAnswer("PENDING", "NO_ANSWER", f"no answer to a query ({type(error).__name__})")
        except _TokenRefused as refused:
            return QueryAnswer("PENDING", refused.fault.code, refused.fault.message)
        except PushRejected as refused:
            return QueryAnswer("PENDING", refused.code, refused.message)
        if answer.status == 200:
            return read_query(answer.body, checkout_request_id)
        fault = read_fault(answer.status, answer.headers, answer.body)
        return QueryAnswer("PENDING", fault.code, fault.message, fault.retry_after_s)

    def call(self, path: str, body: dict[str, str | int]) -> Answer:
        """POST to another API of Daraja, one that may be asked twice.

        Raises:
            MpesaError: no answer, no token, or the token is refused. Any other answer is the caller's to read.
        """
        try:
            return self._authorised(path, body)
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            raise CallFailed("NO_ANSWER", f"no answer from M-Pesa ({type(error).__name__})") from error
        except _TokenRefused as refused:
            raise CallFailed(refused.fault.code, refused.fault.message) from refused

    def _push_body(
        self, phone: str, amount: Decimal, reference: str, description: str, callback_url: str
    ) -> dict[str, str | int]:
        """The request of a push, or PushRejected for what M-Pesa would refuse or, worse, round."""
        if not amount.is_finite() or amount != amount.to_integral_value() or not 1 <= amount <= MAX_AMOUNT:
            raise PushRejected(
                "INVALID_AMOUNT",
                f"the amount must be whole shillings from 1 to {MAX_AMOUNT:,}; found {amount}",
            )
        if not _REFERENCE.fullmatch(reference):
            raise PushRejected(
                "INVALID_REFERENCE", "the account reference must be 1 to 12 letters and digits without spaces"
            )
        try:
            payer = msisdn(phone)
        except InvalidPhone as error:
            raise PushRejected("INVALID_PHONE", str(error)) from error
        return {
            **self._signed(),
            "TransactionType": "CustomerBuyGoodsOnline" if self._till else "CustomerPayBillOnline",
            "Amount": int(amount),
            "PartyA": payer,
            "PartyB": self._till or self._shortcode,
            "PhoneNumber": payer,
            "CallBackURL": callback_url,
            "AccountReference": reference,
            "TransactionDesc": _UNFIT_FOR_PROMPT.sub("", description)[:13].strip() or "Payment",
        }

    def _signed(self) -> dict[str, str | int]:
        """Shortcode, Timestamp (Nairobi time) and the Password that is made from the two and the passkey."""
        timestamp = stamp(self._now())
        password = base64.b64encode(f"{self._shortcode}{self._passkey}{timestamp}".encode()).decode()
        return {"BusinessShortCode": self._shortcode, "Password": password, "Timestamp": timestamp}

    def _authorised(self, path: str, body: dict[str, str | int]) -> Answer:
        """POST with the shared token; where just the token is refused, once more with a new one."""
        answer, fault = self._post(path, body)
        if fault is not None:
            answer, fault = self._post(path, body)
        if fault is not None:
            raise _TokenRefused(fault)
        return answer

    def _post(self, path: str, body: dict[str, str | int]) -> tuple[Answer, Fault | None]:
        """The answer, and the fault when it is that the token is refused (the token is then forgotten)."""
        token = self._tokens.get()
        answer = self._call("POST", path, json=body, headers={"Authorization": f"Bearer {token}"})
        if answer.status < 400:
            return answer, None
        fault = read_fault(answer.status, answer.headers, answer.body)
        if fault.kind is not FaultKind.AUTHENTICATION:
            return answer, None
        self._tokens.discard(token)
        return answer, fault

    def _fetch_token(self) -> AccessToken:
        """A new token. Nothing has rung when it cannot be had, so every failure here is of the kind not sent."""
        try:
            answer = self._call(
                "GET", OAUTH_PATH, params={"grant_type": "client_credentials"}, auth=self._credentials
            )
        except CircuitOpen as refused:
            raise _not_called(refused) from refused
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            raise PushNotSent("NO_TOKEN", f"no access token from M-Pesa ({type(error).__name__})") from error
        token = read_token(answer.body) if answer.status == 200 else None
        if token is not None:
            return token
        fault = read_fault(answer.status, answer.headers, answer.body)
        if answer.status >= 500 or answer.status == 429:
            raise PushNotSent(fault.code, f"no access token: {fault.message}")
        raise PushRejected(fault.code, f"no access token: {fault.message}", is_configuration=True)

    def _call(self, method: str, path: str, **request: Any) -> Answer:
        """One call, unless the circuit is open. What M-Pesa refuses for a reason is an answer as good as any."""
        if self._breaker is None:
            return self._exchange(method, path, **request)
        with self._breaker.calling(lambda error: isinstance(error, httpx.TransportError)) as call:
            answer = self._exchange(method, path, **request)
            if is_outage(answer.status, answer.headers, answer.body):
                call.fail()
        return answer

    def _exchange(self, method: str, path: str, **request: Any) -> Answer:
        """One call within ``timeout_s`` from its start to its last byte: httpx limits only each single wait."""
        ends_at = time.monotonic() + self._timeout_s
        body = bytearray()
        with self._http.stream(method, self._base_url + path, **request) as response:
            for part in response.iter_bytes():
                body += part
                if len(body) > _MAX_ANSWER_BYTES:
                    raise httpx.ReadError("the answer is too long")
                if time.monotonic() > ends_at:
                    raise httpx.ReadTimeout("the answer took too long")
        return Answer(response.status_code, response.headers, bytes(body))


def account_reference(text: str) -> str:
    """The letters and digits of ``text`` in upper case, at most twelve: ``"Unit G-70"`` is ``"UNITG70"``.

    Raises:
        ValueError: none is left, or more than twelve: cut short, it might name another account.
    """
    reference = re.sub(r"[^A-Z0-9]", "", text.upper())
    if not _REFERENCE.fullmatch(reference):
        raise ValueError("an account reference has 1 to 12 letters and digits")
    return reference


def _settled_push(answer: Answer) -> PushAccepted:
    """What the answer to a push means: accepted, or the error that says whether the phone may have rung."""
    if answer.status == 200:
        read = read_push(answer.body)
        if isinstance(read, PushAccepted):
            return read
        if read is None:
            raise PushUnknown("UNREADABLE", "the answer to a push cannot be read")
        raise PushRejected(read.code, read.message)
    fault = read_fault(answer.status, answer.headers, answer.body)
    raise _error_of(fault)


def _not_called(refused: CircuitOpen) -> PushNotCalled:
    return PushNotCalled(CIRCUIT_OPEN, str(refused), retry_after_s=refused.retry_after_s)


def _error_of(fault: Fault) -> MpesaError:
    if fault.kind is FaultKind.UNCLEAR:
        return PushUnknown(fault.code, fault.message)
    if fault.kind is FaultKind.BUSY:
        return PushBusy(fault.code, fault.message, retry_after_s=fault.retry_after_s or BUSY_WAIT_S)
    if fault.kind is FaultKind.THROTTLED:
        return PushNotSent(fault.code, fault.message, retry_after_s=fault.retry_after_s or BUSY_WAIT_S)
    return PushRejected(
        fault.code, redact(fault.message), is_configuration=fault.kind is FaultKind.CONFIGURATION
    )


def _tls() -> ssl.SSLContext:
    """One TLS context for all clients of the process: each one made reads every root certificate again (30 ms).

    Under a lock: of twenty who pay first of all, each would make one.
    """
    with _TLS_LOCK:
        return _new_tls()


@cache
def _new_tls() -> ssl.SSLContext:
    return httpx.create_ssl_context()
