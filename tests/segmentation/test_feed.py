"""The stream of training images: proportions, order, sizes, standardising."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from segmentation_helpers import reader_of, tumours

from synthrelease.errors import SegmentationError
from synthrelease.image_set import ImageRow, from_arrays
from synthrelease.image_writer import ImageSetWriter
from synthrelease.segmentation.augmentation import AugmentSettings
from synthrelease.segmentation.feed import MixedFeed, Reader, standardised
from synthrelease.segmentation.labels import labels_of
from synthrelease.segmentation.mixing import MixSettings, mixed

REAL = tumours(40, slices=2)
MADE = tumours(15, seed=1, name="made", subjects=False)


def _feed(arm: Any = "both", share: float = 0.5, **options: Any) -> MixedFeed:
    mix = mixed(arm, real=REAL, synthetic=MADE, settings=MixSettings(real_share=share))
    return MixedFeed(mix, reader_of(REAL), **{"batch": 6, "seed": 0, **options})


@pytest.mark.parametrize("share", [0.1, 0.5, 0.77])
def test_any_stretch_has_the_proportion_that_was_asked_for(share: float) -> None:
    feed = _feed(share=share)
    for start in (0, 13, 1000):
        reals = sum(feed.is_real(place) for place in range(start, start + 200))
        assert abs(reals - 200 * share) <= 1


def test_alone_means_alone() -> None:
    assert all(_feed("real").is_real(place) for place in range(50))
    assert not any(_feed("synthetic").is_real(place) for place in range(50))


def test_an_epoch_shows_every_image_once_and_the_next_in_another_order() -> None:
    feed = _feed("synthetic", batch=12)
    first, second = (feed.at_step(step)[0].reshape(12, -1) for step in (0, 1))
    assert len({tuple(image.tolist()) for image in first}) == 12
    assert {tuple(image.tolist()) for image in first} == {tuple(image.tolist()) for image in second}
    assert not torch.equal(first, second)


def test_batches_made_ahead_are_those_of_their_steps() -> None:
    feed = _feed(augment=AugmentSettings(), workers=3)
    stream = feed.batches(5)
    for step in (5, 6, 7):
        images, labels = next(stream)
        again = _feed(augment=AugmentSettings()).at_step(step)
        assert torch.equal(images, again[0])
        assert torch.equal(labels, again[1])
    stream.close()
    feed.close()


def test_processes_share_a_batch_and_leave_nothing_out() -> None:
    whole = _feed(augment=AugmentSettings()).at_step(3)[0]
    parts = [_feed(augment=AugmentSettings(), rank=rank, world=2).at_step(3)[0] for rank in (0, 1)]
    assert torch.equal(whole[0::2], parts[0])
    assert torch.equal(whole[1::2], parts[1])


def test_a_set_larger_than_the_memory_is_still_shown_whole(tmp_path: Path) -> None:
    many = tumours(100, seed=3, name="many", slices=1)
    with ImageSetWriter(tmp_path / "set", many.channels) as writer:
        writer.add("all", many.pixels, many.rows)
        stored = writer.close()
    mix = mixed("synthetic", real=None, synthetic=stored, settings=MixSettings())
    feed = MixedFeed(mix, reader_of(many), batch=80, seed=0, memory=3 * 16 * 24 * 24 * 2)
    assert feed._streams["synthetic"]._per_group == 1
    shown = {tuple(image.flatten().tolist()) for image in feed.at_step(0)[0]}
    assert mix.synthetic is not None
    assert shown == {
        tuple(image.flatten().tolist()) for image in standardised(stored.read(mix.synthetic.rows.tolist(), ("FLAIR",)))
    }
    feed.close()


def test_masks_stay_with_their_images() -> None:
    images, labels = _feed("real", batch=32).at_step(0)
    bright = (images[:, 0] * (labels == 1)).sum() / (labels == 1).sum()
    others = (images[:, 0] * (labels == 0)).sum() / (labels == 0).sum()
    assert bright > others + 1


def test_the_foreground_of_each_contrast_has_mean_0_and_sd_1() -> None:
    pixels = np.zeros((2, 2, 8, 8), np.uint8)
    pixels[:, 0, 2:6, 2:6] = np.random.default_rng(0).integers(50, 200, (2, 4, 4))
    pixels[:, 0, 0, 0] = 1  # what a generator leaves in the background
    found = standardised(pixels)
    inside = found[:, 0, 2:6, 2:6]
    assert torch.allclose(inside.mean((1, 2)), torch.zeros(2), atol=1e-6)
    assert torch.allclose(inside.std((1, 2), correction=0), torch.ones(2), atol=1e-5)
    assert found[:, 0, 0].abs().max() == 0
    assert found[:, 1].abs().max() == 0, "a contrast without anything on it"


def test_brightness_and_number_type_do_not_matter() -> None:
    pixels = REAL.read(slice(0, 4), ("FLAIR",))
    assert torch.allclose(standardised(pixels), standardised(pixels.astype(np.float32) * 7.5), atol=1e-4)


def test_pixels_that_are_not_finite_are_refused() -> None:
    with pytest.raises(SegmentationError, match="not finite"):
        standardised(np.full((1, 1, 2, 2), np.nan, np.float32))


def test_another_size_is_scaled_and_the_order_of_contrasts_does_not_matter() -> None:
    real = tumours(channels=("T1", "FLAIR", "mask"), size=24)
    pixels = np.kron(real.pixels[:, [2, 1, 0]], np.ones((1, 1, 2, 2), np.uint8))
    made = from_arrays(pixels, [ImageRow(f"m{i}") for i in range(len(real))], channels=("mask", "FLAIR", "T1"))
    reader = Reader(real.contrasts, real.size, labels_of(real))
    reader.check(made, "synthetic")
    small = reader.pixels(made.pixels, made.channels)
    assert small.shape == (12, 2, 24, 24)
    assert np.abs(small.astype(int) - real.pixels[:, :2].astype(int)).mean() < 5
    assert np.array_equal(reader.classes(made.pixels, made.channels), (real.pixels[:, 2] > 0).astype(np.uint8))


def test_sets_that_do_not_fit_say_everything_that_is_wrong() -> None:
    reader = Reader(("T1", "FLAIR"), (24, 36), labels_of(REAL))
    with pytest.raises(SegmentationError, match=r"lack the contrasts T1\. .*24 x 24 pixels"):
        reader.check(REAL, "real")
