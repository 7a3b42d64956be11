"""Who paid, as far as M-Pesa tells: the number, its SHA-256 (C2B v1), a mask of it (C2B v2), or nothing."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from typing import Final

from haven.payments.phones import InvalidPhone, mask_phone, msisdn, normalise_phone

_SHA256: Final = re.compile(r"[0-9a-fA-F]{64}", re.ASCII)
# 25470****149 and 2547 ***** 126 are published; fewer digits than these name nobody.
_MASK: Final = re.compile(r"\+?(254[0-9]{1,8})[*xX•]{2,8}([0-9]{3,8})", re.ASCII)


@dataclass(frozen=True, slots=True)
class Payer:
    """``phone`` is E.164; ``digest`` the SHA-256 of its twelve digits; ``begins`` and ``ends`` what a mask shows."""

    phone: str | None = None
    digest: bytes | None = None
    begins: str = ""
    ends: str = ""

    @property
    def is_exact(self) -> bool:
        """Whether it is one line and no other."""
        return self.digest is not None

    @property
    def shown(self) -> str | None:
        """The payer as a person may see it: ``+2547*****126``; None where nothing may be shown."""
        if self.phone is not None:
            return mask_phone(self.phone)
        if not self.begins:
            return None
        return f"{self.begins}{'*' * (13 - len(self.begins) - len(self.ends))}{self.ends}"

    def may_be(self, phone: str | None) -> bool:
        """Whether the payer can be the owner of ``phone`` (E.164). Nobody is known: it can be anybody's."""
        if self.digest is not None:
            return phone is not None and self.digest == digest_of(phone)
        if not self.begins:
            return True
        return phone is not None and phone.startswith(self.begins) and phone.endswith(self.ends)

    def is_owner_of(self, phone: str | None) -> bool:
        """Whether the payer is, exactly or by a mask that fits, the owner of ``phone``."""
        return (self.is_exact or bool(self.begins)) and self.may_be(phone)


def payer_of(text: str) -> Payer:
    """The payer that an MSISDN of M-Pesa names; one of whom nothing is known where it names none."""
    if _SHA256.fullmatch(text):
        return Payer(digest=bytes.fromhex(text))
    try:
        phone = normalise_phone(text)
    except InvalidPhone:
        return _masked(text)
    return Payer(phone=phone, digest=digest_of(phone))


def digest_of(phone: str) -> bytes:
    """What C2B v1 sends of a number, in bytes.

    Raises:
        InvalidPhone: not a Kenyan mobile number.
    """
    return hashlib.sha256(msisdn(phone).encode()).digest()


def _masked(text: str) -> Payer:
    found = _MASK.fullmatch(re.sub(r"\s", "", text[:40]))
    if found is None or len(found[1]) + len(found[2]) > 11:
        return Payer()
    return Payer(begins=f"+{found[1]}", ends=found[2])
