"""What is said of each kind of event, in every language: ``words_en`` and ``words_sw`` have the words.

A text has the facts of the event in it, and ``{tenant} {agency} {property} {unit}`` where names belong: the database puts
those in as it writes the row, so that telling somebody costs no reading.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from decimal import Decimal
from typing import Any, Final

from haven.notifications import words_en, words_sw
from haven.notifications.words import Language, Mail, Words

LANGUAGES: Final[Mapping[str, Language]] = {"en": words_en.ENGLISH, "sw": words_sw.SWAHILI}
_NAMES: Final = {"tenant": "{tenant}", "agency": "{agency}", "place": "{unit}, {property}"}
"""What the database puts in stays as it is."""
_TEXTS: Final = tuple(one.name for one in fields(Words) if one.name != "details")


def compose(kind: str, facts: Mapping[str, Any]) -> dict[str, dict[str, str]]:
    """Language → the texts of ``Words`` by name.

    Args:
        kind: one that tenants are told of.
        facts: of a payment as the webhooks have it (``haven.payments.statuses.event``); of an invoice as ``invoice.issued``
            has it, with ``due_at`` a date, and ``balance`` for reminders.
    """
    return {code: _in(language, kind, facts) for code, language in LANGUAGES.items()}


def compose_mail(template: str, language: str, values: Mapping[str, str]) -> tuple[str, str]:
    """Subject and body of a mail to staff; ``values`` must have all that the template names.

    Raises:
        KeyError: a template, a language or a value that is not there.
    """
    mail: Mail = LANGUAGES[language].mails[template]
    return mail.subject.format_map(values), mail.body.format_map(values)


def _in(language: Language, kind: str, facts: Mapping[str, Any]) -> dict[str, str]:
    words: Words = language.words[kind]
    said = _said(language, facts) | _NAMES
    said["details"] = "\n".join(
        f"{language.labels[name]}: {said[name]}" for name in words.details if said[name]
    )
    return {name: _tidy(getattr(words, name).format_map(said)) for name in _TEXTS}


def _said(language: Language, facts: Mapping[str, Any]) -> dict[str, str]:
    """Each fact as it is said in the language; empty where there is none."""
    code = facts.get("failure_code") or ""
    reason = facts.get("failure_reason") or ""
    said = {
        "amount": _money(facts, "amount"),
        "total": _money(facts, "total"),
        "balance": _money(facts, "balance"),
        "method": language.methods.get(facts.get("method") or "", facts.get("method") or ""),
        "reason": reason if language.reasons is None else language.reasons.get(code, ""),
        "staff_reason": reason,
    }
    due_at = facts.get("due_at")
    said["due_at"] = f"{due_at.day} {language.months[due_at.month - 1]} {due_at.year}" if due_at else ""
    plain = ("receipt_number", "reference", "failure_code", "payment_id", "number")
    return said | {name: str(facts.get(name) or "") for name in plain}


def _money(facts: Mapping[str, Any], name: str) -> str:
    return f"{facts['currency']} {Decimal(facts[name]):,.2f}" if facts.get(name) is not None else ""


def _tidy(text: str) -> str:
    """Without the gap that an empty fact leaves."""
    while "\n\n\n" in text:
        text = text.replace("\n\n\n", "\n\n")
    ending = "\n" if text.endswith("\n") else ""
    return "\n".join(line.strip() for line in text.split("\n")).strip() + ending
