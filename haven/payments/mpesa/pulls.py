"""M-Pesa's own list of what was paid to a shortcode in the last 48 hours (Pull Transactions)."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Final

from haven.payments.mpesa.answers import Fault, PulledPage, PulledTransaction, read_fault, read_pulled_page
from haven.payments.mpesa.client import CallFailed, MpesaClient
from haven.payments.mpesa.eat import EAT

PATH: Final = "/pulltransactions/v1/query"
HORIZON: Final = timedelta(hours=48)
"""Older transactions are not listed."""
_ZONE_DOUBT: Final = timedelta(hours=3)
_MOST_PAGES: Final = 500


def pulled_pages(
    client: MpesaClient, shortcode: str, since: datetime, until: datetime, now: datetime
) -> Iterator[PulledPage]:
    """The list from ``since`` to ``until`` (aware), page by page, each asked for when it is wanted.

    The times are written in Nairobi time. Should M-Pesa read them as UTC, what it takes for the start lies three hours
    later than was meant; so the list begins three hours earlier, but for its horizon.

    Raises:
        MpesaError: a page could not be had; those before it are good.
    """
    since = max(since - _ZONE_DOUBT, now - HORIZON)
    # Written in whole seconds, and the last one is meant to be within.
    until += timedelta(seconds=1)
    offset, seen = 0, set[str]()
    for _ in range(_MOST_PAGES):
        page = _page(client, shortcode, since, until, offset)
        fresh = tuple(row for row in page.rows if row.receipt not in seen)
        # An offset that is not heeded gives the same page for ever.
        if not page.listed or (page.rows and not fresh):
            return
        seen.update(row.receipt for row in fresh)
        # What has just moved shifts the rows: some are listed again.
        yield PulledPage(fresh, page.listed - (len(page.rows) - len(fresh)))
        offset += page.listed
    raise CallFailed("TOO_LONG", f"the list goes on after {_MOST_PAGES} pages")


def is_money_in(row: PulledTransaction) -> bool:
    """Whether the row is a payment; one that undoes a payment is not."""
    return "revers" not in row.kind.lower()


def _page(client: MpesaClient, shortcode: str, since: datetime, until: datetime, offset: int) -> PulledPage:
    body: dict[str, str | int] = {
        "ShortCode": shortcode,
        "StartDate": _written(since),
        "EndDate": _written(until),
        "OffSetValue": str(offset),
    }
    answer = client.call(PATH, body)
    if answer.status != 200:
        fault = read_fault(answer.status, answer.headers, answer.body)
        raise CallFailed(fault.code, fault.message)
    read = read_pulled_page(answer.body)
    if isinstance(read, Fault):
        raise CallFailed(read.code, read.message)
    return read


def _written(moment: datetime) -> str:
    return moment.astimezone(EAT).strftime("%Y-%m-%d %H:%M:%S")
