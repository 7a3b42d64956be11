"""Rate limiting: Flask-Limiter on windows of our own, counted in Redis, in memory while Redis is away."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final, cast

from flask import Flask, Response, current_app, request
from flask_limiter import ApplicationLimit, Limiter, RequestLimit
from flask_limiter._limits import RuntimeLimit  # what a limit yields; it has no public name

from extensions.contract import Base, Health, Metric, Setting
from extensions.rate_limiting.ahead import Ahead
from extensions.rate_limiting.answers import policy_of, refusal, sentence, tell
from extensions.rate_limiting.control import Control
from extensions.rate_limiting.rules import DEFAULT, RULE_PATTERN, Limits, RouteClass, Rule
from extensions.rate_limiting.storage import SCHEME, WindowStorage
from extensions.rate_limiting.strategy import Together, breached

__all__ = ["DEFAULT", "RULE_PATTERN", "RateLimiting", "RouteClass", "Rule", "limiter_of"]

_PREFIX: Final = "haven:limit"
_TOP: Final = 20


@dataclass(frozen=True, slots=True)
class State:
    """What one app has of this extension."""

    limiter: Limiter
    storage: WindowStorage
    control: Control

    def ahead(self, route: str, caller: str) -> Ahead | None:
        """What counts a request to ``route`` (``GET /rule``) of a caller who is not exempt, before Flask has it.

        None: it can only be counted by the app, as the count is by address, or is not in Redis.
        """
        self.control.sync()
        limits = self.control.limits
        route_class = limits.class_of(route)
        if not self.limiter.enabled or (route_class is not None and route_class.by_address):
            return None
        rules = limits.rules_of(route_class)
        command = self.storage.packed(caller, rules)
        return None if command is None else Ahead(caller, rules, command, policy_of(rules))


class RateLimiting(Base):
    """A sliding window for each caller, and one for each class of routes that has a limit of its own.

    While Redis does not answer each process counts in its own memory: a dead Redis makes the limit looser, never an error,
    and costs no request its time-out but those that are on the way when it dies.
    """

    name = "rate_limiting"
    requires = ("logs",)
    settings = (
        Setting("RATE_LIMIT_WINDOW", 60_000, "The window", "ms"),
        Setting("RATE_LIMIT_MAX_REQUESTS", 1000, "Requests of one caller in a window"),
        Setting("RATE_LIMIT_CLASSES", (), "`RouteClass`es: routes with a limit of their own beside that one"),
        Setting(
            "RATE_LIMIT_IDENTIFY", None, "Callable: text that names the caller (default: the remote address)"
        ),
        Setting("RATE_LIMIT_EXEMPT", None, "Callable: whether this request is not counted"),
        Setting("RATE_LIMIT_EXEMPT_PATHS", (), "Beginnings of paths that are not counted"),
        Setting(
            "RATE_LIMIT_RESTORE", None, "Callable: the operators' limits (class → rule), if Redis lost them"
        ),
        Setting("REDIS_TIMEOUT", 250, "Longest wait for Redis", "ms"),
        Setting("REDIS_URL", "", "Where to count; empty: in memory", "URL"),
    )

    def init_app(self, app: Flask) -> None:
        """Count the requests of ``app``. Connects to nothing."""
        of = {setting.name: self.setting(app, setting.name) for setting in self.settings}
        default = Rule(of["RATE_LIMIT_MAX_REQUESTS"], max(1000, of["RATE_LIMIT_WINDOW"]))
        limits = Limits(default, of["RATE_LIMIT_CLASSES"])
        identify = of["RATE_LIMIT_IDENTIFY"] or _address
        limiter = Limiter(
            key_func=identify,
            application_limits=[_OfTheRequest(lambda: _asked(limits, identify))],
            storage_uri=f"{SCHEME}+{of['REDIS_URL'] or 'memory://'}",
            storage_options={"prefix": _PREFIX, "timeout_ms": of["REDIS_TIMEOUT"]},
            strategy=SCHEME,
            # What has no route is counted too: somebody who tries addresses is to be stopped.
            request_identifier=lambda: request.endpoint or "no route",
            on_breach=_refuse,
            on_meta_breach=_refuse,
        )
        paths = tuple(of["RATE_LIMIT_EXEMPT_PATHS"])
        limiter.request_filter(lambda: _is_exempt(limits, paths, of["RATE_LIMIT_EXEMPT"]))
        # Before the limiter's own, so it runs after that has counted what is counted by its answer.
        app.after_request(tell)
        limiter.init_app(app)
        # Without RATELIMIT_ENABLED Flask-Limiter makes no storage.
        storage = cast(WindowStorage, limiter.storage) if limiter.enabled else WindowStorage()
        control = Control(limits, storage.client, _PREFIX, of["RATE_LIMIT_RESTORE"])
        app.extensions[self.name] = State(limiter, storage, control)

    def health(self) -> Health:
        """``degraded`` while the count is kept in memory though it should be shared."""
        state = _state()
        numbers = {
            "counts_in": "memory" if state.storage.counts_in_memory else "redis",
            "refused": dict(state.control.refusals.totals),
        }
        return Health("ok" if state.storage.check() else "degraded", numbers)

    def collect(self) -> Iterable[Metric]:
        state = _state()
        totals = state.control.refusals.totals
        yield Metric("rate_limiting_in_memory", float(state.storage.counts_in_memory))
        for name in {**state.control.limits.settings, **totals}:
            yield Metric("rate_limiting_refused_total", totals[name], {"class": name})

    def release(self, pressure: float) -> int:  # noqa: ARG002  the windows are small: all or nothing
        """Let go of the windows in memory, which are those of callers while Redis is away."""
        return _state().storage.release() * 1000

    def report(self) -> dict[str, Any]:
        """Every limit, and who was refused in the last hour, the most refused first. For operators."""
        state = _state()
        limits = state.control.limits
        refused, is_of_all = state.control.last_hour()
        by_class: Counter[str] = Counter()
        for (name, _), count in refused.items():
            by_class[name] += count
        return {
            "limits": [
                {"name": name, "limit": str(limits.overrides.get(name, rule)), "setting": str(rule)}
                for name, rule in limits.settings.items()
            ],
            "counts_in": "memory" if state.storage.counts_in_memory else "redis",
            "of_all_processes": is_of_all,
            "refused": sum(by_class.values()),
            "refused_by_limit": dict(by_class),
            "most_refused": [
                {"caller": caller, "limit": name, "refused": count}
                for (name, caller), count in refused.most_common(_TOP)
            ],
        }

    def override(self, texts: Mapping[str, str]) -> None:
        """Put operators' limits (class → ``30 per minute``) in force in every process within two seconds.

        Those that are not named fall back to the settings.

        Raises:
            ValueError: one is no rule, or of no class.
            redis.RedisError: Redis does not answer; nothing has changed.
        """
        _state().control.override(texts)


def limiter_of(app: Flask) -> Limiter:
    """The Flask-Limiter of ``app``, for limits of single views: ``@limiter_of(app).limit("5 per minute")``."""
    state: State = app.extensions[RateLimiting.name]
    return state.limiter


class _OfTheRequest(ApplicationLimit):
    """The limits of a request's class as one limit of Flask-Limiter, looked up for each request."""

    def __init__(self, asked: Callable[[], tuple[str, Together]]) -> None:
        super().__init__(limit_provider="")
        self._asked = asked

    def __iter__(self) -> Iterator[RuntimeLimit]:
        caller, together = self._asked()
        yield RuntimeLimit(
            together,
            lambda: caller,
            scope="request",
            shared=True,
            error_message=lambda: sentence(breached(together, caller, "request")[1]),
        )


def _is_exempt(limits: Limits, paths: tuple[str, ...], exempt: Callable[[], bool] | None) -> bool:
    """Whether the request at hand is not counted. Nobody is exempt where it is by address that one is counted."""
    if request.path.startswith(paths):
        return True
    route_class = limits.class_of(_route())
    is_by_address = route_class is not None and route_class.by_address
    return not is_by_address and exempt is not None and exempt()


def _asked(limits: Limits, identify: Callable[[], str]) -> tuple[str, Together]:
    """Who asks, and what counts in."""
    _state().control.sync()
    route_class = limits.class_of(_route())
    is_by_address = route_class is not None and route_class.by_address
    return _address() if is_by_address else identify(), Together(limits.rules_of(route_class))


def _refuse(limit: RequestLimit) -> Response:
    caller, by = breached(limit.limit, *limit.request_args)
    _state().control.refusals.add(by.name, caller)
    return refusal(by)


def _state() -> State:
    state: State = current_app.extensions[RateLimiting.name]
    return state


def _route() -> str:
    return f"{request.method} {request.url_rule or ''}"


def _address() -> str:
    return f"address:{request.remote_addr}"
