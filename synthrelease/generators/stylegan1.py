"""StyleGAN (Karras, Laine, Aila 2019): a mapping network styles every layer of a synthesis network that grows.

Written from the paper and the project's own specification.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Literal

import torch
from pydantic import Field, PositiveFloat, PositiveInt
from torch import Tensor, nn

from synthrelease.generators.growing import GrowingDiscriminator, GrowingSettings, blend
from synthrelease.generators.layers import (
    ROOT_TWO,
    EqualizedConvolution,
    Style,
    add_bias,
    leaky_relu,
)
from synthrelease.generators.resampling import blur
from synthrelease.generators.schedule import half_life_decay, levels_of, split_level
from synthrelease.generators.styles import Noise, StyleMapping, mix, truncate


class StyleGAN1Settings(GrowingSettings):
    """StyleGAN 1; the defaults are the paper's networks and its schedule for eight GPUs."""

    mapping_layers: int = Field(default=8, ge=1, description="Dense layers from z to w")
    mapping_rate: float = Field(default=0.01, gt=0, description="Their learning rate, relative: deep ones diverge at 1")
    mixing: float = Field(default=0.9, ge=0, le=1, description="Share of images that take styles from two latents")
    truncation_layers: int | None = Field(default=8, ge=1, description="Only the first layers are truncated; the paper")
    style_average_beta: float = Field(default=0.995, ge=0, lt=1, description="Decay per batch of the average w")
    first_resolution: Literal[4, 8, 16, 32, 64, 128, 256] = Field(
        default=8, description="Pixels at the start of training; 8 is the paper's"
    )
    total_kimg: float = Field(default=25_000, gt=0, description="Thousand real images in all; 256 px is full at 6,000")
    batches: dict[int, PositiveInt] = Field(
        min_length=1,
        default={4: 256, 16: 128, 32: 64, 64: 32},
        description="Images a step over all devices, from this resolution on",
    )
    learning_rates: dict[int, PositiveFloat] = Field(
        min_length=1, default={4: 1e-3, 128: 1.5e-3, 256: 2e-3}, description="Adam's, from this resolution on"
    )
    r1: float = Field(default=10.0, ge=0, description="Gamma of the R1 penalty, every step: gamma / 2 is its weight")
    average_kimg: float = Field(default=10.0, gt=0, description="Half-life of the averaged generator, thousand images")

    def average_decay(self, batch: int, images: int) -> float:
        """Return the share of the averaged generator that one step of `batch` images keeps."""
        return half_life_decay(batch, self.average_kimg * 1000)


PRESETS = {
    "paper": StyleGAN1Settings(),
    "small": StyleGAN1Settings(
        channel_base=1024,
        channel_max=64,
        latent=128,
        first_resolution=8,
        fade_kimg=1.5,
        stable_kimg=1,
        batches={4: 16},
        learning_rates={4: 2e-3},
        average_kimg=0.5,
    ),
}
"""Settings by name: the paper's; and narrow networks that grow within minutes, for a CPU."""


class Generator(nn.Module):
    """Latent vectors to images, by way of styles."""

    def __init__(self, settings: StyleGAN1Settings, *, channels: int, resolution: int) -> None:
        super().__init__()
        self.latent = settings.latent
        self.truncation_layers = settings.truncation_layers
        self.mapping = StyleMapping(settings, gain_in_weights=True)
        self.synthesis = Synthesis(settings, channels=channels, resolution=resolution)

    def forward(self, z: Tensor, *, noise: Noise | None, level: float | None = None, truncation: float = 1.0) -> Tensor:
        """Return images (n, channels, r, r), about -1 to 1, r being the highest resolution that `level` uses.

        Args:
            z: (n, latent) standard normal.
            noise: See `styles`; None is none.
            level: Growth so far, see `split_level`; None is fully grown.
            truncation: psi; 1 keeps all variety, 0 gives the mean image.
        """
        images: Tensor = self.synthesis(self.styles(z, truncation=truncation), noise=noise, level=level)
        return images

    def styles(
        self, z: Tensor, *, second: Tensor | None = None, crossovers: Tensor | None = None, truncation: float = 1.0
    ) -> Tensor:
        """Return styles (n, layers, latent) of z (n, latent).

        Args:
            z: (n, latent) standard normal.
            second: Latents of the layers from `crossovers` on, (n, latent), for style mixing.
            crossovers: (n,), see `styles.draw_crossovers` with `synthesis.layers_at(level)`.
            truncation: psi of the truncation trick.
        """
        styles = self.mapping(z)[:, None].expand(-1, self.synthesis.layers, -1)
        if second is not None and crossovers is not None:
            styles = mix(styles, self.mapping(second)[:, None].expand_as(styles), crossovers)
        return truncate(styles, self.mapping.average, truncation, self.truncation_layers)


class Synthesis(nn.Module):
    """Styles to images: a learned constant of 4 x 4 px grows under them."""

    def __init__(self, settings: StyleGAN1Settings, *, channels: int, resolution: int) -> None:
        super().__init__()
        self.last = levels_of(resolution)
        self.layers = self.layers_at(None)
        features = [settings.features_at(2**level) for level in range(2, self.last + 1)]
        latent = settings.latent
        self.constant = nn.Parameter(torch.ones(1, features[0], 4, 4))
        self.first = _Finish(features[0], latent)
        self.second = _Layer(features[0], features[0], latent)
        self.blocks = nn.ModuleList(_Level(coarse, fine, latent) for coarse, fine in pairwise(features))
        self.to_image = nn.ModuleList(EqualizedConvolution(f, channels, 1) for f in features)

    def layers_at(self, level: float | None) -> int:
        """Return how many layers take a style at a level of growth: two for each resolution in use."""
        top, _ = split_level(level, self.last)
        return 2 * (top - 1)

    def forward(self, styles: Tensor, *, noise: Noise | None, level: float | None = None) -> Tensor:
        """Return images (n, channels, r, r) of styles (n, layers, latent); `level` may leave the last layers out."""
        top, share = split_level(level, self.last)
        w = styles.unbind(1)
        x = self.first(self.constant.expand(len(styles), -1, -1, -1), w[0], noise, 0)
        x = self.second(x, w[1], noise, 1)
        below = x
        for index, block in enumerate(self.blocks[: top - 2]):
            layer = 2 * index + 2
            below, x = x, block(x, w[layer : layer + 2], noise, layer)
        return blend(self.to_image, below, x, top, share)


class Discriminator(nn.Module):
    """Images to one score each: Progressive GAN's network, low-passed before it shrinks."""

    def __init__(self, settings: StyleGAN1Settings, *, channels: int, resolution: int) -> None:
        super().__init__()
        features = [settings.features_at(2**level) for level in range(2, levels_of(resolution) + 1)]
        self.network = GrowingDiscriminator(features, channels=channels, group=settings.group, blurred=True)

    def forward(self, images: Tensor, *, level: float | None = None) -> Tensor:
        """Return scores (n,) of images (n, channels, r, r), r being the highest resolution that `level` uses."""
        scores: Tensor = self.network(images, level)
        return scores


class _Finish(nn.Module):
    """What follows every convolution: noise, bias, leaky ReLU, adaptive instance normalisation."""

    def __init__(self, features: int, latent: int) -> None:
        super().__init__()
        self.noise_weight = nn.Parameter(torch.zeros(features))
        self.bias = nn.Parameter(torch.zeros(features))
        self.style = Style(latent, features)

    def forward(self, x: Tensor, w: Tensor, noise: Noise | None, layer: int) -> Tensor:
        if noise is not None:
            x = x + noise(layer, x) * self.noise_weight.to(x.dtype)[:, None, None]
        styled: Tensor = self.style(leaky_relu(add_bias(x, self.bias)), w)
        return styled


class _Layer(nn.Module):
    """A convolution, with blur where it doubles the size, and what follows it."""

    def __init__(self, inputs: int, outputs: int, latent: int, *, up: bool = False) -> None:
        super().__init__()
        self.convolution = EqualizedConvolution(inputs, outputs, gain=ROOT_TWO, bias=False, up=up)
        self.finish = _Finish(outputs, latent)
        self.up = up

    def forward(self, x: Tensor, w: Tensor, noise: Noise | None, layer: int) -> Tensor:
        x = self.convolution(x)
        finished: Tensor = self.finish(blur(x) if self.up else x, w, noise, layer)
        return finished


class _Level(nn.Module):
    """Two layers at twice the size."""

    def __init__(self, inputs: int, outputs: int, latent: int) -> None:
        super().__init__()
        self.first = _Layer(inputs, outputs, latent, up=True)
        self.second = _Layer(outputs, outputs, latent)

    def forward(self, x: Tensor, w: Sequence[Tensor], noise: Noise | None, layer: int) -> Tensor:
        x = self.first(x, w[0], noise, layer)
        finished: Tensor = self.second(x, w[1], noise, layer + 1)
        return finished
