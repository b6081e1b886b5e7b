"""Rules held against evidence. The policy compares; it never computes and never sees an image."""

from __future__ import annotations

import difflib
import math
import tomllib
from collections.abc import Mapping
from importlib import resources

from pydantic import Field, ValidationError, model_validator

from synthrelease.errors import SettingsError
from synthrelease.records import AuditRecord, Finding, Record, Verdict

SEVERITY: tuple[Verdict, ...] = ("pass", "review", "incomplete", "reject")  # the worst finding decides


class Rule(Record):
    """One line of a policy."""

    name: str
    measure: str
    at_most: float | None = None
    at_least: float | None = None
    outcome: Verdict = Field(description="Verdict when the measure is outside its limit")
    absent: Verdict = Field(default="incomplete", description="Verdict when the measure could not be taken")
    reason: str
    source: str = ""

    @model_validator(mode="after")
    def _one_limit(self) -> Rule:
        if (self.at_most is None) == (self.at_least is None):
            raise ValueError("give either at_most or at_least")
        if "pass" in (self.outcome, self.absent):
            raise ValueError("a failed or absent measure never passes")
        return self


class Policy(Record):
    """A named list of rules."""

    name: str
    version: int
    rules: tuple[Rule, ...] = Field(min_length=1)


MEASURES: dict[str, str] = {
    "calibrated": "1 when a holdout calibrated the thresholds, else 0",
    "holdout_subjects": "Subjects in the holdout",
    "unread_files": "Files of any role that could not be read and were not excluded by name",
    "representative": "1 when a classifier cannot tell holdout from train, else 0",
    "transferable": "1 when strangers are a fair yardstick for these images, else 0",
    "power_low": "Least lower bound of the power at alarm over all required kinds of planted copies",
    "exact_copies": "Synthetic images equal to a train image in every pixel",
    "alarms": "Synthetic images, or parts of them, above every slice of every holdout subject",
    "excess_low": "Lower end of the excess near-copy rate's 95 % interval",
    "membership_above_null": "Membership AUC minus the upper end of its permutation null",
}


def measures_of(record: AuditRecord) -> dict[str, float | None]:
    """Return every measure that a rule may name; None where the audit could not take it."""
    required = [bound.power_low for bound in record.bounds if bound.required]
    excess, attack = record.near_copies.excess, record.membership
    return {
        "calibrated": float(record.calibrated),
        "holdout_subjects": _number(record.inputs.holdout.subjects if record.inputs.holdout else 0),
        "unread_files": float(len(record.inputs.unread)),
        "representative": None if record.representative is None else float(record.representative.representative),
        "transferable": None if record.transfer is None else float(record.transfer.transferable),
        "power_low": min(required) if required else None,
        "exact_copies": float(len(record.exact_copies)),
        "alarms": float(len(record.alarms) + record.part_alarms_count) if record.calibrated else None,
        "excess_low": None if excess is None else excess.low,
        "membership_above_null": None if attack is None else attack.auc - attack.null_high,
    }


def load(text: str, name: str) -> Policy:
    """Return a policy from TOML text; every problem in one error, unknown measures with the nearest name."""
    try:
        policy = Policy.model_validate(tomllib.loads(text))
    except (tomllib.TOMLDecodeError, ValidationError) as error:
        raise SettingsError(f"Policy {name} is not valid: {error}") from error
    problems = []
    for rule in policy.rules:
        if rule.measure not in MEASURES:
            near = difflib.get_close_matches(rule.measure, MEASURES, n=1)
            problems.append(f"rule {rule.name!r} names no known measure: {rule.measure!r}" + _did_you_mean(near))
    if problems:
        raise SettingsError(f"Policy {name}: {'; '.join(problems)}.", f"Known measures: {', '.join(MEASURES)}.")
    return policy


def built_in(power_floor: float | None = None) -> Policy:
    """Return the policy behind an audit's own verdict; the user may set another floor for its power."""
    place = resources.files("synthrelease") / "policies" / "audit.toml"
    policy = load(place.read_text(encoding="utf-8"), "audit.toml")
    if power_floor is None:
        return policy
    rules = [r.model_copy(update={"at_least": power_floor}) if r.measure == "power_low" else r for r in policy.rules]
    return policy.model_copy(update={"rules": tuple(rules)})


def judge(measures: Mapping[str, float | None], policy: Policy) -> tuple[Verdict, tuple[Finding, ...]]:
    """Return the verdict and one finding per rule. Missing or non-finite evidence never passes."""
    findings = tuple(_held_against(rule, measures.get(rule.measure)) for rule in policy.rules)
    worst = max((SEVERITY.index(finding.outcome) for finding in findings), default=SEVERITY.index("incomplete"))
    return SEVERITY[worst], findings


def _held_against(rule: Rule, value: float | None) -> Finding:
    limit = rule.at_most if rule.at_most is not None else rule.at_least
    assert limit is not None
    known = value is not None and math.isfinite(value)
    passed = known and value is not None and (value <= limit if rule.at_most is not None else value >= limit)
    outcome: Verdict = "pass" if passed else (rule.outcome if known else rule.absent)
    return Finding(
        rule=rule.name,
        measure=rule.measure,
        value=value if known else None,
        limit=limit,
        passed=passed,
        outcome=outcome,
        reason=rule.reason,
        source=rule.source,
    )


def _number(value: int | None) -> float | None:
    return None if value is None else float(value)


def _did_you_mean(near: list[str]) -> str:
    return f", did you mean {near[0]!r}?" if near else ""
