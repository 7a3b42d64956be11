"""The READMEs of the extensions: their examples run, their tables name every setting."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from config import DEFAULT_EXTENSIONS
from tests.extensions.test_contract import DEAD, bare_app

FOLDER = Path(__file__).resolve().parents[2] / "extensions"


def readme_of(path: str) -> str:
    return (FOLDER / path.partition(":")[0].removeprefix("extensions.") / "README.md").read_text()


@pytest.mark.parametrize("path", DEFAULT_EXTENSIONS)
def test_the_example_runs(path, database_url, owner_url, redis_url):
    (example,) = re.findall(r"^```python\n(.*?)^```$", readme_of(path), re.MULTILINE | re.DOTALL)
    urls = {"DATABASE_URL": database_url, "OWNER_URL": owner_url, "REDIS_URL": redis_url}
    exec(compile(example, path, "exec"), urls)


@pytest.mark.parametrize("path", DEFAULT_EXTENSIONS)
def test_the_table_names_every_setting(path):
    (extension,) = bare_app(path, DEAD).extensions["haven_extensions"]
    listed = re.findall(r"^\| `([A-Z_]+)` \|", readme_of(path), re.MULTILINE)
    assert listed == [setting.name for setting in extension.settings]
