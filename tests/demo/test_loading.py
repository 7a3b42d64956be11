"""Loading: whole or not at all, once, beside others, and with the schema as it was."""

from __future__ import annotations

import datetime as dt
import uuid
from collections.abc import Callable
from typing import Any

import pytest

from haven.demo.service import DemoRefused, load, load_demo
from haven.demo.sizes import SIZES, Size
from tests.demo.loaded import EXACT

Ask = Callable[..., list[tuple[Any, ...]]]

CATALOGUE = """
    SELECT 'constraint', conrelid::regclass::text, conname::text, pg_get_constraintdef(oid), convalidated::text
      FROM pg_constraint WHERE connamespace = 'public'::regnamespace
    UNION ALL SELECT 'index', indrelid::regclass::text, indexrelid::regclass::text, pg_get_indexdef(indexrelid),
                     (indisvalid AND indisready)::text || indisreplident || indisclustered
      FROM pg_index JOIN pg_class ON pg_class.oid = indrelid WHERE relnamespace = 'public'::regnamespace
    UNION ALL SELECT 'trigger', tgrelid::regclass::text, tgname::text, pg_get_triggerdef(oid), tgenabled::text
      FROM pg_trigger WHERE NOT tgisinternal
    UNION ALL SELECT 'key trigger', tgrelid::regclass::text, conname, tgfoid::regproc::text, tgenabled::text
      FROM pg_trigger JOIN pg_constraint ON pg_constraint.oid = tgconstraint WHERE tgisinternal
    UNION ALL SELECT 'table', oid::regclass::text, relkind::text, coalesce(relacl::text, '') || coalesce(reloptions::text, ''),
                     relrowsecurity::text || relforcerowsecurity || relpersistence::text
      FROM pg_class WHERE relnamespace = 'public'::regnamespace
    UNION ALL SELECT 'policy', polrelid::regclass::text, polname::text, pg_get_expr(polqual, polrelid),
                     pg_get_expr(polwithcheck, polrelid) FROM pg_policy
    UNION ALL SELECT 'column', attrelid::regclass::text, attname::text, format_type(atttypid, atttypmod),
                     attnotnull::text || attgenerated::text || attnum
      FROM pg_attribute JOIN pg_class ON pg_class.oid = attrelid
     WHERE relnamespace = 'public'::regnamespace AND relkind = 'r' AND attnum > 0
    ORDER BY 1, 2, 3, 4, 5
"""
COUNTS = """
    SELECT (SELECT count(*) FROM agency), (SELECT count(*) FROM user_account), (SELECT count(*) FROM unit),
           (SELECT count(*) FROM invoice), (SELECT count(*) FROM ledger_entry), (SELECT count(*) FROM audit_entry)
"""
BOTH_WAYS = pytest.mark.parametrize("size", [SIZES["small"], EXACT], ids=["small", "indexes aside"])


class Interrupted(BaseException):
    """Ctrl-C, as it were."""


@BOTH_WAYS
def test_the_schema_is_the_same_afterwards(fresh_database: Callable[[], str], rows: Ask, size: Size):
    url = fresh_database()
    before = rows(url, CATALOGUE)
    load(url, size)
    assert rows(url, CATALOGUE) == before
    assert len([row for row in before if row[0] == "key trigger"]) > 100


@BOTH_WAYS
@pytest.mark.parametrize("step", ["invoice", "ledger_entry"])
def test_an_interrupted_load_leaves_nothing(
    fresh_database: Callable[[], str], rows: Ask, size: Size, step: str
):
    url = fresh_database()
    before, counts = rows(url, CATALOGUE), rows(url, COUNTS)

    def interrupt(at: str, count: int, seconds: float) -> None:
        if at == step:
            raise Interrupted

    with pytest.raises(Interrupted):
        load(url, size, progress=interrupt)
    assert rows(url, CATALOGUE) == before
    assert rows(url, COUNTS) == counts


def test_a_second_load_is_refused_and_changes_nothing(fresh_database: Callable[[], str], rows: Ask):
    url = fresh_database()
    load_demo(url, "small")
    counts = rows(url, COUNTS)
    with pytest.raises(DemoRefused, match=r"has the demo already .*empty database"):
        load_demo(url, "small", seed=7)
    assert rows(url, COUNTS) == counts


def test_a_database_without_the_schema_is_refused(superuser_url: str):
    with pytest.raises(DemoRefused, match="haven db upgrade"):
        load_demo(superuser_url, "small")


@BOTH_WAYS
def test_another_agency_is_left_alone(fresh_database: Callable[[], str], rows: Ask, size: Size):
    url = fresh_database()
    agency = _another_agency(url, rows)
    mine = "SELECT to_jsonb(a), to_jsonb(p), (SELECT count(*) FROM audit_entry WHERE agency_id = a.id)"
    mine += f" FROM agency a JOIN property p ON p.agency_id = a.id WHERE a.id = '{agency}'"
    before = rows(url, mine)
    load(url, size)
    assert rows(url, mine) == before
    assert len(before) == 1


def test_a_seed_says_who_lives_where_and_what_they_paid(fresh_database: Callable[[], str], rows: Ask):
    now = dt.datetime(2026, 11, 24, 9, 0, tzinfo=dt.UTC)
    query = """SELECT (SELECT array_agg(full_name ORDER BY id) FROM tenant), (SELECT sum(total) FROM invoice),
                      (SELECT array_agg(reference ORDER BY id) FROM payment), (SELECT sum(allocated) FROM payment)"""
    seen = []
    for seed in (1, 1, 2):
        url = fresh_database()
        load_demo(url, "small", seed=seed, now=now)
        seen.append(rows(url, query))
    assert seen[0] == seen[1] != seen[2]


def test_progress_tells_of_each_table_and_its_rows(fresh_database: Callable[[], str], rows: Ask):
    url = fresh_database()
    told: dict[str, int] = {}
    load_demo(url, "small", progress=lambda step, count, seconds: told.update({step: count}))
    ((invoices, entries),) = rows(
        url, "SELECT (SELECT count(*) FROM invoice), (SELECT count(*) FROM ledger_entry)"
    )
    assert (told["invoice"], told["ledger_entry"]) == (invoices, entries)
    assert list(told)[-1] == "vacuum analyze"


def test_indexes_are_kept_where_the_tables_are_not_empty(fresh_database: Callable[[], str], rows: Ask):
    url = fresh_database()
    agency = _another_agency(url, rows)
    rows(
        url,
        "INSERT INTO ledger_transaction (agency_id, id, at, kind, description)"
        f" SELECT '{agency}', uuidv7(), now(), 'PAYOUT', '' FROM generate_series(1, 500)",
    )
    told: list[str] = []
    load(url, EXACT, progress=lambda step, count, seconds: told.append(step))
    assert not [step for step in told if step.startswith(("index", "key", "foreign key"))]


def _another_agency(url: str, rows: Ask) -> uuid.UUID:
    """An agency with a property and an audit trail."""
    agency = uuid.uuid4()
    rows(
        url,
        f"SELECT set_config('haven.agency_id', '{agency}', true);"
        f"INSERT INTO agency (id, name, slug) VALUES ('{agency}', 'Ours', 'ours');"
        "INSERT INTO property (agency_id, id, name, code, kind)"
        f" VALUES ('{agency}', '{agency}', 'Ours', 'O-1', 'HOUSE')",
    )
    return agency
