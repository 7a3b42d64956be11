"""The control API: look into the simulator, choose what a phone does, answer it, begin again."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from flask import Blueprint, Response, request
from werkzeug.exceptions import BadRequest, Conflict, NotFound

from haven.payments.mpesa.simulator.answers import json_answer
from haven.payments.mpesa.simulator.courier import Timetable
from haven.payments.mpesa.simulator.express import Express
from haven.payments.mpesa.simulator.options import SANDBOX_PASSKEY, Merchant
from haven.payments.mpesa.simulator.paybill import Paybill
from haven.payments.mpesa.simulator.prompts import MAX_AMOUNT, Action, Prompts
from haven.payments.mpesa.simulator.scenarios import SCENARIOS
from haven.payments.mpesa.simulator.world import World
from haven.payments.phones import InvalidPhone, msisdn

_DEFAULT_LIMIT = 200
_MAX_LIMIT = 10_000


@dataclass(frozen=True, slots=True)
class Control:
    """What the control API acts on."""

    world: World
    timetable: Timetable
    prompts: Prompts
    express: Express
    paybill: Paybill

    def blueprint(self) -> Blueprint:
        """The routes under ``/simulator``."""
        routes = Blueprint("control", __name__, url_prefix="/simulator")
        routes.get("/health")(self.health)
        routes.get("/state")(self.state)
        routes.get("/moved")(self.moved)
        routes.get("/scenarios")(self.scenarios)
        routes.get("/pushes/<name>")(self.push)
        routes.post("/pushes/<name>/answer")(self.answer)
        routes.post("/scenarios")(self.choose)
        routes.post("/mode")(self.set_mode)
        routes.post("/merchants")(self.add_merchant)
        routes.post("/payments")(self.pay)
        routes.post("/reset")(self.reset)
        return routes

    def health(self) -> Response:
        """Up, in which mode, and how much has happened."""
        with self.world.lock:
            return json_answer({"status": "ok", **self._summary()})

    def state(self) -> Response:
        """The latest pushes, callbacks and the answers to them; ``?limit=`` of each (200; at most 10,000)."""
        limit = request.args.get("limit", _DEFAULT_LIMIT, type=int)
        limit = max(1, min(limit, _MAX_LIMIT))
        with self.world.lock:
            return json_answer(
                {
                    **self._summary(),
                    "pushes": [row.as_json() for row in self.world.pushes[-limit:]],
                    "callbacks": [row.as_json() for row in list(self.world.delivered)[-limit:]],
                    "c2b_urls": {
                        shortcode: {"confirmation": urls.confirmation, "validation": urls.validation}
                        for shortcode, urls in self.world.c2b_urls.items()
                    },
                    "paid_out": [row.as_json() for row in self.world.paid_out[-limit:]],
                    "taken_back": dict(self.world.taken_back),
                    "chosen": {phone: scenario.name for phone, scenario in self.world.chosen.items()},
                }
            )

    def moved(self) -> Response:
        """All money that has changed hands: the truth that books are checked against. ``?shortcode=`` narrows."""
        shortcode = request.args.get("shortcode")
        with self.world.lock:
            rows = [row for row in self.world.moved if shortcode in {None, row.shortcode}]
        total = sum(row.amount for row in rows)
        return json_answer(
            {"total": f"{total}.00", "count": len(rows), "payments": [row.as_json() for row in rows]}
        )

    def scenarios(self) -> Response:
        """The table of scenarios."""
        rows = [
            {"name": row.name, "ending": row.ending, "summary": row.summary} for row in SCENARIOS.values()
        ]
        return json_answer({"scenarios": rows})

    def push(self, name: str) -> Response:
        """One push, with the callbacks sent for it."""
        found = self.world.find(name)
        if found is None:
            raise NotFound("no such push")
        with self.world.lock:
            sent = [row.as_json() for row in self.world.delivered if row.push == found.number]
            return json_answer({**found.as_json(), "callbacks": sent})

    def answer(self, name: str) -> Response:
        """Answer a ringing phone: ``{"action": "pay" | "cancel" | "wrong_pin" | "ignore"}``."""
        found = self.world.find(name)
        if found is None:
            raise NotFound("no such push")
        try:
            action = Action(_text(_body(), "action"))
        except ValueError as error:
            raise BadRequest(f"action must be one of {', '.join(Action)}") from error
        if not self.prompts.answer(found, action):
            raise Conflict("the phone no longer rings")
        return json_answer(found.as_json())

    def choose(self) -> Response:
        """Choose what a phone does from now on: ``{"phone", "scenario"}``; an empty scenario undoes it."""
        body = _body()
        phone, name = _phone(body), _text(body, "scenario")
        if name and name not in SCENARIOS:
            raise BadRequest("no such scenario; GET /simulator/scenarios lists them")
        with self.world.lock:
            if name:
                self.world.chosen[phone] = SCENARIOS[name]
            else:
                self.world.chosen.pop(phone, None)
            return json_answer({"phone": phone, "scenario": self.world.scenario(phone).name})

    def set_mode(self) -> Response:
        """``{"mode": "auto" | "manual"}``, for pushes to come."""
        mode = _text(_body(), "mode")
        with self.world.lock:
            if mode == "auto":
                self.world.mode = "auto"
            elif mode == "manual":
                self.world.mode = "manual"
            else:
                raise BadRequest("mode must be auto or manual")
        return json_answer({"mode": mode})

    def add_merchant(self) -> Response:
        """Let another business exist: ``{"consumer_key", "consumer_secret", "shortcode", "passkey"}``."""
        body = _body()
        merchant = Merchant(
            _text(body, "consumer_key"),
            _text(body, "consumer_secret"),
            _text(body, "shortcode"),
            _text(body, "passkey") or SANDBOX_PASSKEY,
        )
        if not (merchant.consumer_key and merchant.consumer_secret and merchant.shortcode.isdigit()):
            raise BadRequest("consumer_key, consumer_secret and a shortcode of digits are needed")
        with self.world.lock:
            self.world.merchants[merchant.consumer_key] = merchant
        return json_answer({"shortcode": merchant.shortcode}, 201)

    def pay(self) -> Response:
        """A payer pays by hand: ``{"phone", "amount", "account", "shortcode"}`` (shillings; shortcode optional)."""
        body = _body()
        amount = body.get("amount")
        if isinstance(amount, bool) or not isinstance(amount, int) or not 1 <= amount <= MAX_AMOUNT:
            raise BadRequest(f"amount must be whole shillings, 1 to {MAX_AMOUNT}")
        merchant = self._merchant(_text(body, "shortcode"))
        receipt = self.paybill.pay(merchant, _phone(body), amount, _text(body, "account")[:20])
        return json_answer({"receipt": receipt}, 201)

    def reset(self) -> Response:
        """Forget pushes, money and choices; businesses, tokens and registered addresses stay."""
        _body()
        self.timetable.clear()
        self.world.forget()
        self.express.forget()
        return json_answer({"status": "ok"})

    def _merchant(self, shortcode: str) -> Merchant:
        with self.world.lock:
            if not shortcode:
                return self.world.options.merchant
            found = next((row for row in self.world.merchants.values() if row.shortcode == shortcode), None)
        if found is None:
            raise BadRequest("no business has this shortcode")
        return found

    def _summary(self) -> dict[str, Any]:
        return {
            "mode": self.world.mode,
            "speed": self.world.options.speed,
            "push_count": len(self.world.pushes),
            "ringing": len(self.world.ringing),
            "moved_total": f"{sum(self.world.balances.values())}.00",
            "moved_count": len(self.world.moved),
            "callback_count": len(self.world.delivered),
            "tokens_made": self.world.tokens_made,
        }


def _body() -> dict[str, Any]:
    """The JSON object of the request. It must be sent as JSON: a page of another site cannot do that unasked."""
    body = request.get_json()
    if not isinstance(body, dict):
        raise BadRequest("the body must be a JSON object")
    return body


def _text(body: dict[str, Any], name: str) -> str:
    value = body.get(name, "")
    if isinstance(value, bool) or not isinstance(value, (str, int)):
        raise BadRequest(f"{name} must be a text")
    return str(value).strip()


def _phone(body: dict[str, Any]) -> str:
    try:
        return msisdn(_text(body, "phone"))
    except InvalidPhone as error:
        raise BadRequest(str(error)) from error
