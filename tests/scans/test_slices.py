"""Scaling, padding and the choice of slices, against values worked out by hand."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from synthrelease.scans.slices import by_maximum, cut, pad, padded_side, within_percentiles


@pytest.mark.parametrize(("size", "side"), [((240, 240), 256), ((256, 256), 256), ((155, 240), 256), ((20, 33), 64)])
def test_sides_become_the_next_multiple_of_32(size, side):
    assert padded_side(*size) == side


def test_padding_puts_the_image_in_the_centre():
    padded = pad(np.ones((1, 1, 240, 238), np.uint8), 256)

    assert padded.shape == (1, 1, 256, 256)
    assert padded[0, 0, 8:248, 9:247].all()
    assert padded.sum() == 240 * 238


def test_each_contrast_is_divided_by_its_own_maximum_over_the_volume():
    volume = np.zeros((2, 2, 2, 2), np.int16)
    volume[0, 0, 0, 0], volume[1, 0, 0, 0] = 1000, 500
    volume[0, 1, 1, 1], volume[1, 1, 1, 1] = -3, 10

    scaled = by_maximum(volume)

    assert scaled[0, 0, 0, 0] == 255
    assert scaled[1, 0, 0, 0] == 128  # 127.5 to the even neighbour
    assert scaled[1, 1, 1, 1] == 255
    assert scaled[0, 1, 1, 1] == 0


def test_an_empty_contrast_stays_empty():
    assert by_maximum(np.zeros((1, 1, 4, 4), np.float32)).max() == 0


def head(pixels: int, value: int = 1000) -> np.ndarray:
    """Return one 32 x 32 slice whose first ``pixels`` have ``value``."""
    flat = np.zeros(1024)
    flat[:pixels] = value
    return flat.reshape(32, 32)


def stacked(*slices: np.ndarray) -> np.ndarray:
    return np.stack(slices)[:, None]


def test_a_slice_needs_more_than_the_share_above_fifty():
    # 15 % of 1024 is 153.6; 196 of 255 times 1000 is far above 50, 190 of 1000 is 48.45 of 255.
    volume = stacked(head(153), head(154), head(400, 190), head(400))

    kept = cut(volume, None, numbers=(10, 11, 12, 13), scaling="akbar2024", least=0.15)

    assert kept.numbers == (11, 13)
    assert (kept.left_out, kept.rescued) == (2, False)


def test_the_share_counts_the_padding():
    volume = np.full((1, 1, 20, 20), 9.0)
    volume[0, 0, 0, 0] = 0

    for least, rescued in ((399.5 / 1024, True), (398.5 / 1024, False)):
        assert cut(volume, None, numbers=(0,), scaling="akbar2024", least=least).rescued is rescued


@pytest.mark.parametrize("scaling", ["akbar2024", "robust"])
def test_where_no_slice_passes_the_fullest_is_kept(scaling):
    kept = cut(stacked(head(10), head(30), head(20)), None, numbers=(0, 1, 2), scaling=scaling, least=0.15)

    assert (kept.numbers, kept.left_out, kept.rescued) == ((1,), 2, True)


def test_masks_travel_with_their_slices_unscaled():
    masks = np.stack([np.full((32, 32), level, np.uint8) for level in (51, 102)])

    kept = cut(stacked(head(10), head(500)), masks, numbers=(0, 1), scaling="akbar2024", least=0.15)

    assert kept.pixels.shape == (1, 2, 32, 32)
    assert (kept.pixels[0, 1] == 102).all()


def test_eight_bit_pictures_keep_their_scale_with_akbar2024_alone():
    volume = stacked(head(500, 100)).astype(np.uint8)

    kept = cut(volume, None, numbers=(0,), scaling="akbar2024", least=0.15, keep_scale=True)
    robust = cut(volume, None, numbers=(0,), scaling="robust", least=0.15, keep_scale=True)

    assert kept.pixels.max() == 100
    assert robust.pixels.max() != 100


def test_one_bright_voxel_moves_akbar2024_but_not_robust():
    random = np.random.default_rng(0)
    volume = stacked(*(head(600) * random.uniform(0.5, 1, (32, 32)) for _ in range(8)))
    spoiled = volume.copy()
    spoiled[0, 0, 0, 0] = 100_000

    def brightness(which: np.ndarray, scaling: str) -> float:
        kept = cut(which, None, numbers=tuple(range(8)), scaling=scaling, least=0.0)  # type: ignore[arg-type]
        return float(np.median(kept.pixels[kept.pixels > 0]))

    assert brightness(spoiled, "akbar2024") < 0.1 * brightness(volume, "akbar2024")
    assert brightness(spoiled, "robust") == pytest.approx(brightness(volume, "robust"), rel=0.02)


def test_percentiles_are_taken_within_the_brain():
    volume = np.zeros((1, 1, 1, 2001))
    volume[..., 1000:] = np.arange(100, 1101)
    brain = volume[:, 0] > 0

    scaled = within_percentiles(volume, brain)[0, 0, 0]

    # 0.5 and 99.5 % of 100..1100 are 105 and 1095.
    assert scaled[1000 + 5] == 0
    assert scaled[1000 + 995] == scaled[2000] == 255
    assert scaled[1000 + 500] == 128  # (600 - 105) / 990 * 255 = 127.5, to the even neighbour


@given(st.floats(0.5, 40), st.integers(0, 4))
def test_the_unit_of_intensity_changes_nothing(factor, seed):
    volume = np.random.default_rng(seed).integers(0, 1000, (3, 2, 8, 8)).astype(np.float32)

    difference = by_maximum(volume).astype(int) - by_maximum(volume * np.float32(factor)).astype(int)

    assert abs(difference).max() <= 1
