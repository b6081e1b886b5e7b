"""Feature likelihood divergence: how well a density built on the synthetic images explains real ones.

From Jiralerspong et al. 2023. The paper's parts are kept: one isotropic Gaussian per synthetic image, variances fitted
to train by maximum likelihood, negative log-likelihood per dimension times 100, train minus holdout as the gap.
Chosen here:

- Features are scaled by half the distance between their 15.87 and 84.13 percentiles (one sd of a Gaussian; at least
  half the sd) over train and holdout together, so that no unit or outlier drowns the rest and neither role is favoured.
- The variances are fitted by expectation-maximisation, which has the same stationary points as the likelihood.
- No variance falls below 1e-4 of the scaled unit: a verbatim copy would otherwise buy an infinite likelihood.
- The paper subtracts a constant of the data set; here it is the Gaussian's own log(2 pi) / 2 per dimension. It cancels
  in the gap and between releases measured on the same train and holdout.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from synthrelease.metrics.checks import FloatArray, feature_tables
from synthrelease.metrics.neighbours import blocks

_LEAST_VARIANCE = 1e-4
_MOST_STEPS = 50
_ENOUGH = 1e-5
_KEPT_BYTES = 256 * 2**20

Distances = Callable[[], Iterator[FloatArray]]
"""Yields blocks of rows of squared distances, real images down, synthetic across, the same at every call."""


@dataclass(frozen=True)
class FeatureLikelihoodDivergence:
    """Negative log-likelihoods, 100 / d of a nat; lower is a better fit."""

    value: float
    """On holdout: lower is better; no landmark at 0, so compare with another release or with half of train."""
    train_value: float
    """On train, to which the variances were fitted."""
    gap: float
    """Train minus holdout: a little below 0 for fresh samples (the variances saw train), far below 0 for copying."""


def feature_likelihood_divergence(
    *, train: npt.ArrayLike, holdout: npt.ArrayLike, synthetic: npt.ArrayLike
) -> FeatureLikelihoodDivergence:
    """Return the feature likelihood divergence on holdout, on train, and their gap.

    Args:
        train: (n, d) features, n >= 2.
        holdout: (h, d) features of other subjects.
        synthetic: (m, d) features.

    Raises:
        AuditError: tables that `feature_tables` refuses.

    Memory: a copy of the tables and 256 MiB; distances are kept while they fit there, else computed again in each step.
    Source: Jiralerspong et al. 2023; the choices made here are listed at the top of this file.
    """
    X, T, G = feature_tables(train=train, holdout=holdout, synthetic=synthetic)
    X, T, G = _scaled(X, T, G)
    width = X.shape[1]
    to_train = _squared_distances(X, G)
    variances = _fit_variances(to_train, len(G), width)
    train_value = _score(to_train, variances, len(X), width)
    value = _score(_squared_distances(T, G), variances, len(T), width)
    return FeatureLikelihoodDivergence(value, train_value, train_value - value)


def _scaled(train: FloatArray, holdout: FloatArray, synthetic: FloatArray) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Centre and scale every feature by how it spreads over train and holdout."""
    real = np.concatenate([train, holdout])
    low, middle, high = np.quantile(real, [0.1587, 0.5, 0.8413], axis=0)
    # A feature that is 0 for most images has no central spread; half its sd keeps it from outweighing all others.
    spread = np.maximum((high - low) / 2, real.std(axis=0) / 2)
    # What real images never vary in stays in its own unit.
    spread = np.where(spread > 0, spread, 1.0)
    return (train - middle) / spread, (holdout - middle) / spread, (synthetic - middle) / spread


def _squared_distances(real: FloatArray, synthetic: FloatArray) -> Distances:
    """Return a source of blocks that keeps them in memory while they are small enough."""
    centre = synthetic.mean(axis=0)
    X, G = real - centre, synthetic - centre
    real_norms, norms = np.einsum("ij,ij->i", X, X), np.einsum("ij,ij->i", G, G)

    def computed() -> Iterator[FloatArray]:
        for rows in blocks(len(X), len(G), bytes_each=32):
            squares = X[rows] @ G.T
            squares *= -2
            squares += real_norms[rows, None]
            squares += norms
            yield np.maximum(squares, 0, out=squares)

    if 8 * len(X) * len(G) > _KEPT_BYTES:
        return computed
    kept = list(computed())
    return lambda: iter(kept)


def _fit_variances(distances: Distances, components: int, width: int) -> FloatArray:
    """Return the (m,) variances under which train is most likely, by expectation-maximisation from one shared start."""
    shortest = np.concatenate([block.min(axis=1) for block in distances()])
    variances = np.full(components, max(float(shortest.mean()) / width, _LEAST_VARIANCE))
    before = -np.inf
    for _ in range(_MOST_STEPS):
        variances, now = _improve(distances, variances, width)
        if now - before < _ENOUGH:
            break
        before = now
    return variances


def _improve(distances: Distances, variances: FloatArray, width: int) -> tuple[FloatArray, float]:
    """One step: each component's variance becomes its mean squared distance, weighted by what it is responsible for.

    Weights are summed relative to each component's own largest, in logarithms, so that a component that explains
    almost nothing still moves to where it explains most, instead of dividing 0 by 0.
    """
    largest = np.full(len(variances), -np.inf)
    weight, weighted = np.zeros(len(variances)), np.zeros(len(variances))
    likelihoods = []
    for squares in distances():
        logs = _log_densities(squares, variances, width)
        row = _log_sums(logs)
        likelihoods.append(row)
        logs -= row[:, None]
        now = np.maximum(largest, logs.max(axis=0))
        fade = np.exp(largest - now)
        responsible = np.exp(logs - now, out=logs)
        weight = weight * fade + responsible.sum(axis=0)
        weighted = weighted * fade + np.einsum("ij,ij->j", responsible, squares)
        largest = now
    mean = float(np.concatenate(likelihoods).mean())
    return np.maximum(weighted / (weight * width), _LEAST_VARIANCE), mean / width


def _log_densities(squares: FloatArray, variances: FloatArray, width: int) -> FloatArray:
    """Log density of every real image under every component, without the constant log(2 pi) / 2 per dimension."""
    logs = squares * (-0.5 / variances)
    logs -= 0.5 * width * np.log(variances)
    return logs


def _log_sums(logs: FloatArray) -> FloatArray:
    highest = logs.max(axis=1, keepdims=True)
    return np.asarray(highest[:, 0] + np.log(np.exp(logs - highest).sum(axis=1)))


def _score(distances: Distances, variances: FloatArray, count: int, width: int) -> float:
    """-(100 / d) times the mean log-likelihood, each synthetic image weighing 1/m."""
    total = sum(float(_log_sums(_log_densities(block, variances, width)).sum()) for block in distances())
    return float(-100 / width * (total / count - np.log(len(variances))))
