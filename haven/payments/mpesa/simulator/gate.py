"""Who may call: OAuth tokens, and the shortcode, timestamp and password of a request."""

from __future__ import annotations

import base64
import hmac
import re
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from flask import Request

from haven.payments.mpesa.eat import moment_of
from haven.payments.mpesa.simulator import identifiers
from haven.payments.mpesa.simulator.answers import DarajaError, invalid
from haven.payments.mpesa.simulator.identifiers import Chance
from haven.payments.mpesa.simulator.options import Merchant
from haven.payments.mpesa.simulator.world import World

_SHORTCODE: Final = re.compile(r"[0-9]{5,7}", re.ASCII)
_DEAD_TOKENS_KEPT: Final = 10_000


class Gate:
    """Gives out tokens and checks what callers show."""

    def __init__(self, world: World, chance: Chance) -> None:
        self._world = world
        self._chance = chance

    def new_token(self, request: Request) -> dict[str, Any]:
        """The answer to an OAuth call. A new token ends the one before it.

        ``expires_in`` is in turn a text and a number, as the older and the newer documentation have it.
        """
        if request.args.get("grant_type") != "client_credentials":
            raise DarajaError(400, "400.008.02", "Invalid grant type passed")
        merchant = self._caller(request)
        with self._world.lock:
            self._world.tokens_made += 1
            token = identifiers.access_token(self._chance.of("token", self._world.tokens_made))
            self._end_tokens_of(merchant)
            life_s = self._world.options.token_life_s
            self._world.tokens[token] = (merchant, datetime.now(UTC) + timedelta(seconds=life_s))
            is_text = self._world.tokens_made % 2 == 1
        seconds = max(1, int(life_s) - 1)
        return {"access_token": token, "expires_in": str(seconds) if is_text else seconds}

    def merchant(self, request: Request) -> tuple[Merchant, str]:
        """The business behind a bearer token, and the token."""
        scheme, _, token = request.headers.get("Authorization", "").partition(" ")
        if scheme.lower() != "bearer" or not token:
            raise DarajaError(404, "404.001.04", "Invalid Authentication Header")
        with self._world.lock:
            known = self._world.tokens.get(token)
            is_dead = token in self._world.dead_tokens
        if known is not None and known[1] > datetime.now(UTC):
            return known[0], token
        if known is not None or is_dead:
            raise DarajaError(404, "404.001.03", "Invalid Access Token")
        raise DarajaError(401, "401.002.01", f"Error Occurred - Invalid Access Token - {token[:100]}")

    def end_token(self, token: str) -> None:
        """Let a token die before its time."""
        with self._world.lock:
            if self._world.tokens.pop(token, None) is not None:
                self._bury(token)

    def body(self, request: Request) -> dict[str, Any]:
        """The JSON object of a request. A form gives the same odd error as the real one."""
        if request.mimetype != "application/json":
            raise invalid("BusinessShortCode")
        body = request.get_json(silent=True)
        if not isinstance(body, dict):
            raise DarajaError(400, "400.002.05", "Invalid Request Payload")
        return body

    def check_signature(self, body: dict[str, Any], merchant: Merchant) -> None:
        """BusinessShortCode, Timestamp and Password: well formed, and right together."""
        shortcode = field(body, "BusinessShortCode")
        if not _SHORTCODE.fullmatch(shortcode):
            raise invalid("BusinessShortCode")
        timestamp = field(body, "Timestamp")
        if moment_of(timestamp) is None:
            raise invalid("Timestamp")
        if not field(body, "Password"):
            raise invalid("Password")
        if shortcode != merchant.shortcode:
            raise DarajaError(500, "500.001.1001", "[MerchantValidate] - Merchant does not exist")
        expected = base64.b64encode(f"{shortcode}{merchant.passkey}{timestamp}".encode())
        if not hmac.compare_digest(expected, field(body, "Password").encode()):
            raise DarajaError(500, "500.001.1001", "[MerchantValidate] - Wrong credentials")

    def _caller(self, request: Request) -> Merchant:
        shown = request.authorization
        if shown is None or shown.type != "basic":
            raise DarajaError(400, "400.008.01", "Invalid Authentication passed")
        with self._world.lock:
            merchant = self._world.merchants.get(shown.username or "")
        secret = (shown.password or "").encode()
        if merchant is None or not hmac.compare_digest(merchant.consumer_secret.encode(), secret):
            raise DarajaError(400, "400.008.01", "Invalid Authentication passed")
        return merchant

    def _end_tokens_of(self, merchant: Merchant) -> None:
        for token in [token for token, (owner, _) in self._world.tokens.items() if owner == merchant]:
            del self._world.tokens[token]
            self._bury(token)

    def _bury(self, token: str) -> None:
        if len(self._world.dead_tokens) >= _DEAD_TOKENS_KEPT:
            self._world.dead_tokens.clear()
        self._world.dead_tokens.add(token)


def field(body: dict[str, Any], name: str) -> str:
    """A field of a request as text; numbers and texts are both taken, as the real one takes them."""
    value = body.get(name)
    if isinstance(value, bool) or not isinstance(value, (str, int)):
        return ""
    return str(value).strip()
