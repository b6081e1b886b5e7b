"""Exposure: how strongly each train subject shows in the synthetic images, against how it shows among strangers.

Some heads are simply typical: many strangers have them as their best match. A train subject is exposed when more
synthetic images point at it than strangers do, or when any of them scores above alarm.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.stats import betabinom

from synthrelease.metrics.intervals import Labels, cluster_size, equal_weights, subject_codes
from synthrelease.records import Exposure

_PRIOR_SUBJECTS = 1.0
"""The number of train images says as much about who is typical as one stranger does. A heavier prior would call a
typical head exposed because few strangers have met it yet (docs/validity.md)."""


def exposure(
    *,
    train_subjects: Labels,
    synthetic_best: Labels,
    synthetic_scores: NDArray[np.float64],
    holdout_best: Labels,
    holdout_subjects: Labels,
    flag: float,
    alarm: float,
) -> tuple[Exposure, ...]:
    """Return one row per train subject, the worst off first: by alarms, then suspects, then highest score.

    The test of the share of hits takes each train subject's chance of being a stranger's best match as a Beta
    variable: its share of train images counts as one stranger, and every holdout subject as one more. Hits then follow
    a beta-binomial law, which widens with a small holdout. Synthetic images count as clusters of the size of the
    holdout's subjects. The p-values are Holm-adjusted over train subjects (Holm 1979).

    Args:
        train_subjects: (n,) subject of each train image.
        synthetic_best: (m,) subject of each synthetic image's best train image.
        synthetic_scores: (m,) score of that match.
        holdout_best: (k,) subject of each holdout image's best train image; empty without a holdout.
        holdout_subjects: (k,) subject of each holdout image.
        flag: suspects score above it; infinite without a holdout.
        alarm: alarms score above it; infinite without a holdout.
    """
    names, _, images = subject_codes(train_subjects)
    best = _position(names, synthetic_best)
    hits = np.bincount(best, minlength=len(names))
    expected, p = _against_strangers(names, images, hits, holdout_best, holdout_subjects)
    highest = np.full(len(names), -np.inf)
    np.maximum.at(highest, best, synthetic_scores)
    suspects = np.bincount(best[synthetic_scores > flag], minlength=len(names))
    alarms = np.bincount(best[synthetic_scores > alarm], minlength=len(names))
    rows = [
        Exposure(
            subject=str(names[i]),
            images=int(images[i]),
            # A subject that is nobody's best match has no score of its own: the scale's neutral value stands in.
            highest_score=float(highest[i]) if np.isfinite(highest[i]) else 0.0,
            alarms=int(alarms[i]),
            suspects=int(suspects[i]),
            share_of_hits=float(hits[i] / max(len(best), 1)),
            expected_share=float(expected[i]),
            p_value=None if p is None else float(p[i]),
        )
        for i in range(len(names))
    ]
    return tuple(sorted(rows, key=lambda row: (-row.alarms, -row.suspects, -row.highest_score, row.subject)))


def holm(p: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return Holm's adjusted p-values (k,), in the order given: family-wise error whatever the dependence (1979)."""
    order = np.argsort(p, kind="stable")
    adjusted = np.empty(len(p))
    steps = np.minimum(p[order] * np.arange(len(p), 0, -1), 1.0)
    adjusted[order] = np.maximum.accumulate(steps) if len(p) else steps
    return adjusted


def _against_strangers(
    names: NDArray[np.str_],
    images: NDArray[np.int64],
    hits: NDArray[np.int64],
    holdout_best: Labels,
    holdout_subjects: Labels,
) -> tuple[NDArray[np.float64], NDArray[np.float64] | None]:
    """Return each subject's expected share of hits and Holm's p, which is None without a holdout."""
    prior = images / images.sum()
    if len(holdout_best) == 0:
        return prior, None
    count = len(np.unique(np.asarray(holdout_subjects)))
    weights = equal_weights(holdout_subjects)
    where = _position(names, holdout_best)
    share = np.bincount(where, weights=weights, minlength=len(names)).astype(np.float64)
    seen: NDArray[np.float64] = share * count
    clusters = cluster_size(holdout_subjects)
    trials = max(1, round(float(hits.sum()) / clusters))
    reached = np.floor(hits / clusters).astype(np.int64)
    p = betabinom.sf(reached - 1, trials, _PRIOR_SUBJECTS * prior + seen, _PRIOR_SUBJECTS * (1 - prior) + count - seen)
    # With one train subject every image points at it: the law is degenerate and there is nothing to compare.
    p = np.where((reached == 0) | (prior >= 1), 1.0, p)
    return share, holm(np.clip(p, 0.0, 1.0))


def _position(names: NDArray[np.str_], wanted: Labels) -> NDArray[np.int64]:
    wanted = np.asarray(wanted, dtype=names.dtype)
    position = np.searchsorted(names, wanted)
    clipped = np.minimum(position, len(names) - 1)
    if not (names[clipped] == wanted).all():
        strangers = sorted({str(name) for name in wanted[names[clipped] != wanted]})
        raise ValueError(f"best matches name subjects that are not in train: {', '.join(strangers[:5])}")
    return clipped.astype(np.int64)
