"""Frechet distance: closed forms, properties, and agreement with the textbook formula."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import linalg

from synthrelease.errors import AuditError
from synthrelease.metrics import frechet as module
from synthrelease.metrics import frechet_distance, least_cosine_distance, memorization_informed_frechet_distance


def sample(seed: int, count: int, width: int) -> np.ndarray:
    random = np.random.default_rng(seed)
    return random.standard_normal((count, width)) @ random.standard_normal((width, width)) + random.standard_normal(
        width
    )


def by_the_book(real: np.ndarray, synthetic: np.ndarray) -> float:
    """The symmetric form, with SciPy's own matrix square root of S_X, then of S_X^1/2 S_G S_X^1/2."""
    S, R = np.cov(real.T), np.cov(synthetic.T)
    values, vectors = np.linalg.eigh(S)
    root = (vectors * np.sqrt(np.maximum(values, 0))) @ vectors.T
    shared = np.sqrt(np.maximum(np.linalg.eigvalsh(root @ R @ root), 0)).sum()
    shift = real.mean(0) - synthetic.mean(0)
    return float(shift @ shift + np.trace(S) + np.trace(R) - 2 * shared)


SIZES = [(300, 300, 20), (20, 20, 20), (21, 30, 20), (8, 9, 20), (8, 300, 20), (300, 8, 20), (19, 20, 20)]


@pytest.mark.parametrize(("n", "m", "d"), SIZES)
def test_agrees_with_the_textbook_formula_at_any_shape(n: int, m: int, d: int) -> None:
    real, synthetic = sample(0, n, d), sample(1, m, d)

    assert frechet_distance(real=real, synthetic=synthetic) == pytest.approx(by_the_book(real, synthetic), rel=1e-6)


def test_agrees_with_scipys_square_root_of_the_product() -> None:
    real, synthetic = sample(0, 200, 30), sample(1, 150, 30)
    S, R = np.cov(real.T), np.cov(synthetic.T)
    shift = real.mean(0) - synthetic.mean(0)

    expected = shift @ shift + np.trace(S + R - 2 * linalg.sqrtm(S @ R).real)
    assert frechet_distance(real=real, synthetic=synthetic) == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("n", [12, 200])
def test_rank_deficient_features_agree_with_the_same_features_in_fewer_dimensions(n: int) -> None:
    real, synthetic = sample(0, n, 5), sample(1, n + 3, 5)
    axes = np.linalg.qr(np.random.default_rng(2).standard_normal((40, 5)))[0].T  # 5 directions in 40 dimensions

    expected = frechet_distance(real=real, synthetic=synthetic)
    assert frechet_distance(real=real @ axes, synthetic=synthetic @ axes) == pytest.approx(expected, rel=1e-6)


def test_features_that_never_fire_cost_nothing() -> None:
    real, synthetic = sample(0, 100, 6), sample(1, 100, 6)
    silent = np.zeros((100, 4))

    expected = frechet_distance(real=real, synthetic=synthetic)
    padded = frechet_distance(real=np.hstack([real, silent]), synthetic=np.hstack([synthetic, silent]))
    assert padded == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize(("n", "d"), [(400, 4), (10, 40), (40, 40)])
def test_shifting_every_feature_costs_the_squared_length_of_the_shift(n: int, d: int) -> None:
    images = sample(0, n, d)
    shift = np.arange(1, d + 1, dtype=float)

    assert frechet_distance(real=images, synthetic=images + shift) == pytest.approx(shift @ shift, rel=1e-6)


@pytest.mark.parametrize(("n", "d"), [(400, 4), (10, 40)])
def test_doubling_the_spread_costs_the_variance(n: int, d: int) -> None:
    images = sample(0, n, d)
    images -= images.mean(0)

    distance = frechet_distance(real=images, synthetic=2 * images)
    assert distance == pytest.approx(np.trace(np.cov(images.T)), rel=1e-6)


@pytest.mark.parametrize(("n", "d"), [(400, 4), (10, 40), (41, 40)])
def test_identical_sets_are_at_zero_in_any_order(n: int, d: int) -> None:
    images = sample(0, n, d)
    size = float(np.trace(np.cov(images.T)))

    assert frechet_distance(real=images, synthetic=images[::-1]) == pytest.approx(0.0, abs=1e-10 * size)


def test_rotation_swap_and_order_change_nothing_and_scale_squares() -> None:
    real, synthetic = sample(0, 90, 12), sample(1, 70, 12)
    rotation = np.linalg.qr(np.random.default_rng(3).standard_normal((12, 12)))[0]
    distance = frechet_distance(real=real, synthetic=synthetic)

    assert frechet_distance(real=synthetic, synthetic=real) == pytest.approx(distance)
    assert frechet_distance(real=real @ rotation, synthetic=synthetic @ rotation) == pytest.approx(distance)
    assert frechet_distance(real=real[::-1], synthetic=synthetic) == pytest.approx(distance)
    assert frechet_distance(real=real * 3, synthetic=synthetic * 3) == pytest.approx(9 * distance)


def test_singular_values_are_taken_where_squaring_would_lose_them() -> None:
    product = np.diag([1.0, 1e-9, 1e-10])

    fast = module._nuclear_norm(product, tolerance=np.inf, against=0.0)
    careful = module._nuclear_norm(product, tolerance=1e-8, against=2.0)
    assert careful == pytest.approx(1 + 1.1e-9, abs=1e-15)
    assert fast == pytest.approx(careful, abs=1e-7)


def test_agrees_with_torchmetrics() -> None:
    fid = pytest.importorskip("torchmetrics.image.fid")
    torch = pytest.importorskip("torch")
    metric = fid.FrechetInceptionDistance(torch.nn.Identity(), input_img_size=(20,))
    metric.set_dtype(torch.float64)
    real, synthetic = sample(0, 300, 20), sample(1, 250, 20)
    metric.update(torch.from_numpy(real), real=True)
    metric.update(torch.from_numpy(synthetic), real=False)

    assert frechet_distance(real=real, synthetic=synthetic) == pytest.approx(float(metric.compute()), rel=1e-6)


def brute_cosine(train: np.ndarray, synthetic: np.ndarray) -> np.ndarray:
    lengths = np.linalg.norm(synthetic, axis=1)[:, None] * np.linalg.norm(train, axis=1)
    return (1 - np.abs(synthetic @ train.T) / lengths).min(axis=1)


@pytest.mark.parametrize("positive", [True, False])
def test_least_cosine_distance_agrees_with_brute_force(positive: bool) -> None:
    train, synthetic = sample(0, 50, 8), sample(1, 60, 8)
    if positive:
        train, synthetic = np.abs(train), np.abs(synthetic)

    assert least_cosine_distance(train=train, synthetic=synthetic) == pytest.approx(
        brute_cosine(train, synthetic), rel=1e-6, abs=1e-13
    )


def test_mifid_divides_by_the_mean_over_synthetic_not_over_train() -> None:
    train, synthetic = sample(0, 50, 2), sample(1, 70, 2)  # two dimensions: everything is near something
    least = brute_cosine(train, synthetic).mean()
    assert least < 0.1
    assert least != pytest.approx(brute_cosine(synthetic, train).mean(), rel=1e-3)

    expected = frechet_distance(real=train, synthetic=synthetic) / least
    assert memorization_informed_frechet_distance(train=train, synthetic=synthetic) == pytest.approx(expected, rel=1e-6)


def test_mifid_is_fid_where_synthetic_keeps_its_distance() -> None:
    train, synthetic = (np.random.default_rng(seed).standard_normal((60, 80)) for seed in (0, 1))
    assert brute_cosine(train, synthetic).mean() >= 0.1

    expected = frechet_distance(real=train, synthetic=synthetic)
    assert memorization_informed_frechet_distance(train=train, synthetic=synthetic) == expected


def test_mifid_of_nothing_but_copies_is_enormous() -> None:
    train = np.random.default_rng(0).standard_normal((60, 80))
    new = np.random.default_rng(1).standard_normal((30, 80))

    copies = memorization_informed_frechet_distance(train=train, synthetic=train[:30])
    assert copies > 1e9 * memorization_informed_frechet_distance(train=train, synthetic=new)


def test_mifid_sees_mirrored_directions_as_copies() -> None:
    train = sample(0, 40, 20)

    assert least_cosine_distance(train=train, synthetic=-train[:5]).tolist() == [0.0] * 5


def test_images_without_direction_are_refused() -> None:
    train, synthetic = sample(0, 20, 5), sample(1, 20, 5)
    synthetic[3] = 0

    with pytest.raises(AuditError, match="synthetic has 1 images"):
        memorization_informed_frechet_distance(train=train, synthetic=synthetic)
