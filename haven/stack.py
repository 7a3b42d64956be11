"""The embedded stack: PostgreSQL, Valkey, web, workers, cron and the M-Pesa simulator on one machine.

A ``Stack`` starts them in order and looks after them until it is told to stop. Where DATABASE_URL or REDIS_URL is
set, those servers are used and the embedded one is not started.
"""

from __future__ import annotations

import os
import socket
import sys
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

import httpx
import psycopg2

from haven.db.prepare import (
    APP_ROLE,
    OWNER_ROLE,
    drop_database,
    has_role,
    is_above_row_security,
    prepare_server,
    signs_in,
    with_role,
)
from haven.embedded_servers import (
    EmbeddedPostgres,
    EmbeddedValkey,
    ServerUnavailable,
    free_port,
    own_folder,
    postgres_account,
)
from haven.stack_folder import StackError, StackFolder
from haven.stack_paybill import introduce_paybill
from haven.stack_programs import Places, Programs, haven_programs
from haven.supervisor import ProcessRecord, Supervisor, create_time, stop_left_over

DATABASE: Final = "haven"
WEB_PORT: Final = 8000
MPESA_PORT: Final = 8081
SERVERS_DEADLINE_S: Final = 60.0
"""A PostgreSQL that was killed replays its log first."""
PROGRAMS_DEADLINE_S: Final = 60.0
LOOK_S: Final = 0.2


class StopAsked(Exception):
    """Somebody asked to stop while the stack was starting."""


class Stack:
    """One embedded stack in a folder whose lock the caller holds.

    Args:
        folder: where its data, logs and secrets are.
        environ: the environment of the programs; settings in it go before the stack's own.
        port: of the web; None for 8000, or another if that is taken.
        say: told each step, for people.
        stop_asked: 0 while nobody asked to stop, 1 to stop, more to hurry.
        programs: what runs beside the servers.
        load_demo: fills an empty database and answers with the sign-ins; None to load nothing.
    """

    def __init__(
        self,
        folder: StackFolder,
        environ: Mapping[str, str],
        *,
        port: int | None = None,
        say: Callable[[str], None],
        stop_asked: Callable[[], int],
        programs: Programs = haven_programs,
        load_demo: Callable[[str], Mapping[str, Any]] | None = None,
    ) -> None:
        self._folder = folder
        self._environ = environ
        self._port = port
        self._say = say
        self._stop_asked = stop_asked
        self._programs = programs
        self._load_demo = load_demo
        self._ports = _Ports()
        self._supervisor = Supervisor(folder.logs, self._write_down)
        self._description: dict[str, Any] = {}

    def start(self) -> Mapping[str, Any]:
        """Start everything and wait until it answers.

        Returns:
            What stack.json says.

        Raises:
            StackError, ServerUnavailable, ProgramFailed: each says what to do or shows the end of a log.
            StopAsked: somebody asked to stop before it was ready.
        """
        self._stop_left_over()
        self._secrets = self._folder.secrets()
        port = self._web_port()
        postgres, valkey = self._start_servers()
        database_url, owner_url = self._database(postgres)
        places = self._places(port, database_url, owner_url, valkey)
        demo = self._prepare_data(places, is_embedded=postgres is not None)
        self._start_programs(places)
        self._connect_paybill(places, demo)
        self._description = _describe(places, demo)
        self._write_down(self._supervisor.records())
        return self._description

    def look_after(self) -> None:
        """Restart what dies, until somebody asks to stop."""
        while not self._stop_asked():
            self._supervisor.tick()
            time.sleep(LOOK_S)

    def stop(self) -> None:
        """Stop every process; the data stays."""
        self._description = {}
        self._folder.remove("stack.json")
        self._supervisor.stop(hurry=lambda: self._stop_asked() > 1)
        self._folder.remove("processes.json")
        self._ports.release()

    def _stop_left_over(self) -> None:
        self._folder.remove("stack.json")
        if found := stop_left_over([r for r in self._folder.records() if r.name != "supervisor"]):
            self._say(f"Stopped what a supervisor that was killed had left: {', '.join(found)}")

    def _web_port(self) -> int:
        if self._port is None:
            return self._port_near(WEB_PORT, "the web")
        if not self._ports.take(self._port):
            raise StackError(
                f"Port {self._port} is taken by another program. Stop it, give another --port, or leave --port away"
                " and a free one is chosen."
            )
        return self._port

    def _port_near(self, preferred: int, whose: str) -> int:
        port = self._ports.take_free(preferred)
        if preferred and port != preferred:
            self._say(f"Port {preferred} is taken: {whose} uses {port}")
        return port

    def _start_servers(self) -> tuple[EmbeddedPostgres | None, EmbeddedValkey | None]:
        """The embedded servers that are wanted, ready."""
        valkey = None if self._environ.get("REDIS_URL") else self._valkey()
        postgres = None if self._environ.get("DATABASE_URL") else self._postgres()
        servers = [server for server in (valkey, postgres) if server]
        if servers:
            self._say("Starting " + " and ".join(server.title for server in servers))
        for server in servers:
            server.prepare()
            self._supervisor.start(server.program())
        names = [record.name for record in self._supervisor.records()]
        self._supervisor.wait_ready(names, SERVERS_DEADLINE_S, self._give_up_if_asked)
        return postgres, valkey

    def _valkey(self) -> EmbeddedValkey:
        return EmbeddedValkey(
            self._folder.path / "valkey", self._ports.take_free(), self._secrets["valkey_password"]
        )

    def _postgres(self) -> EmbeddedPostgres:
        home = self._folder.path / "postgres"
        account = postgres_account(home)
        if not own_folder(home, account):
            if account is None:
                raise ServerUnavailable(f"{home} belongs to another user; choose another folder with --data.")
            # Root's own folders are closed to the user that PostgreSQL runs as.
            with suppress(OSError):
                home.rmdir()
            home = Path("/var/lib/haven") / self._secrets["id"]
            home.parent.mkdir(parents=True, exist_ok=True)
            account = postgres_account(home)
            self._say(
                f"{account.name if account else ''} cannot reach {self._folder.path}: the database is in {home}"
            )
            if not own_folder(home, account):
                raise ServerUnavailable(f"PostgreSQL's user cannot reach {home} either; set DATABASE_URL.")
        return EmbeddedPostgres(home, self._ports.take_free(), self._secrets["postgres_password"], account)

    def _database(self, postgres: EmbeddedPostgres | None) -> tuple[str, str]:
        """The database's URLs as the application's role and as the one that migrates."""
        passwords = (self._secrets["owner_password"], self._secrets["app_password"])
        if postgres is not None:
            if self._folder.read("demo-unfinished.json"):
                drop_database(postgres.url(), DATABASE)
            prepare_server(postgres.url(), DATABASE, *passwords)
            return postgres.url(APP_ROLE, passwords[1], DATABASE), postgres.url(
                OWNER_ROLE, passwords[0], DATABASE
            )
        url = self._environ["DATABASE_URL"]
        try:
            is_superuser = is_above_row_security(url)
        except psycopg2.OperationalError as error:
            raise StackError(f"DATABASE_URL cannot be used: {str(error).strip()}") from None
        if not is_superuser:
            return url, self._environ.get("DATABASE_OWNER_URL") or url
        return self._prepare_given_server(url, *passwords)

    def _prepare_given_server(self, url: str, owner_password: str, app_password: str) -> tuple[str, str]:
        """Row-level security binds no superuser: given one, make the two roles and go on as these."""
        owner_url = with_role(url, OWNER_ROLE, owner_password)
        app_url = with_role(url, APP_ROLE, app_password)
        if has_role(url, APP_ROLE) and not signs_in(app_url):
            raise StackError(
                f"DATABASE_URL signs in as a superuser, whom no row-level security binds, and its server has a role"
                f" {APP_ROLE} already. Give that role's URL in DATABASE_URL and {OWNER_ROLE}'s in DATABASE_OWNER_URL."
            )
        self._say(f"DATABASE_URL is a superuser's: Haven uses the roles {OWNER_ROLE} and {APP_ROLE} there")
        prepare_server(url, urlsplit(url).path.lstrip("/") or "postgres", owner_password, app_password)
        return app_url, owner_url

    def _places(self, port: int, database_url: str, owner_url: str, valkey: EmbeddedValkey | None) -> Places:
        given_mpesa = self._environ.get("MPESA_BASE_URL", "")
        mpesa_port = 0 if given_mpesa else self._port_near(MPESA_PORT, "the M-Pesa simulator")
        return Places(
            url=f"http://127.0.0.1:{port}",
            database_url=database_url,
            owner_url=owner_url,
            redis_url=valkey.url() if valkey else self._environ["REDIS_URL"],
            mpesa_url=given_mpesa or f"http://127.0.0.1:{mpesa_port}",
            has_simulator=not given_mpesa,
        )

    def _prepare_data(self, places: Places, *, is_embedded: bool) -> Mapping[str, Any]:
        from haven.db.migrate import (
            upgrade,
        )  # Alembic takes a second to import; PostgreSQL is starting by now

        self._give_up_if_asked()
        self._say("Bringing the database's schema up to date")
        upgrade(places.owner_url)
        self._give_up_if_asked()
        return self._demo(places, is_embedded=is_embedded)

    def _demo(self, places: Places, *, is_embedded: bool) -> Mapping[str, Any]:
        """The demo's sign-ins, loading it into a database without agencies; nothing if agencies are others'."""
        where = "embedded" if is_embedded else urlsplit(places.database_url).netloc.rpartition("@")[2]
        where += urlsplit(places.database_url).path
        remembered = self._folder.read("demo.json") or {}
        if self._load_demo is None:
            return {}
        if _has_agencies(places.database_url):
            return remembered if remembered.get("database") == where else {}
        self._say("Loading the demo agency")
        # Its passwords are known only when it is loaded: a start that is killed in between begins again.
        self._folder.write("demo-unfinished.json", {"database": where} if is_embedded else {})
        demo = {"database": where, **self._load_demo(places.owner_url)}
        self._folder.write("demo.json", demo)
        self._folder.remove("demo-unfinished.json")
        return demo

    def _start_programs(self, places: Places) -> None:
        programs = self._programs(places, self._settings(places))
        self._say("Starting " + ", ".join(program.name for program in programs))
        for program in programs:
            self._supervisor.start(program)
        names = [program.name for program in programs]
        self._supervisor.wait_ready(names, PROGRAMS_DEADLINE_S, self._give_up_if_asked)

    def _connect_paybill(self, places: Places, demo: Mapping[str, Any]) -> None:
        """Where the demo runs beside the simulator, money paid to its paybill reaches the demo agency."""
        admin = demo.get("agency_admin")
        is_there = any(record.name == "mpesa-simulator" for record in self._supervisor.records())
        if admin is None or not is_there:
            return
        try:
            introduce_paybill(self._folder, places, admin, self._secrets)
        except (httpx.HTTPError, ValueError, KeyError) as error:
            # All else works: no reason not to start.
            self._say(f"The simulated paybill is not connected: {type(error).__name__}: {error}")

    def _settings(self, places: Places) -> dict[str, str]:
        """The environment of the programs."""
        ours = {
            "BIND_HOST": "127.0.0.1",
            # Nothing in front looks at /ready here.
            "DRAIN_SECONDS": "0",
            "PUBLIC_URL": places.url,
            "SECRET_KEY": self._secrets["secret_key"],
            "MAIL_FOLDER": str(self._folder.path / "mail"),
            "EXPORT_DIR": str(self._folder.path / "exports"),
        }
        if places.has_simulator:
            names = ("mpesa_consumer_key", "mpesa_consumer_secret", "mpesa_shortcode", "mpesa_passkey")
            ours |= {name.upper(): self._secrets[name] for name in names}
            ours["MPESA_CALLBACK_ADDRESSES"] = "127.0.0.0/8"
            ours |= {"SMS_URL": places.mpesa_url, "SMS_USERNAME": "sandbox", "SMS_API_KEY": "simulated"}
        fixed = {
            "PORT": str(urlsplit(places.url).port),
            "DATABASE_URL": places.database_url,
            "REDIS_URL": places.redis_url,
            "MPESA_BASE_URL": places.mpesa_url,
            "PYTHONUNBUFFERED": "1",
        }
        given = {name: text for name, text in self._environ.items() if text or name not in ours}
        # The role that migrates may do more than a program ever needs.
        given.pop("DATABASE_OWNER_URL", None)
        return ours | given | fixed

    def _give_up_if_asked(self) -> None:
        if self._stop_asked():
            raise StopAsked

    def _write_down(self, records: list[ProcessRecord]) -> None:
        ourselves = ProcessRecord("supervisor", os.getpid(), create_time(os.getpid()))
        everyone = [ourselves, *records]
        self._folder.write_records(everyone)
        if self._description:
            pids = {record.name: record.pid for record in everyone}
            self._folder.write("stack.json", self._description | {"pids": pids})


class _Ports:
    """Ports of this stack. One that another stack is about to use is taken, before anything listens on it."""

    def __init__(self) -> None:
        self._claims: list[socket.socket] = []

    def take(self, port: int) -> bool:
        return free_port(port) == port and self._claim(port)

    def take_free(self, preferred: int = 0) -> int:
        if preferred and self.take(preferred):
            return preferred
        while not self._claim(port := free_port()):
            pass
        return port

    def release(self) -> None:
        for claim in self._claims:
            claim.close()

    def _claim(self, port: int) -> bool:
        """A name in Linux's abstract socket space: one process has it, and it ends with that process."""
        if sys.platform != "linux":
            return True
        claim = socket.socket(socket.AF_UNIX)
        try:
            claim.bind(f"\0haven-port-{port}")
        except OSError:
            claim.close()
            return False
        self._claims.append(claim)
        return True


def _describe(places: Places, demo: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "url": places.url,
        "database_url": places.database_url,
        "redis_url": places.redis_url,
        "mpesa_url": places.mpesa_url,
        "platform_admin": demo.get("platform_admin"),
        "agency_admin": demo.get("agency_admin"),
    }


def _has_agencies(url: str) -> bool:
    connection = psycopg2.connect(url, connect_timeout=5)
    try:
        with connection.cursor() as cursor:
            cursor.execute("SELECT set_config('haven.platform', 'on', true)")
            cursor.execute("SELECT 1 FROM agency WHERE slug <> 'platform' LIMIT 1")
            return cursor.fetchone() is not None
    finally:
        connection.close()
