"""``/ops``: pages for an operator's browser. Signing in, and rq-dashboard behind it.

The browser holds an access token in a cookie that goes to ``/ops`` alone, is sent with no request that another site began
(SameSite=Strict), and that no script reads. What changes something must come from a page of this site, besides.
"""

from __future__ import annotations

from typing import Final

from flask import Blueprint, Flask, Response, current_app, redirect, request
from markupsafe import escape
from werkzeug.wrappers import Response as Answer

from config import Settings
from extensions.jobs.dashboard import CONTENT_POLICY, make_dashboard
from haven.api.guard import current_session, in_transaction, principals
from haven.db.session import set_tenant
from haven.errors import Forbidden, HavenError, NotSignedIn, TooMany
from haven.identity.principals import Principal
from haven.identity.routes import desk
from haven.identity.sign_in import Client

blueprint = Blueprint("ops", __name__, url_prefix="/ops")

COOKIE: Final = "haven_ops"
PERMISSION: Final = "queues:write"
_DASHBOARD: Final = "haven_rq_dashboard"
_QUEUES: Final = "/ops/queues"
_SAFE: Final = ("GET", "HEAD")
_HEADERS: Final = {"Content-Security-Policy": CONTENT_POLICY, "Referrer-Policy": "same-origin"}
_LONGEST_FIELD: Final = 500
_PAGE: Final = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<title>Haven · operators</title><style>
body{{font:16px/1.5 system-ui,sans-serif;background:#f4f5f7;color:#1c2430;display:grid;place-items:center;min-height:95vh}}
form{{background:#fff;padding:2rem;border-radius:8px;box-shadow:0 1px 4px #0003;width:min(22rem,90vw)}}
h1{{font-size:1.25rem;margin:0 0 1rem}}label{{display:block;margin:.75rem 0}}
input{{display:block;width:100%;box-sizing:border-box;padding:.5rem;font:inherit;border:1px solid #8a94a3;border-radius:4px}}
button{{margin-top:1rem;padding:.5rem 1rem;font:inherit;background:#14663d;color:#fff;border:0;border-radius:4px}}
p{{color:#a11}}</style></head><body>{body}</body></html>
"""
_FORM: Final = """<form method="post"><h1>Haven · operators</h1>{fault}
<label>E-mail<input name="email" type="email" autocomplete="username" required autofocus></label>
<label>Password<input name="password" type="password" autocomplete="current-password" required></label>
<button>Sign in</button></form>"""


def mount(app: Flask, settings: Settings) -> None:
    """Make rq-dashboard part of ``app``. Connects to nothing."""
    connection = app.extensions["haven"].queues.connection
    app.extensions[_DASHBOARD] = make_dashboard(connection, settings.job_queue_redis_url)


@blueprint.route("/sign-in", methods=["GET"])
def form() -> Response:
    return _page(_FORM.format(fault=""))


@blueprint.route("/sign-in", methods=["POST"])
def sign_in() -> Answer:
    try:
        only_from_here()
        email, password = (request.form.get(name, "")[:_LONGEST_FIELD] for name in ("email", "password"))
        token = _log_in(email, password)
    except HavenError as error:
        fault = f"<p>{escape(error.detail)}</p>"
        return _page(_FORM.format(fault=fault), error.status, _wait(error))
    answer = redirect("/ops/", 303)
    answer.set_cookie(COOKIE, token, path="/ops", httponly=True, samesite="Strict", secure=request.is_secure)
    return _headed(answer)


@blueprint.route("/sign-out", methods=["POST"])
def sign_out() -> Answer:
    only_from_here()
    session = current_session()
    try:
        principal = operator()
    except (NotSignedIn, Forbidden):
        session.rollback()
    else:
        set_tenant(session, principal.tenant())
        in_transaction(session, desk().log_out, session, principal)
    answer = redirect("/ops/sign-in", 303)
    answer.delete_cookie(COOKIE, path="/ops", httponly=True, samesite="Strict", secure=request.is_secure)
    return _headed(answer)


@blueprint.route("/queues/", defaults={"path": ""}, methods=["GET", "POST"])
@blueprint.route("/queues/<path:path>", methods=["GET", "POST"])
def queues(path: str) -> Answer:
    try:
        operator()
    except NotSignedIn:
        if request.method not in _SAFE:
            raise
        return _headed(redirect("/ops/sign-in", 303))
    finally:
        current_session().rollback()
    # rq-dashboard requeues at a GET, too.
    if request.method not in _SAFE or path.startswith("requeue/"):
        only_from_here()
        if request.method in _SAFE:
            raise Forbidden("Requeueing is a POST.")
    environ = request.environ | {
        "SCRIPT_NAME": request.environ.get("SCRIPT_NAME", "") + _QUEUES,
        "PATH_INFO": f"/{path}",
    }
    return _headed(Response.from_app(current_app.extensions[_DASHBOARD], environ))


def _log_in(email: str, password: str) -> str:
    """The access token of an operator; the sign-in of anybody else is undone."""
    session = current_session()

    def act() -> str:
        client = Client(request.remote_addr or "", request.user_agent.string)
        token: str = desk().log_in(session, email, password, client)["access_token"]
        return token

    token = in_transaction(session, act)
    principal = principals().authenticate(session, token)
    if PERMISSION not in principal.permissions:
        set_tenant(session, principal.tenant())
        in_transaction(session, desk().log_out, session, principal)
        raise Forbidden("These pages are for operators of the platform.")
    session.rollback()
    return str(token)


def operator() -> Principal:
    """Who is signed in.

    Raises:
        NotSignedIn: nobody.
        Forbidden: no operator.
    """
    token = request.cookies.get(COOKIE)
    if not token:
        raise NotSignedIn("Sign in at /ops/sign-in.")
    principal = principals().authenticate(current_session(), token)
    if PERMISSION not in principal.permissions:
        raise Forbidden("These pages are for operators of the platform.")
    return principal


def only_from_here() -> None:
    """Go on only where a page of this very site has sent the request: browsers say so, and no page can forge it.

    Raises:
        Forbidden: it was another, or the client does not say.
    """
    site, origin = request.headers.get("Sec-Fetch-Site"), request.headers.get("Origin")
    is_ours = site == "same-origin" if site is not None else origin == request.host_url.rstrip("/")
    if not is_ours:
        raise Forbidden("This may be sent by a page of this site only.")


def _wait(error: HavenError) -> dict[str, str]:
    return {"Retry-After": str(error.retry_after_s)} if isinstance(error, TooMany) else {}


def _page(body: str, status: int = 200, headers: dict[str, str] | None = None) -> Response:
    page = _PAGE.format(body=body)
    return Response(page, status, {**_HEADERS, **(headers or {})}, content_type="text/html; charset=utf-8")


def _headed(answer: Answer) -> Answer:
    answer.headers.update(_HEADERS)
    answer.headers["Cache-Control"] = "no-store"
    return answer
