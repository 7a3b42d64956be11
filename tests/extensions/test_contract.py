"""One suite for every extension: on a bare app, twice in a process, left out, with a dead backend, after a fork."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from flask import Flask

from config import DEFAULT_EXTENSIONS
from extensions.contract import Extension, Health
from extensions.loader import ExtensionError, load_extensions, run_after_fork
from haven.app import create_app

FOLDER = Path(__file__).resolve().parents[2] / "extensions"
EVERY = list(DEFAULT_EXTENSIONS)
DEAD = {"DATABASE_URL": "postgresql://nobody@127.0.0.1:1/none", "REDIS_URL": "redis://127.0.0.1:1/0"}


@pytest.fixture
def backends(database_url, redis_url) -> dict[str, Any]:
    return {"DATABASE_URL": database_url, "REDIS_URL": redis_url}


def bare_app(path: str, config: Mapping[str, Any]) -> Flask:
    app = Flask("bare")
    app.config.from_mapping(config)
    load_extensions(app, [path])

    @app.get("/hello")
    def hello() -> str:
        return "hello"

    return app


def test_every_extension_is_in_the_suite():
    folders = {path.name for path in FOLDER.iterdir() if (path / "__init__.py").exists()}
    assert folders == {path.partition(":")[0].removeprefix("extensions.") for path in EVERY}


@pytest.mark.parametrize("path", EVERY)
def test_it_works_on_a_bare_app(path, backends):
    app = bare_app(path, backends)
    assert app.test_client().get("/hello").get_data() == b"hello"
    (extension,) = app.extensions["haven_extensions"]
    assert isinstance(extension, Extension)
    with app.app_context():
        health = extension.health()
        assert isinstance(health, Health)
        assert health.status == "ok"
        for metric in extension.collect():
            assert metric.name.startswith(extension.name)
            assert isinstance(metric.value, int | float)


@pytest.mark.parametrize("path", EVERY)
def test_two_apps_in_a_process_do_not_meet(path, backends):
    one, other = bare_app(path, backends), bare_app(path, backends)
    (name,) = (extension.name for extension in one.extensions["haven_extensions"])
    assert one.extensions[name] is not other.extensions[name]
    for app in (one, other, one):
        assert app.test_client().get("/hello").status_code == 200


@pytest.mark.parametrize("path", EVERY)
def test_haven_does_without_it(path, settings, caller_of):
    by = caller_of()
    left = tuple(one for one in EVERY if one != path)
    by.client = create_app(dataclasses.replace(settings, extensions=left)).test_client()
    assert by.client.get("/ready").status_code == 200
    assert by.get("/units").status_code == 200


@pytest.mark.parametrize("path", EVERY)
def test_a_dead_backend_stops_neither_the_start_nor_a_request(path):
    app = bare_app(path, DEAD)
    assert app.test_client().get("/hello").status_code == 200
    with app.app_context():
        for extension in app.extensions["haven_extensions"]:
            assert extension.health().status in ("ok", "degraded", "down")


@pytest.mark.parametrize("path", EVERY)
def test_it_works_after_a_fork(path, backends):
    app = bare_app(path, backends)
    assert app.test_client().get("/hello").status_code == 200
    child = os.fork()
    if child == 0:
        code = 1
        try:
            run_after_fork(app)
            code = 0 if app.test_client().get("/hello").status_code == 200 else 1
        finally:
            os._exit(code)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert app.test_client().get("/hello").status_code == 200


@pytest.mark.parametrize("path", EVERY)
def test_its_settings_say_what_they_are(path, backends):
    (extension,) = bare_app(path, backends).extensions["haven_extensions"]
    for setting in extension.settings:
        assert setting.name == setting.name.upper()
        assert setting.doc


@pytest.mark.parametrize(
    "path, words",
    [
        ("extensions.nothing:Nothing", "cannot be imported"),
        ("extensions.logs:Nothing", "cannot be imported"),
        ("extensions.logs", "cannot be imported"),
        ("extensions.contract:Setting", "cannot be imported"),
        ("flask:Flask", "cannot be imported"),
    ],
)
def test_what_is_no_extension_is_named(path, words):
    with pytest.raises(ExtensionError, match=words):
        load_extensions(Flask("bare"), [path])


def test_an_extension_given_twice_is_named():
    with pytest.raises(ExtensionError, match="Two extensions are named 'logs'"):
        load_extensions(Flask("bare"), ["extensions.logs:Logs", "extensions.logs:Logs"])
