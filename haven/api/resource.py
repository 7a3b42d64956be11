"""The five routes that every resource has: list, make, read, change, remove; one declaration each."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from flask import Response, request
from flask_smorest import Blueprint
from marshmallow import Schema, fields
from sqlalchemy.orm import Session
from werkzeug.datastructures import MultiDict

from haven.api.bodies import body
from haven.api.cached import CacheRule, shape_of
from haven.api.conditional import etag, expected_version, not_modified
from haven.api.encoding import check_size, encode, json_response
from haven.api.guard import current_session, requires
from haven.api.idempotency import idempotent
from haven.api.large_answers import NDJSON, rows_answer, wants_rows
from haven.api.listing import LIMIT_DEFAULT, LIMIT_MAX, SEARCH_MAX, Listing, Page, next_link

API: Final = "/api/v1"
_PROBLEM: Final = {"application/problem+json": {"schema": {"$ref": "#/components/schemas/Problem"}}}

Create = Callable[[Session, dict[str, Any]], uuid.UUID]
Update = Callable[[Session, uuid.UUID, dict[str, Any], int | None], None]
Delete = Callable[[Session, uuid.UUID, int | None], None]


class Pagination(Schema):
    """Where one is in a list."""

    limit = fields.Integer(required=True)
    next_cursor = fields.String(
        required=True, allow_none=True, metadata={"description": "Send it as `cursor`."}
    )
    has_more = fields.Boolean(required=True)
    total = fields.Integer(metadata={"description": "With `include_total=true`."})


@dataclass(frozen=True)
class Resource:
    """One resource of the API.

    Args:
        name: one row in words ("property"); the schemas are named after it.
        path: under ``/api/v1`` ("/properties").
        permission: ``{permission}:read`` and ``{permission}:write`` guard it.
        row: the schema of an answer; its fields are the listing's columns.
        body: the schema of a POST, and of a PATCH where ``patch`` is None.
        derived: fields counted from other rows, which the version says nothing of.
        create, update, delete: of the service; one that is None has no route.
        is_cached: whether pages of its list are stored, until what they were read from changes.
    """

    name: str
    path: str
    permission: str
    row: type[Schema]
    listing: Listing
    body: type[Schema] | None = None
    patch: type[Schema] | None = None
    derived: tuple[str, ...] = ()
    create: Create | None = None
    update: Update | None = None
    delete: Delete | None = None
    is_cached: bool = False

    @property
    def cache_rule(self) -> CacheRule | None:
        """How pages of the list are stored; None: not at all."""
        if not self.is_cached:
            return None
        return CacheRule(self.permission, self.listing.tables, shape_of(self.listing.statement))

    def answer(
        self, row_id: uuid.UUID, status: int = 200, headers: Mapping[str, str] | None = None
    ) -> Response:
        """The row as the answer to the request at hand, in its own agency."""
        row = self.listing.one(current_session(), row_id)
        tag = {"ETag": etag(row, self.derived)} if "version" in row else {}
        return json_response(row, status, {**tag, **(headers or {})})

    def created(self, row_id: uuid.UUID, status: int = 201) -> Response:
        """The answer to a POST that made the row."""
        return self.answer(row_id, status, {"Location": f"{API}{self.path}/{row_id}"})

    def read(self, row_id: uuid.UUID) -> Response:
        """The row, or 304 where the caller has it."""
        answer = self.answer(row_id)
        tag = answer.headers.get("ETag")
        return (not_modified(tag) if tag else None) or answer

    def changed(self, row_id: uuid.UUID, act: Callable[[Session, int | None], object]) -> Response:
        """Call ``act`` with the version that ``If-Match`` demands; the row as it is then."""
        session = current_session()
        act(session, expected_version())
        session.flush()
        return self.answer(row_id)

    def removed(self, act: Callable[[Session, int | None], object]) -> Response:
        """Call ``act`` with the version that ``If-Match`` demands; 204."""
        session = current_session()
        act(session, expected_version())
        session.flush()
        return Response(status=204)


CACHED: Final[dict[str, Resource]] = {}
"""The resources whose lists are stored, by namespace; filled as their routes are registered."""


def register(blueprint: Blueprint, resource: Resource) -> None:
    """Give ``blueprint`` the resource's routes."""
    if resource.is_cached:
        CACHED[resource.permission] = resource
    _list(blueprint, resource)
    _read(blueprint, resource)
    if resource.create is not None:
        _create(blueprint, resource, resource.create)
    if resource.update is not None:
        _update(blueprint, resource, resource.update)
    if resource.delete is not None:
        _delete(blueprint, resource, resource.delete)


def list_answer(listing: Listing) -> Response:
    """The page that the request at hand asks for, or all its rows where it wants NDJSON."""
    if wants_rows():
        return rows_answer(current_session(), listing)
    return page_answer(listing.page(current_session().connection(), listing.parse(request.args)))


def page_answer(page: Page) -> Response:
    """A page of a list as the answer to the request at hand."""
    headers, body = page_parts(page, request.path, request.args)
    check_size(len(body))
    return Response(body, headers=headers)


def page_parts(page: Page, path: str, arguments: MultiDict[str, str]) -> tuple[dict[str, str], bytes]:
    """Headers and body of a page that was asked for at ``path``."""
    return {"Content-Type": "application/json", **link_of(page, path, arguments)}, encode(page.document())


def link_of(page: Page, path: str, arguments: MultiDict[str, str]) -> dict[str, str]:
    """The ``Link`` header to the page after this one, if there is one."""
    return {"Link": next_link(path, arguments, page.next_cursor)} if page.next_cursor else {}


def page_schema(row: type[Schema]) -> type[Schema]:
    """The schema of a page of rows."""
    name = row.__name__.removesuffix("Row")
    made: type[Schema] = type(
        f"{name}Page",
        (Schema,),
        {
            "data": fields.List(fields.Nested(row), required=True),
            "pagination": fields.Nested(Pagination, required=True),
        },
    )
    return made


def parameters_of(listing: Listing) -> list[dict[str, Any]]:
    """The OpenAPI parameters of a list."""
    described = [
        _parameter(
            "limit", {"type": "integer", "minimum": 1, "maximum": LIMIT_MAX, "default": LIMIT_DEFAULT}
        ),
        _parameter("cursor", {"type": "string"}, "`next_cursor` of the page before."),
        _parameter(
            "sort", {"type": "string", "enum": list(listing.sort_names), "default": listing.default_sort}
        ),
        _parameter("include_total", {"type": "boolean", "default": False}),
    ]
    if listing.search is not None:
        described.append(
            _parameter("q", {"type": "string", "minLength": 1, "maxLength": SEARCH_MAX}, "Search.")
        )
    return described + [_parameter(name, _schema_of(listing, name)) for name in listing.parameters]


def _schema_of(listing: Listing, parameter: str) -> dict[str, Any]:
    name, operator = listing.parameters[parameter]
    words = listing.filters[name].words if name in listing.filters and not operator else ()
    return {"type": "string", "enum": list(words)} if words else {"type": "string"}


def list_doc(listing: Listing) -> dict[str, Any]:
    """What ``blueprint.doc`` says of a list."""
    return {
        "parameters": parameters_of(listing),
        "responses": problems(422),
        "description": f"With `Accept: {NDJSON}` all rows that the filters leave, one a line, up to `MAX_RESULT_ROWS`.",
    }


def problems(*statuses: int) -> dict[str, Any]:
    """OpenAPI responses for problem documents."""
    words = {400: "Malformed", 404: "Not found", 409: "Conflict", 412: "Changed meanwhile", 415: "Not JSON",
             422: "Invalid", 503: "Unavailable for a moment"}  # fmt: skip
    return {str(status): {"description": words[status], "content": _PROBLEM} for status in statuses}


def _parameter(name: str, schema: dict[str, Any], description: str = "") -> dict[str, Any]:
    parameter = {"in": "query", "name": name, "schema": schema}
    return parameter | {"description": description} if description else parameter


def _plural(resource: Resource) -> str:
    return resource.path.strip("/").replace("-", " ")


def _list(blueprint: Blueprint, resource: Resource) -> None:
    @blueprint.route(resource.path, methods=["GET"], endpoint=f"list_{resource.permission}")
    @requires(f"{resource.permission}:read", cached=resource.cache_rule)
    @blueprint.response(
        200, page_schema(resource.row), headers={"Link": _header("The next page (RFC 8288).")}
    )
    @blueprint.doc(summary=f"List {_plural(resource)}", **list_doc(resource.listing))
    def listed() -> Response:
        return list_answer(resource.listing)


def _read(blueprint: Blueprint, resource: Resource) -> None:
    @blueprint.route(
        f"{resource.path}/<uuid:row_id>", methods=["GET"], endpoint=f"read_{resource.permission}"
    )
    @requires(f"{resource.permission}:read")
    @blueprint.response(200, resource.row, headers={"ETag": _header("From the version.")})
    @blueprint.doc(
        summary=f"Read one {resource.name}",
        parameters=[_condition("If-None-Match")],
        responses=problems(404) | {"304": {"description": "Not modified"}},
    )
    def read(row_id: uuid.UUID) -> Response:
        return resource.read(row_id)


def _create(blueprint: Blueprint, resource: Resource, create: Create) -> None:
    assert resource.body is not None

    @blueprint.route(resource.path, methods=["POST"], endpoint=f"create_{resource.permission}")
    @requires(f"{resource.permission}:write")
    @idempotent
    @blueprint.response(
        201, resource.row, headers={"Location": _header("The new row."), "ETag": _header("Its version.")}
    )
    @blueprint.doc(summary=f"Make {resource.name}", responses=problems(400, 409, 415, 422))
    @body(resource.body)
    def created(values: dict[str, Any]) -> Response:
        row_id = create(current_session(), values)
        current_session().flush()
        return resource.created(row_id)


def _update(blueprint: Blueprint, resource: Resource, update: Update) -> None:
    schema = resource.patch or resource.body
    assert schema is not None

    @blueprint.route(
        f"{resource.path}/<uuid:row_id>", methods=["PATCH"], endpoint=f"update_{resource.permission}"
    )
    @requires(f"{resource.permission}:write")
    @blueprint.response(200, resource.row, headers={"ETag": _header("The new version.")})
    @blueprint.doc(
        summary=f"Change {resource.name} (merge patch)",
        parameters=[_condition("If-Match")],
        responses=problems(400, 404, 409, 412, 415, 422),
    )
    @body(schema, partial=True)
    def updated(values: dict[str, Any], row_id: uuid.UUID) -> Response:
        return resource.changed(row_id, lambda session, version: update(session, row_id, values, version))


def _delete(blueprint: Blueprint, resource: Resource, delete: Delete) -> None:
    @blueprint.route(
        f"{resource.path}/<uuid:row_id>", methods=["DELETE"], endpoint=f"delete_{resource.permission}"
    )
    @requires(f"{resource.permission}:write")
    @blueprint.response(204, description="Removed")
    @blueprint.doc(
        summary=f"Remove {resource.name}",
        parameters=[_condition("If-Match")],
        responses=problems(404, 409, 412),
    )
    def deleted(row_id: uuid.UUID) -> Response:
        return resource.removed(lambda session, version: delete(session, row_id, version))


def _header(description: str) -> dict[str, Any]:
    return {"description": description, "schema": {"type": "string"}}


def _condition(name: str) -> dict[str, Any]:
    return {"in": "header", "name": name, "required": False, "schema": {"type": "string"}}
