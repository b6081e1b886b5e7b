"""No public metric turns input that cannot be measured into a number: one contract for all of them."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from synthrelease import metrics
from synthrelease.errors import AuditError


def features(seed: int) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal((80, 6))


def probabilities(seed: int) -> np.ndarray:
    return np.random.default_rng(seed).dirichlet(np.ones(6), 80)


def mask(seed: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 2, (8, 8)).astype(float)


ROLES: dict[str, tuple[str, ...]] = {
    "frechet_distance": ("real", "synthetic"),
    "kernel_distance": ("real", "synthetic"),
    "precision_recall_density_coverage": ("real", "synthetic"),
    "authenticity": ("train", "synthetic"),
    "data_copying_score": ("train", "holdout", "synthetic"),
    "memorization_informed_frechet_distance": ("train", "synthetic"),
    "feature_likelihood_divergence": ("train", "holdout", "synthetic"),
    "vendi_score": ("features",),
    "inception_score": ("probabilities",),
    "dice": ("predicted", "truth"),
    "hausdorff": ("predicted", "truth"),
}


def with_one(table: np.ndarray, value: float) -> np.ndarray:
    table = table.copy()
    table[2, 1] = value
    return table


BAD: dict[str, Callable[[np.ndarray], Any]] = {
    "no images": lambda table: table[:0],
    "one image": lambda table: table[:1],
    "NaN": lambda table: with_one(table, np.nan),
    "infinity": lambda table: with_one(table, np.inf),
    "constant features": lambda table: np.full_like(table, 1 / table.shape[1]),
    "another width": lambda table: table[:, :-1],
    "one dimension": lambda table: table[:, 0],
    "text": lambda table: table.astype(str),
    "complex numbers": lambda table: table + 1j,
    "one class": lambda table: np.ones((len(table), 1)),
}
ALONE = {"vendi_score": features, "inception_score": probabilities}  # nothing that their width could differ from


def good(name: str) -> dict[str, Any]:
    make = mask if name in {"dice", "hausdorff"} else ALONE.get(name, features)
    return {role: make(seed) for seed, role in enumerate(ROLES[name])}


def call(name: str, given: dict[str, Any]) -> Any:
    if name == "vendi_score":
        return metrics.vendi_score(given["features"])
    return getattr(metrics, name)(**given)


def numbers(found: Any) -> list[float]:
    return [found] if isinstance(found, float) else list(vars(found).values())


CASES = [
    (name, role, kind)
    for name, roles in ROLES.items()
    for role in roles
    for kind in BAD
    if not (name in ALONE and kind == "another width")
    and not (name in {"dice", "hausdorff"} and kind == "constant features")  # a mask may be full; see below
]


@pytest.mark.parametrize("name", ROLES)
def test_good_input_gives_finite_numbers(name: str) -> None:
    assert all(math.isfinite(number) for number in numbers(call(name, good(name))))


@pytest.mark.parametrize(("name", "role", "kind"), CASES)
def test_what_cannot_be_measured_is_an_error_with_a_remedy(name: str, role: str, kind: str) -> None:
    given = good(name)
    given[role] = BAD[kind](given[role])

    with pytest.raises(AuditError) as caught:
        call(name, given)
    assert len(caught.value.problem) > 20
    assert caught.value.remedy


@pytest.mark.parametrize("name", ["dice", "hausdorff"])
def test_masks_of_one_value_other_than_0_and_1_are_refused_and_two_empty_ones_have_no_number(name: str) -> None:
    with pytest.raises(AuditError, match="other than 0 and 1"):
        call(name, {"predicted": mask(0), "truth": np.full((8, 8), 0.5)})
    assert math.isnan(call(name, {"predicted": np.zeros((8, 8)), "truth": np.zeros((8, 8))}))


@pytest.mark.parametrize("classes", [1, 6])
def test_a_classifier_that_always_says_the_same_gives_no_inception_score(classes: int) -> None:
    certain = np.zeros((40, classes))
    certain[:, 0] = 1

    with pytest.raises(AuditError):
        metrics.inception_score(probabilities=certain)
