"""Confidence intervals for shares, and resampling by subject.

Slices of one subject are alike, so everything that resamples here draws subjects, never images.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import betaincinv

Labels = Sequence[str] | NDArray[Any]
"""One subject id per image."""


def clopper_pearson(successes: float, trials: float, confidence: float = 0.95) -> tuple[float, float]:
    """Return the exact two-sided interval of a share.

    Args:
        successes: 0 to `trials`; fractions are allowed where trials are an effective number of clusters.
        trials: at least 0; with 0 trials nothing is known and the interval is (0, 1).
        confidence: covers the truth at least this often, each side missing it at most half of the rest.

    Source: Clopper & Pearson 1934; Beta quantiles as in Brown, Cai & DasGupta 2001, section 4.2.1.
    """
    one_sided = (1 + confidence) / 2
    return (
        clopper_pearson_lower(successes, trials, one_sided),
        clopper_pearson_upper(successes, trials, one_sided),
    )


def clopper_pearson_lower(successes: float, trials: float, confidence: float = 0.975) -> float:
    """Return the exact one-sided lower bound of a share; 0 without successes, 0.80 for 17 of 17 at 97.5 %."""
    _check(successes, trials, confidence)
    if successes <= 0:
        return 0.0
    return float(betaincinv(successes, trials - successes + 1, 1 - confidence))


def clopper_pearson_upper(successes: float, trials: float, confidence: float = 0.975) -> float:
    """Return the exact one-sided upper bound of a share; 1 when every trial succeeded."""
    _check(successes, trials, confidence)
    if successes >= trials:
        return 1.0
    return float(betaincinv(successes + 1, trials - successes, confidence))


def subject_codes(subjects: Labels) -> tuple[NDArray[Any], NDArray[np.int64], NDArray[np.int64]]:
    """Return the sorted subject names (S), each image's subject number (n) and each subject's images (S)."""
    names, codes, counts = np.unique(np.asarray(subjects), return_inverse=True, return_counts=True)
    return names, codes.reshape(-1).astype(np.int64), counts.astype(np.int64)


def equal_weights(subjects: Labels) -> NDArray[np.float64]:
    """Return weights (n) that sum to 1, with which each subject counts the same however many images it has."""
    names, codes, counts = subject_codes(subjects)
    weights: NDArray[np.float64] = 1.0 / (counts[codes] * max(len(names), 1))
    return weights


def cluster_size(subjects: Labels) -> float:
    """Return the number of images that count as one: sum n_s^2 / sum n_s over subjects (Kish 1965).

    This is the design effect of images that are identical within a subject, the worst clustering there is.
    """
    _, _, counts = subject_codes(subjects)
    return float((counts.astype(np.float64) ** 2).sum() / counts.sum()) if counts.size else 1.0


def resampled_subjects(count: int, draws: int, random: np.random.Generator) -> NDArray[np.int64]:
    """Return how often each of `count` subjects was drawn, with replacement, in each draw: (draws, count)."""
    return random.multinomial(count, np.full(count, 1 / count), size=draws).astype(np.int64)


def percentile_interval(values: NDArray[np.float64], confidence: float = 0.95) -> tuple[float, float]:
    """Return the central share of the draws as an interval (Efron 1979, percentile method)."""
    low, high = np.quantile(values, [(1 - confidence) / 2, (1 + confidence) / 2])
    return float(low), float(high)


def subject_bootstrap(
    values: NDArray[np.float64],
    subjects: Labels,
    *,
    draws: int,
    random: np.random.Generator,
    confidence: float = 0.95,
    statistic: Callable[[NDArray[np.float64]], float] | None = None,
) -> tuple[float, float]:
    """Return the interval of the mean over subjects of their mean value, or of another `statistic` of these means.

    Args:
        values: (n,) one number per image.
        subjects: (n,) ids; whole subjects are drawn with replacement.
        draws: bootstrap draws.
        random: source of the draws.
        confidence: share of the draws inside the interval.
        statistic: of the (S,) drawn subject means; the mean when None.
    """
    _, codes, counts = subject_codes(subjects)
    means = np.bincount(codes, weights=values) / counts
    if statistic is None:
        drawn = resampled_subjects(len(means), draws, random) @ means / len(means)
        return percentile_interval(drawn, confidence)
    rows = random.integers(len(means), size=(draws, len(means)))
    return percentile_interval(np.array([statistic(means[row]) for row in rows]), confidence)


def _check(successes: float, trials: float, confidence: float) -> None:
    if not 0 <= successes <= trials:
        raise ValueError(f"{successes} successes in {trials} trials is no share")
    if not 0 < confidence < 1:
        raise ValueError(f"confidence must lie between 0 and 1, not {confidence}")
