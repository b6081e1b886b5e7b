"""Comparisons with the literature: every measure has a row, says why it is missing, and never decides."""

from __future__ import annotations

import math

import numpy as np
import pytest

from synthrelease import policy
from synthrelease.metrics.table import METRICS
from synthrelease.privacy import comparisons
from synthrelease.privacy.comparisons import Roles, compare


def features(rows, seed, width=12):
    return np.random.default_rng(seed).standard_normal((rows, width)).astype(np.float32)


def roles(synthetic=None, *, with_holdout=True, rows=60):
    made = features(rows, 2) if synthetic is None else synthetic
    pixels = {
        name: np.random.default_rng(i).random((n, 2, 16, 16)).astype(np.float16)
        for i, (name, n) in enumerate([("train", rows), ("holdout", rows), ("synthetic", len(made))])
    }
    return Roles(
        name="somebody",
        train=features(rows, 0),
        train_subjects=np.array([f"s{i // 3}" for i in range(rows)]),
        synthetic=made,
        holdout=features(rows, 1) if with_holdout else None,
        pixels=pixels,
    )


def by_name(found):
    return {row.name: row for row in found}


def test_every_measure_has_a_row_with_its_reference_and_direction():
    found = by_name(compare(roles(), 0))

    assert set(found) == {
        "authenticity", "data_copying_score", "calibrated_l2", "nearest_neighbour_distance_ratio", "dcr_share",
        "frechet_distance", "memorization_informed_frechet_distance", "feature_likelihood_gap", "vendi_score",
        "whole_image_correlation",
    }  # fmt: skip
    for row in found.values():
        assert row.value is not None, row
        assert math.isfinite(row.value)
        assert row.direction
        assert (row.holdout_value is None) == (row.name in comparisons._NEEDS_HOLDOUT)
    assert found["whole_image_correlation"].features != "somebody"
    assert found["authenticity"].features == "somebody"


def test_verbatim_copies_move_the_measures_the_way_they_point():
    clean, copied = by_name(compare(roles(), 0)), by_name(compare(roles(features(60, 0)), 0))

    assert copied["authenticity"].value < clean["authenticity"].value
    assert copied["calibrated_l2"].value == pytest.approx(0, abs=1e-3)
    assert copied["nearest_neighbour_distance_ratio"].value == pytest.approx(0, abs=1e-3)
    assert copied["data_copying_score"].value < clean["data_copying_score"].value - 2
    assert copied["dcr_share"].value > 0.95
    assert copied["frechet_distance"].value == pytest.approx(0, abs=1e-3)


def test_without_a_holdout_the_measures_that_need_one_say_so():
    found = by_name(compare(roles(with_holdout=False), 0))

    for name in comparisons._NEEDS_HOLDOUT:
        assert found[name].value is None
        assert "holdout" in found[name].note
    assert found["authenticity"].value is not None
    assert all(row.holdout_value is None for row in found.values())


@pytest.mark.parametrize("count", [1, 2, 3])
def test_a_handful_of_images_gives_numbers_or_reasons_never_a_fault(count):
    found = compare(roles(features(count, 2), rows=count + 1), 0)

    assert all((row.value is None) == bool(row.note) for row in found)


def test_constant_features_give_numbers_or_reasons():
    flat = roles(np.ones((20, 12), np.float32))

    assert all((row.value is None) == bool(row.note) for row in compare(flat, 0))


def test_the_same_seed_gives_the_same_numbers():
    assert compare(roles(), 3) == compare(roles(), 3)


def test_no_rule_of_the_built_in_policy_reads_a_comparison():
    read = {rule.measure for rule in policy.built_in().rules}

    assert not read & {row.name for row in compare(roles(), 0)}
    assert set(METRICS)  # the table that explains them is there
