"""Alignment: known maps are found again, starts are never made worse, nonsense is refused."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from audit_helpers import subject
from hypothesis import given, settings
from hypothesis import strategies as st

from synthrelease.privacy import alignment

SIDE = 64


def a_map(turn=0.0, scale=1.0, shift=(0.0, 0.0)):
    """(1, 2, 3) map: turn in degrees, scale, shift in [-1, 1] units."""
    angle = math.radians(turn)
    rows = [[math.cos(angle), -math.sin(angle), shift[0]], [math.sin(angle), math.cos(angle), shift[1]]]
    found = torch.tensor(rows)[None]
    found[:, :, :2] *= scale
    return found


def anatomy(index=0):
    """(1, 1, 64, 64): a phantom slice, smooth enough to follow."""
    image = torch.from_numpy(subject(index)[0][1:2, [3]].copy())
    return torch.nn.functional.avg_pool2d(image, 3, 1, 1)


def fit(query, train, weight, maps, steps):
    return alignment.fit(alignment.Template.of(query, weight), train, maps, steps)


def correlation(first, second, weight):
    """(n,) by definition, in float64."""
    found = []
    for a, b, w in zip(*(x[:, 0].double().flatten(1).numpy() for x in (first, second, weight)), strict=True):
        covariance = np.cov(a, b, aweights=w, ddof=0)
        found.append(covariance[0, 1] / np.sqrt(covariance[0, 0] * covariance[1, 1]))
    return torch.tensor(found, dtype=torch.float32)


def pixels_between(first, second):
    """Largest distance between where two maps send the corners and the middle of the head, in pixels."""
    places = torch.tensor([[x, y, 1.0] for x in (-0.6, 0, 0.6) for y in (-0.6, 0, 0.6)]).T
    return float(((first[0] - second[0]) @ places).norm(dim=0).max()) * SIDE / 2


IDENTITY = a_map()
MAPS = [
    a_map(shift=(0.08, -0.06)),
    a_map(turn=8),
    a_map(turn=-12, shift=(0.05, 0.02)),
    a_map(scale=1.1),
    a_map(scale=0.92, turn=4),
]


@pytest.mark.parametrize("truth", MAPS)
@pytest.mark.parametrize("index", [0, 1])
def test_a_known_map_is_recovered_to_less_than_a_pixel(truth, index):
    train = anatomy(index)
    query = alignment.sample(train, truth, SIDE)

    found, score = fit(query, train, torch.ones(1, 1, SIDE, SIDE), IDENTITY, 10)

    assert pixels_between(truth, IDENTITY) > 1.5
    assert pixels_between(found, truth) < 1.0
    assert float(score) > 0.99


def test_a_brighter_darker_or_inverted_query_is_aligned_as_well():
    truth, train = MAPS[2], anatomy()
    query = 0.4 * alignment.sample(train, truth, SIDE) + 0.3

    found, _ = fit(query, train, torch.ones(1, 1, SIDE, SIDE), IDENTITY, 10)

    assert pixels_between(found, truth) < 1.0


@pytest.mark.parametrize("steps", [0, 1, 3, 8])
def test_the_result_is_never_worse_than_its_start(steps):
    queries = torch.cat([anatomy(i) for i in range(4)])
    train = torch.cat([anatomy(i) for i in (4, 5, 6, 7)])
    weight = torch.ones(4, 1, SIDE, SIDE)
    starts = torch.cat([IDENTITY, *MAPS[:3]])
    before = correlation(queries, alignment.sample(train, starts, SIDE), weight)

    maps, score = fit(queries, train, weight, starts, steps)

    assert (score >= before - 1e-4).all()
    after = correlation(queries, alignment.sample(train, maps, SIDE), weight)
    torch.testing.assert_close(after, score, atol=1e-3, rtol=0)
    assert alignment.plausible(maps).all()


def test_pairs_do_not_influence_each_other():
    train = torch.cat([anatomy(i) for i in range(3)])
    query = torch.cat([alignment.sample(train[i : i + 1], MAPS[i], SIDE) for i in range(3)])
    weight, starts = torch.ones(3, 1, SIDE, SIDE), IDENTITY.repeat(3, 1, 1)

    together, _ = fit(query, train, weight, starts, 5)

    for i in range(3):
        alone, _ = fit(query[i : i + 1], train[i : i + 1], weight[:1], IDENTITY, 5)
        torch.testing.assert_close(together[i : i + 1], alone, atol=1e-3, rtol=0)


def test_a_constant_image_correlates_with_nothing_and_aligns_without_harm():
    flat = torch.full((1, 1, SIDE, SIDE), 0.5)

    maps, score = fit(flat, anatomy(), torch.ones(1, 1, SIDE, SIDE), IDENTITY, 5)

    assert torch.isfinite(maps).all()
    assert abs(float(score)) < 0.05


def test_the_score_is_pearsons_correlation_under_the_weights():
    queries, train = torch.cat([anatomy(0), anatomy(1)]), torch.cat([anatomy(2), anatomy(1)])
    weight = torch.from_numpy(np.random.default_rng(0).random((2, 1, SIDE, SIDE), dtype=np.float32))

    maps, score = fit(queries, train, weight, IDENTITY.repeat(2, 1, 1), 0)

    torch.testing.assert_close(maps, IDENTITY.repeat(2, 1, 1))
    torch.testing.assert_close(score, correlation(queries, train, weight), atol=1e-3, rtol=0)
    assert score[1] == pytest.approx(1, abs=1e-3)


@settings(deadline=None, max_examples=40)
@given(st.floats(-30, 30), st.floats(0.75, 1.3), st.floats(-0.5, 0.5), st.floats(-0.5, 0.5), st.floats(-30, 30))
def test_a_map_and_its_inverse_leave_every_place_where_it_was(turn, scale, right, down, other):
    one, two = a_map(turn, scale, (right, down)), a_map(other, 1.1, (down, right))

    torch.testing.assert_close(alignment.compose(one, alignment.inverse(one)), IDENTITY, atol=1e-5, rtol=0)
    torch.testing.assert_close(
        alignment.inverse(alignment.compose(one, two)),
        alignment.compose(alignment.inverse(two), alignment.inverse(one)),
        atol=1e-5,
        rtol=0,
    )


@pytest.mark.parametrize(
    ("bad", "why"),
    [
        (a_map(turn=50), "turned too far"),
        (a_map(scale=1.6), "too small"),
        (a_map(scale=0.6), "too large"),
        (a_map(shift=(0.7, 0)), "shifted out"),
        (a_map() * torch.tensor([[[-1.0, 1, 1], [1, 1, 1]]]), "a mirror image"),
        (torch.tensor([[[1.0, 0.4, 0], [0, 1, 0]]]), "sheared"),
    ],
)
def test_maps_that_are_no_small_affine_ones_are_refused(bad, why):
    assert not alignment.plausible(bad).any(), why
    assert alignment.plausible(torch.cat([IDENTITY, *MAPS])).all()


def test_a_start_that_is_not_plausible_comes_back_with_no_score():
    far = a_map(turn=60)

    maps, score = fit(anatomy(), anatomy(1), torch.ones(1, 1, SIDE, SIDE), far, 0)

    torch.testing.assert_close(maps, far)
    assert float(score) == -1.0
