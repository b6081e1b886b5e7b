"""What Progressive GAN and StyleGAN 1 share: settings of growth, a growing discriminator, the fading in of a level."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Literal

import torch
from pydantic import Field, PositiveFloat, PositiveInt
from torch import Tensor, nn

from synthrelease.generators.layers import (
    ROOT_TWO,
    EqualizedConvolution,
    EqualizedLinear,
    leaky_relu,
    minibatch_deviation,
)
from synthrelease.generators.resampling import blur, box_down, nearest_up
from synthrelease.generators.schedule import at_or_below, growth, split_level
from synthrelease.settings import Settings


class GrowingSettings(Settings):
    """Networks that grow, and the schedule by which they do."""

    channel_base: int = Field(default=8192, ge=8, description="Features at a level of r px: 2 * base / r, at most max")
    channel_max: int = Field(default=512, ge=1, description="Most features of a level; 32 trains on a CPU")
    latent: int = Field(default=512, ge=1, description="Numbers in a latent vector z (and in w, where there is one)")
    group: int = Field(default=4, ge=1, description="Images compared by the minibatch deviation; divides the batch")
    first_resolution: Literal[4, 8, 16, 32, 64, 128, 256] = Field(
        default=4, description="Pixels at the start of training; the papers take 4 (Progressive GAN) and 8 (StyleGAN)"
    )
    fade_kimg: float = Field(default=600, gt=0, description="Thousand real images during which a level fades in")
    stable_kimg: float = Field(default=600, ge=0, description="Thousand real images of each level once faded in")
    betas: tuple[float, float] = Field(default=(0.0, 0.99), description="Adam's; no momentum, as the game turns")
    adam_epsilon: float = Field(default=1e-8, gt=0, description="Adam's")
    reset_optimizer: bool = Field(
        default=True, description="Forget Adam's state when the set of levels in use changes: gradients change scale"
    )
    batches: dict[int, PositiveInt] = Field(
        min_length=1, default={4: 16}, description="Images a step over all devices, from this resolution on"
    )
    learning_rates: dict[int, PositiveFloat] = Field(
        min_length=1, default={4: 1e-3}, description="Adam's, from this resolution on"
    )

    def features_at(self, resolution: int) -> int:
        """Return the feature maps of the level of `resolution` pixels."""
        return max(1, min(2 * self.channel_base // resolution, self.channel_max))

    def level_at(self, images: int, resolution: int) -> float:
        """Return how far the networks have grown after so many real images; see `split_level`."""
        return growth(images, self.first_resolution, resolution, fade_kimg=self.fade_kimg, stable_kimg=self.stable_kimg)

    def batch_at(self, resolution: int) -> int:
        """Return the images per step while the highest level in use has `resolution` pixels."""
        return at_or_below(self.batches, resolution)

    def learning_rate_at(self, resolution: int) -> float:
        """Return Adam's learning rate while the highest level in use has `resolution` pixels."""
        return at_or_below(self.learning_rates, resolution)


def blend(to_image: nn.ModuleList, below: Tensor, features: Tensor, top: int, share: float) -> Tensor:
    """Return images in float32 whose last level is faded in by `share` (Karras 2018, figure 2).

    Args:
        to_image: One layer per level from 4 px on, features to image channels.
        below: Features of level top - 1.
        features: Features of level top.
        top: log2 of the highest resolution in use.
        share: Weight of the image of level top; the rest is the one of level top - 1, every pixel doubled.
    """
    image: Tensor = to_image[top - 2](features).float()
    if share == 1.0:
        return image
    return torch.lerp(nearest_up(to_image[top - 3](below).float()), image, share)


class GrowingDiscriminator(nn.Module):
    """Images to one score each, at whatever level the networks have grown to."""

    def __init__(self, features: Sequence[int], *, channels: int, group: int, blurred: bool) -> None:
        """Make the network.

        Args:
            features: Feature maps at 4, 8, 16, ... px.
            channels: Of the images.
            group: Images compared by the minibatch deviation.
            blurred: Whether features are low-passed before they shrink, as in StyleGAN 1.
        """
        super().__init__()
        self.from_image = nn.ModuleList(EqualizedConvolution(channels, f, 1, gain=ROOT_TWO) for f in features)
        self.blocks = nn.ModuleList(_Shrink(fine, coarse, blurred) for coarse, fine in pairwise(features))
        self.end = _ScoreHead(features[0], group)
        self.last = len(features) + 1

    def forward(self, images: Tensor, level: float | None = None) -> Tensor:
        """Return scores (n,) of images (n, channels, r, r), r being the highest resolution that `level` uses."""
        top, share = split_level(level, self.last)
        x = leaky_relu(self.from_image[top - 2](images))
        for index in reversed(range(top - 2)):
            x = self.blocks[index](x)
            if share < 1.0 and index == top - 3:
                x = torch.lerp(leaky_relu(self.from_image[index](box_down(images))), x, share)
        scores: Tensor = self.end(x)
        return scores


class _Shrink(nn.Module):
    """One level: two convolutions, half the size; the averaging comes before bias and activation."""

    def __init__(self, inputs: int, outputs: int, blurred: bool) -> None:
        super().__init__()
        self.first = EqualizedConvolution(inputs, inputs, gain=ROOT_TWO)
        self.second = EqualizedConvolution(inputs, outputs, gain=ROOT_TWO, down=True)
        self.blurred = blurred

    def forward(self, x: Tensor) -> Tensor:
        x = leaky_relu(self.first(x))
        return leaky_relu(self.second(blur(x) if self.blurred else x))


class _ScoreHead(nn.Module):
    """Features of 4 x 4 px to scores."""

    def __init__(self, features: int, group: int) -> None:
        super().__init__()
        self.group = group
        self.convolution = EqualizedConvolution(features + 1, features, gain=ROOT_TWO)
        self.dense = EqualizedLinear(features * 16, features, gain=ROOT_TWO)
        self.score = EqualizedLinear(features, 1)

    def forward(self, x: Tensor) -> Tensor:
        x = leaky_relu(self.convolution(minibatch_deviation(x, self.group)))
        score: Tensor = self.score(leaky_relu(self.dense(x.flatten(1))))
        return score.float().squeeze(1)
