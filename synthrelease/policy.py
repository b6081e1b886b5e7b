"""Rules held against evidence. The policy compares; it never computes and never sees an image."""

from __future__ import annotations

import difflib
import hashlib
import math
import tomllib
from collections.abc import Mapping
from importlib import resources
from pathlib import Path
from typing import Literal

from pydantic import Field, ValidationError, model_validator

from synthrelease.errors import SettingsError
from synthrelease.records import AuditRecord, Finding, Record, Verdict

SEVERITY: tuple[Verdict, ...] = ("pass", "review", "incomplete", "reject")  # the worst finding decides
SHIPPED = ("controlled", "registered", "public")
LEAST_CELL = 10  # ACRO and UK trusted research environments
PUBLIC_APPROVERS = 2  # what everybody gets cannot be called back: nobody decides that alone


class Rule(Record):
    """One line of a policy."""

    name: str = Field(min_length=1)
    measure: str
    at_most: float | None = None
    at_least: float | None = None
    decides: bool = Field(default=True, description="False: shown as context, never part of the decision")
    outcome: Verdict = Field(default="review", description="Verdict when the measure is outside its limit")
    absent: Verdict = Field(default="incomplete", description="Verdict when the measure could not be taken")
    reason: str = Field(min_length=1)
    source: str = ""

    @model_validator(mode="after")
    def _one_limit(self) -> Rule:
        if (self.at_most is None) == (self.at_least is None):
            raise ValueError("give either at_most or at_least")
        if "pass" in (self.outcome, self.absent):
            raise ValueError("a failed or absent measure never passes")
        return self


class Policy(Record):
    """A named list of rules, and what it takes to approve under it."""

    name: str = Field(min_length=1)
    version: int = Field(ge=1)
    release_model: Literal["controlled", "registered", "public"] | None = Field(
        default=None, description="Who will get the images; null for the rules behind an audit's own verdict"
    )
    approvers: int = Field(default=1, ge=1, le=20, description="Different people who must approve")
    minimum_cell: int = Field(default=10, ge=1, description="Least count of real subjects or images that is printed")
    rules: tuple[Rule, ...] = Field(min_length=1)

    @model_validator(mode="before")
    @classmethod
    def _two_for_everybody(cls, options: object) -> object:
        if isinstance(options, dict) and options.get("release_model") == "public" and "approvers" not in options:
            return {**options, "approvers": PUBLIC_APPROVERS}
        return options

    @model_validator(mode="after")
    def _something_decides(self) -> Policy:
        names = [rule.name for rule in self.rules]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise ValueError(f"two rules are called {', '.join(map(repr, twice))}")
        if self.release_model == "public" and self.approvers < PUBLIC_APPROVERS:
            raise ValueError(f"approvers must be at least {PUBLIC_APPROVERS} for public release")
        if self.release_model is not None and self.minimum_cell < LEAST_CELL:
            raise ValueError(f"minimum_cell must be at least {LEAST_CELL}: smaller counts of patients never leave")
        if not any(rule.decides for rule in self.rules):
            raise ValueError("no rule decides: every one has decides = false")
        return self


AUDIT_MEASURES: dict[str, str] = {
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
RELEASE_MEASURES: dict[str, str] = {
    "confirmed_copies": "Images still in the release that are exact copies, or that a reader found to be copies",
    "unread_alarms": "Alarms that nobody has read and cleared, parts included",
    "at_most": "Largest share of the images that may be copies of any one required kind, 95 % confidence",
    "attack_auc": "Area under the membership attack's curve; 0.5 is guessing",
    "relative_dice": "Mean Dice of a segmenter trained on synthetic over one trained on real images",
    "train_subjects": "Subjects in train",
    "attempts": "Audits of different images that this release took",
    "reader_sensitivity": "Share of the planted copies among the pairs that readers recognised",
}
MEASURES = AUDIT_MEASURES | RELEASE_MEASURES


def measures_of(record: AuditRecord) -> dict[str, float | None]:
    """Return every measure that an audit can take; None where it could not."""
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
    """Return a policy from TOML text; every problem in one error, unknown measures and keys with the nearest name."""
    try:
        options = tomllib.loads(text)
    except (ValueError, RecursionError) as error:  # not TOML, a number too long, tables within tables without end
        raise SettingsError(
            f"Policy {name} is not valid TOML: {error}.", "Begin anew with `synthrelease policy init`."
        ) from error
    problems = []
    try:
        policy = Policy.model_validate(options)
        rules: list[object] = list(policy.rules)
    except ValidationError as error:
        found = error.errors()
        inside = any(len(item["loc"]) > 1 for item in found)  # then the list of rules is not to blame for being short
        problems += [_in_words(item, options) for item in found if not (inside and item["loc"] == ("rules",))]
        rules = list(options.get("rules") or []) if isinstance(options.get("rules"), list) else []
    for rule in rules:
        measure = rule.measure if isinstance(rule, Rule) else rule.get("measure") if isinstance(rule, dict) else None
        if isinstance(measure, str) and measure not in MEASURES:
            near = difflib.get_close_matches(measure, MEASURES, n=1)
            problems.append(f"no known measure: {measure!r}{_did_you_mean(near)}")
    if problems:
        listed = "\n".join(f"  {problem}" for problem in problems)
        raise SettingsError(f"Policy {name} is not valid:\n{listed}", "Known measures: `synthrelease policy --help`.")
    return policy


def built_in(power_floor: float | None = None) -> Policy:
    """Return the policy behind an audit's own verdict; the user may set another floor for its power."""
    policy = load(shipped_text("audit"), "audit.toml")
    if power_floor is None:
        return policy
    rules = [r.model_copy(update={"at_least": power_floor}) if r.measure == "power_low" else r for r in policy.rules]
    return policy.model_copy(update={"rules": tuple(rules)})


def shipped_text(name: str) -> str:
    """Return the TOML text of a policy that comes with synthrelease."""
    place = resources.files("synthrelease") / "policies" / f"{name}.toml"
    return place.read_text(encoding="utf-8")


def open_release_policy(name: str) -> tuple[Policy, str]:
    """Return a release policy and its text: a shipped one by name, else a TOML file.

    Raises:
        SettingsError: Neither; not valid; or it names no release model.
    """
    path = Path(name)
    if name in SHIPPED:
        text = shipped_text(name)
    elif path.is_file():
        try:
            text = path.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise SettingsError(
                f"Policy {name} cannot be read: {error}.", "Save it as UTF-8 text that you may read."
            ) from error
    else:
        near = difflib.get_close_matches(name, SHIPPED, n=1)
        raise SettingsError(
            f"There is no policy {name!r}: no file, and none that comes with synthrelease{_did_you_mean(near)}.",
            f"Shipped: {', '.join(SHIPPED)}. For one of your own: synthrelease policy init my-policy.toml.",
        )
    policy = load(text, path.name)
    if policy.release_model is None:
        raise SettingsError(
            f"Policy {path.name} names no release model.",
            f'Add release_model = "..." with one of {", ".join(SHIPPED)}: who will get the images?',
        )
    return policy, text


def sha256(text: str) -> str:
    """Return the hash by which decisions and packages name a policy."""
    return hashlib.sha256(text.encode()).hexdigest()


def judge(
    measures: Mapping[str, float | None], policy: Policy, details: Mapping[str, str] | None = None
) -> tuple[Verdict, tuple[Finding, ...]]:
    """Return the verdict and one finding per rule. Missing or non-finite evidence never passes.

    Args:
        measures: Value of each measure; None, or left out, where it could not be taken.
        policy: The rules; those with ``decides = false`` are shown and have no say.
        details: What a value rests on, by measure.
    """
    notes = details or {}
    findings = tuple(
        _held_against(rule, measures.get(rule.measure), notes.get(rule.measure, "")) for rule in policy.rules
    )
    deciding = [SEVERITY.index(finding.outcome) for finding in findings if finding.decides]
    return SEVERITY[max(deciding, default=SEVERITY.index("incomplete"))], findings


def worse(first: Verdict, second: Verdict) -> Verdict:
    """Return the worse of two verdicts."""
    return max(first, second, key=SEVERITY.index)


def _held_against(rule: Rule, value: float | None, detail: str) -> Finding:
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
        side="at most" if rule.at_most is not None else "at least",
        passed=passed,
        outcome=outcome,
        decides=rule.decides,
        detail=detail,
        reason=rule.reason,
        source=rule.source,
    )


def _in_words(item: Mapping[str, object], options: Mapping[str, object]) -> str:
    """Return one problem of a policy as a person would say it: rules by name, unknown keys with the nearest one."""
    loc = item["loc"]
    place = list(loc) if isinstance(loc, tuple) else []
    where = "policy"
    kind: type[Record] = Policy
    rules = options.get("rules")
    if place[:1] == ["rules"] and len(place) > 1 and isinstance(place[1], int) and isinstance(rules, list):
        rule = rules[place[1]]
        name = rule.get("name") if isinstance(rule, dict) else None
        where, place, kind = f"rule {name!r}" if name else f"rule number {place[1] + 1}", place[2:], Rule
    key = ".".join(map(str, place))
    if item["type"] == "extra_forbidden":
        return f"{where}: unknown key {key!r}{_did_you_mean(difflib.get_close_matches(key, kind.model_fields, n=1))}"
    text = str(item["msg"]).removeprefix("Value error, ")
    given = f", not {item['input']!r}" if isinstance(item["input"], str | int | float) else ""
    return f"{where}: {key + ': ' if key else ''}{text}{given}"


def _number(value: int | None) -> float | None:
    return None if value is None else float(value)


def _did_you_mean(near: list[str]) -> str:
    return f", did you mean {near[0]!r}?" if near else ""
