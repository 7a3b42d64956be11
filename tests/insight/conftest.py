"""Callers of the API, as the tests of the API have them."""

from tests.api.conftest import admin, caller_of

__all__ = ["admin", "caller_of"]
