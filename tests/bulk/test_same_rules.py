"""A row is refused in bulk where it is refused alone, and is the same row where it is taken."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from haven.bulk.checking import Rules
from haven.bulk.resources import BULK
from haven.payments.phones import InvalidPhone, normalise_phone

TEXTS = st.one_of(
    st.text(max_size=12),
    st.sampled_from(
        "0712345678|+254712345678|254110345678|0100000000|0199999999|0700 000 000|a@b.co|A@B.CO|a..b@c.co|a@b|a@-b.co|"
        "PROSPECT|1|0|0.00|0.01|25000|1.234|999999999999.99|1234567890123|-0.50|0001-01-01|2026-02-30|20261101|2026-W45-1|"
        "2026-11-01T08:00:00Z|2026-11-01T08:00:00+03:00|2026-11-01T08:00:00|2026-11-01T24:00:00Z|2026-11-01T08:00Z|"
        "0198b4f0-7c1e-7b3a-9d2e-5f6a7b8c9d0e|0198B4F0-7C1E-7B3A-9D2E-5F6A7B8C9D0E|0198b4f07c1e7b3a9d2e5f6a7b8c9d0e|"
        "prospect|CASH|MPESA|APARTMENT|25000.00|1e5|NaN|-1|2026-11-01|2026-13-01|x\x00|x\ny|  x  |".split("|")
    ),
    st.integers(190, 4010).map(lambda size: "x" * size),
    st.emails(),
)
VALUES = st.one_of(TEXTS, TEXTS, st.none(), st.integers(-5, 2**40), st.booleans(), st.just([]), st.just({}))


@pytest.mark.parametrize("partial", [False, True])
@pytest.mark.parametrize("name", BULK)
def test_the_short_way_says_what_the_schema_says(name, partial):
    bulk = BULK[name]
    schema = bulk.patch if partial else bulk.body
    rules, loader = Rules(schema, partial=partial), schema(partial=partial)
    fields = [*loader.fields, "unknown"]

    @settings(max_examples=300)
    @given(st.dictionaries(st.sampled_from(fields), VALUES, max_size=6))
    def agree(values):
        loaded, wrong = rules.load(dict(values))
        refused = loader.validate(dict(values))
        assert bool(wrong) == bool(refused), refused
        if not refused:
            assert loaded == loader.load(values)

    agree()


@given(st.from_regex(r"\A(\+254|254|0)?[17]\d{8}\Z"))
@settings(max_examples=2000)
def test_a_phone_is_judged_by_its_first_digits_as_by_all(text):
    try:
        expected = normalise_phone(text)
    except InvalidPhone:
        expected = None
    loaded, wrong = Rules(BULK["tenants"].body).load({"full_name": "x", "phone": text})
    assert loaded.get("phone") == expected
    assert bool(wrong) == (expected is None)


@pytest.mark.parametrize(
    "field, value",
    [
        ("full_name", ""), ("full_name", "x" * 201), ("full_name", "a\nb"), ("phone", "12"), ("email", "x"),
        ("status", "GONE"), ("national_id", "1" * 31), ("notes", "x" * 4001), ("unknown", 1), ("full_name", None),
    ],
)  # fmt: skip
def test_single_and_bulk_refuse_the_same_with_the_same_words(by, field, value):
    row = {"full_name": "Achieng"} | {field: value}
    single = by.post("/tenants", row).get_json()["errors"]
    bulk = by.post("/tenants/bulk", [{"full_name": "Otieno"}, row]).get_json()["errors"]
    assert [one["detail"] for one in single] == [one["detail"] for one in bulk]
    assert [f"/2{one['pointer']}" for one in single] == [one["pointer"] for one in bulk]


def test_what_a_service_refuses_is_refused_in_bulk(by):
    kept = by.made("/properties", name="Umoja", code="UH1", kind="HOUSE")
    row = {"property_id": kept["id"], "label": "A1", "rent_amount": "1.00", "status": "OCCUPIED"}
    single = by.post("/units", row).get_json()["errors"]
    bulk = by.post("/units/bulk", [row]).get_json()["errors"]
    assert single[0]["detail"] == bulk[0]["detail"]
    assert bulk[0]["column"] == "status"


def test_a_row_that_leaves_fields_out_has_the_defaults_of_the_single_one(by):
    single = by.made("/properties", name="Umoja", code="U1", kind="HOUSE")
    [copied] = by.post("/properties/bulk", [{"name": "Umoja", "code": "U2", "kind": "HOUSE"}]).get_json()[
        "ids"
    ]
    its_own = {"id", "code", "created_at", "updated_at"}
    alone, in_bulk = single, by.get(f"/properties/{copied}").get_json()
    assert {name: value for name, value in alone.items() if name not in its_own} == {
        name: value for name, value in in_bulk.items() if name not in its_own
    }
