"""``haven doctor``."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Final

import click

from haven.doctor.checks import examination
from haven.doctor.findings import Finding, Level
from haven.stack_folder import StackError, StackFolder, data_option

_COLOURS: Final = {Level.OK: "green", Level.WARN: "yellow", Level.FAIL: "red"}


@click.command()
@click.option("--json", "as_json", is_flag=True, help="Print the findings as JSON.")
@data_option("Where DATABASE_URL is not set: the stack of `haven up` to look at.")
def doctor(as_json: bool, folder: Path) -> None:
    """Look at settings, callbacks, M-Pesa, clocks, Redis, database, schema and processes. Exit code 1 on a failure.

    Each finding says what to do. It changes nothing, and prints no secret.
    """
    findings = examination(_environ(folder))
    click.echo(_as_json(findings) if as_json else _as_text(findings))
    sys.exit(1 if _worst(findings) is Level.FAIL else 0)


def _environ(folder: Path) -> Mapping[str, str]:
    """The environment; where it names no database, that of the stack in ``folder``, as its programs have it."""
    given = {name: value for name, value in os.environ.items() if value}
    if "DATABASE_URL" in given:
        return given
    stack = StackFolder(folder)
    try:
        described, secrets = stack.read("stack.json"), stack.read("secrets.json")
    except StackError as error:
        raise click.ClickException(str(error)) from None
    if not described or not secrets:
        return given
    names = ("secret_key", "mpesa_consumer_key", "mpesa_consumer_secret", "mpesa_shortcode", "mpesa_passkey")
    places = {
        "DATABASE_URL": described["database_url"],
        "REDIS_URL": described["redis_url"],
        "PUBLIC_URL": described["url"],
        "MPESA_BASE_URL": described["mpesa_url"],
        "MAIL_FOLDER": str(stack.path / "mail"),
        "EXPORT_DIR": str(stack.path / "exports"),
    }
    return {name.upper(): secrets[name] for name in names if name in secrets} | places | given


def _worst(findings: Sequence[Finding]) -> Level:
    levels = {finding.level for finding in findings}
    return next((level for level in (Level.FAIL, Level.WARN) if level in levels), Level.OK)


def _as_json(findings: Sequence[Finding]) -> str:
    document = {"status": _worst(findings), "findings": [asdict(finding) for finding in findings]}
    return json.dumps(document, indent=2)


def _as_text(findings: Sequence[Finding]) -> str:
    lines = []
    for finding in findings:
        level = click.style(
            f"{finding.level:4}", fg=_COLOURS[finding.level], bold=finding.level is Level.FAIL
        )
        lines.append(f"{level}  {finding.check:10}  {finding.says}")
        if finding.do:
            lines.append(f"{'':18}→ {finding.do}")
    return "\n".join(lines)
