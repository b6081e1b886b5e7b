"""Cross-fitting over holdout subjects: thresholds and rates for any weights of subjects at once.

A bootstrap draw is a row of weights: how often each subject was drawn. A subject's repeats are one weight, so they
cannot fall into different folds.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from synthrelease.metrics.intervals import Labels, subject_codes

MOST_FOLDS = 10
ROUNDING = 1e-9
"""Shares are sums of 1 / n_s: two that are equal on paper differ by less than this."""


@dataclass(frozen=True)
class Strangers:
    """Holdout scores as runs of equal score, highest first, split into folds of subjects."""

    runs: NDArray[np.float64]  # (G,) distinct scores, descending
    shares: NDArray[np.float64]  # (G, S) share of a subject's images in each run
    folds: NDArray[np.int64]  # (S,)
    images: int
    alpha: float

    @classmethod
    def of(cls, scores: NDArray[np.float64], subjects: Labels, alpha: float, random: np.random.Generator) -> Strangers:
        _, codes, counts = subject_codes(subjects)
        runs, run_of = np.unique(-scores, return_inverse=True)
        shares = np.zeros((len(runs), len(counts)))
        np.add.at(shares, (run_of.reshape(-1), codes), 1 / counts[codes])
        folds = random.permutation(np.arange(len(counts)) % min(len(counts), MOST_FOLDS))
        return cls(-runs, shares, folds, len(scores), alpha)

    def thresholds(self, weights: NDArray[np.float64]) -> NDArray[np.int64]:
        """Return the run that is the flag threshold for each row of subject weights (B, S): (B,)."""
        depth = min(len(self.runs), 64)
        while True:
            above = np.cumsum(weights @ self.shares[:depth].T, axis=1)
            within = above <= (self.alpha + ROUNDING) * weights.sum(axis=1, keepdims=True)
            # A threshold's own run is not above it, hence one more run than those that alpha allows.
            if depth == len(self.runs) or not within[:, -1].any():
                chosen: NDArray[np.int64] = np.minimum(within.sum(axis=1), len(self.runs) - 1)
                return chosen
            depth = min(2 * depth, len(self.runs))

    def cross_fitted(self, weights: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the holdout rate for each row of subject weights (B, S), folds held against the other folds: (B,)."""
        rate = np.zeros(len(weights))
        cumulative = np.cumsum(self.shares, axis=0)
        for fold in np.unique(self.folds):
            inside = self.folds == fold
            run = self.thresholds(weights * ~inside)
            above = np.where(run[:, None] > 0, cumulative[run - 1], 0.0)
            rate += (weights * inside * above).sum(axis=1)
        share: NDArray[np.float64] = rate / weights.sum(axis=1)
        return share

    @property
    def count(self) -> int:
        return len(self.folds)
