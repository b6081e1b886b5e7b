"""What the generators' tests share: the three style families' names, and networks small enough for a CPU."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from synthrelease.generators import progan, stylegan1, stylegan2
from synthrelease.generators.styles import Noise

FAMILIES = ("progan", "stylegan1", "stylegan2")
_MODULES = {
    "progan": (progan, progan.ProGANSettings, 2),
    "stylegan1": (stylegan1, stylegan1.StyleGAN1Settings, 2),
    "stylegan2": (stylegan2, stylegan2.StyleGAN2Settings, 1),
}


def small_networks(
    family: str, *, channels: int = 5, resolution: int = 16, width: int = 8, seed: int = 0
) -> tuple[nn.Module, nn.Module]:
    """Return a generator and a discriminator of at most `width` features."""
    module, settings_class, part = _MODULES[family]
    settings = settings_class(channel_base=16 * width // part, channel_max=width, latent=width)
    torch.manual_seed(seed)
    generator = module.Generator(settings, channels=channels, resolution=resolution)
    return generator, module.Discriminator(settings, channels=channels, resolution=resolution)


def images_of(generator: nn.Module, z: Tensor, noise: Noise | None = None, **options: float) -> Tensor:
    """Return a generator's images of z; Progressive GAN takes no noise."""
    if isinstance(generator, progan.Generator):
        return generator(z, **options)
    return generator(z, noise=noise, **options)


def count(network: nn.Module) -> int:
    """Return how many numbers a network learns."""
    return sum(parameter.numel() for parameter in network.parameters())
