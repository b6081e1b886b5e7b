"""The diffusion network and its samplers: published structure, and the right distribution from an exact denoiser."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from diffusers import DDIMScheduler
from diffusion_helpers import QUICK, TINY
from torch import Tensor

from synthrelease.errors import SettingsError
from synthrelease.generators import diffusion
from synthrelease.generators.diffusion import DiffusionSettings, SamplingSettings, build_denoiser, denoise
from synthrelease.generators.plans import configured, sizes_of

MEAN, SPREAD = 0.2, 0.3  # of the Gaussian data that the exact denoiser knows


class Exact:
    """The best possible denoiser of pixels that are independent Gaussians: closed form, no training."""

    def __init__(self, settings: DiffusionSettings, spread: float) -> None:
        self.shares, self.spread = diffusion.signal_shares(settings).double(), spread
        self.settings = settings

    def __call__(self, noisy: Tensor, step: Tensor) -> Tensor:
        share = self.shares[step][:, None, None, None]
        gain = share.sqrt() * self.spread**2 / (share * self.spread**2 + 1 - share)
        image = MEAN + gain * (noisy.double() - share.sqrt() * MEAN)
        noise = (noisy.double() - share.sqrt() * image) / (1 - share).sqrt()
        return diffusion.prediction_of(self.settings, image, noise, self.shares[step]).float()


def _noise() -> Tensor:
    return torch.randn(8, 1, 32, 32, generator=torch.Generator().manual_seed(1))


def _pixels(settings: DiffusionSettings, sampler: str, steps: int, spread: float = SPREAD) -> Tensor:
    sampling = SamplingSettings.checked(sampler=sampler, steps=steps, clip=False)
    random = [torch.Generator().manual_seed(i) for i in range(8)]
    return denoise(Exact(settings, spread), _noise(), settings, sampling, random)


@pytest.mark.parametrize(
    ("settings", "channels", "resolution", "parameters"),
    [
        (DiffusionSettings(), 5, 256, 41_125_637),
        (DiffusionSettings(), 5, 64, 30_304_069),
        (diffusion.PRESETS["akbar2024"], 5, 256, 41_125_637),
        (DiffusionSettings(multipliers=(1, 2, 3, 4)), 5, 64, 30_304_069),
    ],
)
def test_the_network_has_the_published_number_of_parameters(
    settings: DiffusionSettings, channels: int, resolution: int, parameters: int
) -> None:
    counted = sizes_of("diffusion", settings, channels=channels, resolution=resolution)
    assert {part: size.parameters for part, size in counted.items()} == {"denoiser": parameters}


@pytest.mark.parametrize("resolution", [16, 32, 64, 128, 256, 512])
@pytest.mark.parametrize("preset", sorted(diffusion.PRESETS))
def test_every_preset_has_a_shape_at_every_resolution(preset: str, resolution: int) -> None:
    counted = sizes_of("diffusion", diffusion.PRESETS[preset], channels=1, resolution=resolution)
    assert counted["denoiser"].parameters > 1e6


@pytest.mark.parametrize("channels", [1, 4, 7])
@pytest.mark.parametrize("resolution", [16, 32])
def test_an_untrained_network_takes_any_channel_count_and_says_zero(channels: int, resolution: int) -> None:
    network = build_denoiser(TINY, channels=channels, resolution=resolution)
    noisy = torch.randn(2, channels, resolution, resolution)
    assert torch.equal(network(noisy, torch.tensor([0, 49])), torch.zeros_like(noisy))


def test_the_study_schedule_is_the_published_one() -> None:
    shares = diffusion.signal_shares(diffusion.PRESETS["akbar2024"])
    betas = np.linspace(2.5e-5, 5e-3, 4000)
    assert np.allclose(shares, np.cumprod(1 - betas), rtol=1e-4)


def test_noise_is_mixed_in_so_that_the_variance_stays_one() -> None:
    random = torch.Generator().manual_seed(0)
    images, noise = torch.randn(2, 3, 64, 64, generator=random), torch.randn(2, 3, 64, 64, generator=random)
    mixed = diffusion.add_noise(images, noise, torch.tensor([1.0, 0.3]))
    assert torch.equal(mixed[0], images[0])
    assert float(mixed[1].var()) == pytest.approx(1, abs=0.03)
    assert float((mixed[1] * images[1]).mean()) == pytest.approx(math.sqrt(0.3), abs=0.03)


@pytest.mark.parametrize("schedule", ["linear", "cosine"])
@pytest.mark.parametrize(
    ("sampler", "steps", "tolerance"),
    [
        ("ddpm", 1000, 0.01),
        ("ddpm", 250, 0.02),
        ("ddpm", 100, 0.035),
        ("ddim", 50, 0.03),
        ("ddim", 250, 0.01),
        ("dpm++", 50, 0.005),
        ("dpm++", 25, 0.01),
    ],
)
def test_an_exact_denoiser_gives_the_right_mean_and_spread(
    schedule: str, sampler: str, steps: int, tolerance: float
) -> None:
    # A scheduler that takes the wrong predecessor of a step gives 0.60 at 250 steps and 0.80 at 100.
    settings = DiffusionSettings.checked(noise_steps=1000, schedule=schedule)
    pixels = _pixels(settings, sampler, steps)
    assert float(pixels.mean()) == pytest.approx(MEAN, abs=0.02)
    assert float(pixels.std()) == pytest.approx(SPREAD, abs=tolerance)


@pytest.mark.parametrize(("sampler", "steps"), [("ddpm", 250), ("ddim", 100), ("dpm++", 25)])
def test_the_study_schedule_of_4000_steps_is_sampled_in_few(sampler: str, steps: int) -> None:
    pixels = _pixels(diffusion.PRESETS["akbar2024"], sampler, steps)
    assert float(pixels.mean()) == pytest.approx(MEAN, abs=0.02)
    assert float(pixels.std()) == pytest.approx(SPREAD, abs=0.02)


@pytest.mark.parametrize("sampler", ["ddpm", "ddim", "dpm++"])
def test_guesses_are_kept_within_the_range_of_images(sampler: str) -> None:
    def wild(noisy: Tensor, step: Tensor) -> Tensor:
        return -5 * noisy

    random = [torch.Generator().manual_seed(0)] * 2
    made = denoise(wild, torch.randn(2, 1, 8, 8), TINY, SamplingSettings.checked(sampler=sampler, steps=10), random)
    assert float(made.abs().max()) <= 1.0


@pytest.mark.parametrize("steps", [51, 4000])
def test_more_steps_than_a_sampler_can_take_are_refused(steps: int) -> None:
    with pytest.raises(SettingsError, match="trained with 50 steps"):
        diffusion.check_sampling(TINY, SamplingSettings(sampler="dpm++", steps=steps))


@pytest.mark.parametrize("sampler", ["ddpm", "ddim", "dpm++"])
def test_all_steps_of_training_can_be_taken(sampler: str) -> None:
    assert torch.isfinite(_pixels(TINY, sampler, 50)).all()


def test_fine_detail_survives_25_steps() -> None:
    # With steps even in t, the solver's default, the spread would come out as 0.057.
    pixels = _pixels(diffusion.PRESETS["akbar2024"], "dpm++", 25, spread=0.1)
    assert float(pixels.std()) == pytest.approx(0.1, abs=0.005)


@pytest.mark.parametrize("sampler", ["ddpm", "ddim", "dpm++"])
def test_velocity_and_noise_say_the_same(sampler: str) -> None:
    noise, velocity = (DiffusionSettings.checked(predicts=what, noise_steps=1000) for what in ("noise", "velocity"))
    assert torch.allclose(_pixels(noise, sampler, 40), _pixels(velocity, sampler, 40), atol=1e-3)


@pytest.mark.parametrize("steps", [25, 50])
def test_our_ddim_is_the_libraries(steps: int) -> None:
    settings = DiffusionSettings(noise_steps=1000)
    theirs = DDIMScheduler(1000, 1e-4, 0.02, timestep_spacing="trailing", clip_sample=False)
    theirs.set_timesteps(steps)
    exact, images = Exact(settings, SPREAD), _noise()
    for step in theirs.timesteps:
        images = theirs.step(exact(images, step.expand(8)), step, images, return_dict=False)[0]
    assert torch.allclose(_pixels(settings, "ddim", steps), images, atol=1e-4)


def _trembling(channels: int) -> torch.nn.Module:
    """Return a network whose output is not constant, as an untrained one's is."""
    network = build_denoiser(TINY, channels=channels, resolution=16)
    random = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(0.1 * torch.randn(parameter.shape, generator=random))
    return network.eval()


@pytest.mark.parametrize("sampler", ["ddpm", "dpm++"])
def test_an_image_depends_on_its_seed_alone_to_the_bit(sampler: str) -> None:
    network, shape = _trembling(2), (2, 16, 16)
    sampling = SamplingSettings.checked(sampler=sampler, steps=4)

    def images(seeds: list[int]) -> np.ndarray:
        return np.concatenate(list(diffusion.images_of(network, seeds, TINY, sampling, shape=shape)))

    together = images([5, 6, 7, 8, 9, 10, 11])
    assert len(np.unique(together.reshape(7, -1), axis=0)) == 7
    for seeds in ([5], [11, 5], [9, 8, 7, 6, 5], [10, 2**40, 5, 3, 1, 6]):
        for seed, image in zip(seeds, images(seeds), strict=True):
            if 5 <= seed <= 11:
                assert np.array_equal(image, together[seed - 5])


def test_lanes_change_an_image_only_in_its_last_bits() -> None:
    network, shape = _trembling(2), (2, 16, 16)

    def images(lanes: int) -> np.ndarray:
        sampling = SamplingSettings(steps=4, lanes=lanes)
        return np.concatenate(list(diffusion.images_of(network, range(8), TINY, sampling, shape=shape)))

    assert np.abs(images(1) - images(8)).max() < 1e-2  # this network makes noise: it magnifies every difference


def test_unknown_names_and_resolutions_say_what_is_known() -> None:
    with pytest.raises(SettingsError, match="akbar2024, small"):
        configured("diffusion", "akbar")
    with pytest.raises(SettingsError, match="known are 16, 32, 64, 128, 256, 512"):
        build_denoiser(DiffusionSettings(), channels=1, resolution=48)
    with pytest.raises(SettingsError, match="dpm"):
        SamplingSettings.checked(sampler="euler")
    assert QUICK.steps == 4
