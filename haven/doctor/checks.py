"""Everything that is looked at, in the order in which it is told."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Final

from config import Settings, SettingsError, load_settings
from haven.doctor.callbacks import check_callbacks, is_here
from haven.doctor.findings import Check, Finding, examine, fail, ok, warn
from haven.doctor.mpesa import check_mpesa, check_provider_clock
from haven.doctor.stores import check_database, check_processes, check_redis

SETTINGS: Final = "settings"
MAIL: Final = "mail"


def examination(environ: Mapping[str, str]) -> list[Finding]:
    """Every finding about the installation whose settings these are. With wrong settings there is nothing more to see."""
    try:
        settings = load_settings(environ)
    except SettingsError as error:
        do = "Set it right; docs/settings.md has them all."
        return [fail(SETTINGS, sentence, do) for sentence in str(error).splitlines()]
    return examine(
        [
            Check(SETTINGS, lambda: _check_settings(settings)),
            Check("database", lambda: check_database(settings)),
            Check("Redis", lambda: check_redis(settings)),
            Check("processes", lambda: check_processes(settings)),
            Check("callbacks", lambda: check_callbacks(settings)),
            Check("M-Pesa", lambda: check_mpesa(settings)),
            Check("clock", lambda: check_provider_clock(settings)),
            Check(MAIL, lambda: _check_mail(settings)),
        ]
    )


def _check_settings(settings: Settings) -> Iterator[Finding]:
    yield ok(SETTINGS, "Every setting can be read.")
    if settings.webhook_private_addresses and not is_here(settings.public_url):
        yield warn(
            SETTINGS,
            "WEBHOOK_PRIVATE_ADDRESSES is on: webhooks of agencies can reach into your network.",
            "Turn it off; it is for development.",
        )
    if settings.breaker_minimum_calls > 100:
        yield warn(SETTINGS, "BREAKER_MINIMUM_CALLS is over 100: no circuit ever opens.", "Lower it.")


def _check_mail(settings: Settings) -> Iterator[Finding]:
    if settings.smtp_url:
        yield ok(MAIL, "E-mail goes by SMTP.")
    elif settings.mail_folder:
        yield ok(MAIL, "E-mail is written into MAIL_FOLDER.")
    else:
        yield warn(
            MAIL, "No e-mail is set up: tenants and agencies are not told.", "Set SMTP_URL and MAIL_FROM."
        )
