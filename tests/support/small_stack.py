"""``haven up`` with the real servers, and one tiny HTTP program in place of Haven's own: for tests of the stack.

``SMALL_STACK`` says what goes wrong: ``broken`` (the program cannot start), ``dies`` (killed while it loads the demo).
``SMALL_STACK_PORT`` is the port tried first in place of 8000; without it any free one, so that tests do not meet.
"""

from __future__ import annotations

import functools
import os
import signal
import sys
import uuid
from collections.abc import Callable, Mapping
from typing import Any, Final
from urllib.parse import urlsplit

import psycopg2

import haven.stack
from haven import stack_commands
from haven.stack_programs import Places, answers
from haven.supervisor import Program

TROUBLE: Final = os.environ.get("SMALL_STACK", "")
WEB_PORT: Final = int(os.environ.get("SMALL_STACK_PORT", "0"))

SERVE: Final = """
import http.server, sys
class Answer(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.end_headers()
http.server.ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), Answer).serve_forever()
"""


def small_programs(places: Places, settings: Mapping[str, str]) -> list[Program]:
    code = "raise SystemExit('the reason is in the log')" if TROUBLE == "broken" else SERVE
    port = str(urlsplit(places.url).port)
    ready = functools.partial(answers, places.url)
    return [Program("web", [sys.executable, "-c", code, port], settings, ready=ready, address=places.url)]


def small_demo(owner_url: str, size: str, say: Callable[[str], None]) -> Mapping[str, Any]:
    connection = psycopg2.connect(owner_url)
    with connection, connection.cursor() as cursor:
        agency_id = str(uuid.uuid4())
        cursor.execute("SELECT set_config('haven.agency_id', %s, true)", (agency_id,))
        cursor.execute("INSERT INTO agency (id, name, slug) VALUES (%s, 'Small', 'small')", (agency_id,))
    connection.close()
    if TROUBLE == "dies":
        os.kill(os.getpid(), signal.SIGKILL)
    return {
        "platform_admin": {"email": "operator", "password": "word"},
        "agency_admin": {"email": "agent", "password": "word", "api_key": "key"},
    }


if __name__ == "__main__":
    # `up` looks these up when it runs.
    vars(haven.stack).update(WEB_PORT=WEB_PORT, MPESA_PORT=0)
    haven.stack.Stack = functools.partial(haven.stack.Stack, programs=small_programs)  # type: ignore[assignment,misc]
    stack_commands._load_demo = small_demo
    stack_commands.up()
