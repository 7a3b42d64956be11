"""Whether M-Pesa can and will call back: its rules for addresses (Safaricom's documentation and measurements)."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Final
from urllib.parse import urlsplit

from config import Settings
from haven.doctor.findings import Finding, fail, ok, warn
from haven.operations.outbound import IPAddress, is_public, look_up

NAME: Final = "callbacks"
BANNED: Final = ("m-pesa", "mpesa", "safaricom", "exe", "exec", "cmd", "sql", "query")
"""Words that M-Pesa does not want in an address, in any case."""
TUNNELS: Final = ("ngrok", "mockbin", "requestbin", "localtunnel", "loca.lt")
"""Hosts that M-Pesa usually blocks."""


def check_callbacks(
    settings: Settings, resolve: Callable[[str, int], list[IPAddress]] = look_up
) -> Iterator[Finding]:
    """The findings about PUBLIC_URL, on which every callback's address is built."""
    url = urlsplit(settings.public_url)
    host = url.hostname or ""
    if is_here(settings.mpesa_base_url):
        yield ok(
            NAME, f"M-Pesa is a simulator on this machine; it calls back to {url.scheme}://{url.netloc}."
        )
        return
    faults = [*_of_the_address(settings.public_url), *_of_the_host(host, resolve)]
    yield from faults
    if not faults:
        yield ok(NAME, f"M-Pesa can call back to https://{host}.")


def is_here(base_url: str) -> bool:
    """Whether an address is one of this machine."""
    host = urlsplit(base_url).hostname or ""
    return host in ("localhost", "::1") or host.startswith("127.")


def _of_the_address(public_url: str) -> Iterator[Finding]:
    url = urlsplit(public_url)
    if url.scheme != "https":
        yield fail(
            NAME, "PUBLIC_URL is not https.", "M-Pesa calls back to https alone: put a certificate before it."
        )
    netloc = url.netloc.rpartition("@")[2]
    if netloc != netloc.lower():
        yield fail(
            NAME,
            "The host of PUBLIC_URL has capital letters.",
            "Write it in small ones: M-Pesa has refused others.",
        )
    for word in dict.fromkeys(word for word in BANNED if word in f"{netloc}{url.path}".lower()):
        yield fail(
            NAME,
            f"PUBLIC_URL has the word {word!r} in it, which M-Pesa refuses.",
            "Give Haven a name without it; of the paths that follow none has one.",
        )
    if any(tunnel in netloc.lower() for tunnel in TUNNELS):
        yield warn(NAME, "PUBLIC_URL is a tunnel that M-Pesa usually blocks.", "Use a host of your own.")


def _of_the_host(host: str, resolve: Callable[[str, int], list[IPAddress]]) -> Iterator[Finding]:
    addresses = resolve(host, 443)
    if not addresses:
        yield fail(
            NAME,
            f"The name {host} is not known.",
            "Set PUBLIC_URL to the name under which the outside reaches Haven.",
        )
    elif not all(map(is_public, addresses)):
        yield fail(
            NAME,
            f"{host} is a private address: M-Pesa cannot reach it.",
            "Set PUBLIC_URL to the name under which the outside reaches Haven.",
        )
