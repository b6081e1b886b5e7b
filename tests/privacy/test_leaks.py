"""Nobody may be in both train and holdout, and the holdout must come from where train comes from."""

from __future__ import annotations

import time

import numpy as np
import pytest

from synthrelease.errors import AuditError, SplitError
from synthrelease.privacy import leaks


def matches(scores, subjects):
    return leaks.near_duplicates(
        holdout_ids=[f"h/{i}.png" for i in range(len(scores))],
        holdout_subjects=subjects,
        best_train_ids=[f"t/{i}.png" for i in range(len(scores))],
        best_train_subjects=["t1"] * len(scores),
        scores=np.asarray(scores, dtype=float),
    )


def features(subjects, name, random, slices=8, width=40):
    middle = np.repeat(random.normal(size=(subjects, width)), slices, axis=0)
    return middle + 0.4 * random.normal(size=middle.shape), np.repeat([f"{name}{i}" for i in range(subjects)], slices)


def check(train, holdout, seed=0, permutations=199):
    return leaks.representative(
        train_features=train[0],
        train_subjects=train[1],
        holdout_features=holdout[0],
        holdout_subjects=holdout[1],
        features_name="pixels",
        random=np.random.default_rng(seed),
        permutations=permutations,
    )


def test_a_subject_in_both_roles_is_an_error_that_names_it():
    with pytest.raises(SplitError, match="2 subjects are in both train and holdout: p2; p3"):
        leaks.shared_subjects(train_subjects=["p1", "p2", "p3"], holdout_subjects=["p3", "p2", "p4"])


def test_separate_subjects_pass():
    leaks.shared_subjects(train_subjects=["p1", "p2"], holdout_subjects=["p3"])


def test_the_same_pixels_under_another_name_are_found():
    found = leaks.same_pixels(
        train_ids=["t/1", "t/2", "t/3"],
        train_subjects=["a", "b", "b"],
        train_hashes=["11", "22", "22"],
        holdout_ids=["h/1", "h/2"],
        holdout_subjects=["c", "d"],
        holdout_hashes=["33", "22"],
    )

    assert [(one.holdout_image_id, one.train_image_id, one.train_subject, one.exact) for one in found] == [
        ("h/2", "t/2", "b", True)
    ]
    with pytest.raises(SplitError, match=r"h/2 \(d\) and t/2 \(b\): the same pixels"):
        leaks.refuse_shared_images(found)


def test_a_score_of_a_copy_is_a_shared_patient_and_names_the_pair():
    found = matches([0.7, 0.99, 0.75], ["a", "b", "c"])

    assert [one.holdout_image_id for one in found] == ["h/1.png"]
    with pytest.raises(SplitError, match=r"h/1.png \(b\) and t/1.png \(t1\): similarity 0.990"):
        leaks.refuse_shared_images(found)


def test_an_outlier_among_holdout_subjects_is_a_shared_patient_too():
    random = np.random.default_rng(0)
    strangers = 0.72 + 0.03 * random.normal(size=60)
    subjects = np.repeat(np.arange(12).astype(str), 5)
    strangers[7] = 0.96

    assert [one.holdout_subject for one in matches(strangers, subjects)] == ["1"]
    assert matches(np.delete(strangers, 7), np.delete(subjects, 7)) == ()


def test_alike_strangers_are_not_mistaken_for_shared_patients():
    # A cohort in which everybody scores high, as small phantoms do: no one stands out.
    random = np.random.default_rng(0)
    scores = np.tanh(np.arctanh(0.93) + 0.12 * random.normal(size=200))

    assert (scores > 0.94).any()
    assert matches(np.minimum(scores, 0.98), np.repeat(np.arange(20).astype(str), 10)) == ()


def test_nothing_shared_passes():
    leaks.refuse_shared_images(())


def test_a_long_list_of_pairs_is_cut_and_counted():
    found = matches([0.99] * 30, [str(i) for i in range(30)])

    with pytest.raises(SplitError, match=r"30 holdout images are.*and 10 more"):
        leaks.refuse_shared_images(found)


def test_a_holdout_from_another_site_does_not_represent_train():
    random = np.random.default_rng(0)
    train, holdout = features(40, "t", random), features(16, "h", random)
    found = check(train, (holdout[0] + 0.7, holdout[1]))

    assert found.auc > 0.85
    assert found.p_value == pytest.approx(1 / 200)
    assert not found.representative


def test_a_holdout_of_the_same_source_represents_train():
    random = np.random.default_rng(1)
    found = check(features(40, "t", random), features(16, "h", random))

    assert found.p_value > 0.01
    assert found.representative


def test_a_difference_too_small_to_matter_passes_however_certain_it_is():
    random = np.random.default_rng(0)
    train, holdout = features(300, "t", random, slices=2), features(300, "h", random, slices=2)
    moved = (holdout[0] + 0.25 * np.eye(40)[0], holdout[1])
    found = check(train, moved)

    assert found.auc < 0.6
    assert found.representative


def test_slices_of_a_subject_do_not_multiply_the_evidence():
    # Many slices and few subjects: a test over images would call nearly every such pair different.
    p = []
    for run in range(40):
        random = np.random.default_rng(run)
        p.append(check(features(8, "t", random, 30, 10), features(6, "h", random, 30, 10), run, 99).p_value)

    assert np.mean(np.array(p) <= 0.05) <= 0.15
    assert np.mean(p) > 0.35


def test_the_same_name_in_both_roles_is_two_subjects_here():
    random = np.random.default_rng(0)
    one, two = features(10, "x", random), features(10, "x", random)

    assert 0 <= check(one, two).auc <= 1


def test_one_subject_is_not_enough_to_compare():
    random = np.random.default_rng(0)

    with pytest.raises(AuditError, match="2 subjects"):
        check(features(10, "t", random), features(1, "h", random))


def test_many_images_are_thinned_evenly_by_subject():
    codes = np.repeat(np.arange(100), 50)
    kept = leaks._subsample(codes, np.full(100, 50), np.random.default_rng(0))

    assert len(kept) == 3000
    assert (np.bincount(codes[kept]) == 30).all()


def test_six_hundred_images_take_seconds():
    random = np.random.default_rng(0)
    train, holdout = features(50, "t", random, width=256), features(25, "h", random, width=256)
    started = time.perf_counter()
    check(train, holdout)

    assert time.perf_counter() - started < 20
