"""How one simulator is set up."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal

Mode = Literal["auto", "manual"]

SANDBOX_SHORTCODE: Final = "174379"
SANDBOX_PASSKEY: Final = "bfb279f9aa9bdbcf158e97dd71a467cd2e0c893059b10f78e6b72ada1ed2c919"
"""Published in Safaricom's documentation for everyone's use in the sandbox; no secret."""


@dataclass(frozen=True, slots=True)
class Merchant:
    """One business with a paybill: what its Daraja application and its shortcode are known by."""

    consumer_key: str
    consumer_secret: str
    shortcode: str = SANDBOX_SHORTCODE
    passkey: str = SANDBOX_PASSKEY


@dataclass(frozen=True, slots=True)
class Options:
    """The settings of a simulator.

    Attributes:
        merchant: the business that exists from the start; more are added over the control API.
        seed: one seed, one course of events: who answers how fast, with which words and receipts.
        speed: every delay is divided by it; 1 is M-Pesa's own pace.
        mode: ``auto`` phones answer by themselves; ``manual`` ones ring until a person answers.
        token_life_s: seconds an access token lives; not divided by the speed.
        manual_ring_s: seconds a phone rings in manual mode; not divided by the speed.
        callback_timeout_s: seconds the receiver of a callback has to answer.
        callback_retries: times a callback is sent again after an answer that is not 2xx. M-Pesa: none (measured).
        callback_address: the local address callbacks come from; empty for the system's choice.
        same_amount_rule: refuse (17) the same amount from the same payer within two minutes.
        queries_per_minute: 429 above it; 0 for no limit. Safaricom's sandbox has 5.
        c2b_validation: ask the ValidationURL before a paybill payment goes through.
        register_once: keep the first C2B addresses of a shortcode, as M-Pesa does in production.
        pull_page: rows of one answer of Pull Transactions.
        mail_folder: where Haven writes its mails, to be read on the page of messages; empty: nowhere.
        sms_callback: where delivery reports of SMS are posted; empty: nowhere.
    """

    merchant: Merchant
    seed: str
    speed: float = 1.0
    mode: Mode = "auto"
    token_life_s: float = 3600.0
    manual_ring_s: float = 60.0
    callback_timeout_s: float = 10.0
    callback_retries: int = 0
    callback_address: str = ""
    same_amount_rule: bool = False
    queries_per_minute: int = 0
    c2b_validation: bool = False
    register_once: bool = False
    pull_page: int = 1000
    mail_folder: str = ""
    sms_callback: str = ""
