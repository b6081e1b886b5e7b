"""StyleGAN 3: structure by parameter counts and geometry, function by what the paper promises."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch
from scipy import stats
from stylegan3_helpers import NARROW, small

from synthrelease.errors import SettingsError
from synthrelease.generators import filters, losses
from synthrelease.generators.fourier_features import FourierFeatures
from synthrelease.generators.stylegan3 import PRESETS, Discriminator, Generator, StyleGAN3Settings, plan


def parameters(network: torch.nn.Module) -> int:
    return sum(p.numel() for p in network.parameters())


COUNTS = [  # ../shared/generators.md, section 1 and, narrow, section 9
    ({}, 5, 256, 28_472_391),
    ({}, 3, 256, 28_472_133),
    ({"layers": 14}, 5, 64, 37_769_225),
    ({"layers": 14}, 5, 32, 37_769_225),
    ({"channel_base": 16384}, 5, 256, 23_320_573),
    ({"configuration": "R"}, 5, 256, 18_816_901),
    ({"configuration": "R"}, 3, 256, 18_816_387),
    ({"configuration": "R", "channel_base": 16384}, 5, 256, 15_779_823),
    ({"layers": 14, "channel_base": 1024, "channel_max": 32, "latent": 64}, 5, 32, 170_441),
    ({"layers": 14, "channel_base": 2048, "channel_max": 64, "latent": 64}, 5, 32, 592_393),
    ({"layers": 14, "channel_base": 1024, "channel_max": 32, "latent": 64}, 5, 64, 147_015),
    ({"layers": 14, "channel_base": 2048, "channel_max": 64, "latent": 64}, 5, 64, 506_583),
]


@pytest.mark.parametrize(("options", "channels", "resolution", "count"), COUNTS)
def test_the_generator_has_the_published_number_of_parameters(
    options: dict[str, object], channels: int, resolution: int, count: int
) -> None:
    with torch.device("meta"):
        generator = Generator(StyleGAN3Settings.checked(**options), channels=channels, resolution=resolution)

    assert parameters(generator) == count


def test_mapping_and_synthesis_share_the_parameters_as_published() -> None:
    with torch.device("meta"):
        generator = Generator(PRESETS["official"], channels=5, resolution=256)

    assert (parameters(generator.mapping), parameters(generator.synthesis)) == (525_312, 27_947_079)


@pytest.mark.parametrize("name", sorted(PRESETS.keys() - {"small"}))
def test_the_discriminator_is_stylegan_2s_and_turning_does_not_widen_it(name: str) -> None:
    with torch.device("meta"):
        network = Discriminator(PRESETS[name], channels=5, resolution=256)

    assert parameters(network) == 28_864_385


def test_fewer_layers_below_128_px_keep_a_small_network_smaller_than_a_large_one() -> None:
    counts = []
    for resolution in (16, 32, 64, 128, 256):
        with torch.device("meta"):
            counts.append(parameters(Generator(StyleGAN3Settings(), channels=5, resolution=resolution)))

    assert max(counts[:3]) < counts[4]
    assert [StyleGAN3Settings().layers_at(r) for r in (16, 32, 64, 128, 256)] == [6, 6, 8, 14, 14]


def test_the_layers_of_256_px_have_the_published_geometry() -> None:
    signals = plan(StyleGAN3Settings(), channels=5, resolution=256)

    assert [s.size for s in signals] == [36] * 3 + [52] * 2 + [84] * 2 + [148] * 3 + [276] * 3 + [256] * 2
    assert [s.rate for s in signals] == [16] * 3 + [32] * 2 + [64] * 2 + [128] * 3 + [256] * 5
    assert [s.channels for s in signals] == [512] * 9 + [362, 256, 181, 128, 128, 5]
    assert (signals[0].cutoff, signals[12].cutoff, signals[14].cutoff) == pytest.approx((2, 128, 128))
    ratios = [b.cutoff / a.cutoff for a, b in itertools.pairwise(signals[:13])]
    assert ratios == pytest.approx([64 ** (1 / 12)] * 12)
    assert signals[0].half_width == pytest.approx(8 - 2)
    assert signals[12].half_width == pytest.approx(128 * (2**0.3 - 1))


@pytest.mark.parametrize("configuration", ["T", "R"])
def test_every_layer_samples_fast_enough_for_its_band(configuration: str) -> None:
    for resolution in (16, 32, 64, 128, 256):
        signals = plan(StyleGAN3Settings.checked(configuration=configuration), channels=1, resolution=resolution)
        for before, after in itertools.pairwise(signals):
            assert after.cutoff <= after.rate / 2
            assert after.rate in (before.rate, 2 * before.rate)
            assert after.half_width > 0


@pytest.mark.parametrize(
    ("configuration", "resolution", "channels"),
    [("T", 16, 1), ("R", 16, 2), ("T", 32, 7), ("R", 64, 5), ("T", 128, 3), ("T", 256, 5)],
)
def test_images_come_in_any_size_and_number_of_channels(configuration: str, resolution: int, channels: int) -> None:
    options = {"configuration": configuration, "channel_base": 256, "channel_max": 4, "latent": 8}
    generator = Generator(StyleGAN3Settings.checked(**options), channels=channels, resolution=resolution)

    with torch.no_grad():
        images = generator(torch.randn(1, 8))

    assert images.shape == (1, channels, resolution, resolution)
    assert images.dtype == torch.float32
    assert torch.isfinite(images).all()
    assert (images.std((2, 3)) > 0).all()


@torch.no_grad()
def test_an_image_depends_on_its_own_latent_alone() -> None:
    generator = small()
    z = torch.randn(5, 16)

    together = generator(z)

    torch.testing.assert_close(generator(z[3:4]), together[3:4], atol=2e-5, rtol=0)
    torch.testing.assert_close(generator(z.flip(0)).flip(0), together, atol=2e-5, rtol=0)
    assert (together[0] - together[1]).abs().max() > 1e-2


@torch.no_grad()
def test_truncation_ends_in_one_average_image() -> None:
    generator = small()
    generator.mapping.average.copy_(generator.mapping(torch.randn(64, 16)).mean(0))
    z = torch.randn(6, 16)

    spread = [float(generator(z, truncation=psi).var(0).mean()) for psi in (0.0, 0.05, 1.0)]

    assert spread[0] < 1e-9
    assert spread[0] < spread[1] < 0.1 * spread[2]
    torch.testing.assert_close(generator(z, truncation=1.0), generator(z))


@torch.no_grad()
def test_only_the_first_styles_are_truncated_when_asked() -> None:
    generator = small(truncation_layers=3)

    styles, free = (generator.styles(torch.ones(1, 16), truncation=psi) for psi in (0.0, 1.0))

    assert torch.equal(styles[:, :3], generator.mapping.average.expand(1, 3, -1))
    assert torch.equal(styles[:, 3:], free[:, 3:])


@torch.no_grad()
def test_magnitudes_move_by_their_half_life_and_only_in_training() -> None:
    generator = Generator(StyleGAN3Settings.checked(**NARROW, magnitude_kimg=0.004), channels=1, resolution=16)
    first = generator.synthesis.blocks[0]
    styles = generator.styles(torch.randn(4, 16))
    power = float(generator.synthesis.input(styles[:, 0]).square().mean())

    generator.synthesis(styles)
    assert float(first.magnitude) == 1
    generator.synthesis(styles, update=True)

    # Four images are one half-life: half of the 1 at the start is left.
    assert float(first.magnitude) == pytest.approx((1 + power) / 2, rel=1e-5)


@torch.no_grad()
def test_settled_magnitudes_keep_every_layers_output_at_unit_scale() -> None:
    generator = small(resolution=64)
    z = torch.randn(4, 16)

    magnitudes = [float(block.magnitude) for block in generator.synthesis.blocks]

    assert all(0.05 < m < 20 for m in magnitudes)
    scaled = generator.synthesis.blocks[0].weight
    before = generator(z)
    scaled.mul_(7.0)  # what a layer learns is a direction: weights are normalised
    torch.testing.assert_close(generator(z), before, atol=1e-5, rtol=1e-4)


@torch.no_grad()
def test_first_waves_fill_the_disc_of_their_band_evenly() -> None:
    torch.manual_seed(3)
    signal = filters.Signal(36, 16, 2.0, 6.0, 2000)

    waves = FourierFeatures(signal, 8)

    radius = (waves.frequencies.norm(dim=1) / 2.0).numpy()
    angle = np.arctan2(*waves.frequencies.numpy().T)
    assert stats.kstest(radius**2, "uniform").pvalue > 0.001
    assert stats.kstest((angle + np.pi) / (2 * np.pi), "uniform").pvalue > 0.001


@torch.no_grad()
def test_the_style_turns_and_shifts_the_waves_as_the_user_would() -> None:
    """The learned transform and the user's are the same kind of thing, one after the other."""
    waves = FourierFeatures(filters.Signal(36, 16, 2.0, 6.0, 8), 4)
    w = torch.zeros(1, 4)
    shift = torch.eye(3)
    shift[0, 2] = -0.25  # show the picture a quarter to the right
    waves.transform.copy_(shift)
    by_user = waves(w)
    waves.transform.copy_(torch.eye(3))
    plain = waves(w)

    waves.affine.bias.copy_(torch.tensor([1.0, 0.0, 0.25, 0.0]))

    torch.testing.assert_close(waves(w), by_user, atol=1e-5, rtol=0)
    torch.testing.assert_close(by_user[..., 4:], plain[..., :-4], atol=1e-5, rtol=0)  # 4 of 16 samples per width
    waves.affine.bias.copy_(torch.tensor([3.0, 0.0, 0.75, 0.0]))  # only the direction of the turn counts
    torch.testing.assert_close(waves(w), by_user, atol=1e-5, rtol=0)


@pytest.mark.parametrize("configuration", ["T", "R"])
def test_every_parameter_learns(configuration: str) -> None:
    generator = small(configuration, resolution=16)
    settings = StyleGAN3Settings.checked(configuration=configuration, **NARROW)
    discriminator = Discriminator(settings, channels=2, resolution=16)

    losses.logistic_generator(discriminator(generator(torch.randn(4, 16)))).backward()

    for name, parameter in generator.named_parameters():
        assert parameter.grad is not None, name
        assert torch.isfinite(parameter.grad).all(), name
        assert parameter.grad.abs().max() > 0, name


def test_gradients_are_right_to_second_order() -> None:
    layer = filters.FilteredLeakyReLU(
        filters.Signal(12, 8, 2.0, 2.0, 1), filters.Signal(12, 8, 2.0, 2.0, 1), before=12, radial=True
    ).double()
    x = torch.randn(1, 1, 12, 12, dtype=torch.float64, requires_grad=True)

    assert torch.autograd.gradcheck(lambda y: layer(y)[..., 3:6, 3:6], (x,))
    assert torch.autograd.gradgradcheck(lambda y: layer(y)[..., 5:6, 5:6].square(), (x,))


@torch.no_grad()
def test_saved_weights_make_the_same_images_again_and_hold_no_filters() -> None:
    generator = small("R", seed=1)
    state = generator.state_dict()
    other = small("R", seed=2)
    z = torch.randn(2, 16)

    assert not [name for name in state if name.endswith((".down", ".rows_up", ".columns_up"))]
    assert not torch.equal(other(z), generator(z))
    other.load_state_dict(state)
    assert torch.equal(other(z), generator(z))


@torch.no_grad()
@pytest.mark.parametrize("configuration", ["T", "R"])
def test_sixteen_bits_make_nearly_the_same_image(configuration: str) -> None:
    generator = small(configuration)
    z = torch.randn(2, 16)
    exact = generator(z)

    with torch.autocast("cpu", dtype=torch.bfloat16):
        rough = generator(z)

    assert rough.dtype == torch.float32
    assert not torch.equal(rough, exact)
    assert float((rough - exact).square().mean() / exact.var()) < 0.02


@torch.no_grad()
def test_nothing_a_layer_puts_out_explodes() -> None:
    signal = filters.Signal(36, 16, 4.0, 4.0, 1)
    layer = filters.FilteredLeakyReLU(signal, signal, before=38, radial=False)

    out = layer(torch.randn(1, 1, 38, 38) * 1e6)

    assert out.abs().max() < 256 * 1.6  # the low-pass filter may swing over


def test_penalty_and_blur_have_the_published_values() -> None:
    turning = PRESETS["r"]

    assert StyleGAN3Settings().r1_gamma(256) == pytest.approx(2, rel=0.03)
    assert StyleGAN3Settings(batch=64).r1_gamma(256) == pytest.approx(1, rel=0.03)
    assert StyleGAN3Settings(r1=7.0).r1_gamma(256) == 7
    assert [turning.blur_at(n) for n in (0, 100_000, 200_000, 300_000)] == pytest.approx([10, 5, 0, 0])
    assert PRESETS["t"].blur_at(0) == 0


def test_an_unknown_option_or_size_says_so() -> None:
    with pytest.raises(SettingsError, match="did you mean 'layers'"):
        StyleGAN3Settings.checked(layer=3)
    with pytest.raises(SettingsError, match="power of two"):
        Generator(StyleGAN3Settings.checked(**NARROW), channels=1, resolution=48)
