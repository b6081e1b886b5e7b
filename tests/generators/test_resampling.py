"""Resampling keeps brightness and place: constants stay, gains are exact, nothing is shifted."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as functional
from torch import Tensor

from synthrelease.generators import resampling as rs

DELTA = torch.zeros(1, 1, 3, 3)
DELTA[..., 1, 1] = 1.0


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(0)


def _impulse(size: int, row: int, column: int) -> Tensor:
    x = torch.zeros(1, 1, size, size)
    x[..., row, column] = 1
    return x


def _centre(x: Tensor) -> tuple[float, float]:
    """Return row and column of the centre of mass."""
    places = torch.arange(x.shape[-1], dtype=x.dtype)
    total = x.sum()
    return float((x.sum((0, 1, 3)) * places).sum() / total), float((x.sum((0, 1, 2)) * places).sum() / total)


def test_doubling_and_convolving_in_one_step_equals_two_steps() -> None:
    x, weight = torch.randn(2, 3, 6, 6), torch.randn(4, 3, 3, 3)
    two_steps = functional.conv2d(rs.nearest_up(x), weight, padding=1)
    torch.testing.assert_close(rs.nearest_up_and_convolve(x, weight), two_steps, atol=1e-5, rtol=1e-5)


def test_convolving_and_halving_in_one_step_equals_two_steps() -> None:
    x, weight = torch.randn(2, 3, 6, 6), torch.randn(4, 3, 3, 3)
    two_steps = rs.box_down(functional.conv2d(x, weight, padding=1))
    torch.testing.assert_close(rs.convolve_and_box_down(x, weight), two_steps, atol=1e-5, rtol=1e-5)


KEEPING = [
    rs.blur,
    rs.smooth_up,
    rs.smooth_down,
    rs.nearest_up,
    rs.box_down,
    lambda x: rs.smooth_up_and_convolve(x, DELTA.to(x)),
    lambda x: rs.smooth_and_convolve_down(x, DELTA.to(x)),
]


@pytest.mark.parametrize("resample", KEEPING)
def test_a_constant_image_stays_constant_inside(resample) -> None:
    y = resample(torch.full((1, 1, 12, 12), 3.0))
    torch.testing.assert_close(y[..., 2:-2, 2:-2], torch.full_like(y[..., 2:-2, 2:-2], 3.0))


@pytest.mark.parametrize(
    ("resample", "gain", "size"),
    [(rs.blur, 1, 1.0), (rs.smooth_up, 4, 2.0), (lambda x: rs.smooth_up_and_convolve(x, DELTA), 4, 2.0)],
)
@pytest.mark.parametrize(("row", "column"), [(5, 6), (4, 3)])
def test_an_impulse_keeps_its_mass_per_area_and_its_place(resample, gain, size, row, column) -> None:
    y = resample(_impulse(12, row, column))
    assert y.sum().item() == pytest.approx(gain)
    # Pixel i spans i to i + 1: its centre, i + 1/2, is scaled.
    assert _centre(y) == pytest.approx(((row + 0.5) * size - 0.5, (column + 0.5) * size - 0.5))


@pytest.mark.parametrize("down", [rs.smooth_down, rs.box_down, lambda x: rs.smooth_and_convolve_down(x, DELTA)])
def test_halving_takes_a_ramp_to_the_ramp_at_the_new_centres(down) -> None:
    ramp = torch.arange(16.0).expand(1, 1, 16, 16)
    inside = down(ramp)[0, 0, 3, 1:-1]
    torch.testing.assert_close(inside, 2 * torch.arange(1.0, 7.0) + 0.5)


def test_smooth_doubling_has_the_published_taps() -> None:
    row = torch.tensor([1.0, 3.0, 3.0, 1.0]) / 4
    y = rs.smooth_up(_impulse(8, 3, 4))[0, 0]
    torch.testing.assert_close(y[5:9, 7:11], torch.outer(row, row))
    assert y.count_nonzero() == 16


def test_smooth_halving_is_the_transpose_of_smooth_doubling() -> None:
    small, large = torch.randn(1, 2, 5, 5), torch.randn(1, 2, 10, 10)
    assert (rs.smooth_up(small) * large).sum().item() == pytest.approx(
        4 * (small * rs.smooth_down(large)).sum().item(), rel=1e-4
    )


def test_growing_convolution_is_a_true_one_and_the_shrinking_one_a_correlation() -> None:
    right = torch.zeros(1, 1, 3, 3)
    right[..., 1, 2] = 1.0  # the tap to the right of the middle
    up = rs.smooth_up_and_convolve(_impulse(12, 5, 6), right)
    assert _centre(up) == pytest.approx((10.5, 13.5))  # moves right: the kernel is flipped
    ramp = torch.arange(16.0).expand(1, 1, 16, 16)
    down = rs.smooth_and_convolve_down(ramp, right)[0, 0, 3, 1:-1]
    torch.testing.assert_close(down, 2 * torch.arange(1.0, 7.0) + 1.5)  # looks one pixel to the right


def test_growing_convolution_equals_zeros_between_pixels_kernel_and_filter() -> None:
    x, weight = torch.randn(1, 2, 5, 5), torch.randn(3, 2, 3, 3)
    spread = torch.zeros(1, 2, 10, 10)
    spread[..., ::2, ::2] = x
    convolved = functional.conv2d(functional.pad(spread, (3, 3, 3, 3)), weight.flip(2, 3))  # from place -2 on
    row = torch.tensor([1.0, 3.0, 3.0, 1.0]) / 4
    taps = torch.outer(row, row).expand(3, 1, 4, 4)
    wanted = functional.conv2d(convolved, taps, groups=3)[..., :10, :10]
    torch.testing.assert_close(rs.smooth_up_and_convolve(x, weight), wanted, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("resample", KEEPING)
def test_gradients_are_right_to_the_second_order(resample) -> None:
    x = torch.randn(1, 1, 4, 4, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda y: resample(y).square(), x)
    assert torch.autograd.gradgradcheck(lambda y: resample(y).square(), x)


def test_resampling_first_used_for_inference_can_be_used_for_training() -> None:
    rs._kernel.cache_clear()
    with torch.inference_mode():
        rs.blur(torch.ones(1, 1, 4, 4))
    x = torch.ones(1, 1, 4, 4, requires_grad=True)
    rs.blur(x).sum().backward()
    assert x.grad is not None


def test_fading_goes_from_doubled_means_to_the_image_itself() -> None:
    images = torch.randn(2, 3, 8, 8)
    assert torch.equal(rs.fade(images, 1.0), images)
    coarse = rs.nearest_up(rs.box_down(images))
    assert torch.equal(rs.fade(images, 0.0), coarse)
    torch.testing.assert_close(rs.fade(images, 0.25), 0.75 * coarse + 0.25 * images)


def test_shrinking_averages_squares_down_to_the_wanted_size() -> None:
    images = torch.randn(2, 3, 16, 16)
    torch.testing.assert_close(rs.shrink(images, 4), rs.box_down(rs.box_down(images)))
    assert rs.shrink(images, 16) is images
