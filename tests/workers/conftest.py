"""Real workers and clocks, for a module of tests."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.support.at_work import AtWork, at_work


@pytest.fixture(scope="module")
def work(addresses, worker_number, environ, tmp_path_factory, request) -> Iterator[AtWork]:
    """A database, a Valkey and no process yet."""
    name = f"haven_work_{worker_number}_{request.module.__name__.rpartition('.')[2]}"
    with at_work(addresses, name, environ, tmp_path_factory.mktemp("work")) as there:
        yield there
