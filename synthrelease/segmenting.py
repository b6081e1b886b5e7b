"""Usefulness: segmenters trained on real, on synthetic and on both, scored on real test subjects, and compared."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from synthrelease import store
from synthrelease.errors import StoreError
from synthrelease.image_set import ImageSet, open_set
from synthrelease.progress import Progress
from synthrelease.release_records import UtilityRecord

if TYPE_CHECKING:  # they load torch
    from synthrelease.segmentation.labels import Labels
    from synthrelease.segmentation.plan import Plan, Roles
    from synthrelease.segmentation.scoring import RegionScore
    from synthrelease.training.running import Processes

UTILITY, SUBJECTS, MODELS, SCORES = "utility.json", "subjects.csv", "models", "scores.json"
CHANCE = "chance.json"


@dataclass(frozen=True)
class Comparison:
    """Trainings that were scored on the same test subjects."""

    record: UtilityRecord
    draws: Mapping[str, NDArray[np.float64]]
    """Training set to mean Dice in each draw of the bootstrap (draws,)."""
    subjects: int  # of the test


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

    chance = None if roles.real is None else _chance(roles.real, roles.test, plan.model.reader.labels)
    record = summarised(plan.compared, scores, test_images=len(roles.test), synthetic=roles.synthetic, chance=chance)
    rows = [(arm, seed, score) for (arm, seed), found in scores.items() for score in found]
    with store.one_writer(out / UTILITY):  # record and table of one run, also where two write at once
        write_table(out / SUBJECTS, rows)
        store.write_text(out / UTILITY, record.model_dump_json(indent=1))
    return record


def _chance(train: ImageSet, test: ImageSet, labels: Labels) -> Mapping[str, Mapping[str, float | None]] | None:
    """Return the Dice of a fixed mask per region and subject; None where sizes differ, or a subject is not named.

    It depends on the images alone and reads all their masks, so a grid of trainings on them keeps it.
    """
    from synthrelease.segmentation.chance import VERSION, chance_dice

    if train.size != test.size or (train.subjects == "").any():
        return None
    made_from = {"step": VERSION, "train": train.content, "test": test.content, "labels": asdict(labels)}

    def make(folder: Path) -> None:
        found = chance_dice(train=train, test=test, labels=labels)
        store.write_text(folder / CHANCE, json.dumps(found))

    def read(folder: Path) -> Mapping[str, Mapping[str, float | None]]:
        found: Mapping[str, Mapping[str, float | None]] = json.loads((folder / CHANCE).read_text(encoding="utf-8"))
        return found

    return store.kept(store.cache_folder(), "chance", made_from, make, read)


def compared(
    trained: Mapping[tuple[str, int], Path],
    *,
    network: str,
    preset: str | None,
    test: Path,
    synthetic: Path | None = None,
    train: Path | None = None,
) -> Comparison:
    """Return what trainings of several folders say together.

    Args:
        trained: Training set and seed to the OUT of the `segment_into` that made it; every set with the same seeds.
        network: unet or swin.
        preset: As trained; None: the study's.
        test: Image set on which they were scored.
        synthetic: Image set of which the record is to speak.
        train: Image set of real train subjects, for the Dice of a fixed mask; None: it is left out.

    Raises:
        StoreError: Scores are damaged or of other test images.
    """
    from synthrelease.segmentation.mixing import ARMS
    from synthrelease.segmentation.model_folder import read_model, reader_of
    from synthrelease.segmentation.networks import chosen
    from synthrelease.segmentation.usefulness import Compared, dice_draws, summarised

    images = open_set(test)
    folders = {key: out / MODELS / f"{key[0]}-seed{key[1]}" for key, out in trained.items()}
    scores = {key: kept_scores(folder, images.content) for key, folder in folders.items()}
    plan = Compared(
        arms=tuple(arm for arm in ARMS if any(arm == key[0] for key in trained)),
        seeds=tuple(sorted({seed for _, seed in trained})),
        network=network,
        preset=chosen(network, preset)[0],
        labels=reader_of(read_model(next(iter(folders.values())))).labels,
    )
    made = None if synthetic is None else open_set(synthetic)
    return Comparison(
        summarised(
            plan,
            scores,
            test_images=len(images),
            synthetic=made,
            chance=None if train is None else _chance(open_set(train), images, plan.labels),
        ),
        {str(arm): drawn for arm, drawn in dice_draws(plan, scores).items()},
        len({score.subject for score in next(iter(scores.values()))}),
    )


def kept_scores(folder: Path, test: str) -> list[RegionScore]:
    """Return the scores beside a trained segmenter.

    Args:
        folder: Of the segmenter.
        test: Content of the test images that they must be of.
    """
    from synthrelease.segmentation.scoring import RegionScore

    try:
        kept = json.loads((folder / SCORES).read_text(encoding="utf-8"))
        found = [RegionScore(**entry) for entry in kept["scores"]]
        content = kept["made_from"]["test"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise StoreError(f"{folder / SCORES} cannot be read: {error}.", "Segment again.") from error
    if content != test:
        raise StoreError(f"{folder / SCORES} holds scores of other test images.", "Segment again.")
    return found


def subjects_used(train: Path, real_fraction: float) -> int:
    """Return how many real subjects a fraction of them is, those that choose the checkpoint included."""
    from synthrelease.segmentation.mixing import MixSettings, used_subjects

    return len(used_subjects(open_set(train).subjects.tolist(), real_fraction, MixSettings().split_seed))
