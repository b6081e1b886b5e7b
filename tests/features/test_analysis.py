"""Images as the audit compares them: each on its own, whatever its shape and whatever lies beside it."""

from __future__ import annotations

import numpy as np
import pytest

from synthrelease.features.analysis import analysis_images, analysis_masks


@pytest.mark.parametrize("shape", [(40, 24), (24, 40), (32, 32), (96, 50)])
def test_an_image_does_not_depend_on_its_block(shape):
    images = np.random.default_rng(0).standard_normal((6, 2, *shape)).astype(np.float32)
    images[5] -= 3000  # one wild neighbour

    together = analysis_images(images, 64)

    for row in range(5):
        np.testing.assert_array_equal(together[row], analysis_images(images[row : row + 1], 64)[0])


def test_padding_is_dark_on_both_sides_and_the_image_lies_in_the_middle():
    image = np.full((1, 1, 20, 40), 7.0, np.float32)
    image[..., ::2] = 9

    square = analysis_images(image, 40)[0, 0]

    assert square.shape == (40, 40)
    assert not square[:10].any()
    assert not square[30:].any()
    assert square[10:30].max() == 1


@pytest.mark.parametrize("factor", [1, 257, 1 / 255])
def test_eight_bit_sixteen_bit_and_float_files_of_one_scene_are_equal(factor):
    scene = np.random.default_rng(1).integers(0, 255, (2, 1, 32, 32)).astype(np.float32)
    np.testing.assert_allclose(analysis_images(scene * factor, 32), analysis_images(scene, 32), atol=1e-5)


@pytest.mark.parametrize("shape", [(40, 24), (24, 40), (50, 50)])
def test_masks_lie_where_their_images_lie(shape):
    mask = np.zeros((1, *shape), np.uint8)
    mask[:, shape[0] // 4 : shape[0] // 2, shape[1] // 4 : shape[1] // 2] = 51

    image = analysis_images(mask[:, None].astype(np.float32), 64)[0, 0] > 0.5
    label = analysis_masks(mask, 64)[0] > 0

    assert (image ^ label).sum() <= 0.1 * label.sum() + 8
