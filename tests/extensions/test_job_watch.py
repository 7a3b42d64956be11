"""What a watch waits for before a cancelled job is over: told by order and by its constants, so that no clock can make it fail."""

from __future__ import annotations

import json
import subprocess
import sys

from extensions.jobs import watch

PROMISED_S = 2
_HEARS_NOTHING = """
import contextlib, json, time
from extensions.jobs.watch import Interrupted, Watch

class Connections:
    cancelled = 0
    def cancel(self, thread):
        self.cancelled += 1

answers, said, heard = [False, False, True], [], 0
connections = Connections()
def look(renews):
    said.append(answers[len(said)])  # one look more than these is an IndexError, and is told
    return said[-1]
def end(reason):
    print(json.dumps({"reason": reason, "looks": len(said), "heard": heard, "statements": connections.cancelled}), flush=True)
ends_at = time.monotonic() + 60
with Watch(look, end, 60, connections=connections):
    while time.monotonic() < ends_at:
        try:
            time.sleep(60)
        except Interrupted:
            heard += 1
print("it was let alone")
"""


def test_what_is_waited_for_is_less_than_what_is_promised():
    """A look, the time to end by itself, and then half a second for the look's statement and the end's transaction."""
    assert watch.LOOK_EVERY_S + watch.ENDS_WITHIN_S <= PROMISED_S - 0.5


def test_the_first_look_that_says_so_ends_a_job_that_hears_nothing():
    done = subprocess.run(
        [sys.executable, "-c", _HEARS_NOTHING], capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 70, done.stderr
    told = json.loads(done.stdout)
    assert (told["reason"], told["looks"]) == ("CANCELLED", 3)
    assert told["heard"] > 0
    assert told["statements"] >= told["heard"]
