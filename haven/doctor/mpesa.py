"""Whether M-Pesa knows us, and what time it is there."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from email.utils import parsedate_to_datetime
from typing import Final
from urllib.parse import urlsplit

import httpx

from config import Settings
from extensions.hold_off import guarded_redis
from haven.doctor.findings import Finding, fail, ok, warn
from haven.payments.mpesa.client import MpesaClient, MpesaError, PushNotSent

NAME: Final = "M-Pesa"
CLOCK: Final = "clock"
_TIMEOUT_S: Final = 8.0
_SKEW_WARN_S: Final = 5.0
_SKEW_FAIL_S: Final = 60.0
_SHORTCODE: Final = re.compile(r"[0-9]{5,7}", re.ASCII)


def check_mpesa(settings: Settings) -> Iterator[Finding]:
    """The findings about the credentials of the settings; those that agencies store are not looked at."""
    needed = ("mpesa_consumer_key", "mpesa_consumer_secret", "mpesa_shortcode", "mpesa_passkey")
    missing = [name.upper() for name in needed if not getattr(settings, name)]
    if len(missing) == len(needed):
        yield warn(
            NAME,
            "No M-Pesa credentials are set: only agencies that have stored their own can ask phones for rent.",
            f"Set {', '.join(missing)}, unless every agency stores its own.",
        )
        return
    if missing:
        yield fail(
            NAME, f"{' and '.join(missing)} are missing.", "Take them from the Daraja portal, and set them."
        )
        return
    if not _SHORTCODE.fullmatch(settings.mpesa_shortcode):
        yield fail(
            NAME, "MPESA_SHORTCODE is not a number of 5 to 7 digits.", "Set the paybill or store number."
        )
    if len(settings.mpesa_passkey) < 40:
        yield warn(
            NAME,
            "MPESA_PASSKEY is shorter than any that M-Pesa gives.",
            "Compare it with the one of the go-live mail.",
        )
    yield _signed_in(settings)


def check_provider_clock(settings: Settings) -> Iterator[Finding]:
    """How far this machine's clock is from M-Pesa's, by the Date of its answers."""
    host = urlsplit(settings.mpesa_base_url).hostname
    started = time.time()
    try:
        answer = httpx.head(settings.mpesa_base_url, timeout=_TIMEOUT_S, follow_redirects=False)
        theirs = parsedate_to_datetime(answer.headers["Date"]).timestamp()
    except (httpx.HTTPError, KeyError, ValueError, TypeError) as error:
        yield warn(
            CLOCK, f"{host} did not tell its time ({type(error).__name__}).", "See what is said of M-Pesa."
        )
        return
    # A Date has whole seconds, and was written at some time while we waited.
    middle = (started + time.time()) / 2
    yield skew_of(f"M-Pesa ({host})", theirs + 0.5 - middle, _SKEW_WARN_S)


def skew_of(whose: str, skew_s: float, warn_s: float) -> Finding:
    """The finding about a clock that is ``skew_s`` seconds ahead of ours."""
    shown = f"This machine's clock and that of {whose} are {abs(skew_s):.1f} s apart."
    do = "Let NTP keep both (timedatectl set-ntp true): a push is signed with the time."
    if abs(skew_s) >= _SKEW_FAIL_S:
        return fail(CLOCK, shown, do)
    if abs(skew_s) >= warn_s:
        return warn(CLOCK, shown, do)
    return ok(CLOCK, shown)


def _signed_in(settings: Settings) -> Finding:
    host = urlsplit(settings.mpesa_base_url).hostname
    store = guarded_redis(settings.redis_url, 2)
    with (
        store,
        MpesaClient(
            settings.mpesa_base_url,
            settings.mpesa_consumer_key,
            settings.mpesa_consumer_secret,
            settings.mpesa_shortcode,
            settings.mpesa_passkey,
            _TIMEOUT_S,
            store,
        ) as client,
    ):
        try:
            client.sign_in()
        except PushNotSent as error:
            return fail(
                NAME,
                f"{host} gave no access token ({error.code}).",
                "Look at MPESA_BASE_URL, the network and Safaricom's status.",
            )
        except MpesaError as error:
            return fail(
                NAME,
                f"{host} refuses the credentials ({error.code}).",
                "Compare MPESA_CONSUMER_KEY and MPESA_CONSUMER_SECRET with the Daraja portal, and that they are of this host.",
            )
    return ok(NAME, f"{host} takes the credentials of shortcode {settings.mpesa_shortcode}.")
