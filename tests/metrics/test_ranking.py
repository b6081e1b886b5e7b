"""Ranks, rank correlations and knees: closed forms, SciPy's values, and silence where the pairs are too few."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from synthrelease.metrics.ranking import kendall, knee, rank_intervals, ranks, spearman

NUMBERS = st.lists(st.integers(-50, 50), min_size=5, max_size=8)


def test_the_best_is_first_and_equals_share_the_mean_of_their_ranks():
    values = {"a": 0.9, "b": 0.5, "c": 0.5, "d": 0.1}

    assert ranks(values, higher_is_better=True) == {"a": 1, "b": 2.5, "c": 2.5, "d": 4}
    assert ranks(values, higher_is_better=False) == {"a": 4, "b": 2.5, "c": 2.5, "d": 1}


def test_what_has_no_number_has_no_rank():
    assert ranks({"a": None, "b": math.nan, "c": 3.0, "d": 4.0}, higher_is_better=True) == {"c": 2, "d": 1}
    assert ranks({"a": None}, higher_is_better=True) == {}


@given(st.dictionaries(st.text(max_size=3), st.integers(-9, 9), min_size=1), st.booleans())
def test_ranks_always_sum_to_the_same(values, higher):
    count = len(values)

    assert sum(ranks(values, higher_is_better=higher).values()) == pytest.approx(count * (count + 1) / 2)


def test_a_generator_that_always_wins_has_rank_one_and_rivals_swap():
    random = np.random.default_rng(0)
    subjects = random.standard_normal(2_000)
    draws = {"best": 3 + 0.1 * subjects, "one": random.standard_normal(2_000), "two": random.standard_normal(2_000)}
    draws["best"] += 5

    low, high = rank_intervals(draws, higher_is_better=True)

    assert (low["best"], high["best"]) == (1, 1)
    assert (low["one"], high["one"], low["two"], high["two"]) == (2, 3, 2, 3)


def test_subjects_that_all_share_do_not_blur_the_order():
    shared = 10 * np.random.default_rng(0).standard_normal(500)

    low, high = rank_intervals({"a": shared + 0.1, "b": shared}, higher_is_better=True)

    assert (low, high) == ({"a": 1, "b": 2}, {"a": 1, "b": 2})


def test_draws_in_which_one_is_unknown_are_left_out():
    low, high = rank_intervals(
        {"a": np.array([1.0, 2.0, math.nan]), "b": np.array([2.0, 3.0, 0.0])}, higher_is_better=True
    )
    nothing = rank_intervals({"a": np.array([math.nan]), "b": np.array([1.0])}, higher_is_better=True)

    assert (low, high) == ({"a": 2, "b": 1}, {"a": 2, "b": 1})
    assert nothing == ({}, {})
    assert rank_intervals({}, higher_is_better=True) == ({}, {})


@given(NUMBERS, st.randoms(use_true_random=False))
def test_values_equal_scipys_also_with_ties(x, random):
    y = random.choices(range(-50, 50), k=len(x))
    if len(set(x)) == 1 or len(set(y)) == 1:
        assert spearman(x, y).value is None
        return

    assert spearman(x, y).value == pytest.approx(stats.spearmanr(x, y).statistic, abs=1e-12)
    assert kendall(x, y).value == pytest.approx(stats.kendalltau(x, y).statistic, abs=1e-12)


@pytest.mark.parametrize("seed", range(4))
def test_the_exact_p_of_kendall_is_scipys(seed):
    x, y = np.random.default_rng(seed).standard_normal((2, 7))

    assert kendall(x, y).p_value == pytest.approx(stats.kendalltau(x, y, method="exact").pvalue)


def test_the_exact_p_of_spearman_counts_every_order():
    # Of the 24 orders of four things, two agree fully or are exactly opposite.
    assert spearman([1, 2, 3, 4], [1, 2, 3, 4]).p_value == pytest.approx(2 / 24)


def test_random_orders_come_near_the_exact_p_and_repeat():
    random = np.random.default_rng(3)
    x = random.standard_normal(12)
    y = x + 1.5 * random.standard_normal(12)

    found = kendall(x, y, seed=5)

    assert found.p_value == pytest.approx(stats.kendalltau(x, y, method="exact").pvalue, abs=0.02)
    assert found == kendall(x, y, seed=5)
    assert spearman(x, y).p_value > 0


def test_p_is_uniform_where_nothing_goes_together():
    random = np.random.default_rng(1)

    found = [spearman(*random.standard_normal((2, 6))).p_value for _ in range(300)]

    assert np.mean(np.array(found) <= 0.1) == pytest.approx(0.1, abs=0.05)


def test_intervals_are_the_published_formulas():
    x, y = [1, 2, 3, 4, 5, 6, 7], [2, 1, 4, 3, 7, 5, 6]
    rho, tau = spearman(x, y), kendall(x, y)
    reach = 1.959964 * math.sqrt((1 + rho.value**2 / 2) / 4)

    assert rho.low == pytest.approx(math.tanh(math.atanh(rho.value) - reach), abs=1e-6)
    assert rho.high == pytest.approx(math.tanh(math.atanh(rho.value) + reach), abs=1e-6)
    assert math.atanh(tau.high) - math.atanh(tau.value) == pytest.approx(1.959964 * math.sqrt(0.437 / 3), abs=1e-6)


def test_spearmans_interval_covers_the_truth():
    random = np.random.default_rng(2)
    truth = 6 / math.pi * math.asin(0.6 / 2)  # of a normal pair with correlation 0.6
    covered = 0
    for _ in range(300):
        pair = random.multivariate_normal([0, 0], [[1, 0.6], [0.6, 1]], size=30)
        found = spearman(pair[:8, 0], pair[:8, 1])
        covered += found.low is None or found.low <= truth <= found.high

    assert covered / 300 > 0.9


@pytest.mark.parametrize(("measure", "fewest"), [(spearman, 4), (kendall, 5)])
def test_too_few_pairs_give_no_number_but_a_reason(measure, fewest):
    few = measure(range(fewest - 1), range(fewest - 1))

    assert (few.value, few.low, few.high, few.p_value, few.count) == (None, None, None, None, fewest - 1)
    assert f"at least {fewest}" in few.note
    assert measure(range(fewest), range(fewest)).value == 1


@pytest.mark.parametrize("measure", [spearman, kendall])
def test_a_measure_that_never_changes_goes_together_with_nothing(measure):
    found = measure([3] * 6, range(6))

    assert found.value is None
    assert "same everywhere" in found.note


@pytest.mark.parametrize("measure", [spearman, kendall])
@pytest.mark.parametrize(("sign", "word"), [(1, "agree fully"), (-1, "exactly opposite")])
def test_full_agreement_has_no_interval_and_says_so(measure, sign, word):
    found = measure(range(6), [sign * v for v in range(6)])

    assert (found.value, found.low, found.high) == (sign, None, None)
    assert word in found.note


@pytest.mark.parametrize("bad", [([1, 2], [1, 2, 3]), ([[1, 2]], [[1, 2]]), ([1, math.nan], [1, 2])])
def test_pairs_that_are_none_are_refused(bad):
    with pytest.raises(ValueError, match="pairs"):
        spearman(*bad)


def test_the_knee_is_the_point_farthest_above_the_chord():
    # x / (x + 1/4) on [0, 1], scaled, bends most where its slope equals the chord's: (sqrt(5) - 1) / 4 = 0.309.
    x = np.linspace(0, 1, 1001)

    assert knee(x, x / (x + 0.25)) == pytest.approx((math.sqrt(5) - 1) / 4, abs=1e-3)


@given(st.floats(0.1, 1000), st.floats(-5, 5), st.floats(0.1, 9))
def test_units_do_not_move_the_knee(width, shift, height):
    x, y = np.array([0, 1, 2, 5, 10]), np.array([0, 5, 7, 9, 10])

    assert knee(width * x, height * y + shift) == pytest.approx(width * knee(x, y))


@pytest.mark.parametrize(
    "y",
    [
        [0, 1, 2, 3, 4],  # straight
        [0, 0.1, 0.4, 1.5, 4],  # bends up
        [4, 3, 2.5, 2.2, 2],  # falls
        [1, 1, 1, 1, 1],
        [0, 1.1, 2.05, 3.1, 4],  # straight within noise
    ],
)
def test_a_curve_without_a_concave_rise_has_no_knee(y):
    assert knee(range(5), y) is None


def test_three_points_show_no_knee():
    assert knee([0, 1, 10], [0, 9, 10]) is None
    assert knee([], []) is None


def test_a_knee_needs_ascending_numbers():
    with pytest.raises(ValueError, match="ascend"):
        knee([0, 2, 2, 3], [0, 1, 2, 3])
