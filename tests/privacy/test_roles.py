"""Roles: what they share, what is refused, and what the record says about them."""

from __future__ import annotations

import numpy as np
import pytest

from synthrelease.errors import AuditError, SplitError
from synthrelease.image_set import ImageRow, Unread, from_arrays
from synthrelease.privacy.roles import check_roles, describe, known_subjects


def a_set(prefix, channels=("T1", "T2"), subjects=3, size=(8, 8)):
    rows = [ImageRow(f"{prefix}{i}.png", f"{prefix}{i // 2}" if prefix else "") for i in range(2 * subjects)]
    return from_arrays(np.zeros((len(rows), len(channels), *size), np.uint8), rows, channels=channels)


def roles(train=None, holdout=None, synthetic=None, channels=(), no_holdout=False):
    return check_roles(
        train=train or a_set("t"),
        holdout=None if no_holdout else holdout or a_set("h"),
        synthetic=synthetic or a_set(""),
        channels=channels,
    )


def test_common_contrasts_are_compared_in_trains_order():
    found = roles(
        train=a_set("t", ("T1", "T2", "FLAIR")),
        holdout=a_set("h", ("FLAIR", "T2", "T1")),
        synthetic=a_set("", ("T2", "FLAIR")),
    )

    assert found.channels == ("T2", "FLAIR")
    assert any("'T1'" in sentence and "synthetic" in sentence for sentence in found.not_tested)


def test_masks_are_labels_and_never_compared_as_contrasts():
    found = roles(*(a_set(name, ("T1", "mask")) for name in ("t", "h", "")))

    assert found.channels == ("T1",)
    assert found.not_tested == ()


def test_a_mask_that_one_role_lacks_is_said_to_be_untested():
    found = roles(train=a_set("t", ("T1", "mask")), holdout=a_set("h", ("T1",)), synthetic=a_set("", ("T1", "mask")))

    assert any("'mask'" in sentence and "holdout" in sentence for sentence in found.not_tested)


def test_the_users_choice_of_channels_is_followed_and_the_rest_is_said_to_be_untested():
    found = roles(channels=("T2",))

    assert found.channels == ("T2",)
    assert any("'T1'" in sentence and "--channels" in sentence for sentence in found.not_tested)


def test_an_unknown_channel_is_refused_with_what_there_is():
    with pytest.raises(AuditError, match="zz") as caught:
        roles(channels=("zz",))

    assert "T1" in caught.value.remedy


def test_folders_without_a_common_contrast_are_refused():
    with pytest.raises(AuditError, match="no contrast in common"):
        roles(synthetic=a_set("", ("PET",)))


def test_numbered_channels_take_trains_names_where_the_counts_agree():
    found = roles(synthetic=a_set("", ("channel0", "channel1")))

    assert found.channels == ("T1", "T2")
    assert any("train's order" in note for note in found.synthetic.notes)
    with pytest.raises(AuditError, match="no contrast in common"):
        roles(synthetic=a_set("", ("channel0",)))


def test_a_subject_in_both_train_and_holdout_is_named():
    with pytest.raises(SplitError, match=r"t0; t1; t2"):
        roles(holdout=a_set("t"))


@pytest.mark.parametrize("subjects", [1])
def test_a_single_train_subject_is_nothing_to_compare_with(subjects):
    with pytest.raises(AuditError, match="nothing to compare"):
        roles(train=a_set("t", subjects=subjects))


def test_the_record_names_folders_without_their_paths_and_lists_what_was_not_read(tmp_path):
    from dataclasses import replace

    train = replace(a_set("t"), folder=tmp_path / "cohort", unread=(Unread("bad.png", "broken"),))
    found = describe(roles(train=train), ("left.png",))

    assert found.train.folder == "cohort"
    assert str(tmp_path) not in found.model_dump_json()
    assert found.holdout.folder == "in memory"
    assert [(u.role, u.image_id, u.reason) for u in found.unread] == [("train", "bad.png", "broken")]
    assert found.excluded == ("left.png",)
    assert (found.train.subjects, found.train.images, found.synthetic.subjects) == (3, 6, None)
    assert describe(roles(no_holdout=True), ()).holdout is None


def test_subjects_count_as_known_only_if_every_image_has_one():
    rows = [ImageRow("a", "p"), ImageRow("b", "")]

    assert known_subjects(from_arrays(np.zeros((2, 1, 4, 4)), rows)) is None
    assert known_subjects(a_set("t")).tolist() == ["t0", "t0", "t1", "t1", "t2", "t2"]
