"""The networks have as many parameters as the published ones: every layer is there, and none is too many."""

from __future__ import annotations

import pytest
import torch
from generator_helpers import count

from synthrelease.generators import progan, stylegan1, stylegan2
from synthrelease.generators.progan import ProGANSettings
from synthrelease.generators.stylegan1 import StyleGAN1Settings
from synthrelease.generators.stylegan2 import PRESETS, StyleGAN2Settings

FULL = [  # module, settings, pixels, generator, discriminator
    (progan, ProGANSettings(), 256, 23_049_315, 23_057_345),
    (progan, ProGANSettings(), 64, 22_495_001, 22_502_657),
    (progan, ProGANSettings(), 32, 20_723_732, 20_730_881),
    (stylegan1, StyleGAN1Settings(), 256, 26_091_235, 23_057_345),
    (stylegan1, StyleGAN1Settings(), 64, 25_142_553, 22_502_657),
    (stylegan1, StyleGAN1Settings(), 32, 22_845_460, 20_730_881),
    (stylegan2, PRESETS["config-f"], 256, 30_040_240, 28_864_385),
    (stylegan2, PRESETS["config-f"], 64, 27_037_730, 26_489_857),
    (stylegan2, PRESETS["config-f"], 32, 21_527_579, 21_508_097),
    (stylegan2, PRESETS["paper256"], 256, 24_772_464, 24_001_217),
    (stylegan2, PRESETS["paper256"], 64, 23_824_162, 23_407_873),
    (stylegan2, PRESETS["paper256"], 32, 21_527_579, 21_508_097),
    (stylegan2, PRESETS["auto"], 256, 23_196_528, 24_001_217),
]
NARROW = {  # (pixels, most features): generator and discriminator of each family; the latent has 64 numbers or more
    (32, 32): ((98_196, 82_241), (132_756, 82_241), (122_075, 84_737)),
    (32, 64): ((325_396, 326_273), (361_236, 326_273), (339_867, 337_409)),
    (32, 128): ((1_297_940, 1_299_713), (1_435_156, 1_299_713), (1_351_451, 1_346_561)),
    (64, 32): ((105_225, 89_297), (143_977, 89_297), (133_266, 92_113)),
    (64, 64): ((353_273, 354_209), (397_497, 354_209), (376_066, 367_009)),
    (64, 128): ((1_408_985, 1_410_881), (1_579_353, 1_410_881), (1_495_522, 1_465_153)),
}


@pytest.mark.parametrize(("module", "settings", "pixels", "generator", "discriminator"), FULL)
def test_full_width_networks_have_the_published_counts(module, settings, pixels, generator, discriminator) -> None:
    with torch.device("meta"):
        assert count(module.Generator(settings, channels=5, resolution=pixels)) == generator
        assert count(module.Discriminator(settings, channels=5, resolution=pixels)) == discriminator


def test_mapping_and_synthesis_of_configuration_f_have_their_published_shares() -> None:
    with torch.device("meta"):
        network = stylegan2.Generator(PRESETS["config-f"], channels=5, resolution=256)
        of_colour = stylegan2.Generator(PRESETS["config-f"], channels=3, resolution=256)
        judge_of_colour = stylegan2.Discriminator(PRESETS["config-f"], channels=3, resolution=256)
    assert (count(network.mapping), count(network.synthesis)) == (2_101_248, 27_938_992)
    assert (count(of_colour), count(judge_of_colour)) == (30_034_338, 28_864_129)


@pytest.mark.parametrize(("pixels", "width"), NARROW)
def test_narrow_networks_have_the_counts_of_the_reference_runs(pixels: int, width: int) -> None:
    narrow = {"channel_max": width, "latent": max(64, width)}
    families = (
        (progan, ProGANSettings(channel_base=16 * width, **narrow)),
        (stylegan1, StyleGAN1Settings(channel_base=16 * width, **narrow)),
        (stylegan2, StyleGAN2Settings(channel_base=32 * width, **narrow)),
    )
    with torch.device("meta"):
        counts = tuple(
            tuple(count(make(settings, channels=5, resolution=pixels)) for make in (m.Generator, m.Discriminator))
            for m, settings in families
        )
    assert counts == NARROW[pixels, width]
