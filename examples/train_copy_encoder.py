"""Rebuild the shipped copy encoder from nothing but the phantom cohort: `python examples/train_copy_encoder.py`.

Takes a few minutes on one core. No patient's image is used: subjects are drawn by `synthrelease.phantom`. Prints the
SHA-256 to pin in `synthrelease/features/copy_encoder.py`. Floating-point sums differ between processors and torch
versions, so another machine writes an encoder that is as good, not the same bytes.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from synthrelease.cli.console import ConsoleProgress
from synthrelease.features import copy_encoder, copy_encoder_training
from synthrelease.phantom.cohort import make_slices

COHORT_SEED = 2_000_003  # far from the seeds of demos and tests: those heads stay unseen
SUBJECTS = 320
SLICES = 5  # per subject
SIZE = 96  # pixels; the network sees 64 of them in the canonical frame


def phantom_slices(subjects: int, progress: ConsoleProgress) -> NDArray[np.float32]:
    """Return (subjects * SLICES, 4, SIZE, SIZE) images in [0, 1]."""
    slices = []
    with progress.task("Drawing phantoms", subjects) as advance:
        for index in range(subjects):
            slices.append(make_slices(seed=COHORT_SEED, index=index, size=SIZE, count=SLICES)[0])
            advance(1)
    return np.concatenate(slices).astype(np.float32)


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("--out", type=Path, default=copy_encoder.SHIPPED, help="safetensors file to write")
    options.add_argument("--seed", type=int, default=0, help="of the initial weights and of every disguise")
    options.add_argument("--steps", type=int, default=copy_encoder_training.STEPS)
    options.add_argument("--subjects", type=int, default=SUBJECTS)
    chosen = options.parse_args()
    torch.set_num_threads(1)  # one order of summation
    progress = ConsoleProgress()
    slices = phantom_slices(chosen.subjects, progress)
    state = copy_encoder_training.train(slices, seed=chosen.seed, steps=chosen.steps, progress=progress)
    sha256 = copy_encoder_training.save(state, chosen.out)
    chosen.out.chmod(0o644)  # it ships with the package, and holds nothing of any patient
    print(f"{chosen.out}\n{chosen.out.stat().st_size:,} bytes\nSHA-256 {sha256}")


if __name__ == "__main__":
    main()
