"""Binary COPY fields arrive as the values they stand for."""

from __future__ import annotations

import datetime as dt
from decimal import Decimal
from io import BytesIO
from random import Random

import psycopg2
import pytest

from haven.demo import binary


@pytest.mark.parametrize(
    "cents",
    [
        0,
        1,
        99,
        100,
        101,
        5_00,
        9_999_99,
        10_000_00,
        10_000_01,
        100_000_000_00,
        123_456_789_012_34,
        -1,
        -45_678_90,
    ],
)
def test_an_amount_arrives_to_the_cent(owner_url: str, cents: int):
    fields = binary.row(1) + binary.numeric(cents)
    assert _arrives(owner_url, "numeric(14,2)", fields) == Decimal(cents) / 100


def test_an_instant_a_text_and_a_day_arrive(owner_url: str):
    at = dt.datetime(1999, 12, 31, 23, 59, 59, 123000, tzinfo=dt.UTC)
    assert (
        _arrives(owner_url, "timestamptz", binary.row(1) + binary.instant(int(at.timestamp() * 1000))) == at
    )
    assert _arrives(owner_url, "text", binary.row(1) + binary.text("7 m³")) == "7 m³"
    assert _arrives(owner_url, "date", binary.row(1) + binary.integer(4, -1)) == dt.date(1999, 12, 31)
    assert _arrives(owner_url, "text", binary.row(1) + binary.NULL) is None


def test_ids_are_of_version_7_and_rise():
    ids = binary.Ids(Random(1))
    made = [ids.at(1_700_000_000_000 + number // 3_000) for number in range(9_000)]
    values = [field[4:] for field in made]
    assert values == sorted(set(values))
    assert all(field[:4] == b"\0\0\0\x10" for field in made)
    assert {value[6] >> 4 for value in values} == {7}
    assert {value[8] >> 6 for value in values} == {2}


def _arrives(url: str, kind: str, row: bytes) -> object:
    connection = psycopg2.connect(url)
    try:
        with connection.cursor() as cursor:
            cursor.execute(f"CREATE TEMP TABLE field (value {kind}) ON COMMIT DROP")
            content = BytesIO(binary.HEADER + row + binary.TRAILER)
            cursor.copy_expert("COPY field FROM STDIN WITH (FORMAT binary)", content)
            cursor.execute("SELECT value FROM field")
            (value,) = cursor.fetchone() or ()
            return value
    finally:
        connection.close()
