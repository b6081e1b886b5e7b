"""Usefulness: segmenters trained on real, on synthetic and on both, scored on real test subjects, and compared."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from synthrelease import store
from synthrelease.image_set import ImageSet
from synthrelease.progress import Progress
from synthrelease.release_records import UtilityRecord

if TYPE_CHECKING:  # they load torch
    from synthrelease.segmentation.plan import Plan, Roles
    from synthrelease.segmentation.scoring import RegionScore
    from synthrelease.training.running import Processes

UTILITY, SUBJECTS, MODELS, SCORES = "utility.json", "subjects.csv", "models", "scores.json"


def segment_into(
    out: Path,
    roles: Roles,
    *,
    train_on: Sequence[str] = ("real", "synthetic"),
    network: str = "unet",
    preset: str | None = None,
    seeds: Sequence[int] = (0,),
    augment: bool = False,
    size: int | None = None,
    changes: Mapping[str, Any] | None = None,
    device: str = "auto",
    resume: bool = False,
    progress: Progress,
) -> UtilityRecord | None:
    """Train one segmenter per training set and seed, score each, and write `utility.json` and `subjects.csv`.

    Args:
        out: Results; `models/` holds the trainings, which hold what they learnt from: keep them inside.
        roles: Test set, and the sets to train on.
        train_on: Of real, synthetic, both.
        network: unet or swin.
        preset: akbar2024 (default) or small.
        seeds: One training each per training set.
        augment: Turn, stretch and blur images in training.
        size: Longest side in training, pixels; None: the test images'. Scores are always at the test images' size.
        changes: Single settings of network, training, mixing or augmentation.
        device: auto, cpu, cuda or cuda:N.
        resume: Go on where an earlier run into ``out`` stopped; what is finished is not done again.
        progress: Hears of every step.

    Returns:
        The record; None in processes of torchrun that only help.

    Raises:
        SynthreleaseError: With what is wrong and what to do.
    """
    from synthrelease.segmentation.mixing import mixed
    from synthrelease.segmentation.plan import planned
    from synthrelease.segmentation.scoring import check_test
    from synthrelease.segmentation.training import train_segmenter
    from synthrelease.training.running import choose_device, processes

    plan = planned(
        roles,
        train_on=train_on,
        network=network,
        preset=preset,
        seeds=seeds,
        augment=augment,
        size=size,
        changes=changes or {},
    )
    check_test(roles.test, plan.model.reader)
    mixes = {arm: mixed(arm, real=roles.real, synthetic=roles.synthetic, settings=plan.mix) for arm in plan.arms}
    store.private_folder(out)
    scores: dict[tuple[str, int], list[RegionScore]] = {}
    todo = [(arm, seed) for arm in plan.arms for seed in plan.seeds]
    # Joined once: processes that leave after one training while the leader still scores cannot meet again.
    with processes(choose_device(device)) as together:
        for number, (arm, seed) in enumerate(todo, 1):
            if together.leads:
                progress.say(f"Training {number} of {len(todo)}: on {arm}, seed {seed}")
            folder = out / MODELS / f"{arm}-seed{seed}"
            train_segmenter(
                folder,
                mixes[arm],
                plan.model,
                plan.training.model_copy(update={"seed": seed}),
                augment=plan.augment,
                device=device,
                resume=resume,
                progress=progress,
            )
            if together.leads:
                scores[arm, seed] = _scored(folder, roles.test, together, progress)
    return _written(out, roles, plan, scores) if scores else None


def _scored(folder: Path, test: ImageSet, together: Processes, progress: Progress) -> list[RegionScore]:
    """Return the scores of a trained segmenter; what was scored before with the same weights is read."""
    from synthrelease.segmentation.model_folder import open_segmenter
    from synthrelease.segmentation.scoring import RegionScore, score_subjects

    network, reader, weights = open_segmenter(folder, together.device)
    made_from = {"test": test.content, "weights": weights}
    try:
        kept = json.loads((folder / SCORES).read_text(encoding="utf-8"))
        if kept["made_from"] == made_from:
            return [RegionScore(**entry) for entry in kept["scores"]]
    except (OSError, ValueError, KeyError, TypeError):
        pass  # not scored yet, or cut short
    scores = score_subjects(network, test, reader, together.device, progress)
    content = {"made_from": made_from, "scores": [asdict(score) for score in scores]}
    store.write_text(folder / SCORES, json.dumps(content, indent=1))
    return scores


def _written(
    out: Path, roles: Roles, plan: Plan, scores: Mapping[tuple[str, int], Sequence[RegionScore]]
) -> UtilityRecord:
    from synthrelease.segmentation.scoring import write_table
    from synthrelease.segmentation.usefulness import summarised

    record = summarised(plan, scores, test_images=len(roles.test), synthetic=roles.synthetic)
    rows = [(arm, seed, score) for (arm, seed), found in scores.items() for score in found]
    write_table(out / SUBJECTS, rows)
    store.write_text(out / UTILITY, record.model_dump_json(indent=1))
    return record
