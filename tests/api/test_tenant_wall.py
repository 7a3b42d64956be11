"""No agency sees or touches another one's rows: by no operation, with the application's own filters or without.

The operations come from the description, so one that is added tomorrow is tested tomorrow.
"""

from __future__ import annotations

import re
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from flask import Flask
from sqlalchemy import Engine, create_engine, event, make_url, text

from haven.db.base import Base
from haven.db.migrate import sqlalchemy_url
from haven.db.rows import locked
from haven.db.session import tenant_session
from haven.errors import NotFound
from haven.identity.permissions import ROLES
from haven.operations import jobs
from haven.operations.models import Job
from haven.portfolio.models import Owner
from tests.api.operations import (
    Operation,
    Rows,
    a_row_of_everything,
    assert_is_problem,
    example,
    id_fields,
    operations,
    signed_in,
)

SECRET_RENT = "98765.43"
SECRET_NAME = "Siri Kubwa"
_FILTER = re.compile(r"(?:\b\w+\.)?\bagency_id = (?:%\(\w+\)s(?:::\w+)?|CAST\(%\(\w+\)s AS \w+\))")

_ON_QUEUES = [one for one in operations() if one.path.startswith("/jobs/queues/")]
_IN_PATH = [
    # A queue is no row of an agency, and a file is fetched by its link: both have tests of their own.
    one
    for one in operations()
    if one.parameters() and one not in _ON_QUEUES and not one.path.startswith("/exports/download/")
]
_IN_BODY = [(one, name) for one in operations() if one.body for name in id_fields(one.body)]
_READS = [
    one
    for one in operations()
    # Agencies read their own row of /agencies; all else that only operators hold is refused them.
    if one.method == "GET"
    and not one.parameters()
    and (one.path == "/agencies" or one.permission in {None, *ROLES["AGENCY_ADMIN"]})
]


@contextmanager
def without_filters(engine: Engine) -> Iterator[list[str]]:
    """Take every ``agency_id = …`` of the application out of its statements; those that were changed."""
    changed: list[str] = []

    def rewrite(
        _connection: Any, _cursor: Any, statement: str, values: Any, _context: Any, _many: bool
    ) -> Any:
        head, where, rest = statement.partition("WHERE")
        rest, count = _FILTER.subn("TRUE", rest)
        if count:
            changed.append(statement)
        return head + where + rest, values

    event.listen(engine, "before_cursor_execute", rewrite, retval=True)
    try:
        yield changed
    finally:
        event.remove(engine, "before_cursor_execute", rewrite)


@pytest.fixture(scope="module")
def app_engine(app: Flask) -> Engine:
    with app.app_context():
        return app.extensions["sqlalchemy"].engine


@pytest.fixture(scope="module")
def mine(app, engine) -> Rows:
    """An agency with rows of its own, whose administrator tries everything."""
    return a_row_of_everything(engine, signed_in(app, engine))


@pytest.fixture(scope="module")
def theirs(app, engine) -> Rows:
    """Another agency, whose rows are easy to recognise."""
    rows = a_row_of_everything(engine, signed_in(app, engine), SECRET_RENT)
    for path in ("/owners", "/tenants"):
        assert rows.caller.patch(f"{path}/{rows.path[path]}", {"full_name": SECRET_NAME}).status_code == 200
    assert (
        rows.caller.patch(f"/properties/{rows.path['/properties']}", {"name": SECRET_NAME}).status_code == 200
    )
    return rows


@pytest.fixture(params=[True, False], ids=["as it is", "without the application's filters"])
def filters(request, app_engine) -> Iterator[None]:
    if request.param:
        yield
        return
    with without_filters(app_engine):
        yield


def everything(engine: Engine, rows: Rows) -> dict[str, list[Any]]:
    """Every row of an agency, but for the times at which a key or session was last used."""
    found = {}
    with tenant_session(engine, rows.caller.agency_id) as session:
        for table in Base.metadata.sorted_tables:
            if "agency_id" in table.c:
                columns = ", ".join(f'"{one.name}"' for one in table.c if one.name != "last_used_at")
                rows_of = session.execute(text(f"SELECT {columns} FROM {table.name} ORDER BY 1, 2"))
                found[table.name] = list(rows_of)
    return found


def tell_tales(rows: Rows, mine: Rows) -> list[str]:
    return [
        *sorted(rows.ids - mine.ids),
        SECRET_NAME,
        SECRET_NAME.lower(),
        SECRET_RENT,
        SECRET_RENT.partition(".")[0],
    ]


def assert_tells_nothing(answer: Any, theirs: Rows, mine: Rows, *asked: str) -> None:
    """Nothing of the other agency is in the answer, but for the id that was asked for."""
    body = answer.get_data(as_text=True)
    told = [tale for tale in tell_tales(theirs, mine) if tale in body and tale not in asked]
    assert not told, f"the answer holds {told}"


@pytest.mark.req("D4")
@pytest.mark.parametrize("operation", _IN_PATH, ids=str)
def test_another_agencys_row_is_not_there(operation: Operation, mine: Rows, theirs: Rows, filters, engine):
    path = operation.on(theirs.path)
    body = example(operation.body, mine.fields, whole=operation.method == "PATCH") if operation.body else None
    before = everything(engine, theirs)

    answer = mine.caller(operation.method, path, body)

    held = operation.permission is None or operation.permission in ROLES["AGENCY_ADMIN"]
    assert_is_problem(answer, 404 if held else 403)
    assert_tells_nothing(answer, theirs, mine, *theirs.path.values())
    assert everything(engine, theirs) == before


@pytest.mark.parametrize("operation", _IN_PATH, ids=str)
def test_one_has_a_row_of_ones_own_to_compare_with(operation: Operation, mine: Rows):
    """What the test above calls on another agency's row is found on one's own: else its 404 would prove nothing."""
    if operation.method == "GET":
        answer = mine.caller.get(operation.on(mine.path))
        session_of_somebody_else = operation.path.startswith("/auth/sessions")
        assert answer.status_code == 200 or session_of_somebody_else, answer.get_json()
    else:
        assert set(operation.on(mine.path).split("/")) & set(mine.path.values())


def _a_job_of_each_end(engine: Engine, rows: Rows) -> dict[str, uuid.UUID]:
    """A job that waits in the queue ``maintenance`` and one that has failed there, by their status."""
    made = {}
    with tenant_session(engine, rows.caller.agency_id, "user:tests") as session:
        for status in ("QUEUED", "FAILED"):
            made[status] = jobs.submit(session, "verify_books", {})
            session.get_one(Job, (rows.caller.agency_id, made[status])).status = status
    return made


def _statuses(engine: Engine, rows: Rows, made: dict[str, uuid.UUID]) -> dict[str, str]:
    with tenant_session(engine, rows.caller.agency_id) as session:
        return {
            before: session.get_one(Job, (rows.caller.agency_id, job_id)).status
            for before, job_id in made.items()
        }


@pytest.mark.req("D4")
@pytest.mark.parametrize("operation", _ON_QUEUES, ids=str)
def test_what_is_done_to_a_queue_touches_no_job_of_another_agency(
    operation: Operation, mine: Rows, theirs: Rows, filters, engine
):
    own, foreign = _a_job_of_each_end(engine, mine), _a_job_of_each_end(engine, theirs)
    before = everything(engine, theirs)
    pauses = _paused(engine)

    answer = mine.caller(operation.method, operation.path.replace("{queue}", "maintenance"), None)

    if operation.permission in ROLES["AGENCY_ADMIN"]:
        assert answer.status_code == 200, answer.get_json()
        done = {"empty": {"QUEUED": "CANCELLED"}, "requeue": {"FAILED": "QUEUED"}}
        changed = done[operation.path.rpartition("/")[2]]
        assert _statuses(engine, mine, own) == {"QUEUED": "QUEUED", "FAILED": "FAILED"} | changed
    else:
        assert_is_problem(answer, 403)
        assert _statuses(engine, mine, own) == {"QUEUED": "QUEUED", "FAILED": "FAILED"}
    assert _statuses(engine, theirs, foreign) == {"QUEUED": "QUEUED", "FAILED": "FAILED"}
    assert everything(engine, theirs) == before
    assert _paused(engine) == pauses


def test_the_operations_on_queues_are_those_of_operators_and_of_agencies():
    assert {one.path.rpartition("/")[2]: one.permission for one in _ON_QUEUES} == {
        "pause": "queues:write",
        "resume": "queues:write",
        "empty": "jobs:admin",
        "requeue": "jobs:admin",
    }
    holders = {role for role, held in ROLES.items() if "queues:write" in held}
    assert holders == {"PLATFORM_ADMIN"}


def _paused(engine: Engine) -> set[str]:
    with engine.connect() as connection:
        return set(connection.execute(text("SELECT queue FROM job_queue")).scalars())


@pytest.mark.req("D4")
@pytest.mark.parametrize("operation, name", _IN_BODY, ids=str)
def test_another_agencys_row_cannot_be_named(
    operation: Operation, name: str, mine: Rows, theirs: Rows, filters, engine
):
    assert name in theirs.fields, f"a_row_of_everything has no row for the field {name}"
    path = operation.on(mine.drafts)
    assert operation.body is not None
    body = example(operation.body, mine.fields) | {name: theirs.fields[name]}
    before = everything(engine, theirs)

    answer = mine.caller(operation.method, path, body)

    document = assert_is_problem(answer, 403, 404, 409, 422)
    says_so = "there is no" in document["detail"].lower() and document["errors"][0]["pointer"] == f"/{name}"
    assert says_so or document["detail"] == "Only operators make users of another agency.", document
    assert_tells_nothing(answer, theirs, mine, theirs.fields[name])
    assert everything(engine, theirs) == before


@pytest.mark.parametrize(
    "operation, name", [(one, name) for one, name in _IN_BODY if name != "agency_id"], ids=str
)
def test_a_row_of_ones_own_can_be_named(operation: Operation, name: str, app, engine):
    """The body of the test above is refused for the foreign id alone."""
    rows = a_row_of_everything(engine, signed_in(app, engine))
    assert operation.body is not None
    own = rows.fields | {
        "unit_id": rows.caller.get(f"/leases/{rows.drafts['/leases']}").get_json()["unit_id"]
    }
    body = example(operation.body, own) | {name: own[name]}

    answer = rows.caller(operation.method, operation.on(rows.drafts), body)

    assert answer.status_code < 300, answer.get_json()


@pytest.mark.req("D4")
@pytest.mark.parametrize("operation", _READS, ids=str)
def test_a_list_or_sum_has_nothing_of_another_agency(operation: Operation, mine: Rows, theirs: Rows, filters):
    answer = mine.caller.get(operation.path)

    assert answer.status_code == 200, answer.get_json()
    assert_tells_nothing(answer, theirs, mine)


@pytest.mark.req("D4")
@pytest.mark.parametrize("operation", [one for one in _READS if one.is_list], ids=str)
def test_no_filter_or_search_finds_another_agencys_rows(
    operation: Operation, mine: Rows, theirs: Rows, filters
):
    asked = {name: theirs.fields[name] for name in operation.query if name in theirs.fields}
    asked |= {f"{name}__in": value for name, value in asked.items()}
    asked |= {"q": "siri"} if "q" in operation.query else {}
    asked |= {"full_name": SECRET_NAME} if "full_name" in operation.query else {}
    asked["limit"] = "200"

    for name, value in asked.items():
        total = "&include_total=true" if "include_total" in operation.query else ""
        answer = mine.caller.get(f"{operation.path}?{name}={value}{total}")
        assert answer.status_code == 200, answer.get_json()
        assert_tells_nothing(answer, theirs, mine)
        if name != "limit":
            assert answer.get_json()["data"] == []
            assert answer.get_json()["pagination"]["total"] == 0


def test_the_other_agency_sees_its_rows_itself(theirs: Rows, mine: Rows):
    """The lists do hold what the tests above look for."""
    told = set()
    for operation in _READS:
        body = theirs.caller.get(operation.path).get_data(as_text=True)
        told |= {tale for tale in tell_tales(theirs, mine) if tale in body}
    assert {SECRET_NAME, SECRET_RENT} <= told
    missing = theirs.ids - told
    inside = ("/auth/sessions", "/payments/mpesa/inbox", "/webhooks/{row_id}/deliveries")
    of_the_platform = theirs.drafts["/monitoring/alerts/rules"]
    assert missing <= {of_the_platform, *(theirs.path[before] for before in inside)}


def test_the_filters_are_really_taken_out(app_engine: Engine, mine: Rows):
    with without_filters(app_engine) as changed:
        assert (
            mine.caller.patch(f"/owners/{mine.path['/owners']}", {"full_name": "Achieng"}).status_code == 200
        )
        assert mine.caller.delete(f"/auth/sessions/{uuid.uuid4()}").status_code == 404
        assert mine.caller.get("/auth/me").status_code == 200
    tables = {
        name
        for name in ("owner", "sign_in_session", "user_account")
        if any(f"FROM {name}" in one for one in changed)
    }
    assert tables == {"owner", "sign_in_session", "user_account"}


def test_without_filters_only_the_database_keeps_agencies_apart(
    superuser_url, database_name, engine, mine, theirs
):
    """Whom row-level security does not bind reads another agency's row through the same, unfiltered service."""
    unbound = create_engine(make_url(sqlalchemy_url(superuser_url)).set(database=database_name))
    their_owner = uuid.UUID(theirs.path["/owners"])
    try:
        with tenant_session(unbound, mine.caller.agency_id) as session, pytest.raises(NotFound):
            locked(session, Owner, their_owner)
        with without_filters(unbound), tenant_session(unbound, mine.caller.agency_id) as session:
            assert locked(session, Owner, their_owner).full_name == SECRET_NAME
        with (
            without_filters(engine),
            tenant_session(engine, mine.caller.agency_id) as session,
            pytest.raises(NotFound),
        ):
            locked(session, Owner, their_owner)
    finally:
        unbound.dispose()


def test_an_idempotency_key_is_remembered_for_one_agency_only(app, engine):
    first, second = (signed_in(app, engine) for _ in range(2))
    body = {"full_name": "Achieng Otieno"}

    made = [by.post("/owners", body, Idempotency_Key="owner-1") for by in (first, second)]

    assert [answer.status_code for answer in made] == [201, 201]
    assert made[0].get_json()["id"] != made[1].get_json()["id"]
