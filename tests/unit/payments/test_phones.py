"""Kenyan numbers: every way people write one gives one spelling."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from haven.payments.phones import InvalidPhone, mask_phone, msisdn, normalise_phone


@pytest.mark.parametrize(
    "text",
    [
        "0712345678",
        "712345678",
        "254712345678",
        "+254712345678",
        "00254712345678",
        "0712 345 678",
        "+254-712-345-678",
        "(0712) 345.678",
        " 0712\u00a0345\u2013678 ",
    ],
)
def test_every_form_of_a_number_is_one_number(text):
    assert normalise_phone(text) == "+254712345678"


@pytest.mark.parametrize("text", ["0110345678", "110345678", "254110345678", "+254 110 345 678"])
def test_lines_that_begin_with_01_are_mobile_too(text):
    assert normalise_phone(text) == "+254110345678"


@pytest.mark.parametrize(
    "text",
    [
        "",
        "abc",
        "0202345678",
        "071234567",
        "07123456789",
        "+14155552671",
        "+255712345678",
        "٠٧١٢٣٤٥٦٧٨",
        "0712345678;ext=1",
        "tel:+254712345678",
        "+254712345678,0712345679",
        "7" * 100,
        "0712\x00345678",
    ],
)
def test_anything_else_is_refused_in_words_that_help(text):
    with pytest.raises(InvalidPhone, match=r"number|Kenyan"):
        normalise_phone(text)


def test_mpesa_gets_the_digits_without_a_plus():
    assert msisdn("0712 345 678") == "254712345678"


def test_a_masked_number_keeps_its_beginning_and_end():
    assert mask_phone("+254712345678") == "+2547*****678"


@pytest.mark.parametrize("text, masked", [("", ""), ("12", "**"), ("0712345678", "********78")])
def test_what_is_no_kenyan_number_is_masked_more(text, masked):
    assert mask_phone(text) == masked


@given(st.text(max_size=40))
def test_no_text_breaks_it(text):
    try:
        phone = normalise_phone(text)
    except InvalidPhone:
        return
    assert phone.startswith(("+2547", "+2541"))
    assert len(phone) == 13
    assert normalise_phone(phone) == phone


@given(st.from_regex(r"\A7[0-9]{8}\Z"), st.sampled_from(["0", "+254", "254", "00254", "", "0 ", "+254-"]))
def test_forms_of_one_line_agree(line, prefix):
    try:
        expected = normalise_phone(f"+254{line}")
    except InvalidPhone:
        with pytest.raises(InvalidPhone):
            normalise_phone(prefix + line)
    else:
        assert normalise_phone(prefix + line) == expected


@given(st.text(max_size=40))
def test_a_mask_never_shows_a_whole_text_longer_than_a_few_signs(text):
    masked = mask_phone(text)
    assert len(masked) == len(text)
    assert masked.count("*") >= min(len(text), 2)
