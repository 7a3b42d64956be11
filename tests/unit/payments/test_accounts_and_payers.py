"""Account numbers as they are typed, and payers as M-Pesa shows them."""

import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from haven.payments.paybill.accounts import folded, stripped
from haven.payments.paybill.payers import Payer, payer_of

PHONE = "+254712345126"


@pytest.mark.parametrize("typed", ["G70", "g70", " g 70 ", "g-70", "G.70", "G/7O", "g7o", "#G70!"])
def test_all_spellings_of_an_account_fold_to_one(typed):
    assert folded(typed) == "G70"


@pytest.mark.parametrize("typed,one", [("AI2", "A12"), ("a-i2", "A12"), ("O1", "01"), ("", ""), ("é·ß", "")])
def test_i_is_one_and_o_is_nought(typed, one):
    assert folded(typed) == one


def test_stripping_keeps_what_was_meant_by_a_letter():
    assert stripped("g-7o") == "G7O"


@given(st.text(max_size=40))
def test_folding_what_is_folded_changes_nothing(typed):
    assert folded(folded(typed)) == folded(typed)
    assert folded(stripped(typed)) == folded(typed)


@pytest.mark.parametrize("text", ["254712345126", "+254712345126", "0712345126", "712345126"])
def test_a_number_in_any_spelling_is_one_line(text):
    payer = payer_of(text)
    assert (payer.phone, payer.is_exact, payer.may_be(PHONE)) == (PHONE, True, True)
    assert not payer.may_be("+254712345127")
    assert payer.shown == "+2547*****126"


@pytest.mark.parametrize("spelling", [str.lower, str.upper])
def test_a_hash_is_one_line_and_shows_nothing(spelling):
    payer = payer_of(spelling(hashlib.sha256(PHONE[1:].encode()).hexdigest()))
    assert (payer.is_exact, payer.may_be(PHONE), payer.may_be("+254712345127"), payer.shown) == (
        True,
        True,
        False,
        None,
    )


@pytest.mark.parametrize("text", ["2547 ***** 126", "25471****126", "2547*****126", "+2547*****126"])
def test_a_mask_fits_many_lines_and_is_exactly_none(text):
    payer = payer_of(text)
    assert (payer.is_exact, payer.may_be(PHONE), payer.is_owner_of(PHONE)) == (False, True, True)
    assert not payer.may_be("+254712345127")
    assert not payer.may_be("+254112345126")
    assert payer.shown is not None
    assert payer_of(payer.shown) == payer


@pytest.mark.parametrize(
    "text",
    ["", "72200000", "***", "2547*******************126", "254 126", "x" * 5000, "25471234512*****126"],
)
def test_of_anything_else_nothing_is_known(text):
    payer = payer_of(text)
    assert payer == Payer()
    assert (payer.may_be(PHONE), payer.is_owner_of(PHONE), payer.shown) == (True, False, None)


@given(st.text(max_size=60))
def test_no_text_is_too_odd(text):
    assert payer_of(text).may_be(PHONE) in (True, False)
