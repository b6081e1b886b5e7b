"""Measures from the literature, for comparison only: at 1 % verbatim copies most of them stay calm.

Design section 8 defines each; `synthrelease.metrics` computes them on features that were fitted on nothing.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from synthrelease import metrics, seeds
from synthrelease.errors import SynthreleaseError
from synthrelease.metrics.table import METRICS, Metric
from synthrelease.privacy.gallery import Frame, prepared_rows
from synthrelease.privacy.roles import Roles as AuditedRoles
from synthrelease.records import Comparison

Features = NDArray[np.float32]
MOST_ROWS = 5_000  # of each role: these measures are for comparison, and some cost n^2


@dataclass(frozen=True)
class Roles:
    """One extractor's features of the three roles, and small images for the pixel measure."""

    name: str
    train: Features
    train_subjects: NDArray[np.str_]
    synthetic: Features
    holdout: Features | None
    pixels: dict[str, NDArray[np.float16]]

    @classmethod
    def of(
        cls, name: str, roles: AuditedRoles, tables: dict[str, Features], frame: Frame, random: np.random.Generator
    ) -> Roles:
        """Return at most `MOST_ROWS` rows of each role, drawn once for all measures."""
        rows = {role: np.sort(random.permutation(len(images))[:MOST_ROWS]) for role, images in roles.named()}
        return cls(
            name=name,
            train=tables["train"][rows["train"]],
            train_subjects=roles.train.subjects[rows["train"]],
            synthetic=tables["synthetic"][rows["synthetic"]],
            holdout=tables["holdout"][rows["holdout"]] if "holdout" in rows else None,
            pixels={role: prepared_rows(images, frame, rows[role]).images for role, images in roles.named()},
        )


def compare(roles: Roles, seed: int) -> tuple[Comparison, ...]:
    """Return every measure of the literature for synthetic and, as its reference, for holdout in its place."""
    return tuple(_row(name, measure, roles, seed) for name, measure in _MEASURES.items())


def _row(name: str, measure: Callable[..., float], roles: Roles, seed: int) -> Comparison:
    about = _about(name)
    value, note = _tried(measure, roles, roles.synthetic, "synthetic", seed)
    reference = None
    if roles.holdout is not None and name not in _NEEDS_HOLDOUT:
        reference, _ = _tried(measure, roles, roles.holdout, "holdout", seed)
    return Comparison(
        name=name,
        value=value,
        holdout_value=reference,
        unit=about.unit,
        features="pixels at 64 px" if name == "whole_image_correlation" else roles.name,
        direction=about.copying,
        note=note,
    )


def _tried(
    measure: Callable[..., float], roles: Roles, queries: Features, role: str, seed: int
) -> tuple[float | None, str]:
    try:
        value = float(measure(roles, queries, role, seeds.named(seed, "comparison")))
    except SynthreleaseError as error:
        return None, error.problem
    return (value, "") if np.isfinite(value) else (None, "Not a finite number.")


def _authenticity(roles: Roles, queries: Features, role: str, random: np.random.Generator) -> float:
    return metrics.authenticity(train=roles.train, synthetic=queries, train_subjects=roles.train_subjects)


def _data_copying(roles: Roles, queries: Features, role: str, random: np.random.Generator) -> float:
    return metrics.data_copying_score(train=roles.train, holdout=_held(roles), synthetic=queries, random=random)


def _calibrated(roles: Roles, queries: Features, role: str, random: np.random.Generator) -> float:
    return float(np.quantile(metrics.calibrated_l2(train=roles.train, synthetic=queries), 0.01))


def _ratio(roles: Roles, queries: Features, role: str, random: np.random.Generator) -> float:
    ratios = metrics.nearest_neighbour_distance_ratio(
        train=roles.train, synthetic=queries, train_subjects=roles.train_subjects
    )
    return float(np.quantile(ratios, 0.01))


def _dcr(roles: Roles, queries: Features, role: str, random: np.random.Generator) -> float:
    return metrics.dcr_share(train=roles.train, holdout=_held(roles), synthetic=queries, random=random)


def _frechet(roles: Roles, queries: Features, role: str, random: np.random.Generator) -> float:
    return metrics.frechet_distance(real=roles.train, synthetic=queries)


def _mifid(roles: Roles, queries: Features, role: str, random: np.random.Generator) -> float:
    return metrics.memorization_informed_frechet_distance(train=roles.train, synthetic=queries)


def _likelihood(roles: Roles, queries: Features, role: str, random: np.random.Generator) -> float:
    return metrics.feature_likelihood_divergence(train=roles.train, holdout=_held(roles), synthetic=queries).gap


def _vendi(roles: Roles, queries: Features, role: str, random: np.random.Generator) -> float:
    return metrics.vendi_score(queries)


def _correlation(roles: Roles, queries: Features, role: str, random: np.random.Generator) -> float:
    found = metrics.whole_image_correlation(train=roles.pixels["train"], synthetic=roles.pixels[role])
    return float(np.quantile(found, 0.99))


_MEASURES: dict[str, Callable[..., float]] = {
    "authenticity": _authenticity,
    "data_copying_score": _data_copying,
    "calibrated_l2": _calibrated,
    "nearest_neighbour_distance_ratio": _ratio,
    "dcr_share": _dcr,
    "frechet_distance": _frechet,
    "memorization_informed_frechet_distance": _mifid,
    "feature_likelihood_gap": _likelihood,
    "vendi_score": _vendi,
    "whole_image_correlation": _correlation,
}
_NEEDS_HOLDOUT = {"data_copying_score", "dcr_share", "feature_likelihood_gap"}


def _held(roles: Roles) -> Features:
    if roles.holdout is None:
        raise SynthreleaseError("Needs a holdout.")
    return roles.holdout


def _about(name: str) -> Metric:
    return METRICS["feature_likelihood_divergence" if name == "feature_likelihood_gap" else name]
