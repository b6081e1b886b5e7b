"""What a generator is, the five that come with the tool, and how a trained one is opened again."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, cast, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from synthrelease.errors import SettingsError
from synthrelease.image_set import ImageSet
from synthrelease.settings import Settings

if TYPE_CHECKING:
    from torch import Tensor, nn

NAMES = ("progan", "stylegan1", "stylegan2", "stylegan3", "diffusion")
STANDARD_LEVELS = (0, 51, 102, 204)  # of the mask channel: background, NCR, ED, ET as `prepare` writes them
CPU_LANES = 4  # images that a network sees at once on a CPU
GPU_LANES = 64

RESERVED_SEEDS = 2**40
"""Seeds from here on are for looking at a training; images that decided when it ended are not released."""

Batch = NDArray[np.float32]
"""(k, c, r, r), -1 to 1: what `sample` yields."""


@runtime_checkable
class Generator(Protocol):
    """Anything that learns images and makes new ones; outsiders pass their own object to `Study`."""

    @property
    def name(self) -> str:
        """Written into the index of what was sampled."""

    @property
    def channels(self) -> tuple[str, ...]:
        """Channels of the images, in order; those of the training set."""

    def train(self, images: ImageSet, steps: int, folder: Path) -> object:
        """Learn from a set for ``steps`` optimiser steps; whatever is to be kept goes into ``folder``."""

    def sample(self, seeds: Sequence[int]) -> Iterator[Batch]:
        """Yield images in the order of ``seeds``, in batches of any size.

        Image i depends on ``seeds[i]`` alone: not on the other seeds, their order or the batch size.
        """


Sampler = Callable[[Sequence[int]], Iterator[NDArray[np.uint8]]]
"""Seeds to batches (k, c, r, r) as they would be released: 8 bits, masks on legal levels."""


@dataclass(frozen=True)
class Screened:
    """What a look at samples during training found; `stop` ends the training."""

    stop: bool
    scalars: Mapping[str, float] = field(default_factory=dict)  # logged beside the losses
    reason: str = ""  # shown when it stops, e.g. "near copies exceed those in the holdout by 0.02 to 0.05"


Screen = Callable[[int, Sampler], Screened]
"""Called with the step and a sampler of the averaged weights."""

Judge = Callable[[int, Sampler], float]
"""Step and a sampler of the averaged weights to a number; the checkpoint where it is lowest is the best."""


def check_name(name: str) -> str:
    """Return ``name`` if it is one of `NAMES`; else raise `SettingsError` with the nearest."""
    if name in NAMES:
        return name
    near = difflib.get_close_matches(name.lower(), NAMES, n=1)
    hint = f"did you mean {near[0]!r}? " if near else ""
    raise SettingsError(f"There is no generator {name!r}: {hint}known are {', '.join(NAMES)}.")


def default_settings(name: str) -> Settings:
    """Return the published configuration of a generator's networks, as its settings object."""
    return settings_class(name)()


def settings_class(name: str) -> type[Settings]:
    """Return the class of settings that shape a generator's networks."""
    match check_name(name):
        case "progan":
            from synthrelease.generators.progan import ProGANSettings

            return ProGANSettings
        case "stylegan1":
            from synthrelease.generators.stylegan1 import StyleGAN1Settings

            return StyleGAN1Settings
        case "stylegan2":
            from synthrelease.generators.stylegan2 import StyleGAN2Settings

            return StyleGAN2Settings
        case "stylegan3":
            from synthrelease.generators.stylegan3 import StyleGAN3Settings

            return StyleGAN3Settings
        case _:
            from synthrelease.generators.diffusion import DiffusionSettings

            return DiffusionSettings


def build_networks(name: str, settings: Settings, *, channels: int, resolution: int) -> dict[str, nn.Module]:
    """Return a generator's untrained networks by name, made on PyTorch's default device.

    Args:
        name: One of `NAMES`.
        settings: Of `settings_class(name)`.
        channels: Of the images.
        resolution: Height and width, pixels.

    Returns:
        "generator" and "discriminator", or "denoiser".
    """
    shape = {"channels": channels, "resolution": resolution}
    made: Any
    if not isinstance(settings, settings_class(name)):
        raise SettingsError(f"{type(settings).__name__} are not settings of {name}.")
    match name:
        case "progan":
            from synthrelease.generators import progan as made
        case "stylegan1":
            from synthrelease.generators import stylegan1 as made
        case "stylegan2":
            from synthrelease.generators import stylegan2 as made
        case "stylegan3":
            from synthrelease.generators import stylegan3 as made
        case _:
            from synthrelease.generators import diffusion

            made_for = cast(diffusion.DiffusionSettings, settings)
            return {"denoiser": diffusion.build_denoiser(made_for, **shape)}
    return {"generator": made.Generator(settings, **shape), "discriminator": made.Discriminator(settings, **shape)}


def in_lanes(seeds: Sequence[int], run: Callable[[Sequence[int]], Tensor], *, lanes: int) -> Iterator[Batch]:
    """Yield ``run``'s images (k, c, r, r) for all seeds, running it on exactly ``lanes`` of them every time.

    A network's result for one image depends, in the last bits, on how many it is run on (matrix products
    are cut differently) but not on what the others are. With the number fixed, image i depends on its seed alone, to
    the bit on a CPU; the last run is filled up with its last seed.
    """
    for start in range(0, len(seeds), lanes):
        some = list(seeds[start : start + lanes])
        images = run(some + some[-1:] * (lanes - len(some)))[: len(some)]
        yield np.asarray(images.detach().float().cpu().numpy(), dtype=np.float32)
