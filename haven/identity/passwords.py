"""Password hashing: Argon2id (RFC 9106), with the costs of the settings."""

from __future__ import annotations

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError


class Passwords:
    """Hashes and checks passwords."""

    def __init__(self, memory_kib: int, time_cost: int) -> None:
        self._hasher = PasswordHasher(time_cost=time_cost, memory_cost=memory_kib, parallelism=1)
        self._stand_in = self._hasher.hash("there is no such user")

    def hash(self, password: str) -> str:
        """The hash to store, in PHC format."""
        return self._hasher.hash(password)

    def is_right(self, stored: str | None, password: str) -> bool:
        """Whether ``password`` is the one stored. No user (None) takes as long, so that time tells nothing."""
        try:
            self._hasher.verify(stored or self._stand_in, password)
        except (VerificationError, InvalidHashError):
            return False
        return stored is not None

    def is_outdated(self, stored: str) -> bool:
        """Whether the costs have been raised since it was stored."""
        return self._hasher.check_needs_rehash(stored)
