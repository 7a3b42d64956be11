"""Rules in PostgreSQL: one evaluator, alerts told once whatever dies, and what people do with them."""

from __future__ import annotations

import dataclasses
import datetime as dt
import json
import logging
import os
import signal
import threading
import time

import pytest
import redis
from click.testing import CliRunner
from sqlalchemy import Engine, create_engine, delete, event, select, text, update

from extensions.alerting import DEFAULT_RULES, Alerting, Rule
from extensions.alerting.machine import begin
from extensions.logs import configure_logging
from extensions.monitoring import Recorder, Store
from extensions.monitoring.slots import slot_start
from haven.cli import main
from haven.db.base import PLATFORM
from haven.db.migrate import sqlalchemy_url
from haven.db.prepare import APP_ROLE
from haven.db.session import tenant_session
from haven.notifications.models import Notification
from haven.notifications.texts import LANGUAGES, compose_mail
from haven.operations import alert_delivery, alert_service, webhooks
from haven.operations.alert_turns import _ReadOnce, as_rule, evaluate_with, remove_old
from haven.operations.alerts import PAYMENTS_NEED_REVIEW, raise_alert
from haven.operations.jobs import job_session
from haven.operations.models import Alert, AlertRule, AlertSilence, Job, WebhookDelivery, WebhookEndpoint
from haven.runtime import Runtime
from tests.api.conftest import caller_of
from tests.support.builders import an_agency
from tests.support.measured_load import CALM, TROUBLES, Clock, Load, growing_memory, minutes
from workers.cron import Clock as Cron
from workers.runner import run_job
from workers.schedule import TASKS

__all__ = ["caller_of"]
SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
SLACK_TOKEN = "T024BE7LD/B4F8ZJ8B2/kwfRVcWTpk7YbdKZ"
FULL = dataclasses.replace(CALM, waiting=1500.0)
QUEUE = "deep_queue/queue=exports"
COLUMNS = [one.name for one in dataclasses.fields(Rule) if one.name not in ("id", "enabled")]


def stored(rule: Rule) -> AlertRule:
    values = {name: getattr(rule, name) for name in COLUMNS}
    return AlertRule(agency_id=PLATFORM, kind="METRIC", **values)


@pytest.fixture
def platform(engine):
    """The platform as it is installed: the six rules, and no alert, silence, or message of before."""
    with tenant_session(engine, PLATFORM) as session:
        for model in (Alert, AlertSilence, Notification, Job, AlertRule):
            session.execute(delete(model).where(model.agency_id == PLATFORM))
        session.add_all(map(stored, DEFAULT_RULES))


@pytest.fixture
def only_queue(platform, engine):
    """The rule of deep queues alone, which fires at once and is over at once."""
    with tenant_session(engine, PLATFORM) as session:
        session.execute(update(AlertRule).where(AlertRule.agency_id == PLATFORM).values(enabled=False))
        session.execute(
            update(AlertRule)
            .where(AlertRule.agency_id == PLATFORM, AlertRule.name == "deep_queue")
            .values(enabled=True, for_s=0, resolve_for_s=0, window_s=10)
        )


def told_at(settings, engine, receiver, **changes):
    """A Haven that tells of alerts by every way there is."""
    ways = {
        "alert_emails": ("zuri@makao.test", "otieno@makao.test"),
        "alert_webhook_url": receiver.url,
        "alert_webhook_secret": SECRET,
        "alert_slack_url": f"http://127.0.0.1:{receiver.port}/services/{SLACK_TOKEN}",
        "webhook_private_addresses": True,
    }
    return Runtime.start(dataclasses.replace(settings, **(ways | changes)), engine)


@pytest.fixture
def runtime(settings, engine, receiver):
    return told_at(settings, engine, receiver)


def platform_rows(engine, *columns, order=None):
    with tenant_session(engine, PLATFORM) as session:
        model = columns[0].class_
        wanted = select(*columns).where(model.agency_id == PLATFORM)
        return [tuple(row) for row in session.execute(wanted.order_by(model.id if order is None else order))]


def alerts(engine):
    return platform_rows(engine, Alert.fingerprint, Alert.state)


def send_jobs(engine):
    """Channel and message of every job that tells a program."""
    with tenant_session(engine, PLATFORM) as session:
        found = session.scalars(select(Job).where(Job.agency_id == PLATFORM, Job.kind == "alert_send")).all()
        return sorted((one.arguments["payload"]["state"], one.arguments["channel"]) for one in found)


def mails(engine):
    return sorted(platform_rows(engine, Notification.kind, Notification.recipient))


ONCE_EACH = [("FIRING", "slack"), ("FIRING", "webhook")]
MAILED = [("ALERT_FIRING", "otieno@makao.test"), ("ALERT_FIRING", "zuri@makao.test")]


def pass_by(runtime, load, shapes):
    for shape in shapes:
        load.step(shape)
        evaluate_with(runtime, load.reader, load.clock.now)


def evaluated(runtime, load):
    """Evaluate, waiting for whoever has the turn."""
    deadline = time.monotonic() + 30
    while True:
        evaluate_with(runtime, load.reader, load.clock.now)
        with tenant_session(runtime.engine, PLATFORM) as session:
            if (
                session.execute(
                    text("SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND objid = 1095520852")
                ).scalar_one()
                == 0
            ):
                evaluate_with(runtime, load.reader, load.clock.now)
                return
        assert time.monotonic() < deadline
        time.sleep(0.02)


@pytest.mark.req("A2")
def test_a_new_installation_has_the_six_rules(addresses, worker_number):
    name = f"haven_rules_{worker_number}"
    addresses.new_database(name)
    engine = create_engine(sqlalchemy_url(addresses.database_url(APP_ROLE, name)))
    with tenant_session(engine, PLATFORM) as session:
        found = [as_rule(row) for row in session.scalars(select(AlertRule).order_by(AlertRule.id))]
    engine.dispose()
    assert [dataclasses.replace(rule, id=PLATFORM) for rule in found] == [
        dataclasses.replace(rule, id=PLATFORM) for rule in DEFAULT_RULES
    ]


@pytest.mark.req("A2")
def test_a_load_of_known_shape_is_told_once_each_and_kept(engine, platform, runtime):
    trouble = {name: value for changes in TROUBLES.values() for name, value in changes.items()}
    trouble.pop("memory")
    pass_by(runtime, Load(3), minutes(2) + growing_memory(12, **trouble) + minutes(10))

    assert sorted(alerts(engine)) == sorted((name, "RESOLVED") for name in TROUBLES)
    assert send_jobs(engine) == sorted([*ONCE_EACH, ("RESOLVED", "slack"), ("RESOLVED", "webhook")] * 6)
    assert len(mails(engine)) == 6 * 2 * 2
    for fired, resolved, told in platform_rows(engine, Alert.fired_at, Alert.resolved_at, Alert.told_at):
        assert fired == told < resolved


def test_it_reaches_people_and_programs(engine, only_queue, runtime, receiver, settings, tmp_path):
    load = Load(clock=Clock(time.time()))
    pass_by(runtime, load, [FULL])
    pass_by(runtime, load, minutes(1))
    mailing = told_at(settings, engine, receiver, mail_folder=str(tmp_path))
    with tenant_session(engine, PLATFORM) as session:
        jobs = session.execute(
            select(Job.id, Job.kind).where(Job.agency_id == PLATFORM, Job.status == "QUEUED").order_by(Job.id)
        ).all()
    assert [run_job(mailing, PLATFORM, job_id) for job_id, _ in jobs] == ["SUCCEEDED"] * 6

    heard = {
        headers.get("webhook-id", "slack"): (headers, json.loads(body)) for headers, body in receiver.heard
    }
    (firing,) = (one for one in heard if one.endswith("_firing"))
    (resolved,) = (one for one in heard if one.endswith("_resolved"))
    headers, said = heard[firing]
    assert (said["type"], said["data"]["state"], said["data"]["rule"]) == (
        "alert.firing",
        "FIRING",
        "deep_queue",
    )
    assert said["data"]["labels"] == {"queue": "exports"}
    assert said["data"]["value"] > 1000
    raw = next(body for got, body in receiver.heard if got.get("webhook-id") == firing)
    assert headers["webhook-signature"] == webhooks.sign(
        SECRET, firing, int(headers["webhook-timestamp"]), raw
    )
    assert heard[resolved][1]["data"]["state"] == "RESOLVED"
    texts = [json.loads(body)["text"] for got, body in receiver.heard if "webhook-id" not in got]
    assert texts == ["Warning: deep_queue", "Over: deep_queue"]
    written = sorted(path.read_text() for path in tmp_path.glob("*.eml"))
    assert len(written) == 4
    assert sum("Over: deep_queue" in one for one in written) == 2
    assert all("queue exports" in one for one in written)


def test_no_address_is_in_a_job_or_a_log(engine, only_queue, settings, receiver, capfd, caplog):
    # As the worker has it, and more.
    configure_logging("DEBUG")
    receiver.status = 500
    runtime = told_at(settings, engine, receiver)
    pass_by(runtime, Load(clock=Clock(time.time())), [FULL])
    with tenant_session(engine, PLATFORM) as session:
        jobs = session.scalars(
            select(Job.id).where(Job.agency_id == PLATFORM, Job.kind == "alert_send")
        ).all()
    with caplog.at_level(logging.DEBUG):
        assert [run_job(runtime, PLATFORM, job_id) for job_id in jobs] == ["FAILED", "FAILED"]
    with tenant_session(engine, PLATFORM) as session:
        rows = session.execute(
            text("SELECT to_jsonb(job)::text FROM job WHERE agency_id = :id"), {"id": PLATFORM}
        )
        kept = "\n".join(rows.scalars())
        tries = session.scalars(select(Job.status).where(Job.kind == "alert_send")).all()
    logged = caplog.text + "".join(capfd.readouterr())
    assert "alert_not_sent" in logged
    for secret in (SLACK_TOKEN, SECRET, "/services/"):
        assert secret not in kept + logged
    assert "answered 500" in kept
    assert set(tries) == {"SCHEDULED"}


def test_an_address_of_ones_own_network_is_not_reached(engine, only_queue, settings, receiver):
    runtime = told_at(settings, engine, receiver, webhook_private_addresses=False)
    pass_by(runtime, Load(clock=Clock(time.time())), [FULL])
    with tenant_session(engine, PLATFORM) as session:
        jobs = session.scalars(
            select(Job.id).where(Job.agency_id == PLATFORM, Job.kind == "alert_send")
        ).all()
    assert [run_job(runtime, PLATFORM, job_id) for job_id in jobs] == ["FAILED", "FAILED"]
    assert receiver.heard == []


def test_a_way_that_is_no_longer_set_is_not_tried(engine, only_queue, settings, runtime, receiver):
    pass_by(runtime, Load(clock=Clock(time.time())), [FULL])
    with tenant_session(engine, PLATFORM) as session:
        jobs = session.scalars(
            select(Job.id).where(Job.agency_id == PLATFORM, Job.kind == "alert_send")
        ).all()
    without = told_at(settings, engine, receiver, alert_webhook_url="", alert_slack_url="")
    assert [run_job(without, PLATFORM, job_id) for job_id in jobs] == ["SUCCEEDED", "SUCCEEDED"]
    assert receiver.heard == []


def test_two_evaluators_at_once_give_one_alert_told_once(engine, only_queue, runtime):
    load = Load()
    load.step(FULL)
    together = threading.Barrier(4)

    def turns():
        together.wait()
        for _ in range(5):
            evaluate_with(runtime, load.reader, load.clock.now)

    threads = [threading.Thread(target=turns) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert alerts(engine) == [(QUEUE, "FIRING")]
    assert send_jobs(engine) == ONCE_EACH
    assert mails(engine) == MAILED


def killed_at(runtime: Runtime, database_url: str, load: Load, statement: int) -> bool:
    """Evaluate in a process that is killed (-9) before the given statement of its turn, its COMMIT counted; did it die?"""
    child = os.fork()
    if child == 0:
        try:
            engine: Engine = create_engine(sqlalchemy_url(database_url))
            own = Runtime.start(runtime.settings, engine)
            seen = [0]

            def count(*_: object) -> None:
                seen[0] += 1
                if seen[0] == statement:
                    os.kill(os.getpid(), signal.SIGKILL)

            event.listen(engine, "before_cursor_execute", count)
            event.listen(engine, "commit", count)
            # What is after the commit: nobody was woken yet.
            own = dataclasses.replace(own, wake=count)
            evaluate_with(own, load.reader, load.clock.now)
        finally:
            os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -signal.SIGKILL


STATEMENTS = 40
"""More than a turn has."""


def killed_turns(engine: Engine, runtime: Runtime, database_url: str, statements: range) -> list[int]:
    """Kill evaluators before each of these statements, while an alert fires and while it is over; which of them died."""
    died = []
    resolved = [("RESOLVED", "slack"), ("RESOLVED", "webhook")]
    for statement in statements:
        load = Load()
        load.step(FULL)
        was_killed = killed_at(runtime, database_url, load, statement)
        evaluated(runtime, load)
        assert alerts(engine) == [(QUEUE, "FIRING")], statement
        assert (send_jobs(engine), mails(engine)) == (ONCE_EACH, MAILED), statement

        for shape in minutes(0.5):
            load.step(shape)
        was_killed |= killed_at(runtime, database_url, load, statement)
        evaluated(runtime, load)
        assert alerts(engine) == [(QUEUE, "RESOLVED")], statement
        assert send_jobs(engine) == ONCE_EACH + resolved, statement
        assert len(mails(engine)) == 4, statement
        died += [statement] if was_killed else []
        with tenant_session(engine, PLATFORM) as session:
            for model in (Alert, Notification, Job):
                session.execute(delete(model).where(model.agency_id == PLATFORM))
    return died


def test_an_evaluator_killed_loses_nothing_and_tells_nothing_twice(engine, only_queue, runtime, database_url):
    assert killed_turns(engine, runtime, database_url, range(3, 13, 3)) == [3, 6, 9, 12]


@pytest.mark.long
def test_wherever_it_is_killed(engine, only_queue, runtime, database_url):
    died = killed_turns(engine, runtime, database_url, range(1, STATEMENTS))
    assert died == list(range(1, len(died) + 1))
    assert 12 <= len(died) < STATEMENTS - 1


def test_the_clock_evaluates_what_processes_have_measured(
    engine, platform, settings, database_url, redis_url
):
    rule = Rule(
        "memory_of_tests", "memory_share", "ABOVE", 0.8, 0.5, 0, "WARNING", 0, 60, 1, {"host": "of-tests"}
    )
    with tenant_session(engine, PLATFORM) as session:
        session.execute(update(AlertRule).where(AlertRule.agency_id == PLATFORM).values(enabled=False))
        session.add(stored(rule))
        session.execute(text("DELETE FROM maintenance_task WHERE name = 'alerts'"))
    recorder = Recorder(Store(redis.Redis.from_url(redis_url), host="of-tests"))
    recorder.observe("memory_share", 0.93, "host=of-tests")
    recorder.flush()
    clock_engine = create_engine(sqlalchemy_url(database_url), pool_size=5)
    cron = Cron(Runtime.start(settings, clock_engine), [task for task in TASKS if task.name == "alerts"])
    try:
        deadline = time.monotonic() + 45
        while alerts(engine) != [("memory_of_tests/host=of-tests", "FIRING")]:
            assert time.monotonic() < deadline
            cron.tick()
            time.sleep(0.1)
    finally:
        cron.finish()
        clock_engine.dispose()


# What people do


def an_alert(engine, runtime) -> tuple[Load, dict]:
    load = Load(clock=Clock(time.time()))
    pass_by(runtime, load, [FULL])
    with tenant_session(engine, PLATFORM) as session:
        (row,) = alert_service.recent(session, state="OPEN")
    return load, row


@pytest.fixture
def operator(caller_of):
    return caller_of("PLATFORM_ADMIN")


@pytest.mark.req("A2")
def test_an_alert_is_listed_and_taken_on(engine, only_queue, runtime, operator):
    load, row = an_alert(engine, runtime)
    (shown,) = operator.get("/monitoring/alerts?state=FIRING&rule=deep_queue").get_json()["data"]
    assert (shown["fingerprint"], shown["severity"], shown["threshold"]) == (QUEUE, "WARNING", 1000.0)
    path = f"/monitoring/alerts/{row['id']}/acknowledge"
    taken = operator.post(path, {"note": "two more workers"}).get_json()
    assert taken["acknowledged_by"].startswith("key:")
    assert taken["acknowledged_note"] == "two more workers"
    again = operator.post(path)
    assert again.status_code == 409
    assert "already" in again.get_json()["detail"]
    pass_by(runtime, load, minutes(1))
    over = operator.get(f"/monitoring/alerts/{row['id']}").get_json()
    assert (over["state"], over["acknowledged_note"]) == ("RESOLVED", "two more workers")
    assert operator.post(path).status_code == 409


@pytest.mark.parametrize("subject", [{"fingerprint": QUEUE}, {"rule": "deep_queue"}])
def test_what_is_silenced_is_recorded_and_not_sent_until_it_is_not(
    engine, only_queue, runtime, operator, subject
):
    ends_at = (dt.datetime.now(dt.UTC) + dt.timedelta(hours=1)).isoformat()
    silence = operator.made("/monitoring/alerts/silences", reason="Moving house", ends_at=ends_at, **subject)
    load, row = an_alert(engine, runtime)
    assert row["silenced_until"] is not None
    assert row["told_at"] is None
    assert (send_jobs(engine), mails(engine)) == ([], [])

    assert operator.delete(f"/monitoring/alerts/silences/{silence['id']}").status_code == 204
    pass_by(runtime, load, [FULL])
    assert (send_jobs(engine), mails(engine)) == (ONCE_EACH, MAILED)
    trail = operator.get(f"/audit?entity_id={silence['id']}").get_json()["data"]
    assert sorted(one["action"] for one in trail) == ["DELETE", "INSERT"]


@pytest.mark.parametrize(
    "body, pointer",
    [
        ({}, "/fingerprint"),
        ({"fingerprint": QUEUE, "rule": "deep_queue"}, "/fingerprint"),
        ({"rule": "deep_queue", "ends_at": "2020-01-01T00:00:00Z"}, "/ends_at"),
        ({"rule": "deep_queue", "reason": ""}, "/reason"),
        ({"rule": "deep_queues"}, "/rule"),
        ({"fingerprint": "deep_queues/queue=exports"}, "/fingerprint"),
    ],
)
def test_a_silence_that_is_none_is_refused(platform, operator, body, pointer):
    answer = operator.post(
        "/monitoring/alerts/silences", {"reason": "Moving", "ends_at": "2099-01-01T00:00:00Z"} | body
    )
    assert answer.status_code == 422
    assert answer.get_json()["errors"][0]["pointer"] == pointer


def test_a_list_takes_only_states_that_there_are(operator):
    answer = operator.get("/monitoring/alerts?state=BURNING")
    assert (answer.status_code, answer.get_json()["errors"][0]["pointer"]) == (422, "state")
    assert operator.get("/monitoring/alerts?state__in=PENDING,FIRING").status_code == 200


@pytest.mark.req("A2")
def test_rules_are_changed_by_the_api_and_hold_at_the_next_turn(engine, platform, runtime, operator):
    rules = {one["name"]: one for one in operator.get("/monitoring/alerts/rules").get_json()["data"]}
    assert set(rules) == {one.name for one in DEFAULT_RULES}
    path = f"/monitoring/alerts/rules/{rules['deep_queue']['id']}"
    changed = operator.patch(path, {"threshold": 10, "resolve_threshold": 5, "for_s": 0, "window_s": 10})
    assert changed.get_json()["threshold"] == 10.0
    assert changed.get_json()["version"] == 2
    load = Load()
    pass_by(runtime, load, [CALM])
    assert alerts(engine) == [(QUEUE, "FIRING")]

    assert operator.patch(path, {"enabled": False}).status_code == 200
    pass_by(runtime, load, [CALM])
    assert alerts(engine) == [(QUEUE, "RESOLVED")]


def test_a_rule_that_is_removed_ends_its_alerts_and_leaves_its_history(engine, only_queue, runtime, operator):
    load, row = an_alert(engine, runtime)
    (rule,) = operator.get("/monitoring/alerts/rules?name=deep_queue").get_json()["data"]
    assert operator.delete(f"/monitoring/alerts/rules/{rule['id']}").status_code == 204
    pass_by(runtime, load, [FULL])
    shown = operator.get(f"/monitoring/alerts/{row['id']}").get_json()
    assert (shown["state"], shown["rule"], shown["threshold"]) == ("RESOLVED", "deep_queue", 1000.0)
    assert ("RESOLVED", "webhook") in send_jobs(engine)


def test_a_rule_that_is_made_again_under_its_name_begins_anew(engine, only_queue, runtime, operator):
    load, _ = an_alert(engine, runtime)
    (rule,) = operator.get("/monitoring/alerts/rules?name=deep_queue").get_json()["data"]
    assert operator.delete(f"/monitoring/alerts/rules/{rule['id']}").status_code == 204
    again = {name: rule[name] for name in ("name", "metric", "comparison", "threshold", "for_s", "severity")}
    operator.made("/monitoring/alerts/rules", window_s=10, **again)
    pass_by(runtime, load, [FULL])
    assert alerts(engine) == [(QUEUE, "RESOLVED"), (QUEUE, "FIRING")]


@pytest.mark.parametrize(
    "changes, pointer",
    [
        ({"metric": "nonsense"}, "/metric"),
        ({"name": "Not A Name"}, "/name"),
        ({"resolve_threshold": 7}, "/resolve_threshold"),
        ({"comparison": "BELOW", "resolve_threshold": 0}, "/resolve_threshold"),
        ({"window_s": 5}, "/window_s"),
        ({"labels": {"queue": 7}}, "/labels/queue/value"),
        ({"threshold": "NaN"}, "/threshold"),
    ],
)
def test_a_rule_that_is_none_is_refused(operator, changes, pointer):
    body = {
        "name": "busy",
        "metric": "error_rate",
        "comparison": "ABOVE",
        "threshold": 0.5,
        "severity": "WARNING",
    }
    answer = operator.post("/monitoring/alerts/rules", body | changes)
    assert answer.status_code == 422, answer.get_json()
    assert answer.get_json()["errors"][0]["pointer"] == pointer


def test_a_rule_of_that_name_is_there_already(operator, platform):
    body = {
        "name": "deep_queue",
        "metric": "jobs_waiting",
        "comparison": "ABOVE",
        "threshold": 5,
        "severity": "WARNING",
    }
    answer = operator.post("/monitoring/alerts/rules", body)
    assert answer.status_code == 409
    assert "errors" in answer.get_json()


def test_agencies_see_the_alerts_that_haven_raises_for_them_and_change_no_rule(engine, caller_of):
    by = caller_of()
    with tenant_session(engine, by.agency_id) as session:
        raise_alert(session, PAYMENTS_NEED_REVIEW, "payment:7")
    (alert,) = by.get("/monitoring/alerts").get_json()["data"]
    assert (alert["rule"], alert["labels"]) == ("payments_need_review", {"subject": "payment:7"})
    (rule,) = by.get("/monitoring/alerts/rules").get_json()["data"]
    assert rule["kind"] == "EVENT"
    assert by.patch(f"/monitoring/alerts/rules/{rule['id']}", {"enabled": False}).status_code == 403
    assert by.post(f"/monitoring/alerts/{alert['id']}/acknowledge").status_code == 200


def test_a_silenced_alert_that_haven_raises_is_recorded_and_told_to_no_webhook(engine):
    agency_id = an_agency(engine)
    with tenant_session(engine, agency_id) as session:
        session.add(
            WebhookEndpoint(agency_id=agency_id, url="https://x.test", events=["alert.firing"], secret=b"x")
        )
        alert_service.silence(
            session,
            ends_at=dt.datetime.now(dt.UTC) + dt.timedelta(hours=1),
            reason="known",
            fingerprint="payments_need_review/payment:1",
        )
    with tenant_session(engine, agency_id) as session:
        assert raise_alert(session, PAYMENTS_NEED_REVIEW, "payment:1")
        assert raise_alert(session, PAYMENTS_NEED_REVIEW, "payment:2")
    with tenant_session(engine, agency_id) as session:
        (told,) = session.scalars(select(WebhookDelivery.payload))
        assert len(session.scalars(select(Alert.id)).all()) == 2
    assert (told["subject"], told["state"]) == ("payment:2", "FIRING")


def test_what_is_long_over_is_removed(engine, only_queue, runtime):
    load, _ = an_alert(engine, runtime)
    pass_by(runtime, load, minutes(1))
    with job_session(runtime, PLATFORM, "cron:old_alerts") as session:
        alert_service.silence(
            session, ends_at=load.clock.now + dt.timedelta(days=1), reason="x", rule="deep_queue"
        )
    for days, left in ((80, 1), (100, 0)):
        with job_session(runtime, PLATFORM, "cron:old_alerts") as session:
            remove_old(session, load.clock.now + dt.timedelta(days=days))
        assert len(alerts(engine)) == left
    assert platform_rows(engine, AlertSilence.id) == []


def test_a_test_goes_every_way(engine, platform, runtime, settings):
    with job_session(runtime, PLATFORM, "haven alerts") as session:
        assert alert_delivery.tell_test(session, runtime.settings) == 4
        assert alert_delivery.tell_test(session, settings) == 0
    assert send_jobs(engine) == ONCE_EACH
    assert mails(engine) == MAILED


def test_every_rule_has_a_line_for_two_in_the_morning(checkout):
    page = (checkout / "docs/alerting.md").read_text()
    for rule in DEFAULT_RULES:
        assert f"| `{rule.name}`" in page
        assert f"\n### {rule.name}\n" in page


def test_a_slot_is_read_once_a_turn_and_anew_in_the_next(redis_url):
    client = redis.Redis.from_url(redis_url)
    recorder = Recorder(Store(client, prefix=f"t{time.time_ns()}"))
    held = _ReadOnce(client)
    held._prefix = recorder.store._prefix

    def seen():
        start = slot_start(recorder.clock())
        return [slot.series["level", ""].count for slot in (held.read([start - 10, start]) or {})[start]]

    while time.time() % 10 > 7:
        time.sleep(0.1)
    recorder.observe("level", 1.0)
    recorder.flush()
    assert seen() == [1]
    recorder.observe("level", 2.0)
    recorder.flush()
    assert seen() == [1]
    held._held.clear()
    assert seen() == [2]


@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize("template", ["alert_firing", "alert_resolved"])
def test_people_are_told_in_their_language(language, template, settings):
    load = Load()
    alert = begin(DEFAULT_RULES[5], {"queue": "exports"}, 1500.0, load.clock.now)
    assert alert is not None
    subject, body = compose_mail(template, language, alert_delivery._words(settings, alert, "Jobs wait"))
    assert "deep_queue" in subject
    for said in (
        "Jobs wait",
        "queue exports",
        "1500",
        "1000",
        "UTC",
        str(alert.id),
        f"{settings.public_url}/ops",
    ):
        assert said in body
    assert "{" not in subject + body


def haven(environ, *arguments):
    done = CliRunner().invoke(main, ["alerts", *arguments], env=environ | {"COLUMNS": "200"})
    return done.exit_code, done.output


def test_the_terminal_shows_alerts_and_rules_and_sends_a_test(engine, only_queue, runtime, environ, receiver):
    an_alert(engine, runtime)
    status, said = haven(environ, "list")
    assert (status, QUEUE in said, "FIRING" in said) == (0, True, True)
    status, said = haven(environ, "rules")
    assert (status, "deep_queue" in said, "jobs_waiting" in said) == (0, True, True)
    status, said = haven(environ, "prometheus", "--stored")
    assert (status, said.count("- alert:"), "HavenDeepQueue" in said) == (0, 1, True)

    status, said = haven(environ, "test")
    assert (status, "ALERT_EMAILS" in said) == (1, True)
    before = len(send_jobs(engine))
    status, said = haven(environ | {"ALERT_SLACK_URL": receiver.url}, "test")
    assert (status, "Queued 1" in said) == (0, True)
    assert len(send_jobs(engine)) == before + 1


def test_a_web_process_evaluates_the_same_rules_where_it_is_asked_to(app, engine, platform):
    with app.app_context():
        done = Alerting().evaluate()
        assert Alerting().health().status == "ok"
        assert {one.name for one in Alerting().collect()} >= {"alerting_firing", "alerting_evaluations_total"}
        app.extensions["alerting"].last = app.extensions["alerting"].evaluated = None
    assert done is not None
    assert done.unknown == []
