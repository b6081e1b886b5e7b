"""What tests of the diffusion generator share: a tiny cohort of discs with lesions, and tiny networks."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from synthrelease.generators.diffusion import DiffusionSettings, SamplingSettings
from synthrelease.generators.diffusion_model import Diffusion
from synthrelease.generators.diffusion_training import DiffusionTraining
from synthrelease.image_set import ImageRow, ImageSet, from_arrays

TINY = DiffusionSettings(width=4, multipliers=(1, 2), blocks=1, attention=(8,), noise_steps=50)
QUICK = SamplingSettings(steps=4)


def discs(count: int = 20, *, channels: tuple[str, ...] = ("T1", "FLAIR", "mask"), size: int = 16) -> ImageSet:
    """Return heads as discs, with a lesion that the mask marks as 51; two images a subject."""
    random = np.random.default_rng(5)
    rows, columns = np.mgrid[:size, :size] / size
    pixels = np.zeros((count, len(channels), size, size), np.uint8)
    for image in pixels:
        centre, radius = random.uniform(0.4, 0.6, 2), random.uniform(0.2, 0.35)
        away = np.hypot(rows - centre[0], columns - centre[1])
        for plane, name in zip(image, channels, strict=True):
            if name == "mask":
                plane[away < radius / 3] = 51
            else:
                plane[away < radius] = random.integers(120, 240)
    named = [ImageRow(f"image{i}", f"subject{i // 2}") for i in range(count)]
    return from_arrays(pixels, named, channels=channels)


def settings(**changes: Any) -> DiffusionTraining:
    """Return training settings for a test: small batches, no grids, no TensorBoard."""
    common = {"batch": 4, "learning_rate": 2e-3, "log_every": 2, "checkpoint_every": 1000, "sample_every": 0}
    return DiffusionTraining.checked(**{**common, "tensorboard": False, **changes})


def tiny(*, resolution: int = 16, **changes: Any) -> Diffusion:
    """Return an untrained diffusion generator that trains in a second."""
    return Diffusion(TINY, settings(**changes), QUICK, resolution=resolution, device="cpu")


def trained(folder: Path, *, steps: int = 2, **changes: Any) -> Diffusion:
    """Return one that has seen a few batches of discs."""
    generator = tiny(**changes)
    generator.train(discs(), steps, folder)
    return generator
