"""AuthPct, NNDR, DCR, C_T, FLD, correlation: brute force, closed forms, and where copies move them."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.spatial.distance import cdist
from scipy.stats import mannwhitneyu

from synthrelease.errors import AuditError
from synthrelease.metrics import (
    authenticity,
    calibrated_l2,
    data_copying_score,
    dcr_share,
    feature_likelihood_divergence,
    nearest_neighbour_distance_ratio,
    summarise,
    whole_image_correlation,
)
from synthrelease.metrics import data_copying as copying_module


def sample(seed: int, count: int = 300, width: int = 24) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal((count, width))


def with_copies(train: np.ndarray, synthetic: np.ndarray, count: int) -> np.ndarray:
    """Replace the first images by train images with a trace of noise."""
    planted = synthetic.copy()
    planted[:count] = train[:count] + 1e-3 * sample(99, count, train.shape[1])
    return planted


TRAIN, HOLDOUT, SYNTHETIC = sample(0), sample(1), sample(2)
SHARES = (0, 30, 75, 150)


# AuthPct


def test_authenticity_agrees_with_brute_force() -> None:
    dense = cdist(SYNTHETIC, TRAIN)
    among = cdist(TRAIN, TRAIN) + np.diag(np.full(len(TRAIN), np.inf))
    closest = dense.argmin(axis=1)

    expected = 100 * np.mean(among.min(axis=1)[closest] < dense.min(axis=1))
    assert authenticity(train=TRAIN, synthetic=SYNTHETIC) == pytest.approx(expected, rel=1e-12)


def test_authenticity_with_subjects_agrees_with_brute_force() -> None:
    subjects = np.repeat(np.arange(60), 5)
    dense = cdist(SYNTHETIC, TRAIN)
    among = np.where(subjects[:, None] == subjects, np.inf, cdist(TRAIN, TRAIN))

    expected = 100 * np.mean(among.min(axis=1)[dense.argmin(axis=1)] < dense.min(axis=1))
    assert authenticity(train=TRAIN, synthetic=SYNTHETIC, train_subjects=subjects) == pytest.approx(expected, rel=1e-12)


def test_authenticity_by_hand() -> None:
    train = np.array([[0.0], [1.0], [10.0]])
    #                     0.4 < 1: no     beyond 1: yes   9 from 10, far: no   2 > 1: yes
    synthetic = np.array([[0.4], [-1.5], [14.0], [3.0]])

    assert authenticity(train=train, synthetic=synthetic) == 50.0


def test_adjacent_slices_hide_copies_unless_subjects_are_given() -> None:
    first = sample(0, 60) * 10
    train = np.concatenate([first, first + 0.01 * sample(1, 60)])  # two slices a subject, nearly alike
    copies = first + 0.1 * sample(2, 60)
    subjects = np.tile(np.arange(60), 2)

    assert authenticity(train=train, synthetic=copies) == 100.0
    assert authenticity(train=train, synthetic=copies, train_subjects=subjects) == 0.0


def test_authenticity_falls_as_copies_are_planted() -> None:
    values = [authenticity(train=TRAIN, synthetic=with_copies(TRAIN, SYNTHETIC, count)) for count in SHARES]

    assert np.all(np.diff(values) < 0)
    assert authenticity(train=TRAIN, synthetic=TRAIN) == 0.0


# Distances per image


def test_distance_ratio_agrees_with_brute_force() -> None:
    ordered = np.sort(cdist(SYNTHETIC, TRAIN), axis=1)

    ratios = nearest_neighbour_distance_ratio(train=TRAIN, synthetic=SYNTHETIC)
    assert ratios == pytest.approx(ordered[:, 0] / ordered[:, 1], rel=1e-9)


def test_distance_ratio_takes_its_second_from_another_subject() -> None:
    train = np.array([[0.0, 0.0], [0.1, 0.0], [10.0, 0.0]])
    synthetic = np.array([[-1.0, 0.0], [9.0, 0.0]])

    plain = nearest_neighbour_distance_ratio(train=train, synthetic=synthetic)
    by_subject = nearest_neighbour_distance_ratio(train=train, synthetic=synthetic, train_subjects=["a", "a", "b"])
    assert plain == pytest.approx([1 / 1.1, 1 / 8.9])
    assert by_subject == pytest.approx([1 / 11, 1 / 8.9])


def test_calibrated_distance_agrees_with_brute_force() -> None:
    ordered = np.sort(cdist(SYNTHETIC, TRAIN), axis=1)

    expected = ordered[:, 0] / (0.5 * ordered[:, :50].mean(axis=1))
    assert calibrated_l2(train=TRAIN, synthetic=SYNTHETIC) == pytest.approx(expected, rel=1e-9)


def test_calibrated_distance_uses_all_of_a_small_train_set() -> None:
    train = np.array([[3.0, 0.0], [0.0, 4.0], [0.0, 5.0]])
    synthetic = np.array([[0.0, 0.0], [0.0, 4.0]])

    assert calibrated_l2(train=train, synthetic=synthetic) == pytest.approx([3 / (0.5 * 4), 0])
    with pytest.raises(AuditError):
        calibrated_l2(train=train, synthetic=synthetic, neighbours=1)


def test_verbatim_copies_are_at_zero_even_of_images_that_train_holds_twice() -> None:
    train = np.concatenate([TRAIN[:60], TRAIN[:1]])

    assert nearest_neighbour_distance_ratio(train=train, synthetic=TRAIN[:5]).tolist() == [0.0] * 5
    assert calibrated_l2(train=train, synthetic=TRAIN[:5]).tolist() == [0.0] * 5


@pytest.mark.parametrize("metric", [calibrated_l2, nearest_neighbour_distance_ratio])
def test_per_image_ratios_fall_for_copies_and_ignore_scale_and_rotation(metric) -> None:  # type: ignore[no-untyped-def]
    planted = with_copies(TRAIN, SYNTHETIC, 5)
    before, after = metric(train=TRAIN, synthetic=SYNTHETIC), metric(train=TRAIN, synthetic=planted)
    rotation = np.linalg.qr(sample(3, 24))[0]

    assert (after[:5] < 0.01).all()
    assert np.array_equal(before[5:], after[5:])
    assert metric(train=TRAIN @ rotation * 7, synthetic=SYNTHETIC @ rotation * 7) == pytest.approx(before)


def test_the_summary_is_median_and_one_percent_quantile() -> None:
    summary = summarise(np.arange(101.0))

    assert (summary.median, summary.lowest_percent, summary.count) == (50.0, 1.0, 101)
    for bad in (np.array([]), np.array([1.0, np.nan])):
        with pytest.raises(AuditError):
            summarise(bad)


# DCR share


def test_dcr_share_agrees_with_brute_force() -> None:
    to_train, to_holdout = cdist(SYNTHETIC, TRAIN).min(axis=1), cdist(SYNTHETIC, HOLDOUT).min(axis=1)

    share = dcr_share(train=TRAIN, holdout=HOLDOUT, synthetic=SYNTHETIC)
    assert share == pytest.approx(np.mean(to_train < to_holdout), rel=1e-12)
    assert dcr_share(train=HOLDOUT, holdout=TRAIN, synthetic=SYNTHETIC) == pytest.approx(1 - share, rel=1e-12)


def test_ties_count_half() -> None:
    assert dcr_share(train=TRAIN, holdout=TRAIN[::-1], synthetic=SYNTHETIC) == 0.5


def test_dcr_share_rises_with_copies_and_is_one_for_nothing_but_copies() -> None:
    values = [
        dcr_share(train=TRAIN, holdout=HOLDOUT, synthetic=with_copies(TRAIN, SYNTHETIC, count)) for count in SHARES
    ]

    assert np.all(np.diff(values) > 0)
    assert dcr_share(train=TRAIN, holdout=HOLDOUT, synthetic=TRAIN) == 1.0


def test_a_larger_train_set_is_subsampled_so_that_number_alone_earns_nothing() -> None:
    shares = [
        dcr_share(
            train=sample(10 * seed, 400, 8),
            holdout=sample(10 * seed + 1, 50, 8),
            synthetic=sample(10 * seed + 2, 200, 8),
            random=np.random.default_rng(seed),
        )
        for seed in range(60)
    ]
    raw = np.mean(
        cdist(sample(2, 200, 8), sample(0, 400, 8)).min(1) < cdist(sample(2, 200, 8), sample(1, 50, 8)).min(1)
    )

    assert np.mean(shares) == pytest.approx(0.5, abs=4 * np.std(shares) / np.sqrt(60))
    assert np.std(shares) < 0.15
    assert raw > 0.8
    again = dcr_share(train=sample(0, 400), holdout=HOLDOUT, synthetic=SYNTHETIC)
    assert again == dcr_share(train=sample(0, 400), holdout=HOLDOUT, synthetic=SYNTHETIC)


# C_T


def test_rank_statistic_agrees_with_scipy() -> None:
    random = np.random.default_rng(0)
    made, held = random.integers(20, size=50).astype(float), random.integers(25, size=70).astype(float)  # with ties

    U = mannwhitneyu(made, held).statistic
    expected = (U - (50 * 70 / 2 - 0.5)) / np.sqrt(50 * 70 * 121 / 12)
    assert copying_module._standardised_rank_sum(made, held) == pytest.approx(expected, rel=1e-12)


def test_data_copying_score_in_three_known_cells() -> None:
    """Far-apart clusters are the three cells, whatever the seed; the score is then a weighted mean of three tests."""
    homes = np.array([[0.0] * 24, [1e3] * 24, [-1e3] * 24])
    cells = {name: np.array(sizes) for name, sizes in {"train": (90, 60, 50), "holdout": (40, 30, 20)}.items()}
    cells["synthetic"] = np.array((50, 20, 30))  # the second cell has 20, not more than 20: left out
    parts = {
        name: [sample(10 * row + cell, size) + homes[cell] for cell, size in enumerate(sizes)]
        for row, (name, sizes) in enumerate(cells.items())
    }

    scores = []
    for cell in (0, 2):
        train = parts["train"][cell]
        made, held = (cdist(parts[name][cell], train).min(axis=1) for name in ("synthetic", "holdout"))
        n, m = len(held), len(made)
        U = mannwhitneyu(made, held).statistic
        scores.append((U - (n * m / 2 - 0.5)) / np.sqrt(n * m * (n + m + 1) / 12))
    score = data_copying_score(**{name: np.concatenate(tables) for name, tables in parts.items()})
    assert score == pytest.approx((40 * scores[0] + 20 * scores[1]) / 60, rel=1e-9)


def test_data_copying_score_is_calm_for_fresh_samples_and_falls_with_copies() -> None:
    fresh = [
        data_copying_score(train=sample(s, 200, 8), holdout=sample(s + 50, 200, 8), synthetic=sample(s + 100, 200, 8))
        for s in range(30)
    ]
    values = [
        data_copying_score(train=TRAIN, holdout=HOLDOUT, synthetic=with_copies(TRAIN, SYNTHETIC, count))
        for count in SHARES
    ]

    assert np.mean(fresh) == pytest.approx(0, abs=0.4)
    assert np.all(np.diff(values) < 0)
    assert data_copying_score(train=TRAIN, holdout=HOLDOUT, synthetic=TRAIN) < -5
    assert data_copying_score(train=TRAIN, holdout=TRAIN, synthetic=SYNTHETIC) > 5


@pytest.mark.parametrize("count", [50, 300])
def test_data_copying_score_projects_wide_features_and_survives_rotation(count: int) -> None:
    train, holdout, synthetic = (
        np.hstack([part, 1e-9 * sample(9, len(part), 100)]) for part in (TRAIN[:count], HOLDOUT, SYNTHETIC)
    )
    rotation = np.linalg.qr(sample(5, 124, 124))[0]

    score = data_copying_score(train=train, holdout=holdout, synthetic=synthetic)
    turned = data_copying_score(train=train @ rotation, holdout=holdout @ rotation, synthetic=synthetic @ rotation)
    narrow = data_copying_score(train=TRAIN[:count], holdout=HOLDOUT, synthetic=SYNTHETIC)
    assert score == pytest.approx(narrow, abs=1e-6)
    assert turned == pytest.approx(score, abs=1e-6)


def test_data_copying_score_needs_enough_images_in_a_cell() -> None:
    with pytest.raises(AuditError, match="more than 20"):
        data_copying_score(train=TRAIN, holdout=HOLDOUT, synthetic=SYNTHETIC[:20])


# FLD


def brute_score(real: np.ndarray, synthetic: np.ndarray, variances: np.ndarray) -> float:
    """-(100/d) mean log of the mixture, from SciPy's normal density, without log(2 pi) / 2 per dimension."""
    from scipy.special import logsumexp
    from scipy.stats import norm

    width = real.shape[1]
    logs = norm.logpdf(real[:, None, :], synthetic[None], np.sqrt(variances)[None, :, None]).sum(axis=2)
    mixture = logsumexp(logs, axis=1) - np.log(len(synthetic))
    return float(-100 / width * mixture.mean() - 50 * np.log(2 * np.pi))


def test_likelihood_agrees_with_scipys_normal_density() -> None:
    from synthrelease.metrics import likelihood as module

    variances = np.linspace(0.5, 2, len(SYNTHETIC))
    score = module._score(module._squared_distances(TRAIN, SYNTHETIC), variances, len(TRAIN), TRAIN.shape[1])
    assert score == pytest.approx(brute_score(TRAIN, SYNTHETIC, variances), rel=1e-9)


def test_fitted_variances_are_a_maximum_that_a_general_optimiser_cannot_beat() -> None:
    from scipy.optimize import minimize

    from synthrelease.metrics import likelihood as module

    train, synthetic = sample(0, 40, 3), sample(2, 8, 3)
    source = module._squared_distances(train, synthetic)
    fitted = module._fit_variances(source, 8, 3)
    best = minimize(lambda logs: brute_score(train, synthetic, np.exp(logs)), np.log(fitted))

    assert brute_score(train, synthetic, fitted) == pytest.approx(best.fun, abs=0.05)


def test_likelihood_of_one_component_per_cluster_has_a_closed_form() -> None:
    """Two far-apart clusters, one synthetic image at the middle of each: the variance is the mean square."""
    spread = sample(0, 200, 6)
    spread -= spread.mean(axis=0)
    homes = np.array([[1e3] * 6, [-1e3] * 6])
    train = np.concatenate([spread + homes[0], 2 * spread + homes[1]])

    fld = feature_likelihood_divergence(train=train, holdout=train, synthetic=homes)

    # The same scale as in the module: half the distance between two percentiles, over train and holdout together.
    low, high = np.quantile(np.concatenate([train, train]), [0.1587, 0.8413], axis=0)
    scaled = spread / ((high - low) / 2)
    variance = np.maximum(np.array([(scaled**2).mean(), 4 * (scaled**2).mean()]), 1e-4)
    squares = np.array([1.0, 4.0]) * (scaled**2).mean()
    expected = 100 * (0.5 * np.mean(np.log(variance) + squares / variance) + np.log(2) / 6)
    assert fld.value == pytest.approx(expected, rel=1e-9)
    assert fld.gap == 0.0


def test_recomputed_distances_give_the_same_as_kept_ones(monkeypatch: pytest.MonkeyPatch) -> None:
    from synthrelease.metrics import likelihood as module
    from synthrelease.metrics import neighbours

    kept = feature_likelihood_divergence(train=TRAIN, holdout=HOLDOUT, synthetic=SYNTHETIC)
    monkeypatch.setattr(module, "_KEPT_BYTES", 0)
    monkeypatch.setattr(neighbours, "BLOCK_BYTES", 32 * 300 * 7)

    again = feature_likelihood_divergence(train=TRAIN, holdout=HOLDOUT, synthetic=SYNTHETIC)
    assert [again.value, again.gap] == pytest.approx([kept.value, kept.gap], rel=1e-9)


def test_likelihood_gap_is_small_for_fresh_samples_and_falls_with_copies() -> None:
    results = [
        feature_likelihood_divergence(train=TRAIN, holdout=HOLDOUT, synthetic=with_copies(TRAIN, SYNTHETIC, count))
        for count in SHARES
    ]
    gaps = [result.gap for result in results]

    assert abs(gaps[0]) < 5
    assert np.all(np.diff(gaps) < 0)
    assert gaps[1] < -20
    assert all(result.gap == pytest.approx(result.train_value - result.value) for result in results)


def test_likelihood_worsens_with_noise_and_ignores_shift_and_units() -> None:
    units, shift = np.logspace(-3, 3, 24), np.arange(24.0)
    plain = feature_likelihood_divergence(train=TRAIN, holdout=HOLDOUT, synthetic=SYNTHETIC)
    moved = feature_likelihood_divergence(
        train=TRAIN * units + shift, holdout=HOLDOUT * units + shift, synthetic=SYNTHETIC * units + shift
    )
    noisy = feature_likelihood_divergence(train=TRAIN, holdout=HOLDOUT, synthetic=SYNTHETIC + 2 * sample(8))

    assert [moved.value, moved.gap] == pytest.approx([plain.value, plain.gap], rel=1e-6)
    assert noisy.value > plain.value + 5


def test_swapping_train_and_holdout_changes_which_side_the_copies_fall_on() -> None:
    planted = with_copies(TRAIN, SYNTHETIC, 75)

    assert feature_likelihood_divergence(train=TRAIN, holdout=HOLDOUT, synthetic=planted).gap < -50
    assert feature_likelihood_divergence(train=HOLDOUT, holdout=TRAIN, synthetic=planted).gap > -10
    assert data_copying_score(train=TRAIN, holdout=HOLDOUT, synthetic=planted) < data_copying_score(
        train=HOLDOUT, holdout=TRAIN, synthetic=planted
    )
    assert authenticity(train=TRAIN, synthetic=planted) != authenticity(train=planted, synthetic=TRAIN)


# Whole-image correlation


@pytest.mark.parametrize("dtype", [np.uint8, np.float32, np.int16])
def test_correlation_agrees_with_brute_force_in_any_block_size(dtype: type, monkeypatch: pytest.MonkeyPatch) -> None:
    random = np.random.default_rng(0)
    train, synthetic = (random.integers(0, 200, size=(count, 2, 8, 9)).astype(dtype) for count in (31, 17))
    stacked = np.corrcoef(synthetic.reshape(17, -1).astype(float), train.reshape(31, -1).astype(float))

    expected = stacked[:17, 17:].max(axis=1)
    assert whole_image_correlation(train=train, synthetic=synthetic) == pytest.approx(expected, rel=1e-9)
    monkeypatch.setattr("synthrelease.metrics.distances.BLOCK_BYTES", 16 * 144 * 4)
    assert whole_image_correlation(train=train, synthetic=synthetic) == pytest.approx(expected, rel=1e-9)


def test_a_brighter_copy_correlates_fully_and_a_negative_one_does_not_count() -> None:
    train = np.random.default_rng(0).random((20, 12, 12))
    values = whole_image_correlation(train=train, synthetic=np.stack([0.3 * train[4] + 0.5, 1 - train[7]]))

    assert values[0] == pytest.approx(1.0, abs=1e-12)
    assert values[1] < 0.5


def test_an_image_of_one_value_or_another_size_is_refused() -> None:
    train = np.random.default_rng(0).random((5, 4, 4))
    with pytest.raises(AuditError, match="one value"):
        whole_image_correlation(train=train, synthetic=np.zeros((1, 4, 4)))
    with pytest.raises(AuditError, match="shape"):
        whole_image_correlation(train=train, synthetic=np.zeros((1, 4, 5)))
