"""What holds for every style family: any channel count and size, images that depend on themselves alone."""

from __future__ import annotations

import pytest
import torch
from generator_helpers import FAMILIES, images_of, small_networks
from pydantic import ValidationError
from torch import Tensor

from synthrelease.errors import SettingsError
from synthrelease.generators import losses, progan, stylegan1, stylegan2
from synthrelease.generators.styles import constant_noise, latents_of_seeds, noise_of_seeds

STYLED = ("stylegan1", "stylegan2")


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize(("channels", "pixels"), [(1, 16), (3, 32), (5, 64), (7, 128), (5, 256)])
def test_any_channel_count_and_size(family: str, channels: int, pixels: int) -> None:
    generator, discriminator = small_networks(family, channels=channels, resolution=pixels, width=4)
    with torch.no_grad():
        images = images_of(generator, torch.randn(2, 4), constant_noise(0))
        scores = discriminator(images)
    assert images.shape == (2, channels, pixels, pixels)
    assert scores.shape == (2,)
    assert images.isfinite().all()
    assert scores.isfinite().all()


@pytest.mark.parametrize("family", FAMILIES)
def test_a_size_that_is_no_power_of_two_is_refused(family: str) -> None:
    with pytest.raises(SettingsError, match="not a power of two"):
        small_networks(family, resolution=24)


def _with_noise_on(generator: torch.nn.Module) -> torch.nn.Module:
    for name, parameter in generator.named_parameters():
        if "noise" in name:
            parameter.data.fill_(0.3)
    return generator


@pytest.mark.parametrize("family", FAMILIES)
def test_an_image_depends_on_its_seed_alone(family: str) -> None:
    generator = _with_noise_on(small_networks(family)[0])
    seeds = [5, 11, 2, 8]
    with torch.no_grad():
        together = images_of(generator, latents_of_seeds(seeds, 8), noise_of_seeds(seeds))
        alone = [images_of(generator, latents_of_seeds([s], 8), noise_of_seeds([s])) for s in seeds]
        turned = images_of(generator, latents_of_seeds(seeds[::-1], 8), noise_of_seeds(seeds[::-1]))
    torch.testing.assert_close(together, torch.cat(alone), atol=1e-4, rtol=0)
    torch.testing.assert_close(together, turned.flip(0), atol=1e-4, rtol=0)
    assert (together[0] - together[1]).abs().max() > 0.01


@pytest.mark.parametrize("family", STYLED)
def test_noise_changes_details_only_where_its_strength_is_not_zero(family: str) -> None:
    generator, _ = small_networks(family)
    z = torch.randn(2, 8)
    with torch.no_grad():
        assert torch.equal(generator(z, noise=None), generator(z, noise=constant_noise(0)))  # strength starts at 0
        _with_noise_on(generator)
        once, again, other = (generator(z, noise=constant_noise(seed)) for seed in (0, 0, 1))
    assert torch.equal(once, again)
    assert not torch.equal(once, other)


@pytest.mark.parametrize("family", STYLED)
def test_every_layer_has_its_own_noise_and_style(family: str) -> None:
    generator, _ = small_networks(family, resolution=32)
    _with_noise_on(generator)
    asked: list[int] = []

    def noise(layer: int, features: Tensor) -> Tensor:
        asked.append(layer)
        return torch.zeros_like(features[:, :1])

    def takes_its_style(module: torch.nn.Module, inputs: tuple[Tensor, Tensor, object, int], _: Tensor) -> None:
        _, w, _, layer = inputs
        assert torch.equal(w, styles[:, layer]), f"{type(module).__name__} {layer} has another layer's style"

    for module in generator.synthesis.modules():
        if isinstance(module, stylegan1._Finish | stylegan2._StyledLayer):
            module.register_forward_hook(takes_its_style)
    styles = torch.randn(1, generator.synthesis.layers, 8, requires_grad=True)
    generator.synthesis(styles, noise=noise).square().sum().backward()
    assert generator.synthesis.layers == 8
    assert asked == list(range(8 if family == "stylegan1" else 7))  # StyleGAN 2's last style only makes the image
    assert (styles.grad.abs().sum(2) > 0).all()


@pytest.mark.parametrize("family", STYLED)
def test_truncation_to_nothing_gives_the_mean_image(family: str) -> None:
    generator, _ = small_networks(family)
    with torch.no_grad():
        generator.mapping.update_average(generator.mapping(torch.randn(64, 8)))
        average = generator.mapping.average
        mean = generator.synthesis(average.expand(1, generator.synthesis.layers, -1), noise=None)
        truncated = generator(torch.randn(3, 8), noise=None, truncation=0.0)
        varied = generator(torch.randn(3, 8), noise=None, truncation=1.0)
    torch.testing.assert_close(truncated, mean.expand_as(truncated), atol=1e-5, rtol=0)
    assert (varied[0] - varied[1]).abs().max() > 0.01


def test_stylegan_1_truncates_its_first_eight_layers_only() -> None:
    generator, _ = small_networks("stylegan1", resolution=64)
    z = torch.randn(1, 8)
    with torch.no_grad():
        full, truncated = generator.styles(z), generator.styles(z, truncation=0.0)
    assert generator.synthesis.layers == 10
    assert torch.equal(truncated[:, :8], generator.mapping.average.expand(1, 8, -1))
    assert torch.equal(truncated[:, 8:], full[:, 8:])


@pytest.mark.parametrize("family", STYLED)
def test_mixed_styles_follow_the_first_latent_and_then_the_second(family: str) -> None:
    generator, _ = small_networks(family)
    first, second = torch.randn(2, 8), torch.randn(2, 8)
    layers = generator.synthesis.layers
    with torch.no_grad():
        mixed = generator.styles(first, second=second, crossovers=torch.tensor([2, layers]))
        one, two = generator.styles(first), generator.styles(second)
    assert torch.equal(mixed[0, :2], one[0, :2])
    assert torch.equal(mixed[0, 2:], two[0, 2:])
    assert torch.equal(mixed[1], one[1])


@pytest.mark.parametrize("family", FAMILIES)
def test_every_parameter_learns(family: str) -> None:
    generator, discriminator = small_networks(family)
    images = images_of(generator, torch.randn(4, 8), noise_of_seeds([0, 1, 2, 3]))
    (images * torch.randn_like(images)).sum().backward()
    real = torch.randn(4, 5, 16, 16)
    discriminator(real).square().sum().backward()
    unused = _unused(family, generator) | _unused(family, discriminator)
    assert not unused


def _unused(family: str, network: torch.nn.Module) -> set[str]:
    """Return parameters without a gradient, but for the image layers of lower levels, which only growing uses."""
    growing = family in ("progan", "stylegan1")
    names = {n for n, p in network.named_parameters() if p.grad is None or not p.grad.isfinite().all()}
    names |= {n for n, p in network.named_parameters() if p.grad is not None and p.grad.abs().sum() == 0}
    return {n for n in names if not (growing and any(f"{side}.{i}." in n for side in SIDES for i in (0, 1)))}


SIDES = ("to_image", "from_image")


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("precision", [torch.bfloat16, torch.float16])
def test_mixed_precision_gives_float32_images_and_scores_close_to_the_full_ones(
    family: str, precision: torch.dtype
) -> None:
    generator, discriminator = small_networks(family, width=16)
    z = torch.randn(4, 16)
    with torch.no_grad():
        images = images_of(generator, z)
        scores = discriminator(images)
        with torch.autocast("cpu", dtype=precision):
            rough_images = images_of(generator, z)
            rough_scores = discriminator(images)
    assert rough_images.dtype == rough_scores.dtype == torch.float32
    assert not torch.equal(images, rough_images)
    assert (images - rough_images).abs().max() < 0.1 * images.abs().max()
    assert (scores - rough_scores).abs().max() < 0.1 * scores.abs().max() + 0.1


def test_float16_survives_styles_and_features_that_would_overflow_it() -> None:
    generator, discriminator = small_networks("stylegan2", width=16, resolution=32)
    for name, parameter in [*generator.named_parameters(), *discriminator.named_parameters()]:
        if "affine.bias" in name:
            parameter.data.fill_(3e4)
        elif name.endswith("bias"):
            parameter.data.fill_(2e3)
    with torch.no_grad(), torch.autocast("cpu", dtype=torch.float16):
        for block in generator.synthesis.blocks[1:]:
            inside = block(torch.full((2, 16, 8, 8), 250.0), torch.randn(2, 2, 16), None, 0)
            assert inside.dtype == torch.float16
            assert inside.abs().max() <= 256
        scores = discriminator(1e4 * torch.randn(4, 5, 32, 32))
    assert scores.isfinite().all()


@pytest.mark.parametrize("precision", [None, torch.float16])
def test_the_lowest_levels_compute_in_32_bits_under_mixed_precision(precision: torch.dtype | None) -> None:
    generator, discriminator = small_networks("stylegan2", resolution=128)
    types: list[torch.dtype] = []
    for block in (generator.synthesis.first, *generator.synthesis.blocks, *discriminator.blocks):
        block.register_forward_hook(lambda _module, _inputs, output: types.append(output.dtype))
    with torch.no_grad(), torch.autocast("cpu", dtype=precision or torch.bfloat16, enabled=precision is not None):
        discriminator(images_of(generator, torch.randn(2, 8)))
    half = precision or torch.float32
    up, down = types[:6], types[6:]
    assert up == [torch.float32] * 2 + [half] * 4  # 4 and 8 px; 16 to 128 px
    assert down == [half] * 4 + [torch.float32]  # from 128, 64, 32, 16 px; from 8 px


@pytest.mark.parametrize("family", FAMILIES)
def test_penalties_differentiate_through_the_networks(family: str) -> None:
    generator, discriminator = small_networks(family)
    real = torch.randn(4, 5, 16, 16, requires_grad=True)
    losses.r1_penalty(discriminator(real), real, gamma=1.0).backward()
    wgan = losses.gradient_penalty(discriminator, real=real, fake=torch.randn(4, 5, 16, 16), shares=torch.rand(4))
    wgan.backward()
    assert all(p.grad.isfinite().all() for n, p in discriminator.named_parameters() if p.grad is not None)
    if family != "progan":
        styles = generator.styles(torch.randn(2, 8))
        images = generator.synthesis(styles, noise=None)
        lengths = losses.path_lengths(images, styles, torch.randn_like(images))
        losses.path_length_penalty(lengths, torch.tensor(0.0))[0].backward()
        gradients = [p.grad for p in generator.parameters() if p.grad is not None]
        assert all(g.isfinite().all() for g in gradients)
        assert sum(g.abs().sum() for g in gradients) > 0


def test_stylegan_1_starts_from_ones_and_stylegan_2_from_noise() -> None:
    first, second = (small_networks(family)[0].synthesis.constant for family in STYLED)
    assert (first == 1).all()
    assert first.shape[1:] == second.shape == (8, 4, 4)
    assert second.std() > 0.5


@pytest.mark.parametrize("family", STYLED)
def test_a_mapping_starts_slow_and_keeps_the_size_of_its_input(family: str) -> None:
    module, settings = {
        "stylegan1": (stylegan1, stylegan1.StyleGAN1Settings(latent=128)),
        "stylegan2": (stylegan2, stylegan2.StyleGAN2Settings(latent=128)),
    }[family]
    torch.manual_seed(0)
    mapping = module.Generator(settings, channels=1, resolution=16).mapping
    w = mapping(torch.randn(400, 128))
    assert mapping.dense[0].weight.std().item() == pytest.approx(100, rel=0.05)
    assert 0.6 < w.square().mean().item() < 1.8
    torch.testing.assert_close(mapping(torch.full((1, 128), 5.0)), mapping(torch.ones(1, 128)))  # z is normalised


@pytest.mark.parametrize(
    ("settings", "wrong"),
    [
        (progan.ProGANSettings, {"batches": {}}),
        (progan.ProGANSettings, {"first_resolution": 12}),
        (stylegan1.StyleGAN1Settings, {"learning_rates": {4: 0.0}}),
        (stylegan2.StyleGAN2Settings, {"chanel_max": 32}),
        (stylegan2.StyleGAN2Settings, {"mixing": 1.5}),
    ],
)
def test_settings_that_cannot_work_are_refused(settings: type, wrong: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        settings(**wrong)


@pytest.mark.parametrize("settings", [progan.ProGANSettings, stylegan1.StyleGAN1Settings, stylegan2.StyleGAN2Settings])
def test_settings_survive_json_and_every_option_says_what_it_is(settings: type) -> None:
    assert settings.model_validate_json(settings().model_dump_json()) == settings()
    assert all(field.description for field in settings.model_fields.values())


@pytest.mark.parametrize("family", FAMILIES)
def test_a_few_steps_of_its_own_loss_bring_the_mean_image_to_the_real_one(family: str) -> None:
    generator, discriminator = small_networks(family, channels=2, width=8)
    torch.manual_seed(0)
    real = torch.tensor([0.6, -0.4])[:, None, None].expand(8, 2, 16, 16) + 0.05 * torch.randn(8, 2, 16, 16)
    means = []
    makers = [torch.optim.Adam(n.parameters(), 0.004, betas=(0.0, 0.99)) for n in (generator, discriminator)]
    for _ in range(80):
        fake = images_of(generator, torch.randn(8, 8))
        means.append(fake.detach().mean((0, 2, 3)))
        judged = real.clone().requires_grad_(True)
        scores = discriminator(judged), discriminator(fake.detach())
        if family == "progan":
            penalty = losses.gradient_penalty(discriminator, real=real, fake=fake, shares=torch.rand(8))
            _step(makers[1], losses.wasserstein_discriminator(*scores) + penalty + losses.drift(scores[0]))
            _step(makers[0], losses.wasserstein_generator(discriminator(fake)))
        else:
            _step(makers[1], losses.logistic_discriminator(*scores) + losses.r1_penalty(scores[0], judged, gamma=0.1))
            _step(makers[0], losses.logistic_generator(discriminator(fake)))
    away = [(mean - torch.tensor([0.6, -0.4])).norm().item() for mean in means]
    assert sum(away[-10:]) / 10 < 0.4 * away[0]


def _step(optimizer: torch.optim.Optimizer, loss: Tensor) -> None:
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
