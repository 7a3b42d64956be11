"""``haven up``, ``haven down`` and ``haven status``: the embedded stack from the command line."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import click
import psutil
from rich.console import Console
from rich.table import Table

from haven.embedded_servers import ServerUnavailable
from haven.stack import CHECKOUT, Stack, StopAsked
from haven.stack_folder import StackError, StackFolder
from haven.supervisor import ProgramFailed, find_process

DEFAULT_DATA: Final = Path(".haven")
_READY_WITHIN_S: Final = 120.0
_STOPPED_WITHIN_S: Final = 60.0

_data = click.option(
    "--data",
    "data",
    type=click.Path(path_type=Path, file_okay=False),
    default=DEFAULT_DATA,
    show_default=True,
    help="The stack's folder: data, logs, secrets, stack.json.",
)


@click.command()
@click.option(
    "--port", type=click.IntRange(1, 65535), help="Port of the web; without it 8000, or a free one."
)
@_data
@click.option("--detach", is_flag=True, help="Return when it is ready; `haven down` stops it.")
def up(port: int | None, data: Path, detach: bool) -> None:
    """Start Haven here: PostgreSQL, Valkey, web, workers, cron, M-Pesa simulator."""
    folder = StackFolder(data)
    console = Console(highlight=False)
    try:
        folder.make()
        if detach:
            _detach(folder, port, console)
        else:
            _run(folder, port, console)
    except (StackError, ServerUnavailable, ProgramFailed) as error:
        raise click.ClickException(str(error)) from None


@click.command()
@_data
def down(data: Path) -> None:
    """Stop what `haven up` started; the data stays."""
    folder = StackFolder(data)
    if not folder.is_running():
        click.echo("Haven is not running here.")
        return
    supervisor = find_process(folder.records()[0])
    if supervisor is None:
        raise click.ClickException("The supervisor is just starting; try again in a moment.")
    supervisor.send_signal(signal.SIGTERM)
    try:
        supervisor.wait(_STOPPED_WITHIN_S)
    except psutil.TimeoutExpired:
        raise click.ClickException(
            f"The supervisor (pid {supervisor.pid}) has not stopped within {_STOPPED_WITHIN_S:.0f} s."
        ) from None
    click.echo(f"Stopped. The data is in {folder.path}.")


@click.command()
@_data
def status(data: Path) -> None:
    """Show each process of the stack: state, pid, address."""
    folder = StackFolder(data)
    if not folder.is_running():
        click.echo("Haven is not running here. `haven up` starts it.")
        raise SystemExit(1)
    table = Table("process", "state", "pid", "restarts", "address")
    for record in folder.records():
        state = record.state if find_process(record) else "gone"
        table.add_row(record.name, state, str(record.pid), str(record.restarts), record.address)
    Console(highlight=False).print(table)


def _run(folder: StackFolder, port: int | None, console: Console) -> None:
    """Be the supervisor until somebody asks to stop."""
    _take(folder)
    asked = _Asked()
    stack = Stack(
        folder,
        os.environ,
        port=port,
        say=lambda words: console.print(f"  {words} …"),
        stop_asked=lambda: asked.times,
        load_demo=_load_demo,
    )
    began = time.monotonic()
    try:
        described = stack.start()
        _show(console, folder, described, time.monotonic() - began)
        stack.look_after()
    except StopAsked:
        pass
    finally:
        console.print("  Stopping …")
        stack.stop()
        folder.release()
    console.print(f"  Stopped. The data is in {folder.path}.")


class _Asked:
    """Counts how often somebody asked to stop: Ctrl-C, or a SIGTERM."""

    def __init__(self) -> None:
        self.times = 0
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, self._ask)

    def _ask(self, *_: object) -> None:
        self.times += 1


def _take(folder: StackFolder) -> None:
    if not folder.acquire():
        described = folder.read("stack.json") or {}
        where = f" at {described['url']}" if described else ", and is just starting"
        raise StackError(f"Haven is already running in {folder.path}{where}. `haven down` stops it.")


def _detach(folder: StackFolder, port: int | None, console: Console) -> None:
    """Start a supervisor in the background and wait until it is ready, or has ended."""
    # Only to tell at once that another one runs; the new supervisor takes the lock itself.
    _take(folder)
    folder.release()
    folder.remove("stack.json")
    log = folder.logs / "supervisor.log"
    arguments = ["--data", str(folder.path), *(["--port", str(port)] if port else [])]
    with log.open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "haven", "up", *arguments],
            cwd=CHECKOUT,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    began = time.monotonic()
    while time.monotonic() - began < _READY_WITHIN_S:
        described = folder.read("stack.json")
        if described:
            _show(console, folder, described, time.monotonic() - began)
            return
        if process.poll() is not None:
            raise StackError(f"Haven did not start:\n{log.read_text(errors='replace').strip()}")
        time.sleep(0.1)
    process.terminate()
    raise StackError(f"Haven is not ready after {_READY_WITHIN_S:.0f} s; its output is in {log}.")


def _load_demo(owner_url: str) -> Mapping[str, Any]:
    from haven.demo.service import load_demo  # it takes a moment to import, and is needed once

    return load_demo(owner_url, "small")


def _show(console: Console, folder: StackFolder, described: Mapping[str, Any], took_s: float) -> None:
    """The short screen: where everything is, a login, what to try next."""
    admin = described.get("agency_admin") or {}
    table = Table.grid(padding=(0, 2))
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    rows = [
        ("API", f"{described['url']}/api/v1"),
        ("to read", f"{described['url']}/docs"),
        ("health", f"{described['url']}/health/detailed"),
        ("M-Pesa phones", described["mpesa_url"]),
        ("sign in", admin.get("email", "the agencies of your database")),
        ("password", admin.get("password", "yours")),
        ("API key", admin.get("api_key", "")),
        ("all of this", str(folder.path / "stack.json")),
        ("logs", str(folder.logs)),
    ]
    for name, value in rows:
        if value:
            table.add_row(f"[dim]{name}[/dim]", value)
    console.print(f"\n[bold green]Haven is ready[/bold green] after {took_s:.1f} s\n")
    console.print(table, soft_wrap=True)
    console.print(
        "\nNext: the rent payment of the README, in a second terminal. Ctrl-C or `haven down` stops it.\n"
    )
