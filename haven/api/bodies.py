"""Reading JSON bodies: the right media type, sound JSON, one object, then the marshmallow schema."""

from __future__ import annotations

from collections.abc import Callable
from copy import deepcopy
from functools import wraps
from typing import Any, Final

import orjson
from flask import request
from marshmallow import Schema, ValidationError
from werkzeug.exceptions import UnsupportedMediaType

from haven.api.problems import faults_of
from haven.errors import Invalid, Malformed

JSON: Final = "application/json"
MERGE_PATCH: Final = "application/merge-patch+json"

View = Callable[..., Any]


def body(schema: type[Schema], *, partial: bool = False, optional: bool = False) -> Callable[[View], View]:
    """Give the view the body, loaded by ``schema``, as its first argument after those of the path.

    Args:
        partial: a merge patch (RFC 7396): only the fields that are there.
        optional: no body at all is an empty object.
    """
    # A name of its own in the description: in a merge patch no field is required.
    named = (
        type(schema.__name__.replace("Body", "Patch"), (schema,), {"__doc__": schema.__doc__})
        if partial
        else schema
    )
    loader = named(partial=partial)

    def decorate(view: View) -> View:
        @wraps(view)
        def with_body(*args: Any, **kwargs: Any) -> Any:
            return view(*args, load(loader, read_json(optional=optional)), **kwargs)

        document = deepcopy(getattr(view, "_apidoc", {}))
        document["arguments"] = {
            "parameters": [{"in": "json", "required": not optional, "schema": loader}],
            "responses": {},
        }
        with_body._apidoc = document  # type: ignore[attr-defined]
        return with_body

    return decorate


def read_json(*, optional: bool = False) -> dict[str, Any]:
    """The object in the request's body.

    Raises:
        UnsupportedMediaType: it is sent as something else than JSON.
        Malformed: it is not JSON in UTF-8.
        Invalid: it is JSON, but no object.
    """
    raw = request.get_data(cache=True)
    if optional and not raw:
        return {}
    if request.mimetype not in (JSON, MERGE_PATCH):
        raise UnsupportedMediaType(f"Send the body as Content-Type: {JSON}.")
    try:
        value = orjson.loads(raw)
    except orjson.JSONDecodeError as error:
        raise Malformed(f"The body is not JSON in UTF-8: {error}.") from None
    if not isinstance(value, dict):
        raise Invalid("The body must be a JSON object.")
    return value


def load(loader: Schema, value: dict[str, Any]) -> dict[str, Any]:
    """``value`` checked and converted by the schema; ``Invalid`` names each field that breaks a rule."""
    try:
        loaded: dict[str, Any] = loader.load(value)
    except ValidationError as error:
        faults = tuple(faults_of(error.messages))
        first = faults[0]
        more = f" (and {len(faults) - 1} more)" if len(faults) > 1 else ""
        raise Invalid(f"{first.pointer.lstrip('/') or 'body'}: {first.detail}{more}", faults=faults) from None
    return loaded
