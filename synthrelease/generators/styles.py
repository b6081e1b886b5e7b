"""What the style-based generators share around w: the mapping from z, mixing, truncation, noise, seeds."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

import numpy as np
import torch
from torch import Tensor, nn

from synthrelease import seeds as draws
from synthrelease.generators.layers import ROOT_TWO, EqualizedLinear, leaky_relu, pixel_norm

Noise = Callable[[int, Tensor], Tensor]
"""Layer number and features (n, c, h, w) to noise that can be added to them, (n or 1, 1, h, w)."""


class MappingSettings(Protocol):
    """The part of a style-based generator's settings that shapes its mapping."""

    @property
    def latent(self) -> int:
        """Numbers in z, and in w."""

    @property
    def mapping_layers(self) -> int:
        """Dense layers."""

    @property
    def mapping_rate(self) -> float:
        """Their learning rate relative to other layers'."""

    @property
    def style_average_beta(self) -> float:
        """What one batch leaves of the average w."""


class StyleMapping(nn.Module):
    """z to w, and the running mean of w."""

    average: Tensor

    def __init__(self, settings: MappingSettings, *, gain_in_weights: bool) -> None:
        """Make the network; the leaky ReLU's gain sits in the weights (StyleGAN 1) or in the activation."""
        super().__init__()
        latent, rate = settings.latent, settings.mapping_rate
        in_weights, self.gain = (ROOT_TWO, 1.0) if gain_in_weights else (1.0, ROOT_TWO)
        self.dense = nn.ModuleList(
            EqualizedLinear(latent, latent, gain=in_weights, rate=rate) for _ in range(settings.mapping_layers)
        )
        self.beta = settings.style_average_beta
        self.register_buffer("average", torch.zeros(latent))

    def forward(self, z: Tensor) -> Tensor:
        """Return w (n, latent) of z (n, latent)."""
        x = pixel_norm(z)
        for layer in self.dense:
            x = leaky_relu(layer(x), self.gain)
        return x

    @torch.no_grad()
    def update_average(self, w: Tensor) -> None:
        """Move the average w, which truncation pulls towards, a little to the mean of a batch w (n, latent)."""
        self.average.copy_(torch.lerp(w.detach().float().mean(0), self.average, self.beta))


def latents_of_seeds(seeds: Sequence[int], latent: int) -> Tensor:
    """Return (n, latent) standard normal numbers, float32 on the CPU; row i depends on seeds[i] alone."""
    rows = [draws.named(seed, "latent").standard_normal(latent, dtype=np.float32) for seed in seeds]
    return torch.from_numpy(np.stack(rows))


def fresh_noise(normal: Callable[..., Tensor]) -> Noise:
    """Return noise for training, new at every call; ``normal(*shape)`` draws standard normal numbers."""

    def noise(layer: int, features: Tensor) -> Tensor:
        n, _, height, width = features.shape
        return normal(n, 1, height, width).to(features)

    return noise


def noise_of_seeds(seeds: Sequence[int]) -> Noise:
    """Return noise for sampling: image i of the batch gets what depends on seeds[i] and the layer alone."""

    def noise(layer: int, features: Tensor) -> Tensor:
        return torch.cat([_drawn(seed, layer, features) for seed in seeds])

    return noise


def constant_noise(seed: int) -> Noise:
    """Return noise that is the same for every image and every call: only the style then tells images apart."""

    def noise(layer: int, features: Tensor) -> Tensor:
        return _drawn(seed, layer, features)

    return noise


def _drawn(seed: int, layer: int, features: Tensor) -> Tensor:
    height, width = features.shape[2:]
    drawn = draws.named(seed, "noise", layer).standard_normal((1, 1, height, width), dtype=np.float32)
    return torch.from_numpy(drawn).to(features)


def draw_crossovers(images: int, layers: int, probability: float, generator: torch.Generator) -> Tensor:
    """Return (images,) numbers of the first layer of each image that takes its style from a second latent.

    With `probability` it is uniform in 1 to layers - 1; otherwise it is `layers`, that is none.
    """
    device = generator.device
    mixed = torch.rand(images, generator=generator, device=device) < probability
    place = torch.randint(1, layers, (images,), generator=generator, device=device)
    return torch.where(mixed, place, layers)


def mix(first: Tensor, second: Tensor, crossovers: Tensor) -> Tensor:
    """Return styles that follow `first` up to each image's crossover and `second` from there on.

    Args:
        first: (n, layers, latent).
        second: (n, layers, latent).
        crossovers: (n,) layer numbers, see `draw_crossovers`.
    """
    layer = torch.arange(first.shape[1], device=first.device)
    return torch.where((layer < crossovers.to(first.device)[:, None])[..., None], first, second)


def truncate(styles: Tensor, average: Tensor, psi: float, layers: int | None = None) -> Tensor:
    """Return styles pulled towards the average w: average + psi (w - average) (Karras 2019, appendix B).

    Args:
        styles: (n, layers, latent).
        average: (latent,).
        psi: 1 changes nothing, 0 gives the mean image.
        layers: Only so many first layers are pulled; None is all.
    """
    if psi == 1.0:
        return styles
    pulled = torch.lerp(average.expand_as(styles), styles, psi)
    return pulled if layers is None else torch.cat([pulled[:, :layers], styles[:, layers:]], dim=1)
