"""Adaptive augmentation of what the discriminator sees, for medical channels (ADA, Karras 2020, arXiv 2006.06676).

Real and generated images go through the same random changes, each with probability p, so that the discriminator cannot
learn a small train set by heart; p follows how sure it is of the real images. As long as p stays clearly below 1 the
generator does not learn to make augmented images: hence a cap.

Geometry moves contrasts and mask together, intensity changes the contrasts alone. Contrasts are resampled between
low-pass filters; masks take the nearest pixel, so their labels stay legal. All of it is made of gathers and matrix
products, which differentiate twice (for R1) on every device.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal, Self

import numpy as np
import torch
from pydantic import Field
from torch import Tensor

from synthrelease.generators import filters
from synthrelease.generators.fourier_features import in_full_precision
from synthrelease.settings import Settings

BLACK = -1.0  # air in images scaled to -1..1
TAPS = 24  # of the low-pass filter between the pixel grid and one twice as fine; 12 lose 6 % of a pattern of 8 pixels
HALF_WIDTH = 0.15  # of its transition band, cycles per pixel
PresetName = Literal["medical", "shifts", "official"]


class AugmentSettings(Settings):
    """How much each change may do. The defaults keep a head plausible; see `preset` for others."""

    flip: bool = Field(default=True, description="Mirror left and right")
    quarter_turns: bool = Field(default=False, description="Turn by 0, 90, 180 or 270 degrees")
    shift: float = Field(default=1 / 16, ge=0, le=0.5, description="Shift by whole pixels, most, in image widths")
    scale: float = Field(default=0.1, ge=0, le=1, description="Resize by 2^N(0, scale)")
    rotation: float = Field(default=10, ge=0, le=180, description="Turn, most, degrees; twice where stretched between")
    stretch: float = Field(
        default=0.05, ge=0, le=1, description="Stretch one axis, shrink the other, by 2^N(0, stretch)"
    )
    fine_shift: float = Field(default=0.02, ge=0, le=0.5, description="Shift by N(0, fine_shift) image widths")
    contrast: float = Field(
        default=0.25, ge=0, le=2, description="Multiply each contrast's distance from black by 2^N(0, contrast)"
    )
    brightness: float = Field(
        default=0, ge=0, le=1, description="Add N(0, brightness) to each contrast (-1..1); 0: air stays black in MRI"
    )
    target: float = Field(default=0.6, ge=-1, le=1, description="Mean sign of D on real images above which p grows")
    speed_kimg: float = Field(default=500, gt=0, description="Thousand real images in which p goes from 0 to 1 at most")
    cap: float = Field(
        default=0.8, ge=0, lt=1, description="Most p may become; beyond it augmentations appear in generated images"
    )

    @classmethod
    def preset(cls, name: PresetName, **options: object) -> Self:
        """Return settings by name.

        ``medical``: mirror, small shifts, turns and stretches, contrast. ``shifts``: mirror and whole-pixel shifts,
        which resample nothing. ``official``: the published strengths, which turn heads upside down; without those that
        need colour.
        """
        match name:
            case "medical":
                known: dict[str, object] = {}
            case "shifts":
                known = dict.fromkeys(("scale", "rotation", "stretch", "fine_shift", "contrast", "brightness"), 0)
            case "official":
                known = {"quarter_turns": True, "shift": 0.125, "scale": 0.2, "rotation": 180, "stretch": 0.2}
                known |= {"fine_shift": 0.125, "contrast": 0.5, "brightness": 0.2}
        return cls.checked(**{**known, **options})


def augment(
    images: Tensor, *, probability: float, masks: Sequence[int], settings: AugmentSettings, random: torch.Generator
) -> Tensor:
    """Return changed images (n, c, h, h), scaled -1..1 as they came.

    Args:
        images: (n, c, h, h), real or generated; each is changed on its own, in ways that its position in the batch and
            ``random`` decide.
        probability: Of each change, 0 to 1; at 0 the images come back as they are.
        masks: Channels that hold labels: they are moved, by nearest pixel, and otherwise left alone.
        settings: Strengths.
        random: What is drawn comes from here, on its device; the number of draws does not depend on the probability.
    """
    count, channels, size, _ = images.shape
    exact, smooth = _moves(count, size, probability, settings, random)
    gain, offset = _intensities(count, channels, probability, settings, random)
    if probability <= 0:
        return images
    contrast = torch.ones(channels, dtype=torch.bool)
    contrast[list(masks)] = False
    with in_full_precision(images):  # positions need more than 16 bits
        moved = _move(images, exact, smooth, contrast)
    touched = contrast & ((gain != 1) | (offset != 0))  # (n, c): others keep every bit
    gain, offset, touched = (t[:, :, None, None].to(images.device) for t in (gain, offset, touched))
    changed = (moved - BLACK) * gain.to(images.dtype) + (BLACK + offset.to(images.dtype))
    return torch.where(touched, changed, moved)


def _move(images: Tensor, exact: Tensor, smooth: Tensor, contrast: Tensor) -> Tensor:
    """Return moved images: by nearest pixel, but contrasts of images that need more than whole pixels resampled."""
    number = torch.float64 if images.dtype == torch.float64 else torch.float32
    affine = (exact @ smooth).to(images.device, number)  # (n, 3, 3): output to source, pixels from the middle
    moved = _nearest(images, affine)
    rows = (smooth != torch.eye(3, dtype=smooth.dtype)).flatten(1).any(1).nonzero()[:, 0]
    chosen = contrast.nonzero()[:, 0].to(images.device)
    if not len(rows) or not len(chosen):
        return moved
    inside = rows.to(images.device)
    resampled = _resampled(images[inside][:, chosen], affine[inside])
    return moved.index_copy(0, inside, moved[inside].index_copy(1, chosen, resampled))


def _nearest(images: Tensor, affine: Tensor) -> Tensor:
    size = images.shape[-1]
    source = _sources(affine, torch.arange(size, device=images.device) + 0.5 - size / 2) + size / 2
    pixel = source.floor().long()
    index = _reflected(pixel[..., 0], pixel[..., 1], size)
    return _picked(images, index, (size, size))


def _resampled(images: Tensor, affine: Tensor) -> Tensor:
    """Return images moved on a grid twice as fine, between an interpolating and a decimating low-pass filter."""
    size = images.shape[-1]
    up, down = _grids(size, images.dtype, images.device)
    fine = filters.along_both_axes(images, up, up)
    numbers = torch.arange(2 * size + TAPS - 2, device=images.device)
    wanted = (numbers - (TAPS / 2 - 1) + 0.5) / 2 - size / 2
    source = 2 * (_sources(affine, wanted) + size / 2) - 0.5
    corner = source.floor()
    weight = (source - corner).to(images)[:, None]  # (n, 1, m, 2)
    corner = corner.long()
    shape = (len(wanted), len(wanted))
    total: Tensor | None = None
    for row in (0, 1):
        for column in (0, 1):
            index = _reflected(corner[..., 0] + column, corner[..., 1] + row, 2 * size)
            share = (weight[..., 0] if column else 1 - weight[..., 0]) * (weight[..., 1] if row else 1 - weight[..., 1])
            part = _picked(fine, index, shape) * share.reshape(-1, 1, *shape)
            total = part if total is None else total + part
    assert total is not None
    return filters.along_both_axes(total, down, down)


def _sources(affine: Tensor, wanted: Tensor) -> Tensor:
    """Return source positions (n, m * m, 2), x before y, of the m x m grid of wanted positions."""
    y, x = torch.meshgrid(wanted, wanted, indexing="ij")
    x, y = x.flatten().to(affine), y.flatten().to(affine)
    rows = affine[:, :2, :, None]
    return (rows[:, :, 0] * x + rows[:, :, 1] * y + rows[:, :, 2]).transpose(1, 2)


def _reflected(column: Tensor, row: Tensor, size: int) -> Tensor:
    """Return flat pixel numbers (n, m) of columns and rows (n, m), mirrored at the edges."""
    column, row = column % (2 * size), row % (2 * size)
    column, row = torch.minimum(column, 2 * size - 1 - column), torch.minimum(row, 2 * size - 1 - row)
    return row * size + column


def _picked(images: Tensor, index: Tensor, shape: tuple[int, int]) -> Tensor:
    chosen = images.flatten(2).gather(2, index[:, None].expand(-1, images.shape[1], -1))
    return chosen.reshape(*images.shape[:2], *shape)


@lru_cache(maxsize=8)
def _grids(size: int, dtype: torch.dtype, device: torch.device) -> tuple[Tensor, Tensor]:
    """Return the matrices to the twice finer grid, (2 size, size), and back, (size, 2 size + taps - 2)."""
    kernel = filters.low_pass(TAPS, cutoff=0.5, half_width=HALF_WIDTH, rate=2)
    pad = TAPS // 2
    up = filters.upsampling(size + 2 * pad, 2, kernel, before=-pad, after=-pad - 1)
    up = filters.reflecting(up, before=pad, length=size)
    down = filters.downsampling(2 * size + TAPS - 2, 2, kernel)
    return torch.as_tensor(up, dtype=dtype, device=device), torch.as_tensor(down, dtype=dtype, device=device)


def _moves(
    count: int, size: int, probability: float, settings: AugmentSettings, random: torch.Generator
) -> tuple[Tensor, Tensor]:
    """Return two affine maps (n, 3, 3) whose product leads from output to source: whole pixels, and the rest."""
    draw = _Draws(count, probability, random)
    exact = draw.identity()
    mirrored = draw.some((draw.uniform() < 0.5) & torch.tensor(settings.flip))
    exact = exact @ _scaled(torch.where(mirrored, -1.0, 1.0), torch.ones(count, dtype=torch.float64))
    quarters = draw.some((draw.uniform() * 4).floor() * settings.quarter_turns).long()
    cosine = torch.tensor([1.0, 0.0, -1.0, 0.0], dtype=torch.float64)[quarters]
    sine = torch.tensor([0.0, 1.0, 0.0, -1.0], dtype=torch.float64)[quarters]
    exact = exact @ _turned(cosine, sine)
    whole = [(2 * draw.uniform() - 1) * settings.shift * size for _ in range(2)]
    exact = exact @ _shifted(*draw.together([w.round() for w in whole]))

    size_change = 2 ** draw.some(draw.normal() * settings.scale)
    smooth = draw.identity() @ _scaled(1 / size_change, 1 / size_change)
    # Two turns, so that the stretch lies in any direction; together as likely as one of probability p.
    half = 1 - math.sqrt(max(1 - probability, 0))
    smooth = smooth @ _angle(draw, settings, half)
    stretch = 2 ** draw.some(draw.normal() * settings.stretch)
    smooth = smooth @ _scaled(1 / stretch, stretch) @ _angle(draw, settings, half)
    fine = draw.together([draw.normal() * settings.fine_shift * size for _ in range(2)])
    return exact, smooth @ _shifted(*fine)


def _intensities(
    count: int, channels: int, probability: float, settings: AugmentSettings, random: torch.Generator
) -> tuple[Tensor, Tensor]:
    """Return gain and offset (n, c), each contrast its own: scanners set every sequence separately."""
    draw = _Draws(count * channels, probability, random)
    gain = 2 ** draw.some(draw.normal() * settings.contrast)
    offset = draw.some(draw.normal() * settings.brightness)
    return gain.reshape(count, channels), offset.reshape(count, channels)


@dataclass(frozen=True)
class _Draws:
    """Numbers for each of ``count`` images, float64 on the CPU."""

    count: int
    probability: float
    random: torch.Generator

    def uniform(self) -> Tensor:
        return torch.rand(self.count, generator=self.random, device=self.random.device, dtype=torch.float64).cpu()

    def normal(self) -> Tensor:
        return torch.randn(self.count, generator=self.random, device=self.random.device, dtype=torch.float64).cpu()

    def some(self, values: Tensor, probability: float | None = None) -> Tensor:
        """Return the values for a random part of the images, 0 (no change) for the others."""
        chance = self.probability if probability is None else probability
        return torch.where(self.uniform() < chance, values, torch.zeros_like(values))

    def together(self, values: list[Tensor]) -> list[Tensor]:
        chosen = self.uniform() < self.probability
        return [torch.where(chosen, v, torch.zeros_like(v)) for v in values]

    def identity(self) -> Tensor:
        return torch.eye(3, dtype=torch.float64).repeat(self.count, 1, 1)


def _angle(draw: _Draws, settings: AugmentSettings, probability: float) -> Tensor:
    angle = draw.some((2 * draw.uniform() - 1) * math.radians(settings.rotation), probability)
    return _turned(torch.cos(angle), torch.sin(angle))


def _scaled(x: Tensor, y: Tensor) -> Tensor:
    return torch.diag_embed(torch.stack([x.double(), y.double(), torch.ones_like(x, dtype=torch.float64)], 1))


def _turned(cosine: Tensor, sine: Tensor) -> Tensor:
    zero, one = torch.zeros_like(cosine), torch.ones_like(cosine)
    rows = [cosine, -sine, zero, sine, cosine, zero, zero, zero, one]
    return torch.stack(rows, 1).reshape(-1, 3, 3)


def _shifted(x: Tensor, y: Tensor) -> Tensor:
    zero, one = torch.zeros_like(x), torch.ones_like(x)
    return torch.stack([one, zero, x, zero, one, y, zero, zero, one], 1).reshape(-1, 3, 3)


class AdaptiveProbability:
    """Holds p, and moves it by how often the discriminator calls real images real (ADA, section 3.1, r_t).

    Feed it every batch of the discriminator's answers to (augmented) real images, and let it adjust every few batches.
    """

    def __init__(self, settings: AugmentSettings, *, start: float = 0.0) -> None:
        self.settings = settings
        self.value = min(max(start, 0.0), settings.cap)
        self._signs: Tensor | float = 0.0  # stays on the device until it is needed: no waiting at every step
        self._images = 0.0

    def observe(self, answers: Tensor) -> None:
        """Note the discriminator's answers to real images, any shape, positive meaning real."""
        self._signs = self._signs + answers.detach().float().sign().sum()
        self._images += answers.numel()

    def adjust(self, total: Callable[[Tensor], Tensor] | None = None) -> float:
        """Return the new p after one step towards the target; forget what was observed.

        Args:
            total: Sums a tensor (2,) on the CPU over all processes, where there are several: all then agree on p.
        """
        sums = torch.tensor([float(self._signs), self._images], dtype=torch.float64)
        signs, images = (sums if total is None else total(sums)).tolist()
        self._signs = self._images = 0.0
        if images:
            step = np.sign(signs / images - self.settings.target) * images / (self.settings.speed_kimg * 1000)
            self.value = float(np.clip(self.value + step, 0.0, self.settings.cap))
        return self.value

    @property
    def at_cap(self) -> bool:
        """Whether p would grow further if it might: there are probably too few train images."""
        return self.value >= self.settings.cap

    def state(self) -> dict[str, float]:
        """Return what a checkpoint keeps."""
        return {"value": self.value, "signs": float(self._signs), "images": self._images}

    def restore(self, state: dict[str, float]) -> None:
        """Continue from `state`, exactly."""
        self.value, self._signs, self._images = state["value"], state["signs"], state["images"]
