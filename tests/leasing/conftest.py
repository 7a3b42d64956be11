"""Leases are tried through the services and through the API."""

from tests.api.conftest import admin, caller_of

__all__ = ["admin", "caller_of"]
