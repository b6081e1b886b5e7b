"""Thresholds: whole images, patches and tumours each have their own; the worse of two yardsticks counts."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from synthrelease.image_set import ImageRow, from_arrays
from synthrelease.privacy.calibration import FEWEST_PART_SUBJECTS, thresholds
from synthrelease.privacy.confirmation import Matches
from synthrelease.privacy.gallery import Screened
from synthrelease.privacy.parts import no_matches
from synthrelease.privacy.screening import calibrate

SUBJECTS, EACH = 10, 8
N = SUBJECTS * EACH


def holdout(subjects=SUBJECTS):
    rows = [ImageRow(str(i), f"h{i // EACH}") for i in range(subjects * EACH)]
    return from_arrays(np.zeros((len(rows), 1, 4, 4), np.uint8), rows)


def part(score):
    return replace(no_matches(len(score)), score=np.asarray(score, float))


def screened(whole, patch=None, tumour=None, area=None):
    n = len(whole)
    none = np.full(n, -1.0)
    matches = Matches(np.zeros(n, int), np.asarray(whole, float), np.zeros(n, bool), np.zeros((n, 2, 3), np.float32))
    return Screened(
        matches,
        part(none if patch is None else patch),
        part(none if tumour is None else tumour),
        np.zeros(n) if area is None else np.asarray(area, float),
    )


def scores(seed=0, n=N):
    return np.random.default_rng(seed).uniform(0.5, 0.8, n)


def test_each_search_has_the_quantile_of_its_own_scores():
    found = thresholds(holdout(), [screened(scores(0), scores(1))], 0.05)

    assert found.whole == calibrate(scores(0), holdout().subjects, 0.05)
    assert found.patch() == calibrate(scores(1), holdout().subjects, 0.05)
    assert (found.scores == scores(0)).all()
    assert (found.degraded, found.plain_flag) == (False, found.whole.flag)


def test_the_worse_yardstick_counts_whichever_it_is():
    low, high = scores(0), scores(0) + 0.1
    for order in ([low, high], [high, low]):
        found = thresholds(holdout(), [screened(one, one) for one in order], 0.05)

        assert found.whole == calibrate(high, holdout().subjects, 0.05)
        assert found.patch() == calibrate(high, holdout().subjects, 0.05)
        assert (found.scores == high).all()
        assert found.degraded == (order[1] is high)
        assert found.plain_flag == calibrate(order[0], holdout().subjects, 0.05).flag


def test_tumour_thresholds_are_stratified_by_area():
    area = np.tile([0.02, 0.3], N // 2)
    found = thresholds(holdout(), [screened(scores(), tumour=np.where(area < 0.1, 0.9, 0.6), area=area)], 0.05)

    assert set(found.parts) == {"tumour_small", "tumour_large"}
    limits = found.tumour(np.array([0.0, 0.01, 0.05, 0.5]), "flag")
    assert limits.tolist() == [np.inf, 0.9, 0.9, 0.6]
    assert found.tumour(np.array([0.05, 0.5]), "alarm").tolist() == [0.9, 0.6]


def test_too_few_tumours_for_strata_share_one_threshold():
    area = np.where(np.arange(N) < 6 * EACH, 0.02, 0.0)
    tumour = np.where(area > 0, scores(3), -1)
    found = thresholds(holdout(), [screened(scores(), tumour=tumour, area=area)], 0.05)

    assert set(found.parts) <= {"tumour", "tumour_small", "tumour_large"}
    assert np.isfinite(found.tumour(np.array([0.01, 0.4]), "flag")).all()


@pytest.mark.parametrize("with_part", [0, FEWEST_PART_SUBJECTS - 1, FEWEST_PART_SUBJECTS])
def test_a_part_that_few_strangers_have_is_not_searched(with_part):
    there = np.arange(N) < with_part * EACH
    found = thresholds(holdout(), [screened(scores(), patch=np.where(there, scores(2), -1.0))], 0.05)

    assert ("patch" in found.parts) == (with_part >= FEWEST_PART_SUBJECTS)
    assert np.isinf(found.patch().flag) == (with_part < FEWEST_PART_SUBJECTS)
    assert np.isinf(found.tumour(np.array([0.3]), "flag")).all()


def test_images_without_a_part_do_not_lower_its_threshold():
    there = np.arange(N) % 2 == 0
    found = thresholds(holdout(), [screened(scores(), patch=np.where(there, scores(2), -1.0))], 0.05)

    assert found.patch() == calibrate(scores(2)[there], holdout().subjects[there], 0.05)
