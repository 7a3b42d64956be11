"""Rows done as a set come out as the same rows done one by one through the single endpoints, in the same order."""

from __future__ import annotations

import re
import uuid

import pytest
from sqlalchemy import text

from extensions.database import count_statements
from haven.db.session import tenant_session
from tests.api.conftest import let_a_flat

NOBODY = "0198b4f0-7c1e-7b3a-9d2e-5f6a7b8c9d0e"
TABLES = {
    "property": "name, code, kind, location, owner_id IS NULL, status, version",
    "unit": "label, rent_amount, deposit_amount, status, payment_reference, version",
    "tenant": "full_name, phone, email, notes, status, opt_outs, language, version",
    "lease": "start_date, end_date, rent_amount, deposit_amount, billing_day, grace_days, late_fee_kind, late_fee_amount,"
    " status, version",
    "audit_entry WHERE entity IN ('property', 'unit', 'tenant', 'lease')": "action, entity,"
    " changes - 'property_id' - 'unit_id' - 'tenant_id' - 'owner_id' - 'activated_at'",
}


class Both:
    """Two agencies that are alike: in one each row is sent alone, in the other all together."""

    def __init__(self, caller_of, engine):
        self.alone, self.together = caller_of(), caller_of()
        self._engine = engine
        self.names: dict[str, tuple[str, str]] = {}

    def make(self, key, path, **row):
        made = [
            by.made(path, **self._own(row, place)) for place, by in enumerate((self.alone, self.together))
        ]
        self.names[key] = tuple(one["id"] for one in made)

    def let(self, name, **lease):
        flats = [let_a_flat(by, **lease) for by in (self.alone, self.together)]
        for part in ("unit", "tenant", "lease", "property"):
            self.names[f"{name}.{part}"] = tuple(getattr(flat, part)["id"] for flat in flats)

    def create(self, resource, rows):
        return self._compare(resource, rows, "POST", lambda row: (f"/{resource}", row, {}))

    def update(self, resource, rows):
        return self._compare(resource, rows, "PATCH", self._single(resource))

    def delete(self, resource, rows):
        return self._compare(resource, rows, "DELETE", self._single(resource))

    def tables(self):
        found = []
        for by in (self.alone, self.together):
            with tenant_session(self._engine, by.agency_id) as session:
                rows = {
                    table: sorted(repr(row) for row in session.execute(text(_selected(table, what))))
                    for table, what in TABLES.items()
                }
            # Codes that flats and references are given by chance.
            found.append(re.sub(r"U[0-9A-F]{8}\w*", "U…", repr(rows)))
        return found

    def _single(self, resource):
        def one(row):
            rest = {name: value for name, value in row.items() if name not in ("id", "version")}
            headers = {"If_Match": f'"{row["version"]}"'} if "version" in row else {}
            return f"/{resource}/{row['id']}", rest or None, headers

        return one

    def _compare(self, resource, rows, method, single):
        words = []
        for row in rows:
            path, body, headers = single(self._own(row, 0))
            answer = self.alone(method, path, body, **headers)
            words.append(None if answer.status_code < 300 else _words(answer.get_json()))
        whole = [self._own(row, 1) for row in rows]
        dry = self.together(method, f"/{resource}/bulk?mode=partial&dry_run=true", whole).get_json()
        report = self.together(method, f"/{resource}/bulk?mode=partial", whole).get_json()
        assert dry["errors"] == report["errors"]
        refused = {one["row"]: one["detail"] for one in report["errors"]}
        told = [refused.get(number) for number in range(1, len(rows) + 1)]
        ids = dict(self.names.values())
        expected = [_translated(word, ids) for word in words]
        assert told == expected
        return expected

    def _own(self, row, place):
        return {
            name: self.names[value[1:]][place] if isinstance(value, str) and value.startswith("@") else value
            for name, value in row.items()
        }


def _selected(table, what):
    return f"SELECT {what} FROM {table}"


def _words(problem):
    return problem["errors"][0]["detail"] if problem.get("errors") else problem["detail"]


def _translated(words, ids):
    for one, two in ids.items():
        words = words and words.replace(one, two)
    return words


@pytest.fixture
def both(caller_of, engine):
    return Both(caller_of, engine)


def check(both, expected, words):
    """``words``: of each row what its refusal says, or None; and all tables are alike."""
    assert len(expected) == len(words)
    for said, word in zip(expected, words, strict=True):
        assert (said is None) == (word is None), expected
        assert word is None or word in said
    alone, together = both.tables()
    assert alone == together


def test_units(both):
    both.make("home", "/properties", name="Umoja", code="UH", kind="HOUSE")
    both.make("used", "/units", property_id="@home", label="Z9", rent_amount="1.00", payment_reference="UHA7")
    row = {"property_id": "@home", "rent_amount": "10.00"}
    made = both.create(
        "units",
        [
            row | {"label": "A1"},
            row | {"label": "a-1", "payment_reference": "uha2"},
            row | {"label": "A2", "payment_reference": "UHA2"},
            row | {"label": "A1", "payment_reference": "OTHER"},
            row | {"label": "A3", "property_id": NOBODY, "payment_reference": "FREE"},
            row | {"label": "Z9", "payment_reference": "UHA7"},
            row | {"label": "Z9", "payment_reference": "FREE2"},
            row | {"label": "A4", "status": "OCCUPIED"},
            row | {"label": "A5", "status": "RESERVED", "deposit_amount": "7.00", "bedrooms": 2},
        ],
    )
    check(
        both,
        made,
        [
            None,
            None,
            "payment_reference",
            "label",
            "no property",
            "already has",
            "label",
            "becomes OCCUPIED",
            None,
        ],
    )


def test_changes_of_units(both):
    both.make("home", "/properties", name="Umoja", code="UH", kind="HOUSE")
    for label in "ABCD":
        both.make(
            label, "/units", property_id="@home", label=label, rent_amount="1.00", payment_reference=label
        )
    both.let("flat")
    changed = both.update(
        "units",
        [
            {"id": "@A", "label": "B"},
            {"id": "@A", "label": "E"},
            {"id": "@B", "label": "A"},
            {"id": "@A", "label": "B", "version": 2},
            {"id": "@A", "rent_amount": "5.00", "version": 2},
            {"id": "@C", "rent_amount": "1.00"},
            {"id": "@D", "payment_reference": "dd", "rent_amount": "9.00"},
            {"id": "@C", "payment_reference": "D"},
            {"id": "@flat.unit", "status": "VACANT"},
            {"id": "@C", "status": "OCCUPIED"},
            {"id": NOBODY, "label": "x"},
            {"id": "@B", "property_id": NOBODY},
        ],
    )
    check(
        both,
        changed,
        ["label", None, None, None, "at version 3, not 2", None, None, None, "active lease", "becomes OCCUPIED",
         "There is no unit", "no property"],
    )  # fmt: skip


def test_changes_and_removals_of_tenants_and_properties(both):
    both.let("flat")
    for name in "ABC":
        both.make(name, "/tenants", full_name=name, phone="0712345678")
        both.make(f"p{name}", "/properties", name=name, code=name, kind="HOUSE")
    changed = both.update(
        "tenants",
        [
            {"id": "@A", "phone": None, "notes": "two\nlines\t\\ and ; more"},
            {"id": "@B", "opt_outs": ["SMS"], "language": "sw"},
            {"id": "@B", "opt_outs": []},
            {"id": "@C", "full_name": "C"},
            {"id": "@C", "version": 9, "full_name": "x"},
        ],
    )
    check(both, changed, [None, None, None, None, "at version 1, not 9"])
    codes = both.update(
        "properties", [{"id": "@pA", "code": "B"}, {"id": "@pB", "code": "X"}, {"id": "@pA", "code": "B"}]
    )
    check(both, codes, ["code", None, None])
    gone = both.delete(
        "tenants",
        [
            {"id": "@A"},
            {"id": "@flat.tenant"},
            {"id": "@A"},
            {"id": "@B", "version": 1},
            {"id": "@C"},
            {"id": NOBODY},
        ],
    )
    check(both, gone, [None, "still used", "There is no tenant", "at version 3", None, "There is no tenant"])
    check(both, both.delete("properties", [{"id": "@flat.property"}, {"id": "@pC"}]), ["still used", None])
    check(both, both.delete("units", [{"id": "@flat.unit"}]), ["still used"])


def test_leases(both):
    both.let("old", start_date="2026-01-01", end_date="2026-06-30")
    both.make("tenant", "/tenants", full_name="Achieng")
    draft = {"unit_id": "@old.unit", "tenant_id": "@tenant", "start_date": "2026-07-01"}
    made = both.create(
        "leases",
        [
            draft,
            draft | {"rent_amount": "5.00", "late_fee": {"kind": "PERCENT", "amount": "101.00"}},
            draft | {"late_fee": {"kind": "FLAT", "amount": "500.00"}, "billing_day": 28},
            draft | {"end_date": "2026-01-01"},
            draft | {"unit_id": NOBODY},
            draft | {"tenant_id": NOBODY},
            draft | {"rent_amount": "7.00", "deposit_amount": "8.00", "end_date": "2026-12-31"},
        ],
    )
    check(both, made, [None, "at most 100", None, "before start_date", "no unit", "no tenant", None])
    both.make("next", "/leases", **draft)
    for by, lease_id in zip((both.alone, both.together), both.names["next"], strict=True):
        assert by.post(f"/leases/{lease_id}/activate").status_code == 200
    both.make("draft", "/leases", **draft)
    changed = both.update(
        "leases",
        [
            {"id": "@old.lease", "end_date": "2026-08-01"},
            {"id": "@old.lease", "end_date": "2026-05-31", "grace_days": 9},
            {"id": "@old.lease", "start_date": "2026-02-01"},
            {"id": "@draft", "late_fee": {"kind": "FLAT", "amount": "500.00"}},
            {"id": "@draft", "late_fee": {"kind": "PERCENT", "amount": "5.00"}, "rent_amount": "1.00"},
            {"id": "@draft", "end_date": "2026-01-01"},
            {"id": "@draft", "tenant_id": NOBODY},
        ],
    )
    check(
        both,
        changed,
        [
            "another active lease",
            None,
            "start_date cannot change",
            None,
            None,
            "before start_date",
            "no tenant",
        ],
    )
    check(both, both.delete("leases", [{"id": "@old.lease"}, {"id": "@draft"}]), ["only a draft", None])


def test_a_good_batch_is_a_handful_of_statements(by, app):
    """Whatever the number of rows; one that is refused costs some more, and not as many as there are rows."""
    home = by.made("/properties", name="Umoja", code="UH", kind="HOUSE")["id"]
    with app.app_context():
        web_engine = app.extensions["sqlalchemy"].engine

    def costs(rows):
        with count_statements(web_engine) as counted:
            answer = by.post("/units/bulk?mode=partial", rows)
        assert answer.status_code == 200, answer.get_json()
        return counted.count

    def units(prefix, count):
        return [{"property_id": home, "label": f"{prefix}{n}", "rent_amount": "1.00"} for n in range(count)]

    few, many = costs(units("A", 3)), costs(units("B", 300))
    assert many <= few + 2
    assert (
        costs([*units("C", 300), {"property_id": str(uuid.uuid4()), "label": "x", "rent_amount": "1.00"}])
        < 200
    )
