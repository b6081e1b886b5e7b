"""What tests of the generators' training share: each kind, tiny, and comparing trainings up to rounding."""

from __future__ import annotations

from typing import Any

import torch
from diffusion_helpers import QUICK, TINY, discs
from diffusion_helpers import settings as diffusion_training

from synthrelease.generators.diffusion_model import Diffusion
from synthrelease.generators.gan_model import Gan
from synthrelease.generators.gan_training import GanTraining
from synthrelease.generators.plans import changed, presets
from synthrelease.image_set import ImageSet
from synthrelease.settings import Settings

GANS = ("progan", "stylegan1", "stylegan2", "stylegan3")
KINDS = (*GANS, "diffusion")


def tiny_settings(name: str, **changes: Any) -> Settings:
    """Return a GAN's settings with a few features; those that grow start at 8 px and do it within 16 images."""
    common: dict[str, Any] = {"channel_base": 64, "channel_max": 4, "latent": 8}
    if name in ("progan", "stylegan1"):
        common |= {"fade_kimg": 0.008, "stable_kimg": 0.004}
    else:
        common |= {"r1_interval": 3}
    return changed(presets(name)["small"], {**common, **changes}, None if "batches" in changes else 4)


def tiny_generator(
    name: str, *, resolution: int = 16, network: dict[str, Any] | None = None, **training: Any
) -> Gan | Diffusion:
    """Return an untrained generator that takes a step within a tenth of a second."""
    common = {"log_every": 2, "checkpoint_every": 1000, "sample_every": 0, "tensorboard": False}
    if name == "diffusion":
        # The attention in the middle sees every pixel of the coarsest level: that has to be small.
        shallow = TINY if resolution < 64 else TINY.model_copy(update={"multipliers": (1, 1, 1, 1, 1)})
        return Diffusion(shallow, diffusion_training(**training), QUICK, resolution=resolution, device="cpu")
    how = GanTraining.checked(**{**common, **training})
    return Gan(name, tiny_settings(name, **(network or {})), how, resolution=resolution, device="cpu")


def nearly(first: dict[str, Any], second: dict[str, Any]) -> bool:
    """Return whether two trainings' tensors are equal but for rounding.

    Adam's first steps have the size of the learning rate, however small the gradient: where it is 0 but for rounding, a
    few numbers may go either way. The mean path length within a penalty is each process's own, as published. So 98 % of
    the numbers must be within 0.002, less than one step; unrelated trainings of six steps differ by ten times that.
    """
    assert first.keys() == second.keys()
    for name, one in first.items():
        if name.endswith("synthesis.first.bias"):
            continue  # of StyleGAN 1: added to a constant map that is then normalised, so its gradient is rounding
        weight = isinstance(one, torch.Tensor) and one.is_floating_point() and not name.split("/")[1].isdigit()
        if weight and torch.quantile((one - second[name]).abs().flatten(), 0.98) > 2e-3:
            return False
    return True


def heads(count: int = 20, *, channels: int = 3, size: int = 16) -> ImageSet:
    """Return `discs` of any number of channels; the last is the mask where there are three or more."""
    contrasts = [f"contrast{i}" for i in range(channels)]
    names = (*contrasts[:-1], "mask") if channels > 2 else tuple(contrasts)
    return discs(count, channels=names, size=size)
