"""The same rules for Prometheus: a rule file, whose names are those of ``/metrics``."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from typing import Final

from extensions.alerting.rules import CACHE_HIT_RATE, ERROR_RATE, RESPONSE_P95, SLOW_QUERIES, Rule

_HEAD: Final = """# Made of the rules by `haven alerts prometheus > deploy/prometheus/alerts.yml`: change those, not this.
groups:
  - name: haven
    interval: {interval_s}s
    rules:
"""
_REQUESTS: Final = "haven_http_request_duration_seconds"
# A stream of events lasts as long as somebody listens: that is not slow.
_NO_STREAMS: Final = 'route!~".*/events"'
_MINUTE_S: Final = 60


def rule_file(rules: Iterable[Rule], interval_s: int = 10, runbook: str = "docs/alerting.md") -> str:
    """A file of alerting rules (YAML) for Prometheus 2.42 and later; rules that are switched off are left out.

    Args:
        runbook: where it says what to do; each alert points to the heading of its rule there.
    """
    parts = [_rule(rule, runbook) for rule in rules if rule.enabled]
    return _HEAD.format(interval_s=interval_s) + "\n".join(parts)


def alert_name(rule: Rule) -> str:
    """``high_error_rate`` as Prometheus' users write it: ``HavenHighErrorRate``."""
    return "Haven" + "".join(word.capitalize() for word in rule.name.split("_"))


def _rule(rule: Rule, runbook: str) -> str:
    lines = [
        f"      - alert: {alert_name(rule)}",
        f"        expr: {json.dumps(_expression(rule))}",
        f"        for: {rule.for_s}s",
        f"        keep_firing_for: {rule.resolve_for_s}s" if rule.resolve_for_s else "",
        "        labels:",
        f"          severity: {rule.severity.lower()}",
        "        annotations:",
        f"          summary: {json.dumps(_plain(rule.description or rule.name), ensure_ascii=False)}",
        "          description: 'The value is {{ printf \"%.4g\" $value }}.'",
        f"          runbook: {json.dumps(f'{runbook}#{rule.name}')}",
    ]
    return "\n".join(line for line in lines if line) + "\n"


def _expression(rule: Rule) -> str:
    """Beyond the threshold and of enough; or, where it fires already, not yet back."""
    value, count = _OF.get(rule.metric, _collected)(rule)
    sign = ">" if rule.comparison == "ABOVE" else "<"
    begins = f"{value} {sign} {rule.threshold:.12g}"
    if count is not None and rule.minimum_count > 1:
        begins = f"({begins} and {count} >= {rule.minimum_count})"
    if rule.threshold == rule.resolve_threshold:
        return begins
    fires = f'ALERTS{{alertname="{alert_name(rule)}", alertstate="firing"}}'
    goes_on = f"({value} {sign} {rule.resolve_threshold:.12g} and ignoring (alertname, alertstate, severity) {fires})"
    return f"{begins} or {goes_on}"


def _response_p95(rule: Rule) -> tuple[str, str | None]:
    chosen = _chosen(rule.labels, _NO_STREAMS)
    rates = f"sum by (method, route, le) (rate({_REQUESTS}_bucket{chosen}[{rule.window_s}s]))"
    counts = f"sum by (method, route) (increase({_REQUESTS}_count{chosen}[{rule.window_s}s]))"
    return f"histogram_quantile(0.95, {rates})", counts


def _error_rate(rule: Rule) -> tuple[str, str | None]:
    window = f"[{rule.window_s}s]"
    errors = f'sum(rate({_REQUESTS}_count{{status="5xx"}}{window}))'
    return f"{errors} / sum(rate({_REQUESTS}_count{window}))", f"sum(increase({_REQUESTS}_count{window}))"


def _slow_queries(rule: Rule) -> tuple[str, str | None]:
    grown = f"sum(increase(haven_database_statements_slow_total[{rule.window_s}s]))"
    return f"{grown} * {_MINUTE_S} / {rule.window_s}", None


def _cache_hit_rate(rule: Rule) -> tuple[str, str | None]:
    window = f"[{rule.window_s}s]"
    answered = _sum("rate", ("hits", "stale"), window)
    asked = ("hits", "stale", "misses", "bypassed")
    return f"({answered}) / ({_sum('rate', asked, window)})", _sum("increase", asked, window)


def _sum(function: str, outcomes: Iterable[str], window: str) -> str:
    return " + ".join(f"sum({function}(haven_caching_{one}_total{window}))" for one in outcomes)


def _collected(rule: Rule) -> tuple[str, str | None]:
    words = rule.metric.split("_")
    name = "haven_" + "_".join("seconds" if word == "ms" else word for word in words)
    # A rule's threshold is in the unit of the metric; Prometheus has seconds.
    scale = " * 1000" if "ms" in words else ""
    chosen = f"{name}{_chosen(rule.labels)}[{rule.window_s}s]"
    if rule.metric.endswith("_total"):
        grown = f"sum without (instance, job) (increase({chosen}))"
        return f"{grown} * {_MINUTE_S} / {rule.window_s}{scale}", None
    return f"max without (instance, job) (avg_over_time({chosen})){scale}", None


def _plain(text: str) -> str:
    """Text in which nothing is a template's."""
    return text.replace("{{", '{{ "{{" }}')


def _chosen(labels: Mapping[str, str], *more: str) -> str:
    parts = [f"{name}={json.dumps(labels[name])}" for name in sorted(labels)] + list(more)
    return "{" + ",".join(parts) + "}" if parts else ""


_OF: Final[Mapping[str, Callable[[Rule], tuple[str, str | None]]]] = {
    RESPONSE_P95: _response_p95,
    ERROR_RATE: _error_rate,
    SLOW_QUERIES: _slow_queries,
    CACHE_HIT_RATE: _cache_hit_rate,
}
