"""The evidence table: each rule of the policy, and each test without a rule, beside its reference."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from synthrelease.records import AuditRecord, Finding, MembershipAttack, Verdict
from synthrelease.report import formats

SHARES: dict[str, formats.Rounding] = {  # measures of the policy that are shares; no bound may look better than it is
    "excess_low": "nearest",
    "power_low": "down",
    "at_most": "up",
    "reader_sensitivity": "nearest",
}
ANSWERS = frozenset({"calibrated", "representative", "transferable"})  # measures that are 1 for yes, 0 for no


@dataclass(frozen=True)
class EvidenceRow:
    """One line of the evidence table, as text."""

    test: str
    measure: str  # the policy's own name for what it compares; empty without a rule
    result: str
    interval: str
    reference: str
    limit: str
    reason: str
    source: str
    state: Verdict | None  # None: no rule looks at this test
    anchor: str  # section of the report with the details


@dataclass(frozen=True)
class _Test:
    """What the record holds about one test, as text, and the policy's measures that are taken from it."""

    title: str
    measures: tuple[str, ...]
    result: str
    reference: str
    anchor: str
    interval: str = ""


def evidence_rows(record: AuditRecord) -> tuple[EvidenceRow, ...]:
    """Return one row per finding, in the policy's order, then one per test that no finding speaks about."""
    tests = tuple(_tests(record))
    by_measure = {measure: test for test in tests for measure in test.measures}
    rows = [_row_of_rule(finding, by_measure.get(finding.measure)) for finding in record.findings]
    ruled = {finding.measure for finding in record.findings}
    rows += [_row_without_rule(test) for test in tests if not ruled & set(test.measures)]
    return tuple(rows)


def _row_of_rule(finding: Finding, test: _Test | None) -> EvidenceRow:
    measured = in_units(finding.measure, finding.value) if finding.value is not None else "nothing"
    return EvidenceRow(
        test=finding.rule,
        measure=finding.measure,
        result=test.result if test else measured,
        interval=test.interval if test else "",
        reference=test.reference if test else "",
        limit=f"{measured} measured, limit {limit(finding)}",
        reason=finding.reason,
        source=finding.source,
        state="pass" if finding.passed else finding.outcome,
        anchor=test.anchor if test else "verdict",
    )


def _row_without_rule(test: _Test) -> EvidenceRow:
    return EvidenceRow(test.title, "", test.result, test.interval, test.reference, "", "", "", None, test.anchor)


def limit(finding: Finding) -> str:
    """Return a finding's limit with its side, as text; a question's is its only good answer."""
    if finding.measure in ANSWERS:
        return in_units(finding.measure, finding.limit)
    shown = formats.percent(finding.limit) if finding.measure in SHARES else formats.number(finding.limit)
    return f"{finding.side} {shown}"


def in_units(measure: str, value: float) -> str:
    """Return the value of a policy's measure as text."""
    if measure in SHARES:
        return formats.percent(value, SHARES[measure])
    if measure in ANSWERS:
        return "yes" if value == 1 else "no"
    return formats.number(value)


def _tests(record: AuditRecord) -> Iterator[_Test]:
    yield from _copy_tests(record)
    yield from _yardstick_tests(record)
    yield _membership_test(record.membership)
    if record.masks is not None:
        yield _Test(
            "Pixels of masks off the legal labels",
            (),
            formats.percent(record.masks.off_level_share),
            f"real masks {formats.percent(record.masks.off_level_share_real)}",
            "masks",
        )


def _copy_tests(record: AuditRecord) -> Iterator[_Test]:
    near = record.near_copies
    images = formats.counted(near.synthetic.count, "synthetic image")
    strangers = f"holdout {formats.rate(near.holdout)}" if near.holdout else "no holdout"
    exact = f"{formats.count(len(record.exact_copies))} of {images}"
    yield _Test("Verbatim copies", ("exact_copies",), exact, "0 where nothing is copied", "suspects")
    alarms = f"{formats.count(len(record.alarms))} of {images}; {formats.counted(record.part_alarms_count, 'part')}"
    yield _Test(
        "Images and parts above the alarm line",
        ("alarms",),
        alarms if record.calibrated else "no line",
        "0 in the holdout: it sets the line" if record.calibrated else "no holdout",
        "suspects",
    )
    yield _Test(
        "Near copies among the synthetic images",
        (),
        formats.percent(near.synthetic.value),
        strangers,
        "copies",
        formats.between(near.synthetic.low, near.synthetic.high),
    )
    yield _Test(
        "Near copies beyond those of strangers (excess)",
        ("excess_low",),
        formats.percent(near.excess.value if near.excess else None),
        strangers,
        "copies",
        formats.between(near.excess.low, near.excess.high) if near.excess else "",
    )
    kinds = formats.counted(len(record.planted), "kind")
    yield _Test("Power on planted copies", ("power_low",), kinds, "known copies, hidden among the queries", "power")


def _yardstick_tests(record: AuditRecord) -> Iterator[_Test]:
    holdout, check, transfer = record.inputs.holdout, record.representative, record.transfer
    subjects = "0" if holdout is None else formats.count(holdout.subjects)
    calibrated = "yes" if record.calibrated else "no"
    yield _Test("Calibrated on strangers", ("calibrated",), calibrated, "needs a holdout", "inputs")
    yield _Test("Holdout subjects", ("holdout_subjects",), subjects, "each further one narrows the bounds", "inputs")
    unread = formats.count(len(record.inputs.unread))
    yield _Test("Files that could not be read", ("unread_files",), unread, "0", "inputs")
    yield _Test(
        "Holdout represents train",
        ("representative",),
        _answer(None if check is None else check.representative),
        "" if check is None else f"classifier {_auc(check.auc)}, p {formats.p_value(check.p_value)}; 0.5 is guessing",
        "checks",
    )
    yield _Test(
        "Strangers are a fair yardstick for these synthetic images",
        ("transferable",),
        _answer(None if transfer is None else transfer.transferable),
        "" if transfer is None else _degraded(transfer.threshold_degraded),
        "checks",
    )


def _membership_test(attack: MembershipAttack | None) -> _Test:
    title, measures = "Membership attack", ("membership_above_null",)
    if attack is None:
        return _Test(title, measures, formats.MISSING, "", "membership")
    control = "too few strangers for a control" if attack.control_auc is None else f"control {_auc(attack.control_auc)}"
    chance = f"chance alone {formats.span(attack.null_low, attack.null_high)}"
    interval = formats.span(attack.low, attack.high)
    return _Test(title, measures, _auc(attack.auc), f"{control}; {chance}", "membership", interval)


def _auc(value: float) -> str:
    return f"AUC {formats.score(value)}"


def _answer(value: bool | None) -> str:
    return formats.MISSING if value is None else "yes" if value else "no"


def _degraded(flag: float | None) -> str:
    return "no degrading was needed" if flag is None else f"flag line on degraded strangers {formats.score(flag)}"
