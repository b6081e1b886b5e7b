"""Is the loader the bottleneck of segmenter training, and what does scoring cost beside MONAI's metrics?

Prints two ratios. training: images a second of the whole training step with its loader, over a bare loop of the same
network, loss and optimiser on one batch in memory (1 is perfect). scoring: seconds of MONAI's Dice and Hausdorff
metrics (maximum and 95 %) called for one subject and region after the other, over ours (above 1: ours is faster).
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from contextlib import closing

import numpy as np
import torch
from monai.metrics import compute_dice, compute_hausdorff_distance

from synthrelease.image_set import ImageRow, ImageSet, from_arrays
from synthrelease.segmentation.augmentation import AugmentSettings
from synthrelease.segmentation.feed import MixedFeed, Reader
from synthrelease.segmentation.labels import labels_of
from synthrelease.segmentation.mixing import MixSettings, mixed
from synthrelease.segmentation.model_folder import Model
from synthrelease.segmentation.networks import PRESETS
from synthrelease.segmentation.recipe import TRAININGS
from synthrelease.segmentation.scoring import score_volume
from synthrelease.segmentation.training import Learner
from synthrelease.training.running import Processes

SIDE, SLICES = 128, 20  # pixels; slices a subject


def cohort(count: int) -> ImageSet:
    """Return noise with round tumours of three labels, four contrasts."""
    random = np.random.default_rng(0)
    pixels = random.integers(0, 255, (count, 5, SIDE, SIDE), dtype=np.uint8)
    rows, columns = np.mgrid[:SIDE, :SIDE]
    for image in pixels:
        away = np.hypot(*(axis - place for axis, place in zip((rows, columns), random.uniform(40, 90, 2), strict=True)))
        image[4] = np.select([away < 8, away < 14, away < 22], [204, 51, 102], 0)
    named = [ImageRow(f"{i}", f"subject{i // SLICES}", i % SLICES) for i in range(count)]
    return from_arrays(pixels, named, channels=("T1", "T1ce", "T2", "FLAIR", "mask"))


def seconds(act: Callable[[], object], times: int) -> float:
    """Return the shorter of two measurements of ``times`` calls."""
    found = []
    for _ in range(2):
        start = time.perf_counter()
        for _ in range(times):
            act()
        found.append(time.perf_counter() - start)
    return min(found)


def training_ratio(images: ImageSet, *, steps: int, augment: bool, device: str) -> float:
    """Return the loader's pace over a bare loop's."""
    reader = Reader(images.contrasts, images.size, labels_of(images))
    training = TRAININGS["unet"]["small"]
    together = Processes(0, 1, torch.device(device))
    learner = Learner.new(Model("unet", PRESETS["unet"]["small"], reader), training, together)
    mix = mixed("real", real=images, synthetic=None, settings=MixSettings())
    feed = MixedFeed(
        mix, reader, batch=training.batch, seed=0, augment=AugmentSettings() if augment else None, workers=2
    )
    batch = tuple(part.to(device) for part in feed.at_step(0))
    bare = seconds(lambda: float(learner.learn(*batch)), steps)
    with closing(feed), closing(feed.batches(0)) as batches:
        whole = seconds(lambda: float(learner.learn(*next(batches))), steps)
    return bare / whole


def scoring_ratio(images: ImageSet) -> float:
    """Return MONAI's seconds, one subject and region at a time, over ours."""
    labels = labels_of(images)
    truth = labels.of(images.pixels[:, 4]).reshape(-1, SLICES, SIDE, SIDE)
    drawn = np.roll(truth, (1, 3, 2), (1, 2, 3))
    reader = Reader(images.contrasts, images.size, labels)

    def ours() -> None:
        for one, two in zip(drawn, truth, strict=True):
            score_volume(one, two, reader, "a", (1, 1, 1))

    def theirs() -> None:
        for one, two in zip(drawn, truth, strict=True):
            for region, _ in labels.regions:
                pair = [torch.from_numpy(labels.region(part, region))[None, None].float() for part in (one, two)]
                compute_dice(*pair)
                for percentile in (None, 95):
                    compute_hausdorff_distance(*pair, include_background=True, percentile=percentile)

    return seconds(theirs, 1) / seconds(ours, 1)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=10)
    parser.add_argument("--slices", type=int, default=1000, help="scored; a multiple of 20")
    parser.add_argument("--device", default="cpu")
    options = parser.parse_args()
    few = cohort(200)
    for augment in (False, True):
        ratio = training_ratio(few, steps=options.steps, augment=augment, device=options.device)
        print(
            f"training{' with augmentation' if augment else ''}: {ratio:.2f} of a bare loop (at least 0.9)", flush=True
        )
    print(f"scoring {options.slices} slices: {scoring_ratio(cohort(options.slices)):.1f} times MONAI's pace")


if __name__ == "__main__":
    main()
