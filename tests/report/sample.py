"""Builds audit records for tests: every field filled, and nearly every number different from all others."""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy import ndimage

from synthrelease.records import (
    AuditRecord,
    Bound,
    Comparison,
    Distribution,
    Exposure,
    ExtractorUsed,
    Finding,
    Inputs,
    MadeWith,
    MaskCheck,
    MembershipAttack,
    NearCopies,
    PartSuspect,
    Planted,
    Rate,
    RepresentativeCheck,
    RoleInputs,
    Suspect,
    TransferCheck,
    UnreadFile,
    Verdict,
)
from synthrelease.report.pairs import Pair, Pixels

AT_LEAST = ("holdout_subjects", "representative", "power_low")
CHANNELS = ("t1", "t1ce", "t2", "flair")
HOSTILE = "<script>alert(1)</script>\n../../etc/\u202egnp.exe\x00" + "very-long-name-" * 12 + '"onerror=x {{ 7*7 }}'
KINDS = (
    ("identity", "unchanged", 72, False),
    ("mirror", "left-right", 72, False),
    ("rotation", "15 degrees", 70, False),
    ("elastic", "2 px at 128 px", 69, False),
    ("noise", "standard deviation 0.1", 66, False),
    ("blur", "2 px at 128 px", 71, False),
    ("crop", "80 % of each side", 52, False),
    ("swirl", "20 degrees at the centre", 63, True),
)


def sample_record(verdict: Verdict = "review", **changes: Any) -> AuditRecord:
    """Return a record with that verdict; ``changes`` replace whole fields."""
    suspects = () if verdict == "pass" else tuple(suspect(i, above_alarm=i < 4) for i in range(9))
    if verdict == "reject":
        suspects = (suspect(99, exact=True, above_alarm=True, score=1.0), *suspects)
    fields: dict[str, Any] = {
        "verdict": verdict,
        "findings": findings(verdict),
        "calibrated": True,
        "alpha": 0.01,
        "threshold": 0.4127,
        "alarm": 0.5363,
        "part_thresholds": {"patch": 0.6214, "tumour_small": 0.6622, "tumour_large": 0.5931},
        "part_alarms": {"patch": 0.7318, "tumour_small": 0.7745, "tumour_large": 0.7029},
        "stranger_bound": 0.1707,
        "near_copies": near_copies(len(suspects)),
        "suspects": suspects,
        "alarms": tuple(item for item in suspects if item.above_alarm),
        "exact_copies": tuple(item for item in suspects if item.exact),
        "part_suspects": () if verdict == "pass" else part_suspects(),
        "part_alarms_count": 0 if verdict == "pass" else 1,
        "exposed_subjects": tuple(sorted({item.train_subject for item in suspects})),
        "exposure": tuple(exposure(i) for i in range(26)),
        "closest": tuple(suspect(20 + i, score=0.4 - 0.011 * i) for i in range(20)),
        "planted": planted(),
        "bounds": bounds(),
        "membership": membership(),
        "representative": RepresentativeCheck(auc=0.5219, p_value=0.347, representative=True, features="radimagenet"),
        "transfer": TransferCheck(
            blur_sd=0.731, noise_sd=0.0213, threshold_plain=0.4056, threshold_degraded=0.4127, transferable=True
        ),
        "masks": masks(),
        "comparisons": comparisons(),
        "distribution": distribution(),
        "not_tested": (
            "Whether attributes of a patient can be inferred.",
            "Attackers who hold the generator's weights.",
            "Copies of a 3-D volume spread across slices.",
        ),
        "warnings": ("Two synthetic images are nearly constant.",),
        "inputs": inputs(),
        "made_with": made_with(),
    }
    if verdict == "incomplete":
        fields |= without_holdout()
    return AuditRecord(**(fields | changes))


def without_holdout() -> dict[str, Any]:
    bare = tuple(
        suspect(20 + i, score=0.4 - 0.011 * i).model_copy(
            update={"p_value": None, "q_value": None, "holdout_image_id": None, "holdout_score": None}
        )
        for i in range(20)
    )
    nothing = dict.fromkeys(
        ("threshold", "alarm", "stranger_bound", "membership", "representative", "transfer", "masks", "distribution")
    )
    empty: dict[str, Any] = dict.fromkeys(
        ("suspects", "alarms", "exact_copies", "part_suspects", "exposed_subjects", "planted", "bounds"), ()
    )
    near = NearCopies(synthetic=Rate(value=0, low=0, high=1, count=1987), holdout=None, excess=None)
    return {
        **nothing,
        **empty,
        "calibrated": False,
        "near_copies": near,
        "closest": bare,
        "part_thresholds": {},
        "part_alarms": {},
        "part_alarms_count": 0,
        "inputs": inputs().model_copy(update={"holdout": None}),
    }


def suspect(number: int, **changes: Any) -> Suspect:
    fields: dict[str, Any] = {
        "image_id": f"generated/seed{number:05d}.png",
        "train_image_id": f"TCGA_{number:02d}/slice_{number + 3}.webp",
        "train_subject": f"TCGA_{number:02d}",
        "score": 0.7831 - 0.0317 * min(number, 11),
        "p_value": 0.0012 + 0.00173 * number,
        "q_value": 0.0109 + 0.00229 * number,
        "mirrored": number % 3 == 1,
        "holdout_image_id": f"HELD_{number:02d}/slice_{number}.webp",
        "holdout_score": 0.2114 + 0.0041 * (number % 17),
    }
    return Suspect(**(fields | changes))


def findings(verdict: Verdict) -> tuple[Finding, ...]:
    """Return findings of which none passes under `verdict` but those that the verdict allows."""
    broken = {"review": "alarms", "reject": "exact_copies", "incomplete": "holdout_subjects"}.get(verdict)
    rules = (
        ("No exact copies", "exact_copies", 0.0, 0.0, "A verbatim copy is the patient's own image."),
        ("No clear excess", "excess_low", -0.0189, 0.005, "More near copies than strangers give."),
        ("Enough strangers", "holdout_subjects", 16.0, 5.0, "Fewer strangers are no yardstick."),
        ("Holdout represents train", "representative", 1.0, 1.0, "Otherwise the holdout is no yardstick."),
        ("The audit can see copies", "power_low", 0.8412, 0.8, "What the audit cannot see it cannot clear."),
        ("Nothing above alarm", "alarms", 0.0, 0.0, "Each image above every stranger needs a person."),
        ("Members are not recognisable", "membership_above_null", -0.0474, 0.0, "Above what chance alone gives."),
        ("Fresh rule of the user", "something.new", 0.0611, 0.123, "A measure that this report does not know."),
    )
    values = {"alarms": 5.0, "exact_copies": 1.0, "holdout_subjects": None}
    return tuple(
        Finding(
            rule=rule,
            measure=measure,
            value=values[measure] if measure == broken else value,
            limit=limit,
            side="at least" if measure in AT_LEAST else "at most",
            passed=measure != broken,
            outcome=verdict if measure == broken else "pass",
            reason=reason,
            source="policies/built-in.toml, rule 3" if measure == "alarms" else "",
        )
        for rule, measure, value, limit, reason in rules
    )


def near_copies(flagged: int) -> NearCopies:
    return NearCopies(
        synthetic=Rate(
            value=flagged / 1987, low=0.0007, high=0.00861, count=1987, flagged=flagged, method="Clopper-Pearson"
        ),
        holdout=Rate(
            value=0.0103, low=0.0034, high=0.0241, count=388, flagged=4, subjects=16, method="bootstrap of subjects"
        ),
        excess=Rate(value=-0.00577, low=-0.0189, high=0.00277, count=1987, method="bootstrap, threshold refitted"),
    )


def part_suspects() -> tuple[PartSuspect, ...]:
    return (
        PartSuspect(
            image_id="generated/seed00777.png",
            part="tumour",
            box=(31, 44, 97, 118),
            train_image_id="TCGA_31/slice_9.webp",
            train_subject="TCGA_31",
            score=0.8123,
            above_alarm=True,
        ),
    )


def exposure(number: int) -> Exposure:
    return Exposure(
        subject=f"TCGA_{number:02d}",
        images=11 + number,
        highest_score=0.7831 - 0.0217 * number,
        alarms=max(0, 2 - number),
        suspects=max(0, 3 - number),
        share_of_hits=0.0511 - 0.0013 * number,
        expected_share=0.0227 + 0.0003 * number,
        p_value=min(1.0, 0.0213 + 0.031 * number),
    )


def planted() -> tuple[Planted, ...]:
    return tuple(
        Planted(
            transformation=name,
            strength=strength,
            part="tumour" if name == "crop" else "whole",
            required=not held_out,
            held_out=held_out,
            planted=72,
            caught=caught,
            low=caught / 72 - 0.0513,
            high=min(1.0, caught / 72 + 0.0309),
            caught_at_alarm=caught - 3,
            low_at_alarm=caught / 72 - 0.1017,
            high_at_alarm=min(1.0, caught / 72 + 0.0101),
            right_source=min(72, caught + 1),
        )
        for name, strength, caught, held_out in KINDS
    )


def bounds() -> tuple[Bound, ...]:
    return tuple(
        Bound(
            kind=f"{item.transformation} {item.strength}",
            part=item.part,
            required=item.required,
            power_low=item.low_at_alarm,
            at_most=0.0052 + 0.00113 * number,
            residual_at_most=103 + number,
        )
        for number, item in enumerate(planted())
    )


def membership() -> MembershipAttack:
    accused = np.linspace(0, 1, 41)
    return MembershipAttack(
        features="radimagenet-resnet50",
        auc=0.5337,
        low=0.4611,
        high=0.6093,
        p_value=0.218,
        null_low=0.4192,
        null_high=0.5811,
        control_auc=0.5274,
        tpr_at_fpr_01=None,
        tpr_at_fpr_001=None,
        subjects_train=44,
        subjects_holdout=16,
        roc=tuple((float(x), float(x**0.88)) for x in accused),
    )


def masks() -> MaskCheck:
    return MaskCheck(
        images=1987,
        off_level_share=0.00123,
        off_level_share_real=0.0,
        nesting_violations=0.0431,
        nesting_violations_real=0.0117,
        area_quantiles=(0.0131, 0.0293, 0.0547),
        area_quantiles_real=(0.0142, 0.0315, 0.0609),
        area_p_value=0.173,
    )


def comparisons() -> tuple[Comparison, ...]:
    return (
        Comparison(
            name="AuthPct",
            value=83.2,
            holdout_value=81.9,
            unit="%",
            features="radimagenet-resnet50",
            direction="low",
            note="Adjacent slices left out.",
        ),
        Comparison(name="C_T", value=-1.372, holdout_value=0.211, unit="z", features="pixels", direction="below 0"),
        Comparison(name="MIFID", value=1613472.0, holdout_value=571.4, direction="high", note="Ratio to FID."),
        Comparison(name="Vendi", value=None, direction="low", note="Too few images."),
    )


def distribution() -> Distribution:
    edges = np.linspace(-0.05, 1.0, 43)
    middle = (edges[1:] + edges[:-1]) / 2

    def bell(centre: float, width: float, least: float) -> tuple[float, ...]:
        heights = np.exp(-((middle - centre) ** 2) / (2 * width**2)) / (width * 2.5066)
        return tuple(float(value) if value > least else 0.0 for value in heights)

    synthetic = np.array(bell(0.19, 0.062, 0.02))
    synthetic[[28, 31, 33]] = 0.013
    return Distribution(
        edges=tuple(map(float, edges)),
        synthetic=tuple(map(float, synthetic)),
        holdout=bell(0.2, 0.074, 0.02),
        planted=bell(0.83, 0.07, 0.05),
    )


def inputs() -> Inputs:
    def role(folder: str, images: int, subjects: int | None, letter: str) -> RoleInputs:
        return RoleInputs(
            folder=folder,
            images=images,
            subjects=subjects,
            size=(256, 240),
            channels=(*CHANNELS, "mask"),
            dtype="uint8",
            content=letter * 64,
            notes=(f"{subjects or 7} empty slices left out.",),
        )

    return Inputs(
        train=role("train", 1046, 44, "a"),
        holdout=role("holdout", 388, 16, "b"),
        synthetic=role("generated", 1987, None, "c"),
        channels=CHANNELS,
        scaling="each image by its 99.5th percentile inside the head",
        unread=(UnreadFile(role="synthetic", image_id="generated/broken.png", reason="the file ends early"),),
        excluded=("generated/test-card.png",),
    )


def made_with() -> MadeWith:
    return MadeWith(
        synthrelease="0.1.0",
        python="3.11.2",
        packages={"numpy": "2.4.1", "torch": "2.13.0"},
        settings={"alpha": 0.01, "power_floor": 0.8, "extractors": ["embedded"], "attempt": 1, "weights": {}},
        seed=1234567,
        extractors=(
            ExtractorUsed(name="embedded", preprocessing="3", fitted_on="train", width=640),
            ExtractorUsed(
                name="radimagenet-resnet50",
                preprocessing="1",
                weights_sha256="d" * 64,
                fitted_on="nothing",
                width=2048,
                searched=False,
            ),
        ),
        date="2026-11-22T19:30:00Z",
        seconds=412.7,
    )


def head(seed: int, side: int = 256, contrasts: int = 4) -> Pixels:
    """Return something head-like (contrasts, side, side): an ellipse with structure and noise."""
    random = np.random.default_rng(seed)
    rows, columns = np.mgrid[-1 : 1 : side * 1j, -1 : 1 : side * 1j]
    wobble = 1 + 0.05 * random.standard_normal() + 0.04 * np.cos(3 * np.arctan2(rows, columns) + seed)
    inside = (rows / 0.85) ** 2 + (columns / 0.68) ** 2 < wobble
    images = []
    for contrast in range(contrasts):
        texture = ndimage.gaussian_filter(random.standard_normal((side, side)), side / 28)
        image = 0.45 + 0.08 * contrast + 0.16 * texture / texture.std()
        tumour = ((rows - 0.2) ** 2 + (columns + 0.3) ** 2) < 0.05
        images.append((image + 0.3 * tumour * contrast / 3 + 0.03 * random.standard_normal((side, side))) * inside)
    return np.clip(np.stack(images), 0, 1).astype(np.float32)


def sample_pairs(record: AuditRecord, side: int = 256) -> list[Pair]:
    """Return pairs for the record's suspects, part suspects and closest images."""
    listed = [("suspect", item) for item in record.suspects] + [("closest", item) for item in record.closest]
    pairs = [_pair(item, kind, number, record.calibrated, side) for number, (kind, item) in enumerate(listed)]
    for part in record.part_suspects:
        whole = suspect(777, image_id=part.image_id, train_image_id=part.train_image_id, score=part.score)
        pairs.append(_pair(whole, "part", 777, record.calibrated, side))
    return pairs


def _pair(item: Suspect, kind: Any, number: int, calibrated: bool, side: int) -> Pair:
    train = head(number, side)
    random = np.random.default_rng(number)
    copied = ndimage.gaussian_filter(train, (0, 1, 1)) + 0.02 * random.standard_normal(train.shape)
    synthetic = copied if kind != "closest" else 0.4 * train + 0.6 * head(number + 1000, side)
    return Pair(
        suspect=item,
        synthetic=np.clip(synthetic, 0, 1).astype(np.float32),
        train=train,
        holdout=head(number + 500, side) if calibrated else None,
        channels=CHANNELS,
        kind=kind,
    )
