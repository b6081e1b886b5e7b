"""Exact search: FAISS against brute force, mirrors, exact zeros far from the origin, unions."""

from __future__ import annotations

import faiss
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from synthrelease.errors import AuditError
from synthrelease.privacy import neighbours, searching
from synthrelease.privacy.neighbours import Index, fit_whitening, union
from synthrelease.privacy.searching import ByFaissGpu, ByProducts, OnProcessor


def features(rows, width=16, seed=0, centre=0.0):
    return (np.random.default_rng(seed).standard_normal((rows, width)) + centre).astype(np.float32)


def brute_force(queries, references, k, mirrored=None):
    def distances(of):
        return np.linalg.norm(of[:, None].astype(np.float64) - references[None], axis=2)

    found = distances(queries)
    if mirrored is not None:
        found = np.minimum(found, distances(mirrored))
    rows = np.argsort(found, axis=1, kind="stable")[:, :k]
    return rows, np.take_along_axis(found, rows, 1)


@settings(max_examples=25, deadline=None)
@given(st.integers(1, 40), st.integers(1, 30), st.integers(1, 6), st.booleans(), st.integers(0, 99))
def test_the_search_equals_brute_force(references, queries, k, with_mirrors, seed):
    train, asked = features(references, seed=seed), features(queries, seed=seed + 1)
    mirrored = features(queries, seed=seed + 2) if with_mirrors else None

    rows, distances = Index(train).nearest(asked, k, mirrored)
    expected_rows, expected = brute_force(asked, train, min(k, references), mirrored)

    assert (rows == expected_rows).all()
    np.testing.assert_allclose(distances, expected, rtol=1e-5)


def test_blocks_do_not_change_the_answer(monkeypatch):
    train, asked = features(50), features(23, seed=1)
    whole = Index(train).nearest(asked, 4, asked[:, ::-1].copy())
    monkeypatch.setattr(neighbours, "BLOCK", 7)

    pieces = Index(train).nearest(asked, 4, asked[:, ::-1].copy())

    np.testing.assert_array_equal(whole[0], pieces[0])
    np.testing.assert_allclose(whole[1], pieces[1], rtol=1e-6)


@pytest.mark.parametrize("centre", [0.0, 50.0])
@pytest.mark.parametrize("part", [1, 7, 50])
def test_parts_of_the_references_do_not_change_the_answer(part, centre, monkeypatch, tmp_path):
    train, asked = features(50, centre=centre), features(23, seed=1, centre=centre)
    whole = Index(train).nearest(asked, 4, asked[:, ::-1].copy())
    monkeypatch.setattr(neighbours, "PART", part)
    np.save(tmp_path / "train.npy", train)
    mapped = np.load(tmp_path / "train.npy", mmap_mode="r", allow_pickle=False)

    pieces = Index(mapped).nearest(asked, 4, asked[:, ::-1].copy())

    np.testing.assert_array_equal(whole[0], pieces[0])
    np.testing.assert_allclose(whole[1], pieces[1], rtol=1e-12)


@pytest.mark.parametrize("centre", [0.0, 100.0])
@pytest.mark.parametrize("rows", [3, 4096])
def test_matrix_products_as_on_a_gpu_find_what_faiss_finds(rows, centre, monkeypatch):
    monkeypatch.setattr(searching, "QUERIES_AT_ONCE", rows)
    monkeypatch.setattr(neighbours, "PART", 60)
    train, asked = features(200, centre=centre), features(23, seed=1, centre=centre)
    asked[:5] = train[40:45]  # exact copies: their distance is 0 whatever rounding says
    expected = Index(train, search=OnProcessor()).nearest(asked, 6, asked[:, ::-1].copy())

    index = Index(train, search=ByProducts(torch.device("cpu")))
    for _ in range(2):  # the second time the parts are there already
        found = index.nearest(asked, 6, asked[:, ::-1].copy())
        np.testing.assert_array_equal(found[0], expected[0])
        np.testing.assert_array_equal(found[1], expected[1])
    assert (found[1][:5, 0] == 0).all()


def test_faiss_gpu_is_asked_where_it_is_installed_with_one_set_of_resources_for_all(monkeypatch):
    """The wiring alone: what FAISS does on a GPU is played by FAISS on the CPU."""
    made, asked_of = [], []
    monkeypatch.setattr(ByFaissGpu, "_resources", None)
    monkeypatch.setattr(faiss, "StandardGpuResources", lambda: made.append(1) or "resources", raising=False)
    monkeypatch.setattr(faiss, "get_num_gpus", lambda: 1, raising=False)
    monkeypatch.setattr(
        faiss, "knn_gpu", lambda resources, q, x, k: asked_of.append(resources) or faiss.knn(q, x, k), raising=False
    )
    train, asked = features(200), features(23, seed=1)

    for _ in range(2):
        found = Index(train).nearest(asked, 4)
        np.testing.assert_array_equal(found[0], Index(train, search=OnProcessor()).nearest(asked, 4)[0])

    assert len(made) == 1
    assert set(asked_of) == {"resources"}


@pytest.mark.gpu
def test_the_search_on_a_gpu_finds_what_the_processor_finds():
    train, asked = features(50_000, width=64), features(3000, width=64, seed=1)
    asked[:5] = train[40:45]

    found, expected = (Index(train, search=who).nearest(asked, 5) for who in (None, OnProcessor()))

    np.testing.assert_array_equal(found[0], expected[0])
    np.testing.assert_array_equal(found[1], expected[1])


def test_equal_references_come_in_their_order_whatever_the_parts(monkeypatch):
    train = np.repeat(features(3), 4, axis=0)
    for part in (100, 5, 1):
        monkeypatch.setattr(neighbours, "PART", part)
        rows, distances = Index(train).nearest(train[[4]], 3)
        assert rows.tolist() == [[4, 5, 6]]
        assert (distances == 0).all()


@pytest.mark.parametrize("centre", [0.0, 100.0, 3000.0])
def test_an_exact_copy_is_at_distance_zero_however_far_the_features_lie_from_the_origin(centre):
    train = features(200, width=512, centre=centre)

    rows, distances = Index(train).nearest(train[17:20].copy(), 2)

    assert rows[:, 0].tolist() == [17, 18, 19]
    assert (distances[:, 0] == 0.0).all()
    assert (distances[:, 1] > 1).all()


def test_the_nearer_orientation_counts_and_no_reference_comes_twice():
    train = features(10)
    asked = features(3, seed=5)

    rows, distances = Index(train).nearest(asked, 10, mirrored=train[[4, 5, 6]].copy())

    assert rows[:, 0].tolist() == [4, 5, 6]
    assert (distances[:, 0] == 0).all()
    assert all(len(set(row)) == 10 for row in rows.tolist())


def test_fewer_references_than_asked_for_give_fewer_columns():
    assert Index(features(2)).nearest(features(3, seed=1), 5)[0].shape == (3, 2)


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_references_that_are_not_finite_are_refused(bad):
    train = features(5)
    train[3, 2] = bad

    with pytest.raises(AuditError, match="NaN or infinity"):
        Index(train)


def test_the_union_drops_repeats_and_keeps_the_first():
    first, second = np.array([[1, 2], [3, 4]]), np.array([[2, 5], [4, 3]])

    assert union([first, second]).tolist() == [[1, 2, -1, 5], [3, 4, -1, -1]]
    assert union([first]).tolist() == first.tolist()


@given(st.lists(st.lists(st.integers(0, 5), min_size=6, max_size=6), min_size=1, max_size=5))
def test_the_union_names_every_candidate_exactly_once(rows):
    table = np.array(rows)
    found = union([table[:, :2], table[:, 2:]])

    for before, after in zip(rows, found.tolist(), strict=True):
        kept = [row for row in after if row >= 0]
        assert sorted(kept) == sorted(set(before))


def test_whitened_train_features_are_unit_vectors_with_no_favoured_direction():
    stretched = features(400, width=12) * np.linspace(1, 6, 12, dtype=np.float32) + 50
    whitening = fit_whitening(stretched)

    found = whitening(stretched)

    np.testing.assert_allclose(np.linalg.norm(found, axis=1), 1, rtol=1e-5)
    spread = found.std(axis=0)
    assert spread.max() / spread.min() < 1.3
    assert abs(found.mean()) < 0.02


def test_whitening_survives_identical_and_single_images():
    same = np.repeat(features(1), 5, axis=0)

    assert np.isfinite(fit_whitening(same)(same)).all()
    assert np.isfinite(fit_whitening(features(2))(features(3, seed=1))).all()


def test_whitening_keeps_no_more_dimensions_than_asked_for():
    assert fit_whitening(features(100, width=40), width=9)(features(4, width=40)).shape == (4, 9)
    assert fit_whitening(features(5, width=40))(features(4, width=40)).shape == (4, 4)
