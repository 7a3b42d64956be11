"""A job's process is forked, does one job and ends: what it imports by itself, each job imports anew."""

from __future__ import annotations

import subprocess
import sys

import pytest

CODE = """
import sys
import {module}
before = set(sys.modules)
import httpx
httpx.Client().close()
print(*sorted(set(sys.modules) - before))
"""


@pytest.mark.parametrize("module", ["workers.__main__", "haven.app"])
def test_what_is_needed_to_call_out_is_imported_before_the_fork(module, checkout):
    code = CODE.format(module=module)
    finished = subprocess.run(
        [sys.executable, "-c", code], cwd=checkout, capture_output=True, text=True, check=True, timeout=60
    )
    assert finished.stdout.split() == []
