"""KID, precision and recall, Inception score, Vendi: closed forms and brute force."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.spatial.distance import cdist
from scipy.stats import entropy

from synthrelease.errors import AuditError
from synthrelease.metrics import inception_score, kernel_distance, precision_recall_density_coverage, vendi_score


def sample(seed: int, count: int = 120, width: int = 10) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal((count, width))


# KID


def brute_discrepancy(x: np.ndarray, y: np.ndarray) -> float:
    def kernel(a: np.ndarray, b: np.ndarray) -> float:
        return float((a @ b / len(a) + 1) ** 3)

    n, m = len(x), len(y)
    xx = sum(kernel(x[i], x[j]) for i in range(n) for j in range(n) if i != j) / (n * (n - 1))
    yy = sum(kernel(y[i], y[j]) for i in range(m) for j in range(m) if i != j) / (m * (m - 1))
    return xx + yy - 2 * sum(kernel(a, b) for a in x for b in y) / (n * m)


def test_one_full_subset_is_the_unbiased_discrepancy() -> None:
    x, y = sample(0, 40), sample(1, 40) + 0.3
    kid = kernel_distance(real=x, synthetic=y)

    assert kid.value == pytest.approx(brute_discrepancy(x, y), rel=1e-9)
    assert (kid.subsets, kid.subset_size, kid.deviation) == (1, 40, 0.0)


def test_subsets_average_to_the_whole_and_repeat_under_one_seed() -> None:
    x, y = sample(0, 60) + 1, sample(1, 80)
    draws = [
        kernel_distance(real=x, synthetic=y, random=np.random.default_rng(5), subsets=400, subset_size=20)
        for _ in range(2)
    ]

    assert draws[0] == draws[1]
    assert draws[0].value == pytest.approx(brute_discrepancy(x, y), abs=4 * draws[0].deviation / np.sqrt(400))
    other = kernel_distance(real=x, synthetic=y, random=np.random.default_rng(6), subsets=400, subset_size=20)
    assert other.value != draws[0].value


def test_kernel_distance_has_no_bias_between_samples_of_one_law() -> None:
    values = [kernel_distance(real=sample(s), synthetic=sample(s + 500)).value for s in range(60)]

    assert np.mean(values) == pytest.approx(0, abs=3 * np.std(values) / np.sqrt(60))


def test_impossible_subsets_are_refused() -> None:
    for wrong in ({"subsets": 0}, {"subset_size": 1}):
        with pytest.raises(AuditError):
            kernel_distance(real=sample(0), synthetic=sample(1), **wrong)


# Precision, recall, density, coverage


@pytest.mark.parametrize(("n", "m", "k"), [(120, 90, 5), (40, 130, 1), (30, 30, 29)])
def test_coverage_agrees_with_brute_force(n: int, m: int, k: int) -> None:
    real, synthetic = sample(0, n), sample(1, m) * 0.8
    real_radii = np.sort(cdist(real, real), axis=1)[:, k]
    synthetic_radii = np.sort(cdist(synthetic, synthetic), axis=1)[:, k]
    dense = cdist(real, synthetic)

    found = precision_recall_density_coverage(real=real, synthetic=synthetic, k=k)
    assert found.precision == pytest.approx((dense < real_radii[:, None]).any(axis=0).mean())
    assert found.recall == pytest.approx((dense < synthetic_radii).any(axis=1).mean())
    assert found.density == pytest.approx((dense < real_radii[:, None]).sum(axis=0).mean() / k)
    assert found.coverage == pytest.approx((dense.min(axis=1) < real_radii).mean())


def test_the_real_set_itself_scores_one_everywhere() -> None:
    """Each ball holds its own centre and k - 1 neighbours; the k-th lies on the edge, which does not count."""
    found = precision_recall_density_coverage(real=sample(0) * 1e3 + 1e4, synthetic=sample(0)[::-1] * 1e3 + 1e4)

    assert (found.precision, found.recall, found.density, found.coverage) == (1.0, 1.0, 1.0, 1.0)


def test_sets_far_apart_score_zero_everywhere() -> None:
    found = precision_recall_density_coverage(real=sample(0), synthetic=sample(1) + 1e3)

    assert (found.precision, found.recall, found.density, found.coverage) == (0.0, 0.0, 0.0, 0.0)


def test_swapping_the_sets_swaps_precision_and_recall_and_dropping_a_mode_costs_recall() -> None:
    real = np.concatenate([sample(0), sample(1) + 50])
    forward = precision_recall_density_coverage(real=real, synthetic=sample(2))
    backward = precision_recall_density_coverage(real=sample(2), synthetic=real)

    assert (forward.precision, forward.recall) == (backward.recall, backward.precision)
    assert forward.recall <= 0.5 < 0.9 < forward.precision
    assert forward.coverage <= 0.5


def test_more_neighbours_than_images_are_refused() -> None:
    with pytest.raises(AuditError, match="at least 6"):
        precision_recall_density_coverage(real=sample(0), synthetic=sample(1, 5))
    with pytest.raises(AuditError, match="k = 0"):
        precision_recall_density_coverage(real=sample(0), synthetic=sample(1), k=0)


# Inception score


def probabilities(seed: int, count: int, classes: int) -> np.ndarray:
    return np.random.default_rng(seed).dirichlet(np.full(classes, 0.3), count)


def test_inception_score_agrees_with_scipys_entropy() -> None:
    P = probabilities(0, 200, 7)

    expected = np.exp(np.mean([entropy(row, P.mean(axis=0)) for row in P]))
    found = inception_score(probabilities=P, splits=1)
    assert found.value == pytest.approx(expected, rel=1e-9)
    assert (found.classes, found.splits, found.deviation) == (7, 1, 0.0)


def test_certain_and_even_predictions_reach_the_number_of_classes() -> None:
    assert inception_score(probabilities=np.tile(np.eye(4), (5, 1)), splits=1).value == pytest.approx(4.0, rel=1e-12)


def test_splits_are_shuffled_parts_with_their_mean_and_spread() -> None:
    P = probabilities(0, 100, 5)
    order = np.random.default_rng(3).permutation(100)
    scores = [
        np.exp(np.mean([entropy(row, part.mean(axis=0)) for row in part])) for part in np.array_split(P[order], 10)
    ]

    found = inception_score(probabilities=P, random=np.random.default_rng(3))
    assert found.value == pytest.approx(np.mean(scores), rel=1e-9)
    assert found.deviation == pytest.approx(np.std(scores), rel=1e-9)


@pytest.mark.parametrize(
    "bad", [np.ones((40, 1)), sample(0), np.full((40, 3), 1 / 3), probabilities(0, 19, 3), probabilities(0, 40, 3) * 2]
)
def test_what_is_not_probabilities_gets_no_score(bad: np.ndarray) -> None:
    with pytest.raises(AuditError):
        inception_score(probabilities=bad)


# Vendi


def brute_vendi(features: np.ndarray) -> float:
    unit = features / np.linalg.norm(features, axis=1, keepdims=True)
    values = np.linalg.eigvalsh(unit @ unit.T / len(unit))
    return float(np.exp(entropy(values[values > 1e-14], base=np.e)))


@pytest.mark.parametrize(("n", "d"), [(120, 10), (10, 10), (9, 40)])
def test_vendi_agrees_with_the_kernel_form_at_any_shape(n: int, d: int) -> None:
    assert vendi_score(sample(0, n, d)) == pytest.approx(brute_vendi(sample(0, n, d)), rel=1e-9)


def test_vendi_counts_directions_not_lengths_or_repeats() -> None:
    axes = np.diag([1.0, 2.0, 30.0, 4e5])

    assert vendi_score(axes) == pytest.approx(4.0, rel=1e-12)
    assert vendi_score(np.tile(axes, (6, 1))) == pytest.approx(4.0, rel=1e-12)
    assert vendi_score(np.array([[1.0, 1.0], [2.0, 2.0], [5.0, 5.0]])) == pytest.approx(1.0, rel=1e-12)


def test_vendi_cannot_tell_copies_from_new_images_but_sees_collapse() -> None:
    rotation = np.linalg.qr(sample(1, 10))[0]
    collapsed = np.concatenate([sample(0)] + [sample(0)[:1]] * 400)

    assert vendi_score(sample(0) @ rotation) == pytest.approx(vendi_score(sample(0)), rel=1e-9)
    assert vendi_score(collapsed) < 0.5 * vendi_score(sample(0))


@pytest.mark.parametrize(
    "bad", [np.ones((5, 3)), np.full((5, 3), np.nan), np.eye(3)[:1], np.zeros((4, 4)), np.eye(4) * [1, 1, 0, 1]]
)
def test_vendi_refuses_what_has_no_directions(bad: np.ndarray) -> None:
    with pytest.raises(AuditError):
        vendi_score(bad)
