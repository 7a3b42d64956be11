"""Which Haven the load goes to, and who signs in there."""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final
from urllib.parse import urlsplit

import httpx

from haven.benchmarking.errors import CannotMeasure
from haven.stack_folder import StackFolder

_ANSWER_S: Final = 10.0
EMAIL: Final = "HAVEN_LOADTEST_EMAIL"
PASSWORD: Final = "HAVEN_LOADTEST_PASSWORD"  # noqa: S105  the name of a variable
OPERATOR_EMAIL: Final = "HAVEN_LOADTEST_OPERATOR_EMAIL"
OPERATOR_PASSWORD: Final = "HAVEN_LOADTEST_OPERATOR_PASSWORD"  # noqa: S105


@dataclass(frozen=True, slots=True)
class SignIn:
    email: str
    password: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class Site:
    """A Haven under load.

    Args:
        host: its base URL.
        admin: an agency's administrator, whose agency the load is for.
        operator: who may read how Haven does; None: nobody told us.
        pids: processes of the embedded stack by name; empty where Haven runs elsewhere.
        mpesa_url: of the embedded stack's M-Pesa; empty where it is not known.
    """

    host: str
    admin: SignIn
    operator: SignIn | None
    pids: dict[str, int]
    mpesa_url: str


def find_site(host: str | None, folder: StackFolder, environ: Mapping[str, str]) -> Site:
    """The Haven at an address, or that of a stack's folder.

    Args:
        host: base URL; None: the stack's, which must be on this machine.
        environ: may hold the sign-ins, which go before those of the stack's demo.

    Raises:
        CannotMeasure: there is none, it does not answer, or nobody can sign in.
    """
    stack: Mapping[str, Any] = folder.read("stack.json") or {}
    if host is None:
        host = _of_stack(stack, folder)
    host = read_host(host)
    if stack.get("url") != host:
        stack = {}
    site = Site(
        host,
        _admin(stack, environ, host),
        _given(environ, OPERATOR_EMAIL, OPERATOR_PASSWORD) or _of_demo(stack.get("platform_admin")),
        dict(stack.get("pids", {})),
        str(stack.get("mpesa_url", "")),
    )
    _check_it_answers(host)
    return site


def read_host(text: str) -> str:
    """A base URL as it is used: ``http://127.0.0.1:8000``.

    Raises:
        CannotMeasure: it is none.
    """
    try:
        parts = urlsplit(text)
        port = parts.port
    except ValueError as error:
        raise CannotMeasure(f"{text!r} is no address: {error}.") from None
    is_plain = parts.username is None and not parts.query and not parts.fragment and parts.path in ("", "/")
    if parts.scheme not in ("http", "https") or not parts.hostname or not is_plain:
        raise CannotMeasure(
            f"{text!r} is no address of a Haven: give scheme and host, and no path, as in https://haven.example."
        )
    name = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
    return f"{parts.scheme}://{name}" + (f":{port}" if port else "")


def is_loopback(host: str) -> bool:
    """Whether a base URL is of this machine alone."""
    name = urlsplit(host).hostname or ""
    try:
        return ipaddress.ip_address(name).is_loopback
    except ValueError:
        return name == "localhost"


def has_simulated_mpesa(site: Site) -> bool:
    """Whether no real phone can ring: the embedded stack's M-Pesa is the simulator."""
    if not site.mpesa_url:
        return False
    try:
        answer = httpx.get(f"{site.mpesa_url}/simulator/health", timeout=_ANSWER_S)
    except (httpx.HTTPError, httpx.InvalidURL):
        return False
    return answer.status_code == 200


def _of_stack(stack: Mapping[str, Any], folder: StackFolder) -> str:
    if not stack:
        raise CannotMeasure(
            f"No Haven runs in {folder.path}. Start one (`haven up --demo large`), say where it is (--data), or give --host."
        )
    url = str(stack["url"])
    if not is_loopback(url):
        raise CannotMeasure(f"{url} is not of this machine: if load may go there, say so with --host.")
    return url


def _admin(stack: Mapping[str, Any], environ: Mapping[str, str], host: str) -> SignIn:
    found = _given(environ, EMAIL, PASSWORD) or _of_demo(stack.get("agency_admin"))
    if found is None:
        raise CannotMeasure(
            f"Nobody to sign in as at {host}: set {EMAIL} and {PASSWORD} to an agency's administrator. Load what that"
            " agency may lose: API keys are made, and payments and bulk write."
        )
    return found


def _given(environ: Mapping[str, str], email: str, password: str) -> SignIn | None:
    if bool(environ.get(email)) != bool(environ.get(password)):
        raise CannotMeasure(f"Set both {email} and {password}, or neither.")
    return SignIn(environ[email], environ[password]) if environ.get(email) else None


def _of_demo(admin: Mapping[str, str] | None) -> SignIn | None:
    return SignIn(admin["email"], admin["password"]) if admin else None


def _check_it_answers(host: str) -> None:
    try:
        answer = httpx.get(f"{host}/health", timeout=_ANSWER_S)
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        raise CannotMeasure(f"{host} does not answer ({type(error).__name__}: {error}).") from None
    if answer.status_code != 200:
        raise CannotMeasure(f"{host}/health answers {answer.status_code}: is that a Haven, and is it well?")
