"""Calibration, rates, excess, p- and q-values: closed forms, properties, small and odd cohorts."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import false_discovery_control

from synthrelease.errors import AuditError
from synthrelease.metrics.intervals import clopper_pearson_upper
from synthrelease.privacy import screening
from synthrelease.privacy.strangers import Strangers


def rates(holdout, subjects, synthetic, *, synthetic_subjects=None, alpha=0.01, seed=0, draws=300):
    return screening.near_copies(
        holdout_scores=np.asarray(holdout, dtype=float),
        holdout_subjects=subjects,
        synthetic_scores=np.asarray(synthetic, dtype=float),
        synthetic_subjects=synthetic_subjects,
        alpha=alpha,
        draws=draws,
        random=np.random.default_rng(seed),
    )


def cohort(subjects, slices=10, seed=0):
    random = np.random.default_rng(seed)
    scores = 0.7 + 0.03 * np.repeat(random.normal(size=subjects), slices)
    return scores + 0.03 * random.normal(size=subjects * slices), np.repeat(np.arange(subjects).astype(str), slices)


def test_with_equal_subjects_the_quantile_is_the_order_statistic():
    scores = np.random.default_rng(0).permutation(np.arange(100.0))

    assert screening.weighted_quantile(scores, np.arange(100).astype(str), 0.99) == 98
    assert screening.weighted_quantile(scores, np.arange(100).astype(str), 0.5) == 49
    assert screening.weighted_quantile(scores, np.arange(100).astype(str), 1.0) == 99


def test_a_subject_with_many_slices_does_not_drag_the_threshold():
    scores = np.array([0.9, *np.full(99, 0.1)])
    one_slice_each = ["a"] + ["b"] * 99

    assert screening.weighted_quantile(scores, one_slice_each, 0.6) == 0.9
    assert screening.weighted_quantile(scores, ["a"] * 100, 0.6) == 0.1


@given(
    st.lists(st.tuples(st.sampled_from("abcdef"), st.integers(0, 12)), min_size=1, max_size=60),
    st.floats(0.001, 0.2),
)
def test_at_most_alpha_of_the_strangers_lie_above_the_flag_and_none_above_the_alarm(rows, alpha):
    subjects = np.array([name for name, _ in rows])
    scores = np.array([float(score) for _, score in rows])
    found = screening.calibrate(scores, subjects, alpha)
    above = np.mean([np.mean(scores[subjects == name] > found.flag) for name in np.unique(subjects)])
    lower = [score for score in np.unique(scores) if score < found.flag]

    assert above <= alpha + 1e-9
    assert not (scores > found.alarm).any()
    if lower:  # no lower threshold would do
        assert np.mean([np.mean(scores[subjects == name] > lower[-1]) for name in np.unique(subjects)]) > alpha


@pytest.mark.parametrize(("subjects", "expected"), [(16, 0.17), (59, 0.05), (299, 0.01), (1, 0.95), (0, 1.0)])
def test_the_stranger_bound_is_what_the_number_of_subjects_buys(subjects, expected):
    assert screening.stranger_bound(subjects) == pytest.approx(expected, abs=0.002)


def test_p_values_count_subjects_not_slices():
    holdout = np.array([0.9, 0.1, 0.1, 0.1, 0.5])
    subjects = np.array(["a", "a", "a", "a", "b"])
    p = screening.p_values(np.array([0.95, 0.9, 0.5, 0.0]), holdout, subjects)

    assert p == pytest.approx([1 / 3, (1 + 0.25) / 3, (1 + 0.25 + 1) / 3, 1.0])


@given(st.integers(1, 6), st.integers(1, 5), st.integers(0, 1000))
def test_p_values_fall_as_scores_rise_and_never_reach_zero(subjects, slices, seed):
    random = np.random.default_rng(seed)
    holdout = random.integers(0, 5, subjects * slices).astype(float)
    synthetic = np.sort(random.integers(-1, 7, 20).astype(float))
    p = screening.p_values(synthetic, holdout, np.repeat(np.arange(subjects), slices))

    assert (np.diff(p) <= 1e-12).all()
    assert p.min() >= 1 / (subjects + 1) - 1e-12
    assert p.max() <= 1


def test_p_values_of_new_strangers_are_not_too_small():
    p = []
    for run in range(300):
        scores, subjects = cohort(21, seed=run)
        mine = subjects == "0"
        p.append(screening.p_values(scores[mine][:1], scores[~mine], subjects[~mine])[0])

    for level in (0.05, 0.1, 0.3):
        assert np.mean(np.array(p) <= level) <= level + 3 * np.sqrt(level * (1 - level) / 300)


def test_q_values_are_those_of_scipy():
    p = np.random.default_rng(0).random(50) ** 2

    assert screening.q_values(p) == pytest.approx(false_discovery_control(p))
    assert len(screening.q_values(np.array([]))) == 0


def test_the_synthetic_rate_is_the_share_above_the_flag():
    holdout, subjects = cohort(16)
    flag = screening.calibrate(holdout, subjects, 0.01).flag
    found = rates(holdout, subjects, [flag, flag + 1e-6, 1.0, 0.0])

    assert found.synthetic.value == 0.5  # at the threshold is not above it
    assert found.synthetic.flagged == 2
    assert found.excess.value == pytest.approx(0.5 - found.holdout.value)


def test_few_flagged_subjects_fall_back_to_clopper_pearson_over_subjects():
    holdout, subjects = cohort(16)
    found = rates(holdout, subjects, np.full(100, 0.5))
    flag = screening.calibrate(holdout, subjects, 0.01).flag
    above = len(set(subjects[holdout > flag]))

    assert above < 5
    assert "Clopper-Pearson" in found.excess.method
    assert found.holdout.high == pytest.approx(clopper_pearson_upper(above, 16))


def test_many_flagged_subjects_are_resampled():
    holdout, subjects = cohort(200)
    found = rates(holdout, subjects, np.random.default_rng(1).choice(holdout, 500))

    assert "bootstrap" in found.excess.method
    assert found.holdout.value == pytest.approx(0.01, abs=0.006)
    assert found.holdout.low <= found.holdout.value <= found.holdout.high
    assert found.excess.low <= 0 <= found.excess.high


@pytest.mark.parametrize("subjects", [16, 200])
def test_hidden_copies_show_as_an_excess(subjects):
    holdout, names = cohort(subjects)
    strangers, _ = cohort(13, seed=9)
    found = rates(holdout, names, np.concatenate([strangers, np.full(360, 0.98)]))

    assert found.synthetic.value >= 360 / 490
    assert found.excess.low > 0.005


def test_the_cross_fitted_rate_does_not_let_a_subject_set_its_own_threshold():
    # One subject far above all others: its own threshold hides it, the others' threshold shows all its slices.
    scores = np.concatenate([np.full(10, 0.9), np.random.default_rng(0).uniform(0.6, 0.7, 90)])
    subjects = np.repeat(np.arange(10).astype(str), 10)
    found = rates(scores, subjects, [0.5], alpha=0.1)

    assert found.holdout.value > 0.1 - 1e-9
    assert np.mean(scores > screening.calibrate(scores, subjects, 0.05).flag) == 0


def test_the_repeats_of_a_subject_stay_in_one_fold():
    # Weighing a subject twice equals adding its copy under the same fold, not a stranger that resembles it.
    scores, subjects = cohort(8)
    strangers = Strangers.of(scores, subjects, 0.05, np.random.default_rng(0))
    weights = np.ones((1, 8))
    weights[0, int(np.argmax([scores[subjects == str(i)].max() for i in range(8)]))] = 5
    by_hand = 0.0
    for subject in range(8):
        others = np.concatenate([np.repeat(str(other), weights[0, other]) for other in range(8) if other != subject])
        pool = np.concatenate([scores[subjects == other] for other in others])
        labels = np.repeat(np.arange(len(others)), 10)
        threshold = screening.weighted_quantile(pool, labels, 0.95)
        by_hand += weights[0, subject] * np.mean(scores[subjects == str(subject)] > threshold)

    assert strangers.cross_fitted(weights)[0] == pytest.approx(by_hand / weights.sum())


@pytest.mark.parametrize("subjects", [1, 2, 3, 4])
@pytest.mark.parametrize("slices", [1, 7])
def test_tiny_holdouts_give_wide_intervals_instead_of_errors(subjects, slices):
    holdout, names = cohort(subjects, slices)
    found = rates(holdout, names, [0.1, 0.99])

    assert found.excess.low <= 0 <= found.excess.high
    assert found.holdout.high >= 0.6


def test_all_scores_tied_flag_nobody():
    found = rates(np.full(30, 0.7), np.repeat(np.arange(6).astype(str), 5), np.full(10, 0.7))

    assert found.synthetic.value == 0
    assert found.holdout.value == 0
    assert found.excess.low <= 0 <= found.excess.high


def test_unknown_synthetic_subjects_are_taken_to_be_clustered_like_the_holdout():
    holdout, subjects = cohort(60)
    synthetic = np.random.default_rng(1).choice([0.5, 0.99], 400)
    unknown = rates(holdout, subjects, synthetic)
    independent = rates(holdout, subjects, synthetic, synthetic_subjects=np.arange(400).astype(str))

    assert unknown.synthetic.high - unknown.synthetic.low > 2 * (independent.synthetic.high - independent.synthetic.low)


def test_the_same_seed_gives_the_same_record():
    holdout, subjects = cohort(200)

    assert rates(holdout, subjects, holdout[:90], seed=4) == rates(holdout, subjects, holdout[:90], seed=4)


@pytest.mark.parametrize(("moved", "sign"), [(-0.06, -1), (0.0, 0), (0.06, 1)])
def test_images_that_resemble_train_less_than_strangers_do_show_as_a_shift(moved, sign):
    holdout, subjects = cohort(16)
    synthetic, _ = cohort(600, slices=1, seed=5)
    found = screening.score_shift(
        holdout_scores=holdout,
        holdout_subjects=subjects,
        synthetic_scores=synthetic + moved,
        synthetic_subjects=None,
        draws=500,
        random=np.random.default_rng(0),
    )

    assert -0.6 < found.value < 0.6
    assert (found.low > 0) - (found.high < 0) == sign


@pytest.mark.parametrize("bad", [[], [0.5, np.nan]])
def test_missing_or_non_finite_scores_are_refused(bad):
    holdout, subjects = cohort(5)

    with pytest.raises(AuditError):
        rates(holdout, subjects, bad)
    with pytest.raises(AuditError):
        rates(bad, ["a"] * len(bad), holdout)
