"""Orders and how they go together: ranks, rank correlations with what a few pairs can carry, and a curve's knee."""

from __future__ import annotations

import functools
import itertools
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.stats import kendalltau, norm, rankdata, spearmanr

from synthrelease import seeds

FEWEST_SPEARMAN, FEWEST_KENDALL, FEWEST_KNEE = 4, 5, 4
MOST_EXACT, DRAWS = 8, 9_999  # 8! = 40,320 orders are all looked at; beyond, random ones
LEAST_BEND = 0.1  # of the unit square: below, a curve counts as a straight line
_SAME = 1e-9  # two statistics of permutations that differ less are equal
_BLOCK = 2_000  # permutations at once, so that memory stays small

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Correlation:
    """A rank correlation; numbers are None where the pairs cannot carry them, and the note says why."""

    value: float | None
    low: float | None
    high: float | None
    p_value: float | None
    """Of no association, two-sided, by permutation."""
    count: int
    note: str = ""


def ranks(values: Mapping[str, float | None], *, higher_is_better: bool) -> dict[str, float]:
    """Return each name's rank, 1 = best; equal values share the mean of their ranks.

    Args:
        values: Name to value; names with None or a non-finite value get no rank.
        higher_is_better: Otherwise the lowest value is the best.
    """
    known = {name: value for name, value in values.items() if value is not None and math.isfinite(value)}
    if not known:
        return {}
    sign = -1.0 if higher_is_better else 1.0
    order = rankdata([sign * value for value in known.values()])
    return {name: float(rank) for name, rank in zip(known, order, strict=True)}


def rank_intervals(draws: Mapping[str, Floats], *, higher_is_better: bool) -> tuple[dict[str, float], dict[str, float]]:
    """Return the lower and upper ends of each name's 95 % interval of its rank, 1 = best.

    Args:
        draws: Name to (draws,) values; draw i of every name resamples the same subjects. Draws in which any name is
            not finite are left out.
        higher_is_better: Otherwise the lowest value is the best.

    The ends are ranks that occur: an interval of ranks is never narrowed by interpolation.
    """
    if not draws:
        return {}, {}
    table = np.stack(list(draws.values()))  # (names, draws)
    table = table[:, np.isfinite(table).all(axis=0)]
    if table.shape[1] == 0:
        return {}, {}
    order = rankdata(-table if higher_is_better else table, axis=0)
    low = np.quantile(order, 0.025, axis=1, method="lower")
    high = np.quantile(order, 0.975, axis=1, method="higher")
    return dict(zip(draws, map(float, low), strict=True)), dict(zip(draws, map(float, high), strict=True))


def spearman(x: ArrayLike, y: ArrayLike, *, seed: int = 0) -> Correlation:
    """Return Spearman's rank correlation with its 95 % interval and p-value.

    Args:
        x: (n,) finite values.
        y: (n,) finite values of the same things.
        seed: Of the permutations, where there are too many to look at all.

    Source: interval of Bonett & Wright 2000, Fisher's z with standard error sqrt((1 + r^2 / 2) / (n - 3)).
    """
    return _correlation(
        *_pairs(x, y),
        fewest=FEWEST_SPEARMAN,
        value_of=lambda a, b: float(spearmanr(a, b).statistic),
        permuted=_permuted_spearman,
        variance=lambda value, count: (1 + value**2 / 2) / (count - 3),
        seed=seed,
    )


def kendall(x: ArrayLike, y: ArrayLike, *, seed: int = 0) -> Correlation:
    """Return Kendall's tau-b with its 95 % interval and p-value.

    Args:
        x: (n,) finite values.
        y: (n,) finite values of the same things.
        seed: Of the permutations, where there are too many to look at all.

    Source: interval of Fieller, Hartley & Pearson 1957, variance of Fisher's z 0.437 / (n - 4).
    """
    return _correlation(
        *_pairs(x, y),
        fewest=FEWEST_KENDALL,
        value_of=lambda a, b: float(kendalltau(a, b).statistic),
        permuted=_permuted_kendall,
        variance=lambda _, count: 0.437 / (count - 4),
        seed=seed,
    )


def knee(x: ArrayLike, y: ArrayLike) -> float | None:
    """Return the x after which more of it helps little; None for fewer than 4 points or where no such bend shows.

    The knee is the point farthest above the chord from the first to the last point, with both axes scaled to 1. A curve
    that does not rise, that is nearly straight, or that lies farther below its chord than above it, has none.

    Args:
        x: (n,) ascending, all different.
        y: (n,) finite.

    Source: Satopää et al. 2011 (Kneedle), without its smoothing.
    """
    along, up = _pairs(x, y)
    if np.any(np.diff(along) <= 0):
        raise ValueError("x must ascend")
    if len(along) < FEWEST_KNEE or up[-1] <= up[0]:
        return None
    above = (up - up[0]) / (up[-1] - up[0]) - (along - along[0]) / (along[-1] - along[0])
    place = int(above.argmax())
    if above[place] < LEAST_BEND or above[place] <= -above.min():
        return None
    return float(along[place])


def _pairs(x: ArrayLike, y: ArrayLike) -> tuple[Floats, Floats]:
    first, second = np.asarray(x, np.float64), np.asarray(y, np.float64)
    if first.ndim != 1 or first.shape != second.shape:
        raise ValueError(f"pairs need two lists of one length, not {first.shape} and {second.shape}")
    if not (np.isfinite(first).all() and np.isfinite(second).all()):
        raise ValueError("pairs must be finite")
    return first, second


def _correlation(
    x: Floats,
    y: Floats,
    *,
    fewest: int,
    value_of: Callable[[Floats, Floats], float],
    permuted: Callable[[Floats, Floats, NDArray[np.int64]], Floats],
    variance: Callable[[float, int], float],
    seed: int,
) -> Correlation:
    count = len(x)
    if count < fewest:
        return Correlation(None, None, None, None, count, f"Too few pairs: {count}, at least {fewest} are needed.")
    if np.ptp(x) == 0 or np.ptp(y) == 0:
        return Correlation(None, None, None, None, count, "One of the two measures is the same everywhere.")
    value = min(1.0, max(-1.0, value_of(x, y)))
    p = _permutation_p(x, y, permuted, seed)
    if abs(value) > 1 - _SAME:
        note = "The two orders agree fully: no interval follows from that; it does not mean certainty."
        note = note if value > 0 else note.replace("agree fully", "are exactly opposite")
        return Correlation(round(value), None, None, p, count, note)
    reach = float(norm.ppf(0.975)) * math.sqrt(variance(value, count))
    centre = math.atanh(value)
    return Correlation(value, math.tanh(centre - reach), math.tanh(centre + reach), p, count)


def _permutation_p(
    x: Floats, y: Floats, permuted: Callable[[Floats, Floats, NDArray[np.int64]], Floats], seed: int
) -> float:
    count = len(x)
    observed = abs(float(permuted(x, y, np.arange(count)[None])[0])) - _SAME
    if count <= MOST_EXACT:
        return float(np.mean(np.abs(permuted(x, y, _every_order(count))) >= observed))
    random = seeds.named(seed, "rank correlation")
    extreme = 0
    for start in range(0, DRAWS, _BLOCK):
        orders = random.permuted(np.tile(np.arange(count), (min(_BLOCK, DRAWS - start), 1)), axis=1)
        extreme += int(np.sum(np.abs(permuted(x, y, orders)) >= observed))
    return (1 + extreme) / (1 + DRAWS)


def _permuted_spearman(x: Floats, y: Floats, orders: NDArray[np.int64]) -> Floats:
    """Return the correlation for every order of y (orders,)."""
    a, b = (_centred(rankdata(values)) for values in (x, y))
    found: Floats = b[orders] @ a
    return found


def _permuted_kendall(x: Floats, y: Floats, orders: NDArray[np.int64]) -> Floats:
    """Return concordant minus discordant pairs for every order of y (orders,); ties are the same in each."""
    first, second = (np.sign(values[:, None] - values[None, :]).astype(np.int8) for values in (x, y))
    above = np.triu_indices(len(x), 1)
    permuted = second[orders[:, above[0]], orders[:, above[1]]]  # (orders, pairs)
    return (permuted @ first[above].astype(np.float64)).astype(np.float64)


@functools.cache
def _every_order(count: int) -> NDArray[np.int64]:
    return np.array(list(itertools.permutations(range(count))), dtype=np.int64)


def _centred(values: Floats) -> Floats:
    centred = values - values.mean()
    return np.asarray(centred / np.sqrt((centred**2).sum()), np.float64)
