"""How much arithmetic a generator takes, counted on networks without weights: nothing is trained, no GPU is needed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, cast

import torch
from torch.utils.flop_counter import FlopCounterMode

from synthrelease.generators.interface import build_networks
from synthrelease.generators.plans import changed, configured
from synthrelease.generators.schedule import Schedule, images_after
from synthrelease.settings import Settings

LANES = 4  # images counted together: the minibatch deviation compares several
BACKWARD = 2  # a backward pass has about twice the products of the forward one


@dataclass(frozen=True)
class Cost:
    """Floating point operations of matrix products and convolutions, two per multiplication and addition."""

    per_training_image: float
    per_sampling_run: float
    """One run of the network that makes images; diffusion needs one per sampling step."""
    parameters: int


def cost_of(name: str, settings: Settings, *, channels: int, resolution: int) -> Cost:
    """Return what training and sampling take per image at full resolution.

    A GAN's step runs the generator twice (once with gradients) and the discriminator on real, made, and made images
    again. Regularisers are left out, and so is that growing generators see most images at lower resolutions.

    Args:
        name: One of `interface.NAMES`.
        settings: Of its networks.
        channels: Of the images.
        resolution: Height and width, pixels.
    """
    with torch.device("meta"):
        networks = build_networks(name, settings, channels=channels, resolution=resolution)
        images = torch.empty(LANES, channels, resolution, resolution)
        if name == "diffusion":
            run = _counted(networks["denoiser"], images, torch.zeros(LANES, dtype=torch.long))
            training = (1 + BACKWARD) * run
        else:
            noise = {"noise": None} if name in ("stylegan1", "stylegan2") else {}
            latent = torch.empty(LANES, int(getattr(settings, "latent", 0)))
            run = _counted(networks["generator"], latent, **noise)
            judged = _counted(networks["discriminator"], images)
            training = (2 + BACKWARD) * run + 3 * (1 + BACKWARD) * judged
    return Cost(training, run, sum(weight.numel() for part in networks.values() for weight in part.parameters()))


def _counted(network: torch.nn.Module, *inputs: Any, **options: Any) -> float:
    network.eval().requires_grad_(False)  # the counter hooks weights that want gradients, and fails without a graph
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        network(*inputs, **options)
    return float(counter.get_total_flops()) / LANES


def of_networks(name: str, config: str | None, changes: Mapping[str, Any], batch: int | None) -> Settings:
    """Return the settings of a generator's networks, where changes may also be the training's; both are checked."""
    _, settings = configured(name, config)
    training = training_settings(name)
    own = {key: value for key, value in changes.items() if key in training.model_fields}
    training.checked(**own)
    return changed(settings, {key: value for key, value in changes.items() if key not in own}, batch)


def training_settings(name: str) -> type[Settings]:
    """Return the class of the settings of a generator's training."""
    if name == "diffusion":
        from synthrelease.generators.diffusion_training import DiffusionTraining

        return DiffusionTraining
    from synthrelease.generators.gan_training import GanTraining

    return GanTraining


def images_seen(
    name: str, settings: Settings, *, resolution: int, steps: int | None, kimg: float | None, batch: int | None
) -> float | None:
    """Return how many training images a training sees; None: nothing says so.

    Args:
        name: One of `interface.NAMES`.
        settings: Of its networks.
        resolution: Pixels.
        steps: Optimiser steps, or None.
        kimg: Thousand images, or None.
        batch: Images per step, for diffusion; None: the published number. GANs have theirs in `settings`.
    """
    if kimg is not None:
        return kimg * 1000
    if name == "diffusion":
        per_step = batch or training_settings(name).model_fields["batch"].default
        return None if steps is None else float(steps * per_step)
    if steps is not None:
        return float(images_after(cast(Schedule, settings), steps, resolution))
    return float(cast(Any, settings).total_kimg) * 1000
