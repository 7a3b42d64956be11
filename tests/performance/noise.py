"""Simulated runs of benchmarks, from what was recorded of the same code against itself (`python -m benchmarks.noise`)."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

from haven.benchmarking.statistics import LOOKS, Rules, confidence_of_each, paired

RECORDED = Path(__file__).parent.parent / "data" / "benchmarking" / "noise.json"
_BLOCK = 4


def recorded():
    """Of each benchmark the seconds (in millionths) of both sides, by start and round."""
    kept = json.loads(RECORDED.read_text())["benchmarks"]
    return {name: (np.array(one["here"]), np.array(one["there"])) for name, one in kept.items()}


def simulated(sides, runs, random):
    """``runs`` runs of as many starts as are ever measured: starts drawn, blocks of rounds in each, sides in any order."""
    starts, rounds = sides[0].shape
    start = random.integers(starts, size=(runs, LOOKS[-1]))
    begin = random.integers(rounds, size=(runs, LOOKS[-1], rounds // _BLOCK))
    at = ((begin[..., None] + np.arange(_BLOCK)) % rounds).reshape(runs, LOOKS[-1], rounds)
    here, there = (side[start[..., None], at] for side in sides)
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
