"""What every generator that comes with the tool must do, whatever it is made of."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
from checkpoint_helpers import Watched, curve, everything_in, power_failure, same
from training_helpers import KINDS, heads, tiny_generator

from synthrelease.errors import GeneratorError, ScanError
from synthrelease.generators.interface import Generator, Sampler, Screened
from synthrelease.generators.plans import open_model
from synthrelease.generators.training_loop import Callbacks
from synthrelease.training import checkpoint

pytestmark = pytest.mark.parametrize("name", KINDS)


def test_it_is_a_generator_and_its_losses_stay_finite(name: str, tmp_path: Path) -> None:
    generator = tiny_generator(name)
    assert isinstance(generator, Generator)
    before = {}
    generator.train(heads(), 1, tmp_path / "m")
    before = everything_in(tmp_path / "m")
    tiny_generator(name).train(heads(), 8, tmp_path / "m", resume=True)
    rows = curve(tmp_path / "m")
    losses = [value for row in rows for key, value in row.items() if key.startswith("loss")]
    assert len(losses) >= 4
    assert all(value is not None and math.isfinite(value) for value in losses)
    after = everything_in(tmp_path / "m")
    average = [key for key in after if "-average/" in key and after[key].is_floating_point()]
    moved = [key for key in average if not (before[key] == after[key]).all()]
    assert len(moved) > len(average) / 2, "training moves the averaged weights, which are what is sampled"


def test_an_interrupted_training_goes_on_to_the_bit(name: str, tmp_path: Path) -> None:
    tiny_generator(name, checkpoint_every=3).train(heads(), 8, tmp_path / "unbroken")
    broken = tiny_generator(name, checkpoint_every=3)
    with pytest.raises(RuntimeError, match="power failure"):
        broken.train(heads(), 8, tmp_path / "m", callbacks=Callbacks(progress=Watched(5, power_failure)))
    left = checkpoint.latest(tmp_path / "m")
    assert left is not None
    assert left.name.endswith("003")
    tiny_generator(name, checkpoint_every=3).train(heads(), 8, tmp_path / "m", resume=True)
    assert same(tmp_path / "m", tmp_path / "unbroken")
    assert curve(tmp_path / "m") == curve(tmp_path / "unbroken")


def test_image_i_depends_on_its_seed_alone(name: str, tmp_path: Path) -> None:
    tiny_generator(name).train(heads(), 3, tmp_path / "m")
    generator = open_model(tmp_path / "m", device="cpu")
    many = np.concatenate(list(generator.sample(range(9))))
    assert many.shape == (9, 3, 16, 16)
    assert many.dtype == np.float32
    assert np.isfinite(many).all()
    backwards = np.concatenate(list(generator.sample([8, 3, 0])))
    assert np.array_equal(backwards, many[[8, 3, 0]])
    assert np.array_equal(np.concatenate(list(generator.sample([5]))), many[[5]])
    assert len({image.tobytes() for image in many}) == 9


@pytest.mark.parametrize("channels", [1, 2, 7])
def test_any_number_of_channels(name: str, channels: int, tmp_path: Path) -> None:
    generator = tiny_generator(name)
    generator.train(heads(channels=channels), 2, tmp_path / "m")
    assert next(generator.sample([0])).shape == (1, channels, 16, 16)
    assert len(generator.channels) == channels


@pytest.mark.parametrize("resolution", [32, 128, 256])
def test_any_resolution(name: str, resolution: int, tmp_path: Path) -> None:
    grown = {"first_resolution": resolution} if name in ("progan", "stylegan1") else {}
    generator = tiny_generator(name, resolution=resolution, network=grown)
    generator.train(heads(4, channels=2, size=resolution), 1, tmp_path / "m")
    assert next(generator.sample([0])).shape == (1, 2, resolution, resolution)


def test_one_image_is_an_error_that_says_so(name: str, tmp_path: Path) -> None:
    with pytest.raises(ScanError, match=r"holds 1 image: a generator trained on one image can only repeat it"):
        tiny_generator(name).train(heads(1), 2, tmp_path / "m")
    assert not (tmp_path / "m" / "checkpoints").exists()


def test_a_screen_that_finds_copies_at_once_leaves_nothing_to_sample(name: str, tmp_path: Path) -> None:
    def screen(step: int, sampler: Sampler) -> Screened:
        assert next(sampler([0])).dtype == np.uint8
        return Screened(stop=True, scalars={"near_copy_rate": 1.0}, reason="every sample is a near copy")

    generator = tiny_generator(name, screen_kimg=0.008)
    with pytest.raises(GeneratorError, match="screen stopped the training"):
        generator.train(heads(), 8, tmp_path / "m", callbacks=Callbacks(screen=screen))
    latest = checkpoint.latest(tmp_path / "m")
    assert latest is not None
    assert latest.name.endswith("2"), "two batches of four are eight images"
    with pytest.raises(GeneratorError, match="no earlier checkpoint is left"):
        open_model(tmp_path / "m", device="cpu")
    open_model_of_last = type(generator).open(tmp_path / "m", device="cpu", which="last")
    assert next(open_model_of_last.sample([0])).shape == (1, 3, 16, 16)


def test_without_a_measure_the_newest_clean_checkpoint_is_sampled(name: str, tmp_path: Path) -> None:
    def screen(step: int, sampler: Sampler) -> Screened:
        return Screened(stop=step >= 4, scalars={}, reason="found some")

    generator = tiny_generator(name, screen_kimg=0.008)
    generator.train(heads(), 8, tmp_path / "m", callbacks=Callbacks(screen=screen))
    sampled = type(generator).open(tmp_path / "m", device="cpu")
    last = type(generator).open(tmp_path / "m", device="cpu", which="last")
    assert sampled.weights != last.weights
