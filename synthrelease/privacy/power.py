"""Plants copies of every kind in the queries and records how many are caught."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from synthrelease.image_set import ImageSet
from synthrelease.privacy import planted
from synthrelease.privacy.calibration import Thresholds
from synthrelease.privacy.gallery import Gallery
from synthrelease.privacy.queries import Degradation
from synthrelease.privacy.roles import Roles
from synthrelease.privacy.transformations import KINDS
from synthrelease.records import Planted
from synthrelease.settings import AuditSettings

Scores = NDArray[np.float64]


def plant(
    gallery: Gallery, roles: Roles, limits: Thresholds | None, degradation: Degradation, settings: AuditSettings
) -> tuple[tuple[Planted, ...], Scores]:
    """Return one row per kind and the scores of all required whole-image copies; nothing without thresholds."""
    if limits is None:
        return (), np.array([])
    rows, scores = _plant_whole(gallery, roles, limits, degradation, settings)
    if settings.parts and roles.holdout is not None:
        rows += _plant_parts(gallery, roles, roles.holdout, limits, degradation, settings)
    return tuple(rows), scores


def _plant_whole(
    gallery: Gallery, roles: Roles, limits: Thresholds, degradation: Degradation, settings: AuditSettings
) -> tuple[list[Planted], Scores]:
    frame = gallery.frame
    plan = planted.plan_whole(roles.train.subjects, settings.planted_subjects, settings.seed)
    queries = planted.whole_queries(plan, roles.train, frame.channels, frame.size, settings.seed, degradation)
    found = gallery.screen(queries, settings.candidates, with_parts=False).whole
    right = _right(roles, found.index, plan.subjects)
    rows, shown = [], []
    for kind in KINDS:
        chosen = plan.of_kind(kind.name)
        if not chosen.any():
            continue
        rows.append(
            planted.power_row(
                kind.name,
                kind.strength,
                "whole",
                scores=found.score[chosen],
                right=right[chosen],
                flag=limits.whole.flag,
                alarm=limits.whole.alarm,
                required=kind.required,
                held_out=kind.held_out,
            )
        )
        if kind.required:
            shown.append(found.score[chosen])
    return rows, np.concatenate(shown) if shown else np.array([])


def _plant_parts(
    gallery: Gallery,
    roles: Roles,
    heads: ImageSet,
    limits: Thresholds,
    degradation: Degradation,
    settings: AuditSettings,
) -> list[Planted]:
    frame = gallery.frame
    has_tumour = gallery.boxes[:, 2] > gallery.boxes[:, 0]
    plan = planted.plan_parts(roles.train.subjects, has_tumour, len(heads), settings.planted_subjects, settings.seed)
    queries = planted.part_queries(plan, roles.train, heads, frame.channels, frame.size, settings.seed, degradation)
    found = gallery.screen(queries, settings.candidates, whole=False)
    rows = []
    for name, strength, part in planted.PART_KINDS:
        chosen = plan.of_kind(name)
        searched = part in limits.parts or any(key.startswith(part) for key in limits.parts)
        if not chosen.any() or not searched:
            continue
        matches = found.patch if part == "patch" else found.tumour
        if part == "patch":
            flag: Scores | float = limits.patch().flag
            alarm: Scores | float = limits.patch().alarm
        else:
            areas = found.tumour_area[chosen]
            flag, alarm = limits.tumour(areas, "flag"), limits.tumour(areas, "alarm")
        rows.append(
            planted.power_row(
                name,
                strength,
                part,
                scores=matches.score[chosen],
                right=_right(roles, matches.index[chosen], plan.subjects[chosen]),
                flag=flag,
                alarm=alarm,
                required=False,
            )
        )
    return rows


def _right(roles: Roles, index: NDArray[np.int64], subjects: NDArray[np.str_]) -> NDArray[np.bool_]:
    """Say which matches name the source's subject; index -1 is no match, not the last train image."""
    named: NDArray[np.bool_] = (index >= 0) & (roles.train.subjects[index] == subjects)
    return named
