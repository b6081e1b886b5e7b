"""Calibrate on strangers, then count near copies: thresholds, rates, the excess, p- and q-values.

Scores say how alike a query and its best train image are: higher is more alike, 1 is a verbatim copy. Strangers are
the images of holdout subjects, searched in the same train set. An image counts only when it scores strictly above a
threshold, and every holdout subject weighs the same.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import betaincinv

from synthrelease.errors import AuditError
from synthrelease.metrics.intervals import (
    Labels,
    clopper_pearson,
    clopper_pearson_upper,
    cluster_size,
    equal_weights,
    percentile_interval,
    resampled_subjects,
)
from synthrelease.privacy.strangers import ROUNDING, Strangers
from synthrelease.records import NearCopies, Rate

Scores = NDArray[np.float64]

FEWEST_FLAGGED_SUBJECTS = 5
"""Below this many holdout subjects above the threshold a bootstrap has too little to resample."""

FEWEST_SUBJECTS_FOR_SIGNIFICANCE = 19
"""With S subjects no p-value is below 1 / (S + 1); 5 % needs S = 19."""


@dataclass(frozen=True)
class Calibration:
    """Two thresholds: `flag` is exceeded by a share alpha of strangers' images at most, `alarm` by none of them."""

    flag: float
    alarm: float


def weighted_quantile(scores: Scores, subjects: Labels, q: float) -> float:
    """Return the smallest score that at least a share q of the images does not exceed, subjects weighing the same.

    Args:
        scores: (n,) finite.
        subjects: (n,) ids.
        q: 0 to 1; 1 gives the maximum.
    """
    _check(scores, subjects)
    order = np.argsort(scores, kind="stable")
    reached = np.cumsum(equal_weights(subjects)[order])
    position = int(np.searchsorted(reached, q - ROUNDING))
    return float(scores[order][min(position, len(order) - 1)])


def calibrate(scores: Scores, subjects: Labels, alpha: float) -> Calibration:
    """Return the flag threshold (the 1 - alpha quantile over strangers) and the alarm threshold (their maximum).

    Args:
        scores: (n,) of holdout images, each the maximum over candidates, mirror and parts.
        subjects: (n,) ids of holdout subjects.
        alpha: share of strangers' images that may be flagged.
    """
    return Calibration(weighted_quantile(scores, subjects, 1 - alpha), float(np.max(scores)))


def stranger_bound(subjects: int) -> float:
    """Return the most that a new stranger's chance of any slice above alarm can be, with 95 % confidence.

    1 - 0.05^(1/S): 17 % for S = 16, 5 % for 59, 1 % for 299 (Wilks 1941, one-sided tolerance limit). 1 for S = 0.
    """
    return 1.0 if subjects <= 0 else 1 - 0.05 ** (1 / subjects)


def near_copies(
    *,
    holdout_scores: Scores,
    holdout_subjects: Labels,
    synthetic_scores: Scores,
    synthetic_subjects: Labels | None,
    alpha: float,
    draws: int,
    random: np.random.Generator,
) -> NearCopies:
    """Return the near-copy rates of synthetic and holdout at the flag threshold, and the excess, with 95 % intervals.

    The synthetic rate uses the threshold from all of holdout. The holdout rate is cross-fitted: each fold of subjects
    is held against the threshold from the other folds. The excess's interval has two forms, named in `Rate.method`:

    - At least 5 holdout subjects above the threshold: subjects are resampled, the threshold refitted in every draw, and
      the repeats of a subject kept in one fold; the synthetic share at that threshold is drawn from
      Clopper-Pearson's Beta distributions, so that no flagged image does not pass for certainty.
    - Fewer: Clopper-Pearson over subjects. With F of S holdout subjects above the threshold, the chance that a new one
      has any image above it follows Beta(F + 1, S - F) (Wilks 1941), whose quantile is Clopper-Pearson's upper bound
      for F of S; a stranger's image rate cannot exceed it. The limits of the two rates are combined by the square
      root of the sum of squared distances (Zou & Donner 2008, MOVER).

    Synthetic images count as clusters: of `synthetic_subjects` where known (any grouping of images that resemble each
    other), else of the size of the holdout's subjects, as if images within one were identical.

    Args:
        holdout_scores: (n,) finite.
        holdout_subjects: (n,) ids.
        synthetic_scores: (m,) finite, m >= 1.
        synthetic_subjects: (m,) ids, or None where unknown.
        alpha: share of strangers' images that may be flagged.
        draws: of subjects.
        random: source of folds and draws.
    """
    _check(holdout_scores, holdout_subjects)
    _check(synthetic_scores, synthetic_subjects if synthetic_subjects is not None else synthetic_scores)
    flag = calibrate(holdout_scores, holdout_subjects, alpha).flag
    clusters = _clusters(len(synthetic_scores), synthetic_subjects, holdout_subjects)
    synthetic = _synthetic_rate(synthetic_scores, flag, clusters, synthetic_subjects)
    strangers = Strangers.of(holdout_scores, holdout_subjects, alpha, random)
    above = _subjects_above(holdout_scores, holdout_subjects, flag)
    if above < FEWEST_FLAGGED_SUBJECTS:
        holdout, excess = _by_clopper_pearson(strangers, above, synthetic)
    else:
        holdout, excess = _by_bootstrap(strangers, synthetic, synthetic_scores, clusters, draws, random)
    return NearCopies(synthetic=synthetic, holdout=holdout, excess=excess)


def score_shift(
    *,
    holdout_scores: Scores,
    holdout_subjects: Labels,
    synthetic_scores: Scores,
    synthetic_subjects: Labels | None,
    draws: int,
    random: np.random.Generator,
) -> Rate:
    """Return how much oftener synthetic images score above the strangers' median than strangers do: -0.5 to 0.5.

    Near 0 where strangers are a yardstick. Far below 0, synthetic images resemble train less than strangers do (noise,
    another resolution): near copies may hide below the threshold, and calibration does not transfer. At the flag
    threshold a negative excess can hardly ever be significant, because strangers exceed it in 1 % of images only.
    The interval is that of `near_copies`, whose arguments these are.
    """
    found = near_copies(
        holdout_scores=holdout_scores,
        holdout_subjects=holdout_subjects,
        synthetic_scores=synthetic_scores,
        synthetic_subjects=synthetic_subjects,
        alpha=0.5,
        draws=draws,
        random=random,
    )
    assert found.excess is not None
    return found.excess


def p_values(synthetic_scores: Scores, holdout_scores: Scores, holdout_subjects: Labels) -> Scores:
    """Return, per synthetic image, the chance that a stranger scores at least as high: (m,), 1 / (S + 1) to 1.

    p = (1 + sum over subjects of the mean of 1[their score >= this score]) / (S + 1). Conformal (Vovk 2005) with one
    image of each subject drawn at random, averaged over that draw.
    """
    _check(holdout_scores, holdout_subjects)
    count = len(np.unique(np.asarray(holdout_subjects)))
    order = np.argsort(holdout_scores, kind="stable")
    below = np.concatenate([[0.0], np.cumsum(equal_weights(holdout_subjects)[order])])
    position = np.searchsorted(holdout_scores[order], synthetic_scores, side="left")
    at_least = np.clip(below[-1] - below[position], 0, 1) * count
    at_least[position == len(order)] = 0
    p: Scores = np.minimum((1 + at_least) / (count + 1), 1.0)
    return p


def q_values(p: Scores) -> Scores:
    """Return Benjamini-Hochberg adjusted p-values (m,), in the order given; they rank, they never decide (1995)."""
    order = np.argsort(p, kind="stable")[::-1]
    ranks = np.arange(len(p), 0, -1)
    adjusted = np.empty(len(p))
    adjusted[order] = np.minimum.accumulate(np.minimum(p[order] * len(p) / ranks, 1.0)) if len(p) else p
    return adjusted


def _by_clopper_pearson(strangers: Strangers, above: int, synthetic: Rate) -> tuple[Rate, Rate]:
    count = strangers.count
    value = _cross_fitted_value(strangers)
    most = max(clopper_pearson_upper(above, count), value)
    holdout = Rate(
        value=value,
        low=0.0,
        high=most,
        count=strangers.images,
        flagged=round(value * strangers.images),
        subjects=count,
        method=f"Cross-fitted over subjects; Clopper-Pearson for {above} of {count} subjects above the threshold",
    )
    difference = synthetic.value - value
    excess = Rate(
        value=difference,
        low=difference - float(np.hypot(synthetic.value - synthetic.low, most - value)),
        high=difference + float(np.hypot(synthetic.high - synthetic.value, value)),
        count=synthetic.count,
        flagged=synthetic.flagged,
        subjects=count,
        method=(
            f"Clopper-Pearson over subjects (strangers: 0 to {most:.3f}), limits combined by MOVER, because only "
            f"{above} of {count} holdout subjects have an image above the threshold"
        ),
    )
    return holdout, excess


def _by_bootstrap(
    strangers: Strangers,
    synthetic: Rate,
    synthetic_scores: Scores,
    clusters: float,
    draws: int,
    random: np.random.Generator,
) -> tuple[Rate, Rate]:
    weights = resampled_subjects(strangers.count, draws, random).astype(np.float64)
    rates = strangers.cross_fitted(weights)
    thresholds = strangers.runs[strangers.thresholds(weights)]
    ordered = np.sort(synthetic_scores)
    share = 1 - np.searchsorted(ordered, thresholds, side="right") / len(ordered)
    lows, highs = _beta_draws(share * clusters, clusters, random)
    value = _cross_fitted_value(strangers)
    low, high = percentile_interval(rates)
    holdout = Rate(
        value=value,
        low=min(low, value),
        high=max(high, value),
        count=strangers.images,
        flagged=round(value * strangers.images),
        subjects=strangers.count,
        method=f"Cross-fitted over subjects; {draws} bootstrap draws of subjects, threshold refitted in each",
    )
    difference = synthetic.value - value
    excess = Rate(
        value=difference,
        low=min(float(np.quantile(lows - rates, 0.025)), difference),
        high=max(float(np.quantile(highs - rates, 0.975)), difference),
        count=synthetic.count,
        flagged=synthetic.flagged,
        subjects=strangers.count,
        method=(
            f"{draws} bootstrap draws of subjects, threshold refitted in each; synthetic images count as "
            f"{clusters:.0f} clusters"
        ),
    )
    return holdout, excess


def _synthetic_rate(scores: Scores, flag: float, clusters: float, subjects: Labels | None) -> Rate:
    flagged = int((scores > flag).sum())
    share = flagged / len(scores)
    low, high = clopper_pearson(share * clusters, clusters)
    known = "of the subjects given" if subjects is not None else "as large as holdout subjects"
    return Rate(
        value=share,
        low=low,
        high=high,
        count=len(scores),
        flagged=flagged,
        subjects=None if subjects is None else len(np.unique(np.asarray(subjects))),
        method=f"Clopper-Pearson with {clusters:.1f} clusters, {known}; the threshold taken as given",
    )


def _clusters(images: int, subjects: Labels | None, holdout_subjects: Labels) -> float:
    """Return the effective number of independent synthetic images, at least 1."""
    return max(1.0, images / cluster_size(subjects if subjects is not None else holdout_subjects))


def _beta_draws(
    successes: NDArray[np.float64], trials: float, random: np.random.Generator
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return draws whose quantiles are Clopper-Pearson's lower and upper bounds, one pair per entry."""
    levels = random.random(len(successes))
    kinds, inverse = np.unique(successes, return_inverse=True)
    lows, highs = np.zeros(len(successes)), np.ones(len(successes))
    for kind, value in enumerate(kinds):
        rows = inverse == kind
        if value > 0:
            lows[rows] = betaincinv(value, trials - value + 1, levels[rows])
        if value < trials:
            highs[rows] = betaincinv(value + 1, trials - value, levels[rows])
    return lows, highs


def _cross_fitted_value(strangers: Strangers) -> float:
    if strangers.count < 2:
        return 0.0
    return float(np.clip(strangers.cross_fitted(np.ones((1, strangers.count)))[0], 0, 1))


def _subjects_above(scores: Scores, subjects: Labels, flag: float) -> int:
    return len(np.unique(np.asarray(subjects)[scores > flag]))


def _check(scores: Scores, subjects: Labels | Scores) -> None:
    if len(scores) == 0:
        raise AuditError("There are no scores to calibrate on or to count.", "Give at least one image in each role.")
    if len(scores) != len(subjects):
        raise AuditError(
            f"{len(scores)} scores came with {len(subjects)} subjects.", "Give one subject id for every image."
        )
    if not np.isfinite(scores).all():
        raise AuditError(
            f"{int((~np.isfinite(scores)).sum())} scores are not finite.", "Exclude the images that failed, by name."
        )
