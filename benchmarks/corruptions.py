"""Which way do standard corruptions move each measure? Fresh phantom slices, corrupted, against other phantom slices.

    python benchmarks/corruptions.py [--subjects 60] [--write docs/corruptions.csv]

Every row is a measure; its first number is of clean synthetic images, the others of the same images corrupted. Phantoms
are no patients: the directions carry over, the sizes do not.
"""

from __future__ import annotations

import argparse
import csv
import sys
import tempfile
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from synthrelease.image_set import ImageRow, ImageSet, from_arrays
from synthrelease.measuring import Sets, measured
from synthrelease.phantom.cohort import make_slices
from synthrelease.progress import SILENT
from synthrelease.settings import MeasureSettings

SIZE, SLICES = 64, 2
SHOWN = {  # name in the record: heading of the row
    "fid_copy-encoder": "Frechet distance",
    "kid_copy-encoder": "Kernel distance",
    "precision_copy-encoder": "Precision",
    "recall_copy-encoder": "Recall",
    "density_copy-encoder": "Density",
    "coverage_copy-encoder": "Coverage",
    "vendi_copy-encoder": "Vendi score",
    "fld_copy-encoder": "FLD",
    "fld_gap_copy-encoder": "FLD gap",
    "mifid_copy-encoder": "MIFID",
    "ms_ssim": "MS-SSIM of pairs",
    "intensity_distance": "Intensity distance",
    "spectrum_distance": "Spectrum distance",
}
VIEW = "t1"


def slices(first: int, count: int) -> NDArray[np.uint8]:
    """Return (count * SLICES, 4, 64, 64) slices of phantom subjects, 8 bits: T1, T1ce, T2, FLAIR."""
    found = []
    for index in range(first, first + count):
        images, _ = make_slices(seed=11, index=index, size=SIZE, count=SLICES)
        found.append(np.clip(images / images.max((0, 2, 3), keepdims=True), 0, 1))
    return (255 * np.concatenate(found)).round().astype(np.uint8)


def corrupted(fresh: NDArray[np.uint8], real: NDArray[np.uint8]) -> dict[str, NDArray[np.uint8]]:
    """Return the synthetic images (n, 1, h, w) under every corruption; the first kind leaves them clean."""
    t1, t2 = fresh[:, :1], fresh[:, 2:3]
    random = np.random.default_rng(0)
    noise = random.normal(0, 12, t1.shape)
    half = len(t1) // 2
    return {
        "clean": t1,
        "blur (sd 1 pixel)": ndimage.gaussian_filter(t1.astype(np.float32), (0, 0, 1, 1)).round().astype(np.uint8),
        "noise (sd 5 %)": np.clip(t1 + noise, 0, 255).round().astype(np.uint8),
        "one in ten kept, repeated": np.repeat(t1[: max(2, len(t1) // 10)], 10, axis=0)[: len(t1)],
        "half are verbatim copies": np.concatenate([real[:half, :1], t1[half:]]),
        "all are verbatim copies": real[: len(t1), :1],
        "T2 in place of T1": t2,
    }


def as_set(pixels: NDArray[np.uint8], name: str) -> ImageSet:
    """Return images as a set, `SLICES` a subject."""
    rows = [ImageRow(f"{name}{i}", f"{name}{i // SLICES}") for i in range(len(pixels))]
    return from_arrays(pixels, rows, channels=(VIEW,))


def table(subjects: int) -> list[list[str]]:
    """Return a row per measure and a column per corruption, with a head row."""
    real, fresh, held = (slices(subjects * k, subjects) for k in range(3))
    settings = MeasureSettings(extractors=("copy-encoder",), parts=0)
    columns: dict[str, dict[str, float | None]] = {}
    with tempfile.TemporaryDirectory() as cache:
        for kind, pixels in corrupted(fresh, real).items():
            sets = Sets(as_set(real[:, :1], "r"), as_set(pixels, "s"), as_set(held[:, :1], "h"), (VIEW,), "bytes", SIZE)
            record, _ = measured(sets, settings, Path(cache), SILENT)
            columns[kind] = {item.name: item.value for item in record.measurements}
    rows = [["measure", *columns]]
    for name, title in SHOWN.items():
        values = [found[f"{name} ({VIEW})"] for found in columns.values()]
        rows.append([title, *("not computable" if value is None else f"{value:.3g}" for value in values)])
    return rows


def main() -> None:
    """Print the table, and write it where asked."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--subjects", type=int, default=60)
    parser.add_argument("--write", type=Path)
    chosen = parser.parse_args()
    rows = table(chosen.subjects)
    csv.writer(sys.stdout).writerows(rows)
    if chosen.write:
        with chosen.write.open("w", newline="", encoding="utf-8") as file:
            csv.writer(file).writerows(rows)


if __name__ == "__main__":
    main()
