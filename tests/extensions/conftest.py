"""The core app's callers, for what is tested beside Haven itself."""

from tests.api.conftest import caller_of

__all__ = ["caller_of"]
