"""Train segmenters on real patients with lower-grade glioma, and show that relative Dice tells good from broken.

python examples/segment_lgg.py --data DIR/lgg --out DIR            # U-Net on real patients, 128 px: half an hour
python examples/segment_lgg.py --data DIR/lgg --out DIR --separate # two stand-ins for generators: 10 minutes each

DIR/lgg holds a folder of slices per patient with masks beside them (Buda et al. 2019). With --separate half of the
train patients are real and the other half play a generator: as they are (a perfect one), and with their masks shuffled
between images (a broken one). Relative Dice should be near 1 and far below it. An interrupted run goes on where it
stopped.
"""

from __future__ import annotations

import argparse
import shutil
import time
from pathlib import Path

import numpy as np

from synthrelease import seeds, segmenting
from synthrelease.cli.console import ConsoleProgress
from synthrelease.image_set import MASK, ImageRow, ImageSet, from_arrays, open_set
from synthrelease.release_records import UtilityRecord
from synthrelease.segmentation.plan import Roles
from synthrelease.settings import PrepareSettings
from synthrelease.study import prepare
from synthrelease.training.training_log import read_scalars

SIDE = 128  # pixels
FRACTIONS = (0.75, 0.05, 0.2)  # of patients: train, holdout (not needed here), test


def halves(images: ImageSet) -> tuple[ImageSet, ImageSet]:
    """Return the images of one half of the subjects, and those of the other half."""
    subjects = np.unique(images.subjects)
    first = seeds.named(0, "halves").permutation(subjects)[: len(subjects) // 2]
    chosen = np.isin(images.subjects, first)
    return images.subset(np.flatnonzero(chosen).tolist()), images.subset(np.flatnonzero(~chosen).tolist())


def made(images: ImageSet, *, shuffled: bool) -> ImageSet:
    """Return images as a generator would give them: without subjects; ``shuffled`` gives each another one's mask."""
    pixels = np.asarray(images.read(slice(0, len(images)))).copy()
    if shuffled:
        place = images.channels.index(MASK)
        pixels[:, place] = pixels[seeds.named(0, "shuffled masks").permutation(len(pixels)), place]
    rows = [ImageRow(f"made-{i}", generator="stand-in") for i in range(len(images))]
    return from_arrays(pixels, rows, channels=images.channels, voxel_size=images.voxel_size)


def shown(name: str, record: UtilityRecord, out: Path, minutes: float) -> None:
    """Print what came out and the curve of each training."""
    print(f"\n{name}: {minutes:.1f} minutes in this run")
    for item in record.measurements:
        if item.name.startswith(("relative_dice", "dice_mean", "hausdorff_95_mean")) and item.value is not None:
            print(f"  {item.name:<28} {item.value:.3f} ({item.low:.3f} to {item.high:.3f}), {item.count} patients")
    for folder in sorted((out / segmenting.MODELS).iterdir()):
        curve = [row for row in read_scalars(folder) if "validation_dice" in row]
        print(f"  {folder.name}: " + ", ".join(f"{row['step']}: {row['validation_dice']:.3f}" for row in curve))


def main() -> None:
    """Prepare the patients, train, and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder of patients")
    parser.add_argument("--out", type=Path, required=True, help="everything goes here")
    parser.add_argument("--separate", action="store_true", help="compare a perfect and a broken stand-in instead")
    parser.add_argument("--steps", type=int, help="default: 1500, and 500 with --separate")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--no-augment", action="store_true")
    options = parser.parse_args()
    sets = options.out / "sets"
    if not (sets / "test").is_dir():
        prepare(options.data, sets, PrepareSettings(fractions=FRACTIONS, foreground=0.0), progress=ConsoleProgress())
    train, test = (open_set(sets / name) for name in ("train", "test"))
    jobs = {"real": Roles(test, train)}
    if options.separate:
        one, other = halves(train)
        jobs = {name: Roles(test, one, made(other, shuffled=name == "broken")) for name in ("perfect", "broken")}
    steps = options.steps or (500 if options.separate else 1500)
    for name, roles in jobs.items():
        out, start = options.out / f"{name}-{steps}-seed{options.seed}", time.perf_counter()
        learnt = options.out / f"perfect-{steps}-seed{options.seed}" / segmenting.MODELS / f"real-seed{options.seed}"
        if name == "broken" and not out.exists():  # both are compared with the same training on real patients
            shutil.copytree(learnt, out / segmenting.MODELS / learnt.name)
        record = segmenting.segment_into(
            out,
            roles,
            train_on=("real",) if roles.synthetic is None else ("real", "synthetic"),
            preset="small",
            seeds=(options.seed,),
            augment=not options.no_augment,
            size=SIDE,
            changes={"steps": steps, "validate_every": max(1, steps // 15)},
            resume=True,
            progress=ConsoleProgress(),
        )
        if record is not None:
            shown(name, record, out, (time.perf_counter() - start) / 60)


if __name__ == "__main__":
    main()
