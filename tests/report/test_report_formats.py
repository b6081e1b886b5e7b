"""Numbers as text: no bound looks better than it is, nothing small reads as nothing."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from synthrelease.records import Rate
from synthrelease.report import formats


@pytest.mark.parametrize(
    ("share", "text"),
    [
        (0.0, "0 %"),
        (1.0, "100 %"),
        (0.0123, "1.2 %"),
        (0.00123, "0.12 %"),
        (0.0004, "0.040 %"),
        (0.9952, "99.5 %"),
        (0.9996, "> 99.9 %"),
        (0.999999999999, "> 99.9 %"),
        (1e-10, "< 0.01 %"),
        (-1e-10, "> −0.01 %"),
        (-0.0058, "−0.58 %"),
        (None, "not available"),
    ],
)
def test_shares_keep_the_decimals_they_need(share, text):
    assert formats.percent(share).replace("\xa0", " ") == text


def _back(text: str) -> float:
    return float(text.strip("<>\xa0%").replace(formats.MINUS, "-")) / 100


@pytest.mark.parametrize(
    ("share", "rounding", "text"),
    [
        (1e-10, "down", "0 %"),
        (1e-10, "up", "< 0.01 %"),
        (-1e-10, "down", "> −0.01 %"),
        (-1e-10, "up", "0 %"),
        (0.99996, "up", "100 %"),
        (0.99996, "down", "> 99.9 %"),
    ],
)
def test_bounds_beside_an_end_stay_on_their_cautious_side(share, rounding, text):
    assert formats.percent(share, rounding).replace("\xa0", " ") == text


@given(st.floats(-1, 1))
def test_an_upper_bound_is_never_rounded_down_nor_a_lower_one_up(share):
    assert _back(formats.percent(share, "up")) >= share - 1e-12
    assert _back(formats.percent(share, "down")) <= share + 1e-12


@given(st.floats(0, 1, exclude_min=True, exclude_max=True))
def test_something_small_never_reads_as_nothing_nor_almost_all_as_all(share):
    assert formats.percent(share) not in {formats.percent(0), formats.percent(1)}


@given(st.floats(-1, 1))
def test_no_share_is_printed_finer_than_three_decimals_or_in_powers_of_ten(share):
    assert re.fullmatch(r"([<>]\xa0)?−?\d+(\.\d{1,3})?\xa0%", formats.percent(share))


def test_a_binary_fraction_does_not_push_a_bound_up():
    assert formats.percent(0.05, "up").startswith("5.0")


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (16.0, "16"),
        (1613472.0, "1,613,472"),
        (571.43, "571.4"),
        (-1.372, "−1.372"),
        (0.000042, "4.2 × 10⁻⁵"),
        (None, "not available"),
    ],
)
def test_plain_numbers(value, text):
    assert formats.number(value) == text


def test_a_tiny_p_value_keeps_its_size():
    assert formats.p_value(0.00004) == "4.0 × 10⁻⁵"
    assert formats.p_value(0.0413) == "0.041"


@given(st.text())
def test_names_print_visibly_whatever_they_hold(name):
    shown = formats.shown(name)

    assert all(char.isprintable() or char.isspace() for char in shown)
    assert not set(shown) & set("\n\r\t\x00\u202e\u2028")
    assert shown.encode("utf-8").decode("utf-8") == shown  # no lone surrogate is left


def test_one_is_not_plural():
    assert formats.counted(1, "image") == "1 image"
    assert formats.counted(2000, "image") == "2,000 images"


def test_a_rate_travels_with_interval_images_and_subjects():
    text = formats.rate(Rate(value=0.01, low=0.003, high=0.024, count=388, subjects=16))

    assert text.replace("\xa0", " ") == "1.0 % (95 % interval 0.30 % to 2.4 %; 388 images, 16 subjects)"
