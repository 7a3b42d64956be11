"""The simulator as a Flask application: Daraja's routes, the control API and the page of ringing phones."""

from __future__ import annotations

from flask import Flask, Response, request
from werkzeug.exceptions import HTTPException

from haven.payments.mpesa.simulator.answers import DarajaError, error_answer, json_answer
from haven.payments.mpesa.simulator.control import Control
from haven.payments.mpesa.simulator.courier import Courier, Timetable
from haven.payments.mpesa.simulator.express import Express
from haven.payments.mpesa.simulator.gate import Gate
from haven.payments.mpesa.simulator.identifiers import Chance
from haven.payments.mpesa.simulator.instructions import Instructions
from haven.payments.mpesa.simulator.messages import Messages
from haven.payments.mpesa.simulator.options import Options
from haven.payments.mpesa.simulator.paybill import Paybill
from haven.payments.mpesa.simulator.prompts import Prompts
from haven.payments.mpesa.simulator.world import World

_PAGE_POLICY = "default-src 'none'; script-src 'self'; style-src 'self'; img-src data:; connect-src 'self'; base-uri 'none'"
_MAX_REQUEST_BYTES = 256 * 1024


def create_simulator(options: Options) -> Flask:
    """A simulator with its threads running. Make it in the process that serves it: threads do not survive a fork."""
    world, chance, timetable = World.new(options), Chance(options.seed), Timetable(options.speed)
    courier = Courier(options, world, timetable)
    gate = Gate(world, chance)
    prompts = Prompts(world, chance, timetable, courier)
    express = Express(world, chance, gate, prompts, timetable)
    paybill = Paybill(world, chance, gate, prompts, timetable, courier)

    instructions = Instructions(world, chance, gate, prompts, timetable, courier)

    app = Flask(__name__, static_folder="page", static_url_path="/simulator/page", template_folder=None)
    app.config["MAX_CONTENT_LENGTH"] = _MAX_REQUEST_BYTES
    _route_daraja(app, gate, express, paybill)
    _route_instructions(app, instructions)
    app.register_blueprint(Control(world, timetable, prompts, express, paybill).blueprint())
    app.register_blueprint(Messages(options.mail_folder, options.sms_callback, timetable).blueprint())
    app.add_url_rule("/", "page", lambda: _page(app))
    app.register_error_handler(DarajaError, lambda error: error_answer(world, chance, error))
    app.register_error_handler(HTTPException, lambda error: _http_error(world, chance, error))
    return app


def _route_daraja(app: Flask, gate: Gate, express: Express, paybill: Paybill) -> None:
    app.add_url_rule("/oauth/v1/generate", "oauth", lambda: json_answer(gate.new_token(request)))
    routes = {
        "/mpesa/stkpush/v1/processrequest": lambda: express.push(request),
        "/mpesa/stkpushquery/v1/query": lambda: express.query(request),
        "/mpesa/c2b/v1/registerurl": lambda: paybill.register(request, 1),
        "/mpesa/c2b/v2/registerurl": lambda: paybill.register(request, 2),
        "/mpesa/c2b/v1/simulate": lambda: paybill.simulate(request),
        "/mpesa/c2b/v2/simulate": lambda: paybill.simulate(request),
        "/pulltransactions/v1/register": lambda: paybill.register_pull(request),
        "/pulltransactions/v1/query": lambda: paybill.pull(request),
    }
    for path, view in routes.items():
        app.add_url_rule(path, path, view, methods=["POST"])


def _route_instructions(app: Flask, instructions: Instructions) -> None:
    routes = {
        "/mpesa/b2c/v1/paymentrequest": lambda: instructions.pay_out(request),
        "/mpesa/b2c/v3/paymentrequest": lambda: instructions.pay_out(request),
        "/mpesa/reversal/v1/request": lambda: instructions.reverse(request),
        "/mpesa/transactionstatus/v1/query": lambda: instructions.look_up(request),
    }
    for path, view in routes.items():
        app.add_url_rule(path, path, view, methods=["POST"])


def _page(app: Flask) -> Response:
    page = app.send_static_file("phones.html")
    page.headers["Content-Security-Policy"] = _PAGE_POLICY
    page.headers["Cache-Control"] = "no-store"
    return page


def _http_error(world: World, chance: Chance, error: HTTPException) -> Response:
    """Faults of the control API as plain JSON, those of Daraja's paths in its envelope."""
    status = error.code or 500
    if request.path.startswith("/simulator/") or request.path == "/":
        return json_answer({"error": error.description}, status)
    known = {
        404: DarajaError(404, "404.001.01", "Resource not found"),
        405: DarajaError(405, "405.001", "Method Not Allowed"),
    }
    fallback = DarajaError(status, "500.003.1001", "Internal Server Error")
    return error_answer(world, chance, known.get(status, fallback))
