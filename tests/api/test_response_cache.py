"""Lists from the cache: the same answer, sooner; never an old one, never another's."""

from __future__ import annotations

import pytest

LISTS = ("properties", "units", "owners", "tenants", "leases", "invoices", "payments")


@pytest.mark.req("C5")
@pytest.mark.parametrize("name", LISTS)
def test_the_second_answer_is_the_first_one_stored(admin, name):
    first, second = admin.get(f"/{name}"), admin.get(f"/{name}")
    assert (first.headers["X-Cache"], second.headers["X-Cache"]) == ("MISS", "HIT")
    assert second.get_data() == first.get_data()
