"""How fast are the metrics, against a named baseline on the same arrays in the same run, and how much memory they take?

    OMP_NUM_THREADS=1 python benchmarks/metrics.py [--images 4000] [--width 2048] [--repeat 3] [--only frechet ...]
    OMP_NUM_THREADS=1 python benchmarks/metrics.py --peak --images 50000 [--only frechet ...]

Prints, per metric, CPU time (`--wall`: wall time) of the baseline over ours (medians over the repeats; higher is
better), the largest relative difference between the two answers, and the memory that ours adds to the process.
Baselines: SciPy's `sqrtm` of the product of covariances, dense matrices of all pairs, the full kernel, `cdist`;
`published` is precision and recall as the package of their authors computes it (scikit-learn's `pairwise_distances`,
three times); `kernel` and `mifid` are those of torchmetrics. Ours runs first: the baseline's memory would hide it.

`--peak` runs ours alone, each metric in a process of its own, and prints the peak memory of that process with the
features of both sets in it.
"""

from __future__ import annotations

import argparse
import resource
import subprocess
import sys
import time
from collections.abc import Callable

import numpy as np
from scipy import linalg
from scipy.spatial.distance import cdist

from synthrelease import metrics

Table = np.ndarray


def textbook_frechet(real: Table, synthetic: Table) -> float:
    """SciPy's square root of the product of covariances."""
    S, R = np.cov(real.T), np.cov(synthetic.T)
    shift = real.mean(0) - synthetic.mean(0)
    return float(shift @ shift + np.trace(S) + np.trace(R) - 2 * np.trace(linalg.sqrtm(S @ R).real))


def dense(first: Table, second: Table) -> Table:
    """All pairwise distances at once, by one matrix product."""
    squares = (first**2).sum(1)[:, None] + (second**2).sum(1) - 2 * first @ second.T
    return np.sqrt(np.maximum(squares, 0))


def textbook_coverage(real: Table, synthetic: Table) -> list[float]:
    """Three matrices of all pairs."""
    real_radii = np.partition(dense(real, real), 5, axis=1)[:, 5]
    synthetic_radii = np.partition(dense(synthetic, synthetic), 5, axis=1)[:, 5]
    pairs = dense(real, synthetic)
    inside = pairs < real_radii[:, None]
    return [
        inside.any(0).mean(),
        (pairs < synthetic_radii).any(1).mean(),
        inside.sum(0).mean() / 5,
        (pairs.min(1) < real_radii).mean(),
    ]


def published_coverage(real: Table, synthetic: Table) -> list[float]:
    """Naeem et al. 2020's own way."""
    from sklearn.metrics import pairwise_distances

    def radii(table: Table) -> Table:
        pairs = pairwise_distances(table, table, metric="euclidean")
        nearest = np.argpartition(pairs, 6, axis=-1)[..., :6]
        return np.take_along_axis(pairs, nearest, axis=-1).max(axis=-1)

    real_radii, synthetic_radii = radii(real), radii(synthetic)
    pairs = pairwise_distances(real, synthetic, metric="euclidean")
    return [
        (pairs < real_radii[:, None]).any(0).mean(),
        (pairs < synthetic_radii[None]).any(1).mean(),
        (pairs < real_radii[:, None]).sum(0).mean() / 5,
        (pairs.min(1) < real_radii).mean(),
    ]


def of_torchmetrics(name: str, first: Table, second: Table, **options: object) -> float:
    """A metric of torchmetrics on given features; `first` is what it calls real."""
    import importlib

    import torch

    module, kind = name.rsplit(".", 1)
    metric = getattr(importlib.import_module(f"torchmetrics.image.{module}"), kind)(torch.nn.Identity(), **options)
    metric.set_dtype(torch.float64)
    metric.update(torch.from_numpy(first), real=True)
    metric.update(torch.from_numpy(second), real=False)
    found = metric.compute()
    return float(found[0] if isinstance(found, tuple) else found)


def torch_kernel(real: Table, synthetic: Table) -> float:
    """100 subsets of 1,000, drawn otherwise than ours: the answers differ by the draw."""
    size = min(1000, len(real))
    return of_torchmetrics("kid.KernelInceptionDistance", real, synthetic, subset_size=size)


def torch_mifid(train: Table, synthetic: Table) -> float:
    """With the roles swapped, because it averages over what it calls real."""
    return of_torchmetrics("mifid.MemorizationInformedFrechetInceptionDistance", synthetic, train)


def ours_coverage(real: Table, synthetic: Table) -> list[float]:
    found = metrics.precision_recall_density_coverage(real=real, synthetic=synthetic)
    return [found.precision, found.recall, found.density, found.coverage]


def textbook_authenticity(train: Table, synthetic: Table) -> float:
    """Two matrices of all pairs."""
    among, across = dense(train, train), dense(synthetic, train)
    np.fill_diagonal(among, np.inf)
    return float(100 * np.mean(among.min(1)[across.argmin(1)] < across.min(1)))


def textbook_vendi(features: Table) -> float:
    """Eigenvalues of the full kernel."""
    unit = features / np.linalg.norm(features, axis=1, keepdims=True)
    values = np.linalg.eigvalsh(unit @ unit.T / len(unit))
    values = values[values > 1e-14]
    return float(np.exp(-(values * np.log(values)).sum()))


def scipy_nearest(train: Table, synthetic: Table) -> Table:
    """SciPy's cdist, exact like ours, on a tenth of the queries; its time is multiplied by ten."""
    pairs = np.sort(cdist(synthetic[: len(synthetic) // 10], train), axis=1)
    return pairs[:, 0] / pairs[:, 1]


CASES: dict[str, tuple[Callable[[Table, Table], object], Callable[[Table, Table], object], float]] = {
    "frechet": (lambda x, g: metrics.frechet_distance(real=x, synthetic=g), textbook_frechet, 1),
    "frechet_few": (
        lambda x, g: metrics.frechet_distance(real=x[:400], synthetic=g[:400]),
        lambda x, g: textbook_frechet(x[:400], g[:400]),
        1,
    ),
    "coverage": (ours_coverage, textbook_coverage, 1),
    "published": (ours_coverage, published_coverage, 1),
    "kernel": (lambda x, g: metrics.kernel_distance(real=x, synthetic=g).value, torch_kernel, 1),
    "mifid": (lambda x, g: metrics.memorization_informed_frechet_distance(train=x, synthetic=g), torch_mifid, 1),
    "authenticity": (lambda x, g: metrics.authenticity(train=x, synthetic=g), textbook_authenticity, 1),
    "vendi": (lambda x, g: metrics.vendi_score(g), lambda x, g: textbook_vendi(g), 1),
    "nearest": (
        lambda x, g: metrics.nearest_neighbour_distance_ratio(train=x, synthetic=g)[: len(g) // 10],
        scipy_nearest,
        10,
    ),
}


CLOCK = [time.process_time]


def timed(function: Callable[[Table, Table], object], real: Table, synthetic: Table) -> tuple[float, float, Table]:
    """Return seconds, MiB added to the peak, and the answer."""
    before, start = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, CLOCK[0]()
    answer = np.asarray(function(real, synthetic), dtype=np.float64)
    seconds = CLOCK[0]() - start
    return seconds, (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024, answer


def features(images: int, width: int) -> tuple[Table, Table]:
    """Two sets of single-precision features, made a block at a time."""
    random = np.random.default_rng(0)
    # Spectra of network features fall off; white noise would flatter nobody.
    mixing = (random.standard_normal((width, width)) / np.arange(1, width + 1) ** 0.5).T.astype(np.float32)
    made = []
    for _ in range(2):
        table = np.empty((images, width), dtype=np.float32)
        for start in range(0, images, 1000):
            rows = table[start : start + 1000]
            rows[:] = random.standard_normal(rows.shape).astype(np.float32) @ mixing
        made.append(table)
    return made[0], made[1]


def compare(names: list[str], images: int, width: int, repeat: int) -> None:
    """Print a line per metric."""
    real, synthetic = features(images, width)
    ours = {name: [timed(CASES[name][0], real, synthetic) for _ in range(repeat)] for name in names}
    real, synthetic = real.astype(np.float64), synthetic.astype(np.float64)
    print(f"{images} x {width} features, two sets, {repeat} repeats")
    for name in names:
        (_, extra, answer), seconds = ours[name][0], float(np.median([run[0] for run in ours[name]]))
        others = [timed(CASES[name][1], real, synthetic) for _ in range(repeat)]
        baseline, expected = float(np.median([run[0] for run in others])) * CASES[name][2], others[0][2]
        difference = float(np.max(np.abs(answer - expected) / np.maximum(np.abs(expected), 1e-300)))
        print(
            f"{name:13} {baseline / seconds:6.1f} times faster ({seconds:.2f} s, baseline {baseline:.2f} s)  "
            f"differs by {difference:.0e}  adds {extra:.0f} MiB",
            flush=True,
        )


def peaks(names: list[str], images: int, width: int) -> None:
    """Print the peak memory of a process per metric."""
    print(f"{images} x {width} features, two sets of {images * width * 4 / 2**30:.2f} GiB")
    for name in names:
        words = [sys.executable, __file__, "--alone", name, "--images", str(images), "--width", str(width)]
        print(
            f"{name:13} {subprocess.run(words, check=True, capture_output=True, text=True).stdout.strip()}", flush=True
        )


def alone(name: str, images: int, width: int) -> None:
    """Run one of ours and print this process's peak."""
    seconds, _, _ = timed(CASES[name][0], *features(images, width))
    print(f"peak {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20:.2f} GiB, {seconds:.0f} s")


def main() -> None:
    """Run the cases asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=4000)
    parser.add_argument("--width", type=int, default=2048)
    parser.add_argument("--repeat", type=int, default=1)
    parser.add_argument("--only", nargs="*", choices=CASES, default=list(CASES))
    parser.add_argument("--wall", action="store_true", help="wall time, for a quiet machine and all its cores")
    parser.add_argument("--peak", action="store_true")
    parser.add_argument("--alone", choices=CASES, help=argparse.SUPPRESS)
    chosen = parser.parse_args()
    if chosen.wall:
        CLOCK[0] = time.perf_counter
    if chosen.alone:
        alone(chosen.alone, chosen.images, chosen.width)
    elif chosen.peak:
        peaks(chosen.only, chosen.images, chosen.width)
    else:
        compare(chosen.only, chosen.images, chosen.width, chosen.repeat)


if __name__ == "__main__":
    main()
