"""``haven up``, ``haven down`` and ``haven status``."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click
from rich.console import Console
from rich.markup import escape
from rich.panel import Panel
from rich.table import Table

from haven.demo.sizes import SIZES
from haven.stack_folder import StackError, StackFolder, data_option
from haven.stack_programs import CHECKOUT
from haven.supervisor import find_process, log_tail, stop_left_over

if TYPE_CHECKING:
    from haven.stack import Stack

START_S: Final = 180.0
SAY_EVERY_S: Final = 5.0
STOP_S: Final = 90.0
NOT_RUNNING: Final = 3
"""The exit code of ``haven status`` where nothing runs, as service managers have it."""

_data_option = data_option("Folder of its data, logs and secrets.")


@click.command()
@click.option(
    "--port",
    type=click.IntRange(1, 65535),
    help="Port of the web. Default: 8000, or a free one if that is taken.",
)
@_data_option
@click.option(
    "--demo",
    "demo_size",
    type=click.Choice(["none", *SIZES]),
    default="small",
    show_default=True,
    help="What to load into a database without agencies; large is 1,000,000 invoices and takes minutes.",
)
@click.option("--detach", is_flag=True, help="Return when it is ready; `haven down` stops it.")
def up(port: int | None, folder: Path, demo_size: str, detach: bool) -> None:
    """Start Haven here: PostgreSQL, Valkey, web, workers, cron and the M-Pesa simulator.

    DATABASE_URL and REDIS_URL, where set, name servers to use instead of the embedded ones.
    """
    stack_folder = StackFolder(folder)
    with _errors_in_words():
        stack_folder.make()
        if detach:
            _refuse_a_second(stack_folder)
            _start_detached(stack_folder, port, demo_size)
        else:
            _run(stack_folder, port, demo_size)


@click.command()
@_data_option
def down(folder: Path) -> None:
    """Stop what `haven up` started; the data stays."""
    stack_folder = StackFolder(folder)
    console = _console()
    with _errors_in_words():
        records = stack_folder.records()
        if stack_folder.is_running():
            _stop_supervisor(stack_folder)
            console.print("Haven has stopped. Its data is in", str(stack_folder.path))
        elif found := stop_left_over(records):
            stack_folder.remove("stack.json")
            console.print("Stopped what a supervisor that was killed had left:", ", ".join(found))
        else:
            console.print("Haven is not running in", str(stack_folder.path))


@click.command()
@_data_option
def status(folder: Path) -> None:
    """Show each process of the stack: state, pid, restarts, address. Exit code 3 if it is not running."""
    stack_folder = StackFolder(folder)
    with _errors_in_words():
        is_running = stack_folder.is_running()
        records = [record for record in stack_folder.records() if find_process(record)]
    console = _console()
    if not is_running:
        left = f" (left over: {', '.join(record.name for record in records)})" if records else ""
        console.print(f"Haven is not running in {escape(str(stack_folder.path))}{left}")
        sys.exit(NOT_RUNNING)
    table = Table("program", "state", "pid", "restarts", "address", box=None)
    for record in records:
        table.add_row(record.name, record.state, str(record.pid), str(record.restarts), record.address)
    console.print(table)


class _errors_in_words:  # noqa: N801
    """Turns what went wrong into one message and exit code 1, without a traceback."""

    def __enter__(self) -> None:
        return

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: object) -> None:
        from haven.embedded_servers import ServerUnavailable
        from haven.supervisor import ProgramFailed

        if isinstance(error, StackError | ServerUnavailable | ProgramFailed):
            raise click.ClickException(str(error)) from None


class _Asked:
    """Counts the signals that ask to stop; the second one asks to hurry."""

    def __init__(self) -> None:
        self.times = 0
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, self._count)

    def _count(self, *_: object) -> None:
        self.times += 1


def _run(folder: StackFolder, port: int | None, demo_size: str) -> None:
    from haven.stack import (  # imports the database's parts, which `haven status` does without
        Stack,
        StopAsked,
    )

    if not folder.acquire():
        _refuse_a_second(folder)
    console, asked = _console(), _Asked()

    def say(step: str) -> None:
        console.print(f"[dim]•[/dim] {escape(step)}", highlight=False)

    def tell_progress(step: str) -> None:
        if asked.times:
            raise StopAsked
        say(step)

    stack = Stack(
        folder,
        os.environ,
        port=port,
        say=say,
        stop_asked=lambda: asked.times,
        load_demo=None if demo_size == "none" else lambda url: _load_demo(url, demo_size, tell_progress),
    )
    try:
        with suppress(StopAsked):
            _serve(stack, console, folder)
    finally:
        console.print("Stopping (Ctrl-C again: at once)")
        stack.stop()
        console.print("Stopped. The data stays in", str(folder.path))


def _serve(stack: Stack, console: Console, folder: StackFolder) -> None:
    started = time.monotonic()
    description = stack.start()
    console.print(f"[dim]•[/dim] Ready after {time.monotonic() - started:.1f} s", highlight=False)
    console.print(_screen(description, "Ctrl-C", folder))
    stack.look_after()


def _load_demo(owner_url: str, size: str, say: Callable[[str], None]) -> Mapping[str, Any]:
    """Load the demo, saying each few seconds how far it is; ``say`` may raise to give it up, which leaves nothing."""
    from haven.demo.service import load_demo

    said_at, written = time.monotonic(), 0

    def progress(step: str, rows: int, _seconds: float) -> None:
        nonlocal said_at, written
        written += rows
        if time.monotonic() - said_at >= SAY_EVERY_S:
            said_at = time.monotonic()
            say(f"Loading the {size} demo: {written:,} rows, {step}")

    return load_demo(owner_url, size, progress=progress)


def _start_detached(folder: StackFolder, port: int | None, demo_size: str) -> None:
    argv = [sys.executable, "-m", "haven", "up", "--data", str(folder.path), "--demo", demo_size]
    argv += ["--port", str(port)] if port else []
    log = folder.logs / "supervisor.log"
    with log.open("wb") as output:
        supervisor = subprocess.Popen(
            argv,
            cwd=CHECKOUT,  # `haven` may be called from anywhere; `python -m haven` is found here
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    console = _console()
    try:
        description = _wait_until_ready(folder, supervisor, log, START_S * (5 if demo_size == "large" else 1))
    except BaseException:
        supervisor.terminate()
        raise
    console.print(_screen(description, f"haven down --data {folder.path}", folder))


def _wait_until_ready(
    folder: StackFolder, supervisor: subprocess.Popen[bytes], log: Path, patience_s: float
) -> Mapping[str, Any]:
    deadline = time.monotonic() + patience_s
    while time.monotonic() < deadline:
        if supervisor.poll() is not None:
            raise StackError(f"Haven did not start. {log}:\n{log_tail(log, lines=40)}")
        description: Mapping[str, Any] | None = folder.read("stack.json")
        if description is not None and description["pids"]["supervisor"] == supervisor.pid:
            return description
        time.sleep(0.1)
    raise StackError(f"Haven was not ready after {patience_s:.0f} s. {log}:\n{log_tail(log, lines=40)}")


def _refuse_a_second(folder: StackFolder) -> None:
    if not folder.is_running():
        return
    description = folder.read("stack.json")
    where = f"on {description['url']}" if description else "but is not ready yet"
    raise StackError(
        f"Haven is already running in {folder.path}, {where}. Stop it with `haven down --data {folder.path}`, or start"
        " a second one with another --data."
    )


def _stop_supervisor(folder: StackFolder) -> None:
    supervisors = [record for record in folder.records() if record.name == "supervisor"]
    process = find_process(supervisors[0]) if supervisors else None
    if process is not None:
        process.send_signal(signal.SIGTERM)
    deadline = time.monotonic() + STOP_S
    while folder.is_running():
        if time.monotonic() > deadline:
            raise StackError(f"Haven did not stop in {STOP_S:.0f} s; see {folder.logs}.")
        time.sleep(0.1)


def _screen(description: Mapping[str, Any], stop: str, folder: StackFolder) -> Panel:
    rows = Table.grid(padding=(0, 2))
    url = description["url"]
    rows.add_row("API", f"{url}/api/v1", f"to read: {url}/docs")
    rows.add_row("M-Pesa simulator", description["mpesa_url"], "its phones ring there")
    rows.add_row(
        "Messages", f"{description['mpesa_url']}/simulator/messages", "e-mails and SMS that were sent"
    )
    for title, key in (("Agency administrator", "agency_admin"), ("Operator", "platform_admin")):
        if admin := description[key]:
            rows.add_row(title, admin["email"], admin["password"])
    if api_key := (description["agency_admin"] or {}).get("api_key"):
        rows.add_row("API key", api_key, "of the agency's administrator")
    if description["agency_admin"] is None:
        rows.add_row("Sign-in", "as before", "the database has agencies that this folder did not load")
    rows.add_row("Try next", f"curl {url}/health/detailed", "then the walk in README.md")
    rows.add_row("All of it", str(folder.path / "stack.json"), f"logs: {folder.logs}")
    rows.add_row("Stop", stop, "the data stays")
    return Panel(rows, title="Haven is ready", expand=False)


def _console() -> Console:
    """A console that does not cut long lines where there is no terminal to see them."""
    return Console() if sys.stdout.isatty() else Console(width=200)
