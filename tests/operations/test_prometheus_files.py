"""What Prometheus and Grafana are given: made of the rules, checked by Prometheus' own tool, naming what there is."""

from __future__ import annotations

import json
import re
import shutil
import subprocess

import pytest
import redis
from click.testing import CliRunner

from config import DEFAULT_EXTENSIONS
from extensions.alerting import DEFAULT_RULES, Rule
from extensions.alerting.prometheus import alert_name, rule_file
from extensions.monitoring import JobNumbers
from extensions.monitoring.prometheus import prometheus_name
from haven.cli import main

NAME = re.compile(r"\bhaven_\w+")
# Till the extension that collects them is there.
NOT_YET = () if "extensions.memory:Memory" in DEFAULT_EXTENSIONS else ("haven_memory_share",)


@pytest.fixture(scope="module")
def exposed(app, redis_url):
    """The names of the samples that /metrics has after a little work."""
    JobNumbers(redis.Redis.from_url(redis_url)).push("tests", "SUCCEEDED", 0.3)
    with app.app_context():
        app.extensions["circuit_breaker"]["tests of boards"].state()
    client = app.test_client()
    client.get("/alive")
    text = client.get("/metrics").text
    return {*re.findall(r"^(haven_\w+)[ {]", text, re.MULTILINE), *NOT_YET}


@pytest.fixture(scope="module")
def board(checkout):
    return json.loads((checkout / "deploy/grafana/haven.json").read_text())


def promtool(*arguments, cwd):
    tool = shutil.which("promtool")
    if tool is None:
        pytest.fail("promtool is missing: apt-get install prometheus (`.ci/run` does)")
    done = subprocess.run(
        [tool, *arguments], cwd=cwd, capture_output=True, text=True, timeout=60, check=False
    )
    return done.returncode, done.stdout + done.stderr


@pytest.mark.req("A2")
def test_the_file_is_made_of_the_rules(checkout):
    made = CliRunner().invoke(main, ["alerts", "prometheus"])
    assert made.exit_code == 0
    stale = "stale: haven alerts prometheus > deploy/prometheus/alerts.yml"
    assert (checkout / "deploy/prometheus/alerts.yml").read_text() == made.output, stale
    assert [f"- alert: {alert_name(rule)}" in made.output for rule in DEFAULT_RULES] == [True] * 6


@pytest.mark.req("A2")
def test_promtool_finds_the_rules_sound(checkout):
    status, said = promtool("check", "rules", "alerts.yml", cwd=checkout / "deploy/prometheus")
    assert (status, "6 rules found" in said) == (0, True), said


@pytest.mark.req("A2")
def test_promtool_sees_each_trouble_fire_its_alert(checkout):
    status, said = promtool("test", "rules", "alerts_test.yml", cwd=checkout / "deploy/prometheus")
    assert status == 0, said
    tested = (checkout / "deploy/prometheus/alerts_test.yml").read_text()
    for rule in DEFAULT_RULES:
        assert f"alertname: {alert_name(rule)}" in tested


def test_rules_name_what_metrics_has(checkout, exposed):
    named = set(NAME.findall((checkout / "deploy/prometheus/alerts.yml").read_text()))
    assert len(named) >= 8
    assert named <= exposed
    assert set(NAME.findall((checkout / "deploy/prometheus/alerts_test.yml").read_text())) <= exposed


def test_the_board_names_what_metrics_has(board, exposed):
    named = set(NAME.findall(json.dumps(board)))
    assert len(named) >= 20
    assert named <= exposed, named - exposed


def test_the_board_is_one_that_grafana_can_show(board):
    panels = [panel for panel in board["panels"] if panel["type"] != "row"]
    assert len({panel["id"] for panel in board["panels"]}) == len(board["panels"])
    cells: set[tuple[int, int]] = set()
    for panel in board["panels"]:
        place = panel["gridPos"]
        here = {
            (x, y)
            for x in range(place["x"], place["x"] + place["w"])
            for y in range(place["y"], place["y"] + place["h"])
        }
        assert not here & cells, panel["title"]
        assert max(x for x, _ in here) < 24
        cells |= here
    assert all(target["expr"] for panel in panels for target in panel["targets"])


def test_prometheus_takes_every_expression_of_the_board(board, tmp_path):
    expressions = [target["expr"] for panel in board["panels"] for target in panel.get("targets", [])]
    assert len(expressions) > 25
    rules = [
        f"      - record: board_{number}\n        expr: {json.dumps(one.replace('$__rate_interval', '1m'))}\n"
        for number, one in enumerate(expressions)
    ]
    (tmp_path / "board.yml").write_text("groups:\n  - name: board\n    rules:\n" + "".join(rules))
    status, said = promtool("check", "rules", "board.yml", cwd=tmp_path)
    assert status == 0, said


def test_rules_of_ones_own_are_sound_for_prometheus_too(tmp_path):
    rules = [
        Rule("refused", "rate_limiting_refused_total", "ABOVE", 10, 10, 0, "WARNING", 0, 60),
        Rule("slow_pool", "database_statement_ms_total", "ABOVE", 10, 5, 0, "WARNING", labels={"a": 'b"\\c'}),
        Rule("off", "error_rate", "ABOVE", 1, 1, 0, "WARNING", enabled=False),
        Rule("odd", "error_rate", "BELOW", 0.5, 0.75, 0, "CRITICAL", description='A "quote", a \\ and é: {{'),
    ]
    text = rule_file(rules)
    assert "HavenOff" not in text
    name, scale = prometheus_name("database_statement_ms_total")
    assert f"({name}" in text
    assert f"* {1 / scale:g} >" in text
    (tmp_path / "rules.yml").write_text(text)
    status, said = promtool("check", "rules", "rules.yml", cwd=tmp_path)
    assert (status, "3 rules found" in said) == (0, True), said
