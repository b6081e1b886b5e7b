"""Intensities, spectra, structural similarity and masks: closed forms, and what corruptions do."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import ndimage
from scipy.stats import wasserstein_distance

from synthrelease import metrics
from synthrelease.errors import AuditError
from synthrelease.metrics import structure


def images(seed: int, count: int = 6, size: int = 64) -> np.ndarray:
    """Smooth random images in [0, 1]."""
    noise = np.random.default_rng(seed).standard_normal((count, size, size))
    smooth = ndimage.gaussian_filter(noise, (0, 2, 2))
    return np.clip(0.5 + smooth / (6 * smooth.std()), 0.01, 1)


def test_intensities_moved_by_a_step_are_that_far_apart() -> None:
    real, made = np.full((2, 32, 32), 0.25), np.full((3, 32, 32), 0.5)
    distance = metrics.intensity_distance(real=metrics.pixel_sums(real), synthetic=metrics.pixel_sums(made))

    assert distance == pytest.approx(0.25, abs=1 / 256)


def test_the_distance_of_intensities_is_scipys_between_foreground_pixels() -> None:
    real, made = images(0), images(1) ** 1.4
    real[:, :10], made[:, :20] = 0, 0  # background does not count

    found = metrics.intensity_distance(real=metrics.pixel_sums(real), synthetic=metrics.pixel_sums(made))
    assert found == pytest.approx(wasserstein_distance(real[real > 0], made[made > 0]), abs=1 / 256)


def test_a_black_set_is_refused_not_scored() -> None:
    black = metrics.pixel_sums(np.zeros((2, 16, 16)))
    with pytest.raises(AuditError, match="black"):
        metrics.intensity_distance(real=black, synthetic=metrics.pixel_sums(images(0, 2, 16)))
    with pytest.raises(AuditError, match="no finite images"):
        metrics.pixel_sums(np.full((1, 8, 8), np.nan))


def test_a_wave_has_its_power_at_its_own_frequency() -> None:
    wave = 0.5 + 0.4 * np.sin(2 * np.pi * 7 * np.arange(64) / 64)
    power = metrics.pixel_sums(np.tile(wave, (1, 64, 1))).power

    assert power.argmax() == 6  # frequencies start at 1
    assert power[6] > 1e6 * np.delete(power, 6).max()


def test_twice_the_contrast_is_four_times_the_power_at_every_frequency() -> None:
    one = images(0)
    half = 0.5 + (one - 0.5) / 2
    distance = metrics.spectrum_distance(real=metrics.pixel_sums(one), synthetic=metrics.pixel_sums(half))

    assert distance == pytest.approx(np.log10(4), rel=1e-9)


@pytest.mark.parametrize("kind", ["blur", "noise"])
def test_blur_and_noise_raise_the_distance_of_spectra(kind: str) -> None:
    real, fresh = images(0, 40, 32), images(1, 40, 32)
    noise = np.random.default_rng(0).standard_normal(fresh.shape) / 20
    broken = ndimage.gaussian_filter(fresh, (0, 1, 1)) if kind == "blur" else np.clip(fresh + noise, 0, 1)
    sums = [metrics.pixel_sums(x) for x in (real, fresh, broken)]

    clean = metrics.spectrum_distance(real=sums[0], synthetic=sums[1])
    assert metrics.spectrum_distance(real=sums[0], synthetic=sums[2]) > 3 * clean


def test_sums_over_shards_equal_the_sums_over_the_whole() -> None:
    whole = images(0, 10)
    parts = metrics.pixel_sums(whole[:3]) + metrics.pixel_sums(whole[3:])

    np.testing.assert_allclose(parts.power, metrics.pixel_sums(whole).power)
    np.testing.assert_array_equal(parts.histogram, metrics.pixel_sums(whole).histogram)
    assert parts.images == 10
    with pytest.raises(AuditError, match="different sizes"):
        parts + metrics.pixel_sums(images(0, 1, 32))


# MS-SSIM


def brute_similarity(a: np.ndarray, b: np.ndarray) -> float:
    """MS-SSIM written out with loops over windows, for images of two scales."""
    at = np.arange(11) - 5
    kernel = np.exp(-(at[:, None] ** 2 + at[None, :] ** 2) / (2 * 1.5**2))
    kernel /= kernel.sum()
    weights = np.array(structure.WEIGHTS[:2]) / sum(structure.WEIGHTS[:2])
    result = 1.0
    for scale in range(2):
        terms = []
        for i in range(a.shape[0] - 10):
            for j in range(a.shape[1] - 10):
                x, y = a[i : i + 11, j : j + 11], b[i : i + 11, j : j + 11]
                mx, my = (kernel * x).sum(), (kernel * y).sum()
                vx, vy = (kernel * (x - mx) ** 2).sum(), (kernel * (y - my) ** 2).sum()
                cross = (kernel * (x - mx) * (y - my)).sum()
                contrast = (2 * cross + 9e-4) / (vx + vy + 9e-4)
                terms.append(contrast * ((2 * mx * my + 1e-4) / (mx**2 + my**2 + 1e-4) if scale else 1))
        result *= np.mean(terms) ** weights[scale]
        a, b = (x.reshape(len(x) // 2, 2, len(x) // 2, 2).mean((1, 3)) for x in (a, b))
    return float(result)


def test_structural_similarity_equals_the_written_out_one() -> None:
    a = images(0, 1, 32)[0]
    b = np.clip(a + images(1, 1, 32)[0] / 3 - 0.1, 0, 1)

    assert structure.structural_similarity(a, b) == pytest.approx(brute_similarity(a, b), rel=1e-6)
    assert structure.structural_similarity(a, a) == pytest.approx(1)
    assert structure.structural_similarity(a, b) == structure.structural_similarity(b, a)


def test_images_too_small_or_of_two_sizes_are_refused() -> None:
    for first, second in ((np.zeros((8, 8)), np.zeros((8, 8))), (np.zeros((16, 16)), np.zeros((16, 17)))):
        with pytest.raises(AuditError, match="cannot be compared"):
            metrics.structural_similarity(first, second)


def test_a_collapsed_set_is_more_alike_than_a_varied_one() -> None:
    varied = images(3, 20)
    collapsed = np.clip(varied[:1] + images(4, 20) / 30, 0, 1)
    likeness = [metrics.mean_similarity(x[::2], x[1::2]) for x in (varied, collapsed)]

    assert likeness[1].low > likeness[0].high
    assert likeness[0].pairs == 10
    with pytest.raises(AuditError, match="fewer than two pairs"):
        metrics.mean_similarity(varied[:1], varied[1:2])


def test_pairs_share_no_image_and_no_subject() -> None:
    subjects = np.repeat(np.arange(9), 4)
    pairs = metrics.disjoint_pairs(subjects, 100)

    assert len(np.unique(pairs)) == pairs.size
    assert (subjects[pairs[:, 0]] != subjects[pairs[:, 1]]).all()
    assert len(pairs) >= 14
    assert len(metrics.disjoint_pairs(np.zeros(10), 100)) == 0  # one subject has no strangers


# Masks


def mask(size: int = 32, at: int = 8, side: int = 8) -> np.ndarray:
    """Nested squares: oedema (102), core (51), enhancing tumour (204) inside."""
    found = np.zeros((size, size), np.uint8)
    found[at : at + side, at : at + side] = 102
    found[at + 1 : at + side - 1, at + 1 : at + side - 1] = 51
    found[at + 2 : at + side - 2, at + 2 : at + side - 2] = 204
    return found


LABELS = (51, 102, 204)


def test_masks_of_one_kind_agree_with_themselves() -> None:
    sums = metrics.mask_sums(np.stack([mask(), mask(at=12)]), LABELS)

    assert metrics.mask_area_distance(real=sums, synthetic=sums) == 0
    assert metrics.mask_place_overlap(real=sums, synthetic=sums) == pytest.approx(1)
    assert metrics.mask_label_distance(real=sums, synthetic=sums) == 0
    assert metrics.mask_off_level(synthetic=sums) == 0
    assert metrics.mask_nesting(synthetic=sums) == 0


def test_every_fault_of_a_mask_moves_its_own_measure() -> None:
    real = metrics.mask_sums(np.stack([mask(), mask()]), LABELS)
    larger = metrics.mask_sums(np.stack([mask(side=16)] * 2), LABELS)
    elsewhere = metrics.mask_sums(np.stack([mask(at=22)] * 2), LABELS)
    relabelled = metrics.mask_sums(np.stack([np.where(mask() == 102, 51, mask())] * 2), LABELS)
    blurred = metrics.mask_sums(np.stack([np.where(mask() == 51, 77, mask())] * 2), LABELS)
    bare = metrics.mask_sums(np.stack([np.where(mask() == 204, 204, 0), mask()]), LABELS)

    assert metrics.mask_area_distance(real=real, synthetic=larger) == pytest.approx((256 - 64) / 1024)
    assert metrics.mask_place_overlap(real=real, synthetic=elsewhere) == 0
    assert metrics.mask_label_distance(real=real, synthetic=relabelled) == pytest.approx(28 / 64)
    assert metrics.mask_off_level(synthetic=blurred) == pytest.approx(20 / 64)
    assert metrics.mask_nesting(synthetic=bare) == 0.5


def test_masks_without_tumour_are_refused_where_they_say_nothing() -> None:
    empty, real = metrics.mask_sums(np.zeros((2, 32, 32)), LABELS), metrics.mask_sums(mask()[None], LABELS)
    with pytest.raises(AuditError, match="no tumour"):
        metrics.mask_place_overlap(real=real, synthetic=empty)
    with pytest.raises(AuditError, match="no tumour"):
        metrics.mask_off_level(synthetic=empty)
    assert metrics.mask_area_distance(real=real, synthetic=empty) == pytest.approx(64 / 1024)
