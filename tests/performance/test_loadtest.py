"""`haven loadtest`: what is counted, judged, blamed and shown, and what is refused. Real runs are in `tests/live`."""

from __future__ import annotations

import datetime as dt
import http.server
import itertools
import json
import subprocess
import sys
import threading

import pytest
from click.testing import CliRunner

from haven.benchmarking.checkout import Revision
from haven.benchmarking.errors import CANNOT, CannotMeasure
from haven.benchmarking.machine import machine
from haven.loadtest import flows, targets
from haven.loadtest.bottleneck import GENERATOR, OTHERS, GeneratorSecond, MachineSecond, limits
from haven.loadtest.commands import loadtest
from haven.loadtest.outcome import Outcome
from haven.loadtest.phones import phones
from haven.loadtest.plan import SCENARIOS, Plan, ramp_of
from haven.loadtest.report import page
from haven.loadtest.site import find_site, is_loopback, read_host
from haven.loadtest.tally import FLOW, HTTP, Tally
from haven.loadtest.watching import Served, window_of
from haven.payments.mpesa.simulator.scenarios import scenario_of
from haven.stack_folder import StackFolder

AT = dt.datetime(2026, 11, 25, 9, 0, tzinfo=dt.UTC)
QUIET = [GeneratorSecond(0.1, 1.0)] * 60


def a_row(kind, name, *ms, failed=0):
    times = {f"{one:.3g}": 1 for one in ms}
    return {"kind": kind, "name": name, "count": len(ms), "failed": failed, "sum_ms": sum(ms), "times": times}


def a_line(at, users, *rows, errors=None):
    return {"at": at, "users": users, "cpu": 0.1, "late_ms": 1.0, "series": rows, "errors": errors or {}}


def an_outcome(scenario="dashboard", users=100, lines=(), served=None, generators=(QUIET,), busy=(), **more):
    tally = Tally()
    for line in lines:
        tally.add(0, line)
    found = limits(generators, busy, 2)
    plan = Plan(SCENARIOS[scenario], users, 60, ramp_of(users), len(generators), "http://127.0.0.1:8000")
    revision = Revision("abc", is_changed=False)
    served = served or Served(why="no operator's sign-in was given")
    return Outcome(
        plan, AT, 60.0, True, revision, machine(), tally, served, generators, busy, [1.0], found, **more
    )


def verdicts(outcome):
    return {one.target.name: (one.verdict, one.value) for one in outcome.verdicts}


# What is judged


@pytest.mark.req("T3")
@pytest.mark.parametrize(
    "target, value, verdict",
    [
        (targets.DASHBOARD, 1.999, "pass"),
        (targets.DASHBOARD, 2.0, "warn"),
        (targets.DASHBOARD, 4.999, "warn"),
        (targets.DASHBOARD, 5.0, "critical"),
        (targets.CACHE, 80.1, "pass"),
        (targets.CACHE, 80.0, "warn"),
        (targets.CACHE, 50.0, "critical"),
        (targets.MANY, 0.0, "pass"),
        (targets.MANY, 0.01, "warn"),
        (targets.API, None, "not known"),
    ],
)
def test_a_figure_at_its_level_has_not_kept_it(target, value, verdict):
    assert target.judge(value) == verdict


@pytest.mark.req("T3")
def test_the_levels_are_those_of_the_requirement():
    levels = {
        one.name: (one.good, one.critical, one.unit)
        for one in (
            targets.DASHBOARD,
            targets.API,
            targets.DATABASE,
            targets.CACHE,
            targets.MEMORY,
            targets.ERRORS,
        )
    }
    assert levels == {
        "dashboard_p95": (2, 5, "s"),
        "api_mean": (500, 3000, "ms"),
        "database_mean": (100, 1000, "ms"),
        "cache_hit_rate": (80, 50, "%"),
        "memory": (70, 90, "%"),
        "errors": (1, 5, "%"),
    }
    assert (targets.PROPERTIES.good, targets.PAYMENT.good) == (1, 10)
    at_once = {name: one.users for name, one in SCENARIOS.items()}
    assert at_once == {"dashboard": 100, "properties": 50, "payments": 20, "bulk": 5, "mixed": 100}


def test_each_scenario_is_judged_by_what_its_people_wait_for():
    own = {name: next(iter(verdicts(an_outcome(name)))) for name in SCENARIOS if name != "mixed"}
    assert own == {
        "dashboard": "dashboard_p95",
        "properties": "properties_p95",
        "payments": "payment_p95",
        "bulk": "bulk_failed",
    }
    assert {*own.values(), "cache_hit_rate"} <= set(verdicts(an_outcome("mixed")))
    assert "cache_hit_rate" not in verdicts(an_outcome("payments"))


def test_figures_are_made_of_what_was_counted_and_what_haven_says():
    opened = a_row(FLOW, flows.OPENING, *([100.0 + n for n in range(95)] + [9000.0 + n for n in range(5)]))
    requests = a_row(HTTP, "GET /dashboard/stats", *range(100, 300), failed=4)
    served = Served(
        performance={"cache": [{"hits": 60, "misses": 20}, {"hits": 15, "misses": 5}]},
        database={"statements": {"mean": 150.0, "count": 10}},
        memory=[0.5, 0.95, 0.6],
    )
    found = verdicts(an_outcome(lines=[a_line(1, 100, opened, requests)], served=served))
    assert found == {
        "dashboard_p95": ("pass", 0.194),
        "api_mean": ("pass", 199.5),
        "database_mean": ("warn", 150.0),
        "cache_hit_rate": ("warn", 75.0),
        "memory": ("critical", 95.0),
        "errors": ("warn", 1.333),
    }


def test_five_hundred_at_once_count_only_where_they_were_there_and_nothing_failed():
    there = a_line(1, 500, a_row(HTTP, "GET /properties", 1, 2))
    failing = a_line(1, 500, a_row(HTTP, "GET /properties", 1, 2, failed=1))
    assert verdicts(an_outcome("mixed", 500, [there]))["many_at_once"] == ("pass", 0.0)
    assert verdicts(an_outcome("mixed", 500, [failing]))["many_at_once"][0] == "critical"
    assert verdicts(an_outcome("mixed", 500, [a_line(1, 499)]))["many_at_once"] == ("not known", None)
    assert "many_at_once" not in verdicts(an_outcome("mixed", 499, [there]))


def test_what_is_not_known_says_why_and_is_no_pass():
    found = {one.target.name: one for one in an_outcome().verdicts}
    assert found["dashboard_p95"].why == "none was finished"
    assert found["database_mean"].why == "no operator's sign-in was given"
    assert targets.worst(an_outcome().verdicts) == "not known"


# What is counted


def test_percentiles_are_those_of_all_durations_of_all_generators():
    tally = Tally()
    tally.add(0, a_line(0.5, 3, a_row(HTTP, "GET /a", *range(1, 51))))
    tally.add(1, a_line(0.6, 2, a_row(HTTP, "GET /a", *range(51, 101)), a_row(FLOW, "f", 9999.0)))
    series = tally.all_of(HTTP)
    assert series.percentiles((0.5, 0.95, 0.99)) == [50, 95, 99]
    assert (series.count, series.mean, series.max) == (100, 50.5, 100)
    assert Tally().all_of(HTTP).percentiles((0.5,)) == [None]


def test_users_are_added_over_generators_and_a_silent_second_is_a_step_without_requests():
    tally = Tally()
    for number, at, users in ((0, 0.5, 3), (1, 0.7, 2), (0, 1.5, 4), (0, 3.5, 4)):
        tally.add(number, a_line(at, users))
    assert tally.users == {0: 5, 1: 6, 3: 6}
    assert [(at, one.count) for at, one in tally.steps(1)] == [(0, 0), (1, 0), (2, 0), (3, 0)]


def test_users_are_dealt_to_generators_without_one_missing():
    plan = Plan(SCENARIOS["mixed"], 100, 60, 5, 3, "http://127.0.0.1")
    assert [plan.users_of(number) for number in range(3)] == [34, 33, 33]


def test_haven_is_read_from_the_first_whole_slot_of_a_long_run_and_for_all_of_a_short_one():
    assert window_of(1003.0, 1063.5) == 53
    assert window_of(1003.0, 1009.2) == 10
    assert window_of(1003.0, 1024.2) == 22


def test_phones_are_all_different_and_all_of_them_pay_at_the_simulator():
    made = list(itertools.islice(phones("7"), 3000))
    assert len(set(made)) == len(made)
    assert {scenario_of(phone.removeprefix("+")).name for phone in made} == {"paid"}


# What is blamed


def test_a_generator_that_uses_its_core_up_is_said_to_be_the_bottleneck():
    full = [GeneratorSecond(0.97, 5.0)] * 10 + [GeneratorSecond(0.5, 5.0)] * 50
    found = limits([QUIET, full], [], 2)
    assert "bottleneck" in found.generator
    assert "--generators 3" in found.generator
    few = [GeneratorSecond(0.97, 5.0)] * 3 + [GeneratorSecond(0.5, 5.0)] * 57
    assert limits([few], [], 2).sentences == []


def test_a_generator_that_gets_no_processor_says_so():
    late = [GeneratorSecond(0.2, 80.0)] * 10 + [GeneratorSecond(0.2, 2.0)] * 50
    assert "got no processor in time" in limits([late], [], 2).generator


def test_a_full_machine_is_said_to_be_the_limit_with_who_used_it():
    cores = {"Haven's web": 0.4, "PostgreSQL": 0.2, GENERATOR: 0.1}
    busy = [MachineSecond(1.0, cores | {OTHERS: 1.3})] * 40 + [MachineSecond(0.4, cores)] * 20
    found = limits([QUIET], busy, 2).machine
    assert "in 67% of the time" in found
    assert "other programs used 0.87 of them, the load generator 0.10, Haven with its servers 0.60" in found
    assert "less else is going on" in found
    own = limits([QUIET], [MachineSecond(1.0, {"Haven's web": 1.9, OTHERS: 0.1})], 2).machine
    assert "less else" not in own
    assert limits([QUIET], [MachineSecond(0.9)] * 60, 2).machine == ""
    assert limits([], [], 2).sentences == []


# What is shown


def test_the_page_has_verdicts_limits_and_plots_and_needs_nothing_from_outside():
    lines = [
        a_line(
            n + 0.5, 100, a_row(HTTP, "GET /a", 5.0, 7.0), errors={"GET /a: 500 <script>alert(1)</script>": 1}
        )
        for n in range(60)
    ]
    full = [GeneratorSecond(1.0, 5.0)] * 60
    text = page(an_outcome(lines=lines, generators=[full], notes=["It was interrupted."]))
    assert text.count("<svg") >= 4
    assert "The load generator was the bottleneck" in text
    assert "It was interrupted." in text
    assert "<script" not in text
    assert not any(word in text for word in ("src=", "href=", "@import", "url("))


def test_the_document_is_json_and_says_what_was_asked_and_found():
    found = json.loads(json.dumps(an_outcome("mixed", 500, [a_line(0, 500)], notes=["one"]).document()))
    assert (found["scenario"], found["users"], found["is_whole"]) == ("mixed", 500, True)
    assert found["server"]["why_not_known"] == "no operator's sign-in was given"
    assert found["limits"] == {"generator": "", "machine": ""}
    assert {one["name"] for one in found["targets"]} >= {"many_at_once", "memory"}


# What is refused


@pytest.mark.parametrize(
    "arguments",
    [
        ["nothing"],
        ["dashboard", "--users", "0"],
        ["dashboard", "--users", "10001"],
        ["dashboard", "--duration", "soon"],
        ["dashboard", "--duration", "0s"],
        ["dashboard", "--duration", "nan"],
        ["dashboard", "--duration", "25h"],
        ["dashboard", "--generators", "0"],
        ["dashboard", "--ramp", "-1"],
    ],
)
def test_bad_arguments_are_refused_by_name(arguments):
    result = CliRunner().invoke(loadtest, arguments)
    assert result.exit_code == 2, result.output
    assert "Invalid value" in result.output


@pytest.mark.parametrize(
    "host, says",
    [
        ("http://127.0.0.1:1", "does not answer"),
        ("ftp://haven.example", "no address of a Haven"),
        ("haven.example", "no address of a Haven"),
        ("http://me:secret@haven.example", "no address of a Haven"),
        ("http://haven.example/api", "no address of a Haven"),
        ("http://haven.example:99999", "no address"),
        ("http://[::1", "no address"),
    ],
)
def test_a_bad_host_is_refused_in_a_sentence(host, says, tmp_path, monkeypatch):
    monkeypatch.setenv("HAVEN_LOADTEST_EMAIL", "a@b.example")
    monkeypatch.setenv("HAVEN_LOADTEST_PASSWORD", "word")
    result = CliRunner().invoke(
        loadtest, ["dashboard", "--host", host, "--data", str(tmp_path), "--out", str(tmp_path)]
    )
    assert result.exit_code == CANNOT
    assert says in result.output
    assert "Traceback" not in result.output


@pytest.mark.parametrize("body", ["<html>", "[]", '{"message": "hello"}'])
def test_what_is_no_haven_is_found_out(body, tmp_path, monkeypatch):
    class Answer(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(200)
            self.end_headers()
            self.wfile.write(body.encode())

        do_POST = do_GET  # noqa: N815  as its base calls it

        def log_message(self, format, *args):  # noqa: A002
            """Nothing: it is not of interest."""

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Answer)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    monkeypatch.setenv("HAVEN_LOADTEST_EMAIL", "a@b.example")
    monkeypatch.setenv("HAVEN_LOADTEST_PASSWORD", "word")
    try:
        host = f"http://127.0.0.1:{server.server_port}"
        result = CliRunner().invoke(loadtest, ["dashboard", "--host", host, "--out", str(tmp_path)])
    finally:
        server.shutdown()
        server.server_close()
    assert result.exit_code == CANNOT
    assert "is that a Haven?" in result.output


def test_without_a_stack_and_a_host_it_says_what_to_do(tmp_path):
    result = CliRunner().invoke(loadtest, ["dashboard", "--data", str(tmp_path), "--out", str(tmp_path)])
    assert result.exit_code == CANNOT
    assert "haven up" in result.output


def test_a_host_without_a_sign_in_and_half_a_sign_in_are_refused(tmp_path):
    folder = StackFolder(tmp_path)
    with pytest.raises(CannotMeasure, match="HAVEN_LOADTEST_EMAIL and HAVEN_LOADTEST_PASSWORD"):
        find_site("http://127.0.0.1:1", folder, {})
    with pytest.raises(CannotMeasure, match="Set both"):
        find_site("http://127.0.0.1:1", folder, {"HAVEN_LOADTEST_EMAIL": "a@b.example"})


def test_no_load_goes_beyond_this_machine_unless_a_host_is_named(tmp_path):
    folder = StackFolder(tmp_path)
    folder.make()
    folder.write("stack.json", {"url": "http://192.0.2.1:8000"})
    with pytest.raises(CannotMeasure, match="say so with --host"):
        find_site(None, folder, {})


def test_addresses_are_read_as_they_are_used():
    assert read_host("http://LOCALHOST:8000/") == "http://localhost:8000"
    assert read_host("https://[::1]:8443") == "https://[::1]:8443"
    assert [is_loopback(one) for one in ("http://localhost", "http://127.0.0.2", "https://[::1]")] == [
        True
    ] * 3
    assert not is_loopback("http://haven.example")


def test_without_locust_it_says_what_to_install(checkout):
    code = "import sys; sys.modules['locust'] = None; from haven.cli import main; main(['loadtest', 'dashboard'])"
    finished = subprocess.run(
        [sys.executable, "-c", code], cwd=checkout, capture_output=True, text=True, check=False, timeout=60
    )
    assert finished.returncode == CANNOT
    assert "locust cannot be imported" in finished.stderr
    assert "requirements-dev.txt" in finished.stderr


def test_the_command_itself_is_never_patched_by_gevent(checkout):
    code = (
        "import sys\n"
        "import haven.loadtest.commands, haven.loadtest.report, haven.loadtest.running\n"
        "print('gevent' in sys.modules, 'locust' in sys.modules)"
    )
    finished = subprocess.run(
        [sys.executable, "-c", code], cwd=checkout, capture_output=True, text=True, check=True, timeout=60
    )
    assert finished.stdout.split() == ["False", "False"]


def test_a_folder_that_cannot_be_made_is_told_before_anything_is_measured(tmp_path):
    (tmp_path / "file").write_text("")
    result = CliRunner().invoke(loadtest, ["dashboard", "--out", str(tmp_path / "file" / "reports")])
    assert result.exit_code == CANNOT
    assert "choose another --out" in result.output
