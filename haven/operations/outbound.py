"""A POST to an address that an agency chose: it reaches the Internet, and never the operator's own network.

The name is looked up once, what it means is checked, and the connection goes to the very address that was checked. A
name server that answers a second question differently (DNS rebinding) is not asked a second time.
"""

from __future__ import annotations

import ipaddress
import queue
import socket
import ssl
import threading
from collections.abc import Callable, Mapping
from functools import cache
from typing import Final

import httpx

IPAddress = ipaddress.IPv4Address | ipaddress.IPv6Address
Resolve = Callable[[str, int], list[IPAddress]]

TIMEOUT_S: Final = 10.0
_LOOK_UP_S: Final = 5.0
_ADDRESSES_TRIED: Final = 3
_NAT64: Final = ipaddress.ip_network("64:ff9b::/96")


class Refused(Exception):
    """The address is none that may be reached; the message says why."""


def post(
    url: str,
    body: bytes,
    headers: Mapping[str, str],
    *,
    may_be_private: bool = False,
    timeout_s: float = TIMEOUT_S,
    resolve: Resolve | None = None,
    tls: ssl.SSLContext | None = None,
) -> int:
    """Send ``body``; the status that was answered. Redirects are not followed, the answer's body is not read.

    Args:
        may_be_private: allow private and loopback addresses too, for development.
        timeout_s: seconds for each of connecting, sending and waiting for the answer.
        resolve: from a name and a port to its addresses; the system's resolver when not given.
        tls: what certificates are trusted; the usual authorities when not given.

    Raises:
        Refused: the name is not known, or one of its addresses is not public.
        httpx.HTTPError: no answer.
    """
    target = httpx.URL(url)
    addresses = (resolve or look_up)(target.host, _port(target))[:_ADDRESSES_TRIED]
    if not addresses:
        raise Refused("the address has no host that is known")
    if not may_be_private and not all(map(is_public, addresses)):
        raise Refused("the address is not a public one")
    # A proxy of the environment would look the name up again, and reach what it likes.
    with httpx.Client(timeout=timeout_s, trust_env=False, verify=tls or _authorities()) as client:
        return _first_that_connects(client, target, addresses, body, headers)


def is_public(address: IPAddress) -> bool:
    """Whether the address is one machine of the Internet, also when IPv6 wraps an IPv4 one."""
    if isinstance(address, ipaddress.IPv6Address):
        inner = _wrapped(address)
        if inner is not None:
            return is_public(inner)
    return address.is_global and not address.is_multicast


def look_up(host: str, port: int) -> list[IPAddress]:
    """The addresses of a name, best first; none where it is not known within five seconds.

    The system's resolver takes no time-out, so a thread asks it and is left behind when it is late.
    """
    answers: queue.SimpleQueue[list[IPAddress]] = queue.SimpleQueue()
    threading.Thread(target=lambda: answers.put(_ask_system(host, port)), daemon=True).start()
    try:
        return answers.get(timeout=_LOOK_UP_S)
    except queue.Empty:
        return []


def _ask_system(host: str, port: int) -> list[IPAddress]:
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError):
        return []
    return [ipaddress.ip_address(str(info[4][0]).partition("%")[0]) for info in found]


def _first_that_connects(
    client: httpx.Client,
    target: httpx.URL,
    addresses: list[IPAddress],
    body: bytes,
    headers: Mapping[str, str],
) -> int:
    """The answer of the first address that takes a connection; only what was never sent is sent again."""
    *others, last = addresses
    for address in others:
        try:
            return _send(client, target, address, body, headers)
        except (httpx.ConnectError, httpx.ConnectTimeout):
            continue
    return _send(client, target, last, body, headers)


def _send(
    client: httpx.Client, target: httpx.URL, address: IPAddress, body: bytes, headers: Mapping[str, str]
) -> int:
    # The receiver still sees its own name: in Host, and for TLS in SNI, against which its certificate is checked.
    named = {**headers, "Host": target.netloc.decode("ascii")}
    with client.stream(
        "POST",
        target.copy_with(host=str(address)),
        content=body,
        headers=named,
        extensions={"sni_hostname": target.host},
    ) as answer:
        return answer.status_code


def _port(target: httpx.URL) -> int:
    return target.port or (443 if target.scheme == "https" else 80)


def _wrapped(address: ipaddress.IPv6Address) -> ipaddress.IPv4Address | None:
    """The IPv4 address that an IPv6 one leads to: mapped, by 6to4, by Teredo or by NAT64."""
    if address in _NAT64:
        return ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
    teredo = address.teredo
    return address.ipv4_mapped or address.sixtofour or (teredo[1] if teredo else None)


@cache
def _authorities() -> ssl.SSLContext:
    """One TLS context for the process: each one made reads every root certificate again."""
    return httpx.create_ssl_context()
