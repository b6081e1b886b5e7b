"""Low-pass filters and resampling matrices against closed forms and against convolutions written out."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy import signal
from torch import Tensor
from torch.nn import functional

from synthrelease.generators import filters
from synthrelease.generators.filters import FilteredLeakyReLU, Signal

BAND = {"cutoff": 8.0, "half_width": 4.0, "rate": 64.0}


def response(kernel: np.ndarray, frequency: float, rate: float = 64) -> float:
    """Return the gain of a symmetric kernel at a frequency, cycles per image width."""
    place = (np.arange(len(kernel)) - (len(kernel) - 1) / 2) / rate
    return float(np.sum(kernel * np.cos(2 * np.pi * frequency * place)))


def response_2d(kernel: np.ndarray, across: float, down: float, rate: float = 64) -> float:
    place = (np.arange(len(kernel)) - (len(kernel) - 1) / 2) / rate
    phase = across * place[None, :] + down * place[:, None]
    return float(np.sum(kernel * np.cos(2 * np.pi * phase)))


@pytest.mark.parametrize("taps", [12, 13, 24])
def test_a_filter_keeps_a_constant_and_is_symmetric(taps: int) -> None:
    one, two = filters.low_pass(taps, **BAND), filters.radial_low_pass(taps, **BAND)

    assert one.sum() == pytest.approx(1, abs=1e-12)
    assert two.sum() == pytest.approx(1, abs=1e-12)
    np.testing.assert_allclose(one, one[::-1], atol=1e-15)
    np.testing.assert_allclose(two, np.rot90(two), atol=1e-15)
    np.testing.assert_allclose(two, two.T, atol=1e-15)


def test_a_filter_of_one_tap_changes_nothing() -> None:
    assert filters.low_pass(1, **BAND).tolist() == [1]
    assert filters.radial_low_pass(1, **BAND).tolist() == [[1]]


@pytest.mark.parametrize("taps", [24, 48, 96])
def test_half_is_left_at_the_cutoff_and_kaisers_promise_holds_beyond(taps: int) -> None:
    kernel = filters.low_pass(taps, **BAND)
    promised = signal.kaiser_atten(taps, 2 * BAND["half_width"] / (BAND["rate"] / 2))  # dB

    beyond = max(abs(response(kernel, f)) for f in np.linspace(12.5, 32, 200))
    within = max(abs(response(kernel, f) - 1) for f in np.linspace(0, 3.5, 100))

    assert response(kernel, 8.0) == pytest.approx(0.5, abs=0.02)
    assert -20 * math.log10(beyond) > promised - 3
    assert -20 * math.log10(within) > promised - 8


def test_a_radial_filter_cuts_all_directions_at_the_same_frequency_and_a_separable_one_does_not() -> None:
    radial = filters.radial_low_pass(48, **BAND)
    line = filters.low_pass(48, **BAND)
    separable = np.outer(line, line)
    angles = np.linspace(0, np.pi / 2, 9)

    at_cutoff = [response_2d(radial, 8 * np.cos(a), 8 * np.sin(a)) for a in angles]
    diagonal = 8 / math.sqrt(2)

    assert np.ptp(at_cutoff) < 0.01
    assert np.mean(at_cutoff) == pytest.approx(0.5, abs=0.06)
    assert abs(response_2d(separable, 8, 0) - response_2d(separable, diagonal, diagonal)) > 0.1


def test_the_middle_of_a_radial_filter_is_the_limit_of_its_neighbours() -> None:
    """An odd length has a tap at radius 0, where the formula divides 0 by 0."""
    fine = filters.radial_low_pass(401, cutoff=1.0, half_width=20.0, rate=400.0)
    middle = 200

    assert fine[middle, middle] == pytest.approx(fine[middle, middle + 1], rel=1e-2)
    assert fine[middle, middle] == fine.max()


@pytest.mark.parametrize("factor", [2, 4])
def test_up_then_down_returns_a_band_limited_signal(factor: int) -> None:
    """A band-limited signal has no more than its samples say, so both ways together are the identity."""
    length, taps, edge = 64, 24 * factor, 20
    kernel = filters.low_pass(taps, cutoff=24, half_width=8, rate=64 * factor)
    up = filters.upsampling(length, factor, kernel, before=taps - 1, after=taps - factor)
    down = filters.downsampling(len(up), factor, kernel)
    place = (np.arange(length) + 0.5) / length
    waves = sum(np.sin(2 * np.pi * f * place + f) for f in (1.0, 5.0, 9.7, 14.0))

    back = down @ up @ waves

    np.testing.assert_allclose(back[edge:-edge], waves[edge:-edge], atol=2e-3)
    assert np.abs(back - np.roll(waves, 1))[edge:-edge].max() > 0.5  # the comparison would see a shift


def zero_stuffed(
    x: Tensor, up: np.ndarray, down: np.ndarray, factors: tuple[int, int], pads: tuple[int, int]
) -> Tensor:
    """Return the filtered leaky ReLU as the paper draws it: zeros between the pixels, and 2-D convolutions."""
    n, c, h, w = x.shape
    by_up, by_down = factors
    stuffed = x.new_zeros(n * c, 1, h * by_up, w * by_up)
    stuffed[:, :, ::by_up, ::by_up] = x.reshape(n * c, 1, h, w)
    stuffed = functional.pad(stuffed, (*pads, *pads))  # a negative number crops
    fine = functional.conv2d(stuffed, torch.tensor(np.outer(up, up))[None, None]) * by_up**2
    bent = (functional.leaky_relu(fine, 0.2) * math.sqrt(2)).clamp(-256, 256)
    kernel = torch.tensor(down if down.ndim == 2 else np.outer(down, down))[None, None]
    out = functional.conv2d(bent, kernel)[:, :, ::by_down, ::by_down]
    return out.reshape(n, c, *out.shape[2:])


CASES = [  # source, target, kernel of the convolution before, the published padding
    (Signal(36, 16, 3.0, 4.0, 3), Signal(36, 16, 4.0, 4.5, 3), 3, (9, 8)),
    (Signal(36, 16, 3.0, 4.0, 3), Signal(52, 32, 5.0, 6.0, 3), 3, (-6, -9)),
    (Signal(52, 32, 16.0, 4.0, 3), Signal(32, 32, 16.0, 4.0, 3), 3, (-11, -12)),
    (Signal(36, 16, 3.0, 4.0, 3), Signal(36, 16, 4.0, 4.5, 3), 1, (11, 10)),
    (Signal(36, 16, 3.0, 4.0, 3), Signal(52, 32, 5.0, 6.0, 3), 1, (-2, -5)),
    (Signal(52, 32, 16.0, 4.0, 3), Signal(32, 32, 16.0, 4.0, 3), 1, (-9, -10)),
]


@pytest.mark.parametrize("radial", [False, True])
@pytest.mark.parametrize(("source", "target", "kernel", "pads"), CASES)
def test_the_filtered_nonlinearity_is_the_one_with_stuffed_zeros(
    source: Signal, target: Signal, kernel: int, pads: tuple[int, int], radial: bool
) -> None:
    before = source.size + kernel - 1
    layer = FilteredLeakyReLU(source, target, before=before, radial=radial).double()
    x = torch.randn(2, 3, before, before, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    x[0, 0] *= 1000  # reaches the clamp
    rate = 2 * target.rate
    by_up = rate // source.rate
    up = filters.low_pass(6 * by_up, cutoff=source.cutoff, half_width=source.half_width, rate=rate)
    design = filters.radial_low_pass if radial else filters.low_pass
    down = design(12, cutoff=target.cutoff, half_width=target.half_width, rate=rate)

    expected = zero_stuffed(x, up, down, (by_up, 2), pads)

    assert filters.padding(source, target, before=before) == pads
    assert expected.shape[-1] == target.size
    torch.testing.assert_close(layer(x), expected, rtol=1e-5, atol=1e-5)


def test_a_pixel_stays_in_the_middle_of_the_picture_through_a_layer() -> None:
    """Padding is right to the sample: a picture symmetric about its middle stays so."""
    layer = FilteredLeakyReLU(*CASES[1][:2], before=38, radial=False)
    x = torch.randn(1, 1, 38, 38)
    y = layer(x + x.flip(2, 3))

    torch.testing.assert_close(y, y.flip(2, 3), atol=1e-4, rtol=0)


@pytest.mark.parametrize("size", [23, 32, 61])
def test_tiles_are_the_convolution_whatever_the_size(size: int) -> None:
    kernel = filters.radial_low_pass(12, **BAND)
    length = (size - 1) * 2 + 12
    x = torch.randn(2, 3, length, length, dtype=torch.float64)
    tiles = torch.tensor(filters.tile_kernels(kernel, factor=2))

    expected = functional.conv2d(x.reshape(6, 1, length, length), torch.tensor(kernel)[None, None], stride=2)

    made = filters.decimate_by_tiles(x, tiles, factor=2, out=size)
    torch.testing.assert_close(made, expected.reshape(2, 3, size, size))


def test_a_reflecting_matrix_sees_the_mirrored_signal() -> None:
    matrix = np.random.default_rng(0).normal(size=(7, 5 + 4 + 3))
    values = np.arange(4.0)

    folded = filters.reflecting(matrix, before=5, length=4)

    np.testing.assert_allclose(folded @ values, matrix @ np.pad(values, (5, 3), mode="symmetric"))


def test_a_gaussian_blur_has_its_sigma_and_loses_nothing() -> None:
    spot = torch.zeros(1, 1, 41, 41, dtype=torch.float64)
    spot[0, 0, 20, 20] = 1
    blurred = filters.gaussian_blur(spot, 3.0)[0, 0]
    place = torch.arange(41, dtype=torch.float64) - 20

    assert float(blurred.sum()) == pytest.approx(1)
    assert float((blurred.sum(0) * place**2).sum()) == pytest.approx(9, rel=0.04)  # tails are cut at 3 sigma
    assert torch.equal(filters.gaussian_blur(spot, 0.0), spot)
    flat = torch.full((1, 2, 8, 16), 0.7)
    torch.testing.assert_close(filters.gaussian_blur(flat, 10.0), flat)
