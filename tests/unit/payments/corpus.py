"""The published payloads, and what their manifest says of each."""

import json
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).resolve().parents[2] / "data" / "daraja"
MANIFEST: list[dict[str, Any]] = json.loads((FOLDER / "manifest.json").read_text())


def body_of(name: str) -> bytes:
    return (FOLDER / name).read_bytes()


def named(*prefixes: str) -> list[dict[str, Any]]:
    return [row for row in MANIFEST if row["file"].startswith(prefixes)]
