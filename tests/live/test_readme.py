"""The README's walk, word for word, against running servers."""

from __future__ import annotations

import json
import re
import subprocess


def test_the_walk_from_sign_in_to_receipt_works_as_the_readme_says(live_stack, checkout, tmp_path):
    readme = (checkout / "README.md").read_text()
    walk = re.search(r"^```sh\n(.*?)^```$", readme, re.MULTILINE | re.DOTALL)
    assert walk is not None
    (tmp_path / ".haven").symlink_to(live_stack.folder)

    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", walk[1]],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=90,
        check=False,
    )

    assert done.returncode == 0, done.stderr
    said = done.stdout.strip().splitlines()
    assert said[0] == "ACTIVE"
    assert said[1].startswith("INV-")
    assert said[2:4] == ["PAID", "0.00"]
    receipt = json.loads(said[4])
    assert receipt["number"].startswith("RCT-")
    assert receipt["amount"] == "25000.00"
    assert re.fullmatch(r"[A-Z0-9]{10}", receipt["reference"])
    assert [share["amount"] for share in receipt["allocations"]] == ["25000.00"]
