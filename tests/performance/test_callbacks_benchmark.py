"""The benchmark of callbacks runs, and all that it sends is applied."""

import subprocess
import sys

import pytest


@pytest.mark.long
@pytest.mark.timeout(300)
def test_the_benchmark_of_callbacks_runs(checkout):
    command = [sys.executable, "-m", "benchmarks.callbacks", "--rounds", "1", "--each", "3"]
    done = subprocess.run(command, cwd=checkout, capture_output=True, text=True, timeout=280, check=False)
    assert done.returncode == 0, done.stderr
    assert "ratio" in done.stdout
