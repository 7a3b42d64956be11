"""``haven demo`` in a terminal."""

from __future__ import annotations

import re
from collections.abc import Callable

from click.testing import CliRunner

from haven.cli import main


def test_the_command_loads_and_shows_how_to_sign_in(fresh_database: Callable[[], str]):
    url = fresh_database()
    result = CliRunner().invoke(main, ["demo", "--size", "small"], env={"DATABASE_OWNER_URL": url})
    assert result.exit_code == 0, result.output
    assert "admin@makao-bora.example" in result.output
    assert re.search(r"hvn_[0-9a-f]{32}[A-Za-z0-9_-]{43}\n", result.output)
    assert "ledger_entry" in result.output

    again = CliRunner().invoke(main, ["demo", "--database-owner-url", url])
    assert again.exit_code == 1
    assert "has the demo already" in again.output


def test_the_command_asks_which_database():
    result = CliRunner().invoke(main, ["demo"], env={"DATABASE_OWNER_URL": "", "DATABASE_URL": ""})
    assert result.exit_code == 2
    assert "--database-owner-url" in result.output
