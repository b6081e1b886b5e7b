"""Seeds: a draw is a function of a seed and a place, in every process."""

from __future__ import annotations

import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from synthrelease import seeds

KINDS = [seeds.at_step, seeds.at_image, seeds.named]


@pytest.mark.parametrize("kind", KINDS)
def test_the_same_place_gives_the_same_draws(kind):
    assert (kind(3, 7).random(5) == kind(3, 7).random(5)).all()


@given(st.integers(0, 2**40), st.integers(0, 2**40), st.integers(1, 50))
def test_another_seed_or_place_gives_other_draws(seed, place, step):
    for kind in KINDS:
        first = kind(seed, place).integers(2**62)
        assert first != kind(seed + step, place).integers(2**62)
        assert first != kind(seed, place + step).integers(2**62)


def test_steps_images_and_names_do_not_share_draws():
    assert len({int(kind(0, 5).integers(2**62)) for kind in KINDS}) == 3


def test_names_are_not_simply_joined():
    assert seeds.named(0, "ab", "c").integers(2**62) != seeds.named(0, "a", "bc").integers(2**62)
    assert seeds.named(0, "a").integers(2**62) != seeds.named(0, "a", "").integers(2**62)


def test_named_draws_are_the_same_in_another_process():
    code = "from synthrelease import seeds; print(seeds.named(4, 'bootstrap', 2).integers(2**62))"
    other = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert int(other.stdout) == seeds.named(4, "bootstrap", 2).integers(2**62)
