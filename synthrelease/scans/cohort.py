"""A cohort as `prepare` sees it: subjects, and the volumes of one subject at a time."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from synthrelease import store
from synthrelease.errors import ScanError
from synthrelease.image_set import MASK, ImageRow, ImageSet, Unread, is_image_set, open_set
from synthrelease.progress import Progress
from synthrelease.scans import brats
from synthrelease.scans.blocks import Unusable
from synthrelease.scans.files import Listing, list_sources
from synthrelease.scans.folder import open_images
from synthrelease.scans.importing import ahead
from synthrelease.scans.readers import STACKS, extension
from synthrelease.scans.subjects import compiled, subject_finder


@dataclass(frozen=True)
class Cohort:
    """Subjects with their scans: BraTS cases, or rows of an imported image set. Cheap to send to a worker."""

    subjects: tuple[str, ...]
    channels: tuple[str, ...]
    content: str  # names the scans in what a result is made from
    voxel_size: tuple[float, float, float] = (1.0, 1.0, 1.0)
    notes: tuple[str, ...] = ()
    unread: tuple[Unread, ...] = ()
    cases: tuple[tuple[str, brats.Case], ...] = ()  # subject and case
    imported: Path | None = None
    rows: tuple[tuple[str, int], ...] = ()  # subject and row number in `imported`

    def parts(self, subjects: Sequence[str]) -> Iterator[Cohort]:
        """Yield the cohort of each of these subjects alone."""
        cases: dict[str, list[tuple[str, brats.Case]]] = {}
        rows: dict[str, list[tuple[str, int]]] = {}
        for case in self.cases:
            cases.setdefault(case[0], []).append(case)
        for row in self.rows:
            rows.setdefault(row[0], []).append(row)
        for subject in subjects:
            own, numbers = tuple(cases.get(subject, ())), tuple(rows.get(subject, ()))
            yield replace(self, subjects=(subject,), notes=(), unread=(), cases=own, rows=numbers)


@dataclass(frozen=True)
class Volume:
    """Slices scaled together: one volume, or the 2-D pictures of one subject (``loose``)."""

    name: str
    pixels: NDArray[Any]  # (k, c, h, w) contrasts
    mask: NDArray[np.uint8] | None  # (k, h, w) label levels
    rows: tuple[ImageRow, ...]
    loose: bool = False


def open_cohort(folder: Path, subject_pattern: str | None, progress: Progress) -> Cohort:
    """Return the cohort in a folder of any kind; all but BraTS is imported into the user's cache first."""
    pattern = compiled(subject_pattern)
    listing = None if is_image_set(folder) or (folder / "images.zarr").exists() else list_sources(folder)
    if listing is None or listing.sources[0].case is None:
        images = open_images(
            folder,
            subject_pattern=subject_pattern,
            needs_subject=True,
            cache=store.cache_folder(),
            progress=progress,
        )
        return _imported(images)
    finder = subject_finder(listing, pattern, needs_subject=True)
    cases = [(finder(source.name, source, ""), source.case) for source in listing.sources if source.case is not None]
    voxel_size, faults = _check_headers([case for _, case in cases])
    cases = [(subject, case) for subject, case in cases if case.name not in faults]  # before the split: no empty role
    return Cohort(
        subjects=tuple(sorted({subject for subject, _ in cases})),
        channels=brats.channels_of([case for _, case in cases]),
        content=_content(listing, cases, progress),
        voxel_size=voxel_size,
        notes=tuple(listing.notes),
        unread=(*listing.unread, *(Unread(name, reason) for name, reason in faults.items())),
        cases=tuple(cases),
    )


def load_subject(part: Cohort) -> Iterator[Volume | Unread]:
    """Yield the volumes of the one subject of ``part``, and what of it cannot be used."""
    if part.imported is not None:
        yield from _imported_volumes(part, part.imported)
    for subject, case in part.cases:
        try:
            pixels, mask, _ = brats.load(case)
        except Unusable as reason:
            yield Unread(case.name, str(reason))
            continue
        rows = tuple(ImageRow(f"{case.name}#{k}", subject, k, case.name) for k in range(len(pixels)))
        yield Volume(case.name, pixels, mask if MASK in part.channels else None, rows)


def _imported(images: ImageSet) -> Cohort:
    return Cohort(
        subjects=tuple(sorted({row.subject for row in images.rows})),
        channels=images.channels,
        content=images.content,
        voxel_size=images.voxel_size,
        notes=images.notes,
        unread=images.unread,
        imported=images.folder,
        rows=tuple((row.subject, number) for number, row in enumerate(images.rows)),
    )


def _imported_volumes(part: Cohort, folder: Path) -> Iterator[Volume]:
    """Yield the subject's volumes; its 2-D pictures have none and are scaled together."""
    images = _opened(folder, part.content)
    groups: dict[str, list[int]] = {}
    for _, number in part.rows:
        row = images.rows[number]
        groups.setdefault(row.source if _in_volume(row) else "", []).append(number)
    for source, numbers in sorted(groups.items()):
        pixels = images.read(numbers, images.contrasts)
        mask = images.read(numbers, (MASK,))[:, 0].astype(np.uint8) if MASK in images.channels else None
        rows = tuple(images.rows[number] for number in numbers)
        yield Volume(source or part.subjects[0], pixels, mask, rows, loose=not source)


def _in_volume(row: ImageRow) -> bool:
    """Say whether an image is a slice of a volume; entries of NPY and NPZ files are numbered alike, but are none."""
    return row.image_id == f"{row.source}#{row.slice}" and extension(Path(row.source)) not in STACKS


@lru_cache(maxsize=1)
def _opened(folder: Path, content: str) -> ImageSet:
    """Return the imported set; a worker handles many subjects of the same one."""
    return open_set(folder)


def _check_headers(cases: list[brats.Case]) -> tuple[tuple[float, float, float], dict[str, str]]:
    """Return the voxel size of the first readable case, and why others are not, from names and headers alone.

    Raises:
        ScanError: slices of several sizes, or no case with a readable header.
    """
    sizes: Counter[tuple[int, int]] = Counter()
    example: dict[tuple[int, int], str] = {}
    faults: dict[str, str] = {}
    voxel_size = None
    for case in cases:
        try:
            size, mm = brats.slice_geometry(case)
        except Unusable as reason:
            faults[case.name] = str(reason)
            continue
        voxel_size = voxel_size or mm
        sizes[size] += 1
        example.setdefault(size, case.name)
    if voxel_size is None:
        shown = "; ".join(f"{name}: {reason}" for name, reason in list(faults.items())[:3])
        raise ScanError(f"None of {len(cases)} cases can be read ({shown}).", "Repair the files.")
    if len(sizes) > 1:
        shown = "; ".join(f"{h}x{w}: {count} cases, e.g. {example[h, w]}" for (h, w), count in sizes.most_common())
        raise ScanError(
            f"Slices of {len(sizes)} sizes in one cohort ({shown}).",
            "Prepare each size on its own, as separate cohorts.",
        )
    return voxel_size, faults


def _content(listing: Listing, cases: Sequence[tuple[str, brats.Case]], progress: Progress) -> str:
    """Return one hash over the names and contents of all files of the cohort, and whose they are."""
    paths = [path for source in listing.sources for path in source.paths]
    threads = min(8, os.cpu_count() or 1)
    hashes = []
    with ThreadPoolExecutor(threads) as pool, progress.task(f"Hashing {listing.root.name}", len(paths)) as advance:
        for path, sha in zip(paths, ahead(pool, _sha256, paths, 4 * threads), strict=True):
            hashes.append([path.name, sha])
            advance(1)
    return store.digest([hashes, sorted([subject, case.name] for subject, case in cases)])


def _sha256(path: Path) -> str:
    try:
        return store.sha256_of(path)
    except OSError as error:  # reading it will list it as unread
        return f"unreadable {error.errno}"
