"""Thresholds from strangers: whole images, patches and tumours share alpha, each its own yardstick."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from synthrelease.image_set import ImageSet
from synthrelease.metrics.intervals import Labels
from synthrelease.privacy.gallery import Screened
from synthrelease.privacy.screening import Calibration, calibrate

FEWEST_PART_SUBJECTS = 5  # holdout subjects with such a part; with fewer the part is not searched
TUMOUR_STRATA = ("tumour_small", "tumour_large")

Scores = NDArray[np.float64]
_NOTHING_ABOVE = Calibration(flag=np.inf, alarm=np.inf)


@dataclass(frozen=True)
class Thresholds:
    """Flag and alarm of whole images and of every part that could be calibrated."""

    whole: Calibration
    parts: dict[str, Calibration]  # patch, tumour_small, tumour_large (or tumour)
    tumour_split: float  # box area, share of the image, that divides small from large tumours
    scores: Scores  # whole-image scores of the holdout queries that gave the worse threshold
    degraded: bool
    plain_flag: float

    def patch(self) -> Calibration:
        return self.parts.get("patch", _NOTHING_ABOVE)

    def tumour(self, areas: Scores, which: str) -> Scores:
        """Return the threshold (`flag` or `alarm`) of each tumour by its box area; infinite where none applies."""
        common = self.parts.get("tumour", _NOTHING_ABOVE)
        small, large = (self.parts.get(name, common) for name in TUMOUR_STRATA)
        chosen = np.where(areas < self.tumour_split, getattr(small, which), getattr(large, which))
        return np.where(areas > 0, chosen, np.inf)


def thresholds(holdout: ImageSet, searches: list[Screened], share: float) -> Thresholds:
    """Return the worse of the thresholds from plain and (where given) degraded holdout queries.

    Args:
        holdout: The holdout set.
        searches: Its search results: plain, then degraded if synthetic images are smoother or noisier.
        share: Of strangers' images that may be flagged by each search: `AuditSettings.alpha_each`.
    """
    subjects = holdout.subjects
    wholes = [calibrate(found.whole.score, subjects, share) for found in searches]
    worst = int(np.argmax([w.flag for w in wholes]))
    split = _split(searches[0].tumour_area, subjects)
    parts: dict[str, Calibration] = {}
    for found in searches:
        for name, calibration in _part_thresholds(found, subjects, share, split).items():
            parts[name] = _worse(parts.get(name), calibration)
    whole = wholes[0]
    for other in wholes[1:]:
        whole = _worse(whole, other)
    return Thresholds(whole, parts, split, searches[worst].whole.score, worst > 0, wholes[0].flag)


def _part_thresholds(found: Screened, subjects: Labels, share: float, split: float) -> dict[str, Calibration]:
    made = {}
    there = found.patch.score > -1
    if _enough(subjects, there):
        made["patch"] = calibrate(found.patch.score[there], np.asarray(subjects)[there], share)
    there = found.tumour.score > -1
    strata = {
        "tumour_small": there & (found.tumour_area < split),
        "tumour_large": there & (found.tumour_area >= split),
    }
    if not all(_enough(subjects, chosen) for chosen in strata.values()):
        strata = {"tumour": there}
    for name, chosen in strata.items():
        if _enough(subjects, chosen):
            made[name] = calibrate(found.tumour.score[chosen], np.asarray(subjects)[chosen], share)
    return made


def _split(areas: Scores, subjects: Labels) -> float:
    there = areas > 0
    return float(np.median(areas[there])) if _enough(subjects, there) else 0.0


def _enough(subjects: Labels, chosen: NDArray[np.bool_]) -> bool:
    return len(np.unique(np.asarray(subjects)[chosen])) >= FEWEST_PART_SUBJECTS


def _worse(first: Calibration | None, second: Calibration) -> Calibration:
    if first is None:
        return second
    return Calibration(flag=max(first.flag, second.flag), alarm=max(first.alarm, second.alarm))
