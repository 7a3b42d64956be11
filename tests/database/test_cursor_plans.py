"""A page after a cursor begins in the index where the cursor points, whatever the list is sorted by."""

from __future__ import annotations

import pytest
from sqlalchemy import event, text
from werkzeug.datastructures import MultiDict

from haven.api.cursors import Cursor
from haven.db.base import new_id
from haven.db.session import tenant_session
from tests.support.builders import an_agency
from tests.volume.test_plans import LISTS

PLACES = {
    "created_at": None, "full_name": "Wanjiku", "name": "Umoja", "code": "U1", "label": "A1", "rent_amount": "25000.00",
    "start_date": "2026-01-01", "end_date": "2026-12-31", "due_at": "2026-06-01", "period_start": "2026-06-01",
    "total": "25000.00", "amount": "25000.00", "paid_at": "2026-06-01T00:00:00Z", "issued_at": "2026-06-01T00:00:00Z",
    "email": "a@b.example", "paid_on": "2026-06-01",
    "payment_reference": "UC1A1", "at": "2026-06-01T00:00:00Z",
}  # fmt: skip
SORTS = [(name, sort) for name, listing in LISTS.items() for sort in listing.sort_names]


@pytest.mark.req("D3", "D5")
@pytest.mark.parametrize("name, sort", SORTS, ids=[f"{name} by {sort}" for name, sort in SORTS])
def test_what_is_before_the_cursor_is_not_read(engine, name, sort):
    listing = LISTS[name]
    cursor = Cursor(sort, PLACES[sort.removeprefix("-")], new_id())
    with tenant_session(engine, an_agency(engine)) as session:
        # The tables are empty: only what may be used is the question, not what is cheap.
        for way in ("seqscan", "bitmapscan", "sort"):
            session.execute(text(f"SET LOCAL enable_{way} = off"))
        sent = []

        def note(_connection, _cursor, statement, values, _context, _many):
            sent.append((statement, values))

        event.listen(engine, "before_cursor_execute", note)
        try:
            listing.page(
                session.connection(), listing.parse(MultiDict({"sort": sort, "cursor": cursor.text()}))
            )
        finally:
            event.remove(engine, "before_cursor_execute", note)
        statement, values = sent[0]
        raw = session.connection().connection.cursor()
        raw.execute(f"EXPLAIN (FORMAT JSON) {statement}", values)
        (plan,) = raw.fetchall()[0]
    conditions = [one["Index Cond"] for one in _nodes(plan[0]["Plan"]) if "Index Cond" in one]
    # An index on what is unique needs no id after it.
    places = [str(cursor.id), *([cursor.value] if cursor.value else [])]
    assert any(place in condition for condition in conditions for place in places), conditions


def _nodes(plan):
    yield plan
    for part in plan.get("Plans", ()):
        yield from _nodes(part)
