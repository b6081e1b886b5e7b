"""Radii within one table: equal to the plain search, whatever the data look like."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.spatial.distance import cdist

from synthrelease.metrics import neighbours
from synthrelease.metrics.neighbours import nearest, own_radii


def tables() -> dict[str, np.ndarray]:
    random = np.random.default_rng(0)
    plain = random.standard_normal((700, 40))
    clusters = np.repeat(random.standard_normal((35, 40)), 20, axis=0) + 1e-4 * random.standard_normal((700, 40))
    return {
        "plain": plain,
        "odd length": plain[:643],
        "tight clusters": clusters,
        "far from 0": plain + 1e5,
        "repeated rows": np.repeat(plain[:100], 7, axis=0),
        "one far away": np.concatenate([plain, np.full((1, 40), 1e4)]),
        "few dimensions": random.standard_normal((900, 2)),
        "on a grid": random.integers(0, 3, (700, 6)).astype(np.float64),
    }


@pytest.mark.parametrize("name", tables())
@pytest.mark.parametrize("k", [1, 3, 5])
@pytest.mark.parametrize("block", [2**20, 96 * 2**20])
def test_radii_equal_the_brute_force_distances(name, k, block, monkeypatch):
    monkeypatch.setattr(neighbours, "BLOCK_BYTES", block)  # one block, and many
    table = tables()[name]
    pairs = cdist(table, table)
    np.fill_diagonal(pairs, np.inf)

    np.testing.assert_allclose(own_radii(table, k), np.sort(pairs, axis=1)[:, k - 1], rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("width", [640, 643, 2000])
def test_a_row_whose_near_groups_are_all_passed_over_is_still_settled(width):
    random = np.random.default_rng(1)
    table = random.standard_normal((width, 5))
    subjects = np.arange(width) % 40  # columns of one group share a subject
    distances, indices = nearest(table, table, 4, exclude_groups=(subjects, subjects))
    pairs = cdist(table, table)
    pairs[subjects[:, None] == subjects] = np.inf

    np.testing.assert_allclose(distances, np.sort(pairs, axis=1)[:, :4], rtol=1e-9)
    assert (subjects[indices] != subjects[:, None]).all()
