"""Builds decisions and public records for tests: every field filled, and nearly every number different from others."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from sample import sample_record

from synthrelease.decision.folder import Evidence
from synthrelease.records import AuditRecord, Finding, Rate
from synthrelease.release.publish import public_record
from synthrelease.release_records import (
    Approval,
    DecisionRecord,
    Measurement,
    PublicImages,
    PublicRecord,
    QualityRecord,
    Question,
    Reading,
    ReleaseOptions,
    Removal,
    UtilityRecord,
)

DATE = "2026-11-22T20:15:00+00:00"


def sample_options(**changes: Any) -> ReleaseOptions:
    fields: dict[str, Any] = {
        "title": "Synthetic gliomas of Linköping",
        "creators": ("Ada Almqvist", "Institute of Synthesis"),
        "licence": "CC-BY-4.0",
        "description": "Axial slices with masks.\nMade for teaching.",
        "contact": "steward@hospital.example",
        "generator": "StyleGAN 2, 256 px, 25,000 kimg, truncation 0.7",
        "intended_uses": "Teaching of segmentation.",
        "version": "1.2.0",
        "image_format": "nifti",
    }
    return ReleaseOptions(**(fields | changes))


def sample_images(**changes: Any) -> PublicImages:
    fields: dict[str, Any] = {
        "count": 1979,
        "files": 9895,
        "height": 256,
        "width": 240,
        "channels": ("t1", "t1ce", "t2", "flair", "mask"),
        "dtype": "uint8",
        "voxel_size": (1.0, 0.9, 1.2),
        "volumes": 17,
    }
    return PublicImages(**(fields | changes))


def sample_findings() -> tuple[Finding, ...]:
    rules: tuple[tuple[str, str, float | None, float, Any, str, bool, str], ...] = (
        ("No confirmed copies", "confirmed_copies", 0, 0, "at most", "pass", True, ""),
        ("Every alarm was read by a person", "unread_alarms", 3, 0, "at most", "review", True, ""),
        ("The audit can see copies", "power_low", 0.6843, 0.8, "at least", "incomplete", True, "hardest: crop"),
        ("Enough strangers", "holdout_subjects", 16, 20, "at least", "incomplete", True, ""),
        ("Few copies can have stayed unseen", "at_most", 0.0117, 0.02, "at most", "pass", True, "noise"),
        ("No excess of near copies", "excess_low", -0.0189, 0, "at most", "pass", True, ""),
        ("Calibrated on strangers", "calibrated", 1, 1, "at least", "pass", True, ""),
        ("Membership attack is weak", "attack_auc", 0.7123, 0.65, "at most", "review", False, ""),
        ("Images are useful", "relative_dice", None, 0.8, "at least", "incomplete", False, ""),
    )
    return tuple(
        Finding(
            rule=rule,
            measure=measure,
            value=value,
            limit=limit,
            side=side,
            passed=outcome == "pass",
            outcome=outcome,  # type: ignore[arg-type]
            decides=decides,
            detail=detail,
            reason=f"Reason of {measure}.",
            source=f"Source of {measure}",
        )
        for rule, measure, value, limit, side, outcome, decides, detail in rules
    )


def sample_questions() -> tuple[Question, ...]:
    return (
        Question(
            question="Singling out",
            asks="Can one patient be picked out?",
            source="WP29 Opinion 05/2014",
            tests=("copy screening", "exposure"),
            result="0 confirmed copies among 1,979 images.",
        ),
        Question(
            question="Linkability",
            asks="Can two records of one patient be joined?",
            source="WP29 Opinion 05/2014",
            tests=("membership attack",),
            result="AUC 0.534, chance alone 0.419 to 0.581.",
        ),
        Question(
            question="Inference", asks="Can attributes be inferred?", source="WP29", tests=(), result="not tested"
        ),
        Question(
            question="Motivated intruder",
            asks="Would somebody determined succeed?",
            source="ICO 2025",
            tests=("reading by people",),
            result="5 of 5 pairs were read.",
        ),
    )


def sample_decision(**changes: Any) -> DecisionRecord:
    fields: dict[str, Any] = {
        "decision": "INCOMPLETE",
        "policy": "controlled",
        "policy_version": 3,
        "policy_sha256": "e" * 64,
        "release_model": "controlled",
        "approvers_needed": 1,
        "minimum_cell": 10,
        "findings": sample_findings(),
        "questions": sample_questions(),
        "reading": Reading(
            to_read=23,
            read=20,
            copies=7,
            not_copies=13,
            unsure=2,
            planted_copies=6,
            planted_copies_recognised=5,
            planted_strangers=4,
            planted_strangers_recognised=3,
            readers=2,
        ),
        "attempts": 2,
        "removals": (
            Removal(
                attempt=1,
                images=tuple(f"generated/{i}.png" for i in range(8)),
                kept_after_reading=13,
                residual_at_most=105,
            ),
        ),
        "generator_authors": ("Gene Rator",),
        "quality": sample_quality(),
        "utility": sample_utility(),
        "binding": "b1" * 32,
        "date": "2026-11-22T19:59:00+00:00",
    }
    return DecisionRecord(**(fields | changes))


def sample_quality() -> QualityRecord:
    return QualityRecord(
        measurements=(
            Measurement(
                name="fid_radimagenet-resnet50",
                value=31.42,
                low=28.17,
                high=35.91,
                count=1987,
                floor=12.86,
                extractor="radimagenet-resnet50",
                unit="squared units",
                note="measured on host gpu07",
            ),
            Measurement(name="inception_score", value=None, note="no classes"),
        ),
        synthetic="c" * 64,
    )


def sample_utility() -> UtilityRecord:
    return UtilityRecord(
        relative_dice=Rate(value=0.8531, low=0.8123, high=0.8872, count=1120, subjects=56, method="bootstrap"),
        measurements=(Measurement(name="dice_whole_tumour", value=0.7714, low=0.7402, high=0.8019, count=1120),),
        segmenter="MONAI U-Net",
        seeds=5,
        synthetic="c" * 64,
    )


def sample_approvals() -> tuple[Approval, ...]:
    return (
        Approval(
            by="Stina Steward",
            role="data steward",
            reason="The holdout cannot grow; the recipients sign an agreement.",
            conditions=("No linkage with registers.", "Delete after the project."),
            review_by="2027-11-22",
            date="2026-11-22T20:01:00+00:00",
            override_of="INCOMPLETE",
        ),
        Approval(
            by="Olle Officer",
            role="data protection officer",
            reason="Internal remark.",
            date="2026-11-22T20:03:00+00:00",
        ),
    )


def sample_public(audit: AuditRecord | None = None, **changes: Any) -> PublicRecord:
    """Return the public record of the sample audit and decision; ``changes`` replace arguments of `public_record`."""
    arguments: dict[str, Any] = {
        "evidence": Evidence(Path("evidence"), audit or sample_record("review")),
        "decision": sample_decision(),
        "approvals": sample_approvals(),
        "options": sample_options(),
        "images": sample_images(),
        "date": DATE,
    }
    return public_record(**(arguments | changes))
