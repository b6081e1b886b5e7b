"""Seeds to images with a trained GAN: latents, noise and truncation."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Literal

import torch
import torch.nn.functional as functional
from pydantic import Field
from torch import Tensor, nn

from synthrelease.generators import progan, stylegan1, stylegan3
from synthrelease.generators.interface import CPU_LANES, GPU_LANES, Batch, in_lanes
from synthrelease.generators.styles import Noise, constant_noise, latents_of_seeds, noise_of_seeds
from synthrelease.settings import Settings
from synthrelease.training.running import Precision, autocast


class GanSampling(Settings):
    """How latent vectors become images."""

    truncation: float = Field(
        default=1.0,
        ge=0,
        le=1,
        description="psi: 1 keeps all variety, less pulls every image towards the mean one; the study took 0.7 with "
        "StyleGAN 1, which makes masks and anatomy less varied than the patients'",
    )
    noise: Literal["random", "constant", "none"] = Field(
        default="random", description="Fine detail of StyleGAN 1 and 2: of each seed its own, one for all, or none"
    )
    precision: Precision = Field(default="none", description="Arithmetic: none is 32 bits; bf16 or fp16 on a GPU")
    lanes: int = Field(default=0, ge=0, description="Images the network sees at once; 0: 4 on a CPU, 64 on a GPU")


def images_of(
    generator: nn.Module, seeds: Sequence[int], sampling: GanSampling, *, resolution: int, level: float | None = None
) -> Iterator[Batch]:
    """Yield the images (k, c, r, r) of all seeds, float32, about -1 to 1; see `interface.in_lanes`.

    Args:
        generator: Trained, on any device.
        seeds: One per image.
        sampling: Truncation and noise.
        resolution: Pixels; images of a network that has not grown to them yet are enlarged.
        level: Growth, of those that grow; see `schedule.split_level`.
    """
    device = next(generator.parameters()).device
    lanes = sampling.lanes or (CPU_LANES if device.type == "cpu" else GPU_LANES)

    @torch.inference_mode()
    def run(some: Sequence[int]) -> Tensor:
        latents = latents_of_seeds(some, int(generator.latent)).to(device)  # type: ignore[arg-type]
        with autocast(device, sampling.precision):
            images: Tensor = generator(latents, **_options(generator, some, sampling, level))
        images = images.float()
        if images.shape[-1] != resolution:
            images = functional.interpolate(images, size=(resolution, resolution), mode="nearest")
        return images

    return in_lanes(seeds, run, lanes=lanes)


def _options(generator: nn.Module, seeds: Sequence[int], sampling: GanSampling, level: float | None) -> dict[str, Any]:
    if isinstance(generator, progan.Generator):
        return {"level": level}
    if isinstance(generator, stylegan3.Generator):
        return {"truncation": sampling.truncation}
    options: dict[str, Any] = {"truncation": sampling.truncation, "noise": _noise(sampling, seeds)}
    return options | ({"level": level} if isinstance(generator, stylegan1.Generator) else {})


def _noise(sampling: GanSampling, seeds: Sequence[int]) -> Noise | None:
    match sampling.noise:
        case "random":
            return noise_of_seeds(seeds)
        case "constant":
            return constant_noise(0)
        case _:
            return None
