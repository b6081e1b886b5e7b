"""What tests of segmentation share: heads with tumours that any network can find, and trainings of a second."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from synthrelease.image_set import ImageRow, ImageSet, from_arrays
from synthrelease.image_writer import ImageSetWriter
from synthrelease.segmentation.feed import Reader
from synthrelease.segmentation.labels import labels_of
from synthrelease.segmentation.mixing import Mix, MixSettings, mixed
from synthrelease.segmentation.model_folder import Model
from synthrelease.segmentation.networks import NetworkSettings, UNetSettings
from synthrelease.segmentation.recipe import SegmenterTraining
from synthrelease.segmentation.training import train_segmenter

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


def stored(folder: Path, images: ImageSet) -> Path:
    """Write a set to disk and return its folder."""
    with ImageSetWriter(folder, images.channels) as writer:
        writer.add("all", images.pixels, images.rows)
        writer.close()
    return folder


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
