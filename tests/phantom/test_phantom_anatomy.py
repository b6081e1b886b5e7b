"""What the drawn heads must have in common with real ones, whatever the seed."""

from __future__ import annotations

import numpy as np
import pytest

from synthrelease.phantom.anatomy import Tissues, draw_head, inner_place, reference_place, skull_depth
from synthrelease.phantom.contrasts import draw_look, render
from synthrelease.phantom.tissue import tissues
from synthrelease.phantom.tumour import Regions, draw_tumour, push_aside, regions
from synthrelease.phantom.waves import Floats, draw_waves

SEEDS = range(6)


def brain_of(seed: int, voxel: float = 2.0) -> tuple[Tissues, Regions, Floats, np.random.Generator]:
    """Tissues and tumour of random points within one head."""
    random = np.random.default_rng(seed)
    head = draw_head(random)
    tumour = draw_tumour(random, head)
    points = random.uniform([-80, -100, -60], [80, 90, 75], size=(20_000, 3)).T.astype(np.float32)
    points[:, :4000] = tumour.centre[:, None] + random.normal(0, 14, size=(3, 4000)).astype(np.float32)
    outer = reference_place(head, points)
    inside = skull_depth(head, outer)[0] > 0
    points, outer = points[:, inside], outer[:, inside]
    brain = tissues(head, outer, inner_place(head, push_aside(tumour, outer)), voxel)
    return brain, regions(tumour, outer, brain), points, random


@pytest.mark.parametrize("seed", SEEDS)
def test_tissue_fractions_fill_every_voxel_exactly(seed: int) -> None:
    brain, *_ = brain_of(seed)

    parts = np.stack([brain.csf, brain.grey, brain.white])
    assert parts.min() >= -1e-6
    np.testing.assert_allclose(parts.sum(axis=0), 1, atol=1e-5)


@pytest.mark.parametrize("seed", SEEDS)
def test_grey_and_white_matter_take_plausible_shares_of_the_head(seed: int) -> None:
    brain, *_ = brain_of(seed)

    # Adults: grey about 40 to 50 %, white 30 to 40 %, CSF 10 to 30 % of the intracranial volume; one head in 20 000
    # points, more of them near the tumour, may stray from that, but not to a head without folds or without brain.
    csf, grey, white = (float(part.mean()) for part in (brain.csf, brain.grey, brain.white))
    assert 0.04 < csf < 0.4
    assert 0.25 < grey < 0.6
    assert 0.2 < white < 0.6


@pytest.mark.parametrize("seed", SEEDS)
def test_tumour_regions_are_nested(seed: int) -> None:
    _, tumour, *_ = brain_of(seed)

    assert (tumour.necrosis <= tumour.core).all()
    assert (tumour.core <= tumour.whole).all()
    assert (tumour.core > 0).sum() > 20


@pytest.mark.parametrize("seed", SEEDS)
def test_each_contrast_orders_the_tissues_as_scanners_do(seed: int) -> None:
    brain, tumour, points, random = brain_of(seed)
    t1, t1ce, t2, flair = render(draw_look(random, 0.5), brain, tumour, points, 2.0, random)
    healthy = tumour.whole < -3
    csf, grey, white = ((part > 0.9) & healthy for part in (brain.csf, brain.grey, brain.white))
    oedema = (tumour.whole > 1) & (tumour.core < -1) & (brain.csf < 0.1)

    assert min(csf.sum(), grey.sum(), white.sum()) > 10
    assert np.median(t1[white]) > np.median(t1[grey]) > np.median(t1[csf])
    assert np.median(t1ce[white]) > np.median(t1ce[grey]) > np.median(t1ce[csf])
    assert np.median(t2[white]) < np.median(t2[grey]) < np.median(t2[csf])
    assert np.median(flair[csf]) < 0.5 * np.median(flair[white])
    assert np.median(flair[white]) < np.median(flair[grey])
    if oedema.sum() > 10:
        assert np.median(flair[oedema]) > 1.2 * np.median(flair[grey])


def test_a_sulcus_fills_the_same_share_of_space_at_every_voxel_size() -> None:
    fine, *_ = brain_of(1, voxel=1.0)
    coarse, *_ = brain_of(1, voxel=3.75)

    assert coarse.csf.mean() == pytest.approx(fine.csf.mean(), rel=0.12)
    assert coarse.grey.mean() == pytest.approx(fine.grey.mean(), rel=0.12)


def test_waves_have_zero_mean_unit_variance_and_the_slope_of_their_values() -> None:
    random = np.random.default_rng(0)
    waves = draw_waves(random, 200, 10, 20)
    points = random.uniform(-500, 500, size=(3, 20_000)).astype(np.float32)
    step = np.array([[0.05], [0], [0]], dtype=np.float32)

    value, slope = waves.with_slope(points)

    assert value.mean() == pytest.approx(0, abs=0.05)
    assert value.std() == pytest.approx(1, abs=0.05)
    difference = (waves.at(points + step) - waves.at(points - step)) / 0.1
    np.testing.assert_allclose(slope[0], difference, atol=0.02)


def test_a_growing_tumour_pushes_tissue_outwards_and_leaves_distant_tissue_alone() -> None:
    random = np.random.default_rng(3)
    tumour = draw_tumour(random, draw_head(random))
    direction = np.array([[1.0], [0], [0]], dtype=np.float32)
    away = np.linspace(1, 150, 300, dtype=np.float32)

    before = push_aside(tumour, tumour.centre[:, None] + direction * away)[0] - tumour.centre[0]

    assert (before <= away + 1e-4).all()
    assert (np.diff(before) > 0).all()  # nothing folds over itself
    assert before[-1] == pytest.approx(away[-1], abs=0.05)
    assert (away - before).max() > 0.3 * tumour.push
