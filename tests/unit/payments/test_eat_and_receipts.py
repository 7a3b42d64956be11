"""Nairobi time and what a receipt says of its day."""

from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from haven.payments.mpesa.eat import moment_of, stamp
from haven.payments.mpesa.receipts import is_odd_receipt, receipt_prefix


def test_a_stamp_is_nairobi_time_whatever_the_zone():
    moment = datetime(2026, 11, 24, 22, 30, 5, tzinfo=UTC)
    assert stamp(moment) == "20261125013005"
    assert stamp(moment.astimezone(timezone(timedelta(hours=-5)))) == "20261125013005"


def test_a_moment_without_a_zone_is_refused():
    with pytest.raises(ValueError, match="time zone"):
        stamp(datetime(2026, 11, 24))  # noqa: DTZ001 (that is the point)


@pytest.mark.parametrize("value", [20191219102115, "20191219102115", " 20191219102115 "])
def test_a_stamp_is_read_as_a_number_or_a_text(value):
    assert moment_of(value) == datetime(2019, 12, 19, 7, 21, 15, tzinfo=UTC)


@pytest.mark.parametrize(
    "value",
    [None, "", "2019", 20191319102115, "20190230000000", True, 1.5, "00000000000000", "00010101000000", []],
)
def test_what_is_no_stamp_is_none(value):
    assert moment_of(value) is None


@given(st.datetimes(datetime(2000, 1, 1), datetime(2100, 1, 1), timezones=st.just(UTC)))  # noqa: DTZ001
def test_a_stamp_read_again_is_the_same_second(moment):
    assert moment_of(stamp(moment)) == moment.replace(microsecond=0)


@pytest.mark.parametrize(
    "receipt, day",
    [
        ("NLJ7RT61SV", "2019-12-19"),
        ("QJD4T7ZOT0", "2022-10-13"),
        ("MAO0DO9BYO", "2018-01-24"),
        ("PAG0OJ3CDO", "2021-01-16"),
    ],
)
def test_published_receipts_bear_their_day(receipt, day):
    paid_at = datetime.fromisoformat(f"{day}T09:00:00+00:00")
    assert receipt_prefix(paid_at) == receipt[:3]
    assert not is_odd_receipt(receipt, paid_at)


def test_a_receipt_of_another_day_is_odd():
    assert is_odd_receipt("NLJ7RT61SV", datetime(2026, 11, 24, tzinfo=UTC))
    assert is_odd_receipt("nlj", None)
    assert not is_odd_receipt("NLJ7RT61SV", None)
