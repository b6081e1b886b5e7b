"""Which descriptor brings the source into the candidates, and what confirmation then makes of it, on real images.

    python benchmarks/retrieval.py --images LGG_FOLDER [--seed 0] [--weights radimagenet-resnet50=FILE]

LGG_FOLDER holds a folder per patient with RGB slices (TCGA-LGG). 44 patients are train, 16 holdout; one slice per
train patient and kind is copied. Per kind: share of copies whose source subject is among the top 4 of each extractor
(top 1 in brackets), then the share that confirmation puts above every holdout image with the right subject.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from synthrelease.features.analysis import analysis_images
from synthrelease.features.copy_encoder import CopyEncoder
from synthrelease.features.interface import Extractor, load
from synthrelease.features.pixels import CanonicalPixels, PlainPixels
from synthrelease.image_set import ImageRow, from_arrays
from synthrelease.privacy import confirmation
from synthrelease.privacy.neighbours import Index, fit_whitening, union
from synthrelease.privacy.planted import plan_whole, whole_queries
from synthrelease.privacy.queries import Degradation
from synthrelease.privacy.transformations import KINDS

SIZE = 128
TOP = 4


def read(folder: Path) -> tuple[NDArray[np.uint8], NDArray[np.str_]]:
    """Return slices (n, 3, 256, 256) and the patient of each."""
    files = [path for path in sorted(folder.glob("*/*.webp")) if not path.stem.endswith("_mask")]
    pixels = np.stack([np.asarray(Image.open(path).convert("RGB")).transpose(2, 0, 1) for path in files])
    return pixels, np.array([path.parent.name for path in files])


class Searcher:
    """One extractor's whitened index of the train images."""

    def __init__(self, extractor: Extractor, train: NDArray[np.float32]) -> None:
        self.extractor = extractor
        features = extractor.embed(train)
        self.whiten = fit_whitening(features)
        self.index = Index(self.whiten(features))

    def candidates(self, images: NDArray[np.float32]) -> NDArray[np.int64]:
        mirrored = None
        if not self.extractor.info.mirror_invariant:
            mirrored = self.whiten(self.extractor.embed(np.ascontiguousarray(images[..., ::-1])))
        return self.index.nearest(self.whiten(self.extractor.embed(images)), TOP, mirrored)[0]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=Path, required=True)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--weights", action="append", default=[], metavar="NAME=FILE")
    options = parser.parse_args()
    pixels, subjects = read(options.images)
    order = np.random.default_rng(options.seed).permutation(np.unique(subjects))
    in_train, in_holdout = np.isin(subjects, order[:44]), np.isin(subjects, order[44:60])
    train, names = analysis_images(pixels[in_train], SIZE), subjects[in_train]
    extractors: list[Extractor] = [CanonicalPixels(), PlainPixels(), CopyEncoder()]
    extractors += [load(name, Path(file)) for name, file in (item.split("=", 1) for item in options.weights)]
    searchers = [Searcher(extractor, train) for extractor in extractors]
    gallery = confirmation.prepare(train)

    def matched(images: NDArray[np.float32]) -> tuple[list[NDArray[np.int64]], confirmation.Matches]:
        found = [searcher.candidates(images) for searcher in searchers]
        return found, confirmation.confirm(confirmation.prepare(images), gallery, union(found))

    start = time.process_time()
    strangers = matched(analysis_images(pixels[in_holdout], SIZE))[1].score
    spent = time.process_time() - start
    shown = ", ".join(f"{value:.3f}" for value in np.quantile(strangers, (0.5, 0.9, 0.99, 1)))
    print(f"strangers (median, 90 %, 99 %, max): {shown}; {len(strangers) / spent:.0f} queries per processor second")
    rows = [ImageRow(str(i), name) for i, name in enumerate(names)]
    images = from_arrays(pixels[in_train], rows, channels=("t1", "flair", "t1ce"))
    plan = plan_whole(names, 44, options.seed)
    queries = whole_queries(plan, images, images.channels, SIZE, options.seed, Degradation())
    heads = " | ".join(extractor.info.name for extractor in extractors)
    print(f"| kind | {heads} | any | median score | least | caught above every stranger |")
    print("|" + "---|" * (len(extractors) + 5))
    for kind in KINDS:
        where = np.flatnonzero(plan.of_kind(kind.name))
        found, best = matched(queries.load(int(where[0]), int(where[-1]) + 1)[0])
        wanted = plan.subjects[where][:, None]
        hits = [names[rows] == wanted for rows in found]
        cells = [f"{h.any(1).mean():.0%} ({h[:, 0].mean():.0%})" for h in hits]
        together = np.concatenate(hits, axis=1).any(1).mean()
        right = (best.score > strangers.max()) & (names[best.index] == wanted[:, 0])
        mark = " (held out)" if kind.held_out else ""
        print(
            f"| {kind.name}{mark} | {' | '.join(cells)} | {together:.0%} | {np.median(best.score):.3f} | "
            f"{best.score.min():.3f} | {right.sum()} of {len(where)} |"
        )


if __name__ == "__main__":
    main()
