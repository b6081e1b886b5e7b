"""The audit's statistics held against known truth: short versions by default, the design's full counts as slow tests.

The simulations are those of benchmarks/validity.py, whose tables stand in docs/validity.md.
"""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

import numpy as np
import pytest
from scipy.stats import kstest

from synthrelease.errors import AuditError
from synthrelease.privacy import membership

SCRIPT = Path(__file__).resolve().parents[2] / "benchmarks" / "validity.py"


@pytest.fixture(scope="module")
def validity():
    spec = importlib.util.spec_from_file_location("validity_benchmark", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    yield module
    del sys.modules[spec.name]


def runs(short, full):
    """Return parameters for a short test and a slow one."""
    return pytest.mark.parametrize("runs", [short, pytest.param(full, marks=pytest.mark.slow)])


# (a) Excess of null cohorts.


@runs(40, 500)
@pytest.mark.parametrize("subjects", [10, 16, 60])
@pytest.mark.parametrize("design", ["10 clusters, unknown", "2000 independent"])
def test_null_cohorts_seldom_show_an_excess_and_the_interval_covers_zero(validity, runs, subjects, design):
    above, covers, _ = validity.excess_of_null_cohorts(runs, subjects, validity.Law(), design)

    assert above <= 0.05
    assert covers >= 0.93


@pytest.mark.slow
@pytest.mark.parametrize("subjects", [10, 16, 60])
@pytest.mark.parametrize("law", [(0.3, 0.0), (0.9, 0.0), (0.6, 4.0)])
@pytest.mark.parametrize("design", ["10 clusters, unknown", "40 clusters, unknown", "10 clusters, known"])
def test_the_excess_holds_whatever_the_clustering_and_the_tails(validity, subjects, law, design):
    above, covers, _ = validity.excess_of_null_cohorts(500, subjects, validity.Law(*law), design)

    assert above <= 0.05
    assert covers >= 0.93


@runs(40, 300)
def test_both_forms_of_the_interval_are_exercised_and_valid(validity, runs):
    few = validity.excess_of_null_cohorts(runs, 16, validity.Law(0.3), "2000 independent")
    many = validity.excess_of_null_cohorts(runs, 60, validity.Law(0.3), "2000 independent")

    assert few[2] == 0.0
    assert many[2] > 0.5
    assert many[0] <= 0.05


@runs(25, 200)
@pytest.mark.parametrize("subjects", [16, 60])
def test_many_copies_show_as_an_excess_whose_interval_covers_the_truth(validity, runs, subjects):
    above, covers = np.mean([validity.excess_of_copies(run, subjects, 0.5) for run in range(runs)], axis=0)

    assert above >= 0.95
    assert covers >= 0.93


# (b) Membership.


@runs(40, 200)
def test_null_membership_has_auc_one_half_and_uniform_p(validity, runs):
    auc, p = np.array([validity.null_membership(run, permutations=99) for run in range(runs)]).T
    margin = 0.02 if runs >= 200 else 4 * auc.std() / np.sqrt(runs)

    assert auc.mean() == pytest.approx(0.5, abs=margin)
    assert kstest(p, "uniform").pvalue > 0.01


@runs(10, 100)
def test_features_whitened_on_train_alone_would_shift_the_null(validity, runs):
    plain, whitened = (
        np.mean([validity.null_membership(run, whitened=which, permutations=99)[0] for run in range(runs)])
        for which in (False, True)
    )

    assert whitened > plain + 0.2


def test_that_is_why_features_fitted_on_train_are_refused(validity):
    random = np.random.default_rng(0)
    (train, names), (holdout, others) = (validity.clustered_features(6, role, random) for role in "th")

    with pytest.raises(AuditError, match="fitted on train"):
        membership.attack(
            train_features=train,
            train_subjects=names,
            holdout_features=holdout,
            holdout_subjects=others,
            synthetic_features=holdout,
            control_features=None,
            fitted_on="train",
            features_name="embedded",
            permutations=99,
            bootstrap=100,
            random=random,
        )


# (c) Copies.


@runs(20, 200)
@pytest.mark.parametrize("subjects", [5, 16, 60])
def test_five_copies_in_two_thousand_always_raise_alarms_though_the_excess_misses_them(validity, runs, subjects):
    fewest, seen = validity.five_copies_raise_alarms(runs, subjects)

    assert fewest >= 5
    assert seen <= 0.05


# (d) Bounds.


@runs(60, 300)
@pytest.mark.parametrize("texture", ["smooth", "noisy"])
@pytest.mark.parametrize("copies", [0.0, 0.01])
def test_bounds_cover_the_copies_and_those_that_remain_after_removal(validity, runs, texture, copies):
    for kind in validity.KINDS:
        found = [validity.bound_run(run, kind, texture, copies) for run in range(runs)]

        assert np.mean([one.share_covered for one in found]) >= 0.95
        assert np.mean([one.residual_covered for one in found]) >= 0.95
        assert np.mean([one.residual_covered_jointly for one in found]) >= 0.95


def test_the_bounds_are_not_empty_words_where_power_is_high(validity):
    power = [validity.bound_run(run, "blur", "smooth", 0.01).power_low for run in range(20)]

    assert np.mean(power) > 0.7


@runs(40, 300)
def test_planted_copies_sharper_than_the_synthetic_images_would_break_the_bound(validity, runs):
    found = [validity.bound_run(run, "elastic", "noisy", 0.01, degraded=False) for run in range(runs)]

    assert np.mean([one.residual_covered for one in found]) < 0.8


# (e) Inputs.


@runs(20, 200)
def test_a_renamed_patient_in_train_and_holdout_never_passes(validity, runs):
    assert all(validity.shared_patient_is_refused(run) for run in range(runs))


@runs(10, 200)
def test_a_holdout_from_another_site_never_passes(validity, runs):
    assert not any(validity.site_check(run, 0.5, 99)[1] for run in range(runs))


@runs(40, 200)
def test_a_holdout_of_the_same_source_has_a_uniform_p(validity, runs):
    p, fair = np.array([validity.site_check(run, 0.0, 99) for run in range(runs)]).T

    assert kstest(p, "uniform").pvalue > 0.01
    assert fair.mean() >= 0.9


# Exposure, whose headline is one patient.


@runs(60, 200)
@pytest.mark.parametrize("subjects", [5, 16, 60])
def test_nobody_is_called_exposed_for_being_typical(validity, runs, subjects):
    named = [validity.falsely_exposed(run, subjects, typical) for typical in (3, 20) for run in range(runs)]

    assert np.mean(named) <= 0.05
