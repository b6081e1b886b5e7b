"""The stream of training images: complete, repeatable from any place, shared out without overlap, and bounded."""

from __future__ import annotations

from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from synthrelease.errors import ScanError, SettingsError
from synthrelease.generators.image_feed import ImageFeed, fitted
from synthrelease.image_set import MASK, ImageRow, ImageSet, from_arrays
from synthrelease.image_writer import ImageSetWriter

LITTLE = 3 * 16 * 8 * 8 * 2  # bytes: three groups of two chunks of 8 px, one channel


def _numbered(count: int, *, size: int = 8) -> ImageSet:
    """Return one-channel images that hold their own number."""
    pixels = np.broadcast_to(np.arange(count, dtype=np.uint8)[:, None, None, None], (count, 1, size, size))
    return from_arrays(pixels.copy(), [ImageRow(f"{i}") for i in range(count)], channels=("T1",))


def _numbers(batch: torch.Tensor) -> list[int]:
    return [round(float(image[0, 0, 0] + 1) * 127.5) for image in batch]


def _set_of(pixels: Any, channels: tuple[str, ...]) -> ImageSet:
    return from_arrays(np.asarray(pixels), [ImageRow(f"{i}") for i in range(len(pixels))], channels=channels)


@pytest.mark.parametrize("memory", [2**30, LITTLE], ids=["all in memory", "a little at a time"])
def test_every_epoch_shows_every_image_once(memory: int) -> None:
    feed = ImageFeed(_numbered(100), resolution=8, batch=10, seed=3, memory=memory)
    epochs = [sorted(n for step in range(start, start + 10) for n in _numbers(feed.at_step(step))) for start in (0, 10)]
    assert epochs == [list(range(100))] * 2
    assert _numbers(feed.at_step(0)) != _numbers(feed.at_step(10)), "each epoch has its own order"


@pytest.mark.parametrize("memory", [2**30, LITTLE], ids=["all in memory", "a little at a time"])
@pytest.mark.parametrize("step", [0, 7, 23])
def test_a_batch_depends_on_seed_and_step_alone(memory: int, step: int) -> None:
    images = _numbered(90)
    feed = ImageFeed(images, resolution=8, batch=12, seed=1, memory=memory)
    walked = (feed.at_step(step) for step in count())
    for _ in range(step):
        next(walked)
    again = ImageFeed(images, resolution=8, batch=12, seed=1, memory=memory)
    assert torch.equal(next(walked), again.at_step(step))
    other = ImageFeed(images, resolution=8, batch=12, seed=2, memory=memory)
    assert not torch.equal(again.at_step(step), other.at_step(step))


@pytest.mark.parametrize("memory", [2**30, LITTLE], ids=["all in memory", "a little at a time"])
def test_processes_see_disjoint_parts_of_the_same_batch(memory: int) -> None:
    images = _numbered(80)
    alone = ImageFeed(images, resolution=8, batch=8, seed=4, memory=memory)
    ranks = [ImageFeed(images, resolution=8, batch=8, seed=4, rank=r, world=4, memory=memory) for r in range(4)]
    for step in (0, 9, 13):
        parts = [number for feed in ranks for number in _numbers(feed.at_step(step))]
        assert sorted(parts) == sorted(_numbers(alone.at_step(step)))
        assert len(set(parts)) == 8


@pytest.mark.parametrize("memory", [2**30, LITTLE], ids=["all in memory", "a little at a time"])
def test_row_numbers_name_the_images_of_a_batch(memory: int) -> None:
    feed = ImageFeed(_numbered(90), resolution=8, batch=7, seed=0, memory=memory)
    assert all(feed.indices_at(step).tolist() == _numbers(feed.at_step(step)) for step in range(30))


def test_a_large_set_is_read_once_an_epoch_and_never_held_whole(tmp_path: Path) -> None:
    with ImageSetWriter(tmp_path / "set", ("T1",)) as writer:
        numbered = _numbered(240)
        writer.add("all", numbered.read(slice(None)), numbered.rows)
        images = writer.close()
    read: list[int] = []

    class Watched:
        ndim, shape, dtype = 4, images.pixels.shape, images.pixels.dtype

        def __getitem__(self, rows: slice) -> Any:
            read.append(rows.start)
            return images.pixels[rows]

    watched = ImageSet(images.channels, images.rows, Watched(), "")
    feed = ImageFeed(watched, resolution=8, batch=24, seed=0, memory=LITTLE)
    most = 0
    for step in range(10):
        feed.at_step(step)
        most = max(most, sum(group.result().nbytes for group in feed._loaded.values()))
    feed.close()
    assert most <= LITTLE
    assert sorted(set(read)) == list(range(0, 240, 16))
    assert len(read) <= 15 + 4, "one epoch, and at most what was read ahead of the next"


def test_pixels_become_minus_one_to_one_and_240_px_become_256_by_padding_alone() -> None:
    random = np.random.default_rng(0)
    pixels = random.integers(0, 256, (2, 5, 240, 240), dtype=np.uint8)
    pixels[0, 0, 0, 0], pixels[0, 0, 0, 1] = 0, 255
    feed = ImageFeed(_set_of(pixels, tuple("abcde")), resolution=256, batch=2, seed=0)
    batch = feed.at_step(0)[np.argsort(feed.indices_at(0))]
    assert batch.shape == (2, 5, 256, 256)
    assert np.array_equal(np.rint((batch.numpy() + 1) * 127.5)[:, :, 8:248, 8:248], pixels)
    assert bool((batch[:, :, :8] == -1).all())
    assert float(batch.max()) == 1.0


@pytest.mark.parametrize("shape", [(60, 40), (33, 64), (12, 9)])
@pytest.mark.parametrize("channels", [("T1",), ("T1", MASK), (MASK, "a", "b", "c", "d", "e", "f")])
def test_any_size_and_channel_count_becomes_a_square_whose_mask_keeps_its_levels(
    shape: tuple[int, int], channels: tuple[str, ...]
) -> None:
    random = np.random.default_rng(1)
    pixels = random.integers(0, 256, (3, len(channels), *shape), dtype=np.uint8)
    if MASK in channels:
        pixels[:, channels.index(MASK)] = random.choice([0, 51, 204], (3, *shape))
    feed = ImageFeed(_set_of(pixels, channels), resolution=32, batch=3, seed=0)
    batch = feed.at_step(0)
    assert batch.shape == (3, len(channels), 32, 32)
    if MASK in channels:
        found = np.rint((batch[:, channels.index(MASK)].numpy() + 1) * 127.5)
        assert set(np.unique(found)) <= {0, 51, 204}
        assert feed.levels == (0, 51, 204)


def test_shrinking_keeps_the_mean_of_a_contrast() -> None:
    smooth = np.add.outer(np.arange(64), np.arange(64)).astype(np.float32)[None, None]
    assert fitted(smooth, 16, mask=None).mean() == pytest.approx(smooth.mean(), rel=0.01)


def test_a_set_of_any_number_type_is_scaled_by_its_own_range() -> None:
    pixels = np.random.default_rng(2).uniform(-500, 3000, (4, 2, 16, 16)).astype(np.float32)
    pixels[:, 1] = np.where(pixels[:, 1] > 1000, 102, 0)
    feed = ImageFeed(_set_of(pixels, ("CT", MASK)), resolution=16, batch=4, seed=0)
    batch = feed.at_step(0)
    assert (float(batch[:, 0].min()), float(batch[:, 0].max())) == (-1.0, 1.0)
    assert set(np.unique(np.rint((batch[:, 1].numpy() + 1) * 127.5))) == {0, 102}


def test_one_image_is_an_error_that_says_so() -> None:
    with pytest.raises(ScanError, match="holds 1 image: a generator trained on one image can only repeat it"):
        ImageFeed(_numbered(1), resolution=8, batch=1, seed=0)


def test_pixels_that_are_not_finite_are_refused() -> None:
    pixels = np.zeros((3, 1, 8, 8), np.float32)
    pixels[2, 0, 1, 1] = np.nan
    with pytest.raises(ScanError, match="not finite"):
        ImageFeed(_set_of(pixels, ("T1",)), resolution=8, batch=1, seed=0)


def test_a_mask_beyond_eight_bits_is_refused() -> None:
    pixels = np.zeros((3, 1, 8, 8), np.uint16)
    pixels[1, 0, 2, 2] = 1000
    with pytest.raises(ScanError, match="0 to 1000"):
        ImageFeed(_set_of(pixels, (MASK,)), resolution=8, batch=1, seed=0)


def test_every_impossible_option_is_named_at_once() -> None:
    with pytest.raises(SettingsError, match=r"resolution 48 is no power of two; a batch of 5 cannot be divided"):
        ImageFeed(_numbered(4), resolution=48, batch=5, seed=0, world=2)
