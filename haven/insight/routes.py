"""``/dashboard``."""

from __future__ import annotations

import datetime as dt
from typing import Final

from flask import Response, request
from flask_smorest import Blueprint
from sqlalchemy.orm import Session
from werkzeug.datastructures import MultiDict

from haven.api.cached import CacheRule, shape_of
from haven.api.encoding import json_response
from haven.api.from_replica import stored_from_replica
from haven.api.guard import current_session, requires
from haven.api.listing import LIMIT_DEFAULT, Page
from haven.api.resource import API, page_answer, page_parts, page_schema, problems
from haven.api.warming import WARMED, Warmed, document
from haven.insight import parameters, schemas, service
from haven.insight.activity import EVENTS, Place
from haven.insight.figures import FIGURES

blueprint = Blueprint(
    "dashboard", __name__, description="What an agency's rows add up to, and what happened last."
)

_STATS_PATH: Final = f"{API}/dashboard/stats"
_ACTIVITY_PATH: Final = f"{API}/dashboard/activity"
_LIFE: Final = "DASHBOARD_CACHE_TTL"
STATS_RULE: Final = CacheRule(
    "dashboard",
    ("agency", "property", "unit", "lease", "invoice", "payment", "allocation"),
    shape_of(f"{FIGURES} {list(schemas.Stats().fields)}"),
    life=_LIFE,
    is_of_a_day=True,
)
ACTIVITY_RULE: Final = CacheRule(
    "dashboard",
    ("payment", "invoice", "credit_note", "lease", "tenant", "unit", "property"),
    shape_of(f"{EVENTS} {list(schemas.EventRow().fields)}"),
    life=_LIFE,
)


@blueprint.route("/dashboard/stats", methods=["GET"])
@requires("dashboard:read", cached=STATS_RULE)
@stored_from_replica
@blueprint.response(200, schemas.Stats)
@blueprint.doc(summary="The figures of a month", parameters=parameters.STATS, responses=problems(404, 422))
def stats() -> Response:
    month, property_id = parameters.read_stats(request.args)
    return json_response(service.stats(current_session(), month, property_id, dt.datetime.now(dt.UTC)))


@blueprint.route("/dashboard/activity", methods=["GET"])
@requires("dashboard:read", cached=ACTIVITY_RULE)
@stored_from_replica
@blueprint.response(200, page_schema(schemas.EventRow))
@blueprint.doc(summary="What happened last", parameters=parameters.ACTIVITY, responses=problems(422))
def activity() -> Response:
    return page_answer(_page(current_session(), *parameters.read_activity(request.args)))


def _page(session: Session, limit: int, after: Place | None) -> Page:
    rows, next_place = service.activity(session, limit, after)
    return Page(rows, limit, parameters.cursor_of(next_place) if next_place else None, None)


def _warm_stats(session: Session) -> tuple[dict[str, str], bytes]:
    return document(service.stats(session, None, None, dt.datetime.now(dt.UTC)))


def _warm_activity(session: Session) -> tuple[dict[str, str], bytes]:
    return page_parts(_page(session, LIMIT_DEFAULT, None), _ACTIVITY_PATH, MultiDict())


WARMED["dashboard"] = (
    Warmed(STATS_RULE, _STATS_PATH, "dashboard:read", _warm_stats),
    Warmed(ACTIVITY_RULE, _ACTIVITY_PATH, "dashboard:read", _warm_activity),
)
