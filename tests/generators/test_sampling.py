"""From seeds to an image set: legal masks, counted; nothing made twice; never all in memory."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pytest
from diffusion_helpers import trained

from synthrelease import seeds as randomness
from synthrelease.errors import GeneratorError, SettingsError, StoreError
from synthrelease.generators import sampling
from synthrelease.generators.interface import Batch
from synthrelease.generators.sampling import as_released, read_record, write_samples
from synthrelease.image_set import ImageSet, open_set


class Noise:
    """A generator of noise that counts what it is asked for, and can fail."""

    name = "noise"

    def __init__(self, channels: tuple[str, ...] = ("T1", "mask"), *, fails_at: int = -1, batch: int = 7) -> None:
        self.channels, self.fails_at, self.batch = channels, fails_at, batch
        self.asked: list[Sequence[int]] = []

    def train(self, images: ImageSet, steps: int, folder: Path) -> None:
        """Learn nothing."""

    def sample(self, seeds: Sequence[int]) -> Iterator[Batch]:
        """Yield uniform noise."""
        self.asked.append(seeds)
        for start in range(0, len(seeds), self.batch):
            some = seeds[start : start + self.batch]
            if self.fails_at in some:
                raise KeyboardInterrupt
            shape = (len(self.channels), 8, 8)
            made = [randomness.at_image(0, seed).uniform(-1, 1, shape) for seed in some]
            yield np.stack(made).astype(np.float32)


def _grey(levels: Sequence[float]) -> Batch:
    return np.asarray(levels, np.float32)[None, None, None] / 127.5 - 1


def test_masks_are_cut_at_the_published_levels() -> None:
    images, _ = as_released(_grey([0, 25, 26, 76, 77, 152, 154, 255]), mask=0)
    assert images.ravel().tolist() == [0, 0, 51, 51, 102, 102, 204, 204]


def test_masks_of_a_set_with_other_labels_take_its_labels() -> None:
    images, _ = as_released(_grey([0, 25, 26, 255]), mask=0, levels=(51, 0))
    assert images.ravel().tolist() == [0, 0, 51, 51]


def test_contrasts_are_rounded_and_clipped() -> None:
    images, counts = as_released(_grey([-40, 0, 12.4, 12.6, 255, 300]), mask=None)
    assert images.ravel().tolist() == [0, 0, 12, 13, 255, 255]
    assert counts == {}


def test_pixels_off_the_levels_are_counted_before_they_are_moved() -> None:
    _, counts = as_released(_grey([0, 2, 51, 54, 60, 204, 150, 255]), mask=0)
    assert counts == {"mask pixels": 8, "off level": 5, "tumour pixels": 6, "off level in tumour": 3}


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_a_pixel_that_is_not_finite_is_an_error(bad: float) -> None:
    with pytest.raises(GeneratorError, match="not finite"):
        as_released(_grey([0, bad]), mask=0)


def test_a_set_holds_each_seed_once_with_its_record(tmp_path: Path) -> None:
    images = write_samples(Noise(), range(5, 25), tmp_path / "set", made_with={"weights": "abc"})
    assert [row.seed for row in images.rows] == list(range(5, 25))
    assert {row.generator for row in images.rows} == {"noise"}
    assert images.pixels.dtype == np.uint8
    assert set(np.unique(images.read(slice(None), ["mask"]))) == {0, 51, 102, 204}
    record = read_record(tmp_path / "set")
    assert (record.images, record.first_seed, record.last_seed) == (20, 5, 24)
    assert record.made_with == {"weights": "abc"}
    assert record.mask is not None
    assert record.mask.pixels == 20 * 64
    assert 0.97 < record.mask.off_level_share < 1, "uniform noise is on 4 of 256 levels"


def test_an_image_depends_on_its_seed_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    generator = trained(tmp_path / "model")
    large = write_samples(generator, range(3, 14), tmp_path / "large")
    monkeypatch.setattr(sampling, "PIECE", 3)
    small = write_samples(generator, [12, 4, 9, 100, 5], tmp_path / "small")
    assert np.array_equal(small.read([0, 1, 2, 4]), large.read([9, 1, 6, 2]))
    assert len(np.unique(large.read(slice(None)).reshape(11, -1), axis=0)) == 11


def test_an_interrupted_set_goes_on_and_equals_an_unbroken_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sampling, "PIECE", 16)
    whole = write_samples(Noise(), range(50), tmp_path / "whole")
    with pytest.raises(KeyboardInterrupt):
        write_samples(Noise(fails_at=40), range(50), tmp_path / "set")
    assert not (tmp_path / "set").exists(), "only a finished set has the final name"
    second = Noise()
    images = write_samples(second, range(50), tmp_path / "set")
    assert [asked[0] for asked in second.asked] == [32, 48], "what was finished is not made again"
    assert images.content == whole.content
    assert read_record(tmp_path / "set") == read_record(tmp_path / "whole")


def test_a_complete_set_is_not_made_again(tmp_path: Path) -> None:
    write_samples(Noise(), range(9), tmp_path / "set")
    again = Noise()
    assert len(write_samples(again, range(9), tmp_path / "set")) == 9
    assert again.asked == []
    assert len(write_samples(again, range(10), tmp_path / "set")) == 10
    assert len(again.asked) == 1


@pytest.mark.parametrize("change", ["weights", "seeds", "count", "levels"])
def test_an_unfinished_set_of_another_model_or_seeds_is_not_continued(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, change: str
) -> None:
    monkeypatch.setattr(sampling, "PIECE", 4)
    with pytest.raises(KeyboardInterrupt):
        write_samples(Noise(fails_at=6), range(9), tmp_path / "set", made_with={"weights": "a"})
    seeds = {"seeds": range(1, 10), "count": range(12)}.get(change, range(9))
    weights = "b" if change == "weights" else "a"
    levels = (0, 51) if change == "levels" else (0, 51, 102, 204)
    with pytest.raises(StoreError, match="another model, sampler or seeds"):
        write_samples(Noise(), seeds, tmp_path / "set", made_with={"weights": weights}, mask_levels=levels)


def test_a_generator_is_never_asked_for_more_than_a_piece(tmp_path: Path) -> None:
    generator = Noise()
    images = write_samples(generator, range(600), tmp_path / "set")
    assert [len(asked) for asked in generator.asked] == [256, 256, 88]
    assert len(open_set(tmp_path / "set", check_content=True)) == len(images) == 600


def test_a_set_without_a_mask_has_no_mask_record(tmp_path: Path) -> None:
    write_samples(Noise(("T1", "T2", "CT")), range(3), tmp_path / "set")
    assert read_record(tmp_path / "set").mask is None


def test_a_generator_that_leaves_images_out_is_caught(tmp_path: Path) -> None:
    class Lazy(Noise):
        def sample(self, seeds: Sequence[int]) -> Iterator[Batch]:
            return super().sample(seeds[1:])

    with pytest.raises(GeneratorError, match="made 2 images with 2 channels for 3 seeds"):
        write_samples(Lazy(), range(3), tmp_path / "set")


@pytest.mark.parametrize(("seeds", "problem"), [([], "No images"), ([1, 1], "repeat"), ([-1], "negative")])
def test_impossible_seeds_are_refused(tmp_path: Path, seeds: list[int], problem: str) -> None:
    with pytest.raises(SettingsError, match=problem):
        write_samples(Noise(), seeds, tmp_path / "set")


def test_a_folder_of_other_files_is_not_replaced(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("years of work")
    with pytest.raises(StoreError, match="would be replaced"):
        write_samples(Noise(), range(3), tmp_path)
    assert (tmp_path / "thesis.txt").read_text() == "years of work"


def test_a_damaged_record_is_a_clear_error(tmp_path: Path) -> None:
    write_samples(Noise(), range(3), tmp_path / "set")
    (tmp_path / "set" / "sampling.json").write_text("{")
    with pytest.raises(StoreError, match=r"sampling\.json cannot be read"):
        read_record(tmp_path / "set")
