"""Progressive GAN (Karras, Aila, Laine, Lehtinen 2018): both networks grow from 4 px by fading new levels in.

Written from the paper and the project's own specification.
"""

from __future__ import annotations

from itertools import pairwise
from typing import Literal

import torch
from pydantic import Field, PositiveFloat, PositiveInt
from torch import Tensor, nn

from synthrelease.generators.growing import GrowingDiscriminator, GrowingSettings, blend
from synthrelease.generators.layers import (
    ROOT_TWO,
    EqualizedConvolution,
    EqualizedLinear,
    add_bias,
    leaky_relu,
    pixel_norm,
)
from synthrelease.generators.schedule import levels_of, split_level


class ProGANSettings(GrowingSettings):
    """Progressive GAN; the defaults are the paper's networks and its schedule for one GPU."""

    first_resolution: Literal[4, 8, 16, 32, 64, 128, 256] = Field(
        default=4, description="Pixels at the start of training; 4 is the paper's"
    )
    total_kimg: float = Field(default=12_000, gt=0, description="Thousand real images in all; 256 px is full at 7,200")
    batches: dict[int, PositiveInt] = Field(
        min_length=1,
        default={4: 128, 32: 64, 64: 32, 128: 16, 256: 8},
        description="Images a step, from this resolution on",
    )
    learning_rates: dict[int, PositiveFloat] = Field(
        min_length=1,
        default={4: 1e-3},
        description="Adam's, from this resolution on; the paper's 4-GPU run takes 1.5e-3 at 256 px",
    )
    penalty: float = Field(default=10.0, ge=0, description="Weight of WGAN-GP's gradient penalty")
    drift: float = Field(default=0.001, ge=0, description="Weight of the squared scores of real images")
    average_beta: float = Field(default=0.999, ge=0, lt=1, description="Decay per step of the averaged generator")

    def average_decay(self, batch: int, images: int) -> float:
        """Return the share of the averaged generator that one step keeps; here always the same."""
        return self.average_beta


PRESETS = {
    "paper": ProGANSettings(),
    "small": ProGANSettings(
        channel_base=1024,
        channel_max=64,
        latent=128,
        first_resolution=8,
        fade_kimg=1.5,
        stable_kimg=1,
        batches={4: 16},
        learning_rates={4: 2e-3},
        average_beta=0.98,
    ),
}
"""Settings by name: the paper's; and narrow networks that grow within minutes, for a CPU."""


class Generator(nn.Module):
    """Latent vectors to images."""

    def __init__(self, settings: ProGANSettings, *, channels: int, resolution: int) -> None:
        super().__init__()
        self.last = levels_of(resolution)
        self.latent = settings.latent
        features = [settings.features_at(2**level) for level in range(2, self.last + 1)]
        self.start = _Start(settings.latent, features[0])
        self.blocks = nn.ModuleList(_Grow(a, b) for a, b in pairwise(features))
        self.to_image = nn.ModuleList(EqualizedConvolution(f, channels, 1) for f in features)

    def forward(self, z: Tensor, *, level: float | None = None) -> Tensor:
        """Return images (n, channels, r, r), about -1 to 1, r being the highest resolution that `level` uses.

        Args:
            z: (n, latent) standard normal.
            level: Growth so far, see `split_level`; None is fully grown.
        """
        top, share = split_level(level, self.last)
        x = self.start(z)
        below = x
        for block in self.blocks[: top - 2]:
            below, x = x, block(x)
        return blend(self.to_image, below, x, top, share)


class Discriminator(nn.Module):
    """Images to one score each: higher is more like a real image."""

    def __init__(self, settings: ProGANSettings, *, channels: int, resolution: int) -> None:
        super().__init__()
        features = [settings.features_at(2**level) for level in range(2, levels_of(resolution) + 1)]
        self.network = GrowingDiscriminator(features, channels=channels, group=settings.group, blurred=False)

    def forward(self, images: Tensor, *, level: float | None = None) -> Tensor:
        """Return scores (n,) of images (n, channels, r, r), r being the highest resolution that `level` uses."""
        scores: Tensor = self.network(images, level)
        return scores


class _Start(nn.Module):
    """z to features of 4 x 4 px. The dense layer has one bias a channel, not one a unit."""

    def __init__(self, latent: int, features: int) -> None:
        super().__init__()
        self.features = features
        # A gain of a quarter keeps the huge dense layer from outpacing the rest.
        self.dense = EqualizedLinear(latent, features * 16, gain=ROOT_TWO / 4, bias=None)
        self.bias = nn.Parameter(torch.zeros(features))
        self.convolution = EqualizedConvolution(features, features, gain=ROOT_TWO)

    def forward(self, z: Tensor) -> Tensor:
        x = self.dense(pixel_norm(z)).reshape(-1, self.features, 4, 4)
        x = pixel_norm(leaky_relu(add_bias(x, self.bias)))
        return pixel_norm(leaky_relu(self.convolution(x)))


class _Grow(nn.Module):
    """One level of the generator: twice the size, two convolutions."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.first = EqualizedConvolution(inputs, outputs, gain=ROOT_TWO, up=True)
        self.second = EqualizedConvolution(outputs, outputs, gain=ROOT_TWO)

    def forward(self, x: Tensor) -> Tensor:
        x = pixel_norm(leaky_relu(self.first(x)))
        return pixel_norm(leaky_relu(self.second(x)))
