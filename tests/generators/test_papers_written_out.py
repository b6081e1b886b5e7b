"""Whole networks equal their papers, written out once more with plain operations."""

from __future__ import annotations

import torch
import torch.nn.functional as functional
from generator_helpers import small_networks
from torch import Tensor

from synthrelease.generators import resampling as rs
from synthrelease.generators.layers import instance_norm
from synthrelease.generators.styles import constant_noise


def _normed(x: Tensor) -> Tensor:
    return x / (x.square().mean(1, keepdim=True) + 1e-8).sqrt()


def _act(x: Tensor) -> Tensor:
    return torch.where(x > 0, x, 0.2 * x)


def _conv(layer: torch.nn.Module, x: Tensor, gain: float = 2**0.5) -> Tensor:
    weight = layer.weight * gain / (layer.weight[0].numel() ** 0.5)
    return functional.conv2d(x, weight, padding=weight.shape[-1] // 2)


def test_progressive_gan_equals_its_paper_written_out() -> None:
    generator, discriminator = small_networks("progan", width=6)
    _random_biases(generator, discriminator)
    z = torch.randn(4, 6)
    start = generator.start
    x = (_normed(z) @ start.dense.weight.T * (2**0.5 / 4) / 6**0.5).reshape(4, 6, 4, 4)
    x = _normed(_act(x + start.bias[:, None, None]))
    x = _normed(_act(_conv(start.convolution, x) + start.convolution.bias[:, None, None]))
    for block in generator.blocks:
        x = functional.interpolate(x, scale_factor=2, mode="nearest")
        for layer in (block.first, block.second):
            x = _normed(_act(_conv(layer, x) + layer.bias[:, None, None]))
    last = generator.to_image[-1]
    images = _conv(last, x, gain=1) + last.bias[:, None, None]
    torch.testing.assert_close(generator(z), images, atol=1e-5, rtol=1e-5)

    network = discriminator.network
    y = _act(_conv(network.from_image[-1], images) + network.from_image[-1].bias[:, None, None])
    for block in reversed(network.blocks):
        y = _act(_conv(block.first, y) + block.first.bias[:, None, None])
        y = _act(functional.avg_pool2d(_conv(block.second, y), 2) + block.second.bias[:, None, None])
    spread = (y.var(0, correction=0) + 1e-8).sqrt().mean()
    y = torch.cat([y, spread.expand(4, 1, 4, 4)], dim=1)
    end = network.end
    y = _act(_conv(end.convolution, y) + end.convolution.bias[:, None, None])
    y = _act(y.flatten(1) @ end.dense.weight.T * 2**0.5 / 96**0.5 + end.dense.bias)
    scores = (y @ end.score.weight.T / 6**0.5 + end.score.bias)[:, 0]
    torch.testing.assert_close(discriminator(images), scores, atol=1e-4, rtol=1e-4)


def test_a_layer_of_stylegan_1_equals_its_paper_written_out() -> None:
    generator, discriminator = small_networks("stylegan1", width=6)
    _random_biases(generator, discriminator)
    x, w, noise = torch.randn(2, 6, 4, 4), torch.randn(2, 6), constant_noise(3)
    layer = generator.synthesis.blocks[0].first
    y = _conv(layer.convolution, functional.interpolate(x, scale_factor=2, mode="nearest"))
    row = torch.tensor([0.25, 0.5, 0.25])
    y = functional.conv2d(y, torch.outer(row, row).expand(6, 1, 3, 3), padding=1, groups=6)
    finish = layer.finish
    y = _act(y + finish.noise_weight[:, None, None] * noise(2, y) + finish.bias[:, None, None])
    affine = finish.style.affine
    scale, shift = (w @ affine.weight.T / 6**0.5 + affine.bias)[:, :, None, None].chunk(2, dim=1)
    expected = instance_norm(y) * (scale + 1) + shift
    torch.testing.assert_close(layer(x, w, noise, 2), expected, atol=1e-5, rtol=1e-5)


def test_stylegan_2_equals_its_paper_written_out() -> None:
    generator, discriminator = small_networks("stylegan2", width=6)
    _random_biases(generator, discriminator)
    z, noise = torch.randn(4, 6), constant_noise(2)
    w = _normed(z)
    for layer in generator.mapping.dense:
        w = _strong(w @ (0.01 * layer.weight).T / 6**0.5 + 0.01 * layer.bias)
    torch.testing.assert_close(generator.styles(z), w[:, None].expand(-1, 6, -1))
    w = w[:, None] + torch.randn(4, 6, 6)
    synthesis = generator.synthesis
    x = _styled(synthesis.first, synthesis.constant.expand(4, -1, -1, -1), w[:, 0], noise(0, torch.zeros(1, 1, 4, 4)))
    image = _to_image(synthesis.to_image[0], x, w[:, 1])
    for number, block in enumerate(synthesis.blocks):
        size = torch.zeros(1, 1, 8 * 2**number, 8 * 2**number)
        x = _styled(block.first, x, w[:, 2 * number + 1], noise(2 * number + 1, size), up=True)
        x = _styled(block.second, x, w[:, 2 * number + 2], noise(2 * number + 2, size))
        image = rs.smooth_up(image) + _to_image(synthesis.to_image[number + 1], x, w[:, 2 * number + 3])
    torch.testing.assert_close(synthesis(w, noise=noise), image, atol=1e-4, rtol=1e-4)

    y = _strong(_conv(discriminator.from_image, image, 1) + discriminator.from_image.bias[:, None, None])
    for block in discriminator.blocks:
        skip = _conv(block.skip, rs.smooth_down(y), 1)
        y = _strong(_conv(block.first, y, 1) + block.first.bias[:, None, None])
        y = rs.smooth_and_convolve_down(y, block.second.weight / (6 * 9) ** 0.5)
        y = (_strong(y + block.second.bias[:, None, None]) + skip) / 2**0.5
    spread = (y.var(0, correction=0) + 1e-8).sqrt().mean()
    y = torch.cat([y, spread.expand(4, 1, 4, 4)], dim=1)
    y = _strong(_conv(discriminator.convolution, y, 1) + discriminator.convolution.bias[:, None, None])
    y = _strong(y.flatten(1) @ discriminator.dense.weight.T / 96**0.5 + discriminator.dense.bias)
    scores = (y @ discriminator.score.weight.T / 6**0.5 + discriminator.score.bias)[:, 0]
    torch.testing.assert_close(discriminator(image), scores, atol=1e-4, rtol=1e-4)


def _strong(x: Tensor) -> Tensor:
    return 2**0.5 * _act(x)


def _style(layer: torch.nn.Module, w: Tensor) -> Tensor:
    return w @ layer.affine.weight.T / 6**0.5 + layer.affine.bias


def _styled(layer: torch.nn.Module, x: Tensor, w: Tensor, noise: Tensor, up: bool = False) -> Tensor:
    images = []
    for image, style in zip(x, _style(layer, w), strict=True):
        kernel = layer.weight * style[None, :, None, None]
        kernel = kernel / (kernel.square().sum((1, 2, 3), keepdim=True) + 1e-8).sqrt()
        plain = functional.conv2d(image[None], kernel, padding=1)
        images.append(rs.smooth_up_and_convolve(image[None], kernel) if up else plain)
    return _strong(torch.cat(images) + layer.noise_strength * noise + layer.bias[:, None, None])


def _to_image(layer: torch.nn.Module, x: Tensor, w: Tensor) -> Tensor:
    style = _style(layer, w) / 6**0.5
    return torch.einsum("nchw,nc,oc->nohw", x, style, layer.weight[:, :, 0, 0]) + layer.bias[:, None, None]


def _random_biases(*networks: torch.nn.Module) -> None:
    for network in networks:
        for name, parameter in network.named_parameters():
            if "bias" in name or "noise" in name:
                parameter.data.normal_()
