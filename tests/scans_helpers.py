"""Tiny cohorts on disk for the tests of `scans`: heads are bright discs with a subject's own texture."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from synthrelease.image_set import ImageSet
from synthrelease.progress import SILENT
from synthrelease.scans.folder import open_images

TO_LPS = np.diag([-1.0, -1.0, 1.0, 1.0])  # stored x runs to the left, y to the back: BraTS' own order
NAMES = {
    "2020": ("BraTS20_Training_{:03d}", "_", {}),
    "2021": ("BraTS2021_{:05d}", "_", {}),
    "2023": ("BraTS-GLI-{:05d}-000", "-", {"t1": "t1n", "t1ce": "t1c", "t2": "t2w", "flair": "t2f"}),
}


def picture(index: int, size: int = 16, dtype: Any = np.uint8) -> NDArray[Any]:
    """Return a (size, size) head, different for every index."""
    random = np.random.default_rng(index)
    y, x = np.mgrid[:size, :size] - (size - 1) / 2
    head = (y**2 + x**2 < (0.45 * size) ** 2) * random.integers(80, 250, (size, size))
    return head.astype(dtype)


def volume(index: int, size: int = 20, depth: int = 6) -> NDArray[np.int16]:
    """Return (size, size, depth): the first slice is empty, the others hold heads."""
    slices = [np.zeros((size, size)), *(picture(100 * index + k, size) * 4.0 for k in range(1, depth))]
    return np.stack(slices, axis=-1).astype(np.int16)


def write_png(path: Path, pixels: NDArray[Any]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)
    return path


def write_nifti(path: Path, voxels: NDArray[Any], affine: NDArray[Any] = TO_LPS) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    nib.save(nib.Nifti1Image(voxels, affine), path)
    return path


def labels(size: int = 20, depth: int = 6, enhancing: int = 4) -> NDArray[np.uint8]:
    found = np.zeros((size, size, depth), np.uint8)
    found[4:12, 4:12, 2:5], found[6:10, 6:10, 2:5], found[7:9, 7:9, 2:5] = 2, 1, enhancing
    return found


def write_case(
    cohort: Path, index: int, *, year: str = "2021", flat: bool = False, suffix: str = ".nii.gz", seg: bool = True
) -> Path:
    """Write one BraTS-named case of 20 x 20 x 6 voxels and return its folder."""
    pattern, joint, renamed = NAMES[year]
    name = pattern.format(index)
    folder = cohort if flat else cohort / name
    for number, contrast in enumerate(("t1", "t1ce", "t2", "flair")):
        write_nifti(folder / f"{name}{joint}{renamed.get(contrast, contrast)}{suffix}", volume(10 * index + number))
    if seg:
        write_nifti(folder / f"{name}{joint}seg{suffix}", labels(enhancing=3 if year == "2023" else 4))
    return folder


def opened(folder: Path, cache: Path, *, real: bool = True, **options: Any) -> ImageSet:
    """Open a folder in a real role (or as synthetic) with the cache given."""
    return open_images(folder, needs_subject=real, cache=cache, progress=SILENT, **options)


def flat(root: Path, count: int = 3) -> Path:
    """Write pictures case0_slice0, case0_slice1, case1_slice2, ... and return their folder."""
    for index in range(count):
        write_png(root / f"case{index // 2}_slice{index}.png", picture(index))
    return root
