"""Confirmation: copies score near 1 however they were disguised, strangers clearly less."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from audit_helpers import subject
from scipy import ndimage

from synthrelease.features.analysis import analysis_images
from synthrelease.privacy import confirmation
from synthrelease.privacy.confirmation import confirm, prepare
from synthrelease.privacy.transformations import affine


def images(indices, size=128):
    stored = np.concatenate([subject(i)[0][:2] for i in indices])
    return analysis_images(stored, size)


@pytest.fixture(scope="module")
def train():
    return images(range(6))


@pytest.fixture(scope="module")
def strangers(train):
    """Best score of every stranger against all train images."""
    return best(images(range(20, 26)), train).score


def best(queries, train):
    candidates = np.tile(np.arange(len(train)), (len(queries), 1))
    return confirm(prepare(queries), prepare(train), candidates)


def test_a_verbatim_copy_scores_one_and_names_its_source(train):
    found = best(train, train)

    assert (found.index == np.arange(len(train))).all()
    assert found.score.min() >= 0.99
    assert found.score.max() <= 1.0 + 1e-6
    assert not found.mirrored.any()


def test_strangers_score_clearly_lower(strangers):
    assert strangers.max() < 0.93
    assert np.median(strangers) < 0.85


def test_gain_and_offset_do_not_change_the_score(train, strangers):
    dimmed = best(0.6 * train + 0.2, train)

    assert (dimmed.index == np.arange(len(train))).all()
    assert dimmed.score.min() >= 0.99
    others = images(range(20, 26))
    np.testing.assert_allclose(best(0.6 * others + 0.2, train).score, strangers, atol=0.02)


def test_a_mirrored_copy_scores_like_the_copy_and_says_so(train):
    found = best(np.ascontiguousarray(train[..., ::-1]), train)

    assert (found.index == np.arange(len(train))).all()
    assert found.mirrored.all()
    assert found.score.min() >= 0.98


@pytest.mark.parametrize(
    "disguise",
    [
        lambda image: affine(image, turn=10),
        lambda image: affine(image, scale=1.1),
        lambda image: affine(image, shift=(0.04, -0.04)),
        lambda image: affine(image, turn=-8, shift=(0.03, 0.02))[..., ::-1],
        lambda image: image ** np.float32(0.7),
        lambda image: ndimage.gaussian_filter(image, (0, 1.5, 1.5)),
    ],
    ids=["turned", "enlarged", "shifted", "turned and mirrored", "gamma", "blurred"],
)
def test_disguised_copies_score_above_every_stranger(disguise, train, strangers):
    copies = np.stack([np.ascontiguousarray(disguise(image)) for image in train]).astype(np.float32)

    found = best(copies, train)

    assert (found.index // 2 == np.arange(len(train)) // 2).all()  # the right subject
    assert found.score.min() > strangers.max()


def test_noise_lowers_neither_copies_below_strangers_nor_strangers_above_copies(train, strangers):
    random = np.random.default_rng(0)

    def noisy(images):
        return np.clip(images + 0.08 * random.standard_normal(images.shape), 0, 1).astype(np.float32)

    assert best(noisy(train), train).score.min() > strangers.max()
    assert best(noisy(images(range(20, 26))), train).score.max() < 0.93


def test_the_best_of_a_query_does_not_depend_on_the_other_queries(train):
    queries = images([0, 21, 22])
    together = best(queries, train)

    for row in range(len(queries)):
        alone = best(queries[row : row + 1], train)
        assert alone.score[0] == pytest.approx(together.score[row], abs=1e-3)
        assert alone.index[0] == together.index[row]


def test_empty_places_among_the_candidates_are_skipped(train):
    candidates = np.array([[-1, 3, -1], [-1, -1, -1]])

    found = confirm(prepare(train[[3, 0]]), prepare(train), candidates)

    assert found.index.tolist() == [3, -1]
    assert found.score[0] >= 0.99
    assert found.score[1] == -1


def test_constant_images_and_noise_give_finite_scores(train):
    random = np.random.default_rng(0)
    odd = np.stack([np.zeros_like(train[0]), np.ones_like(train[0]), random.random(train[0].shape, dtype=np.float32)])

    found = best(odd, train)

    assert np.isfinite(found.score).all()
    assert found.score.max() < 0.93


def test_the_moving_average_equals_scipys_inside():
    image = torch.from_numpy(np.random.default_rng(0).random((1, 2, 40, 40), dtype=np.float32))

    ours = confirmation._filtered(image, confirmation._box(40, 1)).numpy()

    expected = ndimage.uniform_filter(image.numpy(), (0, 0, confirmation.WINDOW, confirmation.WINDOW))
    edge = confirmation.WINDOW // 2
    inside = np.s_[..., edge:-edge, edge:-edge]
    np.testing.assert_allclose(ours[inside], expected[inside], atol=1e-5)
    strided = confirmation._filtered(image, confirmation._box(40, 2)).numpy()
    np.testing.assert_allclose(strided, ours[..., ::2, ::2], atol=1e-5)


def test_near_the_edge_the_moving_average_leaves_out_what_lies_outside():
    ones = torch.ones(1, 1, 20, 20)

    torch.testing.assert_close(confirmation._filtered(ones, confirmation._box(20, 1)), ones)


@pytest.mark.parametrize("sd", [0.02, 0.05, 0.1])
def test_the_noise_estimate_is_the_noise_that_was_added(sd, train):
    smooth = ndimage.gaussian_filter(train, (0, 0, 2, 2)) * 0.5 + 0.25  # nothing is clipped
    noisy = smooth + sd * np.random.default_rng(0).standard_normal(smooth.shape).astype(np.float32)

    found = confirmation.noise_of(noisy)

    assert found.shape == train.shape[:2]
    np.testing.assert_allclose(found, sd, rtol=0.15)
    assert confirmation.noise_of(smooth).max() < 0.01


@pytest.mark.parametrize("size", [64, 128, 200])
def test_the_noise_left_after_preparing_is_predicted(size):
    noise = np.random.default_rng(0).standard_normal((4, 1, size, size)).astype(np.float32)

    left = confirmation.prepare(noise).images.astype(np.float32)[..., 8:-8, 8:-8].var()

    assert left == pytest.approx(confirmation._noise_kept(size), rel=0.25)


def test_onto_shows_the_train_image_as_it_lies_on_the_query(train):
    turned = affine(train[0], turn=8, shift=(0.03, 0))
    for mirrored in (False, True):
        query = np.ascontiguousarray(turned[..., ::-1]) if mirrored else turned
        found = best(query[None], train[:1])

        seen = confirmation.onto(train[0], found.maps[0], bool(found.mirrored[0]))

        before, after = (np.corrcoef(query.ravel(), other.ravel())[0, 1] for other in (train[0], seen))
        assert found.mirrored[0] == mirrored
        assert after > 0.97
        assert after > before
