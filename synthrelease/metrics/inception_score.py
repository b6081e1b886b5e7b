"""Inception score from class probabilities."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from synthrelease import seeds
from synthrelease.errors import AuditError
from synthrelease.metrics.checks import FloatArray, feature_tables


@dataclass(frozen=True)
class InceptionScore:
    """Mean and spread over splits, with the number of classes, which is the highest possible value."""

    value: float
    deviation: float
    """Population standard deviation over splits."""
    classes: int
    splits: int


def inception_score(
    *, probabilities: npt.ArrayLike, random: np.random.Generator | None = None, splits: int = 10
) -> InceptionScore:
    """Return exp of the mean Kullback-Leibler divergence between each image's class probabilities and their mean.

    Args:
        probabilities: (n, k) per image, each row adding up to 1; n >= 2 * splits, k >= 2.
        random: shuffles before splitting; a fixed generator by default.
        splits: parts of nearly equal size, each scored alone.

    Returns:
        1 (all images alike to the classifier) to k. It never looks at real images.

    Raises:
        AuditError: not probabilities, fewer than two classes, or fewer than two images a split.

    Source: Salimans et al. 2016.
    """
    P = _checked(probabilities, splits)
    random = seeds.named(0, "inception_score") if random is None else random
    scores = [_score(part) for part in np.array_split(P[random.permutation(len(P))], splits)]
    return InceptionScore(float(np.mean(scores)), float(np.std(scores)), P.shape[1], splits)


def _checked(probabilities: npt.ArrayLike, splits: int) -> FloatArray:
    (P,) = feature_tables(probabilities=probabilities)
    problems = []
    if P.shape[1] < 2:
        problems.append("There is only one class: every image would look alike.")
    if (P < 0).any() or (abs(P.sum(axis=1) - 1) > 1e-3).any():
        problems.append("Rows are not probabilities: they must be 0 or more and add up to 1.")
    if not 1 <= splits <= len(P) // 2:
        problems.append(f"{len(P)} images cannot be divided into {splits} splits of two or more.")
    if problems:
        raise AuditError("\n".join(problems), "Give the softmax output of a classifier, one row per image.")
    return P


def _score(P: FloatArray) -> float:
    """exp(mean over images of sum p log(p / mean p)), with 0 log 0 = 0."""
    mean = P.mean(axis=0)
    each = np.log(P, out=np.zeros_like(P), where=P > 0)
    overall = np.log(mean, out=np.zeros_like(mean), where=mean > 0)
    return float(np.exp((P * (each - overall)).sum(axis=1).mean()))
