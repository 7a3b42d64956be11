"""``haven mpesa-simulator``: the command line of the simulator."""

from __future__ import annotations

import secrets
from typing import Final

import click

from haven.payments.mpesa.simulator.options import SANDBOX_PASSKEY, SANDBOX_SHORTCODE, Merchant, Mode, Options

DEFAULT_CONSUMER_KEY: Final = "simulator-key"
DEFAULT_CONSUMER_SECRET: Final = "simulator-secret"  # noqa: S105 (it opens nothing but a simulator)


@click.command("mpesa-simulator", context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on.")
@click.option(
    "--port", default=8081, show_default=True, type=click.IntRange(1, 65535), help="Port to listen on."
)
@click.option("--seed", default="", help="One seed, one course of events. Without it each start differs.")
@click.option(
    "--speed",
    default=1.0,
    show_default=True,
    type=click.FloatRange(0.01, 10_000),
    help="Divide every delay by this.",
)
@click.option(
    "--mode", default="auto", show_default=True, type=click.Choice(["auto", "manual"]), help="Who answers."
)
@click.option("--consumer-key", envvar="MPESA_CONSUMER_KEY", default=DEFAULT_CONSUMER_KEY, show_default=True)
@click.option("--consumer-secret", envvar="MPESA_CONSUMER_SECRET", default=DEFAULT_CONSUMER_SECRET)
@click.option("--shortcode", envvar="MPESA_SHORTCODE", default=SANDBOX_SHORTCODE, show_default=True)
@click.option(
    "--passkey", envvar="MPESA_PASSKEY", default=SANDBOX_PASSKEY, help="The sandbox's public one if unset."
)
@click.option("--token-life", default=3600.0, show_default=True, help="Seconds an access token lives.")
@click.option("--callback-timeout", default=10.0, show_default=True, help="Seconds a receiver has to answer.")
@click.option(
    "--callback-retries", default=0, show_default=True, help="Times a refused callback comes again."
)
@click.option("--callback-address", default="", help="Local address callbacks come from.")
@click.option("--queries-per-minute", default=0, show_default=True, help="Limit of status queries; 0: none.")
@click.option("--same-amount-rule", is_flag=True, help="Refuse (17) the same amount within two minutes.")
@click.option("--c2b-validation", is_flag=True, help="Ask the ValidationURL before a paybill payment.")
@click.option("--register-once", is_flag=True, help="Keep the first C2B addresses, as in production.")
@click.option(
    "--pull-page",
    default=1000,
    show_default=True,
    type=click.IntRange(1, 10_000),
    help="Rows of one answer of Pull Transactions.",
)
@click.option("--mail-folder", envvar="MAIL_FOLDER", default="", help="Mails to show at /simulator/messages.")
@click.option(
    "--sms-callback", envvar="SMS_CALLBACK_URL", default="", help="Where delivery reports of SMS are posted."
)
def simulator(
    host: str,
    port: int,
    seed: str,
    speed: float,
    mode: Mode,
    consumer_key: str,
    consumer_secret: str,
    shortcode: str,
    passkey: str,
    token_life: float,
    callback_timeout: float,
    callback_retries: int,
    callback_address: str,
    queries_per_minute: int,
    same_amount_rule: bool,
    c2b_validation: bool,
    register_once: bool,
    pull_page: int,
    mail_folder: str,
    sms_callback: str,
) -> None:
    """Serve a stand-in for Safaricom's M-Pesa API, with phones that ring at / in a browser."""
    from haven.payments.mpesa.simulator.server import (
        SimulatorServer,
    )  # gunicorn is slow to import, --help is not

    options = Options(
        # A variable that is set to nothing counts as not set.
        Merchant(
            consumer_key or DEFAULT_CONSUMER_KEY,
            consumer_secret or DEFAULT_CONSUMER_SECRET,
            shortcode or SANDBOX_SHORTCODE,
            passkey or SANDBOX_PASSKEY,
        ),
        seed or secrets.token_hex(8),
        speed,
        mode,
        token_life,
        callback_timeout_s=callback_timeout,
        callback_retries=callback_retries,
        callback_address=callback_address,
        same_amount_rule=same_amount_rule,
        queries_per_minute=queries_per_minute,
        c2b_validation=c2b_validation,
        register_once=register_once,
        pull_page=pull_page,
        mail_folder=mail_folder,
        sms_callback=sms_callback,
    )
    click.echo(f"M-Pesa simulator on http://{host}:{port} ({mode} mode, speed {speed:g})")
    SimulatorServer(options, host, port).run()
