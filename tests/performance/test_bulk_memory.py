"""A bulk job ten times as long takes no more memory, and leaves nothing where its last row is wrong."""

from __future__ import annotations

import os
import re
import subprocess
import sys

import pytest

pytestmark = pytest.mark.long
ROOM_MB = 25
"""Between two runs of one length there are some megabytes too."""


def peak_mb(environ, rows, is_wrong):
    """Of a process that does so many tenants; it asserts itself what is there in the end."""
    call = f"from benchmarks.bulk import one_job; one_job({rows}, {is_wrong})"
    done = subprocess.run(
        [sys.executable, "-c", call],
        env={**os.environ, **environ},
        capture_output=True,
        text=True,
        check=True,
        timeout=900,
    )
    found = re.search(r"peak (\d+) MB", done.stdout)
    assert found is not None, done.stdout
    return int(found[1])


@pytest.mark.parametrize("is_wrong", [False, True])
def test_memory_does_not_grow_with_the_rows(environ, is_wrong):
    assert peak_mb(environ, 100_000, is_wrong) <= peak_mb(environ, 10_000, is_wrong) + ROOM_MB
