"""Matching quality: a known blur and noise are found, and nothing where both sets are alike."""

from __future__ import annotations

import numpy as np
import pytest
from audit_helpers import subject
from scipy import ndimage

from synthrelease.features.analysis import analysis_images
from synthrelease.image_set import ImageRow, from_arrays
from synthrelease.privacy.gallery import Frame
from synthrelease.privacy.queries import Degradation
from synthrelease.privacy.transfer import BLURS, match_quality
from synthrelease.progress import SILENT


def phantoms(first, count=6):
    return np.concatenate([subject(i)[0] for i in range(first, first + count)])


def a_set(pixels):
    return from_arrays(pixels, [ImageRow(str(i)) for i in range(len(pixels))])


def matched(real, made, tmp_path, size=64):
    frame = Frame(tuple(f"channel{i}" for i in range(real.shape[1])), size, tmp_path, SILENT)
    return match_quality(a_set(real), a_set(made), frame)


def test_two_samples_of_one_source_need_nothing_or_hardly_anything(tmp_path):
    found = [matched(phantoms(first, 12), phantoms(first + 12, 12), tmp_path) for first in (0, 24, 48, 72, 96)]

    assert np.median([one.blur_sd for one in found]) == 0
    assert max(one.blur_sd for one in found) <= 1 / 128  # sampling: a step or two of the grid, which moves no score
    assert max(one.noise_sd for one in found) == 0


def test_the_same_images_need_nothing(tmp_path):
    assert not matched(phantoms(0), phantoms(0), tmp_path).any


@pytest.mark.parametrize("sd", [1.0, 1.5, 2.0, 3.0])
def test_a_known_blur_is_found_within_a_step(sd, tmp_path):
    share = sd / 128
    blurred = ndimage.gaussian_filter(phantoms(10), (0, 0, share * 64, share * 64)).astype(np.float32)

    found = matched(phantoms(0), blurred, tmp_path)

    steps = np.abs(np.array(BLURS) - share).argmin() - np.abs(np.array(BLURS) - found.blur_sd).argmin()
    assert abs(int(steps)) <= 1
    assert found.noise_sd == 0


@pytest.mark.parametrize("sd", [0.04, 0.08])
def test_a_known_noise_is_found(sd, tmp_path):
    real = ndimage.gaussian_filter(phantoms(0), (0, 0, 1, 1))
    made = ndimage.gaussian_filter(phantoms(10), (0, 0, 1, 1))
    inside = made + sd * np.random.default_rng(0).standard_normal(made.shape)

    found = matched(real.astype(np.float32) * 0.6 + 0.2, inside.astype(np.float32) * 0.6 + 0.2, tmp_path)

    assert found.blur_sd == 0
    assert found.noise_sd == pytest.approx(sd, rel=0.3)


def test_sharper_or_cleaner_synthetic_images_do_not_degrade_anything(tmp_path):
    blurred = ndimage.gaussian_filter(phantoms(0), (0, 0, 1, 1)).astype(np.float32)

    assert not matched(blurred, phantoms(10), tmp_path).blur_sd


def test_degrading_does_what_was_measured(tmp_path):
    real, made = phantoms(0), phantoms(10)
    blurred = ndimage.gaussian_filter(made, (0, 0, 1, 1)).astype(np.float32)
    degradation = matched(real, blurred, tmp_path)

    again = matched(degradation.apply(analysis_images(real, 64), 0, 0), blurred, tmp_path)

    assert degradation.any
    assert again.blur_sd <= 0.75 / 128


def test_the_noise_of_an_image_depends_on_its_place_alone():
    images = phantoms(0)[:4]
    noisy = Degradation(0.0, 0.05)

    together = noisy.apply(images, 3, 10)

    np.testing.assert_array_equal(noisy.apply(images[2:3], 3, 12), together[2:3])
    assert not np.array_equal(noisy.apply(images[2:3], 4, 12), together[2:3])
    assert Degradation().apply(images, 0, 0) is images
