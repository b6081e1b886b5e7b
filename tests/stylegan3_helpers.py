"""A narrow random StyleGAN 3 for tests."""

from __future__ import annotations

import torch

from synthrelease.generators.stylegan3 import Generator, StyleGAN3Settings

NARROW = {"channel_base": 512, "channel_max": 16, "latent": 16}


def small(
    configuration: str = "T", *, resolution: int = 32, channels: int = 2, seed: int = 0, **more: int
) -> Generator:
    """Return a random narrow generator whose running averages have settled."""
    torch.manual_seed(seed)
    settings = StyleGAN3Settings.checked(configuration=configuration, **{**NARROW, **more})
    generator = Generator(settings, channels=channels, resolution=resolution)
    with torch.no_grad():
        for block in [*generator.synthesis.blocks, generator.synthesis.to_image]:
            block.half_life = 1.0  # images, so that eight of them settle the magnitudes, layer after layer
        for _ in range(2):
            generator.synthesis(generator.styles(torch.randn(8, settings.latent)), update=True)
    return generator.eval()
