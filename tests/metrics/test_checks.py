"""What every metric refuses, and that no metric turns it into a number."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from synthrelease import metrics
from synthrelease.errors import AuditError
from synthrelease.metrics.checks import feature_tables, subject_codes, unit_rows


def sample(seed: int, count: int = 80, width: int = 6) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal((count, width))


ROLES: dict[Callable[..., Any], tuple[str, ...]] = {
    metrics.frechet_distance: ("real", "synthetic"),
    metrics.kernel_distance: ("real", "synthetic"),
    metrics.precision_recall_density_coverage: ("real", "synthetic"),
    metrics.authenticity: ("train", "synthetic"),
    metrics.calibrated_l2: ("train", "synthetic"),
    metrics.nearest_neighbour_distance_ratio: ("train", "synthetic"),
    metrics.memorization_informed_frechet_distance: ("train", "synthetic"),
    metrics.least_cosine_distance: ("train", "synthetic"),
    metrics.whole_image_correlation: ("train", "synthetic"),
    metrics.data_copying_score: ("train", "holdout", "synthetic"),
    metrics.feature_likelihood_divergence: ("train", "holdout", "synthetic"),
    metrics.dcr_share: ("train", "holdout", "synthetic"),
}
CASES = [(metric, role) for metric, roles in ROLES.items() for role in roles]
BAD = {
    "NaN": lambda table: np.where(np.arange(table.size).reshape(table.shape) == 3, np.nan, table),
    "infinity": lambda table: np.where(np.arange(table.size).reshape(table.shape) == 3, np.inf, table),
    "no images": lambda table: table[:0],
    "constant features": lambda table: np.ones_like(table),
    "another width": lambda table: table[:, :-1],
    "one dimension": lambda table: table[:, 0],
}


@pytest.mark.parametrize("kind", BAD)
@pytest.mark.parametrize(("metric", "role"), CASES, ids=lambda case: getattr(case, "__name__", case))
def test_bad_features_in_any_role_are_refused(metric: Callable[..., Any], role: str, kind: str) -> None:
    tables = {name: sample(number) for number, name in enumerate(ROLES[metric])}
    metric(**tables)  # good as they are
    tables[role] = BAD[kind](tables[role])

    with pytest.raises(AuditError):
        metric(**tables)


@pytest.mark.parametrize("metric", [metric for metric in ROLES if metric is not metrics.whole_image_correlation])
def test_a_single_image_is_refused(metric: Callable[..., Any]) -> None:
    tables = {name: sample(number) for number, name in enumerate(ROLES[metric])}

    with pytest.raises(AuditError, match="at least"):
        metric(**{**tables, "synthetic": tables["synthetic"][:1]})


@pytest.mark.parametrize("metric", ROLES)
def test_roles_cannot_be_given_by_position(metric: Callable[..., Any]) -> None:
    with pytest.raises(TypeError):
        metric(*(sample(number) for number in range(len(ROLES[metric]))))


def test_every_problem_is_named_at_once() -> None:
    with pytest.raises(AuditError) as caught:
        feature_tables(train=np.full((3, 2), np.nan), holdout=np.zeros((1, 2)), synthetic=np.array([["a"], ["b"]]))

    assert all(role in caught.value.problem for role in ("train", "holdout", "synthetic"))


def test_features_whose_squares_overflow_are_refused() -> None:
    with pytest.raises(AuditError, match="1e100"):
        feature_tables(real=sample(0) * 1e200)


def test_tables_come_back_as_float64_in_order() -> None:
    first, second = feature_tables(real=np.arange(6, dtype=np.uint8).reshape(3, 2), synthetic=sample(0, 4, 2))

    assert first.dtype == np.float64
    assert first.shape == (3, 2)
    assert second.shape == (4, 2)


def test_subjects_must_fit_the_images_and_differ() -> None:
    assert subject_codes(sample(0, 3), ["b", "a", "b"]).tolist() == [1, 0, 1]
    assert subject_codes(sample(0, 3), None).tolist() == [0, 1, 2]
    with pytest.raises(AuditError, match="3 images"):
        subject_codes(sample(0, 3), ["a", "b"])
    with pytest.raises(AuditError, match="one subject"):
        subject_codes(sample(0, 3), ["a", "a", "a"])


def test_unit_rows_survive_extreme_scales_and_refuse_zeros() -> None:
    lengths = np.linalg.norm(unit_rows("train", sample(0) * np.logspace(-90, 90, 80)[:, None]), axis=1)

    assert lengths == pytest.approx(1.0, rel=1e-14)
    with pytest.raises(AuditError, match="2 images"):
        unit_rows("train", np.concatenate([sample(0), np.zeros((2, 6))]))


OF_SUMS = {"mean_similarity", "intensity_distance", "spectrum_distance"} | {
    f"mask_{what}"
    for what in ("area_distance", "volume_distance", "place_overlap", "label_distance", "off_level", "nesting")
}  # these take sums over images instead of feature tables


def test_every_metric_has_its_line_and_every_line_its_metric() -> None:
    named = {metric.__name__ for metric in ROLES} | {"vendi_score", "inception_score"} | OF_SUMS
    named |= {"frechet_distance_extrapolated"}

    assert set(metrics.METRICS) == named - {"least_cosine_distance"}
    for name, line in metrics.METRICS.items():
        assert callable(getattr(metrics, name))
        assert all([line.title, line.unit, line.better, line.copying, line.meaning, line.blind_to, line.source])
        roles = ROLES.get(getattr(metrics, name))
        assert roles is None or roles == line.roles
