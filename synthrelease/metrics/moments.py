"""Mean and scatter of features, in one pass over blocks: memory depends on the features' width, not on the images."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import reduce

import numpy as np
import numpy.typing as npt

from synthrelease.metrics.checks import FloatArray, checked_tables

ROWS = 2048  # at a time: 32 MiB in float64 at 2,048 features


@dataclass(frozen=True)
class Moments:
    """What a Gaussian needs to know of a set of images; sets are put together by `+`."""

    count: int
    mean: FloatArray
    """(d,) mean feature."""
    scatter: FloatArray
    """(d, d) sum of (x - mean)(x - mean)^T."""

    @property
    def covariance(self) -> FloatArray:
        """(d, d), with n - 1."""
        return self.scatter / (self.count - 1)

    def __add__(self, other: Moments) -> Moments:
        """Return the moments of both sets together (Chan, Golub and LeVeque 1983, pairwise update)."""
        count = self.count + other.count
        apart = other.mean - self.mean
        between = np.outer(apart, apart * (self.count * other.count / count))
        mean = self.mean + apart * (other.count / count)
        between += self.scatter
        between += other.scatter
        return Moments(count, mean, between)


def moments(features: npt.ArrayLike) -> Moments:
    """Return the moments of a feature table (n, d), n >= 1, read a block at a time and summed in float64.

    Raises:
        AuditError: not a table of finite numbers.
    """
    (table,) = checked_tables(minimum=1, varied=False, features=features)
    starts = range(0, len(table), ROWS)
    return together(_of_block(np.array(table[start : start + ROWS], dtype=np.float64)) for start in starts)


def together(parts: Iterable[Moments]) -> Moments:
    """Return the moments of all parts as one set."""
    return reduce(Moments.__add__, parts)


def _of_block(block: FloatArray) -> Moments:
    """Moments of a block, which is overwritten."""
    mean = block.mean(axis=0)
    block -= mean
    return Moments(len(block), mean, block.T @ block)
