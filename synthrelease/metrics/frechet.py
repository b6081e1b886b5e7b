"""Frechet distance between two feature tables, and its memorisation-informed form."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import linalg

from synthrelease.errors import AuditError
from synthrelease.metrics.checks import FloatArray, checked_tables, feature_tables, unit_rows
from synthrelease.metrics.moments import Moments, of_checked
from synthrelease.metrics.neighbours import nearest

_EPS = float(np.finfo(np.float64).eps)


def frechet_distance(*, real: npt.ArrayLike, synthetic: npt.ArrayLike) -> float:
    """Return the squared Frechet distance between Gaussians fitted to two feature tables; FID on Inception features.

    Args:
        real: (n, d) features, one row per image; n >= 2.
        synthetic: (m, d) features of the same extractor; m >= 2.

    Returns:
        Distance in squared feature units, 0 or more; 0 for identical tables. It falls as n and m grow: print it only
        with both counts and the same distance between two halves of the real subjects.

    Raises:
        AuditError: tables that `feature_tables` refuses.

    Source: Dowson and Landau 1982; Heusel et al. 2017. Covariances with n - 1.
    """
    X, G = checked_tables(real=real, synthetic=synthetic)
    if min(len(X), len(G)) > X.shape[1]:
        return frechet_from_moments(real=of_checked(X), synthetic=of_checked(G))
    first, second = _gaussian(X), _gaussian(G)
    separate = _separate(first, second)
    shared = _nuclear_norm(first.factor @ second.factor.T, tolerance=1e-6, against=separate)
    return max(0.0, separate - 2 * shared)


def frechet_from_moments(*, real: Moments, synthetic: Moments) -> float:
    """Return the squared Frechet distance between Gaussians given by their moments, as `frechet_distance` does.

    Moments are summed a block at a time, so this takes any number of images in any number of shards.

    Raises:
        AuditError: moments of fewer than two images, or of different widths.
    """
    if min(real.count, synthetic.count) < 2 or real.mean.shape != synthetic.mean.shape:
        raise AuditError(
            f"Moments of {real.count} images x {len(real.mean)} features and {synthetic.count} x "
            f"{len(synthetic.mean)} give no distance.",
            "Give moments of at least two images each, from one extractor.",
        )
    shift = real.mean - synthetic.mean
    variances = [float(np.trace(one.scatter)) / (one.count - 1) for one in (real, synthetic)]
    separate = float(shift @ shift) + sum(variances)
    shared = _shared_of_full_rank(real, synthetic, separate)
    if shared is None:
        shared = _nuclear_norm(_root(real.covariance) @ _root(synthetic.covariance).T, tolerance=1e-6, against=separate)
    return max(0.0, separate - 2 * shared)


@dataclass(frozen=True)
class _Gaussian:
    mean: FloatArray
    variance: float
    factor: FloatArray
    """F with F^T F = covariance and no more rows than needed.

    tr (S_X S_G)^(1/2) is the nuclear norm of F_X F_G^T for any such factors; S_X S_G itself is not symmetric.
    """


def _gaussian(table: npt.NDArray[np.generic]) -> _Gaussian:
    if len(table) > table.shape[1]:
        known = of_checked(table)
        return _Gaussian(known.mean, float(np.trace(known.covariance)), _root(known.covariance))
    rows = np.array(table, dtype=np.float64)
    mean = rows.mean(axis=0)
    rows -= mean
    rows /= np.sqrt(len(rows) - 1)
    return _Gaussian(mean, float(np.vdot(rows, rows)), rows)


def _separate(first: _Gaussian, second: _Gaussian) -> float:
    shift = first.mean - second.mean
    return float(shift @ shift) + first.variance + second.variance


def _shared_of_full_rank(real: Moments, synthetic: Moments, separate: float) -> float | None:
    """Return tr (S R)^(1/2) from the eigenvalues of S R, by the symmetric-definite route; None where it is not exact.

    With R = L L^T they are the eigenvalues of L^T S L: one Cholesky factor, one reduction, one symmetric problem.
    """
    # LAPACK reads columns: transposed, the matrices need no rearranging, and as fresh copies they may be overwritten.
    S, R = real.covariance.T, synthetic.covariance.T
    try:
        # "gv" without vectors takes 60 % of the default driver's time; the type stubs know no generalised drivers.
        squares = linalg.eigh(  # type: ignore[call-overload]
            S, R, type=2, eigvals_only=True, check_finite=False, driver="gv", overwrite_a=True, overwrite_b=True
        )
    except np.linalg.LinAlgError:
        return None
    total, doubt = _roots_and_doubt(squares)
    return total if doubt <= 1e-6 * abs(separate - 2 * total) else None


def _root(covariance: FloatArray) -> FloatArray:
    """Return a (r, d) root F of a covariance, F^T F = covariance."""
    noise = len(covariance) * _EPS
    try:
        root = np.linalg.cholesky(covariance)
        if np.diag(root).min() ** 2 > 100 * noise * np.diag(covariance).max():
            return np.asarray(root.T)
    except np.linalg.LinAlgError:
        pass
    values, vectors = np.linalg.eigh(covariance)
    # Rounding leaves directions without variance at about 1e-16; their roots, 1e-8, would add up.
    kept = values > noise * values[-1]
    return np.asarray((vectors[:, kept] * np.sqrt(values[kept])).T)


def _nuclear_norm(product: FloatArray, *, tolerance: float, against: float) -> float:
    """Return the sum of singular values, by the fast route where its rounding is below `tolerance` of the distance.

    Eigenvalues of A A^T take a quarter of the time, but squaring doubles the digits that small singular values lose.
    """
    tall = product if len(product) <= product.shape[1] else product.T
    total, doubt = _roots_and_doubt(np.asarray(np.linalg.eigvalsh(tall @ tall.T), dtype=np.float64))
    if doubt <= tolerance * abs(against - 2 * total):
        return total
    return float(linalg.svdvals(product, check_finite=False).sum())


def _roots_and_doubt(squares: FloatArray) -> tuple[float, float]:
    """Return the sum of square roots of eigenvalues, ascending, and a bound of what their rounding changes in it.

    The bound takes every eigenvalue's error as one-sided, which is far too high (about 800,000 times on 4,000 x 2,048
    random features of falling variance), so what is compared with it may be generous.
    """
    noise = 2 * _EPS * float(squares[-1])
    roots = np.sqrt(np.maximum(squares, 0.0))
    # sqrt(s + e) - sqrt(s) is at most e / (2 sqrt(s)), and at most sqrt(e).
    doubt = float(np.minimum(noise / np.maximum(2 * roots, 1e-300), np.sqrt(noise)).sum())
    return float(roots.sum()), doubt


def memorization_informed_frechet_distance(*, train: npt.ArrayLike, synthetic: npt.ArrayLike) -> float:
    """Return the Frechet distance divided by how far synthetic images keep from train, where that is suspiciously near.

    MIFID = FID / M with M = mean over synthetic images of the least cosine distance 1 - |cos| to a train image;
    MIFID = FID where M >= 0.1. Large values point to copying.

    Args:
        train: (n, d) features, n >= 2.
        synthetic: (m, d) features, m >= 2.

    Returns:
        Squared feature units, 0 or more; 1e-14 is added to M, so that exact copies give a huge number, not infinity.

    Raises:
        AuditError: tables that `feature_tables` refuses, or images whose features are all zero.

    Source: Bai et al. 2021. M averages over *synthetic*; averaging over train, as some packages do, lets a
    release of a few verbatim copies look new.
    """
    X, G = feature_tables(train=train, synthetic=synthetic)
    distance = frechet_distance(real=X, synthetic=G)
    least = least_cosine_distance(train=X, synthetic=G).mean()
    return distance if least >= 0.1 else float(distance / (least + 1e-14))


def least_cosine_distance(*, train: npt.ArrayLike, synthetic: npt.ArrayLike) -> FloatArray:
    """Return, per synthetic image, min over train of 1 - |cos|: (m,), 0 (same direction) to 1.

    Raises:
        AuditError: tables that `feature_tables` refuses, or images whose features are all zero.
    """
    X, G = feature_tables(train=train, synthetic=synthetic)
    unit_train, unit_synthetic = unit_rows("train", X), unit_rows("synthetic", G)
    # 1 - cos = |x - g|^2 / 2 for unit vectors: exactly 0 for copies, where 1 - x.g leaves rounding.
    chord = nearest(unit_synthetic, unit_train)[0][:, 0]
    if (X < 0).any() or (G < 0).any():
        chord = np.minimum(chord, nearest(unit_synthetic, -unit_train)[0][:, 0])
    return np.asarray(chord**2 / 2)
