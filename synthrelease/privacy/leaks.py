"""Screen the audit's own inputs: is anybody in both train and holdout, and does the holdout represent train?

A shared patient raises every threshold, which is the dangerous direction: copies of others then pass. So a
leak is an error, never a warning.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from sklearn.decomposition import PCA

from synthrelease.errors import AuditError, SplitError
from synthrelease.metrics.intervals import Labels, equal_weights, subject_codes
from synthrelease.records import RepresentativeCheck

SHARED_PATIENT_SCORE = 0.985
"""Confirmed scores from here up are copies: unrelated patients reach 0.85, transformed copies of one slice 0.98."""

OUTLIER_SCORE = 0.93
OUTLIER_SPREADS = 8.0
"""A holdout subject this many robust standard deviations above the others, and above 0.93, is one of train's."""

OUTLIER_LEAST_SPREAD = 0.07
"""On Fisher's z scale; strangers' maxima spread by about 0.1. Five subjects can agree by chance and look tighter."""

FEWEST_SUBJECTS_FOR_OUTLIERS = 5

REPRESENTATIVE_P = 0.01
REPRESENTATIVE_AUC = 0.6
"""A large cohort finds differences that do not matter: below this AUC the holdout passes whatever the p-value."""

_COMPONENTS = 32
_FOLDS = 5
_MOST_IMAGES = 3000
_RIDGE = 0.1


@dataclass(frozen=True)
class SharedImage:
    """A holdout image that is also in train, under another subject's name."""

    holdout_image_id: str
    holdout_subject: str
    train_image_id: str
    train_subject: str
    score: float
    exact: bool


def shared_subjects(*, train_subjects: Labels, holdout_subjects: Labels) -> None:
    """Raise a `SplitError` that names the subjects who are in both train and holdout; else do nothing."""
    both = sorted(set(map(str, train_subjects)) & set(map(str, holdout_subjects)))
    if both:
        raise SplitError(
            f"{_counted(len(both), 'subject')} in both train and holdout: {_listed(both)}.",
            "Split by subject: every image of a subject belongs to one role. Check --subject-pattern.",
        )


def same_pixels(
    *,
    train_ids: Sequence[str],
    train_subjects: Labels,
    train_hashes: Sequence[str],
    holdout_ids: Sequence[str],
    holdout_subjects: Labels,
    holdout_hashes: Sequence[str],
) -> tuple[SharedImage, ...]:
    """Return the holdout images whose pixel hash equals a train image's, whatever their subjects are called."""
    first = {digest: row for row, digest in reversed(list(enumerate(train_hashes)))}
    return tuple(
        SharedImage(
            holdout_image_id=holdout_ids[row],
            holdout_subject=str(holdout_subjects[row]),
            train_image_id=train_ids[first[digest]],
            train_subject=str(train_subjects[first[digest]]),
            score=1.0,
            exact=True,
        )
        for row, digest in enumerate(holdout_hashes)
        if digest in first
    )


def near_duplicates(
    *,
    holdout_ids: Sequence[str],
    holdout_subjects: Labels,
    best_train_ids: Sequence[str],
    best_train_subjects: Labels,
    scores: NDArray[np.float64],
    limit: float = SHARED_PATIENT_SCORE,
) -> tuple[SharedImage, ...]:
    """Return the holdout images that look like images of a train subject, under another name.

    These are images whose confirmed score is at least `limit`; and, from 5 holdout subjects up, images above 0.93 whose
    score lies 8 robust standard deviations above the other subjects' highest, on Fisher's z scale (atanh).

    Args:
        holdout_ids: (k,) image ids.
        holdout_subjects: (k,) subjects.
        best_train_ids: (k,) best train image of each holdout image.
        best_train_subjects: (k,) its subject.
        scores: (k,) confirmed similarity, at most 1.
        limit: score of a copy.
    """
    unlike = scores >= min(limit, _outlier_limit(scores, holdout_subjects))
    return tuple(
        SharedImage(
            holdout_image_id=holdout_ids[row],
            holdout_subject=str(holdout_subjects[row]),
            train_image_id=best_train_ids[row],
            train_subject=str(best_train_subjects[row]),
            score=float(scores[row]),
            exact=False,
        )
        for row in map(int, np.flatnonzero(unlike))
    )


def refuse_shared_images(shared: Sequence[SharedImage]) -> None:
    """Raise one `SplitError` that names every pair of `same_pixels` and `near_duplicates`; else do nothing."""
    if not shared:
        return
    seen: dict[str, SharedImage] = {}
    for one in shared:
        seen.setdefault(one.holdout_image_id, one)
    lines = [
        f"{one.holdout_image_id} ({one.holdout_subject}) and {one.train_image_id} ({one.train_subject}): "
        + ("the same pixels" if one.exact else f"similarity {one.score:.3f}")
        for one in seen.values()
    ]
    raise SplitError(
        f"{_counted(len(lines), 'holdout image')} also in train, under another subject's name: {_listed(lines, 20)}.",
        "Find out who these patients are, and move each into one role or leave the images out with --exclude. "
        "A shared patient raises every threshold, so that copies of others would pass.",
    )


def representative(
    *,
    train_features: NDArray[np.floating],
    train_subjects: Labels,
    holdout_features: NDArray[np.floating],
    holdout_subjects: Labels,
    features_name: str,
    random: np.random.Generator,
    permutations: int,
) -> RepresentativeCheck:
    """Return whether a classifier can tell holdout from train: it should not, or the holdout is no yardstick.

    A ridge classifier on 32 principal components, both fitted inside each of 5 folds of subjects, every subject
    weighing the same; AUC over all left-out images; p by permuting which subjects are train (Ojala & Garriga 2010).
    Representative: p > 0.01, or an AUC of at most 0.6, whatever its p.

    Args:
        train_features: (n, d) finite, fitted on nothing.
        train_subjects: (n,) ids.
        holdout_features: (k, d).
        holdout_subjects: (k,) ids; at least 2 subjects in each role.
        features_name: extractor, for the record.
        random: source of folds, of the subsample above 3,000 images, and of permutations.
        permutations: at least 99.
    """
    subjects = np.array([f"t{s}" for s in train_subjects] + [f"h{s}" for s in holdout_subjects])
    names, codes, counts = subject_codes(subjects)
    member = np.array([name[0] == "t" for name in names])
    if min(member.sum(), (~member).sum()) < 2:
        raise AuditError("Comparing train and holdout needs 2 subjects in each.", "Give more subjects.")
    kept = _subsample(codes, counts, random)
    labels = np.concatenate([member[None, :], random.permuted(np.tile(member, (permutations, 1)), axis=1)])
    of_train, of_holdout = kept[kept < len(train_features)], kept[kept >= len(train_features)] - len(train_features)
    features = np.concatenate([train_features[of_train], holdout_features[of_holdout]]).astype(np.float64)
    scores = _left_out_scores(features, codes[kept], labels, random)
    aucs = _weighted_aucs(scores, labels[:, codes[kept]], equal_weights(codes[kept]))
    auc, null = float(aucs[0]), aucs[1:]
    p = float((1 + (null >= auc - 1e-12).sum()) / (1 + permutations))
    fair = p > REPRESENTATIVE_P or auc <= REPRESENTATIVE_AUC
    return RepresentativeCheck(auc=auc, p_value=p, representative=fair, features=features_name)


def _left_out_scores(
    features: NDArray[np.float64],
    codes: NDArray[np.int64],
    labels: NDArray[np.bool_],
    random: np.random.Generator,
) -> NDArray[np.float64]:
    """Return, per row of subject labels (B, S), each image's score from the folds it was left out of: (B, n).

    Folds do not look at the labels, and ridge regression is linear in them, so all permutations share one solution.
    """
    count = labels.shape[1]
    fold_of = random.permutation(np.arange(count) % min(_FOLDS, count))[codes]
    signs = np.where(labels, 1.0, -1.0)
    scores = np.empty((len(labels), len(codes)))
    for fold in range(min(_FOLDS, count)):
        out = fold_of == fold
        weights = equal_weights(codes[~out])
        width = min(_COMPONENTS, features.shape[1], max(1, int((~out).sum()) // 4))
        pca = PCA(width, whiten=True, svd_solver="auto", random_state=int(random.integers(2**31)))
        known = pca.fit_transform(features[~out])
        wanted = signs[:, codes[~out]]
        # Centred labels, no intercept: else a fold short of one role would score its images towards the other.
        wanted = wanted - (wanted @ weights)[:, None]
        centre = weights @ known
        known = known - centre
        gram = (known * weights[:, None]).T @ known + _RIDGE * np.eye(width)
        solution = np.linalg.solve(gram, (known * weights[:, None]).T @ wanted.T)
        scores[:, out] = ((pca.transform(features[out]) - centre) @ solution).T
    return scores


def _weighted_aucs(
    scores: NDArray[np.float64], positive: NDArray[np.bool_], weights: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Return the AUC of each row of scores (B, n) for its own labels (B, n), images weighing `weights` (n)."""
    order = np.argsort(scores, axis=1, kind="stable")
    above = np.take_along_axis(positive * weights, order, axis=1)
    below = np.take_along_axis(~positive * weights, order, axis=1)
    lower = np.cumsum(below, axis=1)
    aucs = (above * lower).sum(axis=1) / (above.sum(axis=1) * below.sum(axis=1))
    clipped: NDArray[np.float64] = np.clip(aucs, 0.0, 1.0)
    return clipped


def _subsample(codes: NDArray[np.int64], counts: NDArray[np.int64], random: np.random.Generator) -> NDArray[np.int64]:
    """Return image numbers, at most 3,000, taken evenly from subjects but at least one of each."""
    if len(codes) <= _MOST_IMAGES:
        return np.arange(len(codes))
    most = max(1, _MOST_IMAGES // len(counts))
    shuffled = random.permutation(len(codes))
    shuffled = shuffled[np.argsort(codes[shuffled], kind="stable")]
    within = np.arange(len(codes)) - np.repeat(np.cumsum(counts) - counts, counts)
    return np.sort(shuffled[within < most])


def _outlier_limit(scores: NDArray[np.float64], subjects: Labels) -> float:
    names, codes, _ = subject_codes(subjects)
    if len(names) < FEWEST_SUBJECTS_FOR_OUTLIERS:
        return np.inf
    highest = np.full(len(names), -np.inf)
    np.maximum.at(highest, codes, np.arctanh(np.clip(scores, -0.999999, 0.999999)))
    middle = float(np.median(highest))
    spread = max(OUTLIER_LEAST_SPREAD, 1.4826 * float(np.median(np.abs(highest - middle))))
    return max(OUTLIER_SCORE, float(np.tanh(middle + OUTLIER_SPREADS * spread)))


def _counted(count: int, noun: str) -> str:
    return f"{count} {noun}{'s are' if count != 1 else ' is'}"


def _listed(names: Sequence[str], most: int = 10) -> str:
    return "; ".join(names[:most]) + (f"; and {len(names) - most} more" if len(names) > most else "")
