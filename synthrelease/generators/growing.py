"""What Progressive GAN and StyleGAN 1 share: a discriminator that grows, and the fading in of a new level."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn

from synthrelease.generators.layers import (
    ROOT_TWO,
    EqualizedConvolution,
    EqualizedLinear,
    leaky_relu,
    minibatch_deviation,
)
from synthrelease.generators.resampling import blur, box_down, nearest_up
from synthrelease.generators.schedule import split_level


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
