"""Exports from Python, and with ``haven export``."""

from __future__ import annotations

import uuid

import pytest
from click.testing import CliRunner

from haven.db.session import tenant_session
from haven.errors import Forbidden, Invalid, NotFound
from haven.identity.models import Agency
from haven.insight.exports import export_service
from haven.insight.exports.commands import export
from tests.exports.reading import rows_of
from tests.support.builders import a_property, a_tenant


@pytest.mark.parametrize("name", ["properties", "units", "tenants", "leases", "invoices", "payments"])
def test_each_list_is_exported_from_python(app, at_jobs, admin, name):
    act = getattr(export_service, f"export_{name}")
    with app.app_context():
        job = act({}, admin.user_id, admin.agency_id, "ndjson")
    assert admin.get(f"/jobs/exports/{job.id}").get_json()["kind"] == "export"
    assert at_jobs.job(admin.agency_id, job.id).requested_by == f"user:{admin.user_id}"


def test_python_has_no_more_rights_than_the_user(app, admin, caller_of):
    viewer = caller_of("VIEWER", admin.agency_id)
    act = export_service.export_properties
    with app.app_context():
        with pytest.raises(Forbidden):
            act(None, viewer.user_id, admin.agency_id, "csv")
        with pytest.raises(NotFound):
            act(None, caller_of().user_id, admin.agency_id, "csv")
        with pytest.raises(Invalid, match="filters/colour"):
            act({"colour": "red"}, admin.user_id, admin.agency_id, "csv")


@pytest.fixture
def run(environ, engine, admin):
    with tenant_session(engine, admin.agency_id) as session:
        agency = session.get(Agency, admin.agency_id)
        assert agency is not None
        slug = agency.slug

    def invoke(*arguments: str):
        return CliRunner(env=dict(environ)).invoke(export, [*arguments, "--agency", slug])

    return invoke


def test_the_terminal_writes_the_file_whole(run, engine, admin, tmp_path):
    for name in ("Umoja", "Jacaranda"):
        a_property(engine, admin.agency_id, name=name)
    out = tmp_path / "properties.csv"
    done = run("properties", "--out", str(out), "--filter", "name=Umoja")
    assert done.exit_code == 0, done.output
    assert [row["name"] for row in rows_of(out)] == ["Umoja"]
    assert list(tmp_path.iterdir()) == [out]


@pytest.mark.parametrize(
    "arguments, words",
    [
        (("--filter", "colour=red"), "filters/colour"),
        (("--filter", "name"), "NAME=VALUE"),
        (("--format", "xlsx", "--compression", "gzip"), "compress"),
    ],
)
def test_what_is_wrong_is_said_and_there_is_no_file(run, tmp_path, arguments, words):
    done = run("properties", "--out", str(tmp_path / "a.csv"), *arguments)
    assert done.exit_code in (1, 2)
    assert words in done.output
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_is_not_there_is_said(run, engine, admin, tmp_path):
    a_tenant(engine, admin.agency_id)
    done = run("tenants", "--out", str(tmp_path / "nowhere" / f"{uuid.uuid4()}.csv"))
    assert done.exit_code == 1
    assert "cannot be written" in done.output
