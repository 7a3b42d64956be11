"""What a constraint of the database has to say, in words for the person who sent the request.

Constraints are named by one convention (``haven.db.base``), so field and rule follow from the name.
"""

from __future__ import annotations

import re
from typing import Any

from sqlalchemy.exc import IntegrityError

from haven.errors import Conflict, Fault, HavenError, Invalid

_UNIQUE = "23505"
_FOREIGN = "23503"
_CHECK = "23514"
_EXCLUSION = "23P01"
_RESTRICT = "23001"

RECEIPT_TAKEN = "payment_receipt_key"
_OWN_WORDS = {
    "lease_no_overlap": ("/unit_id", "The unit has another active lease in these dates."),
    RECEIPT_TAKEN: ("/reference", "This M-Pesa receipt is already on another payment."),
    "mpesa_attempt_open_phone_key": ("/phone", "This phone has a payment request open; wait for its answer."),
    "invoice_agency_id_lease_id_run_period_key": ("/period", "This lease is already billed for the period."),
    "sign_in_address_pkey": ("/email", "This e-mail address already signs in to an account."),
    "job_unique_key": ("", "The same job is already under way."),
}


def explain(error: IntegrityError) -> HavenError:
    """The problem that an integrity error stands for."""
    diagnosis: Any = getattr(error.orig, "diag", None)
    code = getattr(error.orig, "pgcode", "")
    name = getattr(diagnosis, "constraint_name", None) or ""
    if name in _OWN_WORDS:
        return own_words(name)
    if code == _UNIQUE:
        return taken(name, diagnosis.table_name)
    if code == _FOREIGN:
        return _foreign(name, diagnosis)
    if code == _CHECK:
        return _broken_rule(name, diagnosis.table_name or "")
    if code in (_EXCLUSION, _RESTRICT):
        return Conflict(_sentence(diagnosis.message_primary))
    return Conflict("The change contradicts what is stored.")


def taken(name: str, table: str | None) -> Conflict:
    """What the unique constraint ``name`` says; for whoever sees it coming."""
    fields = _fields(name, table)
    detail = f"Another one already has this {' and '.join(fields)}."
    return Conflict(detail, faults=tuple(Fault(f"/{field}", detail) for field in fields))


def own_words(name: str) -> Conflict:
    """What the constraint ``name`` says, where it has words of its own; for whoever sees it coming."""
    pointer, detail = _OWN_WORDS[name]
    return Conflict(detail, faults=(Fault(pointer, detail),))


def _foreign(name: str, diagnosis: Any) -> HavenError:
    if str(diagnosis.message_primary).startswith("update or delete"):
        user = str(diagnosis.table_name).replace("_", " ")
        return Conflict(f"It is still used by {_article(user)} {user}: remove or end that first.")
    field = _fields(name, diagnosis.table_name)[0]
    return Invalid.field(field, f"there is no {field.removesuffix('_id').replace('_', ' ')} with this id")


def _broken_rule(name: str, table: str) -> HavenError:
    rule = name.removeprefix(f"{table}_").removesuffix("_check")
    return Invalid(
        f"{rule.replace('_', ' ')} is outside what is allowed.",
        faults=(Fault(f"/{rule}", "is outside what is allowed"),),
    )


def _fields(name: str, table: str | None) -> list[str]:
    """``property_agency_id_code_key`` of ``property`` → ``["code"]``."""
    middle = re.sub(r"_(key|fkey|pkey)$", "", name.removeprefix(f"{table}_")).removeprefix("agency_id_")
    known = re.findall(r"property_id|payment_reference|[a-z]+(?:_[a-z]+)*_id|[a-z_]+", middle)
    return [re.sub(r"^_|_$", "", field) for field in known] or ["value"]


def _article(word: str) -> str:
    return "an" if word[0] in "aeiou" and not word.startswith("uni") else "a"


def _sentence(text: str) -> str:
    return text[:1].upper() + text[1:] + ("" if text.endswith(".") else ".")
