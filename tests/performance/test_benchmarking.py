"""`haven bench`: what is decided, kept, told and shown; the measuring itself takes real processes and is `long`."""

from __future__ import annotations

import dataclasses
import datetime as dt
import json
import re
import subprocess
import sys

import numpy as np
import pytest
from click.testing import CliRunner
from sqlalchemy import select, text

from haven.benchmarking import files, history
from haven.benchmarking.change_points import changes
from haven.benchmarking.commands import REGRESSED, bench
from haven.benchmarking.errors import CANNOT, INTERRUPTED, CannotMeasure, said
from haven.benchmarking.machine import machine
from haven.benchmarking.plan import NAMES, QUICK, WHOLE
from haven.benchmarking.report import page
from haven.benchmarking.runs import Figure, Run, Verdict
from haven.benchmarking.statistics import LOOKS, apart, paired
from haven.benchmarking.trends import trends
from haven.db.base import PLATFORM
from haven.db.session import tenant_session
from haven.operations.models import Alert

AT = dt.datetime(2026, 11, 20, 9, 0, tzinfo=dt.UTC)


def a_run(ratio=2.0, number=0, decision="slower", **changed):
    figure = Figure(0.001, ratio, [[ratio, ratio * 1.01], [ratio * 0.99, ratio]])
    verdict = Verdict("sketch", 1.2, 1.1, 1.3, decision, 6)
    made = Run(
        "RUN",
        AT + dt.timedelta(hours=number),
        f"{number:040x}",
        False,
        machine(),
        {"sketch": figure},
        [verdict],
    )
    return dataclasses.replace(made, **changed)


def series(random, level, starts=12, rounds=8):
    return level * random.lognormal(0, 0.02, (starts, rounds))


@pytest.mark.parametrize(
    "slowdown, says", [(1.2, "slower"), (1 / 1.2, "faster"), (1.0, "same"), (1.03, "same")]
)
def test_a_change_counts_where_it_is_sure_and_large_enough(slowdown, says):
    random = np.random.default_rng(3)
    for way in (paired, apart):
        found = way(series(random, slowdown), series(random, 1.0), 0.99, random)
        assert str(found.decisions(0.05)) == says, way
        assert found.low < found.ratio < found.high


def test_what_is_too_noisy_to_tell_is_unclear_and_never_called_the_same():
    random = np.random.default_rng(3)
    here, there = (random.lognormal(0, 0.8, (4, 5)) for _ in range(2))
    assert str(paired(here, there, 0.99, random).decisions(0.05)) == "unclear"


def test_what_is_unclear_is_looked_at_again_as_often_as_the_error_rates_are_tested_with():
    assert WHOLE.looks == LOOKS
    assert QUICK.looks == (4,)


def test_a_change_of_level_is_found_where_it_happened_and_noise_is_none():
    random = np.random.default_rng(5)
    noise = random.lognormal(0, 0.02, 40)
    (change,) = changes(list(noise * np.where(np.arange(40) < 25, 1.0, 1.15)))
    assert abs(change.at - 25) <= 1
    assert change.ratio == pytest.approx(1.15, abs=0.03)
    quiet = sum(bool(changes(list(random.lognormal(0, 0.03, 40)))) for _ in range(200))
    assert quiet <= 4
    assert changes([1.0, 2.0, 3.0]) == []


def test_the_file_of_a_baseline_comes_back_as_it_was_and_is_the_same_text_each_time(tmp_path):
    path = tmp_path / "b" / "baseline.json"
    files.write(a_run(), path)
    assert files.read(path) == a_run()
    before = path.read_text()
    files.write(files.read(path), path)
    assert path.read_text() == before
    assert max(map(len, before.splitlines())) < 200


def test_a_baseline_that_is_missing_or_damaged_says_what_to_do(tmp_path):
    with pytest.raises(CannotMeasure, match="haven bench baseline"):
        files.read(tmp_path / "none.json")
    (tmp_path / "bad.json").write_text("{")
    with pytest.raises(CannotMeasure, match="Make it anew"):
        files.read(tmp_path / "bad.json")


def test_machines_are_told_apart_in_words():
    mine = machine()
    other = dataclasses.replace(mine, cpus=mine.cpus + 6, python="CPython 3.99.0")
    assert mine.differs_from(mine) == []
    assert [words.split(" ")[0] for words in mine.differs_from(other)] == ["cpus", "python"]


def platform_session(engine):
    return tenant_session(engine, PLATFORM, "haven bench", is_platform=True)


@pytest.fixture
def no_runs(engine):
    with platform_session(engine) as session:
        session.execute(text("DELETE FROM benchmark_run"))


def test_runs_are_kept_in_the_database_and_come_back_in_the_order_of_time(engine, no_runs):
    for number in (2, 0, 1):
        with platform_session(engine) as session:
            history.keep(session, a_run(2.0 + number, number))
    with platform_session(engine) as session:
        found = history.past(session)
        newest = history.past(session, 2)
    assert [run.figures["sketch"].ratio for run in found] == [2.0, 3.0, 4.0]
    assert [run.revision for run in newest] == [run.revision for run in found[1:]]
    assert found[0].verdicts == a_run().verdicts


def states(engine):
    query = select(Alert.state).where(Alert.fingerprint == "performance_regression/benchmark:sketch")
    with platform_session(engine) as session:
        return sorted(session.scalars(query).all())


def test_a_regression_fires_an_alert_once_which_ends_when_it_is_gone(engine):
    def told(decision):
        with platform_session(engine) as session:
            return history.tell(session, a_run(decision=decision).verdicts)

    assert told("slower") == 1
    assert told("slower") == 0
    assert told("unclear") == 0
    assert states(engine).count("FIRING") == 1
    assert told("same") == 0
    assert "FIRING" not in states(engine)


def a_history(engine):
    with platform_session(engine) as session:
        for number in range(16):
            history.keep(session, a_run((2.0 if number < 9 else 2.6) + 0.01 * (number % 3), number))


def test_trend_says_since_when(engine, database_url, no_runs):
    a_history(engine)
    done = CliRunner().invoke(bench, ["trend", "--json", "--database-url", database_url])
    assert done.exit_code == 0, done.output
    (one,) = json.loads(done.stdout)
    assert one["runs"] == 16
    (change,) = one["changes"]
    assert change["revision"] == f"{9:040x}"
    assert change["ratio"] == pytest.approx(1.3, abs=0.02)


def test_the_report_is_one_file_for_light_and_dark_that_asks_the_network_for_nothing(engine, no_runs):
    a_history(engine)
    with platform_session(engine) as session:
        past = history.past(session)
    html = page(a_run(notes=["<b>bold</b>"], against="a<b"), a_run(), trends(past))
    assert "prefers-color-scheme: dark" in html
    assert html.count("<svg") >= 3
    assert "1.30 times since" in html or "1.31 times since" in html
    assert "<b>" not in html
    assert "&lt;b&gt;bold" in html
    assert not re.search(r"(src|href)=|url\(|<script", html)


def test_what_cannot_be_measured_ends_with_another_code_than_a_regression(tmp_path):
    done = CliRunner().invoke(bench, ["regress", "--baseline", str(tmp_path / "none.json")])
    assert done.exit_code == CANNOT
    assert {CANNOT, REGRESSED, 0} == {3, 1, 0}
    done = CliRunner().invoke(bench, ["compare", "no-such-revision"])
    assert done.exit_code == CANNOT
    assert "no-such-revision" in done.output


def test_neither_ctrl_c_nor_a_dead_database_is_a_regression():
    with pytest.raises(SystemExit) as ended, said():
        raise KeyboardInterrupt
    assert ended.value.code == INTERRUPTED
    for url in ("postgresql://127.0.0.1:1/x", "nonsense"):
        done = CliRunner().invoke(bench, ["trend", "--database-url", url])
        assert done.exit_code == CANNOT
        assert "the database of the runs does not answer as it should" in done.output


def test_an_installation_without_the_developers_libraries_starts_and_says_what_is_missing(checkout):
    without = (
        "import sys\n"
        "class Gone:\n"
        "    def find_spec(self, name, *_):\n"
        "        if name.partition('.')[0] in ('numpy', 'scipy', 'ruptures'):\n"
        "            raise ModuleNotFoundError(name)\n"
        "sys.meta_path.insert(0, Gone())\n"
        "import haven.app, haven.benchmarking.performance_benchmark\n"
        "from haven.cli import main\n"
        "main(sys.argv[1:])\n"
    )

    def haven(*arguments):
        argv = [sys.executable, "-c", without, *arguments]
        return subprocess.run(argv, cwd=checkout, capture_output=True, text=True, timeout=100, check=False)

    assert "bench" in haven("--help").stdout
    done = haven("bench", "run")
    assert done.returncode == CANNOT
    assert "requirements-dev.txt" in done.stderr
    assert haven("bench", "trend").returncode == CANNOT


def test_the_names_are_those_of_the_suite():
    from benchmarks.suite.endpoints import CALLBACKS_A_FIGURE, ENDPOINTS
    from benchmarks.suite.jobs import JOBS
    from benchmarks.suite.micro import MICRO
    from haven.benchmarking import measuring

    assert (*MICRO, *ENDPOINTS, *JOBS) == NAMES
    assert measuring._CALLBACKS_A_FIGURE == CALLBACKS_A_FIGURE


@pytest.fixture
def tree(tmp_path, checkout):
    """A checkout of its own, with a commit on top in which serialisation takes a third longer."""

    def git(*arguments):
        named = ("-c", "user.name=Tests", "-c", "user.email=tests@haven.test")
        subprocess.run(["git", *named, *arguments], cwd=path, check=True, capture_output=True, timeout=100)

    path = tmp_path / "haven"
    clone = ["git", "clone", "--quiet", "--shared", str(checkout), str(path)]
    subprocess.run(clone, check=True, capture_output=True, timeout=100)
    encoding = path / "haven" / "api" / "encoding.py"
    once = "    text = orjson.dumps(value, default=_other, option=_OPTIONS)\n"
    assert once in encoding.read_text()
    slower = "    if time.monotonic_ns() % 3 == 0:\n    " + once
    encoding.write_text(encoding.read_text().replace(once, slower + once))
    git("commit", "--all", "--quiet", "-m", "Take longer")
    return path


@pytest.mark.long
@pytest.mark.timeout(900)
@pytest.mark.req("T2")
def test_a_slower_revision_is_found_in_turns_and_alerted_of(tree, database_url, engine):
    argv = [sys.executable, "-m", "haven", "bench", "regress", "--json", "--against", "HEAD~1"]
    argv += [
        "--only",
        "serialisation",
        "--only",
        "key_building",
        "--sessions",
        "8",
        "--database-url",
        database_url,
    ]
    done = subprocess.run(argv, cwd=tree, capture_output=True, text=True, timeout=800, check=False)
    assert done.returncode == REGRESSED, done.stderr
    verdicts = {one["name"]: one for one in json.loads(done.stdout)["verdicts"]}
    assert verdicts["serialisation"]["decision"] == "slower"
    assert 1.15 < verdicts["serialisation"]["ratio"] < 1.6
    assert verdicts["key_building"]["decision"] != "slower"
    assert "serialisation" in done.stderr
    query = select(Alert.state).where(Alert.fingerprint == "performance_regression/benchmark:serialisation")
    with platform_session(engine) as session:
        assert "FIRING" in session.scalars(query).all()


@pytest.mark.long
@pytest.mark.timeout(600)
@pytest.mark.req("T2")
def test_every_benchmark_can_be_measured():
    from haven.benchmarking import performance_benchmark

    plan = dataclasses.replace(QUICK, sessions=2, rounds=3)
    found = performance_benchmark.measure_here(plan)
    assert set(found.figures) == set(NAMES), found.notes
    assert all(0 < one.seconds < 10 for one in found.figures.values())
