"""The membership attack: closed forms, what must be refused, and what it must see."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.spatial.distance import cdist
from sklearn.metrics import roc_auc_score

from synthrelease.errors import AuditError
from synthrelease.metrics import neighbours
from synthrelease.privacy import membership


def cohort(subjects, name, random, slices=4, width=6):
    middle = np.repeat(random.normal(size=(subjects, width)), slices, axis=0)
    features = middle + 0.3 * random.normal(size=middle.shape)
    return features, np.repeat([f"{name}{i}" for i in range(subjects)], slices)


def attack(train, holdout, synthetic, **changes):
    options = {
        "train_features": train[0],
        "train_subjects": train[1],
        "holdout_features": holdout[0],
        "holdout_subjects": holdout[1],
        "synthetic_features": synthetic,
        "control_features": None,
        "fitted_on": "nothing",
        "features_name": "pixels",
        "permutations": 199,
        "bootstrap": 200,
        "random": np.random.default_rng(0),
    }
    return membership.attack(**{**options, **changes})


@pytest.fixture
def sets():
    random = np.random.default_rng(3)
    return cohort(20, "t", random), cohort(12, "h", random), cohort(15, "g", random)[0]


def test_copies_of_train_give_the_attack_away(sets):
    train, holdout, _ = sets
    found = attack(train, holdout, train[0] + 1e-3)

    assert found.auc == 1.0
    assert found.p_value == pytest.approx(1 / 200)
    assert found.low == found.high == 1.0
    assert found.null_high < 1


def test_copies_of_holdout_turn_it_around(sets):
    train, holdout, _ = sets

    assert attack(train, holdout, holdout[0]).auc == 0.0


def test_with_equal_slices_the_auc_is_that_of_scikit_learn(sets):
    train, holdout, synthetic = sets
    scores = -cdist(np.concatenate([train[0], holdout[0]]), synthetic).min(axis=1)
    labels = np.arange(len(scores)) < len(train[0])
    found = attack(train, holdout, synthetic)

    assert found.auc == pytest.approx(roc_auc_score(labels, scores))
    assert found.low < found.auc < found.high


def test_a_subject_weighs_the_same_however_many_slices_it_has(sets):
    train, holdout, synthetic = sets
    often = (np.repeat(train[0], [9 if s == "t3" else 1 for s in train[1]], axis=0),)
    often += (np.repeat(train[1], [9 if s == "t3" else 1 for s in train[1]]),)

    assert attack(often, holdout, synthetic).auc == pytest.approx(attack(train, holdout, synthetic).auc)


def test_ties_count_half(sets):
    train, holdout, _ = sets
    same = np.zeros_like(train[0]), train[1]
    other = np.zeros_like(holdout[0]), holdout[1]

    assert attack(same, other, np.ones((3, 6))).auc == 0.5


def test_strangers_in_place_of_the_synthetic_images_know_nothing(sets):
    train, holdout, _ = sets
    leaky = attack(train, holdout, train[0])
    given = attack(train, holdout, train[0], control_features=cohort(15, "c", np.random.default_rng(8))[0])

    assert abs(leaky.control_auc - 0.5) < 0.2
    assert abs(given.control_auc - 0.5) < 0.2


def test_the_control_never_tests_the_strangers_that_it_searches_with():
    # Far-apart subjects: a stranger searched with itself would be at distance 0 and pull the control to 0.
    random = np.random.default_rng(0)
    far = [
        (np.repeat(50 * random.normal(size=(n, 6)), 4, axis=0), np.repeat([f"{k}{i}" for i in range(n)], 4))
        for n, k in ((40, "t"), (12, "h"))
    ]

    assert attack(*far, far[0][0]).control_auc > 0.3


def test_too_few_strangers_give_no_control(sets):
    train, holdout, synthetic = sets
    few = holdout[0][:12], holdout[1][:12]

    assert attack(train, few, synthetic).control_auc is None


def test_rates_at_small_false_alarms_need_ten_subjects_beyond_them():
    random = np.random.default_rng(0)
    train, many = cohort(30, "t", random, slices=1), cohort(1000, "h", random, slices=1)
    found = attack(train, many, train[0][:15], permutations=99, bootstrap=100)

    assert found.tpr_at_fpr_01 == pytest.approx(0.5, abs=0.1)
    assert found.tpr_at_fpr_001 is None
    few = many[0][:999], many[1][:999]
    assert attack(train, few, train[0][:15], permutations=99, bootstrap=100).tpr_at_fpr_01 is None


def test_the_curve_is_thin_and_runs_from_corner_to_corner():
    random = np.random.default_rng(0)
    found = attack(cohort(80, "t", random), cohort(90, "h", random), random.normal(size=(50, 6)))
    curve = np.array(found.roc)

    assert len(curve) <= 200
    assert tuple(curve[0]) == (0.0, 0.0)
    assert tuple(curve[-1]) == (1.0, 1.0)
    assert (np.diff(curve, axis=0) >= 0).all()
    assert np.trapezoid(curve[:, 1], curve[:, 0]) == pytest.approx(found.auc, abs=0.01)


def test_features_fitted_on_train_are_refused(sets):
    with pytest.raises(AuditError, match="fitted on train"):
        attack(*sets, fitted_on="train")


def test_a_subject_in_both_roles_is_refused(sets):
    train, holdout, synthetic = sets

    with pytest.raises(AuditError, match="t0"):
        attack(train, (holdout[0], np.where(holdout[1] == "h0", "t0", holdout[1])), synthetic)


def test_non_finite_features_are_refused(sets):
    train, holdout, synthetic = sets

    with pytest.raises(AuditError, match="finite"):
        attack(train, holdout, np.where(synthetic == synthetic[0, 0], np.nan, synthetic))


def test_the_same_seed_gives_the_same_record(sets):
    assert attack(*sets) == attack(*sets)


@pytest.mark.parametrize("rows", [1, 7, 1000])
def test_features_mapped_from_files_and_read_in_parts_give_the_same_record(rows, sets, tmp_path, monkeypatch):
    tables = dict(zip(("train", "holdout"), sets, strict=False)) | {"synthetic": (sets[2], None)}
    expected = attack(*sets)
    mapped = {}
    for name, (features, subjects) in tables.items():
        np.save(tmp_path / f"{name}.npy", features)
        mapped[name] = np.load(tmp_path / f"{name}.npy", mmap_mode="r", allow_pickle=False), subjects
    original = membership._parts
    monkeypatch.setattr(membership, "_parts", lambda table, step=0: original(table, rows))
    monkeypatch.setattr(neighbours, "ROWS", rows)

    assert attack(mapped["train"], mapped["holdout"], mapped["synthetic"][0]) == expected


def test_the_control_is_that_of_all_distances_written_out(sets):
    train, holdout, _ = sets
    real = np.concatenate([train[0], holdout[0]])
    halves = [np.array([0, 3, 5]), np.array([1, 2, 7, 11])]
    codes = np.repeat(np.arange(12), 4)

    found = membership._distance_to_each_half((train[0], holdout[0]), halves, codes)

    for half, distances in zip(halves, found, strict=True):
        chosen = np.isin(codes, half)
        np.testing.assert_allclose(distances, cdist(real, holdout[0][chosen], "sqeuclidean").min(1), atol=1e-9)
