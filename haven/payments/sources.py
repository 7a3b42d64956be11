"""Whether a callback came from where M-Pesa is known to call from.

The lists that are published differ, and two of the addresses that were observed are missing from most of them. So the
secret in the callback's address is what decides; this is a second look, and never a reason to lose money.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable
from functools import lru_cache
from typing import Final, Literal, cast

import structlog

from config import Settings

log = structlog.get_logger(__name__)

Mode = Literal["off", "log", "enforce"]
MPESA_ADDRESSES: Final = tuple(
    "196.201.214.200 196.201.214.206 196.201.214.207 196.201.214.208 196.201.213.114 196.201.213.44"
    " 196.201.212.127 196.201.212.138 196.201.212.129 196.201.212.136 196.201.212.74 196.201.212.69"
    " 196.201.212.128 196.201.212.132".split()
)
"""Published by several writers; ``.212.69`` and ``.212.138`` have been observed."""
_Network = ipaddress.IPv4Network | ipaddress.IPv6Network


def is_known(address: str | None, extra: tuple[str, ...] = ()) -> bool:
    """Whether ``address`` is one of M-Pesa's, or in ``extra`` (addresses or networks such as ``10.0.0.0/8``)."""
    try:
        found = ipaddress.ip_address(address or "")
    except ValueError:
        return False
    if isinstance(found, ipaddress.IPv6Address) and found.ipv4_mapped is not None:
        found = found.ipv4_mapped
    return any(found in network for network in _networks((*MPESA_ADDRESSES, *extra)))


def refusal(settings: Settings, address: str | None) -> str | None:
    """Why a callback from ``address`` is kept without being applied; None: apply it.

    ``MPESA_CALLBACK_SOURCES``: ``off`` looks at nothing, ``log`` writes an unknown address into the log,
    ``enforce`` keeps what came from one unapplied, for a person to replay.
    """
    mode = cast("Mode", settings.mpesa_callback_sources)
    if mode == "off" or is_known(address, settings.mpesa_callback_addresses):
        return None
    if mode == "log":
        log.warning("callback_from_unknown_address", address=address)
        return None
    log.error("callback_from_unknown_address", address=address, kept="unapplied")
    return f"It came from {address}, which is none of M-Pesa's known addresses; replay it if it is genuine."


@lru_cache(maxsize=16)
def _networks(addresses: Iterable[str]) -> tuple[_Network, ...]:
    return tuple(ipaddress.ip_network(one, strict=False) for one in addresses)
