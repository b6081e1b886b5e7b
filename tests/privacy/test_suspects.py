"""Suspects: one row per image above the threshold, exact copies by pixels, boxes in the image's own pixels."""

from __future__ import annotations

import numpy as np
import pytest
from audit_helpers import images_of, names_of

from synthrelease.features.pixels import CanonicalPixels, PlainPixels
from synthrelease.image_set import ImageRow, from_arrays
from synthrelease.privacy.calibration import thresholds
from synthrelease.privacy.gallery import Frame, Gallery
from synthrelease.privacy.queries import of_set
from synthrelease.privacy.roles import check_roles
from synthrelease.privacy.suspects import _box_in, collect
from synthrelease.progress import SILENT
from synthrelease.settings import AuditSettings

CHANNELS = ("T1", "T1ce", "FLAIR")
SETTINGS = AuditSettings(image_size=64, parts=False, alpha=0.05)


def a_set(pixels, prefix, subjects=None):
    rows = [ImageRow(f"{prefix}/{i}", "" if subjects is None else subjects[i]) for i in range(len(pixels))]
    return from_arrays(pixels, rows, channels=CHANNELS)


@pytest.fixture(scope="module")
def searched(tmp_path_factory):
    train, strangers = images_of(range(8), 2), images_of(range(20, 26), 2)
    fraction = np.random.default_rng(0).uniform(-0.45, 0.45, train[6:7].shape).astype(np.float32)
    unrounded = train[6:7] + fraction * (train[6:7] > 0)  # what stood there before it was stored in 8 bits
    touched = train[8:9].copy()
    touched[:, :, 30:34, 30:34] = 255
    made = np.concatenate([train[3:4], unrounded, touched, train[5:6, :, :, ::-1], images_of(range(40, 43), 2)])
    roles = check_roles(
        train=a_set(train, "train", names_of(range(8), 2)),
        holdout=a_set(strangers, "holdout", names_of(range(20, 26), 2)),
        synthetic=a_set(np.ascontiguousarray(made), "made"),
        channels=(),
    )
    frame = Frame(CHANNELS, 64, tmp_path_factory.mktemp("cache"), SILENT)
    gallery = Gallery(roles.train, [CanonicalPixels(), PlainPixels()], frame, with_parts=False)
    found = {
        role: gallery.screen(of_set(role, images, CHANNELS, 64), 4)
        for role, images in (("synthetic", roles.synthetic), ("holdout", roles.holdout))
    }
    limits = thresholds(roles.holdout, [found["holdout"]], SETTINGS.alpha_each)
    return roles, found, limits, frame


@pytest.fixture(scope="module")
def named(searched):
    roles, found, limits, frame = searched
    return collect(roles, found["synthetic"], found["holdout"], limits, frame, SETTINGS)


def test_there_is_one_row_for_each_image_above_the_threshold_and_nothing_else(searched, named):
    roles, found, limits, _ = searched
    above = {roles.synthetic.ids[i] for i in np.flatnonzero(found["synthetic"].whole.score > limits.whole.flag)}

    assert [s.image_id for s in named.suspects] == sorted(above, key=lambda name: -named_score(named, name))
    assert {"made/0", "made/1", "made/2", "made/3"} <= above
    assert {s.image_id for s in named.alarms} == {s.image_id for s in named.suspects if s.score > limits.whole.alarm}


def named_score(named, image_id):
    return next(s.score for s in named.closest if s.image_id == image_id)


def test_each_suspect_names_its_source(named):
    by_id = {s.image_id: s for s in named.suspects}

    assert [by_id[f"made/{i}"].train_image_id for i in range(4)] == ["train/3", "train/6", "train/8", "train/5"]
    assert by_id["made/2"].train_subject == names_of(range(8), 2)[8]
    assert [by_id[f"made/{i}"].mirrored for i in range(4)] == [False, False, False, True]
    assert all(s.holdout_image_id and s.holdout_score < s.score for s in by_id.values())


def test_only_equal_pixels_are_exact_and_rounding_is_forgiven(named):
    assert {s.image_id for s in named.exact} == {"made/0", "made/1"}
    assert all(s.exact for s in named.exact)
    assert {s.image_id for s in named.suspects if s.exact} == {"made/0", "made/1"}


def test_the_closest_pairs_are_shown_whatever_their_score(searched, named):
    assert len(named.closest) == len(searched[0].synthetic)
    scores = [s.score for s in named.closest]
    assert scores == sorted(scores, reverse=True)


def test_p_values_count_strangers_and_q_values_are_never_smaller(named):
    assert all(s.p_value >= 1 / 7 - 1e-9 for s in named.closest)
    assert all(s.q_value >= s.p_value - 1e-12 for s in named.closest)
    assert named.closest[0].p_value == pytest.approx(1 / 7)


def test_without_a_yardstick_nobody_is_suspected_but_exact_copies_are_found(searched):
    roles, found, _, frame = searched
    alone = check_roles(train=roles.train, holdout=None, synthetic=roles.synthetic, channels=())

    named = collect(alone, found["synthetic"], None, None, frame, SETTINGS)

    assert named.suspects == named.alarms == named.parts == ()
    assert {s.image_id for s in named.exact} == {"made/0", "made/1"}
    assert all(s.p_value is None and s.holdout_image_id is None for s in named.closest)


@pytest.mark.parametrize(
    ("size", "box", "expected"),
    [
        ((64, 64), (1, 2, 30, 40), (1, 2, 30, 40)),
        ((128, 128), (1, 2, 30, 40), (2, 4, 60, 80)),
        ((64, 128), (16, 0, 48, 64), (0, 0, 64, 128)),
        ((128, 64), (0, 16, 64, 48), (0, 0, 128, 64)),
        ((128, 64), (10, 20, 20, 30), (20, 8, 40, 28)),
        ((64, 64), (-3, -0.4, 70, 64.4), (0, 0, 64, 64)),
    ],
)
def test_boxes_are_given_in_the_images_own_pixels_without_the_padding(size, box, expected):
    assert _box_in(size, np.array(box, np.float32)) == expected
