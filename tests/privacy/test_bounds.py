"""Bounds against their definitions, read literally."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binom

from synthrelease.metrics.intervals import clopper_pearson_upper
from synthrelease.privacy import bounds
from synthrelease.records import Planted


def planted(caught, count=36, *, kind="blur", part="whole", required=True):
    return Planted(
        transformation=kind,
        strength="sd 2 px",
        part=part,
        required=required,
        planted=count,
        caught=caught,
        low=0,
        high=1,
        caught_at_alarm=caught,
        low_at_alarm=0,
        high_at_alarm=1,
        right_source=caught,
    )


@pytest.mark.parametrize(("count", "expected"), [(17, 0.80), (36, 0.90), (72, 0.95)])
def test_power_when_every_planted_copy_is_caught(count, expected):
    assert bounds.power_low(count, count) == pytest.approx(expected, abs=0.006)


def test_no_alarm_among_a_thousand_images_with_known_power():
    assert bounds.at_most(0, 1000, 0.8) == pytest.approx((1 - 0.025 ** (1 / 1000)) / 0.8)


def test_without_power_everything_may_be_a_copy():
    assert bounds.at_most(0, 1000, 0.0) == 1.0
    assert bounds.residual_at_most(0, 1000, 0.0) == 1000
    assert bounds.residual_at_most(3, 1000, 0.0) == 997


@given(st.integers(0, 12), st.integers(1, 80), st.floats(0.01, 0.999))
def test_the_residual_is_the_largest_count_that_the_alarms_do_not_contradict(alarms, images, power):
    alarms = min(alarms, images)
    possible = [count for count in range(alarms, images + 1) if binom.cdf(alarms, count, power) >= 0.025]

    assert bounds.residual_at_most(alarms, images, power) == max(possible) - alarms


@given(st.integers(0, 30), st.floats(0.05, 0.99))
def test_a_false_alarm_never_tightens_a_bound(alarms, power):
    more, fewer = (bounds.residual_at_most(count, 200, power) for count in (alarms + 1, alarms))

    assert more >= fewer or more == 200 - alarms - 1  # all that remain may be copies
    assert bounds.at_most(alarms + 1, 200, power) >= bounds.at_most(alarms, 200, power)


def test_a_release_of_copies_only_has_the_bound_one():
    assert bounds.at_most(500, 500, 0.9) == 1.0


def test_the_first_attempt_with_one_kind_has_the_error_of_the_formulas_and_later_ones_pay():
    assert bounds.step_error() == pytest.approx(0.025)
    assert bounds.step_error(attempt=2) == pytest.approx(0.05 / 6)
    assert bounds.step_error(kinds=10) == pytest.approx(0.0025)
    assert sum(2 * bounds.step_error(attempt=t) for t in range(1, 5000)) < 2 * bounds.DELTA


def test_each_kind_has_its_own_power_and_kinds_share_the_error():
    rows = (planted(36), planted(18, kind="elastic"), planted(5, kind="paste", part="patch"))
    found = bounds.bounds(rows, alarms={"whole": 2, "patch": 0}, images=500)
    error = bounds.step_error(kinds=2)

    assert [one.power_low for one in found] == pytest.approx([bounds.power_low(k, 36) for k in (36, 18, 5)])
    assert found[0].at_most == pytest.approx(clopper_pearson_upper(2, 500, 1 - error) / bounds.power_low(36, 36, error))
    assert found[1].at_most > found[0].at_most
    assert found[2].at_most == pytest.approx(bounds.at_most(0, 500, bounds.power_low(5, 36)))


def test_a_later_attempt_states_less():
    first, second = (bounds.bounds((planted(36),), alarms={"whole": 0}, images=500, attempt=t)[0] for t in (1, 2))

    assert second.at_most > first.at_most
    assert second.residual_at_most >= first.residual_at_most
    assert second.power_low == first.power_low


def test_a_part_that_was_not_searched_gets_no_bound():
    assert bounds.bounds((planted(36, part="tumour"),), alarms={"whole": 0}, images=10) == ()


@pytest.mark.parametrize("wrong", [{"kinds": 0}, {"attempt": 0}, {"delta": 1.0}])
def test_impossible_error_budgets_are_refused(wrong):
    with pytest.raises(ValueError):
        bounds.step_error(**wrong)
