"""Audit wall time at 1k, 2k and 4k synthetic images against 1,000 train images of 128 px, and of a second run.

    python benchmarks/audit_time.py [--sizes 1000,2000,4000] [--work FOLDER]

Claims: no faster than linear growth; 1,000 x 1,000 under 10 minutes on two cores; a second run over unchanged
folders at least 10 times faster. Images are slices of the procedural phantom (4 contrasts and mask): 100 train
subjects, 30 holdout subjects, and others as a perfect generator.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import numpy as np

from synthrelease.image_set import ImageRow, is_image_set
from synthrelease.image_writer import ImageSetWriter
from synthrelease.phantom.cohort import make_slices

SIZE = 128
SLICES = 10  # of each subject


def _subject(index: int) -> np.ndarray:
    images, masks = make_slices(seed=7, index=index, size=SIZE, count=SLICES)
    contrasts = (np.clip(images, 0, 1) * 255).round().astype(np.uint8)
    return np.concatenate([contrasts, (masks * 51)[:, None].astype(np.uint8)], axis=1)


def make_set(folder: Path, subjects: range) -> None:
    """Write an image set of phantom slices, unless it is there."""
    if is_image_set(folder):
        return
    with ImageSetWriter(folder, ("t1", "t1ce", "t2", "flair", "mask")) as writer, ProcessPoolExecutor(2) as pool:
        for index, pixels in zip(subjects, pool.map(_subject, subjects), strict=True):
            name = f"phantom-{index:05d}"
            rows = [ImageRow(f"{name}/{k}", name, k, name) for k in range(SLICES)]
            writer.add(name, pixels, rows)
        writer.close()


def audit_seconds(work: Path, synthetic: Path, cache: Path) -> float:
    """Return the wall time of one audit by the command line, imports and report included."""
    out = work / "out"
    shutil.rmtree(out, ignore_errors=True)
    command = [sys.executable, "-c", "from synthrelease.cli import main; main()", "audit"]
    command += ["--train", str(work / "train"), "--holdout", str(work / "holdout")]
    command += ["--synthetic", str(synthetic), "--out", str(out)]
    start = time.perf_counter()
    done = subprocess.run(command, env={**os.environ, "SYNTHRELEASE_CACHE": str(cache)}, capture_output=True, text=True)
    if done.returncode not in (0, 3, 4):
        raise SystemExit(done.stderr)
    return time.perf_counter() - start


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sizes", default="1000,2000,4000")
    parser.add_argument("--work", type=Path)
    options = parser.parse_args()
    work = options.work or Path(tempfile.mkdtemp(prefix="audit-time-"))
    sizes = [int(size) for size in options.sizes.split(",")]
    make_set(work / "train", range(100))
    make_set(work / "holdout", range(100, 130))
    for size in sizes:
        make_set(work / f"synthetic-{size}", range(200, 200 + size // SLICES))
    first = None
    for size in sizes:
        cache = work / f"cache-{size}"
        shutil.rmtree(cache, ignore_errors=True)
        fresh = audit_seconds(work, work / f"synthetic-{size}", cache)
        again = audit_seconds(work, work / f"synthetic-{size}", cache)
        first = first or fresh / size
        print(
            f"{size:>6} synthetic images: {fresh:7.1f} s, {fresh / size / first:.2f} of the first size's per image; "
            f"second run {again:6.1f} s, {fresh / again:.1f} times faster",
            flush=True,
        )


if __name__ == "__main__":
    main()
