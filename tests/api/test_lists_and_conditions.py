"""Lists: sorts, cursors, filters, search. Conditions: ETags, If-Match, merge patch."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest

from haven.portfolio.routes import OWNERS, UNITS
from tests.api.conftest import let_a_flat


@pytest.fixture
def block(admin):
    """A property with seven units, some of equal rent."""
    prop = admin.made("/properties", name="Kileleshwa Gardens", code="KG", kind="APARTMENT")
    for number, rent in enumerate(
        ("30000.00", "10000.00", "30000.00", "20000.00", "10000.00", "30000.00", "5000.50")
    ):
        admin.made(
            "/units", property_id=prop["id"], label=f"B{number}", rent_amount=rent, bedrooms=number % 3
        )
    return prop


@pytest.mark.parametrize("sort", UNITS.listing.sort_names)
def test_pages_show_every_row_once_in_order(admin, block, sort):
    seen: list[dict[str, Any]] = []
    path: str | None = f"/units?sort={sort}&limit=2"
    while path is not None:
        answer = admin.get(path)
        page = answer.get_json()
        seen += page["data"]
        cursor = page["pagination"]["next_cursor"]
        assert page["pagination"]["has_more"] == (cursor is not None) == ("Link" in answer.headers)
        path = f"/units?sort={sort}&limit=2&cursor={cursor}" if cursor else None
        assert cursor is None or cursor in answer.headers["Link"]
    assert len({unit["id"] for unit in seen}) == len(seen) == 7
    name = sort.removeprefix("-")
    values = [float(unit[name]) if name == "rent_amount" else unit[name] for unit in seen]
    assert values == sorted(values, reverse=sort.startswith("-"))


@pytest.mark.parametrize("sort", ["end_date", "-end_date"])
def test_rows_without_a_value_are_in_the_pages_too(admin, sort):
    for end in ("2027-01-31", None, "2027-02-28", None):
        let_a_flat(admin, **({} if end is None else {"end_date": end}))
    seen: list[str | None] = []
    cursor: str | None = ""
    while cursor is not None:
        page = admin.get(f"/leases?sort={sort}&limit=1{cursor and '&cursor=' + cursor}").get_json()
        seen += [lease["end_date"] for lease in page["data"]]
        cursor = page["pagination"]["next_cursor"]
    known = ["2027-01-31", "2027-02-28"]
    assert seen == [*(known if sort == "end_date" else reversed(known)), None, None]


def test_a_cursor_of_another_sort_is_refused(admin, block):
    cursor = admin.get("/units?limit=1&sort=label").get_json()["pagination"]["next_cursor"]
    answer = admin.get(f"/units?limit=1&sort=-label&cursor={cursor}")
    assert answer.status_code == 422
    assert answer.get_json()["errors"][0]["pointer"] == "cursor"


@pytest.mark.parametrize(
    "query, labels",
    [
        ("rent_amount=30000.00", "B0 B2 B5"),
        ("rent_amount__gte=20000&rent_amount__lte=29999.99", "B3"),
        ("label__in=B1,B4,B9", "B1 B4"),
        ("bedrooms__lte=0", "B0 B3 B6"),
        ("status=OCCUPIED", ""),
        ("q=kgb3", "B3"),
        ("q=b", "B0 B1 B2 B3 B4 B5 B6"),
        ("q=%25", ""),
        ("q=_", ""),
        ("created_at__gte=2999-01-01T00:00:00Z", ""),
        ("created_at__lte=2999-01-01T00:00:00Z&bedrooms=2", "B2 B5"),
    ],
)
def test_filters_and_search(admin, block, query, labels):
    answer = admin.get(f"/units?sort=label&include_total=true&{query}").get_json()
    assert [unit["label"] for unit in answer["data"]] == labels.split()
    assert answer["pagination"]["total"] == len(labels.split())


def test_people_are_found_by_part_of_name_and_phone(admin):
    admin.made("/tenants", full_name="Wanjirũ Ng'ang'a", phone="0722000111")
    admin.made("/tenants", full_name="Otieno Odhiambo", phone="0733999888")
    for words, names in (
        ("JIRŨ", ["Wanjirũ Ng'ang'a"]),
        ("33999", ["Otieno Odhiambo"]),
        ("otieno odh", ["Otieno Odhiambo"]),
    ):
        found = admin.get(f"/tenants?q={words}").get_json()["data"]
        assert [tenant["full_name"] for tenant in found] == names


@pytest.fixture
def owner(admin):
    return admin.made("/owners", full_name="Achieng", email="achieng@example.test")


def test_a_row_that_has_not_changed_is_not_sent_again(admin, owner):
    path = f"/owners/{owner['id']}"
    tag = admin.get(path).headers["ETag"]
    same = admin.get(path, If_None_Match=tag)
    assert (same.status_code, same.get_data(), same.headers["ETag"]) == (304, b"", tag)
    admin.patch(path, {"full_name": "Achieng Otieno"})
    assert admin.get(path, If_None_Match=tag).status_code == 200


def test_who_has_read_an_older_version_cannot_overwrite_a_newer_one(admin, owner):
    path = f"/owners/{owner['id']}"
    tag = admin.get(path).headers["ETag"]
    assert admin.patch(path, {"full_name": "First"}, If_Match=tag).status_code == 200
    second = admin.patch(path, {"full_name": "Second"}, If_Match=tag)
    assert second.status_code == 412
    assert admin.delete(path, If_Match=tag).status_code == 412
    assert admin.get(path).get_json()["full_name"] == "First"
    assert admin.delete(path, If_Match="*").status_code == 204
    assert admin.get(path).status_code == 404


def test_a_merge_patch_changes_what_it_names_and_null_clears(admin, owner):
    path = f"/owners/{owner['id']}"
    answer = admin.patch(path, {"phone": "0712 345 678"}).get_json()
    assert (answer["phone"], answer["email"], answer["version"]) == (
        "+254712345678",
        "achieng@example.test",
        2,
    )
    assert admin.patch(path, {"email": None}).get_json()["email"] is None


def test_the_tag_of_a_property_changes_with_its_units(admin, block):
    path = f"/properties/{block['id']}"
    tag = admin.get(path).headers["ETag"]
    admin.made("/units", property_id=block["id"], label="B9", rent_amount="1.00")
    assert admin.get(path, If_None_Match=tag).status_code == 200
    assert admin.patch(path, {"county": "Nairobi"}, If_Match=tag).status_code == 200


def test_the_columns_of_a_list_are_the_fields_of_its_schema():
    for resource in (OWNERS, UNITS):
        assert set(resource.listing.columns) == set(resource.row().fields)


def test_two_active_leases_of_a_unit_are_refused_with_the_reason(admin):
    flat = let_a_flat(admin)
    draft = admin.made(
        "/leases", unit_id=flat.unit["id"], tenant_id=flat.tenant["id"], start_date="2026-12-01"
    )
    answer = admin.post(f"/leases/{draft['id']}/activate")
    assert answer.status_code == 409
    assert "another active lease" in answer.get_json()["detail"]


def test_a_unit_follows_its_lease(admin):
    flat = let_a_flat(admin)
    path = f"/units/{flat.unit['id']}"
    assert admin.get(path).get_json()["status"] == "OCCUPIED"
    body = {"date": "2026-11-30", "reason": "Moved to Kisumu"}
    assert admin.post(f"/leases/{flat.lease['id']}/terminate", body).get_json()["status"] == "TERMINATED"
    assert admin.get(path).get_json()["status"] == "VACANT"
    assert admin.get(f"/tenants/{flat.tenant['id']}").get_json()["status"] == "FORMER"


def test_what_is_in_use_is_not_removed_and_the_answer_says_by_what(admin, block):
    answer = admin.delete(f"/properties/{block['id']}")
    assert answer.status_code == 409
    assert "unit" in answer.get_json()["detail"]


def test_a_change_is_in_the_audit_trail(admin, owner):
    admin.patch(f"/owners/{owner['id']}", {"full_name": "Achieng Otieno"}, X_Request_ID="request-0042")
    entry = admin.get(f"/audit?entity=owner&entity_id={owner['id']}").get_json()["data"][0]
    assert entry["changes"]["full_name"] == ["Achieng", "Achieng Otieno"]
    assert entry["request_id"] == "request-0042"
    assert entry["actor"].startswith("key:")


def test_the_audit_trail_writes_money_as_the_api_does(admin, block):
    unit = admin.get("/units?label=B6").get_json()["data"][0]
    admin.patch(f"/units/{unit['id']}", {"rent_amount": "6000.00", "bedrooms": 4})
    entry = admin.get(f"/audit?entity=unit&entity_id={unit['id']}").get_json()["data"][0]
    assert entry["changes"] == {"rent_amount": ["5000.50", "6000.00"], "bedrooms": [0, 4]}


def test_the_audit_trail_is_silent_about_the_use_of_a_key(admin, owner):
    entities = {row["entity"] for row in admin.get("/audit?action=UPDATE").get_json()["data"]}
    assert "api_key" not in entities


def test_every_answer_has_its_headers(admin, owner):
    for answer in (admin.get("/owners"), dataclasses.replace(admin, token="x").get("/owners")):
        assert answer.headers["X-Request-ID"]
        assert answer.headers["X-Content-Type-Options"] == "nosniff"
        assert answer.headers["X-RateLimit-Limit"]
        assert answer.headers["RateLimit-Policy"]


@pytest.mark.parametrize(
    "query, name",
    [
        ("payments?status=COMPLETE", "status"),
        ("units?status__in=VACANT,LET", "status__in"),
        ("properties?kind=flat", "kind"),
    ],
)
def test_a_word_that_no_row_can_have_is_refused_with_those_it_can(admin, query, name):
    answer = admin.get(f"/{query}")
    (fault,) = answer.get_json()["errors"]
    assert (answer.status_code, fault["pointer"]) == (422, name)
    assert fault["detail"].startswith("must be one of: ")


def test_the_description_of_a_list_says_which_words_there_are(client):
    document = client.get("/api/v1/openapi.json").get_json()
    described = {
        one["name"]: one["schema"]
        for one in document["paths"]["/api/v1/tenants"]["get"]["parameters"]
        if "name" in one
    }
    assert described["status"]["enum"] == ["ACTIVE", "FORMER", "PROSPECT"]
    assert "enum" not in described["status__in"]
