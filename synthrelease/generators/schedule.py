"""What changes while a GAN trains: growth, what depends on the resolution, the pace of the averaged generator."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Protocol, TypeVar

from synthrelease.errors import SettingsError

T = TypeVar("T")


def levels_of(resolution: int) -> int:
    """Return log2 of a resolution in pixels, or raise `SettingsError` for one that no network here is made for."""
    if resolution not in (16, 32, 64, 128, 256, 512, 1024):
        raise SettingsError(
            f"resolution {resolution} px is not a power of two from 16 to 1024",
            "choose one, e.g. 256; images are padded or resized to it when the set is prepared",
        )
    return resolution.bit_length() - 1


def split_level(level: float | None, last: int) -> tuple[int, float]:
    """Return the highest resolution in use, as its log2, and its share; the one below has the rest.

    Args:
        level: Growth so far: 2 is 4 px, 3 is 8 px, 2.25 is 8 px faded in by a quarter; None is fully grown.
        last: log2 of the resolution of the whole network.

    Raises:
        ValueError: The level is not within 2 and `last`.
    """
    if level is None:
        return last, 1.0
    if not 2 <= level <= last:
        raise ValueError(f"level {level} is not within 2 and {last}")
    top = math.ceil(level)
    return top, 1.0 - (top - level)


def growth(images: int, first: int, resolution: int, *, fade_kimg: float, stable_kimg: float) -> float:
    """Return the level after so many real images: constant while stable, rising by 1 while the next fades in.

    Args:
        images: Real images shown so far.
        first: Pixels at the start, 4 or more.
        resolution: Pixels of the whole network.
        fade_kimg: Thousand images of each fade.
        stable_kimg: Thousand images before each fade.

    Returns:
        log2 of the pixels, a fraction meaning a fade; see `split_level`.
    """
    phase, into = divmod(images / 1000, fade_kimg + stable_kimg)
    start = first.bit_length() - 1
    level = start + phase + max(0.0, into - stable_kimg) / fade_kimg
    return min(level, float(levels_of(resolution)))


class Schedule(Protocol):
    """The part of a GAN's settings that says how growth and batch go on."""

    def level_at(self, images: int, resolution: int) -> float:
        """Return the growth after so many images; see `growth`."""

    def batch_at(self, resolution: int) -> int:
        """Return the images per step while the highest level in use has `resolution` pixels."""


def images_after(schedule: Schedule, steps: int, resolution: int) -> int:
    """Return how many training images ``steps`` steps see, from the very first."""
    return _walk(schedule, resolution, steps=steps)[1]


def steps_for(schedule: Schedule, kimg: float, resolution: int) -> int:
    """Return how many steps it takes until ``kimg`` thousand images are seen."""
    return _walk(schedule, resolution, images=math.ceil(kimg * 1000))[0]


def _walk(schedule: Schedule, resolution: int, *, steps: float = math.inf, images: float = math.inf) -> tuple[int, int]:
    """Return the first step and count of images at which one of both limits is reached."""
    last, step, seen = levels_of(resolution), 0, 0
    while step < steps and seen < images:
        top = math.ceil(schedule.level_at(seen, resolution))
        batch = schedule.batch_at(2**top)
        # Batches change with the highest level alone, so from the last one on it is arithmetic.
        more = 1 if top < last else math.ceil(min(steps - step, (images - seen) / batch))
        step, seen = step + more, seen + more * batch
    return step, seen


def at_or_below(values: Mapping[int, T], resolution: int) -> T:
    """Return the value of the largest key that is not above `resolution`, else of the smallest key."""
    return values[max((key for key in values if key <= resolution), default=min(values))]


def half_life_decay(batch: int, half_life_images: float) -> float:
    """Return what one step of `batch` images keeps, so that half is left after `half_life_images` images."""
    return float(0.5 ** (batch / max(half_life_images, 1e-8)))


def warmed_up_decay(batch: int, images: int, *, kimg: float | None, rampup: float | None) -> float:
    """Return what one step of `batch` images keeps of an average that is short-lived while few images were seen.

    Args:
        batch: Images in the step.
        images: Real images seen so far.
        kimg: Half-life, thousand images; None: 10 / 32 of the batch.
        rampup: The half-life is at most this share of `images`; None: no warm-up.
    """
    half_life = 1000 * (batch * 10 / 32 if kimg is None else kimg)
    if rampup is not None:
        half_life = min(half_life, images * rampup)
    return half_life_decay(batch, half_life)
