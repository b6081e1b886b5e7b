"""The first layer of StyleGAN 3: a picture of waves, continuous and endless, which is sampled on any grid.

Moving the waves moves the picture exactly (Karras et al. 2021, arXiv 2106.12423, sections 3.1 and 3.2).
"""

from __future__ import annotations

import math
from contextlib import AbstractContextManager, nullcontext

import torch
from torch import Tensor, nn

from synthrelease.generators.filters import Signal
from synthrelease.generators.layers import EqualizedLinear


class FourierFeatures(nn.Module):
    """Maps w (n, latent) to waves (n, c, size, size), turned and shifted as w says.

    ``transform`` (3, 3) is for the user: it leads from positions in the picture to positions in the unmoved
    picture, x before y, in image widths from the middle.
    """

    frequencies: Tensor
    phases: Tensor
    transform: Tensor

    def __init__(self, signal: Signal, latent: int) -> None:
        super().__init__()
        self.signal = signal
        self.weight = nn.Parameter(torch.randn(signal.channels, signal.channels))
        self.affine = EqualizedLinear(latent, 4)
        with torch.no_grad():  # at first nothing is turned or shifted
            self.affine.weight.zero_()
            self.affine.bias = nn.Parameter(torch.tensor([1.0, 0.0, 0.0, 0.0]))
        direction = torch.randn(signal.channels, 2)
        squared = direction.square().sum(1, keepdim=True)
        # r^2 of two normal numbers is exponential, so exp(-r^2 / 4) is the radius of a point uniform in the unit disc.
        waves = direction * squared.rsqrt() * torch.exp(-squared / 4)
        self.register_buffer("frequencies", waves * signal.cutoff)
        self.register_buffer("phases", torch.rand(signal.channels) - 0.5)
        self.register_buffer("transform", torch.eye(3))

    def forward(self, w: Tensor) -> Tensor:
        """Return waves in float32: in 16 bits a phase of many turns would lose its digits."""
        with in_full_precision(w):
            move = self.affine(w.float())  # (n, 4): cosine and sine of the turn, shift
            move = move / move[:, :2].square().sum(1, keepdim=True).sqrt()
            cosine, sine, shift = move[:, 0], move[:, 1], move[:, 2:]
            back = torch.stack([cosine, sine, -sine, cosine], 1).view(-1, 2, 2)
            # A position goes through the user's transform, then back along the learned shift, then back by the turn.
            offset = (back @ (self.transform[:2, 2] - shift)[:, :, None])[:, :, 0]
            frequencies = self.frequencies @ (back @ self.transform[:2, :2])  # (n, c, 2)
            return self._waves(frequencies, self.phases + offset @ self.frequencies.T)

    def _waves(self, frequencies: Tensor, phases: Tensor) -> Tensor:
        size, rate, cutoff, _, channels = self.signal
        # The user may shrink the picture: frequencies that come near the Nyquist frequency fade out, and do not alias.
        beyond = (frequencies.square().sum(2).sqrt() - cutoff) / (rate / 2 - cutoff)
        place = (torch.arange(size, device=phases.device, dtype=torch.float32) + 0.5 - size / 2) / rate
        across = frequencies[:, None, None, :, 0] * place[None, None, :, None]
        down = frequencies[:, None, None, :, 1] * place[None, :, None, None]
        waves = torch.sin(2 * math.pi * (across + down + phases[:, None, None]))
        waves = waves * (1 - beyond).clamp(0, 1)[:, None, None]
        return (waves @ (self.weight.T / math.sqrt(channels))).permute(0, 3, 1, 2).contiguous()


def in_full_precision(x: Tensor) -> AbstractContextManager[object]:
    """Return a context without mixed precision, where the caller has switched that on for the device of x."""
    if x.device.type == "meta" or not torch.is_autocast_enabled(x.device.type):
        return nullcontext()
    return torch.autocast(x.device.type, enabled=False)
