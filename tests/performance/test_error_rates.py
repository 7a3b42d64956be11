"""How often `haven bench` is wrong, on noise that was recorded of the same code against itself on a busy machine."""

from __future__ import annotations

import numpy as np
import pytest

from tests.performance.noise import decided, recorded, simulated


def rates(runs, slowdown):
    """The share of runs in which each benchmark is called slower; and of those in which any is."""
    random = np.random.default_rng(7)
    slower = {}
    for name, sides in recorded().items():
        here, there = simulated(sides, runs, random)
        slower[name] = decided(here * slowdown, there, random) == "slower"
    return {name: found.mean() for name, found in slower.items()}, np.any(
        list(slower.values()), axis=0
    ).mean()


@pytest.mark.req("T2")
def test_the_same_code_is_rarely_called_slower_and_a_slowdown_is_mostly_found():
    _, alarms = rates(60, 1.0)
    assert alarms <= 0.05
    found, _ = rates(60, 1.10)
    assert np.mean(list(found.values())) > 0.95


@pytest.mark.long
@pytest.mark.timeout(600)
@pytest.mark.req("T2")
def test_false_alarms_are_under_2_percent_and_a_slowdown_of_10_percent_is_found_in_over_95(record_property):
    _, alarms = rates(500, 1.0)
    found, _ = rates(500, 1.10)
    record_property("false alarms", alarms)
    record_property("found", found)
    print(  # noqa: T201
        f"\nfalse alarms in {alarms:.1%} of runs; a slowdown of 10 % found: "
        + ", ".join(f"{name} {rate:.1%}" for name, rate in found.items())
    )
    assert alarms < 0.02
    assert min(found.values()) > 0.95, found
