"""The membership attack: does nearness to the synthetic images betray who was in train?

Train and holdout play different roles here, so features that were fitted on train would tell them apart without any
synthetic image; they are refused. Every subject weighs the same, which is the average over all ways to take equally
many slices of each.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from synthrelease.errors import AuditError
from synthrelease.metrics.intervals import Labels, percentile_interval, resampled_subjects, subject_codes
from synthrelease.metrics.neighbours import ROWS, closest
from synthrelease.records import MembershipAttack

Features = NDArray[np.float32] | NDArray[np.float64]

FEWEST_CONTROL_SUBJECTS = 4
"""Holdout subjects below which no half of them can stand in for a generator."""

_SubjectWeights = NDArray[np.bool_] | NDArray[np.int64]

_CONTROL_SPLITS = 20
_BLOCK = 4_000_000
"""Numbers held at once in one block of distances or of draws: 32 MB."""

_ROC_POINTS = 200


def attack(
    *,
    train_features: Features,
    train_subjects: Labels,
    holdout_features: Features,
    holdout_subjects: Labels,
    synthetic_features: Features,
    control_features: Features | None,
    fitted_on: str,
    features_name: str,
    permutations: int,
    bootstrap: int,
    random: np.random.Generator,
) -> MembershipAttack:
    """Return how well nearness to the nearest synthetic image separates train from holdout subjects.

    Score of an image = minus its Euclidean distance to the nearest synthetic image (Chen 2020, GAN-Leaks, full black
    box). AUC over images with equal subject weights; its interval resamples train and holdout subjects; its p-value
    permutes which subjects were train, one-sided. TPR at FPR f only where holdout subjects >= 10 / f.

    Args:
        train_features: (n, d), finite.
        train_subjects: (n,) ids, none of them in holdout.
        holdout_features: (k, d).
        holdout_subjects: (k,) ids.
        synthetic_features: (m, d).
        control_features: (c, d) images of further strangers to put in place of the synthetic ones. None: halves of the
            holdout take turns, train being tested against the other half; no control below 4 holdout subjects.
        fitted_on: what the extractor was fitted on, "nothing" or "train".
        features_name: extractor, for the record.
        permutations: of subject labels.
        bootstrap: draws of subjects.
        random: source of all draws.

    Raises:
        AuditError: features fitted on train, a subject in both roles, or non-finite features.
    """
    _refuse(fitted_on, features_name, train_subjects, holdout_subjects)
    real = (train_features, holdout_features)
    if not all(np.isfinite(part).all() for table in (*real, synthetic_features) for part in _parts(table)):
        raise AuditError("Features are not finite.", "Exclude the images that failed, by name.")
    cohort = _Cohort.of(train_subjects, holdout_subjects)
    images = _WeightedRanks.of(-_nearest(real, synthetic_features), cohort.codes, cohort.counts)
    auc = float(images.auc(cohort.member[None, :], ~cohort.member[None, :])[0])
    null = images.auc(*cohort.permuted(permutations, random))
    low, high = percentile_interval(images.auc(*cohort.drawn(bootstrap, random)))
    null_low, null_high = percentile_interval(null)
    roc = images.roc(cohort.member, ~cohort.member)
    subjects_holdout = int((~cohort.member).sum())
    return MembershipAttack(
        features=features_name,
        auc=auc,
        low=min(low, auc),
        high=max(high, auc),
        p_value=float((1 + (null >= auc - 1e-12).sum()) / (1 + permutations)),
        null_low=null_low,
        null_high=null_high,
        control_auc=_control(real, cohort, control_features, random),
        tpr_at_fpr_01=_tpr_at(roc, 0.01, subjects_holdout),
        tpr_at_fpr_001=_tpr_at(roc, 0.001, subjects_holdout),
        subjects_train=int(cohort.member.sum()),
        subjects_holdout=subjects_holdout,
        roc=tuple((float(false), float(true)) for false, true in _thinned(roc)),
    )


@dataclass(frozen=True)
class _Cohort:
    """Train and holdout subjects, numbered together."""

    codes: NDArray[np.int64]  # (images,) subject number
    counts: NDArray[np.int64]  # (subjects,) images
    member: NDArray[np.bool_]  # (subjects,) was in train

    @classmethod
    def of(cls, train_subjects: Labels, holdout_subjects: Labels) -> _Cohort:
        _, train, train_counts = subject_codes(train_subjects)
        _, holdout, holdout_counts = subject_codes(holdout_subjects)
        member = np.arange(len(train_counts) + len(holdout_counts)) < len(train_counts)
        codes = np.concatenate([train, holdout + len(train_counts)])
        return cls(codes, np.concatenate([train_counts, holdout_counts]), member)

    def permuted(self, times: int, random: np.random.Generator) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
        """Return shuffled (train, holdout) labels of subjects, each (times, subjects)."""
        member = random.permuted(np.tile(self.member, (times, 1)), axis=1)
        return member, ~member

    def drawn(self, times: int, random: np.random.Generator) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Return how often each train and each holdout subject was drawn, each (times, subjects)."""
        train = np.zeros((times, len(self.member)), dtype=np.int64)
        holdout = np.zeros_like(train)
        train[:, self.member] = resampled_subjects(int(self.member.sum()), times, random)
        holdout[:, ~self.member] = resampled_subjects(int((~self.member).sum()), times, random)
        return train, holdout


@dataclass(frozen=True)
class _WeightedRanks:
    """Images in order of score, so that the AUC of any subject weights is two cumulative sums."""

    order: NDArray[np.int64]  # image numbers, lowest score first
    starts: NDArray[np.int64]  # where runs of equal score begin, in that order
    codes: NDArray[np.int64]
    counts: NDArray[np.int64]

    @classmethod
    def of(cls, scores: NDArray[np.float64], codes: NDArray[np.int64], counts: NDArray[np.int64]) -> _WeightedRanks:
        order = np.argsort(scores, kind="stable")
        starts = np.flatnonzero(np.diff(scores[order], prepend=-np.inf) > 0)
        return cls(order, starts, codes, counts)

    def auc(self, train: _SubjectWeights, holdout: _SubjectWeights) -> NDArray[np.float64]:
        """Return P(train image scores higher) + half the ties, for each row of subject weights (B, S): (B,)."""
        found = np.empty(len(train))
        step = max(1, _BLOCK // len(self.order))
        for start in range(0, len(train), step):
            rows = slice(start, start + step)
            above, below = self._runs(train[rows]), self._runs(holdout[rows])
            lower = np.cumsum(below, axis=1) - below / 2
            found[rows] = (above * lower).sum(axis=1) / (above.sum(axis=1) * below.sum(axis=1))
        return np.clip(found, 0.0, 1.0)

    def roc(self, train: NDArray[np.bool_], holdout: NDArray[np.bool_]) -> NDArray[np.float64]:
        """Return (false, true) positive rates from (0, 0) to (1, 1), one row per run of equal score."""
        true, false = (self._runs(label[None, :])[0][::-1].cumsum() for label in (train, holdout))
        rates = np.stack([false / false[-1], true / true[-1]], axis=1)
        return np.concatenate([[[0.0, 0.0]], np.minimum(rates, 1.0)])

    def _runs(self, weights: _SubjectWeights) -> NDArray[np.float64]:
        per_image: NDArray[np.float64] = (weights / self.counts)[:, self.codes[self.order]]
        if len(self.starts) == len(self.order):
            return per_image
        runs: NDArray[np.float64] = np.add.reduceat(per_image, self.starts, axis=1)
        return runs


def _refuse(fitted_on: str, features_name: str, train_subjects: Labels, holdout_subjects: Labels) -> None:
    if fitted_on != "nothing":
        raise AuditError(
            f"Features {features_name!r} were fitted on {fitted_on}: they tell train from holdout by themselves, so a "
            "membership attack with them proves nothing.",
            "Use features that were fitted on nothing, such as pixels or a RadImageNet network.",
        )
    if len(train_subjects) == 0 or len(holdout_subjects) == 0:
        raise AuditError("A membership attack needs train and holdout images.", "Give a holdout.")
    both = set(map(str, train_subjects)) & set(map(str, holdout_subjects))
    if both:
        raise AuditError(
            f"Subjects in both train and holdout: {', '.join(sorted(both)[:10])}.",
            "Put every image of a subject into one role.",
        )


def _control(
    real: tuple[Features, Features], cohort: _Cohort, control_features: Features | None, random: np.random.Generator
) -> float | None:
    """Return the AUC of the same attack with strangers in place of the synthetic images: 0.5 up to noise."""
    if control_features is not None:
        if len(control_features) == 0:
            return None
        ranks = _WeightedRanks.of(-_nearest(real, control_features), cohort.codes, cohort.counts)
        return float(ranks.auc(cohort.member[None, :], ~cohort.member[None, :])[0])
    strangers = np.flatnonzero(~cohort.member)
    if len(strangers) < FEWEST_CONTROL_SUBJECTS:
        return None
    theirs = ~cohort.member[cohort.codes]
    halves = [random.permutation(len(strangers))[: len(strangers) // 2] for _ in range(_CONTROL_SPLITS)]
    to_half = _distance_to_each_half(real, halves, cohort.codes[theirs])
    found = []
    for half, distance in zip(halves, to_half, strict=True):
        ranks = _WeightedRanks.of(-distance, cohort.codes, cohort.counts)
        tested = ~cohort.member
        tested[strangers[half]] = False
        found.append(ranks.auc(cohort.member[None, :], tested[None, :])[0])
    return float(np.mean(found))


def _distance_to_each_half(
    real: tuple[Features, Features], halves: Sequence[NDArray[np.int64]], codes: NDArray[np.int64]
) -> NDArray[np.float64]:
    """Return each image's squared distance to the nearest image of each half of the strangers: (halves, n).

    Args:
        real: Features of train and of the strangers.
        halves: Strangers, by the place of their code among the strangers' codes.
        codes: (k,) code of each image of a stranger.
    """
    order = np.argsort(codes, kind="stable")
    starts = np.flatnonzero(np.diff(codes[order], prepend=-1))
    references = np.asarray(real[1][order], dtype=np.float64)
    middle = references.mean(axis=0)
    references = references - middle
    squares = (references**2).sum(axis=1)
    found = []
    step = max(1, _BLOCK // max(len(references), references.shape[1]))
    for part in (part for table in real for part in _parts(table, step)):
        block = np.asarray(part, dtype=np.float64) - middle
        squared = (block**2).sum(axis=1)[:, None] + squares - 2 * block @ references.T
        to_stranger = np.minimum.reduceat(squared, starts, axis=1)
        found.append(np.stack([to_stranger[:, half].min(axis=1) for half in halves]))
    return np.concatenate(found, axis=1)


def _parts(table: Features, rows: int = ROWS) -> Iterator[Features]:
    for start in range(0, len(table), rows):
        yield table[start : start + rows]


def _tpr_at(roc: NDArray[np.float64], false_rate: float, subjects_holdout: int) -> float | None:
    """Return the highest true positive rate at a false positive rate of at most `false_rate`, if it is resolvable."""
    if subjects_holdout * false_rate < 10 - 1e-9:
        return None
    return float(roc[roc[:, 0] <= false_rate + 1e-12, 1].max())


def _thinned(roc: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return at most 200 points with both ends, dense where false positive rates are small."""
    if len(roc) <= _ROC_POINTS:
        return roc
    half = _ROC_POINTS // 2
    near_zero = np.geomspace(1, len(roc), half).astype(int) - 1
    rows = np.union1d(near_zero, np.linspace(0, len(roc) - 1, half).astype(int))
    thinned: NDArray[np.float64] = roc[rows]
    return thinned


def _nearest(real: tuple[Features, Features], references: Features) -> NDArray[np.float64]:
    """Return each image's Euclidean distance to its nearest reference: (n,), train first."""
    return np.concatenate([closest(table, references)[0] for table in real])
