"""The fast search must agree with the obvious one, whatever the data look like."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.spatial.distance import cdist

from synthrelease.errors import AuditError
from synthrelease.metrics import neighbours
from synthrelease.metrics.balls import memberships
from synthrelease.metrics.neighbours import nearest


def clouds(kind: str) -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(7)
    queries, references = random.standard_normal((40, 9)), random.standard_normal((300, 9))
    match kind:
        case "far from the origin":
            return queries + 1e6, references + 1e6
        case "tight clusters far apart":  # single precision cannot order neighbours within a cluster
            homes = random.standard_normal((3, 9)) * 1e4
            return queries * 1e-3 + homes[random.integers(3, size=40)], references * 1e-3 + homes[
                random.integers(3, size=300)
            ]
        case "one outlier":
            references[0] *= 1e8
        case "tiny":
            return queries * 1e-60, references * 1e-60
        case "huge":
            return queries * 1e60, references * 1e60
        case "many duplicates":
            return np.round(queries), np.round(references / 3)
        case "features in different units":
            return queries * np.logspace(-6, 6, 9), references * np.logspace(-6, 6, 9)
    return queries, references


KINDS = [
    "plain",
    "far from the origin",
    "tight clusters far apart",
    "one outlier",
    "tiny",
    "huge",
    "many duplicates",
    "features in different units",
]


@pytest.mark.parametrize("k", [1, 2, 50, 300])
@pytest.mark.parametrize("kind", KINDS)
def test_distances_equal_brute_force(kind: str, k: int) -> None:
    queries, references = clouds(kind)

    distances, indices = nearest(queries, references, k)

    dense = cdist(queries, references)
    assert distances == pytest.approx(np.sort(dense, axis=1)[:, :k], rel=1e-12, abs=0)
    assert np.take_along_axis(dense, indices, axis=1) == pytest.approx(distances, rel=1e-12, abs=0)
    assert all(len(set(row)) == k for row in indices.tolist())


@pytest.mark.parametrize("kind", KINDS)
def test_excluded_groups_are_passed_over(kind: str) -> None:
    queries, references = clouds(kind)
    random = np.random.default_rng(1)
    own, others = random.integers(4, size=len(queries)), random.integers(4, size=len(references))

    distances, indices = nearest(queries, references, 3, exclude_groups=(own, others))

    dense = np.where(own[:, None] == others, np.inf, cdist(queries, references))
    assert distances == pytest.approx(np.sort(dense, axis=1)[:, :3], rel=1e-12, abs=0)
    assert (others[indices] != own[:, None]).all()


@pytest.mark.parametrize("kind", KINDS)
def test_the_size_of_a_block_changes_nothing(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    queries, references = clouds(kind)
    radii = cdist(queries, references).min(axis=1), cdist(references, queries).min(axis=1)
    whole = nearest(queries, references, 4)
    held = memberships(queries, references, left_radii=radii[0], right_radii=radii[1])
    monkeypatch.setattr(neighbours, "BLOCK_BYTES", 16 * 300 * 7)

    parts = nearest(queries, references, 4)
    held_parts = memberships(queries, references, left_radii=radii[0], right_radii=radii[1])

    assert np.array_equal(whole[0], parts[0])
    assert np.array_equal(whole[1], parts[1])
    assert all(np.array_equal(getattr(held, field), getattr(held_parts, field)) for field in vars(held))


def test_an_exact_copy_lies_at_exactly_zero_and_is_named() -> None:
    random = np.random.default_rng(0)
    references = random.standard_normal((500, 64)).astype(np.float32).astype(np.float64) * 30 + 1000
    copied = random.permutation(500)

    distances, indices = nearest(references[copied], references)

    assert not distances.any()
    assert np.array_equal(indices[:, 0], copied)


def test_ties_go_to_the_lower_index() -> None:
    references = np.array([[5.0, 5.0], [1.0, 0.0], [0.0, 1.0], [-1.0, 0.0], [0.0, -1.0]])

    assert nearest(np.zeros((1, 2)), references, 3)[1].tolist() == [[1, 2, 3]]


def test_a_copy_is_found_among_hundreds_of_equal_references() -> None:
    references = np.concatenate([np.ones((900, 5)), np.random.default_rng(0).standard_normal((100, 5))])

    distances, indices = nearest(np.array([[1.0] * 5, references[950]]), references, 2)

    assert distances[0].tolist() == [0.0, 0.0]
    assert distances[1, 0] == 0.0
    assert indices[1, 0] == 950


def test_too_few_neighbours_are_an_error_not_a_guess() -> None:
    table = np.random.default_rng(0).standard_normal((5, 2))

    with pytest.raises(AuditError, match="6 neighbours"):
        nearest(table, table, 6)
    with pytest.raises(AuditError, match="fewer than 5"):
        nearest(table, table, 5, exclude_groups=(np.arange(5), np.arange(5)))
    with pytest.raises(AuditError, match="fewer than 1"):
        nearest(table, table, 1, exclude_groups=(np.zeros(5), np.zeros(5)))


@pytest.mark.parametrize("kind", KINDS)
def test_memberships_equal_brute_force(kind: str) -> None:
    left, right = clouds(kind)
    dense = cdist(left, right)
    left_radii = np.sort(dense, axis=1)[np.arange(len(left)), np.arange(len(left)) % 20] * 1.01
    right_radii = np.sort(dense, axis=0)[np.arange(len(right)) % 5, np.arange(len(right))] * 1.01

    held = memberships(left, right, left_radii=left_radii, right_radii=right_radii)

    assert np.array_equal(held.balls_around_left, (dense < right_radii).sum(axis=1))
    assert np.array_equal(held.balls_around_right, (dense < left_radii[:, None]).sum(axis=0))
    assert np.array_equal(held.left_ball_holds, (dense < left_radii[:, None]).any(axis=1))
    assert np.array_equal(held.right_ball_holds, (dense < right_radii).any(axis=0))


def test_a_point_exactly_on_the_edge_of_a_ball_is_outside() -> None:
    random = np.random.default_rng(3)
    left, right = (random.integers(-4, 5, size=(count, 3)).astype(float) for count in (60, 50))
    dense = cdist(left, right)  # exact: sums of squared integers
    left_radii, right_radii = np.median(dense, axis=1), np.sort(dense, axis=0)[7]
    assert (dense == right_radii).sum() >= 50

    held = memberships(left, right, left_radii=left_radii, right_radii=right_radii)

    assert np.array_equal(held.balls_around_left, (dense < right_radii).sum(axis=1))
    assert np.array_equal(held.balls_around_right, (dense < left_radii[:, None]).sum(axis=0))


@pytest.mark.parametrize("rows", [1, 7, 1000])
def test_the_closest_of_parts_is_the_nearest_of_all(rows, monkeypatch):
    random = np.random.default_rng(0)
    references, queries = random.normal(size=(40, 5)), random.normal(size=(23, 5))
    references[30] = references[4]  # of equals the first
    queries[3] = references[4]
    distances, found = nearest(queries, references)
    monkeypatch.setattr(neighbours, "ROWS", rows)

    near = neighbours.closest(queries, references)

    np.testing.assert_array_equal(near[0], distances[:, 0])
    np.testing.assert_array_equal(near[1], found[:, 0])
    assert near[1][3] == 4
