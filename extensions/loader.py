"""Loads extensions: those a setting lists, and those that installed packages offer (entry points ``haven.extensions``)."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterable
from importlib.metadata import entry_points
from typing import Final

from flask import Flask

from extensions.contract import Base, Extension, Health
from extensions.health import EXTENSION as HEALTH
from extensions.health import HealthRegistry

GROUP: Final = "haven.extensions"
LOADED: Final = "haven_extensions"


class ExtensionError(ImportError):
    """An extension cannot be loaded; the message names it and says why."""


def load_extensions(app: Flask, paths: Iterable[str]) -> list[Extension]:
    """Make each extension part of ``app``, in the order given but after those it requires.

    Args:
        paths: ``package.module:Class`` of each.

    Raises:
        ExtensionError: one is not there, is no extension, or has the name of another.
    """
    found = [_make(path) for path in [*paths, *(point.value for point in entry_points(group=GROUP))]]
    _check_names(found)
    loaded: list[Extension] = []
    checks = app.extensions.setdefault(HEALTH, HealthRegistry())
    for extension in _ordered(found):
        extension.init_app(app)
        blueprint = getattr(extension, "blueprint", None)
        if blueprint is not None:
            app.register_blueprint(blueprint)
        loaded.append(extension)
        checks.add(extension.name, _check(app, extension))
    app.extensions[LOADED] = loaded
    return loaded


def run_after_fork(app: Flask) -> None:
    """Call in each new process of a server that forks."""
    for extension in app.extensions.get(LOADED, ()):
        if isinstance(extension, Base):
            extension.after_fork(app)


def _check(app: Flask, extension: Extension) -> Callable[[], Health]:
    def check() -> Health:
        with app.app_context():
            return extension.health()

    return check


def _make(path: str) -> Extension:
    module, _, name = path.partition(":")
    try:
        made = getattr(importlib.import_module(module), name)()
    except (ImportError, AttributeError, TypeError, ValueError) as error:
        raise ExtensionError(f"EXTENSIONS names {path!r}, which cannot be imported: {error}") from error
    if not isinstance(made, Extension):
        raise ExtensionError(
            f"EXTENSIONS names {path!r}, which is no extension (see extensions/contract.py)."
        )
    return made


def _check_names(found: list[Extension]) -> None:
    seen: set[str] = set()
    for extension in found:
        if extension.name in seen:
            raise ExtensionError(f"Two extensions are named {extension.name!r}.")
        seen.add(extension.name)


def _ordered(found: list[Extension]) -> list[Extension]:
    """Each after those it requires, where they are present at all."""
    waiting, ordered = list(found), list[Extension]()
    while waiting:
        names = {extension.name for extension in waiting}
        ready = [one for one in waiting if not names & set(one.requires)]
        if not ready:
            raise ExtensionError(f"These extensions require each other: {', '.join(sorted(names))}.")
        ordered += ready
        waiting = [one for one in waiting if one not in ready]
    return ordered
