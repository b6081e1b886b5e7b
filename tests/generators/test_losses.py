"""Losses and penalties equal their papers' equations, written out for discriminators simple enough to do by hand."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from synthrelease.generators import losses


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(0)


def _quadratic(a: Tensor, images: Tensor) -> Tensor:
    """Return scores whose gradient with respect to an image x is a x."""
    return (0.5 * a * images.square()).sum((1, 2, 3))


def test_logistic_losses_at_hand_worked_scores() -> None:
    zero = torch.zeros(4)
    assert losses.logistic_discriminator(zero, zero).item() == pytest.approx(2 * math.log(2))
    assert losses.logistic_generator(zero).item() == pytest.approx(math.log(2))
    real, fake = torch.tensor([2.0, -1.0]), torch.tensor([0.5, 3.0])
    by_hand = sum(math.log1p(math.exp(-r)) + math.log1p(math.exp(f)) for r, f in ((2.0, 0.5), (-1.0, 3.0))) / 2
    assert losses.logistic_discriminator(real, fake).item() == pytest.approx(by_hand, rel=1e-6)
    far = torch.tensor([-1000.0], requires_grad=True)
    losses.logistic_generator(far).backward()
    assert far.grad.item() == -1.0  # does not saturate where the discriminator is sure


def test_wasserstein_losses_and_drift_at_hand_worked_scores() -> None:
    real, fake = torch.tensor([2.0, -1.0]), torch.tensor([0.5, 3.0])
    assert losses.wasserstein_discriminator(real, fake).item() == pytest.approx(1.75 - 0.5)
    assert losses.wasserstein_generator(fake).item() == pytest.approx(-1.75)
    assert losses.drift(real).item() == pytest.approx(0.001 * 2.5)


def test_swapping_real_and_generated_changes_every_loss_of_a_discriminator() -> None:
    real, fake = torch.tensor([2.0]), torch.tensor([0.5])
    for loss in (losses.logistic_discriminator, losses.wasserstein_discriminator):
        assert loss(real, fake).item() != loss(fake, real).item()


def test_r1_penalty_and_its_gradient_match_the_written_out_ones() -> None:
    a = torch.randn(2, 3, 3, requires_grad=True)
    real = torch.randn(5, 2, 3, 3, requires_grad=True)
    penalty = losses.r1_penalty(_quadratic(a, real), real, gamma=10.0)
    x, fixed = real.detach(), a.detach()
    assert penalty.item() == pytest.approx((5.0 * (fixed * x).square().sum((1, 2, 3)).mean()).item(), rel=1e-5)
    (gradient,) = torch.autograd.grad(penalty, a)
    torch.testing.assert_close(gradient, 10.0 * fixed * x.square().mean(0))


def test_a_lazy_r1_penalty_weighs_as_often_as_it_is_rare() -> None:
    a, real = torch.randn(2, 3, 3), torch.randn(5, 2, 3, 3, requires_grad=True)
    scores = _quadratic(a, real)
    each = losses.r1_penalty(scores, real, gamma=1.0)
    lazy = losses.r1_penalty(scores, real, gamma=1.0, interval=16)
    torch.testing.assert_close(lazy, 16 * each)


def test_gradient_penalty_and_its_gradient_match_the_written_out_ones() -> None:
    a = torch.randn(2, 3, 3, requires_grad=True)
    real, fake, shares = torch.randn(5, 2, 3, 3), torch.randn(5, 2, 3, 3), torch.rand(5)
    penalty = losses.gradient_penalty(lambda x: _quadratic(a, x), real=real, fake=fake, shares=shares)
    t = shares[:, None, None, None]
    mixed, fixed = t * real + (1 - t) * fake, a.detach()
    norm = (fixed * mixed).square().sum((1, 2, 3)).sqrt()
    assert penalty.item() == pytest.approx((10 * (norm - 1).square().mean()).item(), rel=1e-5)
    (gradient,) = torch.autograd.grad(penalty, a)
    pull = (20 * (norm - 1) / norm)[:, None, None, None]
    torch.testing.assert_close(gradient, (pull * fixed * mixed.square()).mean(0), atol=1e-5, rtol=1e-5)


def test_gradient_penalty_looks_at_real_images_where_their_share_is_one() -> None:
    a, real, fake = torch.ones(1, 2, 2), torch.full((1, 1, 2, 2), 0.5), torch.zeros(1, 1, 2, 2)
    at = {
        t: losses.gradient_penalty(lambda x: _quadratic(a, x), real=real, fake=fake, shares=torch.tensor([t])).item()
        for t in (0.0, 1.0)
    }
    assert at[1.0] == pytest.approx(0.0, abs=1e-9)  # |grad| = |x| = 1
    assert at[0.0] == pytest.approx(10.0, rel=1e-4)


def test_penalties_stay_finite_where_a_gradient_is_zero() -> None:
    a = torch.zeros(1, 2, 2, requires_grad=True)
    x = torch.ones(3, 1, 2, 2)
    penalty = losses.gradient_penalty(lambda y: _quadratic(a, y), real=x, fake=x, shares=torch.zeros(3))
    (gradient,) = torch.autograd.grad(penalty, a)
    assert gradient.isfinite().all()


def _linear_generator(styles: Tensor, maps: Tensor) -> Tensor:
    """Return images (n, 1, 2, 3) = sum over layers of maps[l] w[l]; maps is (layers, 6, latent)."""
    return torch.einsum("lpd,nld->np", maps, styles).reshape(-1, 1, 2, 3)


def test_path_lengths_are_those_of_the_transposed_jacobian() -> None:
    maps, styles = torch.randn(4, 6, 5), torch.randn(3, 4, 5, requires_grad=True)
    y = torch.randn(3, 1, 2, 3)
    lengths = losses.path_lengths(_linear_generator(styles, maps), styles, y)
    pulled = torch.einsum("lpd,np->nld", maps, y.flatten(1) / math.sqrt(6))
    torch.testing.assert_close(lengths, pulled.square().sum(2).mean(1).sqrt())


def test_path_length_penalty_counts_this_batch_in_its_mean_and_lets_the_gradient_through_it() -> None:
    lengths, mean = torch.tensor([1.0, 3.0, 8.0], requires_grad=True), torch.tensor(2.0)
    penalty, moved = losses.path_length_penalty(lengths, mean, weight=2.0, interval=4, decay=0.01)
    a = 0.99 * 2 + 0.01 * 4
    assert moved.item() == pytest.approx(a)
    assert not moved.requires_grad
    assert penalty.item() == pytest.approx(2 * 4 * sum((v - a) ** 2 for v in (1, 3, 8)) / 3, rel=1e-5)
    (gradient,) = torch.autograd.grad(penalty, lengths)
    through_mean = -0.01 / 3 * sum(v - a for v in (1, 3, 8))
    by_hand = torch.tensor([2 * 4 * 2 / 3 * (v - a + through_mean) for v in (1.0, 3.0, 8.0)])
    torch.testing.assert_close(gradient, by_hand, atol=1e-4, rtol=1e-5)


def test_the_path_length_penalty_trains_the_generator() -> None:
    maps = torch.randn(4, 6, 5, requires_grad=True)
    styles = torch.randn(3, 4, 5, requires_grad=True)
    lengths = losses.path_lengths(_linear_generator(styles, maps), styles, torch.randn(3, 1, 2, 3))
    penalty, _ = losses.path_length_penalty(lengths, torch.tensor(0.0))
    (gradient,) = torch.autograd.grad(penalty, maps)
    assert gradient.isfinite().all()
    assert gradient.abs().sum() > 0


def test_adam_is_corrected_only_for_networks_with_a_lazy_penalty() -> None:
    assert losses.lazy_adam(0.002, (0.0, 0.99), None) == (0.002, (0.0, 0.99))
    rate, (first, second) = losses.lazy_adam(0.002, (0.0, 0.99), 16)
    assert (rate, first, second) == pytest.approx((0.002 * 16 / 17, 0.0, 0.99 ** (16 / 17)))
