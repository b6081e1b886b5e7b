"""Intervals against closed forms and against what they promise."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binom

from synthrelease.metrics import intervals


@pytest.mark.parametrize(("count", "expected"), [(17, 0.80), (36, 0.90), (72, 0.95)])
def test_catching_every_planted_copy_gives_the_root_of_the_error(count, expected):
    low, high = intervals.clopper_pearson(count, count)

    assert low == pytest.approx(0.025 ** (1 / count))
    assert low == pytest.approx(expected, abs=0.006)
    assert high == 1.0


def test_no_success_mirrors_only_successes():
    low, high = intervals.clopper_pearson(0, 16)

    assert low == 0.0
    assert high == pytest.approx(1 - 0.025 ** (1 / 16))


def test_without_trials_nothing_is_known():
    assert intervals.clopper_pearson(0, 0) == (0.0, 1.0)


@given(st.integers(1, 60), st.data())
def test_the_exact_bounds_put_the_stated_error_beyond_the_observed_count(trials, data):
    successes = data.draw(st.integers(0, trials))
    low, high = intervals.clopper_pearson(successes, trials)

    if successes:
        assert binom.sf(successes - 1, trials, low) == pytest.approx(0.025, rel=1e-6)
    if successes < trials:
        assert binom.cdf(successes, trials, high) == pytest.approx(0.025, rel=1e-6)


@pytest.mark.parametrize("successes", [-1, 11])
def test_an_impossible_count_is_refused(successes):
    with pytest.raises(ValueError, match="no share"):
        intervals.clopper_pearson(successes, 10)


def test_equal_weights_let_a_subject_of_one_slice_count_like_one_of_nine():
    weights = intervals.equal_weights(["a"] + ["b"] * 9)

    assert weights[0] == pytest.approx(0.5)
    assert weights[1:].sum() == pytest.approx(0.5)


def test_cluster_size_is_the_slices_per_subject_when_all_have_the_same():
    assert intervals.cluster_size(list("aaabbbccc")) == pytest.approx(3)
    assert intervals.cluster_size(list("abc")) == pytest.approx(1)
    assert intervals.cluster_size(["a"] * 9 + ["b"]) == pytest.approx(8.2)


def test_every_draw_takes_as_many_subjects_as_there_are():
    weights = intervals.resampled_subjects(7, 100, np.random.default_rng(0))

    assert weights.shape == (100, 7)
    assert (weights.sum(axis=1) == 7).all()


def test_resampling_subjects_is_wider_than_resampling_their_identical_slices():
    random = np.random.default_rng(0)
    values = np.repeat(random.normal(size=12), 20)
    by_subject = intervals.subject_bootstrap(
        values, np.repeat(np.arange(12), 20), draws=2000, random=np.random.default_rng(1)
    )
    by_slice = intervals.subject_bootstrap(values, np.arange(240), draws=2000, random=np.random.default_rng(1))

    assert np.diff(by_subject)[0] > 3 * np.diff(by_slice)[0]


def test_a_statistic_of_the_drawn_subjects_agrees_with_the_built_in_mean():
    values = np.random.default_rng(0).normal(size=300)
    subjects = np.repeat(np.arange(30), 10)
    plain = intervals.subject_bootstrap(values, subjects, draws=4000, random=np.random.default_rng(1))
    given_mean = intervals.subject_bootstrap(
        values, subjects, draws=4000, random=np.random.default_rng(2), statistic=lambda means: float(means.mean())
    )

    assert plain == pytest.approx(given_mean, abs=0.02)


def test_the_subject_bootstrap_covers_the_mean():
    covered = 0
    for run in range(200):
        random = np.random.default_rng(run)
        values = np.repeat(random.normal(size=40), 5) + 0.2 * random.normal(size=200)
        low, high = intervals.subject_bootstrap(values, np.repeat(np.arange(40), 5), draws=300, random=random)
        covered += low <= 0 <= high

    assert covered >= 178  # 95 % less three standard errors
