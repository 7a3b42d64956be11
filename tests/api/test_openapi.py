"""The description is true: valid OpenAPI 3.1, and real answers are what it says."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import pytest
from jsonschema import Draft202012Validator, FormatChecker
from openapi_spec_validator import validate

from haven.api.resource import API
from haven.identity.permissions import ROLES
from tests.api.operations import (
    Operation,
    Rows,
    a_row_of_everything,
    description,
    example,
    operations,
    resolved,
    signed_in,
)

_WALKED = [one for one in operations() if one.is_json and not one.is_public and one.path != "/auth/logout"]
_OF_WHAT_IS_SETTLED = ("/void", "/reverse", "/terminate", "/credit")
_EXTRA = {
    "/auth/password": {"current_password": "mvua inanyesha leo", "new_password": "jua linawaka leo"},
    "/payments/mpesa/stk-push": {"phone": "0712345678", "amount": "10"},
    "/monitoring/alerts/silences": {"rule": "payments_need_review"},
}


@pytest.fixture
def rows(app, engine) -> Rows:
    return a_row_of_everything(engine, signed_in(app, engine))


def test_the_description_is_valid():
    assert description()["openapi"] == "3.1.0"
    validate(description())


@pytest.mark.parametrize("operation", operations(), ids=str)
def test_every_operation_says_what_it_is_and_how_it_fails(operation):
    assert operation.document["summary"]
    assert operation.document["tags"]
    assert operation.is_public or operation.document["security"] == [{"bearer": []}]
    failures = [status for status in operation.document["responses"] if status.startswith("4")]
    assert failures
    for status in failures:
        found = operation.document["responses"][status]
        found = resolved(found) if "$ref" not in found else found
        if "content" in found:
            assert list(found["content"]) == ["application/problem+json"], status


def _body(operation: Operation, rows: Rows) -> Any:
    if operation.body is None:
        return None
    if operation.path.endswith("/bulk"):
        return _bulk_body(operation, rows)
    body: dict[str, Any] = example(operation.body, rows.fields) | _EXTRA.get(operation.path, {})
    if operation.path in ("/payments", "/payments/mpesa/stk-push"):
        body["lease_id"] = rows.fields["lease_id"]
    return body


def _bulk_body(operation: Operation, rows: Rows) -> list[dict[str, Any]]:
    """Rows that can be made, changed or removed: of what is in use, so that no row is in two of a test's ways."""
    resource = operation.path.removesuffix("/bulk")
    if operation.method == "POST":
        [row] = example(operation.body or {}, rows.fields)
        return [row | ({"lease_id": rows.fields["lease_id"]} if resource == "/payments" else {})]
    if operation.method == "PATCH":
        return [{"id": rows.drafts[resource]}]
    one = next(one for one in operations() if (one.method, one.path) == ("POST", f"{resource}/bulk"))
    made = rows.caller("POST", one.path, _bulk_body(one, rows)).get_json()
    return [{"id": made["ids"][0]}]


def _check(schema: dict[str, Any], value: Any) -> None:
    whole = {**schema, "components": description()["components"]}
    errors = list(Draft202012Validator(whole, format_checker=FormatChecker()).iter_errors(value))
    assert not errors, [f"{'/'.join(map(str, error.absolute_path))}: {error.message}" for error in errors[:5]]


def _money_in(schema: dict[str, Any], value: Any) -> Iterator[str]:
    """Every amount of an answer, found by its schema."""
    schema = resolved(schema)
    if isinstance(value, dict):
        for name, one in value.items():
            yield from _money_in(schema.get("properties", {}).get(name, {}), one)
    elif isinstance(value, list):
        for one in value:
            yield from _money_in(schema.get("items", {}), one)
    elif isinstance(value, str) and schema.get("example") == "25000.00":
        yield value


@pytest.mark.parametrize("operation", _WALKED, ids=str)
def test_a_real_answer_is_what_the_description_says(app, engine, rows, operation):
    is_operators = operation.permission in ROLES["PLATFORM_ADMIN"] - ROLES["AGENCY_ADMIN"]
    by = signed_in(app, engine, "PLATFORM_ADMIN") if is_operators else rows.caller
    is_settled = operation.method == "GET" or operation.path.endswith(_OF_WHAT_IS_SETTLED)

    answer = by(
        operation.method, operation.on(rows.path if is_settled else rows.drafts), _body(operation, rows)
    )

    status, schema = operation.answer
    if answer.status_code == 409 and operation.method == "DELETE":
        return  # it is in use, and says so: the refusal is described as well
    assert answer.status_code == status, answer.get_data(as_text=True)[:500]
    if schema is None:
        assert answer.get_data() == b""
        return
    shown = answer.get_json()
    _check(schema, shown)
    for money in _money_in(schema, shown):
        assert re.fullmatch(r"-?\d+\.\d\d", money), money
    if not operation.is_list:
        assert shown.keys() == resolved(schema)["properties"].keys()
        return
    page = resolved(schema)["properties"]["data"]["items"]
    assert shown["data"] or operation.path in ("/webhooks/{row_id}/deliveries", "/auth/sessions")
    for row in shown["data"]:
        assert row.keys() == resolved(page)["properties"].keys()


def test_the_description_is_served_to_everybody(client):
    answer = client.get(f"{API}/openapi.json")
    assert answer.status_code == 200
    assert answer.get_json()["info"]["title"] == "Haven"
