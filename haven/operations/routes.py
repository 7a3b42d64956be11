"""``/jobs``, ``/webhooks`` and ``/monitoring``."""

from __future__ import annotations

import uuid
import zlib
from collections.abc import Callable
from dataclasses import replace
from typing import Any, Final

from flask import Response, current_app, request
from flask_smorest import Blueprint
from marshmallow import fields
from sqlalchemy import Float, case, cast, func
from sqlalchemy.orm import Session

from extensions.rate_limiting import RateLimiting
from haven.api.bodies import body
from haven.api.encoding import encode, json_response
from haven.api.event_stream import Shown, event_stream, stream_doc
from haven.api.guard import current_principal, current_session, requires, runtime
from haven.api.idempotency import idempotent
from haven.api.listing import Filter, Listing
from haven.api.resource import (
    API,
    Resource,
    list_answer,
    list_doc,
    page_answer,
    page_schema,
    problems,
    register,
)
from haven.errors import NotFound, Unavailable
from haven.identity.principals import Principal
from haven.operations import job_queues, rate_limits, schemas, webhook_endpoints
from haven.operations import jobs as job_service
from haven.operations import webhooks as webhook_service
from haven.operations.alert_routes import list_alerts  # noqa: F401  its module adds to monitoring
from haven.operations.models import Job, WebhookDelivery, WebhookEndpoint
from haven.operations.monitoring_routes import monitoring
from haven.operations.performance_routes import read_performance  # noqa: F401  its module adds to monitoring
from haven.operations.schemas import JobRow

jobs = Blueprint("jobs", __name__, description="Background work: its state, progress and result.")
webhooks = Blueprint("webhooks", __name__, description="Being told of events over HTTP.")
blueprints = [jobs, webhooks, monitoring]

_SEES_ALL: Final = "jobs:admin"
_percent = case(
    (Job.progress_total > 0, func.round(cast(Job.progress_done * 100, Float) / Job.progress_total)),
    else_=None,
)
_progress = func.jsonb_build_object(
    "done",
    Job.progress_done,
    "total",
    Job.progress_total,
    "percent",
    _percent,
    "message",
    Job.progress_message,
)
_JOB_COLUMNS = (
    "id queue kind status attempts max_attempts created_at started_at finished_at result error".split()
)  # fmt: skip
JOBS = Listing(
    "job",
    Job.id,
    {name: getattr(Job, name) for name in _JOB_COLUMNS} | {"progress": _progress},
    filters={
        "queue": Filter(Job.queue, fields.String()),
        "kind": Filter(Job.kind, fields.String()),
        "status": Filter(Job.status, fields.String()),
    },
)


def job_created(job_id: uuid.UUID) -> Response:
    """202 with the job, and where to look for it."""
    current_session().flush()
    job = JOBS.one(current_session(), job_id)
    return json_response(job, 202, {"Location": f"{API}/jobs/{job['queue']}/{job_id}"})


@jobs.route("/jobs/history", methods=["GET"])
@requires("jobs:read")
@jobs.response(200, page_schema(JobRow))
@jobs.doc(summary="List the jobs one asked for; an administrator lists all of the agency", **list_doc(JOBS))
def history() -> Response:
    return list_answer(_seen_by(current_principal()))


def _seen_by(principal: Principal) -> Listing:
    """The jobs one asked for; an administrator sees all of the agency, as a job's result may have a link to a file."""
    if _SEES_ALL in principal.permissions:
        return JOBS
    return replace(JOBS, always=(Job.requested_by == principal.actor,))


@jobs.route("/jobs/stats", methods=["GET"])
@requires("jobs:admin")
@jobs.response(200, schemas.JobStatistics)
@jobs.doc(summary="The agency's jobs by queue: now, and what ended in the last day")
def read_statistics() -> Response:
    return json_response(job_queues.statistics(current_session(), runtime().queues))


@jobs.route("/jobs/queues/<string:queue>/pause", methods=["POST"])
@requires("queues:write")
@jobs.response(200, schemas.QueueState)
@jobs.doc(summary="Let no worker take from a queue, of all agencies", responses=problems(404))
def pause_queue(queue: str) -> Response:
    job_queues.pause(current_session(), queue)
    return json_response({"queue": queue, "is_paused": True})


@jobs.route("/jobs/queues/<string:queue>/resume", methods=["POST"])
@requires("queues:write")
@jobs.response(200, schemas.QueueState)
@jobs.doc(summary="Let workers take from a queue again", responses=problems(404))
def resume_queue(queue: str) -> Response:
    job_queues.resume(current_session(), queue)
    return json_response({"queue": queue, "is_paused": False})


@jobs.route("/jobs/queues/<string:queue>/empty", methods=["POST"])
@requires("jobs:admin")
@jobs.response(200, schemas.JobsChanged)
@jobs.doc(
    summary="Cancel the agency's waiting jobs of a queue, 1,000 at the most; an operator those of every agency",
    responses=problems(404),
)
def empty_queue(queue: str) -> Response:
    return _changed(job_queues.empty, queue)


@jobs.route("/jobs/queues/<string:queue>/requeue", methods=["POST"])
@requires("jobs:admin")
@jobs.response(200, schemas.JobsChanged)
@jobs.doc(
    summary="Run the agency's failed jobs of a queue again, 1,000 at the most; an operator those of every agency",
    responses=problems(404),
)
def requeue_failures(queue: str) -> Response:
    return _changed(job_queues.requeue, queue)


def _changed(act: Callable[[Session, str], int], queue: str) -> Response:
    principal, queue = current_principal(), job_queues.known(queue)
    if principal.is_platform:
        here = runtime()
        count = job_queues.of_every_agency(here.engine, principal.actor, here.wake, act, queue)
    else:
        count = act(current_session(), queue)
    return json_response({"queue": queue, "jobs": count})


@jobs.route("/jobs/<string:queue>/<uuid:job_id>", methods=["GET"])
@requires("jobs:read")
@jobs.response(200, JobRow)
@jobs.doc(summary="Read one job", responses=problems(404))
def read_job(queue: str, job_id: uuid.UUID) -> Response:
    return json_response(_own(queue, job_id))


@jobs.route("/jobs/<string:queue>/<uuid:job_id>/events", methods=["GET"])
@requires("jobs:read")
@jobs.doc(**stream_doc("Wait for a job", "JobRow"))
def job_events(queue: str, job_id: uuid.UUID) -> Response:
    seen = _seen_by(current_principal())

    def look(session: Session) -> Shown:
        found = _job(session, seen, queue, job_id)
        return Shown(f"{zlib.crc32(encode(found)):08x}", found, found["status"] not in job_service.UNFINISHED)

    return event_stream(look)


@jobs.route("/jobs/<string:queue>/<uuid:job_id>", methods=["DELETE"])
@requires("jobs:write")
@jobs.response(200, JobRow)
@jobs.doc(summary="Cancel a job", responses=problems(404, 409))
def cancel_job(queue: str, job_id: uuid.UUID) -> Response:
    _own(queue, job_id)
    job_service.cancel(current_session(), job_id)
    current_session().flush()
    return json_response(_own(queue, job_id))


@jobs.route("/jobs/<string:queue>/<uuid:job_id>/retry", methods=["POST"])
@requires("jobs:write")
@jobs.response(202, JobRow)
@jobs.doc(summary="Run a failed or cancelled job again", responses=problems(404, 409))
def retry_job(queue: str, job_id: uuid.UUID) -> Response:
    _own(queue, job_id)
    job_service.retry(current_session(), job_id)
    return job_created(job_id)


def _own(queue: str, job_id: uuid.UUID) -> dict[str, Any]:
    return _job(current_session(), _seen_by(current_principal()), queue, job_id)


def _job(session: Session, seen: Listing, queue: str, job_id: uuid.UUID) -> dict[str, Any]:
    job = seen.one(session, job_id)
    if job["queue"] != queue:
        raise NotFound(f"There is no job {job_id} in the queue {queue}.")
    return job


_WEBHOOK_COLUMNS = (
    "url events status failing_since disabled_at old_secret_until id created_at updated_at version".split()
)
WEBHOOKS = Resource(
    "webhook",
    "/webhooks",
    "webhooks",
    schemas.WebhookRow,
    Listing(
        "webhook",
        WebhookEndpoint.id,
        {name: getattr(WebhookEndpoint, name) for name in _WEBHOOK_COLUMNS},
        filters={"status": Filter(WebhookEndpoint.status, fields.String())},
        search=WebhookEndpoint.search,
    ),
    schemas.WebhookBody,
    update=webhook_endpoints.update,
    delete=webhook_endpoints.delete,
)
register(webhooks, WEBHOOKS)

_DELIVERY_COLUMNS = (
    "id endpoint_id event payload status tries next_try_at last_status last_error created_at delivered_at".split()
)  # fmt: skip


def _deliveries(endpoint_id: uuid.UUID | None) -> Listing:
    always = () if endpoint_id is None else (WebhookDelivery.endpoint_id == endpoint_id,)
    columns = {name: getattr(WebhookDelivery, name) for name in _DELIVERY_COLUMNS}
    filters = {
        "event": Filter(WebhookDelivery.event, fields.String()),
        "status": Filter(WebhookDelivery.status, fields.String()),
    }
    return Listing("delivery", WebhookDelivery.id, columns, filters=filters, always=always)


@webhooks.route("/webhooks", methods=["POST"])
@requires("webhooks:write")
@idempotent
@webhooks.response(201, schemas.NewWebhook)
@webhooks.doc(
    summary="Make a webhook; its signing secret is shown this once", responses=problems(400, 415, 422)
)
@body(schemas.WebhookBody)
def create_webhook(values: dict[str, Any]) -> Response:
    row_id, secret = webhook_endpoints.create(current_session(), runtime().settings.secret_key, values)
    row = WEBHOOKS.listing.one(current_session(), row_id)
    return json_response({**row, "secret": secret}, 201, {"Location": f"{API}/webhooks/{row_id}"})


@webhooks.route("/webhooks/<uuid:row_id>/deliveries", methods=["GET"])
@requires("webhooks:read")
@webhooks.response(200, page_schema(schemas.DeliveryRow))
@webhooks.doc(summary="What was sent, and what became of it", **list_doc(_deliveries(None)))
def list_deliveries(row_id: uuid.UUID) -> Response:
    listing = _deliveries(row_id)
    page = listing.page(current_session().connection(), listing.parse(request.args))
    if not page.rows:
        # None yet, or no such webhook: only here is it worth a statement to tell which.
        WEBHOOKS.listing.one(current_session(), row_id)
    return page_answer(page)


@webhooks.route("/webhooks/<uuid:row_id>/deliveries/<uuid:delivery_id>/redeliver", methods=["POST"])
@requires("webhooks:write")
@idempotent
@webhooks.response(202, schemas.DeliveryRow)
@webhooks.doc(summary="Send an event again", responses=problems(404, 409))
def redeliver(row_id: uuid.UUID, delivery_id: uuid.UUID) -> Response:
    webhook_service.redeliver(current_session(), row_id, delivery_id)
    return json_response(_deliveries(row_id).one(current_session(), delivery_id), 202)


@webhooks.route("/webhooks/<uuid:row_id>/test", methods=["POST"])
@requires("webhooks:write")
@idempotent
@webhooks.response(202, schemas.DeliveryRow)
@webhooks.doc(summary="Send an event that tells of nothing (`webhook.test`)", responses=problems(404, 409))
def test_webhook(row_id: uuid.UUID) -> Response:
    delivery_id = webhook_service.send_test(current_session(), row_id)
    return json_response(_deliveries(row_id).one(current_session(), delivery_id), 202)


@webhooks.route("/webhooks/<uuid:row_id>/rotate-secret", methods=["POST"])
@requires("webhooks:write")
@idempotent
@webhooks.response(200, schemas.NewWebhook)
@webhooks.doc(
    summary="Give a webhook a new signing secret, shown this once",
    responses=problems(400, 404, 412, 415, 422),
)
@body(schemas.RotateBody)
def rotate_secret(values: dict[str, Any], row_id: uuid.UUID) -> Response:
    secrets: list[str] = []
    key = runtime().settings.secret_key

    def change(session: Session, version: int | None) -> None:
        secrets.append(webhook_endpoints.rotate_secret(session, key, row_id, values["overlap_s"], version))

    WEBHOOKS.changed(row_id, change)
    row = WEBHOOKS.listing.one(current_session(), row_id)
    return json_response({**row, "secret": secrets[0]})


@monitoring.route("/monitoring/rate-limits", methods=["GET"])
@requires("rate_limits:read")
@monitoring.response(200, schemas.RateLimits)
@monitoring.doc(summary="The rate limits, and who was refused in the last hour", responses=problems(503))
def read_rate_limits() -> Response:
    return json_response(_limiting().report())


@monitoring.route("/monitoring/rate-limits", methods=["PATCH"])
@requires("rate_limits:write")
@monitoring.response(200, schemas.RateLimits)
@monitoring.doc(
    summary="Change rate limits, in every process within seconds", responses=problems(400, 415, 422, 503)
)
@body(schemas.RateLimitsBody, partial=True)
def change_rate_limits(changes: dict[str, str | None]) -> Response:
    limiting = _limiting()
    rate_limits.change(current_session(), limiting.override, changes)
    return json_response(limiting.report())


def _limiting() -> RateLimiting:
    if RateLimiting.name not in current_app.extensions:
        raise Unavailable("Rate limiting is not among this server's EXTENSIONS.")
    return RateLimiting()
