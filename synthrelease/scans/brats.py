"""BraTS cohorts of 2020, 2021 and 2023: names, subjects, and the volumes of one case."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from synthrelease.errors import ScanError
from synthrelease.image_set import MASK
from synthrelease.scans.blocks import Block, Unusable, checked, tumour_levels
from synthrelease.scans.volumes import nifti_geometry, oriented

CONTRASTS = ("t1", "t1ce", "t2", "flair")
_OF_2023 = {"t1n": "t1", "t1c": "t1ce", "t2w": "t2", "t2f": "flair", "seg": MASK}
_NAMES = {  # case, then contrast
    "2020": re.compile(r"(BraTS20_[A-Za-z]+_\d{3})_(t1|t1ce|t2|flair|seg)\.nii(?:\.gz)?", re.I),
    "2021": re.compile(r"(BraTS2021_\d{5})_(t1|t1ce|t2|flair|seg)\.nii(?:\.gz)?", re.I),
    "2023": re.compile(r"(BraTS-[A-Za-z]+-\d{5}-\d{3})-(t1n|t1c|t2w|t2f|seg)\.nii(?:\.gz)?", re.I),
}
# BraTS20_Training_355 carries its segmentation as W39_1998.09.19_Segm.nii
_ODD_SEGMENTATION = re.compile(r".*segm.*\.nii(?:\.gz)?", re.I)


@dataclass(frozen=True)
class Case:
    """One scan session: four contrasts and, in training data, a segmentation."""

    name: str
    subject: str
    year: str
    files: tuple[tuple[str, Path], ...]  # channel (t1, t1ce, t2, flair, mask) and its file
    fault: str = ""  # why it cannot be used, known from the names alone

    @property
    def has_mask(self) -> bool:
        return any(channel == MASK for channel, _ in self.files)


def year_of(name: str) -> str:
    """Return the BraTS year whose naming a file follows, or an empty string."""
    return next((year for year, pattern in _NAMES.items() if pattern.fullmatch(name)), "")


def is_brats(paths: Sequence[Path]) -> bool:
    """Say whether most of these image files carry BraTS names."""
    return bool(paths) and 2 * sum(bool(year_of(path.name)) for path in paths) >= len(paths)


def find_cases(paths: Sequence[Path]) -> tuple[list[Case], list[Path]]:
    """Return the cases in these files, sorted by name, and the files that belong to none.

    Raises:
        ScanError: names of several years, because 2021 holds most 2020 patients under other ids.
    """
    found: dict[tuple[str, str], list[tuple[str, Path]]] = {}
    others = []
    for path in sorted(paths):
        year = year_of(path.name)
        match = _NAMES[year].fullmatch(path.name) if year else None
        if match is None:
            others.append(path)
            continue
        contrast = match[2].lower()
        channel = _OF_2023[contrast] if year == "2023" else MASK if contrast == "seg" else contrast
        found.setdefault((year, match[1]), []).append((channel, path))
    _refuse_mixed_years(found)
    for path in [p for p in others if _ODD_SEGMENTATION.fullmatch(p.name)]:
        owners = [files for files in found.values() if files[0][1].parent == path.parent]
        if len(owners) == 1 and all(channel != MASK for channel, _ in owners[0]):
            owners[0].append((MASK, path))
            others.remove(path)
    cases = [_case(year, name, files) for (year, name), files in found.items()]
    return sorted(_with_mask_faults(cases), key=lambda case: case.name), others


def channels_of(cases: Sequence[Case]) -> tuple[str, ...]:
    """Return the four contrasts, and the mask if any usable case has one."""
    return (*CONTRASTS, MASK) if any(case.has_mask for case in cases if not case.fault) else CONTRASTS


def subject_of(case: str) -> str:
    """Return the patient of a case: in 2023 names the last number is the visit, not the patient."""
    return re.sub(r"^(BraTS-[A-Za-z]+-\d{5})-\d{3}$", r"\1", case, flags=re.I)


def load(case: Case) -> tuple[NDArray[Any], NDArray[np.uint8] | None, tuple[float, float, float]]:
    """Return contrasts (slice, 4, row, column) as stored, mask levels (slice, row, column) and mm per voxel.

    Raises:
        Unusable: a missing or unreadable file, unequal shapes, values that are not finite, unknown labels.
    """
    if case.fault:
        raise Unusable(case.fault)
    files = dict(case.files)
    volumes: list[NDArray[Any]] = []
    for channel in CONTRASTS:
        volume, voxel_size = _volume(files[channel])
        if volumes and volume.shape != volumes[0].shape:
            raise Unusable(f"{files[channel].name} has shape {volume.shape}, {CONTRASTS[0]} has {volumes[0].shape}")
        volumes.append(volume)
    pixels = np.stack(volumes, axis=1)
    if MASK not in files:
        return pixels, None, voxel_size
    labels, _ = _volume(files[MASK], may_be_constant=True)  # no tumour
    if labels.shape != volumes[0].shape:
        raise Unusable(f"{files[MASK].name} has shape {labels.shape}, {CONTRASTS[0]} has {volumes[0].shape}")
    return pixels, tumour_levels(labels), voxel_size


def read_case(case: Case) -> Iterator[Block]:
    """Yield one block with the case's slices as stored; empty slices are left out."""
    pixels, mask, voxel_size = load(case)
    numbers = tuple(range(len(pixels)))
    yield checked(Block(pixels, CONTRASTS, "volume", numbers, mask=mask, voxel_size=voxel_size))


def slice_geometry(case: Case) -> tuple[tuple[int, int], tuple[float, float, float]]:
    """Return height and width of the case's slices and mm per voxel, from one header."""
    if case.fault:
        raise Unusable(case.fault)
    try:
        return nifti_geometry(dict(case.files)[CONTRASTS[0]])
    except Unusable:
        raise
    except Exception as error:  # damaged headers raise whatever they like
        raise Unusable(f"{CONTRASTS[0]} cannot be read ({type(error).__name__}: {error})") from error


def _volume(path: Path, *, may_be_constant: bool = False) -> tuple[NDArray[Any], tuple[float, float, float]]:
    """Return one contrast (slice, row, column)."""
    try:
        volume, voxel_size = oriented(path)
    except Unusable as error:
        raise Unusable(f"{path.name}: {error}") from error
    except PermissionError as error:
        raise Unusable(f"{path.name}: permission denied") from error
    except Exception as error:  # a truncated or damaged file raises whatever its decoder likes
        text = " ".join(str(error).split())[:160]
        raise Unusable(f"{path.name} cannot be read ({type(error).__name__}: {text})") from error
    if volume.shape[3] != 1:
        raise Unusable(f"{path.name} has {volume.shape[3]} channels, expected one")
    if volume.dtype.kind == "f" and not np.isfinite(volume).all():
        raise Unusable(f"{path.name}: {np.count_nonzero(~np.isfinite(volume))} values are not finite")
    if not may_be_constant and volume.min() == volume.max():
        raise Unusable(f"{path.name}: every voxel has the same value ({float(volume.flat[0]):g})")
    return np.moveaxis(volume[..., 0], 2, 0), voxel_size


def _case(year: str, name: str, files: list[tuple[str, Path]]) -> Case:
    times = Counter(channel for channel, _ in files)
    twice = [channel for channel, count in times.items() if count > 1]
    missing = [channel for channel in CONTRASTS if channel not in times]
    fault = ""
    if twice:
        both = ", ".join(path.name for channel, path in files if channel == twice[0])
        fault = f"it has more than one {twice[0]} file ({both})"
    elif missing:
        fault = f"it has no {' and no '.join(missing)} file"
    return Case(name, subject_of(name), year, tuple(files), fault)


def _with_mask_faults(cases: list[Case]) -> list[Case]:
    """Mark cases without a segmentation where others have one: their slices cannot be stored beside."""
    if not any(case.has_mask for case in cases):
        return cases
    wanted = "it has no segmentation, while other cases have one"
    return [
        case if case.has_mask or case.fault else Case(case.name, case.subject, case.year, case.files, wanted)
        for case in cases
    ]


def _refuse_mixed_years(found: dict[tuple[str, str], list[tuple[str, Path]]]) -> None:
    years = Counter(year for year, _ in found)
    if len(years) > 1:
        counts = ", ".join(f"{count} cases of {year}" for year, count in sorted(years.items()))
        raise ScanError(
            f"One cohort mixes BraTS years: {counts}.",
            "BraTS 2021 and 2023 hold most patients of earlier years under other names, so a patient could be in "
            "train and holdout at once. Use one year.",
        )
