"""Leaks: the trend against scipy's, found in noise within a quarter of an hour, never where there is none, and named."""

from __future__ import annotations

import json
import math
import os
import random
import subprocess
import sys
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from extensions.memory.leak import CLEARS_AFTER, MIB, LeakDetector
from extensions.memory.trend import POINTS_MOST, mann_kendall, theil_sen, trend_of
from tests.support.live import CHECKOUT

DAY = 1440
"""Points of a day, one a minute."""
SHORT_RUNS, LONG_RUNS = 100, 1000
QUARTER = 15

VALUES = st.lists(st.integers(-50, 50).map(float), min_size=3, max_size=30)


@given(VALUES)
def test_the_slope_is_theil_and_sens(values):
    slope, start = theil_sen(values)
    found = stats.theilslopes(values)
    assert slope == pytest.approx(found.slope)
    assert start == pytest.approx(found.intercept)


@given(VALUES.filter(lambda values: len(set(values)) > 1))
def test_the_significance_is_kendalls(values):
    s, variance = mann_kendall(values)
    kendall = stats.kendalltau(range(len(values)), values, method="asymptotic", alternative="greater")
    assert 0.5 * math.erfc(s / math.sqrt(2 * variance)) == pytest.approx(kendall.pvalue)


def test_dependence_on_the_value_before_makes_a_rise_less_significant():
    steady = [float(at) + (0.1 if at % 2 else -0.1) for at in range(12)]
    wandering = [float(at) + math.sin(at / 2) for at in range(12)]
    assert trend_of(steady).p_value < 1e-4 < trend_of(wandering).p_value


def test_a_trend_without_dependence_is_mann_and_kendalls_own():
    values = [1.0, 4.0, 2.0, 6.0, 5.0, 9.0, 7.0, 12.0, 10.0, 14.0]
    s, variance = mann_kendall(values)
    assert trend_of(values).p_value == pytest.approx(stats.norm.sf((s - 1) / math.sqrt(variance)))


@pytest.mark.parametrize("count", [0, 2, POINTS_MOST + 1])
def test_a_trend_is_of_a_bounded_number_of_points(count):
    with pytest.raises(ValueError, match="a trend is of 3 to 64 values"):
        trend_of([1.0] * count)


def test_values_that_are_all_alike_have_no_trend():
    assert trend_of([5.0] * 12).p_value == 0.5


class Noise:
    """MiB around nought: each minute goes with the one before, and between collections a sawtooth stays."""

    def __init__(self, seed: int, deviation: float, dependence: float, teeth: float) -> None:
        self._chance = random.Random(seed)
        self._dependence = dependence
        self._fresh = deviation * math.sqrt(1 - dependence**2)
        self._teeth, self._phase = teeth, self._chance.random()
        self._value = self._chance.gauss(0, deviation)

    def __next__(self) -> float:
        self._value = self._dependence * self._value + self._chance.gauss(0, self._fresh)
        self._phase = (self._phase + self._chance.uniform(0.1, 0.5)) % 1
        return self._value + self._teeth * self._phase

    @classmethod
    def of_a_process(cls, seed: int) -> Noise:
        """Some process's noise: 0.3 to 2 MiB, hardly to very dependent, sawteeth up to 3 MiB."""
        chance = random.Random(f"process {seed}")
        return cls(seed, chance.uniform(0.3, 2.0), chance.uniform(0.0, 0.95), chance.uniform(0.0, 3.0))


def alarms(sizes: Iterator[float]) -> list[int]:
    """The minutes at which a process of these sizes (MiB) is said to leak."""
    detector = LeakDetector()
    return [at for at, size in enumerate(sizes) if detector.add(size * MIB)]


def false_alarms(runs: range) -> int:
    """Of so many noisy but flat days, those with an alarm at any time."""
    count = 0
    for seed in runs:
        noise = Noise.of_a_process(seed)
        count += bool(alarms(150 + next(noise) for _ in range(DAY)))
    return count


@pytest.mark.req("S2")
@pytest.mark.parametrize("part", range(4))
def test_a_flat_day_has_no_alarm(part):
    share = SHORT_RUNS // 4
    assert false_alarms(range(part * share, (part + 1) * share)) == 0


@pytest.mark.req("S2")
@pytest.mark.long
@pytest.mark.timeout(900)
def test_of_a_thousand_flat_days_less_than_one_in_a_hundred_has_an_alarm():
    assert false_alarms(range(LONG_RUNS)) < LONG_RUNS / 100


@pytest.mark.req("S2")
@pytest.mark.parametrize("began", [0, 180])
@pytest.mark.parametrize("dependence", [0.0, 0.5, 0.8])
def test_a_leak_of_a_megabyte_a_minute_is_found_within_a_quarter_of_an_hour(began, dependence):
    for seed in range(50):
        noise = Noise(seed, 0.5, dependence, 1.0)
        found = alarms(150 + max(0, at - began) + next(noise) for at in range(began + QUARTER + 1))
        assert [at for at in found if at < began] == []
        assert found, f"seed {seed}"


@pytest.mark.req("S2")
def test_in_twice_the_noise_it_is_found_within_half_an_hour():
    late = 0
    for seed in range(50):
        noise = Noise(seed, 1.0, 0.5, 2.0)
        found = alarms(150 + at + next(noise) for at in range(31))
        assert found, f"seed {seed}"
        late += found[0] > QUARTER
    assert late <= 5


@pytest.mark.req("S2")
def test_a_slow_leak_is_found_too():
    for seed in range(10):
        noise = Noise(seed, 0.5, 0.5, 1.0)
        assert alarms(150 + at / 10 + next(noise) for at in range(300)), f"seed {seed}"


@pytest.mark.req("S2")
@pytest.mark.parametrize("grown, minutes", [(40, 2), (40, 6), (100, 30)])
def test_a_cache_that_fills_is_no_leak_for_ever(grown, minutes):
    """While it fills it grows as a leak does; that is said for the time that it takes and a while after."""
    for seed in range(8):
        noise = Noise(seed, 0.5, 0.5, 1.0)
        found = alarms(150 + grown * (1 - math.exp(-at / minutes)) + next(noise) for at in range(DAY // 2))
        # After six times its constant 0.2 % of it are to come; the longest window looks back three hours.
        assert all(at < 6 * minutes + 4 * 12 + CLEARS_AFTER for at in found), f"seed {seed}: {found}"


@pytest.mark.req("S2")
def test_a_step_is_no_leak():
    for seed in range(8):
        noise = Noise(seed, 0.5, 0.5, 1.0)
        found = alarms(150 + (30 if at >= 100 else 0) + next(noise) for at in range(DAY // 2))
        assert found == [], f"seed {seed}: {found}"


def test_an_alarm_ends_when_the_leak_does():
    noise = Noise(1, 0.3, 0.0, 0.5)
    found = alarms(150 + min(at, 40) + next(noise) for at in range(400))
    assert 0 < found[0] <= QUARTER
    assert found[-1] < 40 + 60


_LEAKING = """
import json, sys
from extensions.memory import Rules, Store, Watcher

class Rent:
    def __init__(self):
        self.paid = bytearray(1)

kept = []

def leak():
    kept.append(bytearray(1 << 20)); kept[-1][::4096] = b"x" * 256    # planted
    kept.extend(Rent() for _ in range(200))

now = [0.0]
watcher = Watcher(Rules(limit_bytes=8 << 30), Store(None), clock=lambda: now[0])
watcher.start()
watcher.stop()
watcher.collector.attach()
told = []
for minute in range(1, 17):
    if sys.argv[1] == "leaks":
        leak()
    waste = [[None] * 1000 for _ in range(100)]
    del waste
    for second in range(0, 60, 10):
        now[0] += 10
        watcher.tick()
    trend = watcher.report()["trend"]
    told.append({"minute": minute, **trend})
print(json.dumps({"told": told}))
"""


def minutes_of(what: str, **environ: str) -> dict:
    run = subprocess.run(
        [sys.executable, "-c", _LEAKING, what],
        cwd=CHECKOUT,
        env=os.environ | environ,
        capture_output=True,
        text=True,
        timeout=100,
        check=True,
    )
    return json.loads(run.stdout)


@pytest.mark.req("S2")
@pytest.mark.parametrize("is_traced", [False, True])
def test_a_planted_leak_is_found_and_named_in_a_process(is_traced):
    """Real memory of a real process, by a clock that jumps: a megabyte a minute, kept by one line."""
    said = minutes_of("leaks", PYTHONTRACEMALLOC="1" if is_traced else "")
    named = [one for one in said["told"] if one["is_leak"] and one["culprits"]]
    assert named, said
    assert named[0]["minute"] <= QUARTER
    assert named[0]["bytes_per_minute"] == pytest.approx(MIB, rel=0.3)
    assert named[0]["confidence"] > 0.99
    assert {"what": "__main__.Rent", "count": 200} in named[0]["culprits"]
    by_bytes = [one for one in named[0]["culprits"] if "bytes" in one]
    assert bool(by_bytes) == is_traced
    if is_traced:
        assert by_bytes[0]["what"] == "<string>:12"
        assert by_bytes[0]["bytes"] >= MIB


@pytest.mark.req("S2")
def test_nothing_is_named_where_nothing_leaks():
    said = minutes_of("flat")
    assert not any(one["is_leak"] or one["culprits"] for one in said["told"])
