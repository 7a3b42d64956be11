"""The table of result codes."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from haven.payments.mpesa.results import RESULT_CODES, Outcome, outcome_of, result_code


@pytest.mark.parametrize(
    "code, outcome",
    [
        ("0", Outcome.PAID),
        ("1", Outcome.FAILED),
        ("17", Outcome.FAILED),
        ("1001", Outcome.FAILED),
        ("1019", Outcome.TIMEOUT),
        ("1031", Outcome.CANCELLED),
        ("1032", Outcome.CANCELLED),
        ("1037", Outcome.TIMEOUT),
        ("2001", Outcome.FAILED),
        ("SFC_IC0003", Outcome.FAILED),
        ("4999", Outcome.PENDING),
        ("26", Outcome.PENDING),
        ("9999", Outcome.PENDING),
    ],
)
def test_what_a_code_means(code, outcome):
    assert outcome_of(code) is outcome


@given(st.text(max_size=20).filter(lambda text: text.strip() not in RESULT_CODES))
def test_an_unknown_code_is_never_final_and_never_an_invitation_to_pay_again(code):
    row = result_code(code)
    assert row.outcome is Outcome.PENDING
    assert not row.is_final
    assert not row.may_retry
    assert row.is_alarm


def test_only_zero_is_paid():
    assert [row.code for row in RESULT_CODES.values() if row.outcome is Outcome.PAID] == ["0"]


@pytest.mark.parametrize("row", RESULT_CODES.values(), ids=lambda row: row.code)
def test_every_row_has_words_and_holds_together(row):
    assert row.meaning.endswith(".")
    assert row.words.endswith(".")
    assert row.is_final or not row.may_retry, "who may still be charged must not be asked again"
    assert row.may_retry or not row.retry_after_s
