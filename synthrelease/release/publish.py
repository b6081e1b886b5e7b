"""What may leave: the public record, copied field by field from the evidence. What is not named here stays inside.

Decided for every field of `AuditRecord` (docs/dataset-card.md says it for readers):

- left out: suspects, alarms, exact copies, parts, closest pairs, exposure (names of patients and images, scores of
  single images); thresholds and alarm lines (scores of single real images); distribution and curve of the attack
  (points of single images and patients); folder names, content hashes, notes, unread and excluded files, settings
  (names and hashes of real files); the checks of masks but one share about synthetic images.
- in other words: not_tested and warnings (see `sentences`), counts of real patients and images under the minimum cell.
- withheld: a number from which a count under the minimum cell could be worked out. A bound of 1 - 0.05^(1/S) tells S,
  17 of 17 caught tells that train has 17 patients, 40 tumours planted among 44 patients tell of 4 without a tumour.
- told of distributions (see `measures`): of a real curve only the points on which enough patients stand.
- kept although small: counts of synthetic images, of readings and of attempts, and how many planted copies were caught.
  These count images that nobody is in, or what the audit did.
"""

from __future__ import annotations

from collections.abc import Sequence

from synthrelease.decision.folder import Evidence
from synthrelease.records import AuditRecord, Bound, Comparison, Finding, Planted, Rate, RoleInputs
from synthrelease.release.measures import public_measures
from synthrelease.release.sentences import (
    WITHHELD_HOLDOUT,
    WITHHELD_POWER,
    WITHHELD_TRAIN,
    fewer,
    public_sentences,
    without_small_counts,
)
from synthrelease.release.shield import (
    COUNTS_OF_REAL,
    EXTREME_SHARE,
    EXTREMES,
    NAME,
    ON_HOLDOUT,
    ON_NOBODY,
    ON_TRAIN,
    PREPROCESSING,
    SHA256,
    TOLD_INSIDE,
    VERSION,
    WORDS,
    Shield,
    matching,
    shield_of,
    withholds,
)
from synthrelease.release_records import (
    Approval,
    DecisionRecord,
    PublicBound,
    PublicCohort,
    PublicExtractor,
    PublicImages,
    PublicMembership,
    PublicRate,
    PublicRecord,
    Question,
    Reading,
    ReleaseOptions,
)


def public_record(
    evidence: Evidence,
    decision: DecisionRecord,
    approvals: Sequence[Approval],
    options: ReleaseOptions,
    images: PublicImages,
    date: str,
) -> PublicRecord:
    """Return everything that a package may say about its release.

    Args:
        evidence: The audit behind the release.
        decision: The policy held against it; its `minimum_cell` is the smallest count of real patients that is told.
        approvals: Those in force.
        options: What the person who packages says; printed as it is.
        images: The released images in numbers.
        date: ISO 8601; the package's only date besides those of the approvals.
    """
    audit = evidence.audit
    shield = shield_of(audit, decision.utility, decision.minimum_cell)
    near, masks = audit.near_copies, audit.masks
    measures = public_measures(decision.quality, decision.utility, audit, images.channels, shield)
    return PublicRecord(
        options=options,
        images=images,
        train=_cohort(audit.inputs.train, shield.cell),
        holdout=_cohort(audit.inputs.holdout, shield.cell) if audit.inputs.holdout else None,
        decision=decision.decision,
        policy=decision.policy,
        policy_version=decision.policy_version,
        policy_sha256=decision.policy_sha256,
        release_model=decision.release_model,
        findings=tuple(_finding(item, shield) for item in decision.findings),
        questions=tuple(_question(item, shield) for item in decision.questions),
        reading=_reading(decision.reading),
        attempts=decision.attempts,
        removed_images=sum(len(removal.images) for removal in decision.removals),
        residual_at_most=_residual(decision, shield),
        approvals=tuple(map(_approval, approvals)),
        near_copies_synthetic=_rate(near.synthetic, near.synthetic.flagged, shield),
        near_copies_holdout=None if near.holdout is None or shield.small_holdout else _rate(near.holdout, None, shield),
        excess=None if near.excess is None or shield.small_holdout else _rate(near.excess, None, shield),
        stranger_bound=None if shield.small_holdout else audit.stranger_bound,
        planted=tuple(map(_planted, shield.planted)),
        bounds=tuple(_bound(bound) for bound in audit.bounds if shield.tells(bound)),
        membership=None if shield.small else _membership(audit),
        comparisons=() if shield.small_train else tuple(_comparison(item, audit, shield) for item in audit.comparisons),
        quality=measures.quality,
        utility=measures.utility,
        curves=measures.curves,
        off_level_share=None if masks is None else masks.off_level_share,
        extractors=_extractors(audit),
        alpha=audit.alpha,
        seed=audit.made_with.seed,
        scaling=matching(WORDS, audit.inputs.scaling),
        not_tested=_not_tested(audit, shield),
        evidence_sha256=decision.binding,
        synthrelease=matching(VERSION, audit.made_with.synthrelease),
        packages=_packages(audit.made_with.packages),
        date=date,
    )


def _cohort(role: RoleInputs, cell: int) -> PublicCohort:
    def told(count: int | None) -> str:
        return "unknown" if count is None else str(count) if count >= cell else fewer(cell)

    return PublicCohort(subjects=told(role.subjects), images=told(role.images))


def _finding(finding: Finding, shield: Shield) -> Finding:
    measure, value = finding.measure, finding.value
    detail = without_small_counts(matching(WORDS, finding.detail), shield.cell)
    if measure in COUNTS_OF_REAL:
        if value is not None and 0 < value < shield.cell:
            value, detail = None, f"{fewer(shield.cell)}".capitalize()
    elif measure not in ON_NOBODY | ON_HOLDOUT | ON_TRAIN or withholds(measure, shield):
        value, detail = None, "" if value is None else TOLD_INSIDE
    return Finding(
        rule=finding.rule,
        measure=measure,
        value=value,
        limit=finding.limit,
        side=finding.side,
        passed=finding.passed,
        outcome=finding.outcome,
        decides=finding.decides,
        detail=detail,
        reason=finding.reason,
        source=finding.source,
    )


def _question(question: Question, shield: Shield) -> Question:
    """Return the question; its result in words alone where numbers would tell of too few patients."""
    result = without_small_counts(question.result, shield.cell)
    if (shield.small or shield.hides_power) and any(char.isdigit() for char in result):
        result = f"Tested; the numbers are told inside only: they would tell of {fewer(shield.cell)} patients."
    return Question(
        question=question.question,
        asks=question.asks,
        source=question.source,
        tests=question.tests,
        result=result,
    )


def _residual(decision: DecisionRecord, shield: Shield) -> int | None:
    if shield.small_train or shield.hides_power or not decision.removals:
        return None
    return max(removal.residual_at_most for removal in decision.removals)


def _approval(approval: Approval) -> Approval:
    """Return who approved and under which conditions; the reason only where it overrides the decision."""
    return Approval(
        by=approval.by,
        role=approval.role,
        reason=approval.reason if approval.override_of else "",
        conditions=approval.conditions,
        review_by=approval.review_by,
        date=approval.date,
        override_of=approval.override_of,
    )


def _rate(rate: Rate, flagged: int | None, shield: Shield) -> PublicRate:
    """Return a rate; `flagged` is None for real images, of which a handful lie above any line."""
    method = without_small_counts(matching(WORDS, rate.method), shield.cell)
    return PublicRate(value=rate.value, low=rate.low, high=rate.high, count=rate.count, flagged=flagged, method=method)


def _reading(reading: Reading) -> Reading:
    return Reading(
        to_read=reading.to_read,
        read=reading.read,
        copies=reading.copies,
        not_copies=reading.not_copies,
        unsure=reading.unsure,
        planted_copies=reading.planted_copies,
        planted_copies_recognised=reading.planted_copies_recognised,
        planted_strangers=reading.planted_strangers,
        planted_strangers_recognised=reading.planted_strangers_recognised,
        readers=reading.readers,
    )


def _planted(item: Planted) -> Planted:
    return Planted(
        transformation=matching(NAME, item.transformation),
        strength=matching(WORDS, item.strength),
        part=item.part,
        required=item.required,
        held_out=item.held_out,
        planted=item.planted,
        caught=item.caught,
        low=item.low,
        high=item.high,
        caught_at_alarm=item.caught_at_alarm,
        low_at_alarm=item.low_at_alarm,
        high_at_alarm=item.high_at_alarm,
        right_source=item.right_source,
    )


def _bound(bound: Bound) -> PublicBound:
    return PublicBound(
        kind=matching(WORDS, bound.kind),
        part=bound.part,
        required=bound.required,
        power_low=bound.power_low,
        at_most=bound.at_most,
    )


def _membership(audit: AuditRecord) -> PublicMembership | None:
    attack = audit.membership
    if attack is None:
        return None
    return PublicMembership(
        auc=attack.auc,
        low=attack.low,
        high=attack.high,
        null_low=attack.null_low,
        null_high=attack.null_high,
        control_auc=attack.control_auc,
        tpr_at_fpr_01=attack.tpr_at_fpr_01,
    )


def _comparison(item: Comparison, audit: AuditRecord, shield: Shield) -> Comparison:
    holdout = audit.inputs.holdout

    def told(value: float | None, images: int) -> float | None:
        single = item.name in EXTREMES and images * EXTREME_SHARE < shield.cell
        return None if single else value

    value = told(item.value, audit.inputs.synthetic.images)
    reference = None if holdout is None or shield.small_holdout else told(item.holdout_value, holdout.images)
    withheld = (value, reference) != (item.value, item.holdout_value)
    return Comparison(
        name=matching(NAME, item.name),
        value=value,
        holdout_value=reference,
        unit=matching(WORDS, item.unit),
        features=matching(NAME, item.features),
        direction=matching(WORDS, item.direction),
        note="Withheld: it rests on a few single images." if withheld else "" if value is not None else "Not computed.",
    )


def _extractors(audit: AuditRecord) -> tuple[PublicExtractor, ...]:
    return tuple(
        PublicExtractor(
            name=matching(NAME, item.name),
            preprocessing=matching(PREPROCESSING, item.preprocessing),
            # Weights that were fitted on train are a fingerprint of train.
            weights_sha256=matching(SHA256, item.weights_sha256 or "") or None if item.fitted_on == "nothing" else None,
            fitted_on=item.fitted_on,
        )
        for item in audit.made_with.extractors
    )


def _packages(packages: dict[str, str]) -> dict[str, str]:
    named = {name: version for name, version in sorted(packages.items()) if VERSION.fullmatch(name)}
    return {name: version for name, version in named.items() if VERSION.fullmatch(version)}


def _not_tested(audit: AuditRecord, shield: Shield) -> tuple[str, ...]:
    withheld = (
        (WITHHELD_TRAIN, shield.small_train),
        (WITHHELD_HOLDOUT, shield.small_holdout),
        (WITHHELD_POWER, shield.hides_kinds),
    )
    sentences = [sentence.format(cell=shield.cell) for sentence, applies in withheld if applies]
    return (*sentences, *public_sentences((*audit.not_tested, *audit.warnings)))
