"""A linear classifier over frozen features, with its accuracy on subjects that it did not see."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.optimize import minimize
from scipy.special import logsumexp

from synthrelease import seeds
from synthrelease.errors import AuditError
from synthrelease.metrics.checks import FloatArray, IntArray, feature_tables
from synthrelease.metrics.intervals import subject_bootstrap
from synthrelease.metrics.jackknife import parts_of

FOLDS = 5
PENALTY = 1e-2  # on squared weights of standardised features, per image: enough where features outnumber images


@dataclass(frozen=True)
class LinearHead:
    """Logits are features @ weight.T + bias."""

    weight: FloatArray
    """(k, d)."""
    bias: FloatArray
    """(k,)."""
    classes: tuple[str, ...]
    accuracy: float
    """Share of images whose class is found by a head that saw none of their subject's images."""
    low: float
    high: float
    """95 % interval of the accuracy over subjects."""
    commonest: float
    """Share of the commonest class: what guessing reaches."""


def fit_linear_head(
    *, features: npt.ArrayLike, labels: npt.ArrayLike, subjects: npt.ArrayLike, seed: int = 0
) -> LinearHead:
    """Return multinomial logistic regression on standardised features, with its accuracy over folds of subjects.

    Args:
        features: (n, d) of labelled images.
        labels: (n,) class of each; at least two classes.
        subjects: (n,) subject of each; at least two, because slices of one subject are alike.
        seed: of the folds and of the interval.

    Raises:
        AuditError: one class, one subject, or arrays that do not fit each other.
    """
    (X,) = feature_tables(features=features)
    names, codes = np.unique(np.asarray(labels).astype(str), return_inverse=True)
    groups = np.asarray(subjects)
    problems = []
    if len(codes) != len(X) or groups.shape != (len(X),):
        problems.append(f"{len(X)} images have {len(codes)} labels and {groups.shape} subjects.")
    if len(names) < 2:
        problems.append("All images have one label: there is nothing to learn.")
    if len(np.unique(groups)) < 2:
        problems.append("All images are of one subject: accuracy on others cannot be told.")
    if problems:
        raise AuditError("\n".join(problems), "Give labels of two classes or more, over several subjects.")
    fold = parts_of(groups, FOLDS, seeds.named(seed, "head folds"))
    right = np.zeros(len(X))
    for held in range(int(fold.max()) + 1):
        weight, bias = _fitted(X[fold != held], codes[fold != held], len(names))
        right[fold == held] = (X[fold == held] @ weight.T + bias).argmax(axis=1) == codes[fold == held]
    low, high = subject_bootstrap(right, groups, draws=1000, random=seeds.named(seed, "head accuracy"))
    weight, bias = _fitted(X, codes, len(names))
    common = float(np.bincount(codes).max() / len(codes))
    return LinearHead(weight, bias, tuple(map(str, names)), float(right.mean()), low, high, common)


def _fitted(X: FloatArray, codes: IntArray, classes: int) -> tuple[FloatArray, FloatArray]:
    """Return weight (k, d) and bias (k,) in the features' own units."""
    mean, spread = X.mean(axis=0), X.std(axis=0)
    spread = np.where(spread > 1e-8, spread, 1.0)
    Z = (X - mean) / spread
    wanted = np.eye(classes)[codes]

    def loss(flat: FloatArray) -> tuple[float, FloatArray]:
        W, b = flat[:-classes].reshape(classes, -1), flat[-classes:]
        logits = Z @ W.T + b
        total = logsumexp(logits, axis=1)
        error = (np.exp(logits - total[:, None]) - wanted) / len(Z)
        value = float((total - (logits * wanted).sum(axis=1)).mean() + PENALTY / 2 * (W**2).sum())
        return value, np.concatenate([(error.T @ Z + PENALTY * W).ravel(), error.sum(axis=0)])

    found = minimize(loss, np.zeros(classes * (X.shape[1] + 1)), jac=True, method="L-BFGS-B", options={"maxiter": 500})
    W, b = found.x[:-classes].reshape(classes, -1), found.x[-classes:]
    weight = W / spread
    return weight, b - weight @ mean
