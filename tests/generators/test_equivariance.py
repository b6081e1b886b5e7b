"""What StyleGAN 3 is for: images that follow translations (T) and rotations (R) of what they show."""

from __future__ import annotations

import math

import pytest
import torch
from scipy import ndimage
from stylegan3_helpers import small
from torch import Tensor

from synthrelease.generators.stylegan3 import Generator


def equivariance_to_translation(generator: Generator, z: Tensor, shifts: list[tuple[int, int]]) -> tuple[float, float]:
    """Return EQ-T in dB, and the same against the images' own variance.

    EQ-T = 10 log10(I_max^2 / E[(g(t_x[z0]; w) - t_x[g(z0; w)])^2]) over the pixels that both images have, with
    I_max = 2, the range from -1 to 1 (StyleGAN 3, section 2.2, equation 3; its appendix takes whole pixels as here).
    A random network's images do not fill that range, hence the second, harder number.
    """
    base = generator(z)
    size = base.shape[-1]
    errors = []
    for across, down in shifts:
        move = torch.eye(3)
        move[0, 2], move[1, 2] = -across / size, -down / size
        moved = shown(generator, z, move)
        window = slice(max(down, 0), size + min(down, 0)), slice(max(across, 0), size + min(across, 0))
        rolled = base.roll((down, across), (2, 3))
        errors.append((moved[..., *window] - rolled[..., *window]).double().square().mean())
    error = float(torch.stack(errors).mean())
    return 10 * math.log10(4 / error), 10 * math.log10(float(base.var()) / error)


def shown(generator: Generator, z: Tensor, transform: Tensor) -> Tensor:
    """Return the images with the input moved."""
    waves = generator.synthesis.input
    waves.transform.copy_(transform)
    try:
        return generator(z)
    finally:
        waves.transform.copy_(torch.eye(3))


def turned(degrees: float) -> Tensor:
    """Return the transform that turns the picture counter-clockwise on a screen, where y points down."""
    angle = math.radians(degrees)
    move = torch.eye(3)
    move[:2, :2] = torch.tensor([[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]])
    return move


@torch.no_grad()
@pytest.mark.parametrize(("configuration", "resolution"), [("T", 16), ("T", 32), ("R", 32)])
def test_images_follow_translations_above_50_decibel(configuration: str, resolution: int) -> None:
    generator = small(configuration, resolution=resolution)
    reach = resolution // 8

    published, own = equivariance_to_translation(
        generator, torch.randn(4, 16), [(reach, 0), (0, -reach), (1, 2), (-reach, -1)]
    )

    assert published > 50
    assert own > 50


@torch.no_grad()
def test_a_network_that_knows_where_its_pixels_are_would_not_pass() -> None:
    """The measure sees what it is for: a little noise that stays in place costs the decibels."""
    generator = small()
    stuck = torch.randn(1, 2, 32, 32) * 0.02

    class Stuck(torch.nn.Module):
        synthesis = generator.synthesis

        def forward(self, z: Tensor) -> Tensor:
            return generator(z) + stuck

    assert equivariance_to_translation(Stuck(), torch.randn(2, 16), [(2, 0), (0, 3)])[0] < 40  # type: ignore[arg-type]


@torch.no_grad()
def test_configuration_r_follows_quarter_turns_exactly_and_t_does_not() -> None:
    z = torch.randn(3, 16)
    decibel = {}
    for configuration in ("R", "T"):
        generator = small(configuration)
        error = (shown(generator, z, turned(90)) - generator(z).rot90(1, (2, 3))).square().mean()
        decibel[configuration] = 10 * math.log10(4 / float(error))

    assert decibel["R"] > 100
    assert decibel["T"] < 50


@torch.no_grad()
def test_configuration_r_follows_any_angle_better_than_t() -> None:
    """Inside the disc that stays in view; the reference image is turned by a spline, which has errors of its own."""
    z = torch.randn(2, 16)
    size = 64
    middle = (torch.arange(size) + 0.5 - size / 2).square()
    disc = (middle[:, None] + middle[None, :]).sqrt() < 0.8 * size / 2
    decibel = {}
    for configuration in ("R", "T"):
        generator = small(configuration, resolution=size)
        base = generator(z)
        made = shown(generator, z, turned(30))
        wanted = torch.from_numpy(ndimage.rotate(base.numpy(), 30, axes=(3, 2), reshape=False, order=5))
        error = (made - wanted)[..., disc].square().mean()
        decibel[configuration] = 10 * math.log10(float(base.var() / error))

    assert decibel["R"] > 40
    assert decibel["R"] > decibel["T"] + 15
