"""Images changed in training as in the reference study: turned, stretched, noisy, blurred, coarse, other gamma.

MONAI's transforms do the work; what they are told is a function of a random generator alone, which the caller makes
from (seed, place), so that a resumed training sees what an unbroken one does.
"""

from __future__ import annotations

import math
from functools import lru_cache
from typing import Any

import numpy as np
import torch
from monai.transforms import AdjustContrast, Affine, GaussianSmooth, Resize
from pydantic import Field
from torch import Tensor

from synthrelease.settings import Settings


class AugmentSettings(Settings):
    """Chances and ranges; geometry is the study's, the others are nnU-Net's (Isensee et al. 2021)."""

    rotation: float = Field(default=30.0, ge=0, le=180, description="Most degrees, either way")
    rotation_chance: float = Field(default=0.75, ge=0, le=1, description="Study: 0.75")
    scale: float = Field(default=0.1, ge=0, lt=1, description="0.1 is 0.9 to 1.1, rows and columns apart")
    scale_chance: float = Field(default=0.75, ge=0, le=1, description="Study: 0.75")
    noise: float = Field(default=0.3, ge=0, description="Largest sd, in standard deviations of the image")
    noise_chance: float = Field(default=0.15, ge=0, le=1, description="Of Gaussian noise")
    blur: tuple[float, float] = Field(default=(0.5, 1.0), description="Gaussian sd, pixels, of each contrast apart")
    blur_chance: float = Field(default=0.2, ge=0, le=1, description="Of blur; then half of the contrasts get it")
    coarse: tuple[float, float] = Field(default=(0.5, 1.0), description="Share of the resolution that is left")
    coarse_chance: float = Field(default=0.25, ge=0, le=1, description="Of low resolution; half of the contrasts")
    gamma: tuple[float, float] = Field(default=(0.7, 1.5), description="Exponent; mean and spread are kept")
    gamma_chance: float = Field(default=0.3, ge=0, le=1, description="Of another gamma, all contrasts apart")


def augmented(
    image: Tensor, labels: Tensor, settings: AugmentSettings, random: np.random.Generator
) -> tuple[Tensor, Tensor]:
    """Return a changed image (c, h, w) float32 and its labels (h, w) uint8, turned and stretched alike.

    Args:
        image: Standardised; what is turned in from outside is 0.
        labels: Classes; what is turned in is background.
        settings: Chances and ranges.
        random: Of this image at this place of the training.
    """
    image, labels = _moved(image, labels, settings, random)
    if random.random() < settings.noise_chance:
        spread = random.uniform(0, settings.noise)
        image = image + torch.from_numpy(random.standard_normal(tuple(image.shape), dtype=np.float32)) * spread
    if random.random() < settings.blur_chance:
        image = _each(image, random, lambda one: GaussianSmooth(random.uniform(*settings.blur))(one))
    if random.random() < settings.coarse_chance:
        image = _each(image, random, lambda one: _coarse(one, random.uniform(*settings.coarse)))
    if random.random() < settings.gamma_chance:
        image = torch.stack([_gamma(one[None], random.uniform(*settings.gamma))[0] for one in image])
    return image, labels


def _moved(
    image: Tensor, labels: Tensor, settings: AugmentSettings, random: np.random.Generator
) -> tuple[Tensor, Tensor]:
    turns, stretches = random.random(2) < (settings.rotation_chance, settings.scale_chance)
    angle = math.radians(random.uniform(-settings.rotation, settings.rotation)) if turns else 0.0
    factors = random.uniform(1 - settings.scale, 1 + settings.scale, 2) if stretches else np.ones(2)
    if not (turns or stretches):
        return image, labels
    move: dict[str, Any] = {"rotate_params": angle, "scale_params": tuple(factors.tolist()), "image_only": True}
    moved = Affine(**move, padding_mode="zeros", mode="bilinear")(image)
    turned = Affine(**move, padding_mode="zeros", mode="nearest")(labels[None].float())
    return _plain(moved), _plain(turned)[0].to(labels.dtype)


def _each(image: Tensor, random: np.random.Generator, change: Any) -> Tensor:
    """Return the image with each contrast changed with a chance of one half."""
    return torch.stack([_plain(change(one[None]))[0] if random.random() < 0.5 else one for one in image])


def _coarse(one: Tensor, share: float) -> Tensor:
    height, width = one.shape[1:]
    small = (max(2, round(height * share)), max(2, round(width * share)))
    return _plain(_resize((height, width), "bilinear")(_resize(small, "nearest-exact")(one)))


@lru_cache(maxsize=64)
def _resize(size: tuple[int, int], mode: str) -> Resize:
    return Resize(size, mode=mode)


def _gamma(one: Tensor, gamma: float) -> Tensor:
    if float(one.max()) == float(one.min()):
        return one
    return _plain(AdjustContrast(gamma, retain_stats=True)(one))


def _plain(made: Any) -> Tensor:
    """Return a plain tensor; MONAI's carry a history of what was done to them."""
    tensor: Tensor = made.as_tensor() if hasattr(made, "as_tensor") else made
    return tensor
