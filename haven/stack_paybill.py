"""Lets the demo agency hear of what is paid to the simulated paybill, so that "Pay by paybill" on its page reaches Haven.

The simulator forgets what it was told when it stops, and Haven shows the secret of an address only once: so it is kept
in the stack's folder, and the simulator is told of it again at each start.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import httpx

from haven.payments.mpesa.registrations import C2B_PATH
from haven.stack_folder import StackFolder
from haven.stack_programs import Places

FILE: Final = "paybill.json"
_TIMEOUT_S: Final = 10.0


def introduce_paybill(
    folder: StackFolder, places: Places, admin: Mapping[str, Any], mpesa: Mapping[str, str]
) -> None:
    """Give the agency the simulator's paybill, and tell the simulator where its payments are confirmed.

    Args:
        admin: ``api_key`` of the agency's administrator.
        mpesa: the stack's secrets ``mpesa_consumer_key``, ``mpesa_consumer_secret`` and ``mpesa_shortcode``.

    Raises:
        httpx.HTTPError: one of the two did not answer, or refused.
    """
    shortcode = mpesa["mpesa_shortcode"]
    kept = folder.read(FILE) or {}
    if kept.get("shortcode") != shortcode:
        token = _register(places, admin["api_key"], shortcode)
        folder.write(FILE, {"shortcode": shortcode, "token": token})
        return
    tell_simulator(places.mpesa_url, places.url, mpesa, kept["token"])


def _register(places: Places, api_key: str, shortcode: str) -> str:
    """Ask Haven to register; the secret of the address that it has made."""
    with httpx.Client(
        base_url=f"{places.url}/api/v1", headers={"Authorization": f"Bearer {api_key}"}, timeout=_TIMEOUT_S
    ) as haven:
        agency_id = _json(haven.get("/auth/me"))["agency_id"]
        _json(haven.patch(f"/agencies/{agency_id}", json={"mpesa_shortcode": shortcode}))
        answer = _json(haven.post("/payments/mpesa/c2b/register", json={}))
    token: str = answer["confirmation_url"].rpartition("/")[2]
    return token


def tell_simulator(mpesa_url: str, url: str, mpesa: Mapping[str, str], token: str) -> None:
    """Register the addresses with this secret, of the Haven at ``url``, for the stack's paybill."""
    with httpx.Client(base_url=mpesa_url, timeout=_TIMEOUT_S) as simulator:
        signed = simulator.get(
            "/oauth/v1/generate",
            params={"grant_type": "client_credentials"},
            auth=(mpesa["mpesa_consumer_key"], mpesa["mpesa_consumer_secret"]),
        )
        hooks = f"{url}/api/v1/hooks/c2b"
        _json(
            simulator.post(
                C2B_PATH,
                headers={"Authorization": f"Bearer {_json(signed)['access_token']}"},
                json={
                    "ShortCode": mpesa["mpesa_shortcode"],
                    "ResponseType": "Completed",
                    "ConfirmationURL": f"{hooks}/confirmation/{token}",
                    "ValidationURL": f"{hooks}/validation/{token}",
                },
            )
        )


def _json(answer: httpx.Response) -> dict[str, Any]:
    answer.raise_for_status()
    found: dict[str, Any] = answer.json()
    return found
