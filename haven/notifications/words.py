"""What a language has to say: the shape of ``words_en`` and ``words_sw``."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Words:
    """What the tenant is told by e-mail and by SMS, and the agency by e-mail (nothing where it is empty).

    ``details`` are the facts that ``{details}`` lists, each on a line with its label.
    """

    tenant_subject: str
    tenant_body: str
    tenant_sms: str
    agency_subject: str = ""
    agency_body: str = ""
    details: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Mail:
    """A mail to staff."""

    subject: str
    body: str


@dataclass(frozen=True, slots=True)
class Language:
    """All words of one language.

    Args:
        words: kind → what is said.
        mails: template → what is said.
        labels: fact → what it is called.
        methods: how a payment was made → what that is called; as it is where there is none.
        reasons: code of a failure → a sentence for the payer; None where the stored sentence is in this language.
    """

    words: Mapping[str, Words]
    mails: Mapping[str, Mail]
    labels: Mapping[str, str]
    methods: Mapping[str, str]
    months: tuple[str, ...]
    reasons: Mapping[str, str] | None
