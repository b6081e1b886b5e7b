"""Transformations: each is what its name says, repeatable, and leaves shapes and ranges alone."""

from __future__ import annotations

import numpy as np
import pytest
from audit_helpers import subject

from synthrelease.privacy import transformations
from synthrelease.privacy.transformations import KINDS, affine

BY_NAME = {kind.name: kind for kind in KINDS}
IMAGE, OTHER = subject(0)[0][1], subject(1)[0][1]


def apply(name, image=IMAGE, companion=OTHER, seed=0):
    return BY_NAME[name].apply(image, companion, np.random.default_rng(seed))


def likeness(first, second):
    return np.corrcoef(first.ravel(), second.ravel())[0, 1]


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)
@pytest.mark.parametrize("shape", [(64, 64), (48, 80), (81, 50)])
def test_shape_type_and_range_are_kept_also_for_images_that_are_not_square(kind, shape):
    random = np.random.default_rng(0)
    image, other = random.random((2, 3, *shape), dtype=np.float32)
    before = image.copy()

    made = kind.apply(image, other, np.random.default_rng(1))

    assert made.shape == image.shape
    assert made.dtype == np.float32
    assert np.isfinite(made).all()
    assert made.min() >= -0.01
    assert made.max() <= 3.0  # only the bias field may exceed the range, and the analysis rescales
    assert (image == before).all()


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)
def test_the_same_generator_gives_the_same_copy(kind):
    assert (apply(kind.name, seed=4) == apply(kind.name, seed=4)).all()


@pytest.mark.parametrize("kind", [k for k in KINDS if k.name != "identity"], ids=lambda kind: kind.name)
def test_every_kind_but_identity_changes_the_image_and_leaves_it_recognisable(kind):
    made = apply(kind.name)
    seen = made[..., ::-1] if kind.name in ("mirror", "combination") else made

    assert not np.array_equal(made, IMAGE)
    assert likeness(seen, IMAGE) > 0.6


def test_identity_is_exact_and_a_copy():
    made = apply("identity")

    assert np.array_equal(made, IMAGE)
    assert not np.shares_memory(made, IMAGE)


def test_mirroring_twice_is_the_identity():
    assert np.array_equal(apply("mirror", image=apply("mirror")), IMAGE)


def test_a_full_turn_is_the_identity_and_turns_add_up():
    np.testing.assert_allclose(affine(IMAGE, turn=360), IMAGE, atol=1e-4)
    twice = affine(affine(IMAGE, turn=7), turn=8)

    assert likeness(twice, affine(IMAGE, turn=15)) > 0.985


def test_a_shift_by_whole_pixels_moves_pixels():
    moved = affine(IMAGE, shift=(4 / 64, -2 / 64))

    np.testing.assert_allclose(moved[:, 6:, :-6], IMAGE[:, 2:-4, 2:-4], atol=1e-5)


def test_enlarging_keeps_the_centre_and_shrinking_undoes_it():
    image = np.zeros((1, 65, 65), np.float32)
    image[0, 28:37, 28:37] = 1

    larger = affine(image, scale=2)

    assert larger[0, 32, 32] == 1
    assert larger.sum() == pytest.approx(4 * image.sum(), rel=0.15)
    assert affine(larger, scale=0.5).sum() == pytest.approx(image.sum(), rel=0.15)


@pytest.mark.parametrize(("name", "degrees"), [("rotation_5", 5), ("rotation_15", 15)])
def test_rotations_turn_either_way_by_what_they_say(name, degrees):
    ways = {float(np.sign(likeness(apply(name, seed=s), affine(IMAGE, turn=degrees)) - 0.99999)) for s in range(12)}

    assert ways == {-1.0, 1.0}
    for seed in range(4):
        made = apply(name, seed=seed)
        assert max(likeness(made, affine(IMAGE, turn=sign * degrees)) for sign in (-1, 1)) > 0.99999


def test_gamma_is_a_power_law():
    np.testing.assert_allclose(apply("gamma"), IMAGE**0.7, rtol=1e-5)


def test_noise_has_the_strength_it_says():
    grey = np.full((1, 200, 200), 0.5, np.float32)

    assert apply("noise", image=grey).std() == pytest.approx(0.1, rel=0.03)


def test_elastic_moves_places_by_what_it_says():
    ramp = np.tile(np.linspace(0, 1, 128, dtype=np.float32), (1, 128, 1))
    middle = np.s_[:, 16:-16, 16:-16]
    for amplitude in (2, 4):
        moved = transformations.elastic(amplitude / 128)(ramp, ramp, np.random.default_rng(0))
        assert (moved - ramp)[middle].std() * 127 == pytest.approx(amplitude, rel=0.35)


def test_blends_and_neighbouring_slices_are_weighted_means():
    np.testing.assert_allclose(apply("blend"), 0.7 * IMAGE + 0.3 * OTHER, rtol=1e-5)
    np.testing.assert_allclose(apply("between_slices"), (IMAGE + OTHER) / 2, rtol=1e-5)


def test_the_blur_is_two_pixels_at_128():
    point = np.zeros((1, 128, 128), np.float32)
    point[0, 64, 64] = 1
    made = apply("blur", image=point)[0]
    rows = np.arange(128) - 64

    assert made.sum() == pytest.approx(1, rel=1e-3)
    assert np.sqrt((made.sum(1) * rows**2).sum()) == pytest.approx(2, rel=0.05)


def test_names_are_unique_and_held_out_kinds_are_never_required():
    assert len(BY_NAME) == len(KINDS)
    assert not any(kind.held_out and kind.required for kind in KINDS)
    assert sum(kind.held_out for kind in KINDS) >= 2
    assert {"mirror", "rotation_5", "gamma", "blur", "identity"} <= {kind.name for kind in KINDS if kind.required}
