"""What every extension is: a small contract, so that an operator sees each part's health, numbers and settings alike."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol, runtime_checkable

from flask import Blueprint, Flask


@dataclass(frozen=True, slots=True)
class Setting:
    """A setting an extension reads from ``app.config`` (or takes ``default``)."""

    name: str
    default: Any
    doc: str
    unit: str = ""


@dataclass(frozen=True, slots=True)
class Health:
    """``status`` is ``ok``, ``degraded`` (works, slower or with less) or ``down``."""

    status: str
    numbers: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Metric:
    """One number at one moment; ``labels`` tell apart those of a name.

    A name that ends in ``_total`` only grows. ``merge`` is what one makes of the numbers of several processes: their sum, or
    the largest where each tells of the same thing (a state, a lag).
    """

    name: str
    value: float
    labels: Mapping[str, str] = field(default_factory=dict)
    merge: Literal["sum", "max"] = "sum"


@runtime_checkable
class Extension(Protocol):
    """A Flask extension that Haven can load.

    ``init_app`` does no work that needs a backend: nothing connects before first use. State is kept in
    ``app.extensions[name]``, so that two apps in one process do not meet.
    """

    name: str
    requires: tuple[str, ...]
    settings: tuple[Setting, ...]

    def init_app(self, app: Flask) -> None:
        """Become part of ``app``."""

    def health(self) -> Health:
        """How this part does."""

    def collect(self) -> Iterable[Metric]:
        """Its numbers."""


class Base:
    """What an extension need not say. Optional: ``blueprint``, ``release(pressure)``, ``after_fork(app)``."""

    name = ""
    requires: tuple[str, ...] = ()
    settings: tuple[Setting, ...] = ()
    blueprint: Blueprint | None = None

    def __init__(self, app: Flask | None = None) -> None:
        if app is not None:
            self.init_app(app)

    def init_app(self, app: Flask) -> None:
        raise NotImplementedError

    def setting(self, app: Flask, name: str) -> Any:
        """The value of one of ``settings`` in ``app``; a ``LookupError`` for one that is not declared."""
        declared = {setting.name: setting.default for setting in self.settings}
        return app.config.get(name, declared[name])

    def health(self) -> Health:
        return Health("ok")

    def collect(self) -> Iterable[Metric]:
        return ()

    def release(self, pressure: float) -> int:  # noqa: ARG002
        """Free what can be freed; ``pressure`` is from 0 to 1. How many bytes, about."""
        return 0

    def after_fork(self, app: Flask) -> None:
        """Let go of what must not be shared with the parent process."""
