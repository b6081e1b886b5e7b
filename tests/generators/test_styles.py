"""Latents, noise, mixing and truncation: what an image depends on, and on nothing else."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch

from synthrelease.generators import stylegan1, stylegan2, styles


def test_a_latent_depends_on_its_seed_alone() -> None:
    batch = styles.latents_of_seeds([3, 7, 3], 16)
    assert torch.equal(batch[0], batch[2])
    assert not torch.equal(batch[0], batch[1])
    assert torch.equal(styles.latents_of_seeds([7], 16)[0], batch[1])


def test_latents_are_standard_normal() -> None:
    z = styles.latents_of_seeds(range(200), 64)
    assert abs(z.mean().item()) < 0.03
    assert abs(z.var().item() - 1) < 0.05
    assert torch.corrcoef(z[:20]).fill_diagonal_(0).abs().max() < 0.6


def test_sampling_noise_depends_on_seed_and_layer_alone() -> None:
    features = torch.zeros(3, 5, 4, 4)
    noise = styles.noise_of_seeds([1, 2, 1])(6, features)
    assert noise.shape == (3, 1, 4, 4)
    assert torch.equal(noise[0], noise[2])
    assert not torch.equal(noise[0], noise[1])
    assert torch.equal(styles.noise_of_seeds([2])(6, features[:1])[0], noise[1])
    assert not torch.equal(styles.noise_of_seeds([2])(7, features[:1])[0], noise[1])


def _normal(seed: int) -> Callable[..., torch.Tensor]:
    random = torch.Generator().manual_seed(seed)
    return lambda *shape: torch.randn(shape, generator=random)


def test_constant_noise_is_the_same_for_every_image_and_fresh_noise_never() -> None:
    features = torch.zeros(3, 5, 4, 4)
    constant = styles.constant_noise(4)
    assert constant(0, features).shape == (1, 1, 4, 4)
    assert torch.equal(constant(0, features), constant(0, features))
    fresh = styles.fresh_noise(_normal(0))
    first, second = fresh(0, features), fresh(0, features)
    assert first.shape == (3, 1, 4, 4)
    assert not torch.equal(first, second)
    again = styles.fresh_noise(_normal(0))
    assert torch.equal(again(0, features), first)


def test_noise_takes_the_type_of_the_features() -> None:
    assert styles.constant_noise(0)(0, torch.zeros(1, 1, 4, 4, dtype=torch.bfloat16)).dtype == torch.bfloat16


def test_mixed_styles_change_latent_at_each_images_crossover() -> None:
    first, second = torch.zeros(3, 4, 2), torch.ones(3, 4, 2)
    mixed = styles.mix(first, second, torch.tensor([1, 3, 4]))
    assert mixed[..., 0].tolist() == [[0, 1, 1, 1], [0, 0, 0, 1], [0, 0, 0, 0]]


def test_crossovers_are_uniform_over_the_inner_layers_for_the_wanted_share() -> None:
    drawn = styles.draw_crossovers(20_000, 6, 0.9, torch.Generator().manual_seed(0))
    shares = torch.bincount(drawn, minlength=7) / 20_000
    torch.testing.assert_close(shares, torch.tensor([0, 0.18, 0.18, 0.18, 0.18, 0.18, 0.1]), atol=0.01, rtol=0)
    assert (styles.draw_crossovers(100, 6, 0.0, torch.Generator()) == 6).all()


def test_truncation_pulls_towards_the_average_and_may_spare_the_last_layers() -> None:
    w, average = torch.randn(3, 4, 2), torch.randn(2)
    assert styles.truncate(w, average, 1.0) is w
    torch.testing.assert_close(styles.truncate(w, average, 0.0), average.expand(3, 4, 2))
    half = styles.truncate(w, average, 0.5, layers=3)
    torch.testing.assert_close(half[:, :3], (w[:, :3] + average) / 2)
    assert torch.equal(half[:, 3:], w[:, 3:])


@pytest.mark.parametrize(
    ("module", "settings_class"),
    [(stylegan1, stylegan1.StyleGAN1Settings), (stylegan2, stylegan2.StyleGAN2Settings)],
)
def test_the_average_style_is_an_exponential_mean_of_batch_means(module, settings_class) -> None:
    settings = settings_class(latent=3, style_average_beta=0.9)
    mapping = module.Generator(settings, channels=1, resolution=16).mapping
    for value in (1.0, 5.0):
        mapping.update_average(torch.full((4, 3), value))
    torch.testing.assert_close(mapping.average, torch.full((3,), 0.9 * 0.1 * 1 + 0.1 * 5))
    assert "average" in mapping.state_dict()
