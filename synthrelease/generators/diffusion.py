"""Diffusion (Ho 2020; Dhariwal and Nichol 2021): learn to remove noise, then make images out of it.

Network and schedulers are those of `diffusers`. The defaults are the reference study's configuration (Akbar 2024):
4,000 steps, linear schedule, noise prediction, fixed variances. With 5 channels at 256 px they have 41,125,637 weights.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Literal

import torch
from diffusers import DDPMScheduler, DPMSolverMultistepScheduler, UNet2DModel
from pydantic import Field
from torch import Tensor, nn

from synthrelease import seeds as randomness
from synthrelease.errors import SettingsError
from synthrelease.settings import Settings
from synthrelease.training.running import Precision, autocast

Schedule = Literal["linear", "cosine"]
SamplerName = Literal["ddpm", "ddim", "dpm++"]
Prediction = Literal["noise", "velocity"]

Denoiser = Callable[[Tensor, Tensor], Tensor]
"""Noisy images (n, c, r, r) and their step numbers (n,) to what `prediction_of` defines (n, c, r, r)."""

_MULTIPLIERS = {  # of the base width at each level, as the guided-diffusion papers choose them by resolution
    16: (1, 2, 2),
    32: (1, 2, 2, 2),
    64: (1, 2, 3, 4),
    128: (1, 1, 2, 3, 4),
    256: (1, 1, 2, 2, 4, 4),
    512: (1, 1, 1, 2, 2, 4, 4),
}


class DiffusionSettings(Settings):
    """The denoising network and the noise it is trained on; the defaults are Akbar 2024's."""

    width: int = Field(default=64, ge=4, description="Features of the first level; 32 trains on a CPU, 8 in a test")
    multipliers: tuple[int, ...] = Field(
        default=(), description="Features of each level over `width`; empty takes what the papers use at a resolution"
    )
    blocks: int = Field(default=3, ge=1, description="Residual blocks a level on the way down; one more on the way up")
    attention: tuple[int, ...] = Field(default=(16, 8), description="Resolutions with self-attention, pixels")
    head_width: int = Field(default=64, ge=1, description="Features of an attention head, at most")
    noise_steps: int = Field(default=4000, ge=2, description="T, steps from an image to pure noise, in training")
    schedule: Schedule = Field(default="linear", description="How noise grows; linear runs 0.1/T to 20/T")
    predicts: Prediction = Field(
        default="noise", description="noise is the study's; velocity makes usable images after far fewer steps"
    )

    def widths(self, resolution: int) -> tuple[int, ...]:
        """Return the features of each level, or raise `SettingsError` where none are known for a resolution."""
        multipliers = self.multipliers or _MULTIPLIERS.get(resolution)
        if multipliers is None or resolution % 2 ** (len(multipliers) - 1):
            known = ", ".join(map(str, _MULTIPLIERS))
            raise SettingsError(
                f"The diffusion network has no shape for {resolution} px: known are {known}.",
                "Choose one of these, or give `multipliers` whose levels halve the resolution.",
            )
        return tuple(self.width * m for m in multipliers)


PRESETS: dict[str, DiffusionSettings] = {
    "akbar2024": DiffusionSettings(),
    "small": DiffusionSettings(width=32, blocks=2, noise_steps=1000, predicts="velocity"),
}
"""Configurations by name: the reference study's, and one for a CPU (5.7 million weights at 64 px)."""


class SamplingSettings(Settings):
    """How noise becomes images."""

    sampler: SamplerName = Field(
        default="dpm++", description="dpm++: DPM-Solver++ 2M, 25 to 50 steps; ddim: 50; ddpm: 250 or more, as trained"
    )
    steps: int = Field(default=50, ge=1, description="Network runs per image, at most T")
    clip: bool = Field(default=True, description="Keep the guessed image within -1..1 at every step, as in the papers")
    precision: Precision = Field(default="none", description="Arithmetic: none is 32 bits; bf16 or fp16 on a GPU")
    lanes: int = Field(default=0, ge=0, description="Images the network sees at once; 0: 4 on a CPU, 64 on a GPU")


def build_denoiser(settings: DiffusionSettings, *, channels: int, resolution: int) -> nn.Module:
    """Return the untrained U-Net, on PyTorch's default device; it returns 0 for any input.

    Its structure equals guided-diffusion's at the settings' flags; the last convolution of every block starts at 0, as
    there (diffusers does not do that).
    """
    widths = settings.widths(resolution)
    with_attention = [resolution >> level in settings.attention for level in range(len(widths))]
    groups = math.gcd(32, *widths)
    network = UNet2DModel(
        sample_size=resolution,
        in_channels=channels,
        out_channels=channels,
        block_out_channels=widths,
        layers_per_block=settings.blocks,
        down_block_types=tuple("AttnDownBlock2D" if a else "DownBlock2D" for a in with_attention),
        up_block_types=tuple("AttnUpBlock2D" if a else "UpBlock2D" for a in reversed(with_attention)),
        attention_head_dim=math.gcd(settings.head_width, *widths[-1:], *_attended(widths, with_attention)),
        resnet_time_scale_shift="scale_shift",
        norm_num_groups=groups,
        attn_norm_num_groups=groups,  # without it the attention in the middle loses its normalisation
    )
    for name, part in network.named_modules():
        if name.endswith(("conv2", "conv_out", "to_out.0")):
            nn.init.zeros_(part.weight)
            nn.init.zeros_(part.bias)
    return _NoiseOf(network)


def _attended(widths: Sequence[int], with_attention: Sequence[bool]) -> list[int]:
    return [width for width, attended in zip(widths, with_attention, strict=True) if attended]


class _NoiseOf(nn.Module):
    """Unwraps what diffusers returns."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, noisy: Tensor, step: Tensor) -> Tensor:
        noise: Tensor = self.network(noisy, step, return_dict=False)[0]
        return noise


def signal_shares(settings: DiffusionSettings) -> Tensor:
    """Return (T,) the share of the image's variance that is left after 1, 2, ... T steps (alpha bar in the papers)."""
    shares: Tensor = DDPMScheduler(**_schedule(settings)).alphas_cumprod
    return shares


def add_noise(images: Tensor, noise: Tensor, shares: Tensor) -> Tensor:
    """Return images (n, c, r, r) with noise of the same shape mixed in at signal shares (n,)."""
    share = shares.to(images.dtype)[:, None, None, None]
    return share.sqrt() * images + (1 - share).sqrt() * noise


def prediction_of(settings: DiffusionSettings, images: Tensor, noise: Tensor, shares: Tensor) -> Tensor:
    """Return what the network is to say about images (n, c, r, r) with noise mixed in at signal shares (n,).

    That is the noise, or the velocity sqrt(share) noise - sqrt(1 - share) image (Salimans and Ho 2022). Where hardly
    any signal is left, a small error in the noise is a huge one in the image; an error in the velocity is not.
    """
    if settings.predicts == "noise":
        return noise
    share = shares.to(images.dtype)[:, None, None, None]
    return share.sqrt() * noise - (1 - share).sqrt() * images


def _image_in(settings: DiffusionSettings, noisy: Tensor, said: Tensor, share: float) -> Tensor:
    """Return the image that a prediction implies."""
    if settings.predicts == "noise":
        return (noisy - math.sqrt(1 - share) * said) / math.sqrt(share)
    return math.sqrt(share) * noisy - math.sqrt(1 - share) * said


def _schedule(settings: DiffusionSettings) -> dict[str, Any]:
    if settings.schedule == "cosine":
        return {"num_train_timesteps": settings.noise_steps, "beta_schedule": "squaredcos_cap_v2"}
    # guided-diffusion scales the 1,000-step betas, 1e-4 to 0.02, so that T steps end equally noisy.
    scale = 1000 / settings.noise_steps
    return {
        "num_train_timesteps": settings.noise_steps,
        "beta_schedule": "linear",
        "beta_start": 1e-4 * scale,
        "beta_end": min(0.02 * scale, 0.999),
    }


def _scheduler(settings: DiffusionSettings, sampling: SamplingSettings) -> Any:
    """Return a scheduler that is told the guessed image; clipping is done before it."""
    common = {**_schedule(settings), "prediction_type": "sample"}
    match sampling.sampler:
        case "ddpm":
            # "leading", the default, never visits the noisiest steps that training had.
            return DDPMScheduler(**common, variance_type="fixed_large", timestep_spacing="linspace", clip_sample=False)
        case "ddim":
            # DDIM is the first order of this solver, which, unlike DDIMScheduler, is exact for any number of steps.
            return DPMSolverMultistepScheduler(**common, solver_order=1, timestep_spacing="trailing")
        case _:
            # Steps even in log signal-to-noise. Even in t, the default, the last step is so large that fine detail is
            # lost: of data of standard deviation 0.10, 25 steps make 0.057 instead of 0.101 (docs/experiments.md).
            return DPMSolverMultistepScheduler(**common, use_lu_lambdas=True)


def check_sampling(settings: DiffusionSettings, sampling: SamplingSettings) -> None:
    """Raise `SettingsError` if there are more sampling steps than steps of noise in training."""
    if sampling.steps > settings.noise_steps:
        raise SettingsError(
            f"{sampling.sampler} cannot take {sampling.steps} steps: the model was trained with "
            f"{settings.noise_steps} steps of noise.",
            f"Take at most {settings.noise_steps}; 25 to 50 are enough for dpm++.",
        )


@torch.inference_mode()
def denoise(
    denoiser: Denoiser,
    noise: Tensor,
    settings: DiffusionSettings,
    sampling: SamplingSettings,
    random: Sequence[torch.Generator],
) -> Tensor:
    """Return images (n, c, r, r) that pure noise of that shape becomes.

    Args:
        denoiser: Says what `prediction_of` defines.
        noise: Standard normal.
        settings: The schedule that the denoiser was trained with.
        sampling: Sampler, steps and clipping.
        random: One generator per image, on the CPU: where DDPM's fresh noise comes from.
    """
    check_sampling(settings, sampling)
    scheduler = _scheduler(settings, sampling)
    scheduler.set_timesteps(sampling.steps)  # on the CPU: a table on the GPU would be waited for at every step
    ancestral = sampling.sampler == "ddpm"
    if ancestral:
        shares, more = scheduler.alphas_cumprod[scheduler.timesteps], {"generator": list(random)}
    else:
        scheduler.set_begin_index(0)  # two of the steps may round to one number
        shares, more = 1 / (1 + scheduler.sigmas[:-1].double().square()), {}
    images = noise
    for step, share in zip(scheduler.timesteps, shares.tolist(), strict=True):
        said = denoiser(images, step.expand(len(images)).to(images.device)).float()
        clean = _image_in(settings, images, said, share)
        if sampling.clip:
            clean = clean.clamp(-1, 1)
        images = scheduler.step(clean, step, images, return_dict=False, **more)[0]
    return images


def starting_noise(seed: int, shape: tuple[int, int, int]) -> Tensor:
    """Return the noise (c, r, r) that image ``seed`` is made of: the same on every device and in every batch."""
    drawn = randomness.named(seed, "diffusion", "starting noise").standard_normal(shape, dtype="float32")
    return torch.from_numpy(drawn)


def later_noise(seed: int) -> torch.Generator:
    """Return the generator, on the CPU, of the noise that DDPM adds to image ``seed`` on the way."""
    number = int(randomness.named(seed, "diffusion", "later noise").integers(2**63))
    return torch.Generator().manual_seed(number)


def images_of(
    network: nn.Module,
    seeds: Sequence[int],
    settings: DiffusionSettings,
    sampling: SamplingSettings,
    *,
    shape: tuple[int, int, int],
) -> Iterator[Any]:
    """Yield the images (k, c, r, r) of all seeds, float32, -1 to 1 where clipped; see `interface.in_lanes`."""
    from synthrelease.generators.interface import CPU_LANES, GPU_LANES, in_lanes

    device = next(network.parameters()).device
    lanes = sampling.lanes or (CPU_LANES if device.type == "cpu" else GPU_LANES)

    def run(some: Sequence[int]) -> Tensor:
        noise = torch.stack([starting_noise(seed, shape) for seed in some]).to(device)
        with autocast(device, sampling.precision):
            return denoise(network, noise, settings, sampling, [later_noise(seed) for seed in some])

    return in_lanes(seeds, run, lanes=lanes)
