"""What a part of a month costs."""

import calendar
import datetime as dt
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from haven.billing.proration import Stay, days_in, due_date, month_of, prorated, stay
from haven.errors import Invalid

NOVEMBER = dt.date(2026, 11, 1)
months = st.dates(dt.date(1999, 1, 1), dt.date(2101, 12, 31)).map(lambda day: day.replace(day=1))
rents = st.decimals(min_value=0, max_value=999_999_999, places=2)


@pytest.mark.parametrize(
    "rent, days, cost",
    [
        ("30000.00", 30, "30000.00"),
        ("30000.00", 15, "15000.00"),
        ("25000.00", 1, "833.33"),
        ("0.15", 1, "0.01"),  # half a cent goes up
        ("0.45", 1, "0.02"),
        ("0.14", 1, "0.00"),
    ],
)
def test_days_of_november_cost_their_share_rounded_half_up(rent, days, cost):
    assert prorated(Decimal(rent), NOVEMBER, days) == Decimal(cost)


@given(rents, months)
def test_a_whole_month_costs_the_rent(rent, month):
    assert prorated(rent, month, days_in(month)) == rent


@given(rents, months, st.data())
def test_two_parts_of_a_month_cost_the_rent_to_the_cent(rent, month, data):
    days = data.draw(st.integers(1, days_in(month) - 1))
    parts = prorated(rent, month, days) + prorated(rent, month, days_in(month) - days)
    assert abs(parts - rent) <= Decimal("0.01")


@given(months, st.dates(dt.date(1999, 1, 1), dt.date(2101, 1, 1)), st.integers(0, 4000), st.booleans())
def test_a_stay_is_the_days_of_the_month_that_the_lease_covers(month, start, length, is_open):
    end = None if is_open else start + dt.timedelta(days=length)
    days = [month.replace(day=day) for day in range(1, calendar.monthrange(month.year, month.month)[1] + 1)]
    covered = [day for day in days if start <= day and (end is None or day <= end)]
    found = stay(month, start, end)
    assert found == (Stay(covered[0], covered[-1]) if covered else None)
    assert found is None or found.days == len(covered)


def test_rent_is_due_on_the_billing_day():
    assert due_date(NOVEMBER, 5, NOVEMBER) == dt.date(2026, 11, 5)


def test_rent_is_not_due_before_the_first_day_it_is_for():
    assert due_date(NOVEMBER, 5, dt.date(2026, 11, 20)) == dt.date(2026, 11, 20)


@pytest.mark.parametrize("text", ["2026-13", "2026-1", "26-01", "2026-11-01", "", "٢٠٢٦-11", "0000-01"])
def test_what_is_no_month_is_refused(text):
    with pytest.raises(Invalid):
        month_of(text)


def test_february_of_a_leap_year_has_29_days():
    assert days_in(month_of("2028-02")) == 29
