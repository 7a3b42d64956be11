"""``/metrics``: prometheus-flask-exporter over our own measurements, right under any number of processes.

The exporter's own histograms are left out: they are measured inside Flask and cost each request some 30 µs. Ours are filled
by the thread that counts, from the same requests as everything else. With ``PROMETHEUS_MULTIPROC_DIR`` the processes of a
server share a directory, and whichever is scraped tells of all.
"""

from __future__ import annotations

import hmac
import ipaddress
import os
import threading
from bisect import bisect_left
from collections import Counter as Counts
from collections.abc import Callable, Mapping, Sequence
from functools import wraps
from typing import Any, Final

from flask import Flask, request
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client.exposition import choose_encoder
from prometheus_client.multiprocess import MultiProcessCollector
from prometheus_flask_exporter import PrometheusMetrics
from prometheus_flask_exporter.multiprocess import GunicornInternalPrometheusMetrics

from extensions.contract import Metric
from extensions.monitoring.jobs import JobNumbers
from extensions.monitoring.requests import Finished

BUCKETS_S: Final = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.0, 3.0, 5.0, 10.0)
"""Upper edges, among them every target: 0.5 s, 1 s, 2 s, 3 s, 5 s."""
_ROUTES_MOST: Final = 1000
_NAMES_MOST: Final = 500
_CHILDREN_MOST: Final = 200
"""Label values of one name; further ones are left out: they are in history all the same."""
_DIRECTORY: Final = "PROMETHEUS_MULTIPROC_DIR"


class Exporter:
    """The numbers of one app for Prometheus.

    Args:
        jobs: those of the workers.
        token: who shows it as a bearer may read; empty: whoever asks from this host itself.
    """

    def __init__(self, jobs: JobNumbers, token: str) -> None:
        self._registry = CollectorRegistry()
        self._jobs = jobs
        self._token = token
        self._requests = _Requests(
            "haven_http_request_duration_seconds",
            "Time from the first byte that the application sees until the answer is closed",
            ["method", "route", "status"],
            buckets=BUCKETS_S,
            registry=self._registry,
        )
        self._lock = threading.Lock()
        self._made: dict[str, Gauge | Counter] = {}
        self._totals: dict[tuple[str, tuple[str, ...]], float] = {}
        self._children: dict[str, set[tuple[str, ...]]] = {}
        self._routes: set[str] = set()

    def finished(self, ones: list[Finished]) -> None:
        """Count requests of one method, route and status.

        A path that no rule knows, and rules past the thousandth, are one route.
        """
        first = ones[0]
        route = first.route
        if route not in self._routes:
            if len(self._routes) >= _ROUTES_MOST:
                route = "(other)"
            self._routes.add(route)
        counted = self._requests.labels(first.method, route, f"{first.status // 100}xx")
        counted.observe_all([one.ms / 1000 for one in ones])

    def sample(self, numbers: list[Metric]) -> None:
        """Take over the extensions' numbers: levels as they are, of totals what they grew by."""
        with self._lock:
            for one in numbers:
                self._take(one)

    def serve(self, app: Flask, path: str, before: Callable[[], None]) -> None:
        """Answer at ``path`` in ``app``; ``before`` makes the numbers of this process current."""
        kind = GunicornInternalPrometheusMetrics if _is_shared() else PrometheusMetrics
        exporter: Any = kind(
            app=None, path=path, registry=self._registry_for_reading(), export_defaults=False,
            metrics_decorator=self._guarded(before),
        )  # fmt: skip
        # The exporter makes a registry of its own at each scrape and so would leave out the workers'.
        exporter.generate_metrics = self.generate
        exporter.register_endpoint(path, app)

    def generate(self, accept: str | None = None, names: list[str] | None = None) -> tuple[str, str]:
        """The text, and its media type."""
        registry = self._registry_for_reading()
        registry.register(self._jobs)
        encode, media_type = choose_encoder(accept or "")
        chosen = registry.restricted_registry(names) if names else registry
        return encode(chosen).decode(), media_type

    def may_read(self) -> bool:
        """Whether the request at hand may see them."""
        return self.is_bearer() or (not self._token and _is_from_here())

    def is_bearer(self) -> bool:
        """Whether the request at hand shows the token."""
        kind, _, shown = request.headers.get("Authorization", "").partition(" ")
        if not self._token or kind.lower() != "bearer":
            return False
        return hmac.compare_digest(shown.strip().encode(), self._token.encode())

    def _registry_for_reading(self) -> CollectorRegistry:
        registry = CollectorRegistry()
        if _is_shared():
            MultiProcessCollector(registry)  # type: ignore[no-untyped-call]
        else:
            registry.register(self._registry)
        return registry

    def _guarded(self, before: Callable[[], None]) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
        def decorate(view: Callable[..., Any]) -> Callable[..., Any]:
            @wraps(view)
            def guarded() -> Any:
                if not self.may_read():
                    return (
                        "Send METRICS_TOKEN as Authorization: Bearer …, or ask from the host itself.\n",
                        403,
                    )
                before()
                return view()

            return guarded

        return decorate

    def _take(self, one: Metric) -> None:
        name, scale = prometheus_name(one.name)
        labels = tuple(str(one.labels[label]) for label in sorted(one.labels))
        seen = self._children.setdefault(name, set())
        if labels not in seen and len(seen) >= _CHILDREN_MOST:
            return
        seen.add(labels)
        made = self._made.get(name)
        if made is None:
            if len(self._made) >= _NAMES_MOST:
                return
            made = self._made[name] = self._make(name, one)
        child = made.labels(*labels) if labels else made
        if isinstance(child, Gauge):
            child.set(one.value * scale)
            return
        grown = one.value * scale - self._totals.get((name, labels), 0.0)
        self._totals[name, labels] = one.value * scale
        # A total that is smaller than it was began anew.
        child.inc(grown if grown >= 0 else one.value * scale)

    def _make(self, name: str, one: Metric) -> Gauge | Counter:
        words = f"{one.name.replace('_', ' ')} (docs/monitoring.md)"
        names = sorted(one.labels)
        if name.endswith("_total"):
            return Counter(name, words, names, registry=self._registry)
        mode: Any = "livemax" if one.merge == "max" else "livesum"
        return Gauge(name, words, names, registry=self._registry, multiprocess_mode=mode)


class _Requests(Histogram):
    """A histogram that takes many values at once: shared between processes, each change of a bucket costs a system call."""

    def observe_all(self, values: Sequence[float]) -> None:
        """``observe`` each of them."""
        self._sum.inc(sum(values))
        counts = Counts(bisect_left(self._upper_bounds, value) for value in values)
        for at, count in counts.items():
            self._buckets[at].inc(count)


def prometheus_name(name: str) -> tuple[str, float]:
    """The name that Prometheus' rules want, in base units, and what a value is to be multiplied by."""
    words = name.split("_")
    scale = 0.001 if "ms" in words else 1.0
    return "haven_" + "_".join("seconds" if word == "ms" else word for word in words), scale


def prepare_directory(environ: Mapping[str, str] | None = None) -> str:
    """Empty the directory that the processes of a server share for their numbers, and make it where there is none.

    For a server's start, before anything imports prometheus_client. Where it is: ``PROMETHEUS_MULTIPROC_DIR``.
    """
    directory = (os.environ if environ is None else environ)[_DIRECTORY]
    os.makedirs(directory, exist_ok=True)
    for name in os.listdir(directory):
        if name.endswith(".db"):
            os.unlink(os.path.join(directory, name))
    return directory


def _is_shared() -> bool:
    return _DIRECTORY in os.environ


def _is_from_here() -> bool:
    """Whether the caller is on this host; never where a proxy has passed the request on."""
    if "X-Forwarded-For" in request.headers or "Forwarded" in request.headers:
        return False
    try:
        return ipaddress.ip_address(request.remote_addr or "").is_loopback
    except ValueError:
        return False
