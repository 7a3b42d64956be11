"""The answers of the simulated Daraja, in the shapes of the real one."""

from __future__ import annotations

import json
from typing import Any, Final

from flask import Response

from haven.payments.mpesa.simulator import identifiers
from haven.payments.mpesa.simulator.identifiers import Chance
from haven.payments.mpesa.simulator.scenarios import Refusal
from haven.payments.mpesa.simulator.world import World

_GATEWAY_PAGE: Final = (
    "<html><head><title>503 Service Temporarily Unavailable</title></head><body><center>"
    "<h1>503 Service Temporarily Unavailable</h1></center><hr><center>nginx</center></body></html>"
)


class DarajaError(Exception):
    """An answer in Daraja's error envelope; ``status`` is the HTTP status."""

    def __init__(self, status: int, code: str, message: str) -> None:
        super().__init__(f"{code}: {message}")
        self.status = status
        self.code = code
        self.message = message


def invalid(name: str) -> DarajaError:
    """A field of the request is missing or wrong."""
    return DarajaError(400, "400.002.02", f"Bad Request - Invalid {name}")


def json_answer(body: dict[str, Any], status: int = 200) -> Response:
    """A JSON answer."""
    return Response(json.dumps(body), status, content_type="application/json;charset=UTF-8")


def error_answer(world: World, chance: Chance, error: DarajaError) -> Response:
    """Daraja's error envelope."""
    with world.lock:
        world.errors_made += 1
        request_id = identifiers.request_id(chance.of("error", world.errors_made))
    return json_answer(
        {"requestId": request_id, "errorCode": error.code, "errorMessage": error.message}, error.status
    )


def throttled_answer() -> Response:
    """The gateway's own envelope, with HTTP 429 (measured)."""
    rate = "MessageRate{messagesPerPeriod=5, periodInMicroseconds=60000000, maxBurstMessageCount=1.0}"
    fault = {
        "faultstring": f"Spike arrest violation. Allowed rate : {rate}",
        "detail": {"errorcode": "policies.ratelimit.SpikeArrestViolation"},
    }
    answer = json_answer({"fault": fault}, 429)
    answer.headers["Retry-After"] = "60"
    return answer


def html_answer(status: int) -> Response:
    """What a gateway says when nothing behind it answers."""
    return Response(_GATEWAY_PAGE, status, content_type="text/html")


def refusal_answer(world: World, chance: Chance, refusal: Refusal, token: str) -> Response:
    """The answer to a push the scenario refuses."""
    if not refusal.code:
        return html_answer(refusal.status)
    if refusal.status == 429:
        return throttled_answer()
    message = refusal.message.replace("{token}", token)
    return error_answer(world, chance, DarajaError(refusal.status, refusal.code, message))
