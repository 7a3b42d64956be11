"""``haven sms-callback``: where the SMS gateway is to post its delivery reports."""

from __future__ import annotations

import click

from config import load_settings
from haven.notifications.delivery_reports import PATH, token


@click.command("sms-callback")
def sms_callback() -> None:
    """Show the address for the gateway's delivery reports. It is a secret; another SECRET_KEY makes another."""
    settings = load_settings()
    click.echo(f"{settings.public_url}{PATH}/{token(settings.secret_key)}")
