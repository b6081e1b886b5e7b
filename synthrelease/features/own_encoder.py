"""A copy encoder trained on the user's own train images: fitted on train, so for copy search alone."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from synthrelease import store
from synthrelease.features import copy_encoder_training as training
from synthrelease.features.analysis import VERSION, analysis_images
from synthrelease.features.copy_encoder import CopyEncoder
from synthrelease.image_set import ImageSet
from synthrelease.progress import Progress

MOST_IMAGES = 4_000  # evenly spread over the set; more do not make the encoder better in 600 steps


def trained_on(train: ImageSet, size: int, *, seed: int, cache: Path, progress: Progress) -> CopyEncoder:
    """Return an encoder trained on the train images, from the cache where it was trained before.

    Args:
        train: At least 32 images.
        size: Pixels at which images are compared.
        seed: Of the training.
        cache: Where the encoder is kept; it has seen patients, so it is treated like their data.
        progress: Hears of the training.
    """
    rows = np.unique(np.linspace(0, len(train) - 1, min(len(train), MOST_IMAGES)).astype(np.int64))

    def make(folder: Path) -> None:
        images = analysis_images(train.read(list(map(int, rows)), train.contrasts), size)
        training.save(training.train(images, seed=seed, progress=progress), folder / "copy_encoder.safetensors")

    made_from = ["copy-encoder", training.STEPS, MOST_IMAGES, VERSION, train.content, size, seed]

    def read(folder: Path) -> CopyEncoder:
        return CopyEncoder(folder / "copy_encoder.safetensors", fitted_on="train")

    return store.kept(cache, "encoder", made_from, make, read)
