"""The record of usefulness: scores per training set and region, and relative Dice, with counts and intervals."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from synthrelease import seeds as randomness
from synthrelease.image_set import ImageSet
from synthrelease.records import Rate
from synthrelease.release_records import Measurement, UtilityRecord
from synthrelease.segmentation.labels import Labels
from synthrelease.segmentation.mixing import Arm
from synthrelease.segmentation.scoring import RegionScore
from synthrelease.segmentation.summary import (
    Draws,
    Estimate,
    Table,
    drawn,
    mean_estimate,
    mean_in,
    ratio_estimate,
    table_of,
)

DRAWS = 2000  # of the bootstrap
MEASURES: tuple[tuple[Literal["dice", "hausdorff", "hausdorff_95"], str], ...] = (
    ("dice", "0 to 1"),
    ("hausdorff", "mm"),
    ("hausdorff_95", "mm"),
)
_NAMES = {"unet": "MONAI U-Net", "swin": "MONAI SwinUNETR 2-D"}
CHANCE = "chance"  # where a training set's name stands in a measurement's: one fixed mask for everybody
Scores = Mapping[tuple[str, int], Sequence[RegionScore]]
"""Per training set and seed: the regions of each test subject, in one order."""


@dataclass(frozen=True)
class Compared:
    """Which trainings are compared."""

    arms: tuple[Arm, ...]
    seeds: tuple[int, ...]
    network: str  # unet or swin
    preset: str
    labels: Labels


def summarised(
    plan: Compared,
    scores: Scores,
    *,
    test_images: int,
    synthetic: ImageSet | None,
    chance: Mapping[str, Mapping[str, float | None]] | None = None,
) -> UtilityRecord:
    """Return the record of a comparison.

    Args:
        plan: What was trained.
        scores: Of every training.
        test_images: Slices that were scored.
        synthetic: What the record speaks of; its content hash ties the record to it.
        chance: Region to subject to Dice of a fixed mask; see `chance.chance_dice`.
    """
    labels = plan.labels
    regions = [name for name, _ in labels.regions]
    taken = _draws(plan, subjects=len({score.subject for score in next(iter(scores.values()))}))
    tables = {(arm, m): _table(plan, scores, arm, m, regions) for arm in plan.arms for m, _ in MEASURES}
    found: list[Measurement] = []
    for arm in plan.arms:
        own = [score for seed in plan.seeds for score in scores[arm, seed]]
        # The study's mean is over labels; WT and TC overlap them and stand beside it.
        groups = {"mean": list(labels.names)} | {name: [name] for name in regions}
        for measure, unit in MEASURES:
            for group, members in groups.items():
                part = tables[arm, measure][:, :, [regions.index(name) for name in members]]
                estimate = mean_estimate(part, taken[arm])
                name = f"{measure}_{group}_{arm}"
                found.append(_measurement(name, estimate, unit, _known_subjects(part), _empty(own, members)))
    columns = [regions.index(name) for name in labels.names]
    by_chance = _chance(plan, scores, chance, taken) if chance is not None else []
    mean_tables = {arm: tables[arm, "dice"][:, :, columns] for arm in plan.arms}
    relative, rate = _relative(plan, mean_tables, taken, test_images)
    return UtilityRecord(
        relative_dice=rate,
        measurements=(*relative, *found, *by_chance),
        segmenter=f"{_NAMES[plan.network]} {plan.preset}",
        seeds=len(plan.seeds),
        synthetic="" if synthetic is None else synthetic.content,
    )


def _chance(
    plan: Compared, scores: Scores, chance: Mapping[str, Mapping[str, float | None]], taken: Mapping[str, Draws]
) -> list[Measurement]:
    """Return the Dice of a fixed mask per region, and its mean over that of training on real images."""
    regions = [name for name, _ in plan.labels.regions]
    subjects = list(dict.fromkeys(score.subject for score in next(iter(scores.values()))))
    whole = table_of([[chance[name][who] for name in regions] for who in subjects], seeds=1, regions=len(regions))
    shared = next(iter(taken.values())).subjects
    draws = Draws(shared, np.ones((len(shared), 1), np.int64))
    groups = {"mean": list(plan.labels.names)} | {name: [name] for name in regions}
    found = []
    for group, members in groups.items():
        part = whole[:, :, [regions.index(name) for name in members]]
        note = "One fixed mask for everybody, where train tumours usually lie: a Dice is only low or high beside it."
        name = f"dice_{group}_{CHANCE}"
        found.append(_measurement(name, mean_estimate(part, draws), "0 to 1", _known_subjects(part), note))
    if "real" in plan.arms:
        columns = [regions.index(name) for name in plan.labels.names]
        real = _table(plan, scores, "real", "dice", regions)[:, :, columns]
        part = whole[:, :, columns]
        value = ratio_estimate(part, real, taken=draws, reference_taken=taken["real"])
        unit = "share of Dice trained on real"
        found.insert(0, _measurement(f"relative_dice_{CHANCE}", value, unit, _known_subjects(part), ""))
    return found


def dice_draws(plan: Compared, scores: Scores) -> dict[Arm, NDArray[np.float64]]:
    """Return mean Dice of every training set in each draw of the bootstrap (draws,); NaN where nothing is known.

    The draws of test subjects depend on their number alone, so that comparisons on the same subjects share them.
    """
    regions = [name for name, _ in plan.labels.regions]
    columns = [regions.index(name) for name in plan.labels.names]
    taken = _draws(plan, subjects=len({score.subject for score in next(iter(scores.values()))}))
    return {arm: mean_in(_table(plan, scores, arm, "dice", regions)[:, :, columns], taken[arm]) for arm in plan.arms}


def _draws(plan: Compared, *, subjects: int) -> dict[str, Draws]:
    """Return bootstrap draws per training set: of the same subjects, and of seeds of its own."""
    count = len(plan.seeds)
    shared = drawn(subjects=subjects, seeds=count, draws=DRAWS, random=randomness.named(0, "test subjects")).subjects
    return {
        arm: Draws(
            shared, drawn(subjects=1, seeds=count, draws=DRAWS, random=randomness.named(0, "seeds of", arm)).seeds
        )
        for arm in plan.arms
    }


def _table(plan: Compared, scores: Scores, arm: str, measure: str, regions: Sequence[str]) -> Table:
    values = [getattr(score, measure) for seed in plan.seeds for score in scores[arm, seed]]
    rows = [values[start : start + len(regions)] for start in range(0, len(values), len(regions))]
    return table_of(rows, seeds=len(plan.seeds), regions=len(regions))


def _known_subjects(table: Table) -> int:
    """Return in how many subjects something is known."""
    return int((~np.isnan(table)).any(axis=(0, 2)).sum())


def _measurement(name: str, found: Estimate, unit: str, count: int, note: str) -> Measurement:
    if found.value is None:
        note = f"Empty in every subject. {note}".strip()
    return Measurement(name=name, value=found.value, low=found.low, high=found.high, count=count, unit=unit, note=note)


def _empty(scores: Sequence[RegionScore], members: Sequence[str]) -> str:
    """Say how many regions of subjects were empty, over all seeds."""
    states = [score.state for score in scores if score.region in members]
    said = [
        f"{states.count(state)} of {len(states)} {words}"
        for state, words in (
            ("missed", "there but not predicted"),
            ("only predicted", "predicted but not there"),
            ("absent", "absent from both"),
        )
        if state in states
    ]
    return "Regions over subjects and seeds: " + ", ".join(said) + "." if said else ""


def _relative(
    plan: Compared, tables: Mapping[Arm, Table], taken: Mapping[str, Draws], test_images: int
) -> tuple[list[Measurement], Rate | None]:
    """Return relative Dice of each other training set as measurements, and of synthetic alone as the record's rate."""
    found: list[Measurement] = []
    rate = None
    if "real" not in plan.arms:
        return found, rate
    for arm in (arm for arm in plan.arms if arm != "real"):
        part = tables[arm]
        value = ratio_estimate(part, tables["real"], taken=taken[arm], reference_taken=taken["real"])
        unit = "share of Dice trained on real"
        found.append(_measurement(f"relative_dice_{arm}", value, unit, _known_subjects(part), ""))
        if arm == "synthetic" and value.value is not None and value.low is not None and value.high is not None:
            rate = Rate(
                value=value.value,
                low=value.low,
                high=value.high,
                count=test_images,
                subjects=part.shape[1],
                method=_method(len(plan.seeds)),
            )
    return found, rate


def _method(seeds: int) -> str:
    if seeds == 1:
        return f"bootstrap of test subjects, {DRAWS} draws; one training each, so chance in training is not in it"
    return f"bootstrap of test subjects and of {seeds} training seeds, {DRAWS} draws"
