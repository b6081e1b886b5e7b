"""StyleGAN 2 (Karras et al. 2020), with the settings that StyleGAN 2-ADA gave it: modulated convolutions, skips.

Written from the papers and the project's own specification.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from itertools import pairwise

import torch
from pydantic import Field
from torch import Tensor, nn

from synthrelease.generators.layers import (
    ROOT_TWO,
    EqualizedConvolution,
    EqualizedLinear,
    add_bias,
    leaky_relu,
    minibatch_deviation,
    modulated_convolution,
)
from synthrelease.generators.resampling import smooth_and_convolve_down, smooth_down, smooth_up
from synthrelease.generators.schedule import levels_of, warmed_up_decay
from synthrelease.generators.styles import Noise, StyleMapping, mix, truncate
from synthrelease.settings import Settings

HALF_RANGE = 256.0  # float16 features are clamped to it, so that no sum of them overflows


class StyleGAN2Settings(Settings):
    """StyleGAN 2; the defaults are configuration F."""

    channel_base: int = Field(default=32768, ge=16, description="Features at a level of r px: base / r, at most max")
    channel_max: int = Field(default=512, ge=1, description="Most features of a level; 32 trains on a CPU")
    latent: int = Field(default=512, ge=1, description="Numbers in a latent vector z, and in w")
    mapping_layers: int = Field(default=8, ge=1, description="Dense layers from z to w")
    mapping_rate: float = Field(default=0.01, gt=0, description="Their learning rate, relative: deep ones diverge at 1")
    group: int = Field(default=4, ge=1, description="Images compared by the minibatch deviation; divides the batch")
    half_levels: int = Field(
        default=4, ge=0, description="Under mixed precision, the highest levels computed in 16 bits; the rest in 32"
    )
    mixing: float = Field(default=0.9, ge=0, le=1, description="Share of images that take styles from two latents")
    style_average_beta: float = Field(default=0.995, ge=0, lt=1, description="Decay per batch of the average w")
    truncation_layers: int | None = Field(default=None, ge=1, description="Only the first are truncated; none: all")
    total_kimg: float = Field(default=25_000, gt=0, description="Thousand real images in all")
    batch: int = Field(default=32, ge=1, description="Images a step over all devices")
    learning_rate: float = Field(default=0.002, gt=0, description="Adam's, before the correction for lazy penalties")
    betas: tuple[float, float] = Field(default=(0.0, 0.99), description="Adam's; no momentum, as the game turns")
    adam_epsilon: float = Field(default=1e-8, gt=0, description="Adam's")
    r1: float | None = Field(
        default=None, ge=0, description="Gamma of the R1 penalty; none takes 0.0002 * resolution^2 / batch (ADA paper)"
    )
    r1_interval: int = Field(default=16, ge=1, description="Steps between R1 penalties, each weighing as many times")
    path_length: float = Field(default=2.0, ge=0, description="Weight of the path length penalty")
    path_interval: int = Field(default=4, ge=1, description="Steps between them, each weighing as many times")
    path_batch_share: float = Field(default=0.5, gt=0, le=1, description="Share of the batch it is computed on: memory")
    path_decay: float = Field(default=0.01, gt=0, le=1, description="What one batch counts in the mean path length")
    average_kimg: float | None = Field(
        default=None, gt=0, description="Half-life of the averaged generator, thousand images; none: batch * 10 / 32"
    )
    average_rampup: float | None = Field(
        default=0.05, gt=0, description="Half-life at most this share of the images so far, so that it warms up"
    )

    def features_at(self, resolution: int) -> int:
        """Return the feature maps of the level of `resolution` pixels."""
        return max(1, min(self.channel_base // resolution, self.channel_max))

    def r1_gamma(self, resolution: int) -> float:
        """Return gamma of the R1 penalty at a resolution in pixels."""
        return 0.0002 * resolution**2 / self.batch if self.r1 is None else self.r1

    def level_at(self, images: int, resolution: int) -> float:
        """Return the level of growth, here always the last: nothing grows."""
        return float(levels_of(resolution))

    def batch_at(self, resolution: int) -> int:
        """Return the images per step."""
        return self.batch

    def learning_rate_at(self, resolution: int) -> float:
        """Return Adam's learning rate; see `losses.lazy_adam` for what lazy penalties make of it."""
        return self.learning_rate

    def average_decay(self, batch: int, images: int) -> float:
        """Return the share of the averaged generator that one step of `batch` images keeps, `images` seen so far."""
        return warmed_up_decay(batch, images, kimg=self.average_kimg, rampup=self.average_rampup)


PRESETS = {
    "config-f": StyleGAN2Settings(),
    "paper256": StyleGAN2Settings(
        channel_base=16384, batch=64, group=8, learning_rate=0.0025, r1=1.0, average_kimg=20, average_rampup=None
    ),
    "auto": StyleGAN2Settings(channel_base=16384, mapping_layers=2, learning_rate=0.0025),
    "small": StyleGAN2Settings(
        channel_base=2048,
        channel_max=64,
        latent=128,
        mapping_layers=2,
        batch=16,
        learning_rate=0.004,
        r1=1.0,
        average_kimg=0.5,
    ),
}
"""Settings by name: configuration F; the ADA paper's at 256 px, half as wide; ADA's automatic choice; narrow
networks, for a CPU."""


class Generator(nn.Module):
    """Latent vectors to images, by way of styles."""

    def __init__(self, settings: StyleGAN2Settings, *, channels: int, resolution: int) -> None:
        super().__init__()
        self.latent = settings.latent
        self.truncation_layers = settings.truncation_layers
        self.mapping = StyleMapping(settings, gain_in_weights=False)
        self.synthesis = Synthesis(settings, channels=channels, resolution=resolution)

    def forward(self, z: Tensor, *, noise: Noise | None, truncation: float = 1.0) -> Tensor:
        """Return images (n, channels, resolution, resolution), about -1 to 1.

        Args:
            z: (n, latent) standard normal.
            noise: See `styles`; None is none.
            truncation: psi; 1 keeps all variety, 0 gives the mean image.
        """
        images: Tensor = self.synthesis(self.styles(z, truncation=truncation), noise=noise)
        return images

    def styles(
        self, z: Tensor, *, second: Tensor | None = None, crossovers: Tensor | None = None, truncation: float = 1.0
    ) -> Tensor:
        """Return styles (n, layers, latent) of z (n, latent).

        Args:
            z: (n, latent) standard normal.
            second: Latents of the layers from `crossovers` on, (n, latent), for style mixing.
            crossovers: (n,), see `styles.draw_crossovers` with `synthesis.layers`.
            truncation: psi of the truncation trick.
        """
        styles = self.mapping(z)[:, None].expand(-1, self.synthesis.layers, -1)
        if second is not None and crossovers is not None:
            styles = mix(styles, self.mapping(second)[:, None].expand_as(styles), crossovers)
        return truncate(styles, self.mapping.average, truncation, self.truncation_layers)


class Synthesis(nn.Module):
    """Styles to images: each level adds its own image to the enlarged sum of those below."""

    def __init__(self, settings: StyleGAN2Settings, *, channels: int, resolution: int) -> None:
        super().__init__()
        last = levels_of(resolution)
        self.layers = 2 * (last - 1)
        self.half_from = last - settings.half_levels + 1
        features = [settings.features_at(2**level) for level in range(2, last + 1)]
        latent = settings.latent
        self.constant = nn.Parameter(torch.randn(features[0], 4, 4))
        self.first = _StyledLayer(features[0], features[0], latent)
        self.blocks = nn.ModuleList(_Level(coarse, fine, latent) for coarse, fine in pairwise(features))
        self.to_image = nn.ModuleList(_ToImage(f, channels, latent) for f in features)

    def forward(self, styles: Tensor, *, noise: Noise | None) -> Tensor:
        """Return images (n, channels, resolution, resolution) in float32 of styles (n, layers, latent)."""
        w = styles.unbind(1)
        x = self.constant.expand(len(styles), -1, -1, -1)
        with _precision(x, self.half_from <= 2):
            x = self.first(x, w[0], noise, 0)
            image: Tensor = self.to_image[0](x, w[1])
        # A level's image takes the style that the next level's first convolution takes too.
        for index, (block, to_image) in enumerate(zip(self.blocks, self.to_image[1:], strict=True)):
            layer = 2 * index + 1
            with _precision(x, self.half_from <= index + 3):
                x = block(x, w[layer : layer + 2], noise, layer)
                detail = to_image(x, w[layer + 2])
            image = smooth_up(image) + detail
        return image


class Discriminator(nn.Module):
    """Images to one score each: a residual network."""

    def __init__(self, settings: StyleGAN2Settings, *, channels: int, resolution: int) -> None:
        super().__init__()
        last = levels_of(resolution)
        self.group = settings.group
        self.half_from = last - settings.half_levels + 1
        features = [settings.features_at(2**level) for level in range(last, 1, -1)]
        end = features[-1]
        self.from_image = EqualizedConvolution(channels, features[0], 1)
        self.blocks = nn.ModuleList(_Residual(fine, coarse) for fine, coarse in pairwise(features))
        self.convolution = EqualizedConvolution(end + 1, end)
        self.dense = EqualizedLinear(end * 16, end)
        self.score = EqualizedLinear(end, 1)
        self.last = last

    def forward(self, images: Tensor) -> Tensor:
        """Return scores (n,) in float32 of images (n, channels, resolution, resolution)."""
        with _precision(images, self.half_from <= self.last):
            x = _activate(self.from_image(images))
        for level, block in zip(range(self.last, 2, -1), self.blocks, strict=True):
            half = self.half_from <= level
            with _precision(x, half):
                x = block(x if half else x.float())
        with _precision(x, False):
            x = _activate(self.convolution(minibatch_deviation(x.float(), self.group)))
            scores: Tensor = self.score(leaky_relu(self.dense(x.flatten(1)), ROOT_TWO))
        return scores.squeeze(1)


class _StyledLayer(nn.Module):
    """A modulated convolution, noise, bias, leaky ReLU."""

    def __init__(self, inputs: int, outputs: int, latent: int, *, up: bool = False) -> None:
        super().__init__()
        self.affine = EqualizedLinear(latent, inputs, bias=1.0)
        self.weight = nn.Parameter(torch.randn(outputs, inputs, 3, 3))
        self.noise_strength = nn.Parameter(torch.zeros(()))
        self.bias = nn.Parameter(torch.zeros(outputs))
        self.up = up

    def forward(self, x: Tensor, w: Tensor, noise: Noise | None, layer: int) -> Tensor:
        y = modulated_convolution(x, self.weight, _in_float(self.affine, w), up=self.up)
        if noise is not None:
            y = y + noise(layer, y) * self.noise_strength.to(y.dtype)
        return _activate(add_bias(y, self.bias))


class _Level(nn.Module):
    """Two layers at twice the size."""

    def __init__(self, inputs: int, outputs: int, latent: int) -> None:
        super().__init__()
        self.first = _StyledLayer(inputs, outputs, latent, up=True)
        self.second = _StyledLayer(outputs, outputs, latent)

    def forward(self, x: Tensor, w: Sequence[Tensor], noise: Noise | None, layer: int) -> Tensor:
        x = self.first(x, w[0], noise, layer)
        finished: Tensor = self.second(x, w[1], noise, layer + 1)
        return finished


class _ToImage(nn.Module):
    """Features to image channels; the style is not divided out."""

    def __init__(self, inputs: int, channels: int, latent: int) -> None:
        super().__init__()
        self.affine = EqualizedLinear(latent, inputs, bias=1.0)
        self.weight = nn.Parameter(torch.randn(channels, inputs, 1, 1))
        self.bias = nn.Parameter(torch.zeros(channels))
        self.scale = 1 / math.sqrt(inputs)

    def forward(self, x: Tensor, w: Tensor) -> Tensor:
        styles = _in_float(self.affine, w) * self.scale
        y = add_bias(modulated_convolution(x, self.weight, styles, demodulate=False), self.bias)
        return _clamp(y).float()


class _Residual(nn.Module):
    """Two convolutions beside a 1 x 1 one, both to half the size; the sum keeps the variance."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.first = EqualizedConvolution(inputs, inputs)
        self.second = EqualizedConvolution(inputs, outputs)
        self.skip = EqualizedConvolution(inputs, outputs, 1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        y = _activate(self.first(x))
        y = smooth_and_convolve_down(y, self.second.weight * self.second.scale)
        assert self.second.bias is not None
        y = _activate(add_bias(y, self.second.bias))
        skip: Tensor = self.skip(smooth_down(x))
        return (y + skip) * math.sqrt(0.5)


def _activate(x: Tensor) -> Tensor:
    return _clamp(leaky_relu(x, ROOT_TWO))


def _clamp(x: Tensor) -> Tensor:
    return x.clamp(-HALF_RANGE, HALF_RANGE) if x.dtype == torch.float16 else x


def _in_float(layer: nn.Module, w: Tensor) -> Tensor:
    """Return layer(w) in float32 also under mixed precision: small differences of a style decide what is shown."""
    with _precision(w, False):
        styles: Tensor = layer(w.float())
    return styles


def _precision(x: Tensor, half: bool) -> AbstractContextManager[object]:
    """Return a context in which mixed precision, where the caller has switched it on, holds only if `half`."""
    if half or x.device.type == "meta" or not torch.is_autocast_enabled(x.device.type):
        return nullcontext()
    return torch.autocast(x.device.type, enabled=False)
