"""What tests of segmentation share: heads with tumours that any network can find, and trainings of a second."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch

from synthrelease.image_set import ImageRow, ImageSet, from_arrays
from synthrelease.progress import Advance
from synthrelease.segmentation.feed import Reader
from synthrelease.segmentation.labels import labels_of
from synthrelease.segmentation.mixing import Mix, MixSettings, mixed
from synthrelease.segmentation.model_folder import Model
from synthrelease.segmentation.networks import NetworkSettings, UNetSettings
from synthrelease.segmentation.recipe import SegmenterTraining
from synthrelease.segmentation.training import train_segmenter
from synthrelease.training import checkpoint
from synthrelease.training.training_log import read_scalars

BRATS = ("T1", "T1ce", "T2", "FLAIR", "mask")
TINY = UNetSettings(filters=(4, 8, 8), heads=1)


def tumours(
    count: int = 12,
    *,
    seed: int = 0,
    name: str = "real",
    channels: tuple[str, ...] = ("FLAIR", "mask"),
    levels: tuple[int, ...] = (51,),
    size: int = 24,
    slices: int = 3,
    subjects: bool = True,
) -> ImageSet:
    """Return heads with a bright round tumour whose rings are the levels, outside in; `slices` images a subject."""
    random = np.random.default_rng(seed)
    rows, columns = np.mgrid[:size, :size]
    pixels = np.zeros((count, len(channels), size, size), np.uint8)
    for image in pixels:
        place = random.uniform(0.35, 0.65, 2) * size
        away = np.hypot(rows - place[0], columns - place[1])
        head = np.hypot(rows - size / 2, columns - size / 2) < 0.45 * size
        mask = np.zeros((size, size), np.uint8)
        for number, level in enumerate(levels):
            mask[away < 0.22 * size * (1 - number / len(levels))] = level
        for plane, channel in zip(image, channels, strict=True):
            bright = 100 + 0.6 * mask + random.normal(0, 5, (size, size))
            plane[:] = mask if channel == "mask" else np.where(head, bright.clip(0, 255), 0)
    named = [
        ImageRow(f"{name}{i}", f"{name}-patient{i // slices}" if subjects else "", i % slices) for i in range(count)
    ]
    return from_arrays(pixels, named, channels=channels)


def reader_of(images: ImageSet) -> Reader:
    """Return the reader that takes a set as it is."""
    return Reader(images.contrasts, images.size, labels_of(images))


def recipe(**changes: Any) -> SegmenterTraining:
    """Return settings of a training that takes seconds."""
    common = {"steps": 8, "batch": 4, "optimiser": "adamw", "learning_rate": 5e-3, "validate_every": 3}
    return SegmenterTraining.checked(**{**common, "log_every": 2, "workers": 1, **changes})


def trained(
    folder: Path,
    *,
    mix: Mix | None = None,
    network: NetworkSettings = TINY,
    name: str = "unet",
    augment: Any = None,
    resume: bool = False,
    progress: Any = None,
    **changes: Any,
) -> Path:
    """Train a tiny segmenter into a folder and return the folder."""
    mix = mix or mixed("real", real=tumours(), synthetic=None, settings=MixSettings())
    source = mix.real or mix.synthetic
    assert source is not None
    model = Model(name, network, reader_of(source.images))
    options = {} if progress is None else {"progress": progress}
    train_segmenter(folder, mix, model, recipe(**changes), augment=augment, device="cpu", resume=resume, **options)
    return folder


def everything_in(folder: Path) -> dict[str, Any]:
    """Return every tensor and number of the newest checkpoint by name."""
    latest = checkpoint.latest(folder)
    assert latest is not None
    state = checkpoint.load(latest)
    found: dict[str, Any] = {f"{part}/{name}": t for part, net in state.networks.items() for name, t in net.items()}
    for part, optimiser in state.optimisers.items():
        for number, entries in optimiser["state"].items():
            found |= {f"{part}/{number}/{key}": value for key, value in entries.items()}
    return found | {f"scalar/{name}": value for name, value in state.scalars.items()} | {"step": state.step}


def same(first: Path, second: Path) -> bool:
    """Return whether two trainings' newest checkpoints are equal to the bit."""
    one, two = everything_in(first), everything_in(second)
    return one.keys() == two.keys() and all(
        torch.equal(one[n], two[n]) if isinstance(one[n], torch.Tensor) else one[n] == two[n] for n in one
    )


def curve(folder: Path) -> list[dict[str, Any]]:
    """Return the logged scalars, without the pace."""
    return [{k: v for k, v in row.items() if k != "images_per_second"} for row in read_scalars(folder)]


class Watched:
    """Progress that does something after a number of reports, and remembers what was said."""

    def __init__(self, after: int, act: Callable[[], None]) -> None:
        self.left, self.act, self.said = after + 1, act, list[str]()  # the first report is what was done before

    @contextmanager
    def task(self, name: str, total: int) -> Iterator[Advance]:
        """Count steps."""

        def advance(units: int) -> None:
            self.left -= 1
            if self.left == 0:
                self.act()

        yield advance

    def say(self, text: str) -> None:
        """Remember."""
        self.said.append(text)
