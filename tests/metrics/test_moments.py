"""Moments in shards, distances from them, extrapolation to infinitely many images, and jackknife intervals."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import linalg

from synthrelease.errors import AuditError
from synthrelease.metrics import frechet_distance, frechet_distance_extrapolated, frechet_from_moments, moments
from synthrelease.metrics.jackknife import jackknife_interval, parts_of
from synthrelease.metrics.moments import together


def sample(seed: int, count: int = 300, width: int = 12) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal((count, width))


def textbook(real: np.ndarray, synthetic: np.ndarray) -> float:
    """SciPy's square root of the product of covariances."""
    S, R, shift = np.cov(real.T), np.cov(synthetic.T), real.mean(0) - synthetic.mean(0)
    return float(shift @ shift + np.trace(S) + np.trace(R) - 2 * np.trace(linalg.sqrtm(S @ R)).real)


@pytest.mark.parametrize("shards", [1, 3, 7])
def test_any_number_of_shards_gives_the_moments_of_the_whole(shards: int) -> None:
    table = sample(0) * 5 + 1e4
    found = together(moments(part) for part in np.array_split(table, shards))

    assert found.count == len(table)
    np.testing.assert_allclose(found.mean, table.mean(0), rtol=1e-12)
    np.testing.assert_allclose(found.covariance, np.cov(table.T), rtol=1e-9)


def test_blocks_of_a_long_table_are_joined_without_loss() -> None:
    table = sample(1, 5000, 4)

    np.testing.assert_allclose(moments(table).covariance, np.cov(table.T), rtol=1e-11)


@pytest.mark.parametrize(("count", "width"), [(500, 12), (60, 50), (13, 12), (2000, 3)])
def test_the_distance_from_moments_equals_the_textbook(count: int, width: int) -> None:
    x, g = sample(2, count, width), 1.3 * sample(3, count + 5, width) @ np.diag(np.linspace(0.2, 2, width)) + 0.4

    expected = textbook(x, g)
    assert frechet_from_moments(real=moments(x), synthetic=moments(g)) == pytest.approx(expected, rel=1e-6)
    assert frechet_distance(real=x, synthetic=g) == pytest.approx(expected, rel=1e-6)


def test_features_that_repeat_others_are_no_trouble() -> None:
    x, g = sample(4, 200, 6), sample(5, 220, 6) + 0.3
    once = frechet_distance(real=x, synthetic=g)

    doubled = frechet_distance(real=np.hstack([x, x]), synthetic=np.hstack([g, g]))
    assert doubled == pytest.approx(2 * once, rel=1e-6)
    padded = [np.hstack([one, np.full((len(one), 5), 7.0)]) for one in (x, g)]
    assert frechet_distance(real=padded[0], synthetic=padded[1]) == pytest.approx(once, rel=1e-6)


def test_moments_that_cannot_be_compared_are_refused() -> None:
    one = moments(sample(0, 1, 4))
    with pytest.raises(AuditError, match="give no distance"):
        frechet_from_moments(real=one, synthetic=moments(sample(1, 5, 4)))
    with pytest.raises(AuditError, match="give no distance"):
        frechet_from_moments(real=moments(sample(0, 9, 3)), synthetic=moments(sample(1, 5, 4)))
    with pytest.raises(AuditError, match="NaN"):
        moments(np.array([[1.0, np.nan], [0.0, 1.0]]))


def test_memory_does_not_grow_with_the_number_of_images() -> None:
    import tracemalloc

    peaks = []
    for count in (20_000, 60_000):
        table = np.zeros((count, 32), np.float32)
        table[::2] = 1
        tracemalloc.start()
        moments(table)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] < 1.5 * peaks[0]
    assert peaks[1] < 60_000 * 32 * 4  # less than the table itself


# FD infinity


def test_extrapolation_removes_the_bias_of_few_synthetic_images() -> None:
    real = sample(6, 4000, 30)
    plain, extrapolated = [], []
    for seed in range(10):
        g = sample(100 + seed, 300, 30)
        plain.append(frechet_distance(real=real, synthetic=g))
        extrapolated.append(frechet_distance_extrapolated(real=real, synthetic=g).value)

    # Both are of one law: the true distance is 0, and what the 4,000 real images leave is small.
    assert np.mean(plain) > 0.5
    assert abs(np.mean(extrapolated)) < 0.25 * np.mean(plain)


def test_extrapolation_keeps_a_true_shift_and_names_its_sizes() -> None:
    found = frechet_distance_extrapolated(real=sample(7, 3000, 8), synthetic=sample(8, 800, 8) + 1)

    assert found.value == pytest.approx(8, abs=0.6)
    assert found.low < found.value < found.high
    assert found.sizes[0] == 80
    assert found.sizes[-1] == 800
    with pytest.raises(AuditError, match="too few"):
        frechet_distance_extrapolated(real=sample(7), synthetic=sample(8, 19))


# Intervals


def test_parts_hold_whole_groups_of_similar_total_size() -> None:
    groups = np.repeat([f"p{i}" for i in range(17)], np.arange(1, 18))
    part = parts_of(groups, 4)

    assert {len(np.unique(part[groups == name])) for name in np.unique(groups)} == {1}
    sizes = np.bincount(part)
    assert len(sizes) == 4
    assert sizes.max() - sizes.min() <= 17
    assert parts_of(["a", "a", "b"], 5).max() == 1


def test_the_interval_of_a_difference_of_means_covers_it_as_often_as_it_says() -> None:
    def statistic(real, synthetic):
        return np.array([np.concatenate(real).mean() - np.concatenate(synthetic).mean()])

    covered = []
    for seed in range(300):
        random = np.random.default_rng(seed)
        real, made = random.standard_normal((5, 30)), 2 + 3 * random.standard_normal((5, 20))
        value = statistic(list(real), list(made))
        low, high = jackknife_interval(statistic, real=list(real), synthetic=list(made), value=value)
        covered.append(bool(low[0] <= -2 <= high[0]))
    assert 0.92 <= np.mean(covered) <= 0.985


def test_a_set_of_one_part_has_no_interval() -> None:
    assert jackknife_interval(lambda r, s: np.zeros(1), real=[1], synthetic=[1, 2], value=np.zeros(1)) is None
