"""Surrogate heads: they learn what can be learnt, and their accuracy is of subjects that they did not see."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.special import softmax

from synthrelease.errors import AuditError
from synthrelease.metrics.linear_head import PENALTY, fit_linear_head


def data(seed: int, signal: float, subjects: int = 30, slices: int = 4) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Features with a class shift, and a strong offset of each subject that says nothing about its class."""
    random = np.random.default_rng(seed)
    own = np.repeat(np.arange(subjects), slices)
    labels = own % 3
    features = random.standard_normal((len(own), 8)) + 3 * np.repeat(random.standard_normal((subjects, 8)), slices, 0)
    features[:, :3] += signal * np.eye(3)[labels]
    return features, labels.astype(str), own


def test_a_class_that_shows_is_learnt() -> None:
    features, labels, own = data(0, 25)
    head = fit_linear_head(features=features, labels=labels, subjects=own)

    assert head.accuracy > 0.95
    assert head.low <= head.accuracy <= head.high
    assert head.classes == ("0", "1", "2")
    assert head.commonest == pytest.approx(1 / 3)


def test_what_only_names_the_subject_is_no_accuracy() -> None:
    features, labels, own = data(1, 0)
    found = [fit_linear_head(features=data(s, 0)[0], labels=labels, subjects=own).accuracy for s in range(6)]

    assert np.mean(found) < 0.45  # folds by image would reach nearly 1
    own_images = fit_linear_head(features=features, labels=labels, subjects=np.arange(len(own)))
    assert own_images.accuracy > np.mean(found)


def test_the_fit_is_where_the_gradient_of_the_penalised_likelihood_is_zero() -> None:
    features, labels, own = data(2, 1)
    features = features * [1, 10, 0.1, 1, 1, 1, 1, 1] + 5
    head = fit_linear_head(features=features, labels=labels, subjects=own)

    error = softmax(features @ head.weight.T + head.bias, axis=1) - np.eye(3)[labels.astype(int)]
    standard = (features - features.mean(0)) / features.std(0)
    slope = error.T @ standard / len(features) + PENALTY * head.weight * features.std(0)
    assert np.abs(slope).max() < 1e-3
    assert np.abs(error.mean(0)).max() < 1e-3


def test_one_class_or_one_subject_is_refused() -> None:
    features, labels, own = data(3, 1)
    with pytest.raises(AuditError, match="one label"):
        fit_linear_head(features=features, labels=np.zeros(len(labels)), subjects=own)
    with pytest.raises(AuditError, match="one subject"):
        fit_linear_head(features=features, labels=labels, subjects=np.zeros(len(own)))
