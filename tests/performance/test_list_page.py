"""A page of 50 invoices: selected columns through orjson, against ORM objects through marshmallow.

Interleaved, medians, a ratio: nothing here depends on how fast the machine is. `make bench` shows the figures.
"""

from __future__ import annotations

import gc
import statistics
import time
from collections.abc import Callable

import pytest
from sqlalchemy import select
from sqlalchemy.orm import Session
from werkzeug.datastructures import MultiDict

from haven.api.encoding import encode
from haven.billing.models import Invoice, InvoiceLine
from haven.billing.routes import INVOICES
from haven.billing.schemas import InvoiceRow
from haven.db.session import tenant_session
from tests.support.builders import a_lease, an_agency, an_invoice

ROUNDS = 60


def by_columns(session: Session) -> bytes:
    return encode(INVOICES.listing.page(session.connection(), INVOICES.listing.parse(MultiDict())).document())


def by_objects(session: Session) -> bytes:
    session.expunge_all()
    found = session.execute(select(Invoice).order_by(Invoice.id.desc()).limit(50)).scalars().all()
    ids = [invoice.id for invoice in found]
    lines: dict[object, list[InvoiceLine]] = {}
    for line in session.execute(select(InvoiceLine).where(InvoiceLine.invoice_id.in_(ids))).scalars():
        lines.setdefault(line.invoice_id, []).append(line)
    for invoice in found:
        invoice.lines = lines[invoice.id]  # type: ignore[attr-defined]
    return encode({"data": InvoiceRow(many=True).dump(found)})


def timed(act: Callable[[Session], bytes], session: Session) -> float:
    began = time.perf_counter()
    act(session)
    return time.perf_counter() - began


@pytest.mark.long
def test_a_page_by_columns_is_faster_than_one_by_objects(engine, record_property):
    agency_id = an_agency(engine)
    lease_id = a_lease(engine, agency_id)
    for _ in range(50):
        an_invoice(engine, agency_id, lease_id)
    with tenant_session(engine, agency_id) as session:
        for act in (by_columns, by_objects):
            act(session)
        gc.disable()
        try:
            pairs = [(timed(by_columns, session), timed(by_objects, session)) for _ in range(ROUNDS)]
        finally:
            gc.enable()
    columns, objects = (statistics.median(side) * 1000 for side in zip(*pairs, strict=True))
    ratio = objects / columns
    record_property("ratio", ratio)
    print(  # noqa: T201
        f"\na page of 50 invoices: {columns:.2f} ms by columns, {objects:.2f} ms by objects: {ratio:.1f} times"
    )
    assert ratio > 1
