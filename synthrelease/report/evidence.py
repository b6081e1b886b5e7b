"""The evidence table: each rule of the policy, and each test without a rule, beside its reference."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from synthrelease.records import AuditRecord, Finding, MembershipAttack, Verdict
from synthrelease.report import formats


@dataclass(frozen=True)
class EvidenceRow:
    """One line of the evidence table, as text."""

    test: str
    measure: str  # the rule's own name for what it compares; empty without a rule
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
    """What the record holds about one test: words that a rule's measure may use for it, and its numbers as text."""

    title: str
    key_words: tuple[str, ...]
    result: str
    interval: str
    reference: str
    anchor: str
    is_share: bool = False


def evidence_rows(record: AuditRecord) -> tuple[EvidenceRow, ...]:
    """Return one row per finding, in the policy's order, then one per test that no finding speaks about."""
    tests = tuple(_tests(record))
    by_rule = [(finding, _test_of(finding, tests)) for finding in record.findings]
    spoken_of = [test for _, test in by_rule if test is not None]
    rows = [_row_of_rule(finding, test) for finding, test in by_rule]
    rows += [_row_without_rule(test) for test in tests if test not in spoken_of]
    return tuple(rows)


def _test_of(finding: Finding, tests: tuple[_Test, ...]) -> _Test | None:
    """Return the test whose words the finding's measure uses (or its rule, failing that); the first match counts."""
    for text in (finding.measure, finding.rule):
        words = text.lower().replace(".", " ").replace("_", " ").replace("-", " ")
        for test in tests:
            if any(key in words for key in test.key_words):
                return test
    return None


def _row_of_rule(finding: Finding, test: _Test | None) -> EvidenceRow:
    as_share = test is not None and test.is_share
    limit = formats.percent(finding.limit) if as_share else formats.number(finding.limit)
    value = formats.percent(finding.value) if as_share else formats.number(finding.value)
    return EvidenceRow(
        test=finding.rule,
        measure=finding.measure,
        result=value if finding.value is not None else "not measured",
        interval=test.interval if test else "",
        reference=test.reference if test else "",
        limit=limit,
        reason=finding.reason,
        source=finding.source,
        state="pass" if finding.passed else finding.outcome,
        anchor=test.anchor if test else "verdict",
    )


def _row_without_rule(test: _Test) -> EvidenceRow:
    return EvidenceRow(test.title, "", test.result, test.interval, test.reference, "", "", "", None, test.anchor)


def _tests(record: AuditRecord) -> Iterator[_Test]:
    """Yield what was measured; the order decides which test a rule's words belong to."""
    yield from _input_tests(record)
    yield from _copy_tests(record)
    if record.membership is not None:
        yield _membership_test(record.membership)
    if record.transfer is not None:
        yield _Test(
            "Strangers are a fair yardstick for these synthetic images",
            ("transfer",),
            "yes" if record.transfer.transferable else "no",
            "",
            f"flag line on degraded strangers {formats.score(record.transfer.threshold_degraded)}",
            "checks",
        )
    if record.masks is not None:
        masks = record.masks
        yield _Test(
            "Pixels of masks off the legal labels",
            ("mask", "off level", "nesting"),
            formats.percent(masks.off_level_share),
            "",
            f"real masks {formats.percent(masks.off_level_share_real)}",
            "masks",
            is_share=True,
        )


def _input_tests(record: AuditRecord) -> Iterator[_Test]:
    inputs = record.inputs
    yield _Test("Files that could not be read", ("unread",), formats.count(len(inputs.unread)), "", "0", "inputs")
    holdout = inputs.holdout
    yield _Test(
        "Holdout subjects",
        ("holdout subject", "subjects holdout", "few subjects", "number of subjects"),
        "0" if holdout is None else formats.count(holdout.subjects),
        "",
        "each new stranger narrows the bounds",
        "inputs",
    )
    check = record.representative
    if check is not None:
        yield _Test(
            "A classifier tells train from holdout",
            ("represent",),
            f"p {formats.p_value(check.p_value)}",
            "",
            f"AUC {formats.score(check.auc)}, where 0.5 is guessing",
            "checks",
        )


def _copy_tests(record: AuditRecord) -> Iterator[_Test]:
    near = record.near_copies
    images = formats.counted(near.synthetic.count, "synthetic image")
    yield _Test(
        "Verbatim copies",
        ("exact", "verbatim"),
        f"{formats.count(len(record.exact_copies))} of {images}",
        "",
        "0 where nothing is copied",
        "suspects",
    )
    strangers = f"holdout {formats.rate(near.holdout)}" if near.holdout else "no holdout"
    if near.excess is not None:
        yield _Test(
            "Near copies beyond those of strangers (excess)",
            ("excess",),
            formats.percent(near.excess.value),
            formats.between(near.excess.low, near.excess.high),
            strangers,
            "copies",
            is_share=True,
        )
    parts = formats.count(record.part_alarms_count)
    yield _Test(
        "Parts above the alarm line", ("part", "patch", "tumour"), parts, "", "0 among strangers' parts", "parts"
    )
    yield _Test(
        "Images above the alarm line",
        ("alarm",),
        f"{formats.count(len(record.alarms))} of {images}",
        "",
        "0 of the holdout images" if record.calibrated else "no holdout",
        "suspects",
    )
    yield _Test(
        "Power on planted copies",
        ("power", "planted", "caught"),
        formats.counted(len(record.planted), "kind"),
        "",
        "known copies, hidden among the queries",
        "power",
        is_share=True,
    )
    yield _Test(
        "Near copies among the synthetic images",
        ("near copies", "near copy", "suspect"),
        formats.percent(near.synthetic.value),
        formats.between(near.synthetic.low, near.synthetic.high),
        strangers,
        "copies",
        is_share=True,
    )


def _membership_test(attack: MembershipAttack) -> _Test:
    control = "too few strangers for a control"
    if attack.control_auc is not None:
        control = f"control {formats.score(attack.control_auc)}"
    return _Test(
        "Membership attack (AUC)",
        ("membership", "auc", "attack"),
        formats.score(attack.auc),
        formats.span(attack.low, attack.high),
        f"{control}; chance alone {formats.span(attack.null_low, attack.null_high)}",
        "membership",
    )
