"""Layers that several generators share: equalised learning rates, normalisations, styles, minibatch deviation.

Two conventions of the leaky ReLU's gain of sqrt(2) are in use. Progressive GAN and StyleGAN 1 keep it in the
weights (``gain=ROOT_TWO``), StyleGAN 2 and 3 in the activation (``leaky_relu(x, gain=ROOT_TWO)``); they differ in
how strongly a bias counts.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as functional
from torch import Tensor, nn

from synthrelease.generators.resampling import (
    convolve_and_box_down,
    nearest_up_and_convolve,
    smooth_up_and_convolve,
)

ROOT_TWO = math.sqrt(2.0)
EPSILON = 1e-8


class EqualizedLinear(nn.Module):
    """A linear layer whose stored weights have unit variance; He's constant is applied at run time.

    Adam's step does not depend on the scale of a gradient, so every layer then learns equally fast
    (Karras 2018, "Progressive Growing of GANs", section 4.1).
    """

    def __init__(
        self, inputs: int, outputs: int, *, gain: float = 1.0, rate: float = 1.0, bias: float | None = 0.0
    ) -> None:
        """Make the layer.

        Args:
            inputs: Features in.
            outputs: Features out.
            gain: Standard deviation of the output for inputs of unit variance.
            rate: Learning rate relative to other layers; 0.01 in the mapping networks.
            bias: Its initial value as it acts, or None for no bias.
        """
        super().__init__()
        self.weight = nn.Parameter(torch.randn(outputs, inputs) / rate)
        self.bias = None if bias is None else nn.Parameter(torch.full((outputs,), bias / rate))
        self.scale = gain * rate / math.sqrt(inputs)
        self.rate = rate

    def forward(self, x: Tensor) -> Tensor:
        """Return (n, outputs) of x (n, inputs)."""
        bias = None if self.bias is None else self.bias * self.rate
        return functional.linear(x, self.weight * self.scale, bias)


class EqualizedConvolution(nn.Module):
    """A zero-padded convolution of odd kernel with equalised learning rate, optionally fused with box resampling."""

    def __init__(
        self,
        inputs: int,
        outputs: int,
        kernel: int = 3,
        *,
        gain: float = 1.0,
        bias: bool = True,
        up: bool = False,
        down: bool = False,
    ) -> None:
        """Make the layer; `up` doubles the size before the convolution, `down` halves it after (before the bias)."""
        super().__init__()
        self.weight = nn.Parameter(torch.randn(outputs, inputs, kernel, kernel))
        self.bias = nn.Parameter(torch.zeros(outputs)) if bias else None
        self.scale = gain / math.sqrt(inputs * kernel * kernel)
        self.up, self.down = up, down

    def forward(self, x: Tensor) -> Tensor:
        """Return (n, outputs, h', w') of x (n, inputs, h, w)."""
        weight = self.weight * self.scale
        if self.up:
            y = nearest_up_and_convolve(x, weight)
        elif self.down:
            y = convolve_and_box_down(x, weight)
        else:
            y = functional.conv2d(x, weight, padding=weight.shape[-1] // 2)
        return y if self.bias is None else add_bias(y, self.bias)


def add_bias(x: Tensor, bias: Tensor) -> Tensor:
    """Return x (n, c, h, w) with bias (c,) added, in the type of x."""
    return x + bias.to(x.dtype)[:, None, None]


def leaky_relu(x: Tensor, gain: float = 1.0) -> Tensor:
    """Return the leaky ReLU of slope 0.2, times `gain`."""
    y = functional.leaky_relu(x, 0.2)
    return y if gain == 1.0 else y * gain


def pixel_norm(x: Tensor) -> Tensor:
    """Return x (n, c, ...) with a mean square of 1 over the channels of each pixel (Karras 2018, section 4.2)."""
    scale = (x.float().square().mean(1, keepdim=True) + EPSILON).rsqrt()
    return x * scale.to(x.dtype)


def instance_norm(x: Tensor) -> Tensor:
    """Return x (n, c, h, w) with mean 0 and variance 1 in each channel of each image."""
    centred = x.float() - x.float().mean((2, 3), keepdim=True)
    return (centred * (centred.square().mean((2, 3), keepdim=True) + EPSILON).rsqrt()).to(x.dtype)


class Style(nn.Module):
    """Adaptive instance normalisation: each channel takes its mean and deviation from w (Karras 2019, equation 1)."""

    def __init__(self, latent: int, features: int) -> None:
        super().__init__()
        self.affine = EqualizedLinear(latent, 2 * features)

    def forward(self, x: Tensor, w: Tensor) -> Tensor:
        """Return (n, c, h, w) of x (n, c, h, w) and styles w (n, latent)."""
        scale, shift = self.affine(w).to(x.dtype)[:, :, None, None].chunk(2, dim=1)
        styled: Tensor = instance_norm(x) * (scale + 1) + shift
        return styled


def modulated_convolution(
    x: Tensor, weight: Tensor, styles: Tensor, *, demodulate: bool = True, up: bool = False
) -> Tensor:
    """Return the convolution of x with each image's own kernel s w / |s w| (Karras 2020, equations 1 to 3).

    Features are scaled instead of kernels, which is the same and lets one convolution serve the whole batch.

    Args:
        x: (n, in, h, w).
        weight: (out, in, k, k).
        styles: (n, in), the scale s of each input feature.
        demodulate: Whether outputs are divided by the norm of their kernel, so that the style's size is lost.
        up: Whether the size doubles, filtered with [1, 3, 3, 1]; the kernel is 3 x 3 then.
    """
    if demodulate:
        # What follows cancels in the division; without it float16 sums overflow (ADA paper, appendix).
        weight = weight / (weight.detach().abs().amax((1, 2, 3), keepdim=True) * math.sqrt(weight[0].numel()) + EPSILON)
        styles = styles / (styles.detach().abs().amax(1, keepdim=True) + EPSILON)
    x = x * styles.to(x.dtype)[:, :, None, None]
    y = smooth_up_and_convolve(x, weight) if up else functional.conv2d(x, weight, padding=weight.shape[-1] // 2)
    if not demodulate:
        return y
    power = functional.linear(styles.square(), weight.square().sum((2, 3)))  # (n, out)
    return y * (power + EPSILON).rsqrt().to(y.dtype)[:, :, None, None]


def minibatch_deviation(x: Tensor, group: int = 4) -> Tensor:
    """Return x (n, c, h, w) with one more channel: how much the images of a group differ (Karras 2018, section 3).

    A group is the images j, j + n/g, j + 2n/g, ... The channel holds the standard deviation over the group, averaged
    over channels and pixels. Where `group` does not divide n, the largest smaller size that does is taken.
    """
    images, channels, height, width = x.shape
    size = max(g for g in range(1, min(group, images) + 1) if images % g == 0)
    grouped = x.float().reshape(size, images // size, channels, height, width)
    variance = (grouped - grouped.mean(0)).square().mean(0)
    deviation = (variance + EPSILON).sqrt().mean((1, 2, 3))
    channel = deviation.to(x.dtype).repeat(size)[:, None, None, None].expand(-1, 1, height, width)
    return torch.cat([x, channel], dim=1)
