"""The core app's callers, and servers that a test may treat badly."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.api.conftest import caller_of
from tests.support.own_valkey import OwnValkey, own_valkey

__all__ = ["caller_of"]


@pytest.fixture
def valkey(tmp_path) -> Iterator[OwnValkey]:
    """A Valkey of the test's own."""
    with own_valkey(tmp_path / "valkey") as server:
        yield server
