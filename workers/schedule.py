"""What the clock does, and how often. A new task is a line here: a function of a session and the time, or of the runtime."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from sqlalchemy.orm import Session

from extensions.alerting.evaluator import INTERVAL_S
from haven.billing import service as billing
from haven.bulk.leftovers import remove_uploads
from haven.files import service as files
from haven.insight.reports import service as reports
from haven.leasing import service as leasing
from haven.notifications.reminders import tell_of_invoices
from haven.operations import alert_turns, cache, maintenance, metric_history
from haven.payments import service as payments
from haven.runtime import Runtime

LOST_JOBS: Final = "lost_jobs"


@dataclass(frozen=True, slots=True)
class Task:
    """Something to do for each agency every ``every_s`` seconds; it says how many rows it moved.

    ``act`` runs in a transaction of its own for each agency, and may run again at any time. ``act_once`` instead is for what
    belongs to no agency.
    """

    name: str
    every_s: int
    act: Callable[[Session, dt.datetime], int] | None = None
    act_once: Callable[[Runtime], int] | None = None


TASKS: Final = (
    Task(LOST_JOBS, 2),
    Task("mpesa_queries", 5, payments.submit_due_queries),
    Task("mpesa_silent_pushes", 30, payments.settle_silent_pushes),
    Task("mpesa_orphans", 15, payments.submit_orphaned_callbacks),
    Task("mpesa_pulls", 60, payments.submit_due_pulls),
    Task("overdue_invoices", 300, payments.mark_overdue_invoices),
    Task("past_leases", 300, leasing.end_past_leases),
    Task("late_fees", 300, billing.request_late_fees),
    Task("books", 900, billing.request_nightly),
    Task("invoice_notices", 60, tell_of_invoices),
    Task("reports", 30, reports.submit_due),
    Task("expired_reports", 3600, reports.remove_expired),
    Task("cache_warm", 300, cache.keep_warm),
    Task("cache_debts", 30, act_once=cache.settle_debts),
    Task("metric_rollup", 60, metric_history.roll_up),
    Task("alerts", INTERVAL_S, act_once=alert_turns.evaluate_rules),
    Task("old_alerts", 3600, alert_turns.remove_old),
    Task("expired_rows", 3600, maintenance.remove_expired),
    Task("export_files", 3600, files.remove_expired),
    Task("old_jobs", 3600, maintenance.remove_old_jobs),
    Task("bulk_uploads", 3600, remove_uploads),
)
