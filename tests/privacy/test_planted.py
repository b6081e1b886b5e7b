"""Planted copies: who is copied, with whose help, and when a copy counts as caught."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from audit_helpers import images_of, masks_of, names_of

from synthrelease.image_set import ImageRow, from_arrays
from synthrelease.metrics.intervals import clopper_pearson
from synthrelease.privacy import planted
from synthrelease.privacy.planted import PART_KINDS, plan_parts, plan_whole, power_row
from synthrelease.privacy.queries import Degradation
from synthrelease.privacy.transformations import KINDS

CHANNELS = ("T1", "T1ce", "FLAIR")
SUBJECTS = np.array(names_of(range(6), 3))


def a_set(indices, *, masks=False):
    pixels = images_of(indices)
    if masks:
        pixels = np.concatenate([pixels, masks_of(indices)], axis=1)
    names = names_of(indices)
    rows = [ImageRow(f"{name}/{i}", name, i % 3) for i, name in enumerate(names)]
    return from_arrays(pixels, rows, channels=(*CHANNELS, "mask") if masks else CHANNELS)


@pytest.mark.parametrize("most", [1, 4, 72])
def test_at_most_one_copy_is_planted_per_subject_and_kind(most):
    plan = plan_whole(SUBJECTS, most, seed=0)

    pairs = Counter(zip(plan.names, plan.subjects.tolist(), strict=True))
    assert set(pairs.values()) == {1}
    assert set(plan.names) == {kind.name for kind in KINDS}
    assert all(plan.of_kind(kind.name).sum() == min(most, 6) for kind in KINDS)
    assert (SUBJECTS[plan.sources] == plan.subjects).all()


def test_companions_are_adjacent_slices_or_other_subjects_as_the_kind_needs():
    plan = plan_whole(SUBJECTS, 6, seed=0)
    wants = {kind.name: kind.companion for kind in KINDS}

    for source, companion, name in zip(plan.sources, plan.companions, plan.names, strict=True):
        match wants[name]:
            case "neighbour":
                assert SUBJECTS[source] == SUBJECTS[companion]
                assert abs(source - companion) == 1
            case "stranger":
                assert SUBJECTS[source] != SUBJECTS[companion]
            case _:
                assert source == companion


def test_a_subject_with_one_slice_has_no_copy_between_slices():
    subjects = np.array(["a", "a", "b"])
    plan = plan_whole(subjects, 5, seed=0)

    assert plan.subjects[plan.of_kind("between_slices")].tolist() == ["a"]
    assert plan.of_kind("mirror").sum() == 2


def test_the_plan_is_a_function_of_the_seed():
    first, again, other = (plan_whole(SUBJECTS, 4, seed=s) for s in (0, 0, 1))

    assert (first.sources == again.sources).all()
    assert not (len(first.sources) == len(other.sources) and (first.sources == other.sources).all())


def test_tumours_are_copied_only_from_images_that_have_one():
    with_tumour = np.arange(18) % 3 == 1
    plan = plan_parts(SUBJECTS, with_tumour, heads=9, most=4, seed=0)

    tumours = np.array([name.startswith("tumour") for name in plan.names])
    assert set(plan.names) == {name for name, _, _ in PART_KINDS}
    assert with_tumour[plan.sources[tumours]].all()
    assert ((plan.companions >= 0) & (plan.companions < 9)).all()


def test_without_any_tumour_only_patches_are_planted():
    plan = plan_parts(SUBJECTS, np.zeros(18, bool), heads=9, most=4, seed=0)

    assert set(plan.names) == {"patch_pasted", "patch_pasted_varied"}


def test_a_planted_copy_does_not_depend_on_the_block_it_is_made_in():
    images = a_set(range(3))
    plan = plan_whole(images.subjects, 2, seed=5)
    queries = planted.whole_queries(plan, images, CHANNELS, 64, 5, Degradation(0.0, 0.02))

    together, _ = queries.load(0, queries.count)

    assert together.shape == (len(plan.names), 3, 64, 64)
    for row in (0, 7, queries.count - 1):
        np.testing.assert_allclose(queries.load(row, row + 1)[0][0], together[row], atol=1e-5)


def test_the_identity_kind_is_the_source_and_everything_that_shapes_copies_is_in_the_key():
    images = a_set(range(3))
    plan = plan_whole(images.subjects, 2, seed=5)
    base = planted.whole_queries(plan, images, CHANNELS, 64, 5, Degradation())
    row = plan.names.index("identity")
    from synthrelease.features.analysis import analysis_images

    source = analysis_images(images.read([int(plan.sources[row])]), 64)
    np.testing.assert_allclose(base.load(row, row + 1)[0], source, atol=1e-6)
    others = [
        planted.whole_queries(plan, images, CHANNELS, 128, 5, Degradation()),
        planted.whole_queries(plan, images, CHANNELS, 64, 6, Degradation()),
        planted.whole_queries(plan, images, CHANNELS, 64, 5, Degradation(0.01, 0.0)),
        planted.whole_queries(plan, images, CHANNELS[:2], 64, 5, Degradation()),
        planted.whole_queries(plan_whole(images.subjects, 2, seed=6), images, CHANNELS, 64, 5, Degradation()),
        planted.whole_queries(plan, a_set((0, 1, 3)), CHANNELS, 64, 5, Degradation()),
    ]
    assert all(other.key != base.key for other in others)


def test_a_pasted_part_shows_the_source_inside_and_the_stranger_outside():
    images, heads = a_set(range(4), masks=True), a_set(range(10, 12), masks=True)
    has = np.array([masks_of([i])[k].any() for i in range(4) for k in range(3)])
    plan = plan_parts(images.subjects, has, heads=len(heads), most=4, seed=0)
    queries = planted.part_queries(plan, images, heads, CHANNELS, 64, 0, Degradation())

    made, labels = queries.load(0, queries.count)

    for row, name in enumerate(plan.names):
        source = planted._read(images, plan.sources[row : row + 1], CHANNELS, 64)[0]
        head = planted._read(heads, plan.companions[row : row + 1], CHANNELS, 64)[0]
        from_head = np.abs(made[row] - head).max(0) < 0.1
        assert from_head.mean() > 0.4, name
        if name in ("patch_pasted", "tumour_pasted"):
            explained = np.minimum(np.abs(made[row] - head), np.abs(made[row] - source)).max(0)
            assert (explained < 0.25).mean() > 0.95, name
            assert (~from_head).any(), name
        assert labels[row].any() == name.startswith("tumour")


def test_a_copy_counts_as_caught_only_with_its_right_source():
    scores, right = np.array([0.9, 0.9, 0.7, 0.5]), np.array([True, False, True, True])

    row = power_row("blur", "s", "whole", scores=scores, right=right, flag=0.6, alarm=0.8, required=True)

    assert (row.planted, row.caught, row.caught_at_alarm, row.right_source) == (4, 2, 1, 3)
    assert (row.low, row.high) == clopper_pearson(2, 4)
    assert (row.low_at_alarm, row.high_at_alarm) == clopper_pearson(1, 4)


def test_a_score_at_the_threshold_is_not_above_it():
    row = power_row(
        "blur", "s", "whole", scores=np.full(3, 0.6), right=np.ones(3, bool), flag=0.6, alarm=0.6, required=True
    )

    assert (row.caught, row.caught_at_alarm) == (0, 0)
