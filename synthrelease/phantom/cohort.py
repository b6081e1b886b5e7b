"""Phantom subjects as arrays, as a few slices, or as a folder of BraTS-named NIfTI files."""

from __future__ import annotations

import functools
import shutil
from dataclasses import dataclass
from pathlib import Path

import nibabel
import numpy as np
from numpy.typing import NDArray

from synthrelease import seeds
from synthrelease.errors import SettingsError, StoreError
from synthrelease.phantom.anatomy import Head, draw_head, inner_place, reference_place, skull_depth
from synthrelease.phantom.contrasts import Look, draw_look, render
from synthrelease.phantom.tissue import tissues
from synthrelease.phantom.tumour import Tumour, draw_tumour, push_aside, regions
from synthrelease.phantom.waves import Floats
from synthrelease.progress import SILENT, Progress
from synthrelease.settings import PhantomSettings
from synthrelease.store import disk_errors, write_text

VERSION = 1  # grows whenever the same seed would give other images
CONTRASTS = ("T1", "T1ce", "T2", "FLAIR")
_FULL = 240  # in-plane pixels of BraTS at 1 mm
_DEPTH = 155  # axial slices of BraTS at 1 mm
_CENTRAL = (0.36, 0.70)  # share of the height, from below the thalamus to above the ventricles
_NAMES = {  # case folder by number, then the suffix of each file
    "2020": ("BraTS20_Training_{:03d}", ("_t1", "_t1ce", "_t2", "_flair", "_seg")),
    "2021": ("BraTS2021_{:05d}", ("_t1", "_t1ce", "_t2", "_flair", "_seg")),
    "2023": ("BraTS-GLI-{:05d}-000", ("-t1n", "-t1c", "-t2w", "-t2f", "-seg")),
}
_README = """\
These are procedural phantoms made by synthrelease, not patients: nobody was scanned for them.
They are laid out and named like BraTS {naming} cases so that the same tools read them.

phantom version {version}, seed {seed}, {size} x {size} x {depth} voxels of {voxel:.4g} mm, BraTS {naming} names

Contrasts are T1, T1 with contrast agent, T2 and FLAIR, 0 outside the head. Labels: 1 necrotic or
non-enhancing core, 2 oedema, {enhancing} enhancing tumour.
"""


@dataclass(frozen=True)
class PhantomSubject:
    """One subject's scans.

    ``contrasts`` is int16 (4, h, w, d), order T1, T1ce, T2, FLAIR, 0 outside the head; ``labels`` is uint8 (h, w, d)
    with 0, 1 (NCR), 2 (ED), 4 (ET). Rows run from forehead to back, columns across the head, slices from base to
    crown. ``voxel`` is the edge length in mm.
    """

    contrasts: NDArray[np.int16]
    labels: NDArray[np.uint8]
    voxel: float


@dataclass(frozen=True)
class _Plan:
    head: Head
    tumour: Tumour
    look: Look
    scales: NDArray[np.float64]  # (4,) scanner units of brightness 1


def make_subject(*, seed: int, index: int, size: int) -> PhantomSubject:
    """Return subject ``index`` of cohort ``seed`` at ``size`` x ``size`` pixels; the same head at every size."""
    plan = _plan(seed, index)
    depth = slice_count(size)
    contrasts = np.zeros((4, size, size, depth), dtype=np.int16)
    labels = np.zeros((size, size, depth), dtype=np.uint8)
    for z in range(depth):
        bright, labels[:, :, z] = _slice(plan, seed, index, size, z)
        contrasts[..., z] = np.rint(bright * plan.scales[:, None, None])
    return PhantomSubject(contrasts, labels, _FULL / size)


def make_slices(*, seed: int, index: int, size: int, count: int) -> tuple[Floats, NDArray[np.uint8]]:
    """Return ``count`` axial slices of one subject without making the rest of the volume.

    Returns:
        Images float32 (count, 4, size, size) in [0, 1], 1 being the scanner's full scale for that subject and contrast,
        and masks uint8 (count, size, size) with labels 0, 1, 2, 4. The slices are spread over the central brain and
        equal those of `make_subject`, divided by the scanner's full scale.

    Raises:
        SettingsError: The central brain has fewer slices than ``count`` at this size.
    """
    first, last = (round(share * slice_count(size)) for share in _CENTRAL)
    if not 1 <= count <= last - first:
        raise SettingsError(f"{count} slices were asked for; a size of {size} has {last - first} central ones.")
    plan = _plan(seed, index)
    places = first + (np.arange(count) + 0.5) * (last - first) / count
    slices = [_slice(plan, seed, index, size, int(z)) for z in places]
    return np.stack([image for image, _ in slices]), np.stack([mask for _, mask in slices])


def slice_count(size: int) -> int:
    """Return how many axial slices a phantom of ``size`` pixels has: 155 at 240, in proportion below."""
    return round(_DEPTH * size / _FULL)


@functools.lru_cache(maxsize=4)
def _plan(seed: int, index: int) -> _Plan:
    head = draw_head(seeds.named(seed, "phantom", index, "head"))
    look_random = seeds.named(seed, "phantom", index, "look")
    look = draw_look(look_random, head.atrophy)
    scales = np.exp(look_random.uniform(np.log([700, 900, 800, 600]), np.log([3200, 6000, 4200, 3000])))
    return _Plan(head, draw_tumour(seeds.named(seed, "phantom", index, "tumour"), head), look, scales)


def _slice(plan: _Plan, seed: int, index: int, size: int, z: int) -> tuple[Floats, NDArray[np.uint8]]:
    """One axial slice: brightness (4, size, size) and labels (size, size)."""
    voxel = _FULL / size
    where, points = _grid(size)
    points = points.copy()
    points[2] = (z + 0.5) * voxel - 62.5
    outer = reference_place(plan.head, points)
    inside = np.flatnonzero(skull_depth(plan.head, outer)[0] > 0)
    points, outer, where = points[:, inside], outer[:, inside], where[inside]
    image = np.zeros((4, size * size), dtype=np.float32)
    labels = np.zeros(size * size, dtype=np.uint8)
    if where.size:
        brain = tissues(plan.head, outer, inner_place(plan.head, push_aside(plan.tumour, outer)), voxel)
        tumour = regions(plan.tumour, outer, brain)
        noise = seeds.named(seed, "phantom", index, "noise", size, z)
        image[:, where] = render(plan.look, brain, tumour, points, voxel, noise)
        levels = (tumour.whole > 0, tumour.core > 0, tumour.necrosis > 0)
        labels[where] = np.select(levels[::-1], (1, 4, 2), 0)
    return image.reshape(4, size, size), labels.reshape(size, size)


@functools.lru_cache(maxsize=4)
def _grid(size: int) -> tuple[NDArray[np.intp], Floats]:
    """Flat indices (n,) of pixels that a head may reach, and their places (3, n) in mm with z still 0."""
    middle = (np.arange(size) + 0.5) * _FULL / size
    y, x = np.meshgrid(121 - middle, middle - 120, indexing="ij")
    where = np.flatnonzero((x / 92) ** 2 + ((y + 4) / 112) ** 2 < 1)
    places = np.stack([x.ravel()[where], y.ravel()[where], np.zeros(where.size)])
    return where, places.astype(np.float32)


def write_cohort(out: Path, settings: PhantomSettings, progress: Progress = SILENT) -> list[Path]:
    """Write a cohort as BraTS-named NIfTI (int16 contrasts, uint8 labels, gzip) and return its case folders.

    Complete cases already in ``out`` are kept: an interrupted run goes on, and a larger cohort extends a smaller one.

    Raises:
        SettingsError: More subjects than the year's names can number.
        StoreError: ``out`` holds phantoms made with another seed, size or naming, or cannot be written.
    """
    folders = [out / name for name in _case_names(settings)]
    with disk_errors(out):
        out.mkdir(parents=True, exist_ok=True)
    _claim(out, settings)
    with progress.task("Making phantoms", len(folders)) as advance:
        for index, folder in enumerate(folders):
            if not folder.is_dir():
                _write_case(folder, index, settings)
            advance(1)
    return folders


def _case_names(settings: PhantomSettings) -> list[str]:
    pattern = _NAMES[settings.naming][0]
    start = 1 if settings.naming == "2020" else 0
    if settings.naming == "2020" and settings.subjects > 999:
        raise SettingsError(
            f"BraTS 2020 names number cases with three digits; {settings.subjects} subjects do not fit.",
            "Use --naming 2021 or 2023.",
        )
    return [pattern.format(start + index) for index in range(settings.subjects)]


def _claim(out: Path, settings: PhantomSettings) -> None:
    """Say in README.txt what the folder holds; refuse a folder that says otherwise, or that is not ours."""
    text = _README.format(
        naming=settings.naming,
        version=VERSION,
        seed=settings.seed,
        size=settings.size,
        depth=slice_count(settings.size),
        voxel=_FULL / settings.size,
        enhancing=3 if settings.naming == "2023" else 4,
    )
    note = out / "README.txt"
    with disk_errors(out):
        found = note.read_text(encoding="utf-8", errors="replace") if note.is_file() else None
        others = found is None and any(not item.name.startswith(".") for item in out.iterdir())
    if found not in (None, text) or others:
        raise StoreError(
            f"{out} already holds {'something else' if others else 'files of another kind or cohort'}.",
            "Choose an empty folder, or the seed, size and naming that its README.txt states.",
        )
    if found is None:
        write_text(note, text)


def _write_case(folder: Path, index: int, settings: PhantomSettings) -> None:
    """Write one case under a temporary name; it takes its own once it is complete."""
    subject = make_subject(seed=settings.seed, index=index, size=settings.size)
    labels = subject.labels
    if settings.naming == "2023":
        labels = np.where(labels == 4, 3, labels).astype(np.uint8)
    partial = folder.with_name(f".{folder.name}.partial")
    with disk_errors(folder):
        shutil.rmtree(partial, ignore_errors=True)  # left by a run that was stopped
        partial.mkdir()
        for volume, suffix in zip((*subject.contrasts, labels), _NAMES[settings.naming][1], strict=True):
            _save(partial / f"{folder.name}{suffix}.nii.gz", volume, subject.voxel)
        partial.replace(folder)


def _save(path: Path, volume: NDArray[np.int16] | NDArray[np.uint8], voxel: float) -> None:
    """Write (h, w, d) in BraTS's axes: x from right to left, y from forehead to back, z from base to crown."""
    affine = np.diag([-voxel, -voxel, voxel, 1.0])
    edge = (voxel - 1) / 2  # the field of view starts where that of a 1 mm voxel does
    affine[:3, 3] = [-edge, _FULL - 1 - edge, edge]
    image = nibabel.Nifti1Image(np.swapaxes(volume, 0, 1), affine)
    image.header.set_xyzt_units("mm")
    image.set_sform(affine, code=1)
    image.set_qform(affine, code=1)
    nibabel.save(image, path)
