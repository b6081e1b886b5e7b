"""Words of the study's page: training sets, measures, and the dots of its first figure."""

from __future__ import annotations

from dataclasses import dataclass

from synthrelease.study_records import Interval

ARMS = {"real": "real alone", "synthetic": "synthetic alone", "both": "synthetic + real"}
NAMES = {
    "dice": "Dice",
    "hausdorff": "Hausdorff distance, maximum",
    "hausdorff_95": "Hausdorff distance, 95 %",
    "near_copies": "near-copy rate",
}
STATES = {"failed": "failed", "blocked": "not started: needs a failed job", "waiting": "waiting", "running": "running"}
DECISIONS = {"APPROVE": "pass", "REVIEW": "review", "REJECT": "reject", "INCOMPLETE": "incomplete"}


@dataclass(frozen=True)
class Spot:
    """One generator's images on one data set, judged by one segmenter: a dot of the first figure."""

    data: str
    segmenter: str
    generator: str
    quality: float
    relative: Interval
    value: float
    """Of `relative`."""
    near_copies: float | None
    """Share of synthetic images; None: not audited."""


def augmentation(augmented: bool) -> str:
    """Return whether training images were augmented, in words."""
    return "augmented" if augmented else "not augmented"


def measure_name(measure: str) -> str:
    """Return a measure as a reader knows it; names of quality measures stand as `synthrelease measure` gives them."""
    return NAMES.get(measure, measure)
