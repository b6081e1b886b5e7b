"""How good predictions are: slices stacked to volumes, Dice and Hausdorff per subject and region, empty ones named."""

from __future__ import annotations

import csv
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray

from synthrelease import store
from synthrelease.errors import SegmentationError
from synthrelease.image_set import ImageSet
from synthrelease.metrics.overlap import dice, hausdorffs
from synthrelease.progress import SILENT, Progress
from synthrelease.segmentation.feed import Reader
from synthrelease.segmentation.labels import MOST_LEVELS, levels_of
from synthrelease.segmentation.mixing import Source
from synthrelease.segmentation.networks import Segmenter
from synthrelease.segmentation.prediction import predicted, subjects_of

Classes = NDArray[np.uint8]
State = Literal["scored", "missed", "only predicted", "absent"]
SPREAD = 4  # slice numbers that reach farther than this many times the slices are no places in a volume


@dataclass(frozen=True)
class RegionScore:
    """One region of one subject."""

    subject: str
    region: str
    dice: float | None  # None: absent from truth and prediction
    hausdorff: float | None  # mm, the maximum; None: one of them is empty
    hausdorff_95: float | None  # mm
    truth_voxels: int
    predicted_voxels: int
    state: State


def score_volume(
    drawn: Classes, truth: Classes, reader: Reader, subject: str, spacing: Sequence[float]
) -> list[RegionScore]:
    """Return the scores of every region of one volume.

    A region that is in the truth and not predicted ("missed"), or the other way round ("only predicted"), has Dice 0
    and no Hausdorff distance; one that is in neither ("absent") has neither.

    Args:
        drawn: (z, h, w) predicted classes.
        truth: (z, h, w) true classes.
        reader: Names the regions.
        subject: Whose volume.
        spacing: Slice, row and column size, mm.
    """
    found = []
    for region, _ in reader.labels.regions:
        guess, real = reader.labels.region(drawn, region), reader.labels.region(truth, region)
        largest, robust = hausdorffs(predicted=guess, truth=real, spacing=spacing)
        found.append(
            RegionScore(
                subject=subject,
                region=region,
                dice=_known(dice(predicted=guess, truth=real)),
                hausdorff=_known(largest),
                hausdorff_95=_known(robust),
                truth_voxels=int(real.sum()),
                predicted_voxels=int(guess.sum()),
                state=_state(bool(real.any()), bool(guess.any())),
            )
        )
    return found


def _known(value: float) -> float | None:
    return None if math.isnan(value) else value


def _state(in_truth: bool, in_prediction: bool) -> State:
    if in_truth:
        return "scored" if in_prediction else "missed"
    return "only predicted" if in_prediction else "absent"


def places_of(numbers: Sequence[int]) -> NDArray[np.int64]:
    """Return where slices lie in their volume: at their numbers; one after the other where these are no places."""
    found = np.asarray(numbers, dtype=np.int64)
    apart = len(np.unique(found)) == len(found)
    if not apart or found.max() - found.min() >= SPREAD * len(found):
        return np.arange(len(found))
    return np.asarray(found - found.min(), dtype=np.int64)


def stacked(slices: Classes, places: NDArray[np.int64]) -> Classes:
    """Return slices (k, h, w) as a volume (z, h, w); slices that were not kept are background."""
    volume = np.zeros((int(places.max()) + 1, *slices.shape[1:]), dtype=np.uint8)
    volume[places] = slices
    return volume


def score_subjects(
    network: Segmenter, test: ImageSet, reader: Reader, device: torch.device, progress: Progress = SILENT
) -> list[RegionScore]:
    """Return the scores of every subject and region of a test set; slices that were not kept are not scored.

    Raises:
        SegmentationError: The test set does not fit the network, has labels that it never learnt, or has no subjects.
    """
    check_test(test, reader)
    source = Source(test, np.arange(len(test)))
    row, column, slice_size = test.voxel_size
    scores: list[RegionScore] = []
    with progress.task("scoring (test images)", len(test)) as advance:
        for subject, rows in subjects_of(source):
            drawn, truth = predicted(network, source, rows, reader, device)
            places = places_of([test.rows[i].slice for i in rows])
            volumes = stacked(drawn, places), stacked(truth, places)
            scores += score_volume(*volumes, reader, subject, (slice_size, row, column))
            advance(len(rows))
    return scores


def check_test(test: ImageSet, reader: Reader) -> None:
    """Raise unless a test set can be scored with what a network was trained on; raises as `score_subjects`."""
    reader.check(test, "test")
    levels = levels_of(test)
    unknown = sorted(set(levels) - set(reader.labels.levels))
    if unknown or len(levels) > MOST_LEVELS:
        raise SegmentationError(
            f"Test masks hold the levels {', '.join(map(str, unknown[:5]))}; learnt were {reader.labels.levels}.",
            "Prepare the test images as the training images.",
        )
    if (test.subjects == "").any():
        raise SegmentationError("Some test images have no subject.", "Prepare them with --subject-pattern.")


def validation_dice(
    network: Segmenter, held: Source, *, by_subject: bool, reader: Reader, device: torch.device
) -> float:
    """Return the mean over labels of the mean Dice over held-back subjects, or over images where there are none.

    Raises:
        SegmentationError: No label occurs in these images.
    """
    rows: list[list[float]] = []
    groups = [rows for _, rows in subjects_of(held)] if by_subject else np.array_split(held.rows, -(-len(held) // 64))
    for group in groups:
        drawn, truth = predicted(network, held, group, reader, device)
        pairs = [(drawn, truth)] if by_subject else list(zip(drawn, truth, strict=True))
        rows += [[dice(predicted=d == c, truth=t == c) for c in range(1, reader.labels.classes)] for d, t in pairs]
    value = mean_of(np.array(rows))
    if math.isnan(value):
        raise SegmentationError(
            "The images that should choose the checkpoint show none of the labels.",
            "Change --split-seed or hold more back with --validation-share.",
        )
    return value


def mean_of(table: NDArray[np.float64]) -> float:
    """Return the mean over columns of each column's mean over known values (rows, columns); NaN: nothing is known."""
    known = ~np.isnan(table)
    kept = known.any(axis=0)
    if not kept.any():
        return math.nan
    sums = np.where(known, table, 0).sum(axis=0)[kept]
    return float((sums / known.sum(axis=0)[kept]).mean())


def write_table(path: Path, rows: Sequence[tuple[str, int, RegionScore]]) -> None:
    """Write scores as CSV: what was trained on, which seed, then one region of one test subject a line."""
    names = [field.name for field in fields(RegionScore)]
    with store.atomic_path(path) as partial, partial.open("w", newline="", encoding="utf-8", errors="replace") as file:
        writer = csv.writer(file)
        writer.writerow(["trained_on", "seed", *names])
        for arm, seed, score in rows:
            entry = asdict(score)
            writer.writerow([arm, seed, *(entry[name] for name in names)])
