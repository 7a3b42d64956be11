"""``haven import``: from a file or the standard input, with an exit status that tells."""

from __future__ import annotations

import pytest
from click.testing import CliRunner
from sqlalchemy import select

from haven.cli import main
from haven.db.session import tenant_session
from haven.identity.models import Agency


@pytest.fixture
def run(environ, engine, by, monkeypatch):
    for name, value in environ.items():
        monkeypatch.setenv(name, value)
    with tenant_session(engine, by.agency_id) as session:
        slug = session.execute(select(Agency.slug).where(Agency.id == by.agency_id)).scalar_one()

    def act(*arguments, data=None):
        return CliRunner().invoke(main, ["import", *arguments, "--agency", slug], input=data)

    return act


@pytest.fixture
def count(by):
    return lambda: len(by.get("/tenants").get_json()["data"])


def test_a_file_is_imported_and_seen_at_once(run, count, tmp_path, settled_cache):
    file = tmp_path / "tenants.csv"
    file.write_text("Name,Simu\nAchieng,0712345678\nOtieno,0712345679\n")
    assert count() == 0
    result = run("tenants", str(file), "--dry-run")
    assert (result.exit_code, count()) == (0, 0), result.output
    assert "2 rows are good" in result.output
    result = run("tenants", str(file))
    assert (result.exit_code, count()) == (0, 2), result.output
    assert "2 tenants made" in result.output


def test_wrong_rows_are_shown_written_and_told_by_the_exit_status(run, count, tmp_path):
    wrong = tmp_path / "wrong.csv"
    data = "Name,Simu\nAchieng,12\nOtieno,0712345679\n"
    result = run("tenants", "-", "--errors", str(wrong), data=data)
    assert (result.exit_code, count()) == (1, 0)
    assert "Simu" in result.output
    assert wrong.read_text().splitlines()[1].startswith("2,Simu,12,")
    result = run("tenants", "-", "--mode", "partial", data=data)
    assert (result.exit_code, count()) == (1, 1)


def test_what_cannot_be_read_is_one_sentence(run):
    result = run("tenants", "-", data="Nonsense\n1\n")
    assert result.exit_code == 1
    assert "Nonsense" in result.output
    assert "Traceback" not in result.output
