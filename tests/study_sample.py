"""Builds study records for tests: two years, all five generators, both segmenters, every number different."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from synthrelease.grid.comparing import compared
from synthrelease.records import Rate
from synthrelease.release_records import Measurement
from synthrelease.study_records import (
    REAL,
    FixedMask,
    Generated,
    Interval,
    RegionScores,
    StudyRecord,
    TrainedOn,
    Unfinished,
    Usefulness,
)

GENERATORS = ("progan", "stylegan1", "stylegan2", "stylegan3", "diffusion")
REACHED = {"progan": 0.79, "stylegan1": 0.62, "stylegan2": 0.91, "stylegan3": 0.87, "diffusion": 0.98}
FID = {"progan": 31.3, "stylegan1": 44.7, "stylegan2": 22.9, "stylegan3": 27.1, "diffusion": 24.4}
COPIED = {"progan": 0.0113, "stylegan1": 0.0087, "stylegan2": 0.0151, "stylegan3": 0.0129, "diffusion": 0.0713}
VERDICT = {
    "progan": "pass",
    "stylegan1": "review",
    "stylegan2": "review",
    "stylegan3": "incomplete",
    "diffusion": "reject",
}
DECISION = {
    "progan": "APPROVE",
    "stylegan1": "REVIEW",
    "stylegan2": "REVIEW",
    "stylegan3": "INCOMPLETE",
    "diffusion": "REJECT",
}
REGIONS = ("mean", "NCR", "ED", "ET", "WT", "TC")
FRACTIONS = (0.05, 0.1, 0.2, 0.5)
Key = tuple[str, str, str, bool, TrainedOn]


def about(value: float, spread: float = 0.031) -> Interval:
    """Return an interval around a value."""
    return Interval(value=value, low=value - spread, high=value + 0.9 * spread)


def useful(generator: str = REAL, train_on: TrainedOn = "real", **changes: Any) -> Usefulness:
    """Return what training with a generator's images gives; ``dice`` sets its mean."""
    dice = changes.pop("dice", 0.73 * REACHED.get(generator, 1.0))
    fields: dict[str, Any] = {
        "data": "brats2020",
        "generator": generator,
        "segmenter": "unet",
        "augmented": False,
        "train_on": train_on,
        "real_subjects": None if train_on == "synthetic" else 313,
        "test_subjects": 56,
        "seeds": (0, 1, 2),
        "seeds_planned": 3,
        "regions": tuple(
            RegionScores(
                region=name,
                dice=about(dice - 0.0137 * place),
                hausdorff=about(31.7 - 20 * dice + 1.13 * place, 2.3),
                hausdorff_95=about(17.9 - 14 * dice + 0.71 * place, 1.7),
                note="Missed in 3 subjects." if name == "ET" else "",
            )
            for place, name in enumerate(REGIONS)
        ),
        "relative_dice": None if generator == REAL else about(dice / 0.73, 0.043),
        "fixed_mask": _fixed_mask(dice) if generator == REAL else None,
    }
    return Usefulness(**(fields | changes))


def _fixed_mask(dice: float) -> FixedMask:
    reached = {name: about(0.1873 - 0.0117 * place) for place, name in enumerate(REGIONS)}
    return FixedMask(dice=reached, relative_dice=about(0.1873 / dice, 0.027))


def made(generator: str, data: str = "brats2020", **changes: Any) -> Generated:
    """Return what was found about one generator's images."""
    shift = 1.0 if data == "brats2020" else 1.07
    quality = (
        Measurement(
            name="fid (t1, t1ce, t2)",
            metric="frechet_distance",
            extractor="inception",
            value=FID[generator] * shift,
            low=FID[generator] * shift - 1.9,
            high=FID[generator] * shift + 2.3,
            floor=9.13,
        ),
        Measurement(name="is (t1, t1ce, t2)", metric="inception_score", value=1.9 + REACHED[generator] / 3),
        Measurement(name="recall_inception (t1, t1ce, t2)", metric="precision_recall_density_coverage", value=None),
        Measurement(name="mean_similarity", metric="mean_similarity", value=0.2 + REACHED[generator] / 9),
    )
    share = COPIED[generator] / shift
    fields: dict[str, Any] = {
        "data": data,
        "generator": generator,
        "images": 10_000,
        "quality": quality,
        "near_copies": Rate(value=share, low=share / 2, high=share * 2, count=10_000, flagged=round(share * 10_000)),
        "near_copies_holdout": Rate(value=0.0103, low=0.0034, high=0.0241, count=1_388, flagged=14, subjects=18),
        "above_alarm": round(share * 900),
        "verdict": VERDICT[generator],
        "decision": DECISION[generator],
        "policy": "controlled",
    }
    return Generated(**(fields | changes))


def whole_grid() -> tuple[list[Usefulness], list[Generated], dict[Key, NDArray[np.float64]]]:
    """Return everything that a finished reference study gives, with draws of mean Dice."""
    random = np.random.default_rng(0)
    found, draws = [], {}
    for data, base in (("brats2020", 0.71), ("brats2021", 0.74)):
        for segmenter, lift in (("unet", 0.0), ("swin", -0.013)):
            for augmented in (False, True):
                level = base + lift + 0.011 * augmented
                where: dict[str, Any] = {"data": data, "segmenter": segmenter, "augmented": augmented}
                found.append(useful(dice=level, **where))
                subjects = 0.02 * random.standard_normal(500)
                for name in GENERATORS:
                    for arm, gain in (("synthetic", REACHED[name]), ("both", 0.94 + 0.08 * REACHED[name])):
                        found.append(useful(name, arm, dice=level * gain, relative_dice=about(gain, 0.043), **where))
                        noise = 0.01 * random.standard_normal(500)
                        draws[data, name, segmenter, augmented, arm] = level * gain + subjects + noise
    return (
        [*found, *_part_of_the_real_ones()],
        [made(n, d) for d in ("brats2020", "brats2021") for n in GENERATORS],
        draws,
    )


def _part_of_the_real_ones() -> list[Usefulness]:
    found = []
    for share in FRACTIONS:
        few: dict[str, Any] = {"real_fraction": share, "real_subjects": round(313 * share)}
        found.append(useful(fixed_mask=None, dice=0.71 * (1 - 0.62 * np.exp(-7 * share)), **few))
        for name in ("stylegan2", "diffusion"):
            dice = 0.71 * (0.94 + 0.08 * REACHED[name]) * (1 - (1 - REACHED[name]) * np.exp(-11 * share))
            found.append(useful(name, "both", dice=dice, **few))
    return found


def study_sample(
    published: Mapping[str, str] | None = None, *, unfinished: tuple[Unfinished, ...] = (), **changes: Any
) -> StudyRecord:
    """Return the record of a finished reference study; ``changes`` replace whole fields."""
    usefulness, generated, draws = whole_grid()
    years = {"brats2020": "2020", "brats2021": "2021"} if published is None else published
    rankings, associations, sweeps = compared(usefulness, generated, draws, years)
    fields: dict[str, Any] = {
        "name": "The reference study, in miniature",
        "jobs": 173,
        "finished": 173 - len(unfinished),
        "unfinished": unfinished,
        "usefulness": tuple(usefulness),
        "generated": tuple(generated),
        "rankings": rankings,
        "associations": associations,
        "sweeps": sweeps,
        "made_with": {"synthrelease": "0.1.0", "date": "2026-11-23"},
        "small": ("Some combinations were trained twice: chance in training is not known.",),
    }
    return StudyRecord(**(fields | changes))


FAILED = (
    Unfinished(job="segment/brats2021/stylegan3/swin/both/augmented/2", state="failed", reason="Loss is not finite."),
    Unfinished(job="decide/brats2021/stylegan3", state="blocked", reason="Needs a job that failed."),
    Unfinished(job="sample/brats2021/progan", state="waiting"),
)
