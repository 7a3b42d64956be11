"""Encryption of what must be read again: the agencies' M-Pesa credentials and webhook secrets."""

from __future__ import annotations

import base64
import hashlib

from cryptography.fernet import Fernet, InvalidToken


class Vault:
    """Encrypts with a key derived from ``SECRET_KEY`` (Fernet: AES-128-CBC with HMAC-SHA-256)."""

    def __init__(self, secret_key: str) -> None:
        key = hashlib.sha256(b"haven vault\n" + secret_key.encode()).digest()
        self._fernet = Fernet(base64.urlsafe_b64encode(key))

    def encrypt(self, plain: bytes) -> bytes:
        """``plain``, so that only this key reads it."""
        return self._fernet.encrypt(plain)

    def decrypt(self, sealed: bytes) -> bytes:
        """What ``encrypt`` was given.

        Raises:
            ValueError: it was encrypted with another ``SECRET_KEY``, or has been changed.
        """
        try:
            return self._fernet.decrypt(bytes(sealed))
        except InvalidToken:
            raise ValueError("cannot be decrypted: SECRET_KEY is not the one it was stored with") from None
