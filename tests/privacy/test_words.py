"""Sentences: what was not tested is said, and warnings reach the reader."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from synthrelease.image_set import ImageRow, from_arrays
from synthrelease.privacy import words
from synthrelease.privacy.calibration import Thresholds
from synthrelease.privacy.roles import check_roles
from synthrelease.privacy.screening import Calibration
from synthrelease.settings import AuditSettings

ONE = Calibration(0.8, 0.9)
LIMITS = Thresholds(ONE, {"patch": ONE, "tumour": ONE}, 0.1, np.array([0.5]), False, 0.8)


def a_set(prefix, subjects, size=8):
    rows = [ImageRow(f"{prefix}{i}", f"{prefix}{i}") for i in range(subjects)]
    return from_arrays(np.zeros((subjects, 2, size, size), np.uint8), rows, channels=("T1", "mask"))


def roles(train=20, holdout=20, **changes):
    made = {"train": a_set("t", train), "holdout": a_set("h", holdout) if holdout else None, "synthetic": a_set("s", 4)}
    return check_roles(**{**made, **changes}, channels=())


def said(found=None, limits=LIMITS, notes=(), **options):
    return " ".join(words.not_tested(found or roles(), limits, AuditSettings(**options), list(notes)))


def test_what_no_audit_of_images_can_see_is_always_said():
    text = said()

    for word in ("Attribute inference", "Linkage", "generator's weights", "repeat visits", "checkpoint", "three-dim"):
        assert word in text


def test_without_a_holdout_nothing_is_called_calibrated():
    text = said(roles(holdout=0), limits=None)

    assert "Nothing is calibrated" in text
    assert "power" in text


def test_a_search_that_was_switched_off_or_impossible_is_said():
    assert "switched off" in said(parts=False)
    assert "Copied patches" in said(limits=replace(LIMITS, parts={"tumour": ONE}))
    assert "Copied tumours in other heads" in said(limits=replace(LIMITS, parts={"patch": ONE}))
    assert "Copied tumours in other heads" not in said()


def test_few_holdout_subjects_cannot_make_one_image_significant():
    assert "no p-value can be below 0.09" in said(roles(holdout=10))
    assert "no p-value" not in said()


def test_notes_of_other_steps_come_through_once():
    text = words.not_tested(roles(), LIMITS, AuditSettings(), ["Not attacked: few.", "", "Same.", "Same."])

    assert "Not attacked: few." in text
    assert list(text).count("Same.") == 1
    assert "" not in text


def test_warnings_name_their_role_and_tell_of_sizes_degradation_attempts_and_few_subjects():
    train = replace(a_set("t", 4), notes=("warning: each file is its own subject", "12 empty slices left out"))
    odd = check_roles(train=train, holdout=a_set("h", 6, 16), synthetic=a_set("s", 4), channels=())

    found = words.warnings(odd, replace(LIMITS, degraded=True), AuditSettings(attempt=2))

    text = "\n".join(found)
    assert "train: each file is its own subject" in found
    assert "empty slices" not in text
    assert "holdout 16x16" in text
    assert "smoother or noisier" in text
    assert "attempt 2" in text
    assert "Only 4 train subjects" in text


def test_a_plain_audit_has_no_warnings():
    assert words.warnings(roles(), LIMITS, AuditSettings()) == ()
