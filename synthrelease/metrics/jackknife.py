"""Intervals of any statistic of two sets: each set is cut into parts, and each part is left out once."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar

import numpy as np
import numpy.typing as npt
from scipy import stats

from synthrelease import seeds
from synthrelease.metrics.checks import FloatArray, IntArray

Part = TypeVar("Part")
PARTS = 5


def parts_of(groups: npt.ArrayLike, parts: int = PARTS, random: np.random.Generator | None = None) -> IntArray:
    """Return the part (n,) of each image, 0 to parts - 1: whole groups (subjects) at random, parts of similar size.

    With fewer groups than parts there are as many parts as groups.
    """
    names, codes, counts = np.unique(np.asarray(groups), return_inverse=True, return_counts=True)
    random = seeds.named(0, "parts_of") if random is None else random
    sizes, place = np.zeros(max(1, min(parts, len(names)))), np.empty(len(names), dtype=np.int64)
    order = random.permutation(len(names))
    for name in order[np.argsort(-counts[order], kind="stable")]:  # the largest first, each to the emptiest part
        place[name] = sizes.argmin()
        sizes[place[name]] += counts[name]
    return np.asarray(place[codes.reshape(-1)])


def jackknife_interval(
    statistic: Callable[[Sequence[Part], Sequence[Part]], FloatArray],
    *,
    real: Sequence[Part],
    synthetic: Sequence[Part],
    value: FloatArray,
) -> tuple[FloatArray, FloatArray] | None:
    """Return the 95 % interval (low, high) of each of k statistics, or None where a set is of one part.

    Args:
        statistic: of two lists of parts; gives (k,) numbers.
        real: parts of the real images, whole subjects each.
        synthetic: parts of the synthetic images.
        value: (k,) the statistics of all parts, the interval's middle.

    Returns:
        value -+ t * error; the error adds what leaving out real parts and synthetic parts moves the statistics by. The
        degrees of freedom are Satterthwaite's, from parts - 1 on each side.

    Source: Efron and Stein 1981 (delete-a-group jackknife); resampling with replacement would repeat images, which
    distances between sets mistake for copies and for missing variety.
    """
    if min(len(real), len(synthetic)) < 2:
        return None
    variances = []
    for left_out, side in ((True, real), (False, synthetic)):
        values = []
        for number in range(len(side)):
            rest = [part for other, part in enumerate(side) if other != number]
            values.append(statistic(rest, synthetic) if left_out else statistic(real, rest))
        drawn = np.stack(values)
        variances.append((len(side) - 1) / len(side) * ((drawn - drawn.mean(axis=0)) ** 2).sum(axis=0))
    total = variances[0] + variances[1]
    spread = variances[0] ** 2 / (len(real) - 1) + variances[1] ** 2 / (len(synthetic) - 1)
    freedom = np.divide(total**2, spread, out=np.full_like(total, len(real) + len(synthetic) - 2), where=spread > 0)
    reach = stats.t.ppf(0.975, np.maximum(freedom, 1)) * np.sqrt(total)
    return value - reach, value + reach
