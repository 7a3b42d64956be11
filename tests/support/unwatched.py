"""Haven with its guard taken away: what is written clears no cache. For the test of the test."""

from __future__ import annotations

import haven.runtime
from haven.app import create_app

haven.runtime.watch_writes = lambda *args, **options: None  # type: ignore[attr-defined]
app = create_app()
