"""Shared layers do what their papers' equations say, checked against closed forms and sums written out."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as functional
from torch import Tensor

from synthrelease.generators.layers import (
    ROOT_TWO,
    EqualizedConvolution,
    EqualizedLinear,
    Style,
    instance_norm,
    leaky_relu,
    minibatch_deviation,
    modulated_convolution,
    pixel_norm,
)
from synthrelease.generators.resampling import box_down, nearest_up


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(0)


def test_equalised_layers_stay_at_unit_variance_at_initialisation() -> None:
    dense = EqualizedLinear(400, 300)(torch.randn(300, 400))
    slow = EqualizedLinear(400, 300, rate=0.01)(torch.randn(300, 400))
    inside = EqualizedConvolution(64, 64)(torch.randn(8, 64, 20, 20))[..., 1:-1, 1:-1]
    for y in (dense, slow, inside):
        assert y.var().item() == pytest.approx(1, rel=0.04)


@pytest.mark.parametrize("in_weights", [True, False])
def test_both_places_of_the_gain_keep_the_size_through_the_activation(in_weights: bool) -> None:
    layer = EqualizedLinear(400, 300, gain=ROOT_TWO if in_weights else 1.0)
    y = leaky_relu(layer(torch.randn(300, 400)), 1.0 if in_weights else ROOT_TWO)
    assert y.square().mean().item() == pytest.approx(1.04, rel=0.04)  # 2 (1/2 + 0.2^2 / 2)


def test_the_places_of_the_gain_differ_in_how_much_a_bias_counts() -> None:
    x, y = torch.ones(1, 4), torch.ones(1, 4)
    inside, outside = EqualizedLinear(4, 4, gain=ROOT_TWO), EqualizedLinear(4, 4)
    for layer in (inside, outside):
        layer.weight.data.zero_()
        layer.bias.data.fill_(1)
    assert torch.equal(leaky_relu(inside(x)), torch.ones(1, 4))
    torch.testing.assert_close(leaky_relu(outside(y), ROOT_TWO), torch.full((1, 4), ROOT_TWO))


def test_a_hundredth_of_the_rate_moves_the_output_a_hundredth_as_far() -> None:
    moves = []
    for rate in (1.0, 0.01):
        layer = EqualizedLinear(10, 10, rate=rate)
        before = layer(torch.ones(1, 10))
        with torch.no_grad():
            for parameter in layer.parameters():
                parameter += 0.1  # Adam's step is of one size whatever the gradient's
        moves.append((layer(torch.ones(1, 10)) - before).mean().item())
    assert moves[0] == pytest.approx(0.1 * (math.sqrt(10) + 1), rel=1e-4)
    assert moves[1] == pytest.approx(moves[0] / 100, rel=1e-3)


def test_an_initial_bias_acts_at_its_value_whatever_the_rate() -> None:
    for rate in (1.0, 0.01):
        torch.testing.assert_close(EqualizedLinear(3, 2, rate=rate, bias=1.0)(torch.zeros(1, 3)), torch.ones(1, 2))


def test_the_bias_comes_after_the_averaging_of_a_shrinking_convolution() -> None:
    layer = EqualizedConvolution(3, 4, down=True)
    layer.bias.data = torch.randn(4)
    x = torch.randn(2, 3, 8, 8)
    plain = functional.conv2d(x, layer.weight / math.sqrt(27), padding=1)
    torch.testing.assert_close(layer(x), box_down(plain) + layer.bias[:, None, None])


def test_pixel_norm_gives_each_pixel_a_mean_square_of_one_and_forgets_its_size() -> None:
    x = torch.randn(3, 16, 5, 5)
    torch.testing.assert_close(pixel_norm(x).square().mean(1), torch.ones(3, 5, 5))
    torch.testing.assert_close(pixel_norm(7 * x), pixel_norm(x))
    assert pixel_norm(torch.zeros(1, 4)).abs().sum() == 0


def test_a_style_sets_mean_and_deviation_of_each_channel() -> None:
    layer = Style(latent=6, features=4)
    x, w = 3 + 5 * torch.randn(2, 4, 9, 9), torch.randn(2, 6)
    scale, shift = layer.affine(w).chunk(2, dim=1)
    styled = layer(x, w)
    torch.testing.assert_close(styled.mean((2, 3)), shift, atol=1e-5, rtol=0)
    torch.testing.assert_close(styled.std((2, 3), correction=0), (1 + scale).abs())
    torch.testing.assert_close(instance_norm(2 * x - 1), instance_norm(x))


def test_minibatch_groups_are_strided() -> None:
    values = torch.tensor([1.0, 10.0, 2.0, 20.0, 4.0, 40.0, 9.0, 90.0])
    x = values[:, None, None, None].expand(8, 3, 4, 4)
    channel = minibatch_deviation(x, group=4)[:, 3]
    even, odd = (math.sqrt(sum((v - sum(g) / 4) ** 2 for v in g) / 4) for g in ([1, 2, 4, 9], [10, 20, 40, 90]))
    expected = torch.tensor([even, odd] * 4)[:, None, None].expand(8, 4, 4)
    torch.testing.assert_close(channel, expected)


def test_minibatch_deviation_averages_over_channels_and_pixels_and_keeps_the_features() -> None:
    x = torch.randn(4, 3, 2, 2)
    y = minibatch_deviation(x)
    assert torch.equal(y[:, :3], x)
    torch.testing.assert_close(y[:, 3], x.std(0, correction=0).mean().expand(4, 2, 2), atol=1e-6, rtol=1e-6)


@pytest.mark.parametrize(("images", "group"), [(6, 3), (5, 1), (2, 2)])
def test_a_batch_that_the_group_does_not_divide_takes_the_next_smaller_one(images: int, group: int) -> None:
    x = torch.randn(images, 2, 4, 4)
    assert torch.equal(minibatch_deviation(x, 4), minibatch_deviation(x, group))


def _one_by_one(x: Tensor, weight: Tensor, styles: Tensor) -> Tensor:
    """Karras 2020, equations 1 to 3, with a kernel of its own for each image."""
    images = []
    for image, style in zip(x, styles, strict=True):
        kernel = weight * style[None, :, None, None]
        kernel = kernel / (kernel.square().sum((1, 2, 3), keepdim=True) + 1e-8).sqrt()
        images.append(functional.conv2d(image[None], kernel, padding=1))
    return torch.cat(images)


def test_modulated_convolution_is_a_convolution_with_each_images_own_kernel() -> None:
    x, weight, styles = torch.randn(3, 5, 6, 6), torch.randn(4, 5, 3, 3), 1 + torch.randn(3, 5)
    torch.testing.assert_close(modulated_convolution(x, weight, styles), _one_by_one(x, weight, styles))


def test_demodulated_outputs_have_unit_variance_whatever_the_style() -> None:
    x, weight = torch.randn(2, 64, 34, 34), torch.randn(48, 64, 3, 3)
    styles = torch.stack([torch.full((64,), 100.0), torch.rand(64) * 0.01])
    y = modulated_convolution(x, weight, styles)[..., 1:-1, 1:-1]
    torch.testing.assert_close(y.var((1, 2, 3)), torch.ones(2), atol=0.04, rtol=0)


def test_scaling_the_style_changes_nothing_unless_demodulation_is_off() -> None:
    x, weight, styles = torch.randn(2, 5, 6, 6), torch.randn(4, 5, 3, 3), torch.randn(2, 5)
    for up in (False, True):
        once = modulated_convolution(x, weight, styles, up=up)
        torch.testing.assert_close(modulated_convolution(x, weight, 1000 * styles, up=up), once)
    plain = modulated_convolution(x, weight, styles, demodulate=False)
    torch.testing.assert_close(modulated_convolution(x, weight, 3 * styles, demodulate=False), 3 * plain)


def test_demodulation_has_the_gradient_of_the_equations() -> None:
    x, weight, styles = torch.randn(2, 5, 6, 6), torch.randn(4, 5, 3, 3), 1 + torch.randn(2, 5)
    target = torch.randn(2, 4, 6, 6)
    gradients = []
    for convolve in (modulated_convolution, _one_by_one):
        inputs = [t.clone().requires_grad_(True) for t in (x, weight, styles)]
        gradients.append(torch.autograd.grad((convolve(*inputs) * target).sum(), inputs))
    for ours, written_out in zip(*gradients, strict=True):
        torch.testing.assert_close(ours, written_out, atol=1e-5, rtol=1e-4)


def test_a_growing_convolution_doubles_pixels_first() -> None:
    layer = EqualizedConvolution(3, 4, up=True, bias=False)
    x = torch.randn(2, 3, 5, 5)
    wanted = functional.conv2d(nearest_up(x), layer.weight / math.sqrt(27), padding=1)
    torch.testing.assert_close(layer(x), wanted)
