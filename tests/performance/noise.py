"""Simulated runs of benchmarks, from what was recorded of the same code against itself (`python -m benchmarks.noise`)."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

from haven.benchmarking.statistics import LOOKS, Rules, confidence_of_each, paired

RECORDED = Path(__file__).parent.parent / "data" / "benchmarking" / "noise.json"


def recorded():
    """Of each benchmark the seconds (in millionths) of both sides, by start and round."""
    kept = json.loads(RECORDED.read_text())["benchmarks"]
    return {name: (np.array(one["here"]), np.array(one["there"])) for name, one in kept.items()}


def simulated(sides, runs, random):
    """``runs`` runs of as many starts as are ever measured: whole starts drawn, sides in any order.

    A block is a start, not some of its rounds: blocks of 4 of 16 rounds make the medians of starts lie up to 1.9 times as far apart as
    those that were recorded, and so would test with noise that there is not.
    """
    start = random.integers(len(sides[0]), size=(runs, LOOKS[-1]))
    here, there = (side[start] for side in sides)
    swapped = random.random((runs, LOOKS[-1], 1)) < 0.5
    return np.where(swapped, there, here), np.where(swapped, here, there)


def decided(here, there, random, count=12):
    """What each run says in the end: the first look at which it is clear."""
    rules = Rules()
    confidence = confidence_of_each(rules, count)
    outcome = np.full(here.shape[0], "unclear", dtype="U7")
    for look in LOOKS:
        found = paired(here[:, :look], there[:, :look], confidence, random).decisions(rules.threshold)
        outcome = np.where(outcome == "unclear", found, outcome)
    return outcome
