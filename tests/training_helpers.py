"""What tests of training share: each kind of generator, tiny, and comparing what two trainings left."""

from __future__ import annotations

from pathlib import Path
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
from synthrelease.training import checkpoint
from synthrelease.training.training_log import read_scalars

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


def everything_in(folder: Path) -> dict[str, Any]:
    """Return every tensor and number of the newest checkpoint by name."""
    latest = checkpoint.latest(folder)
    assert latest is not None
    state = checkpoint.load(latest)
    found: dict[str, Any] = {f"{part}/{name}": t for part, net in state.networks.items() for name, t in net.items()}
    for part, optimiser in state.optimisers.items():
        for number, entries in optimiser["state"].items():
            found |= {f"{part}/{number}/{key}": value for key, value in entries.items()}
    return found | {f"scalar/{name}": value for name, value in state.scalars.items()} | {"step": state.step}


def same(first: Path, second: Path) -> bool:
    """Return whether two training folders' newest checkpoints are equal to the bit."""
    one, two = everything_in(first), everything_in(second)
    return one.keys() == two.keys() and all(_equal(one[name], two[name]) for name in one)


def _equal(one: Any, two: Any) -> bool:
    return torch.equal(one, two) if isinstance(one, torch.Tensor) else bool(one == two)


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


def curve(folder: Path) -> list[dict[str, Any]]:
    """Return the logged scalars, without the pace."""
    return [{k: v for k, v in row.items() if k != "images_per_second"} for row in read_scalars(folder)]


def heads(count: int = 20, *, channels: int = 3, size: int = 16) -> ImageSet:
    """Return `discs` of any number of channels; the last is the mask where there are three or more."""
    contrasts = [f"contrast{i}" for i in range(channels)]
    names = (*contrasts[:-1], "mask") if channels > 2 else tuple(contrasts)
    return discs(count, channels=names, size=size)
