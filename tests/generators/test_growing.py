"""Networks that grow: a new level enters without a jump, and on schedule."""

from __future__ import annotations

import pytest
import torch
from generator_helpers import images_of, small_networks

from synthrelease.errors import SettingsError
from synthrelease.generators.progan import ProGANSettings
from synthrelease.generators.resampling import box_down, nearest_up
from synthrelease.generators.schedule import at_or_below, half_life_decay, levels_of, split_level
from synthrelease.generators.stylegan1 import StyleGAN1Settings
from synthrelease.generators.stylegan2 import PRESETS, StyleGAN2Settings
from synthrelease.generators.styles import constant_noise

GROWING = ("progan", "stylegan1")


@pytest.mark.parametrize("family", GROWING)
def test_a_generators_fade_starts_at_the_doubled_lower_image_and_ends_at_the_higher_one(family: str) -> None:
    generator, _ = small_networks(family, resolution=32)
    z = torch.randn(2, 8, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        low, high = images_of(generator, z, level=3), images_of(generator, z, level=4)
        torch.testing.assert_close(images_of(generator, z, level=3 + 1e-7), nearest_up(low), atol=1e-5, rtol=0)
        torch.testing.assert_close(images_of(generator, z, level=4 - 1e-7), high, atol=1e-5, rtol=0)
        between = images_of(generator, z, level=3.25)
        torch.testing.assert_close(between, 0.75 * nearest_up(low) + 0.25 * high, atol=1e-5, rtol=1e-5)
        assert low.shape[-1] == 8
        assert torch.equal(images_of(generator, z), images_of(generator, z, level=5))


@pytest.mark.parametrize("family", GROWING)
def test_a_discriminators_fade_starts_at_the_score_of_the_halved_image(family: str) -> None:
    _, discriminator = small_networks(family, resolution=32)
    images = torch.randn(4, 5, 16, 16, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        low, high = discriminator(box_down(images), level=3), discriminator(images, level=4)
        torch.testing.assert_close(discriminator(images, level=3 + 1e-7), low, atol=1e-5, rtol=0)
        torch.testing.assert_close(discriminator(images, level=4 - 1e-7), high, atol=1e-5, rtol=0)
        assert (low - high).abs().min() > 1e-3


@pytest.mark.parametrize("family", GROWING)
def test_levels_not_in_use_yet_are_not_trained(family: str) -> None:
    for network, run in zip(
        small_networks(family, resolution=32),
        (
            lambda g: images_of(g, torch.randn(2, 8), constant_noise(0), level=3.5),
            lambda d: d(torch.randn(4, 5, 16, 16), level=3.5),
        ),
        strict=True,
    ):
        run(network).square().sum().backward()
        untouched = {name for name, p in network.named_parameters() if p.grad is None}
        assert any("blocks.2" in name for name in untouched)  # 32 px
        assert not any("blocks.1." in name for name in untouched)  # 16 px, fading in


def test_progressive_gan_reaches_256_px_after_7200_thousand_images() -> None:
    settings = ProGANSettings()
    at = {kimg: settings.level_at(kimg * 1000, 256) for kimg in (0, 600, 900, 1200, 1800, 7199, 7200, 12_000)}
    assert (at[0], at[600], at[1200], at[1800]) == (2, 2, 3, 3)
    assert at[900] == pytest.approx(2.5)
    assert 7.99 < at[7199] < 8
    assert at[7200] == at[12_000] == 8


def test_stylegan_1_starts_at_8_px_and_reaches_256_px_after_6000_thousand_images() -> None:
    settings = StyleGAN1Settings()
    assert settings.level_at(0, 256) == 3
    assert 7.99 < settings.level_at(5_999_000, 256) < 8
    assert settings.level_at(6_000_000, 256) == 8
    assert StyleGAN2Settings().level_at(0, 256) == 8  # does not grow


def test_small_networks_stop_growing_at_their_own_size() -> None:
    assert ProGANSettings().level_at(10**9, 32) == 5
    assert StyleGAN1Settings(first_resolution=64).level_at(0, 32) == 5


def test_batch_and_rate_follow_the_resolution() -> None:
    progan, style = ProGANSettings(), StyleGAN1Settings()
    assert [progan.batch_at(r) for r in (4, 8, 16, 32, 64, 128, 256)] == [128, 128, 128, 64, 32, 16, 8]
    assert [style.batch_at(r) for r in (8, 16, 32, 64, 256)] == [256, 128, 64, 32, 32]
    assert [style.learning_rate_at(r) for r in (8, 64, 128, 256)] == [1e-3, 1e-3, 1.5e-3, 2e-3]
    assert at_or_below({64: "a", 128: "b"}, 8) == "a"


def test_the_averaged_generator_keeps_half_after_its_half_life() -> None:
    assert half_life_decay(32, 320) ** 10 == pytest.approx(0.5)
    assert StyleGAN1Settings().average_decay(32, 0) == pytest.approx(0.5 ** (32 / 10_000))
    assert ProGANSettings().average_decay(8, 0) == 0.999
    auto = StyleGAN2Settings(batch=32)
    assert auto.average_decay(32, 10**9) == pytest.approx(0.5 ** (32 / 10_000))
    assert auto.average_decay(32, 1_000) == pytest.approx(0.5 ** (32 / 50))  # warms up
    assert auto.average_decay(32, 0) == 0  # at first the average is the generator itself
    assert PRESETS["paper256"].average_decay(64, 0) == pytest.approx(0.5 ** (64 / 20_000))


def test_r1_follows_resolution_and_batch_unless_it_is_given() -> None:
    assert StyleGAN2Settings(batch=32).r1_gamma(256) == pytest.approx(0.4096)
    assert PRESETS["paper256"].r1_gamma(256) == 1.0


@pytest.mark.parametrize(
    ("level", "top", "share"), [(None, 6, 1.0), (2, 2, 1.0), (6, 6, 1.0), (5.3, 6, 0.3), (2.75, 3, 0.75)]
)
def test_a_level_is_a_resolution_and_its_share(level: float | None, top: int, share: float) -> None:
    assert split_level(level, 6) == (top, pytest.approx(share))


@pytest.mark.parametrize("level", [1.9, 6.1, float("nan")])
def test_a_level_outside_the_network_is_an_error(level: float) -> None:
    with pytest.raises(ValueError, match="is not within 2 and 6"):
        split_level(level, 6)


@pytest.mark.parametrize("pixels", [0, 8, 48, 240, 2048])
def test_a_resolution_that_no_network_has_is_refused_with_a_remedy(pixels: int) -> None:
    with pytest.raises(SettingsError, match=rf"{pixels} px is not a power of two(?s:.*)choose one"):
        levels_of(pixels)
