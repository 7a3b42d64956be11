"""Whatever is sent, the answer is a problem document of the right status: never a 500, never HTML."""

from __future__ import annotations

import json
from typing import Any

import pytest

from haven.api.resource import API
from haven.identity.permissions import ROLES
from tests.api.operations import (
    Rows,
    a_row_of_everything,
    assert_is_problem,
    example,
    operations,
    resolved,
    signed_in,
    type_of,
)

_WITH_BODY = [one for one in operations() if one.body is not None]
_LISTS = [one for one in operations() if one.is_list]
# A file is fetched by its link, which has tests of its own.
_WITH_PATH = [
    one for one in operations() if one.parameters() and not one.path.startswith("/exports/download/")
]
JSON = "application/json"
WRONG: dict[str, list[Any]] = {
    "string": ["1e999", "NaN", "-Infinity", 7, True, {}, [], "\x00", "x" * 100_000, "\ud7ff\U0010ffff" * 3],
    "integer": ["x", 1.5, True, 10**30, -(10**30), {}, []],
    "number": ["x", {}, [], 10**400],
    "boolean": ["perhaps", 7, {}],
    "array": ["x", {}, 7, [None], [[]], ["\x00"]],
    "object": ["x", [], 7, {"unknown": 1}],
    "any": [[[[[]]]]],
}
REFUSED = (400, 401, 403, 404, 409, 413, 422)


@pytest.fixture(scope="module")
def rows(app, engine) -> Rows:
    return a_row_of_everything(engine, signed_in(app, engine))


def _send(rows: Rows, operation, data: bytes, content_type: str = JSON):
    return rows.caller.client.open(
        f"{API}{operation.on(rows.drafts)}",
        method=operation.method,
        data=data,
        content_type=content_type,
        headers={"Authorization": f"Bearer {rows.caller.token}"},
    )


def _by(rows: Rows, operation) -> bool:
    """Whether the administrator of an agency may call it; 403 comes before the body is read."""
    return operation.permission is None or operation.permission in ROLES["AGENCY_ADMIN"]


@pytest.mark.parametrize("operation", _WITH_BODY, ids=str)
@pytest.mark.parametrize(
    "data, content_type, status",
    [
        (b"{", JSON, 400),
        (b"\xff\xfe{}", JSON, 400),
        (b'{"a": "\xc3("}', JSON, 400),
        (b'{"a": NaN}', JSON, 400),
        (b"[" * 5000, JSON, 400),
        (b"[]", JSON, 422),
        (b"null", JSON, 422),
        (b'"text"', JSON, 422),
        (b"7", JSON, 422),
        (b"{}", "text/plain", 415),
        (b"a=b", "application/x-www-form-urlencoded", 415),
        (b'{"a": "' + b"x" * 2_000_000 + b'"}', JSON, 413),
        (b'{"not_a_field": 1}', JSON, 422),
    ],
    ids="cut utf8 utf8-inside nan deep array null text number plain form large unknown".split(),
)
def test_a_body_that_is_none_is_refused(rows, operation, data, content_type, status):
    expected = status if _by(rows, operation) else 403
    assert_is_problem(_send(rows, operation, data, content_type), expected)


@pytest.mark.parametrize(
    "operation", [one for one in _WITH_BODY if (one.body or {}).get("required")], ids=str
)
def test_each_missing_field_is_named(rows, operation):
    answer = rows.caller(operation.method, operation.on(rows.drafts), {})
    if not _by(rows, operation):
        assert_is_problem(answer, 403)
        return
    named = {fault["pointer"] for fault in assert_is_problem(answer, 422)["errors"]}
    assert named >= {f"/{field}" for field in operation.body["required"]}


@pytest.mark.parametrize("operation", _WITH_BODY, ids=str)
def test_a_wrong_type_is_refused_field_by_field(rows, operation):
    whole = example(operation.body, rows.fields)
    for name, schema in operation.body.get("properties", {}).items():
        for wrong in WRONG[type_of(resolved(schema))]:
            answer = _send(rows, operation, json.dumps({**whole, name: wrong}).encode())
            if answer.status_code < 300:
                # A long or odd text can be a good name; whatever is taken comes back as it was sent.
                assert isinstance(wrong, str | int), (name, wrong)
                continue
            assert_is_problem(answer, *REFUSED)


@pytest.mark.parametrize("operation", _LISTS, ids=str)
def test_a_list_refuses_what_it_does_not_know(rows, operation):
    path = operation.on(rows.path)
    for query in (
        "nonsense=1", "limit=0", "limit=201", "limit=x", "limit=", "limit=-1", "limit=1e3", "sort=nothing", "sort=",
        "cursor=x", "cursor=", "cursor=W10", "cursor=WyJhIiwiYiIsImMiXQ", "include_total=maybe",
        "limit=1&limit=2", "id__gte=1", "limit=%00", "sort=%00", "cursor=%00", "q=",
    ):  # fmt: skip
        document = assert_is_problem(rows.caller.get(f"{path}?{query}"), 422)
        assert document["errors"][0]["pointer"] == query.partition("=")[0], query


@pytest.mark.parametrize("operation", _LISTS, ids=str)
def test_every_filter_refuses_or_takes_whatever_it_is_given(rows, operation):
    path = operation.on(rows.path)
    for name in operation.query:
        for text in (
            "%00",
            "x",
            "",
            ",",
            "%27%20OR%201=1--",
            "9" * 400,
            "%F0%9F%8F%A0",
            "-1",
            "1e999",
            "NaN",
        ):
            answer = rows.caller.get(f"{path}?{name}={text}")
            if answer.status_code != 200:
                assert_is_problem(answer, 400, 422)


@pytest.mark.parametrize("operation", _WITH_PATH, ids=str)
def test_a_malformed_id_is_not_found(rows, operation):
    for text in ("x", "1", "%00", "0" * 32, "00000000-0000-0000-0000-00000000000g", "..", "%F0%9F%8F%A0"):
        values = dict.fromkeys(rows.path, text if text != "0" * 32 else "0" * 31)
        answer = rows.caller(operation.method, operation.on(values), {})
        # What is for operators alone is refused before it is looked for.
        held = operation.permission is None or operation.permission in ROLES["AGENCY_ADMIN"]
        assert_is_problem(answer, *((404, 405) if held else (403, 404, 405)))


@pytest.mark.parametrize(
    "header", ["", "Bearer", "Bearer x", "Basic eDp4", "Bearer hvn_" + "0" * 32 + "x" * 43]
)
def test_a_token_that_is_none_is_refused(client, header):
    answer = client.get(f"{API}/units", headers={"Authorization": header})
    assert_is_problem(answer, 401)
    assert answer.headers["WWW-Authenticate"].startswith("Bearer")


@pytest.mark.parametrize(
    "path", ["/", "/api", f"{API}/nothing", f"{API}/units/x/y", "/%00", "/..%2f..%2fetc/passwd"]
)
def test_what_is_not_there_is_a_problem_document(client, path):
    assert_is_problem(client.get(path), 404)


def test_a_method_that_is_not_allowed_says_which_are(client):
    answer = client.put(f"{API}/units")
    assert_is_problem(answer, 405)
    assert "GET" in answer.headers["Allow"]
