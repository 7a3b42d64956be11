"""Every setting of Haven: typed, checked and documented in this one place.

``load_settings()`` reads the environment (or any mapping) and gives a frozen ``Settings``. A wrong value stops the
start with one sentence for each fault that names the variable, the rule and what was found.
"""

from __future__ import annotations

import base64
import ipaddress
import os
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any
from urllib.parse import quote, urlsplit

DEFAULT_EXTENSIONS = (
    "extensions.logs:Logs",
    "extensions.database:Database",
    "extensions.rate_limiting:RateLimiting",
    "extensions.circuit_breaker:CircuitBreaker",
    "extensions.caching:Caching",
    "extensions.memory:Memory",
    "extensions.monitoring:Monitoring",
    "extensions.jobs:Jobs",
    "extensions.alerting:Alerting",
)

_TRUE = frozenset({"1", "true", "yes", "on"})
_FALSE = frozenset({"0", "false", "no", "off"})


class SettingsError(ValueError):
    """One or more settings are wrong; ``str()`` has a sentence for each."""


def _setting(
    default: Any, doc: str, *, unit: str = "", low: float | None = None, high: float | None = None
) -> Any:
    return field(default=default, metadata={"doc": doc, "unit": unit, "low": low, "high": high})


@dataclass(frozen=True, slots=True)
class Settings:
    """The settings of one process. A field's environment variable is its name in upper case."""

    # Where things are
    database_url: str = _setting(
        "", "PostgreSQL, as the application's role (no superuser, no BYPASSRLS)", unit="URL"
    )
    database_owner_url: str = _setting(
        "", "PostgreSQL, as the role that migrates; empty: DATABASE_URL", unit="URL"
    )
    redis_url: str = _setting(
        "",
        "Redis or Valkey, also redis+sentinel:// and redis+cluster://; empty: built from REDIS_HOST and the three below",
        unit="URL",
    )
    redis_host: str = _setting("127.0.0.1", "Redis host, where REDIS_URL is not set")
    redis_port: int = _setting(6379, "Redis port", low=1, high=65535)
    redis_password: str = _setting("", "Redis password")
    redis_db: int = _setting(0, "Redis database of sessions, limits and caches", low=0, high=1023)
    redis_timeout: int = _setting(
        250, "Longest wait for Redis; beyond it PostgreSQL is quicker", unit="ms", low=10, high=60_000
    )
    public_url: str = _setting(
        "http://127.0.0.1:8000", "Where the outside reaches Haven; callbacks are built on it", unit="URL"
    )
    port: int = _setting(8000, "Port of the web process", low=1, high=65535)
    web_concurrency: int = _setting(2, "Web processes", low=1, high=256)
    web_threads: int = _setting(
        8,
        "Threads of each web process: requests that may wait for something at once; four work at a time",
        low=1,
        high=256,
    )
    drain_seconds: float = _setting(
        5.0,
        "At a SIGTERM: how long /ready is 503 while requests are still served, before the server stops",
        unit="s",
        low=0,
        high=300,
    )
    trusted_proxies: int = _setting(
        0, "Reverse proxies in front whose X-Forwarded-For is believed", unit="hops", low=0, high=10
    )
    extensions: tuple[str, ...] = _setting(
        DEFAULT_EXTENSIONS, "Flask extensions to load, dotted paths, comma separated; none: none"
    )

    # Secrets and sign-in
    secret_key: str = _setting("", "At least 32 characters; signs cursors and encrypts stored credentials")
    access_token_ttl: int = _setting(3600, "Life of an access token", unit="s", low=60, high=86400)
    refresh_token_ttl: int = _setting(
        2_592_000, "Life of a refresh token", unit="s", low=3600, high=31_536_000
    )
    session_cache_ttl: int = _setting(
        60,
        "How long a sign-in is believed from Redis before PostgreSQL is asked again",
        unit="s",
        low=1,
        high=3600,
    )
    argon2_memory_kib: int = _setting(
        19456, "Memory of one password hash (Argon2id)", unit="KiB", low=64, high=4_194_304
    )
    argon2_time_cost: int = _setting(2, "Passes of one password hash", low=1, high=20)
    sign_in_max_failures: int = _setting(
        10, "Failed sign-ins of an account from one address before it waits", low=3, high=1000
    )
    sign_in_lock_seconds: int = _setting(
        60, "First wait after too many failures; doubles up to 15 minutes", unit="s", low=1, high=900
    )

    # Database
    database_replica_url: str = _setting(
        "", "A streaming replica for exports, reports and dashboards, as the application's role", unit="URL"
    )
    database_replica_max_lag: float = _setting(
        5.0, "A replica further behind is not read", unit="s", low=0.1, high=3600
    )
    db_pool_min: int = _setting(
        5,
        "Connections kept open by each process; what a burst opens above it is closed after a minute unused",
        low=1,
        high=200,
    )
    db_pool_max: int = _setting(20, "Connections of each process at the most", low=1, high=500)
    db_pool_timeout: float = _setting(
        5.0, "Wait for a free connection before 503", unit="s", low=0.01, high=60
    )
    db_pool_recycle: int = _setting(
        1800, "Age at which a connection is replaced", unit="s", low=1, high=86400
    )
    db_connect_timeout: int = _setting(5, "Time to connect to PostgreSQL", unit="s", low=1, high=60)
    db_statement_timeout: int = _setting(
        30_000, "Longest statement of a request", unit="ms", low=10, high=3_600_000
    )
    slow_query_threshold: int = _setting(
        1000, "A statement over this is logged and kept", unit="ms", low=1, high=3_600_000
    )
    slow_request_threshold: int = _setting(
        1000, "A request over this is logged as slow", unit="ms", low=1, high=3_600_000
    )

    # Traffic
    rate_limit_window: int = _setting(
        60_000, "Window of the rate limit", unit="ms", low=1000, high=86_400_000
    )
    rate_limit_max_requests: int = _setting(
        1000, "Requests of one caller in a window", low=1, high=10_000_000
    )
    enable_admin_bypass: bool = _setting(True, "Administrators are not rate limited")
    max_body_bytes: int = _setting(
        1_048_576, "Largest request body", unit="bytes", low=1024, high=1_073_741_824
    )
    max_result_rows: int = _setting(
        100_000, "Most rows of an answer; more are an export", unit="rows", low=200, high=100_000_000
    )
    max_response_bytes: int = _setting(
        67_108_864,
        "Longest answer to a read; what is longer is an export",
        unit="bytes",
        low=65_536,
        high=17_179_869_184,
    )
    bulk_max_bytes: int = _setting(
        268_435_456,
        "Largest body of rows in bulk as CSV or NDJSON",
        unit="bytes",
        low=1024,
        high=4_294_967_296,
    )
    bulk_batch_size: int = _setting(
        100, "Rows of a bulk job that are committed together in mode=partial", unit="rows", low=1, high=10_000
    )
    event_streams: int = _setting(
        4,
        "Event streams open in each web process at the most, and never more than half of WEB_THREADS",
        low=0,
        high=128,
    )
    event_stream_life: int = _setting(
        300, "Age at which an event stream ends and its client comes back", unit="s", low=1, high=3600
    )
    idempotency_ttl: int = _setting(
        86_400, "How long the answer to an Idempotency-Key is kept", unit="s", low=60, high=2_592_000
    )

    # Jobs
    enable_job_queue: bool = _setting(True, "false: jobs run at once, in the process that asks")
    job_queue_redis_url: str = _setting(
        "", "Redis of the job queues, a single one or redis+sentinel://; empty: REDIS_URL", unit="URL"
    )
    job_queue_redis_db: int = _setting(1, "Redis database of the job queues", low=0, high=1023)
    max_job_attempts: int = _setting(
        3, "Attempts of a job whose kind has no number of its own", low=1, high=100
    )
    job_history_days: int = _setting(
        90, "How long finished jobs are kept, with the reports they made", unit="days", low=7, high=3650
    )
    worker_processes: int = _setting(2, "RQ worker processes of one `worker` at the least", low=1, high=64)
    worker_processes_max: int = _setting(
        4, "And at the most, when jobs wait; below WORKER_PROCESSES it is that", low=1, high=64
    )
    worker_idle_time: int = _setting(
        60, "How long no job must wait before a worker too many goes", unit="s", low=1, high=86_400
    )
    worker_stop_grace: int = _setting(
        10, "How long a job in hand may finish at SIGTERM, before it is put back", unit="s", low=0, high=3600
    )
    worker_max_jobs: int = _setting(
        1000, "Jobs after which another process takes a worker's place; 0: never", low=0, high=1_000_000
    )
    worker_memory_limit: int = _setting(
        1_073_741_824,
        "Memory of a worker, above which it is replaced, and of its job, which fails; 0: any",
        unit="bytes",
        low=0,
        high=1_099_511_627_776,
    )

    # Files of exports and reports
    export_dir: str = _setting(
        ".haven/exports",
        "Folder of files, on a disk that all web processes and workers see; with a bucket only of what is being made",
        unit="path",
    )
    export_keep_days: int = _setting(7, "How long a file can be fetched", unit="days", low=1, high=365)
    export_s3_bucket: str = _setting("", "Bucket of files, of S3 or what speaks as it; empty: EXPORT_DIR")
    export_s3_endpoint: str = _setting("", "Where the bucket is, if not at AWS", unit="URL")
    export_s3_region: str = _setting("us-east-1", "The bucket's region")
    export_s3_access_key: str = _setting("", "Access key of the bucket; empty: the machine's own role")
    export_s3_secret_key: str = _setting("", "And its secret")
    export_s3_timeout: float = _setting(
        30.0, "Longest wait for one request to the bucket", unit="s", low=0.1, high=3600
    )

    # E-mail
    smtp_url: str = _setting(
        "", "Mail server: smtp://user:password@host:587 (STARTTLS) or smtps://…; empty: none", unit="URL"
    )
    mail_from: str = _setting("", "Who e-mails come from, such as Haven <rent@makao.co.ke>")
    mail_folder: str = _setting(
        "", "Where e-mails are written as .eml files, with no SMTP_URL; for development", unit="path"
    )

    # SMS
    sms_url: str = _setting(
        "",
        "SMS gateway that speaks as Africa's Talking: https://api.africastalking.com; empty: none",
        unit="URL",
    )
    sms_username: str = _setting("", "The gateway's user, where SMS_URL is set")
    sms_api_key: str = _setting("", "The gateway's key, where SMS_URL is set")
    sms_sender_id: str = _setting("", "Who SMS come from, as registered; empty: the gateway's own number")

    webhook_private_addresses: bool = _setting(
        False, "Webhooks may reach private and loopback addresses; only for development"
    )

    # Alerts: who is told of those of the platform
    alert_emails: tuple[str, ...] = _setting(
        (), "Who is mailed when an alert fires and when it is over, comma separated; needs SMTP_URL"
    )
    alert_webhook_url: str = _setting(
        "", "Where alerts are posted as Standard Webhooks, alert.firing; empty: nowhere", unit="URL"
    )
    alert_webhook_secret: str = _setting("", "Signs them: whsec_ and base64; empty: they are not signed")
    alert_slack_url: str = _setting(
        "", "Incoming webhook of Slack, or of what takes the same (Mattermost); empty: nowhere", unit="URL"
    )
    alert_history_days: int = _setting(
        90, "How long alerts that are over are kept", unit="days", low=1, high=3650
    )

    # Caching, monitoring (read by the extensions that come with them)
    enable_cache: bool = _setting(True, "false: nothing is stored, every answer is computed")
    cache_redis_url: str = _setting(
        "",
        "Redis of the caches, of any kind that REDIS_URL may be; empty: REDIS_URL",
        unit="URL",
    )
    cache_timeout: float = _setting(
        0.2, "Longest wait for the cache's Redis; past it an answer is computed", unit="s", low=0.01, high=30
    )
    cache_local_bytes: int = _setting(
        16_777_216,
        "Stored answers kept in each process as well",
        unit="bytes",
        low=0,
        high=1_073_741_824,
    )
    cache_ttl_default: int = _setting(3600, "Life of a cached value", unit="s", low=1, high=604_800)
    dashboard_cache_ttl: int = _setting(
        300, "Life of cached dashboard statistics", unit="s", low=1, high=86_400
    )
    api_cache_ttl: int = _setting(1800, "Life of cached answers", unit="s", low=1, high=86_400)
    enable_performance_monitoring: bool = _setting(True, "Measure requests")
    slow_requests_kept: int = _setting(
        200, "Slow requests kept with their breakdown, over all processes", low=1, high=10_000
    )
    metrics_token: str = _setting(
        "",
        "Who shows it as a bearer may read /metrics and the details of /health; empty: only this host reads /metrics",
    )
    memory_monitoring_interval: int = _setting(
        60_000, "Time between memory measurements", unit="ms", low=1000, high=3_600_000
    )
    memory_limit: int = _setting(
        0,
        "Memory of this program with all its processes, where the platform does not say; 0: the cgroup's, or the machine's",
        unit="bytes",
        low=0,
        high=1_099_511_627_776,
    )
    memory_warning: float = _setting(
        70.0, "Memory in use from which collections are forced", unit="%", low=1, high=100
    )
    memory_critical: float = _setting(
        80.0,
        "Memory in use from which caches shrink, and exports, reports and bulk requests are refused",
        unit="%",
        low=1,
        high=100,
    )
    memory_emergency: float = _setting(
        90.0,
        "Memory in use from which requests are refused (503) and caches dropped, and a process is replaced if that is not enough",
        unit="%",
        low=1,
        high=100,
    )
    memory_process_limit: int = _setting(
        0,
        "Memory of a web process above which it is replaced once its requests are done; 0: any",
        unit="bytes",
        low=0,
        high=1_099_511_627_776,
    )
    memory_gc_threshold: int = _setting(
        0,
        "Allocations before Python collects the youngest objects; 0: Python's own (700)",
        low=0,
        high=1_000_000,
    )
    log_level: str = _setting("INFO", "DEBUG, INFO, WARNING or ERROR")
    log_format: str = _setting("json", "json for machines, console for a person's eyes")
    database_server_timing: bool = _setting(
        False, "Tell clients of statements and their time (Server-Timing)"
    )

    # Circuit breakers: what does not answer is left alone for a while
    breaker_failure_rate: float = _setting(
        0.5, "Share of failed calls at which a circuit opens", low=0.01, high=1
    )
    breaker_minimum_calls: int = _setting(
        20,
        "Calls of the last minute without which it never opens; over 100: never",
        low=1,
        high=1_000_000,
    )
    breaker_open_time: int = _setting(
        30, "How long it stays open before three probes go", unit="s", low=1, high=3600
    )

    # M-Pesa (Daraja); an agency's own stored credentials go before these
    mpesa_base_url: str = _setting("https://sandbox.safaricom.co.ke", "Daraja API", unit="URL")
    mpesa_consumer_key: str = _setting("", "Daraja consumer key")
    mpesa_consumer_secret: str = _setting("", "Daraja consumer secret")
    mpesa_shortcode: str = _setting("", "Paybill or till number")
    mpesa_passkey: str = _setting("", "STK passkey of the shortcode")
    mpesa_timeout: float = _setting(10.0, "Time for one call to Daraja", unit="s", low=0.1, high=60)
    mpesa_callback_sources: str = _setting("log", "Callback source addresses: off, log or enforce")
    mpesa_callback_addresses: tuple[str, ...] = _setting(
        (), "Addresses or networks that callbacks may come from besides M-Pesa's known ones, comma separated"
    )

    def flask_config(self) -> dict[str, Any]:
        """The settings under their environment names, for ``app.config`` and for extensions to read."""
        return {f.name.upper(): getattr(self, f.name) for f in fields(self)}


def load_settings(environ: Mapping[str, str] | None = None) -> Settings:
    """Read and check every setting.

    Args:
        environ: names to texts; the process's environment when not given.

    Raises:
        SettingsError: with a sentence for each setting that is wrong.
    """
    source = os.environ if environ is None else environ
    faults: list[str] = []
    values: dict[str, Any] = {}
    for setting in fields(Settings):
        text = source.get(setting.name.upper())
        if text is None or text.strip() == "":
            continue
        try:
            values[setting.name] = _parse(text.strip(), setting.default)
        except ValueError as error:
            faults.append(f"{setting.name.upper()} {error}; found {_shown(setting.name, text)}.")
            continue
        faults += _out_of_range(setting.name, values[setting.name], setting.metadata)
    settings = Settings(**values)
    faults += _contradictions(settings)
    if faults:
        raise SettingsError("\n".join(faults))
    return _completed(settings)


def _parse(text: str, default: Any) -> Any:
    if isinstance(default, bool):
        return _parse_bool(text)
    if isinstance(default, int):
        try:
            return int(text)
        except ValueError:
            raise ValueError("must be a whole number") from None
    if isinstance(default, float):
        try:
            return float(text)
        except ValueError:
            raise ValueError("must be a number") from None
    if isinstance(default, tuple):
        if text.lower() == "none":
            return ()
        return tuple(part.strip() for part in text.split(",") if part.strip())
    return text


def _parse_bool(text: str) -> bool:
    lowered = text.lower()
    if lowered in _TRUE:
        return True
    if lowered in _FALSE:
        return False
    raise ValueError("must be true or false")


def _out_of_range(name: str, value: Any, rule: Mapping[str, Any]) -> list[str]:
    low, high = rule["low"], rule["high"]
    if low is None or (low <= value <= high):
        return []
    unit = f" {rule['unit']}" if rule["unit"] else ""
    return [f"{name.upper()} must be from {low} to {high}{unit}; found {value}."]


def _contradictions(s: Settings) -> list[str]:
    return [*_wrong_addresses(s), *_wrong_choices(s), *_wrong_mail(s), *_wrong_alerts(s)]


def _wrong_addresses(s: Settings) -> list[str]:
    faults = []
    if not s.database_url:
        faults.append(
            "DATABASE_URL is missing: give postgresql://user:password@host:5432/name, or use `make run`."
        )
    elif urlsplit(s.database_url).scheme.split("+")[0] not in {"postgres", "postgresql"}:
        faults.append("DATABASE_URL must start with postgresql://.")
    if s.database_replica_url and urlsplit(s.database_replica_url).scheme.split("+")[0] not in {
        "postgres",
        "postgresql",
    }:
        faults.append("DATABASE_REPLICA_URL must start with postgresql://.")
    for name in ("redis_url", "cache_redis_url", "job_queue_redis_url"):
        faults += _redis_url_faults(name.upper(), getattr(s, name))
    if s.enable_job_queue and _is_cluster(s.job_queue_redis_url or s.redis_url):
        faults.append(
            "RQ's queues cannot be on a cluster: set JOB_QUEUE_REDIS_URL to a single Redis or to Sentinels, or"
            " ENABLE_JOB_QUEUE=false."
        )
    faults.extend(
        f"MPESA_CALLBACK_ADDRESSES must hold addresses or networks such as 10.0.0.0/8; found {one!r}."
        for one in s.mpesa_callback_addresses
        if not _is_network(one)
    )
    faults.extend(
        f"{name.upper()} must start with http:// or https://."
        for name in ("public_url", "mpesa_base_url")
        if urlsplit(getattr(s, name)).scheme not in {"http", "https"}
    )
    return faults


def _wrong_choices(s: Settings) -> list[str]:
    faults = []
    if len(s.secret_key) < 32:
        faults.append(
            "SECRET_KEY must have at least 32 characters: `python -c 'import secrets; print(secrets.token_hex(32))'`."
        )
    if s.db_pool_max < s.db_pool_min:
        faults.append(
            f"DB_POOL_MAX must not be under DB_POOL_MIN; found {s.db_pool_max} and {s.db_pool_min}."
        )
    if not s.memory_warning < s.memory_critical < s.memory_emergency:
        faults.append(
            "MEMORY_WARNING must be under MEMORY_CRITICAL, and that under MEMORY_EMERGENCY; found"
            f" {s.memory_warning:g}, {s.memory_critical:g} and {s.memory_emergency:g}."
        )
    if s.log_level.upper() not in {"DEBUG", "INFO", "WARNING", "ERROR"}:
        faults.append(f"LOG_LEVEL must be DEBUG, INFO, WARNING or ERROR; found {s.log_level!r}.")
    if s.mpesa_callback_sources not in {"off", "log", "enforce"}:
        faults.append(
            f"MPESA_CALLBACK_SOURCES must be off, log or enforce; found {s.mpesa_callback_sources!r}."
        )
    return faults


def _wrong_mail(s: Settings) -> list[str]:
    faults = []
    if s.smtp_url and urlsplit(s.smtp_url).scheme not in {"smtp", "smtps"}:
        faults.append("SMTP_URL must start with smtp:// or smtps://.")
    if s.smtp_url and "@" not in s.mail_from:
        faults.append("MAIL_FROM must be an e-mail address: SMTP_URL is set, and a mail needs a sender.")
    if s.sms_url and urlsplit(s.sms_url).scheme not in {"http", "https"}:
        faults.append("SMS_URL must start with http:// or https://.")
    if s.sms_url and not (s.sms_username and s.sms_api_key):
        faults.append(
            "SMS_USERNAME and SMS_API_KEY are missing: SMS_URL is set, and the gateway asks for both."
        )
    return faults


def _wrong_alerts(s: Settings) -> list[str]:
    faults = [
        f"ALERT_EMAILS must hold e-mail addresses; found {one!r}." for one in s.alert_emails if "@" not in one
    ]
    if s.alert_emails and not (s.smtp_url or s.mail_folder):
        faults.append("SMTP_URL is missing: ALERT_EMAILS is set, and a mail needs a server.")
    for name in ("alert_webhook_url", "alert_slack_url"):
        url = getattr(s, name)
        if url and not _is_web_address(url):
            faults.append(f"{name.upper()} must be a whole address that starts with http:// or https://.")
    if s.alert_webhook_secret and not _is_signing_secret(s.alert_webhook_secret):
        faults.append("ALERT_WEBHOOK_SECRET must be whsec_ and at least 24 bytes in base64.")
    return faults


def _is_web_address(url: str) -> bool:
    try:
        parts = urlsplit(url)
        return parts.scheme in {"http", "https"} and bool(parts.hostname) and parts.port != 0
    except ValueError:
        return False


def _is_signing_secret(text: str) -> bool:
    try:
        key = base64.b64decode(text.removeprefix("whsec_"), validate=True)
    except ValueError:
        return False
    return text.startswith("whsec_") and len(key) >= 24


def _is_network(text: str) -> bool:
    try:
        ipaddress.ip_network(text, strict=False)
    except ValueError:
        return False
    return True


def _is_cluster(url: str) -> bool:
    return url.startswith("redis+cluster://")


def _redis_url_faults(name: str, url: str) -> list[str]:
    if not url:
        return []
    # Here, so that a command that needs no Redis client does not import one.
    from extensions.addresses import SCHEMES, read_several, scheme_of

    if scheme_of(url) not in SCHEMES:
        *some, last = (f"{scheme}://" for scheme in SCHEMES)
        return [f"{name} must start with {', '.join(some)} or {last}."]
    if scheme_of(url) in ("redis+sentinel", "redis+cluster"):
        try:
            read_several(url)
        except ValueError as error:
            return [f"{name} {error}."]
    return []


def _completed(s: Settings) -> Settings:
    """The settings with what follows from others filled in."""
    values = {f.name: getattr(s, f.name) for f in fields(s)}
    values["database_owner_url"] = s.database_owner_url or s.database_url
    values["public_url"] = s.public_url.rstrip("/")
    values["sms_url"] = s.sms_url.rstrip("/")
    if not s.redis_url:
        password = f":{quote(s.redis_password, safe='')}@" if s.redis_password else ""
        values["redis_url"] = f"redis://{password}{s.redis_host}:{s.redis_port}/{s.redis_db}"
    values["cache_redis_url"] = s.cache_redis_url or values["redis_url"]
    values["job_queue_redis_url"] = s.job_queue_redis_url or values["redis_url"]
    return Settings(**values)


def _shown(name: str, text: str) -> str:
    secret = any(word in name for word in ("password", "secret", "passkey", "api_key", "url"))
    return "a value that is not shown" if secret else repr(text)
