"""Frechet distance at infinitely many synthetic images, from its fall with their number."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import stats

from synthrelease import seeds
from synthrelease.errors import AuditError
from synthrelease.metrics.checks import checked_tables
from synthrelease.metrics.frechet import frechet_from_moments
from synthrelease.metrics.moments import moments

POINTS = 15
FEWEST = 20  # synthetic images: below it, the sizes hardly differ


@dataclass(frozen=True)
class ExtrapolatedDistance:
    """The line's value at infinity, with the 95 % interval of its intercept."""

    value: float
    low: float
    high: float
    sizes: tuple[int, ...]
    """Numbers of synthetic images through which the line was drawn."""


def frechet_distance_extrapolated(
    *, real: npt.ArrayLike, synthetic: npt.ArrayLike, random: np.random.Generator | None = None
) -> ExtrapolatedDistance:
    """Return where the Frechet distance goes as synthetic images become many: the intercept of a line in 1 / m.

    Args:
        real: (n, d) features, n >= 2; all of them are used at every point, so their own bias stays.
        synthetic: (m, d) features, m >= 20.
        random: draws the subsets; a fixed generator by default.

    Returns:
        Squared feature units; it may be a little below 0.

    Raises:
        AuditError: tables that `checked_tables` refuses, or fewer than 20 synthetic images.

    Source: Chong and Forsyth 2020 (FID infinity), with 15 evenly spaced sizes from m / 10 (at least 10) to m.
    """
    X, G = checked_tables(real=real, synthetic=synthetic)
    if len(G) < FEWEST:
        raise AuditError(f"{len(G)} synthetic images are too few to extrapolate.", f"Make at least {FEWEST}.")
    random = seeds.named(0, "frechet_distance_extrapolated") if random is None else random
    sizes = np.unique(np.linspace(max(10, len(G) // 10), len(G), POINTS).astype(np.int64))
    known = moments(X)
    drawn = (np.sort(random.choice(len(G), size, replace=False)) for size in sizes)
    distances = [frechet_from_moments(real=known, synthetic=moments(G[rows])) for rows in drawn]
    line = stats.linregress(1 / sizes, distances)
    reach = float(stats.t.ppf(0.975, len(sizes) - 2)) * float(line.intercept_stderr)
    value = float(line.intercept)
    return ExtrapolatedDistance(value, value - reach, value + reach, tuple(map(int, sizes)))
