"""How fast are the metrics, against the textbook way on the same arrays in the same run?

    python benchmarks/metrics.py [--images 4000] [--width 2048] [--only frechet coverage ...]

Prints, per metric, CPU time of the textbook way over ours (higher is better), the largest relative difference between
the two answers, and the memory that ours adds to the process. Ours runs first: the baseline's memory would hide it.
"""

from __future__ import annotations

import argparse
import resource
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
    "authenticity": (lambda x, g: metrics.authenticity(train=x, synthetic=g), textbook_authenticity, 1),
    "vendi": (lambda x, g: metrics.vendi_score(g), lambda x, g: textbook_vendi(g), 1),
    "nearest": (
        lambda x, g: metrics.nearest_neighbour_distance_ratio(train=x, synthetic=g)[: len(g) // 10],
        scipy_nearest,
        10,
    ),
}


def timed(function: Callable[[Table, Table], object], real: Table, synthetic: Table) -> tuple[float, float, Table]:
    """CPU seconds, MiB added to the peak, and the answer."""
    before, start = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.process_time()
    answer = np.asarray(function(real, synthetic), dtype=np.float64)
    seconds = time.process_time() - start
    return seconds, (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024, answer


def main() -> None:
    """Run the cases asked for, smallest memory first."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=4000)
    parser.add_argument("--width", type=int, default=2048)
    parser.add_argument("--only", nargs="*", choices=CASES, default=list(CASES))
    chosen = parser.parse_args()
    random = np.random.default_rng(0)
    # Spectra of network features fall off; white noise would flatter nobody.
    mixing = random.standard_normal((chosen.width, chosen.width)) / np.arange(1, chosen.width + 1) ** 0.5
    real, synthetic = (
        random.standard_normal((chosen.images, chosen.width)).astype(np.float32) @ mixing.T.astype(np.float32)
        for _ in range(2)
    )
    ours = {name: timed(CASES[name][0], real, synthetic) for name in chosen.only}
    real, synthetic = real.astype(np.float64), synthetic.astype(np.float64)
    print(f"{chosen.images} x {chosen.width} features, two sets")
    for name in chosen.only:
        seconds, extra, answer = ours[name]
        baseline, _, expected = timed(CASES[name][1], real, synthetic)
        ratio = baseline * CASES[name][2] / seconds
        difference = float(np.max(np.abs(answer - expected) / np.maximum(np.abs(expected), 1e-300)))
        print(
            f"{name:14} {ratio:7.1f} times faster ({seconds:.2f} s)  differs by {difference:.0e}  adds {extra:.0f} MiB",
            flush=True,
        )


if __name__ == "__main__":
    main()
