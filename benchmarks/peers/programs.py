"""The programs that are measured, and how each is installed and started: as many processes of each."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import httpx
import psutil

from haven.embedded_servers import free_port
from tests.support.live import CHECKOUT, clean_environ

HERE: Final = Path(__file__).parent
NODE: Final = HERE / "node"
PYTHON: Final = HERE / ".venv" / "bin" / "python"
PROCESSES: Final = 2
THREADS: Final = 8
_PATIENCE_S: Final = 60
_INSTALL_S: Final = 600


@dataclass(frozen=True)
class Program:
    """A server of the page.

    Args:
        name: as the table tells it.
        argv: how it starts.
        folder: where. gunicorn reads the ``gunicorn.conf.py`` that it finds there: Haven's and its worker's alone.
    """

    name: str
    argv: tuple[str, ...]
    folder: Path = HERE


def _gunicorn(python: str, module: str, config: str | None = None) -> tuple[str, ...]:
    worker = ("--workers", str(PROCESSES), "--worker-class", "gthread", "--threads", str(THREADS))
    settings = () if config is None else ("-c", config)
    return (
        python,
        "-m",
        "gunicorn",
        *settings,
        *worker,
        "--keep-alive",
        "75",
        "--bind",
        "127.0.0.1:{port}",
        module,
    )


HAVEN: Final = Program(
    "Haven", (sys.executable, "-m", "gunicorn", "-c", "gunicorn.conf.py", "wsgi:app"), CHECKOUT
)
BARE: Final = Program(
    "gunicorn, bytes from memory",
    _gunicorn(sys.executable, "benchmarks.peers.bare:app", "/dev/null"),
    CHECKOUT,
)
"""gunicorn as it comes, with its own threaded worker and none of Haven's settings."""
WORKER: Final = Program(
    "Haven's worker, bytes from memory",
    (sys.executable, "-m", "gunicorn", "-c", "gunicorn.conf.py", "benchmarks.peers.bare:app"),
    CHECKOUT,
)
"""What is left when Haven does nothing at all."""
FLASK: Final = Program("Flask, ORM, marshmallow", _gunicorn(str(PYTHON), "flask_orm:app"))
DJANGO: Final = Program("Django REST framework", _gunicorn(str(PYTHON), "django_rest:app"))
EXPRESS: Final = Program("Express, pg, ioredis", ("node", str(NODE / "express.js")))
FASTIFY: Final = Program("Fastify, pg", ("node", str(NODE / "fastify.js")))
PRISMA: Final = Program("Express, Prisma", ("node", str(NODE / "express_prisma.js")))


def install() -> str | None:
    """Install what the peers need, once; why Node's are left out, where they are."""
    if not PYTHON.exists():
        _run([sys.executable, "-m", "venv", str(PYTHON.parent.parent)], HERE)
    pip = (str(PYTHON), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--require-hashes")
    _run([*pip, "-r", "requirements.txt"], HERE)
    if shutil.which("npm") is None:
        return "Node is not installed (20.19 or newer): its programs are left out."
    if not (NODE / "node_modules" / ".package-lock.json").exists():
        _run(["npm", "ci", "--silent", "--ignore-scripts", "--no-audit", "--no-fund"], NODE)
    # `generate` needs no engine of Prisma's, but asks for one; this saves the download.
    engine = {"PRISMA_SCHEMA_ENGINE_BINARY": shutil.which("true") or "/bin/true"}
    _run(["npx", "prisma", "generate", "--schema", "prisma/schema.prisma"], NODE, engine)
    return None


def _run(argv: list[str], folder: Path, environ: Mapping[str, str] | None = None) -> None:
    environ = {**os.environ, **(environ or {})}
    done = subprocess.run(
        argv, cwd=folder, env=environ, capture_output=True, text=True, check=False, timeout=_INSTALL_S
    )
    if done.returncode:
        sys.exit(f"{' '.join(argv)} failed:\n{done.stdout[-1000:]}\n{done.stderr[-2000:]}")


@dataclass(frozen=True)
class Running:
    """A program that answers."""

    program: Program
    port: int
    pid: int

    def cpu_s(self) -> float:
        """Processor seconds of all its processes so far."""
        first = psutil.Process(self.pid)
        times = [one.cpu_times() for one in (first, *first.children(recursive=True))]
        return sum(one.user + one.system for one in times)


@contextmanager
def running(program: Program, environ: Mapping[str, str], folder: Path, path: str) -> Iterator[Running]:
    """Start a program, wait until it answers at ``path``, and stop it at the end."""
    port = free_port()
    argv = [part.format(port=port) for part in program.argv]
    own = {
        "PORT": str(port),
        "BIND_HOST": "127.0.0.1",
        "WEB_CONCURRENCY": str(PROCESSES),
        "WEB_THREADS": str(THREADS),
    }
    log_file = folder / f"{port}.log"
    with log_file.open("wb") as log:
        process = subprocess.Popen(
            argv,
            cwd=program.folder,
            env=clean_environ() | dict(environ) | own,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
        try:
            _wait(f"http://127.0.0.1:{port}{path}", process, program, log_file)
            yield Running(program, port, process.pid)
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGTERM)
            process.wait(45)


def _wait(url: str, process: subprocess.Popen[bytes], program: Program, log_file: Path) -> None:
    ends_at = time.monotonic() + _PATIENCE_S
    while time.monotonic() < ends_at:
        if process.poll() is not None:
            break
        try:
            if httpx.get(url, timeout=5).status_code < 500:
                return
        except httpx.HTTPError:
            time.sleep(0.1)
    sys.exit(f"{program.name} does not answer:\n{log_file.read_text()[-3000:]}")
