"""Proof (b) on real patients: with nothing memorised, the membership attack finds nothing, whatever the extractor."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from scipy import stats

from synthrelease import seeds
from synthrelease.errors import AuditError
from synthrelease.features.analysis import analysis_images
from synthrelease.features.copy_encoder import CopyEncoder
from synthrelease.features.pixels import CanonicalPixels, PlainPixels
from synthrelease.privacy import membership
from synthrelease.privacy.neighbours import fit_whitening

pytestmark = [pytest.mark.real, pytest.mark.slow]

SPLITS = 200
EXTRACTORS = {"canonical-pixels": CanonicalPixels, "plain-pixels": PlainPixels, "copy-encoder": CopyEncoder}


@pytest.fixture(scope="module")
def slices(real_data: Path) -> tuple[np.ndarray, np.ndarray]:
    files = sorted((real_data / "lgg").glob("*/*.webp"))
    pixels = np.stack([np.asarray(Image.open(path).convert("RGB")).transpose(2, 0, 1) for path in files])
    return analysis_images(pixels, 128), np.array([path.parent.name for path in files])


def null_attacks(features: np.ndarray, subjects: np.ndarray, splits: int, *, whiten: bool = False) -> np.ndarray:
    """Return (splits, 2) AUC and p of attacks where strangers' images play the synthetic ones."""
    names, found = np.unique(subjects), []
    for number in range(splits):
        order = seeds.named(number, "null membership").permutation(names)
        train, holdout, other = (np.isin(subjects, part) for part in (order[:30], order[30:60], order[60:]))
        table = fit_whitening(features[train])(features) if whiten else features
        attack = membership.attack(
            train_features=table[train],
            train_subjects=subjects[train],
            holdout_features=table[holdout],
            holdout_subjects=subjects[holdout],
            synthetic_features=table[other],
            control_features=table[other][:50],
            fitted_on="nothing",
            features_name="test",
            permutations=99,
            bootstrap=100,
            random=seeds.named(number, "attack"),
        )
        found.append((attack.auc, attack.p_value))
    return np.array(found)


@pytest.mark.parametrize("name", EXTRACTORS)
def test_the_null_attack_is_a_coin_toss_in_unfitted_features(slices, name):
    images, subjects = slices

    found = null_attacks(EXTRACTORS[name]().embed(images), subjects, SPLITS)

    print(f"{name}: mean AUC {found[:, 0].mean():.3f}, KS p {stats.kstest(found[:, 1], 'uniform').pvalue:.3f}")
    assert found[:, 0].mean() == pytest.approx(0.5, abs=0.02)
    assert stats.kstest(found[:, 1], "uniform").pvalue > 0.01


def test_whitening_on_train_alone_would_bias_the_attack_and_is_refused(slices):
    images, subjects = slices
    biased = null_attacks(CanonicalPixels().embed(images), subjects, 20, whiten=True)
    print(f"whitened on train: mean AUC {biased[:, 0].mean():.3f}")
    assert abs(biased[:, 0].mean() - 0.5) > 0.05

    with pytest.raises(AuditError, match="fitted on"):
        membership.attack(
            train_features=images[:40].reshape(40, -1),
            train_subjects=subjects[:40],
            holdout_features=images[-40:].reshape(40, -1),
            holdout_subjects=subjects[-40:],
            synthetic_features=images[:5].reshape(5, -1),
            control_features=None,
            fitted_on="train",
            features_name="whitened",
            permutations=99,
            bootstrap=100,
            random=seeds.named(0, "refused"),
        )
