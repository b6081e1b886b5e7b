"""What a reader sees of a decision: findings by what they speak for, readings and acts in words. Views share it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from synthrelease.records import Finding, Verdict
from synthrelease.release_records import Approval, DecisionRecord, Entry, Reading
from synthrelease.report import evidence, formats, public_words

Group = Literal["blocks", "against", "supports", "unknown"]
ACTS: dict[str, str] = {
    "audit": "Audit",
    "decide": "Decision by the policy",
    "pair": "Pair read",
    "remove": "Images removed",
    "approve": "Approved",
    "reject": "Rejected",
    "withdraw": "Withdrawn",
}
TOLD_APART = frozenset({"conditions", "review_by", "override_of"})  # of an act's data: printed in words


@dataclass(frozen=True)
class FindingRow:
    """One finding as text."""

    rule: str
    measure: str
    value: str
    limit: str
    detail: str
    reason: str
    source: str
    state: Verdict | None  # None: context without a value
    decides: bool


@dataclass(frozen=True)
class FindingGroup:
    """Findings that speak for the same thing."""

    name: Group
    title: str
    meaning: str
    rows: tuple[FindingRow, ...]


@dataclass(frozen=True)
class Act:
    """One line of the log as text."""

    number: int
    time: str
    what: str
    by: str
    role: str
    reason: str
    particulars: tuple[str, ...]
    override: bool


@dataclass(frozen=True)
class SignOff:
    """The section "Decision and sign-off" of the internal edition."""

    record: DecisionRecord | None
    words: public_words.DecisionWords | None
    model: str
    holds: bool
    groups: tuple[FindingGroup, ...]
    readings: tuple[str, ...]
    removals: tuple[str, ...]
    acts: tuple[Act, ...]
    pairs_read: int


def sign_off(decision: DecisionRecord | None, entries: Sequence[Entry], *, holds: bool) -> SignOff | None:
    """Return what the internal edition says of a decision and its log; None where there is neither.

    Args:
        decision: The latest.
        entries: The log of acts, oldest first.
        holds: False where the evidence changed after the decision.
    """
    if decision is None and not entries:
        return None
    return SignOff(
        record=decision,
        words=public_words.DECISIONS[decision.decision] if decision else None,
        model=public_words.MODELS[decision.release_model] if decision else "",
        holds=holds,
        groups=grouped(decision.findings) if decision else (),
        readings=reading_sentences(decision.reading) if decision else (),
        removals=removal_sentences(decision) if decision else (),
        acts=acts(entries),
        pairs_read=sum(entry.action == "pair" for entry in entries),
    )


def grouped(findings: Sequence[Finding]) -> tuple[FindingGroup, ...]:
    """Return the findings by what they speak for, worst group first; groups without any are left out.

    A broken rule that rejects, or whose evidence is missing, blocks; one that asks for review, and context outside its
    limit, argues against. The vocabulary is that of SACRO-ML's reports.
    """
    groups = []
    for name in ("blocks", "against", "supports", "unknown"):
        rows = tuple(_row(finding) for finding in findings if group_of(finding) == name)
        if rows:
            groups.append(FindingGroup(name, *public_words.GROUPS[name], rows))
    return tuple(groups)


def group_of(finding: Finding) -> Group:
    """Return what a finding speaks for."""
    if finding.passed:
        return "supports"
    if finding.decides:
        return "blocks" if finding.outcome in ("reject", "incomplete") else "against"
    absent = finding.value is None and not finding.detail
    return "unknown" if absent else "against"


def reading_sentences(reading: Reading) -> tuple[str, ...]:
    """Return what people read, and how well they recognised the pairs that were planted among them."""
    if reading.to_read == 0 and reading.read == 0:
        sentences = ["No image lies above the alarm line, so nobody had to read a pair."]
    else:
        pairs = formats.counted(reading.to_read, "pair")
        people = formats.counted(reading.readers, "person", "people")
        sentences = [
            f"Of {pairs} above the alarm line, {formats.count(reading.read)} read by {people}: "
            f"{formats.count(reading.copies)} found to be copies, {formats.count(reading.not_copies)} to be none, "
            f"{formats.count(reading.unsure)} left unsure."
        ]
    if reading.planted_copies or reading.planted_strangers:
        copies = formats.counted(reading.planted_copies, "planted copy", "planted copies")
        strangers = formats.counted(reading.planted_strangers, "stranger")
        sentences.append(
            f"Known pairs were mixed in to measure the readers, who recognised {reading.planted_copies_recognised} of "
            f"{copies} and {reading.planted_strangers_recognised} of {strangers}."
        )
    return tuple(sentences)


def approval_sentence(approval: Approval) -> str:
    """Return one approval in a sentence, an override said as such."""
    what = "Approved"
    if approval.override_of:
        what = f"Approved as an override of {approval.override_of}"
    until = f"; to be reviewed by {approval.review_by}" if approval.review_by else ""
    return f"{what} by {approval.by} ({approval.role}) on {approval.date}{until}."


def cohort_count(text: str) -> str:
    """Return a count of a public cohort with separators between thousands; words stay as they are."""
    return formats.count(int(text)) if text.isdecimal() else text


def acts(entries: Sequence[Entry]) -> tuple[Act, ...]:
    """Return the log as text, oldest first. Pairs are summed up elsewhere, so only their number shows here."""
    return tuple(_act(entry) for entry in entries if entry.action != "pair")


def removal_sentences(decision: DecisionRecord) -> tuple[str, ...]:
    """Return how often these images were audited and what was taken out of them."""
    sentences = [attempts_sentence(decision.attempts)]
    sentences += [
        f"Attempt {removal.attempt}: {formats.counted(len(removal.images), 'suspect')} removed, "
        f"{formats.count(removal.kept_after_reading)} kept after reading. With 95 % confidence at most "
        f"{formats.counted(removal.residual_at_most, 'copy', 'copies')} of any one required kind may remain."
        for removal in decision.removals
    ]
    return tuple(sentences)


def attempts_sentence(attempts: int) -> str:
    """Return how many audits it took: regenerating until it passes must be visible."""
    if attempts == 1:
        return "One audit was made: no images were generated or removed and audited again."
    return (
        f"{formats.count(attempts)} audits of different images were made before this decision. Every repetition makes "
        "a good result by chance more likely, so the bounds pay for it."
    )


def _row(finding: Finding) -> FindingRow:
    missing = "not told" if finding.detail else "not measured"
    absent = group_of(finding) == "unknown"
    return FindingRow(
        rule=finding.rule,
        measure=finding.measure,
        value=missing if finding.value is None else evidence.in_units(finding.measure, finding.value),
        limit=evidence.limit(finding),
        detail=finding.detail,
        reason=finding.reason,
        source=finding.source,
        state=None if absent else "pass" if finding.passed else finding.outcome if finding.decides else "review",
        decides=finding.decides,
    )


def _act(entry: Entry) -> Act:
    data: Mapping[str, object] = entry.data
    override = data.get("override_of")
    particulars = [f"condition: {condition}" for condition in _listed(data.get("conditions"))]
    if data.get("review_by"):
        particulars.append(f"to be reviewed by {data['review_by']}")
    particulars += [f"{name}: {_told(value)}" for name, value in data.items() if name not in TOLD_APART]
    what = ACTS[entry.action]
    return Act(
        number=entry.number,
        time=entry.time,
        what=f"{what}, overriding {override}" if override else what,
        by=entry.by or "synthrelease",
        role=entry.role,
        reason=entry.reason,
        particulars=tuple(particulars),
        override=bool(override),
    )


def _listed(value: object) -> list[str]:
    return [str(item) for item in value] if isinstance(value, list | tuple) else []


def _told(value: object) -> str:
    if isinstance(value, list | tuple):
        return formats.counted(len(value), "item") if len(value) > 5 else ", ".join(map(str, value))
    return str(value)
