"""The extension is Flask-Limiter: its decorators work on our windows, and `limits` finds them by their URI."""

from __future__ import annotations

import multiprocessing
from concurrent.futures import ThreadPoolExecutor

import pytest
import redis
from flask import Blueprint, Flask
from flask_limiter import Limiter, RateLimitExceeded
from limits import parse
from limits.storage import storage_from_string
from limits.strategies import STRATEGIES

from extensions.loader import load_extensions
from extensions.rate_limiting import RateLimiting, limiter_of
from extensions.rate_limiting.storage import WindowStorage


@pytest.fixture(params=["redis", "memory"])
def url(request, redis_url) -> str:
    """Where the windows are: in Valkey, and in the process."""
    if request.param == "memory":
        return ""
    redis.Redis.from_url(redis_url).flushdb()
    return redis_url


def an_app(redis_url: str, most: int = 100, **config: object) -> Flask:
    app = Flask("bare")
    app.config.from_mapping(
        {"REDIS_URL": redis_url, "REDIS_TIMEOUT": 20_000, "RATE_LIMIT_MAX_REQUESTS": most, **config}
    )
    load_extensions(app, ["extensions.rate_limiting:RateLimiting"])
    return app


def ask(app: Flask, path: str = "/report", address: str = "198.51.100.7"):
    return app.test_client().get(path, environ_base={"REMOTE_ADDR": address})


def statuses(app: Flask, times: int, path: str = "/report") -> list[int]:
    return [ask(app, path).status_code for _ in range(times)]


@pytest.mark.req("R1", "R3")
def test_a_view_has_a_limit_of_its_own_beside_that_of_all(url):
    app = an_app(url)

    @app.get("/report")
    @limiter_of(app).limit("2 per minute")
    def report() -> str:
        return "made"

    answers = [ask(app) for _ in range(3)]
    assert [one.status_code for one in answers] == [200, 200, 429]
    assert answers[0].headers["RateLimit-Policy"] == '"default";q=100;w=60, "report:2/60s";q=2;w=60'
    assert [one.headers["X-RateLimit-Remaining"] for one in answers] == ["1", "0", "0"]
    refused = answers[2]
    assert refused.content_type == "application/problem+json"
    assert refused.get_json(force=True)["detail"].startswith("The limit `report:2/60s` is 2 per 60")
    assert 1 <= int(refused.headers["Retry-After"]) <= 61
    assert ask(app, address="198.51.100.8").status_code == 200
    with app.app_context():
        assert RateLimiting().report()["refused_by_limit"] == {"report:2/60s": 1}


def test_limits_of_one_view_over_several_windows_are_told_apart(url):
    app = an_app(url)

    @app.get("/report")
    @limiter_of(app).limit("9 per hour;2 per minute")
    def report() -> str:
        return "made"

    answers = [ask(app) for _ in range(3)]
    assert [one.status_code for one in answers] == [200, 200, 429]
    assert '"report:9/3600s";r=7;' in answers[1].headers["RateLimit"]


def test_views_share_a_limit_and_a_blueprint_has_one(url):
    app = an_app(url)
    limiter = limiter_of(app)
    shared = limiter.shared_limit("3 per minute", scope="pdf")
    for name in ("one", "other"):
        app.add_url_rule(f"/{name}", name, shared(lambda: "made"))
    part = Blueprint("part", __name__)

    @part.get("/part")
    def of_the_part() -> str:
        return "made"

    limiter.limit("1 per minute")(part)
    app.register_blueprint(part)
    assert [ask(app, path).status_code for path in ("/one", "/other", "/one", "/other")] == [200] * 3 + [429]
    assert statuses(app, 2, "/part") == [200, 429]


def test_a_costly_request_counts_as_several_and_an_exempt_view_not_at_all(url):
    app = an_app(url, most=4)
    limiter = limiter_of(app)

    @app.get("/costly")
    @limiter.limit("5 per minute", cost=2)
    def costly() -> str:
        return "made"

    @app.get("/free")
    @limiter.exempt
    def free() -> str:
        return "made"

    answers = [ask(app, "/costly") for _ in range(3)]
    assert [one.status_code for one in answers] == [200, 200, 429]
    assert '"costly:5/60s";r=1;' in answers[1].headers["RateLimit"]
    assert statuses(app, 9, "/free") == [200] * 9


def test_what_counts_by_its_answer_is_counted_after_it(url):
    app = an_app(url)
    limit = limiter_of(app).limit("2 per minute", deduct_when=lambda response: response.status_code == 201)
    codes = iter([200, 200, 200, 201, 201])
    app.add_url_rule("/made", "made", limit(lambda: ("made", next(codes))))
    answers = [ask(app, "/made") for _ in range(6)]
    assert [one.status_code for one in answers] == [200, 200, 200, 201, 201, 429]
    left = [one.headers["X-RateLimit-Remaining"] for one in answers]
    assert left == ["2", "2", "2", "1", "0", "0"]


def test_a_part_of_a_view_is_limited_and_one_can_ask_what_is_left(url):
    app = an_app(url)
    limiter = limiter_of(app)

    @app.get("/report")
    def report() -> str:
        try:
            with limiter.limit("2 per minute"):
                assert limiter.current_limit is not None
                return str(limiter.current_limit.remaining)
        except RateLimitExceeded:
            return "later"

    assert [ask(app).get_data(as_text=True) for _ in range(3)] == ["1", "0", "later"]


def _count_allowed(redis_url: str, results) -> None:
    app = an_app(redis_url, most=500, RATE_LIMIT_WINDOW=3_600_000)
    app.add_url_rule("/report", "report", lambda: "made")
    with ThreadPoolExecutor(8) as threads:
        answers = list(threads.map(lambda _: ask(app).status_code, range(250)))
    results.put((answers.count(200), answers.count(429)))


@pytest.mark.req("R1")
def test_of_the_requests_of_32_clients_over_four_processes_exactly_the_limit_passes(redis_url):
    redis.Redis.from_url(redis_url).flushdb()
    fork = multiprocessing.get_context("fork")
    results = fork.Queue()
    processes = [fork.Process(target=_count_allowed, args=(redis_url, results)) for _ in range(4)]
    for one in processes:
        one.start()
    counted = [results.get(timeout=100) for _ in processes]
    for one in processes:
        one.join()
    assert [sum(side) for side in zip(*counted, strict=True)] == [500, 500]


@pytest.mark.req("R4")
def test_a_views_limit_holds_while_redis_is_dead():
    app = an_app("redis://127.0.0.1:1/0")
    app.add_url_rule("/report", "report", limiter_of(app).limit("2 per minute")(lambda: "made"))
    assert statuses(app, 4) == [200, 200, 429, 429]


def test_flask_limiter_can_be_switched_off(url):
    app = an_app(url, most=1, RATELIMIT_ENABLED=False)
    app.add_url_rule("/report", "report", lambda: "made")
    answers = [ask(app) for _ in range(3)]
    assert [one.status_code for one in answers] == [200] * 3
    assert "RateLimit" not in answers[0].headers
    with app.app_context():
        assert RateLimiting().health().status == "ok"


def test_limits_finds_the_windows_by_their_uri(url):
    storage = storage_from_string(f"windows+{url or 'memory://'}", prefix="found", timeout_ms=20_000)
    assert isinstance(storage, WindowStorage)
    windows = STRATEGIES["windows"](storage)
    item = parse("3 per minute")
    assert windows.test(item, "one", "here")
    assert [windows.hit(item, "one", "here") for _ in range(4)] == [True, True, True, False]
    assert not windows.test(item, "one", "here")
    assert windows.get_window_stats(item, "one", "here").remaining == 0
    assert windows.hit(item, "other", "here", cost=3)
    windows.clear(item, "one", "here")
    assert windows.get_window_stats(item, "one", "here").remaining == 3
    assert storage.reset() >= 1
    assert windows.get_window_stats(item, "other", "here").remaining == 3


def test_the_strategy_and_the_storage_go_together():
    limiter = Limiter(lambda: "one", storage_uri="memory://", strategy="windows")
    with pytest.raises(NotImplementedError, match="needs a storage `windows"):
        limiter.init_app(Flask("bare"))
    fixed = STRATEGIES["fixed-window"](storage_from_string("windows+memory://"))
    with pytest.raises(NotImplementedError, match="take the strategy `windows`"):
        fixed.hit(parse("1 per minute"), "one")
