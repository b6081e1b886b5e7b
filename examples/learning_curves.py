"""Train each kind of generator on real slices and show that it learns: curve, mask agreement, sample grids.

python examples/learning_curves.py --data DIR/lgg --out DIR --generators progan stylegan2

DIR/lgg holds a folder of slices per patient with masks beside them (Buda et al. 2019). What it prints for 64 px on two
cores is in docs/experiments.md. An interrupted run goes on where it stopped.
"""

from __future__ import annotations

import argparse
import json
import math
import time
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from synthrelease import study
from synthrelease.image_set import ImageSet, open_set
from synthrelease.settings import PrepareSettings
from synthrelease.training.training_log import read_scalars

KIMG = {"progan": 15.0, "stylegan1": 37.5, "stylegan2": 15.0, "stylegan3": 14.0, "diffusion": 15.0}
NARROW = {  # networks half as wide as `small`, so that each takes minutes
    "progan": {"channel_base": 512, "channel_max": 32},
    "stylegan1": {"channel_base": 512, "channel_max": 32, "learning_rates": {4: 4e-3}},
    "stylegan2": {"channel_base": 1024, "channel_max": 32},
    "stylegan3": {"channel_base": 512, "channel_max": 32},
    "diffusion": {"width": 16},
}
POINTS = 8  # of each curve
DIFFUSION_POINTS = 2  # drawing the images of one takes more than a minute
BRIGHT = "green"  # the FLAIR of these files
BATCHES = {"stylegan3": 8}  # more steps in the same time: its layers are the slowest
BATCH = 16


def mask_agreement(images: ImageSet) -> dict[str, float]:
    """Return how bright FLAIR is under an image's own mask, and under the mask of the next image, as ranks.

    A rank is the mean share of the head's pixels that are darker than the masked ones: 0.5 for a mask that lies
    anywhere, 1 for one on the brightest tissue. Images without a mask do not count.
    """
    pixels = images.read(slice(0, len(images)))
    flair, masks = pixels[:, images.channels.index(BRIGHT)], pixels[:, images.channels.index("mask")] > 0
    kept = [i for i in range(len(pixels)) if masks[i].any() and (flair[i] > 25).any()]
    own = np.array([_rank(flair[i], masks[i]) for i in kept])
    shuffled = np.array([_rank(flair[i], masks[j]) for i, j in zip(kept, kept[1:] + kept[:1], strict=True)])
    better = own - shuffled
    draws = np.random.default_rng(0).choice(better, (2000, len(better))).mean(1)
    low, high = np.quantile(draws, [0.025, 0.975])
    return {
        "with_mask": len(kept) / len(pixels),
        "own": float(own.mean()),
        "shuffled": float(shuffled.mean()),
        "difference_low": float(low),
        "difference_high": float(high),
    }


def _rank(flair: NDArray[np.uint8], mask: NDArray[np.bool_]) -> float:
    head = np.sort(flair[flair > 25].astype(float))
    inside = flair[mask].astype(float)
    return float((np.searchsorted(head, inside) + np.searchsorted(head, inside, side="right")).mean() / 2 / len(head))


def curve(name: str, sets: Path, out: Path, kimg: float, resolution: int) -> dict[str, object]:
    """Train one generator with its configuration `small` and return what came of it."""
    folder, diffusion, batch = out / name, name == "diffusion", BATCHES.get(name, BATCH)
    options: dict[str, Any] = {"images": sets / "train", "out": folder, "resume": True, "config": "small"}
    options |= {"resolution": resolution, "batch": batch, "best": "fd", "judged_images": samples_of(name)}
    options |= {"changes": NARROW[name]}
    options |= {"learning_rate": 1e-3, "average_decay": 0.995} if diffusion else {}
    every = math.ceil(kimg * 1000 / batch / (DIFFUSION_POINTS if diffusion else POINTS))
    begun = time.perf_counter()
    study.train(name, steps=1, **options)  # the first point of the curve
    study.train(name, kimg=kimg, checkpoint_every=every, sample_every=every, **options)
    minutes = (time.perf_counter() - begun) / 60
    record = study.sample(folder, range(samples_of(name)), out / f"{name}-samples")
    rows = read_scalars(folder)
    points = [(row["step"], round(row[key], 4)) for row in rows for key in row if key.startswith("fd_")]
    return {
        "generator": name,
        "kimg": kimg,
        "minutes": round(minutes, 1),
        "minutes_of_steps": round(kimg * 1000 / pace(rows) / 60, 1),
        "curve": points,
        "fall": points[0][1] / min(value for _, value in points[1:]),
        "agreement": mask_agreement(open_set(out / f"{name}-samples")),
        "off_level_share_of_tumour": record.mask.off_level_share_of_tumour if record.mask else None,
    }


def pace(rows: list[dict[str, Any]]) -> float:
    """Return images a second: the median over the log, so that drawing the images that are measured does not count."""
    return float(np.median([row["images_per_second"] for row in rows if "images_per_second" in row]))


def samples_of(name: str) -> int:
    """Return how many images a point of the curve is made of; those of diffusion take long."""
    return 100 if name == "diffusion" else 500


def main() -> None:
    """Prepare, train, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--generators", nargs="+", default=list(KIMG))
    parser.add_argument("--kimg", type=float, help="Thousand images; default: one that takes minutes, for each kind")
    parser.add_argument("--resolution", type=int, default=64)
    options = parser.parse_args()
    sets = options.out / "sets"
    if not (sets / "train").is_dir():
        study.prepare(options.data, sets, PrepareSettings(preset="robust"))
    real = mask_agreement(open_set(sets / "holdout"))
    print(json.dumps({"real holdout": real}), flush=True)
    for name in options.generators:
        found = curve(name, sets, options.out, options.kimg or KIMG[name], options.resolution)
        print(json.dumps(found), flush=True)


if __name__ == "__main__":
    main()
