"""The policy: every rule's outcome, missing evidence, unknown names, and that harm never helps."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from synthrelease import policy
from synthrelease.errors import SettingsError
from synthrelease.policy import AUDIT_MEASURES, SEVERITY, built_in, judge, load

CALM = {
    "calibrated": 1.0,
    "holdout_subjects": 20.0,
    "unread_files": 0.0,
    "representative": 1.0,
    "transferable": 1.0,
    "power_low": 0.9,
    "exact_copies": 0.0,
    "alarms": 0.0,
    "excess_low": -0.01,
    "membership_above_null": -0.1,
}
MORE_IS_WORSE = {"unread_files", "exact_copies", "alarms", "excess_low", "membership_above_null"}


def verdict_of(**changes):
    return judge({**CALM, **changes}, built_in())[0]


def test_the_calm_case_passes_and_names_every_measure():
    verdict, findings = judge(CALM, built_in())

    assert verdict == "pass"
    assert all(finding.passed and finding.outcome == "pass" for finding in findings)
    assert set(CALM) == set(AUDIT_MEASURES) == {finding.measure for finding in findings}


@pytest.mark.parametrize(
    ("measure", "value", "verdict"),
    [
        ("exact_copies", 1.0, "reject"),
        ("excess_low", 0.0051, "reject"),
        ("excess_low", 0.005, "review"),
        ("excess_low", 0.0001, "review"),
        ("excess_low", 0.0, "pass"),
        ("calibrated", 0.0, "incomplete"),
        ("holdout_subjects", 4.0, "incomplete"),
        ("holdout_subjects", 5.0, "pass"),
        ("unread_files", 1.0, "incomplete"),
        ("representative", 0.0, "incomplete"),
        ("power_low", 0.799, "incomplete"),
        ("power_low", 0.8, "pass"),
        ("transferable", 0.0, "review"),
        ("alarms", 1.0, "review"),
        ("membership_above_null", 0.001, "review"),
        ("membership_above_null", 0.0, "pass"),
    ],
)
def test_each_rule_gives_its_outcome_at_its_limit(measure, value, verdict):
    assert verdict_of(**{measure: value}) == verdict


@pytest.mark.parametrize("measure", sorted(CALM))
@pytest.mark.parametrize("value", [None, math.nan, math.inf, -math.inf])
def test_missing_or_non_finite_evidence_never_passes(measure, value):
    verdict, findings = judge({**CALM, measure: value}, built_in())

    assert verdict == "incomplete"
    assert all(not f.passed and f.value is None for f in findings if f.measure == measure)
    without = {name: number for name, number in CALM.items() if name != measure}
    assert judge(without, built_in())[0] == "incomplete"


def test_the_worst_finding_decides():
    assert verdict_of(alarms=3.0, power_low=0.1) == "incomplete"
    assert verdict_of(alarms=3.0, power_low=0.1, exact_copies=1.0) == "reject"
    assert verdict_of(alarms=None, exact_copies=1.0) == "reject"


numbers = st.one_of(st.none(), st.floats(allow_nan=True, allow_infinity=True), st.sampled_from([0.0, 0.005, 0.8, 1.0]))


@given(st.fixed_dictionaries(dict.fromkeys(CALM, numbers)), st.sampled_from(sorted(CALM)), st.floats(0, 1e6))
def test_adding_harm_never_improves_the_verdict(measures, name, harm):
    before, findings = judge(measures, built_in())
    value = measures[name]
    worse = None if value is None else (value + harm if name in MORE_IS_WORSE else value - harm)

    after, _ = judge({**measures, name: worse}, built_in())

    if value is not None and math.isfinite(value):
        assert SEVERITY.index(after) >= SEVERITY.index(before)
    assert (before == "pass") == all(finding.passed for finding in findings)


@given(st.fixed_dictionaries(dict.fromkeys(CALM, numbers)), st.sampled_from(sorted(CALM)))
def test_losing_a_measure_never_turns_anything_into_a_pass(measures, name):
    assert judge({**measures, name: None}, built_in())[0] != "pass"


def rule(**changes):
    parts = {"name": "R", "measure": "alarms", "at_most": 0, "outcome": "review", "reason": "because", **changes}
    lines = [f"{k} = {v!r}" if not isinstance(v, str) else f'{k} = "{v}"' for k, v in parts.items() if v is not None]
    return 'name = "mine"\nversion = 1\n[[rules]]\n' + "\n".join(lines)


def test_a_users_policy_is_read():
    mine = load(rule(at_most=2), "mine.toml")

    assert judge({"alarms": 2.0}, mine)[0] == "pass"
    assert judge({"alarms": 3.0}, mine)[0] == "review"
    assert judge({}, mine)[0] == "incomplete"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (rule(measure="exact_copy"), "did you mean 'exact_copies'"),
        (rule(at_most=None), "either at_most or at_least"),
        (rule(at_least=1), "either at_most or at_least"),
        (rule(outcome="pass"), "never passes"),
        (rule(absent="pass"), "never passes"),
        (rule(outcome="maybe"), "maybe"),
        (rule(colour="red"), "colour"),
        ('name = "x"\nversion = 1\nrules = []', "rules"),
        ("name = ", "not valid"),
        (rule().replace("at_most = 0", "at_most = nan"), "at_most"),
    ],
)
def test_a_bad_policy_is_refused_with_what_is_wrong(text, message):
    with pytest.raises(SettingsError, match=message):
        load(text, "mine.toml")


def test_nobody_alone_decides_about_public_release():
    text = policy.shipped_text("public")
    assert "approvers = 2" in text
    with pytest.raises(SettingsError, match="at least 2 for public release"):
        load(text.replace("approvers = 2", "approvers = 1"), "own.toml")
    assert load(text.replace("approvers = 2", ""), "own.toml").approvers == 2


def test_no_policy_prints_counts_of_patients_under_ten():
    with pytest.raises(SettingsError, match="minimum_cell must be at least 10"):
        load(policy.shipped_text("controlled").replace("minimum_cell = 10", "minimum_cell = 5"), "own.toml")


def test_all_unknown_measures_are_named_at_once():
    text = rule(measure="alarm") + "\n[[rules]]\n" + rule(measure="powerlow").split("[[rules]]\n")[1]

    with pytest.raises(SettingsError) as caught:
        load(text, "mine.toml")

    assert "'alarms'" in str(caught.value)
    assert "'power_low'" in str(caught.value)


def test_the_power_floor_is_the_users_and_nothing_else_is():
    lower = built_in(0.5)

    assert judge({**CALM, "power_low": 0.6}, lower)[0] == "pass"
    assert judge({**CALM, "power_low": 0.4}, lower)[0] == "incomplete"
    assert judge({**CALM, "exact_copies": 1.0}, lower)[0] == "reject"
    assert [r.at_least for r in built_in(None).rules if r.measure == "power_low"] == [0.8]


def test_every_rule_states_its_reason_and_source():
    assert all(rule.reason and rule.source for rule in built_in().rules)
    assert policy.SEVERITY[0] == "pass"
