"""Every metric equals its public definition to 1e-6: torchmetrics where it has it, SciPy and scikit-learn elsewhere."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from scipy import linalg
from scipy.spatial.distance import cdist
from scipy.special import log_softmax, logsumexp, softmax
from scipy.stats import entropy, mannwhitneyu
from sklearn.cluster import KMeans
from sklearn.decomposition import PCA

from synthrelease import metrics

WIDTH = 80
SHAPES = {  # images of the first and second set, and how many directions the features have
    "n < d": (70, 75, WIDTH),
    "n = d": (80, 80, WIDTH),
    "n > d": (200, 170, WIDTH),
    "rank-deficient, n > d": (200, 170, 9),
    "rank-deficient, n < d": (70, 75, 9),
}
Tables = tuple[np.ndarray, np.ndarray, np.ndarray]


@pytest.fixture(params=SHAPES)
def tables(request) -> Tables:
    """Real (or train), synthetic and holdout features."""
    n, m, rank = SHAPES[request.param]
    random = np.random.default_rng(list(SHAPES).index(request.param))
    mixing = random.standard_normal((rank, WIDTH)) / np.sqrt(np.arange(1, rank + 1))[:, None]
    real, holdout = (random.standard_normal((n, rank)) @ mixing for _ in range(2))
    return real, 0.9 * random.standard_normal((m, rank)) @ mixing + 0.1 * random.standard_normal(rank) @ mixing, holdout


def close(expected: float) -> Any:
    return pytest.approx(expected, rel=1e-6)


def shared_trace(S: np.ndarray, R: np.ndarray) -> float:
    return float(np.sqrt(linalg.eigvals(S @ R).astype(complex)).real.sum())


def by_the_book(real: np.ndarray, synthetic: np.ndarray, shared: Callable[..., float] = shared_trace) -> float:
    S, R, shift = np.cov(real.T), np.cov(synthetic.T), real.mean(0) - synthetic.mean(0)
    return float(shift @ shift + np.trace(S) + np.trace(R) - 2 * shared(S, R))


def spanned(*tables: np.ndarray) -> list[np.ndarray]:
    """Return the same features in as many axes as they span: a rotation, which changes no distance and no cosine.

    Public implementations take square roots of what rounding leaves in directions without variance, 1e-8 for each, and
    are off by 1e-5 there; with the directions left out they are exact.
    """
    _, sizes, axes = np.linalg.svd(np.concatenate(tables), full_matrices=False)
    return [table @ axes[sizes > 1e-9 * sizes[0]].T for table in tables]


def least_cosine(synthetic: np.ndarray, train: np.ndarray) -> float:
    return float((1 - np.abs(1 - cdist(synthetic, train, "cosine"))).min(axis=1).mean())


# --- torchmetrics

pytestmark = pytest.mark.filterwarnings("ignore:Metric .* will save all extracted features:UserWarning")


def updated(metric: Any, real: np.ndarray, synthetic: np.ndarray) -> Any:
    import torch

    metric.set_dtype(torch.float64)
    for table, is_real in ((real, True), (synthetic, False)):
        metric.update(torch.from_numpy(table), real=is_real)
    return metric.compute()


def passing() -> Any:
    """A feature extractor that gives its input."""
    return pytest.importorskip("torch").nn.Identity()


def test_frechet_distance_is_that_of_torchmetrics(tables: Tables) -> None:
    fid = pytest.importorskip("torchmetrics.image.fid")
    real, synthetic, _ = tables
    same = spanned(real, synthetic)
    metric = fid.FrechetInceptionDistance(passing(), input_img_size=(same[0].shape[1],))

    expected = float(updated(metric, *same))
    assert metrics.frechet_distance(real=real, synthetic=synthetic) == close(expected)


def test_kernel_distance_of_one_full_subset_is_that_of_torchmetrics(tables: Tables) -> None:
    kid = pytest.importorskip("torchmetrics.image.kid")
    size = min(len(tables[0]), len(tables[1]))
    real, synthetic = tables[0][:size], tables[1][:size]
    metric = kid.KernelInceptionDistance(passing(), subsets=1, subset_size=size)

    expected, _ = updated(metric, real, synthetic)
    found = metrics.kernel_distance(real=real, synthetic=synthetic)
    assert (found.subsets, found.subset_size) == (1, size)
    assert found.value == close(float(expected))


class SameOrder:
    """Gives the permutation that torch draws, in place of a generator's own."""

    def __init__(self, order: np.ndarray) -> None:
        self.order = order

    def permutation(self, count: int) -> np.ndarray:
        assert count == len(self.order)
        return self.order


@pytest.mark.parametrize(("count", "classes"), [(20, 80), (80, 80), (400, 12)])
def test_inception_score_of_one_permutation_is_that_of_torchmetrics(count: int, classes: int) -> None:
    inception = pytest.importorskip("torchmetrics.image.inception")
    torch = pytest.importorskip("torch")
    logits = 3 * np.random.default_rng(count).standard_normal((count, classes))
    metric = inception.InceptionScore(passing(), splits=10)
    metric.update(torch.from_numpy(logits))
    torch.manual_seed(4)
    order = torch.randperm(count).numpy()
    torch.manual_seed(4)
    expected, deviation = metric.compute()

    found = metrics.inception_score(probabilities=softmax(logits, axis=1), random=SameOrder(order))
    assert found.value == close(float(expected))
    assert found.deviation * np.sqrt(10 / 9) == close(float(deviation))  # theirs is of a sample, ours of these splits


def test_mifid_is_that_of_torchmetrics_with_its_roles_swapped(tables: Tables) -> None:
    """torchmetrics takes the mean over what it calls real: given our synthetic images there, it is the definition."""
    mifid = pytest.importorskip("torchmetrics.image.mifid")
    train, synthetic, _ = tables
    nearer = np.concatenate([synthetic[:9], train[:60] + 0.02 * synthetic[:60]])
    compared = []
    for made in (synthetic, nearer):
        swapped = mifid.MemorizationInformedFrechetInceptionDistance(passing())
        expected = float(updated(swapped, *spanned(made, train)))
        assert metrics.memorization_informed_frechet_distance(train=train, synthetic=made) == close(expected)
        compared.append(least_cosine(made, train) < 0.1)

    assert compared[1], "the part where near images count must be reached"


# --- SciPy and scikit-learn


def test_frechet_distance_is_the_textbook_formula(tables: Tables) -> None:
    real, synthetic, _ = tables

    assert metrics.frechet_distance(real=real, synthetic=synthetic) == close(by_the_book(*spanned(real, synthetic)))


@pytest.mark.parametrize(("n", "m"), [(200, 170), (500, 900)])
def test_frechet_distance_is_that_of_scipys_matrix_root(n: int, m: int) -> None:
    random = np.random.default_rng(n)
    real, synthetic = random.standard_normal((n, 40)), 1.3 * random.standard_normal((m, 40)) + 0.1

    expected = by_the_book(real, synthetic, lambda S, R: float(np.trace(linalg.sqrtm(S @ R).real)))
    assert metrics.frechet_distance(real=real, synthetic=synthetic) == close(expected)


def test_kernel_distance_is_the_unbiased_discrepancy(tables: Tables) -> None:
    size = min(len(tables[0]), len(tables[1]))
    x, y = tables[0][:size], tables[1][:size]
    within = [((t @ t.T / WIDTH + 1) ** 3)[~np.eye(size, dtype=bool)].mean() for t in (x, y)]

    expected = sum(within) - 2 * ((x @ y.T / WIDTH + 1) ** 3).mean()
    assert metrics.kernel_distance(real=x, synthetic=y).value == close(expected)


@pytest.mark.parametrize(("count", "classes"), [(20, 80), (80, 80), (400, 12)])
def test_inception_score_is_the_mean_relative_entropy(count: int, classes: int) -> None:
    P = np.exp(log_softmax(2 * np.random.default_rng(count).standard_normal((count, classes)), axis=1))
    order = np.random.default_rng(1).permutation(count)
    scores = [np.exp(np.mean(entropy(part, part.mean(0)[None], axis=1))) for part in np.array_split(P[order], 10)]

    found = metrics.inception_score(probabilities=P, random=np.random.default_rng(1))
    assert found.value == close(float(np.mean(scores)))
    assert found.deviation == close(float(np.std(scores)))


@pytest.mark.parametrize("k", [1, 5])
def test_coverage_is_that_of_all_pairs(tables: Tables, k: int) -> None:
    real, synthetic, _ = tables
    radii = [np.sort(cdist(table, table), axis=1)[:, k] for table in (real, synthetic)]
    pairs = cdist(real, synthetic)
    inside = pairs < radii[0][:, None]

    found = metrics.precision_recall_density_coverage(real=real, synthetic=synthetic, k=k)
    assert found.precision == close(inside.any(axis=0).mean())
    assert found.recall == close((pairs < radii[1]).any(axis=1).mean())
    assert found.density == close(inside.sum(axis=0).mean() / k)
    assert found.coverage == close((pairs.min(axis=1) < radii[0]).mean())


def test_authenticity_is_that_of_all_pairs(tables: Tables) -> None:
    train, synthetic, _ = tables
    synthetic = np.concatenate([synthetic, train[:40] + 0.3 * synthetic[:40]])
    among = cdist(train, train) + np.diag(np.full(len(train), np.inf))
    pairs = cdist(synthetic, train)

    expected = 100 * np.mean(among.min(axis=1)[pairs.argmin(axis=1)] < pairs.min(axis=1))
    assert 0 < expected < 100
    assert metrics.authenticity(train=train, synthetic=synthetic) == close(expected)


def test_mifid_is_the_distance_over_the_mean_least_cosine_distance(tables: Tables) -> None:
    train, synthetic, _ = tables
    made = np.concatenate([synthetic[:9], train[:60] + 0.02 * synthetic[:60]])
    least = least_cosine(made, train)

    assert least < 0.1
    expected = by_the_book(*spanned(train, made)) / least
    assert metrics.memorization_informed_frechet_distance(train=train, synthetic=made) == close(expected)


def test_data_copying_score_is_the_published_statistic(tables: Tables) -> None:
    train, synthetic, holdout = tables
    seed = int(np.random.default_rng(3).integers(2**31 - 1))
    axes = PCA(min(64, len(train)), svd_solver="full").fit(train)
    X, G, T = (axes.transform(part) for part in (train, synthetic, holdout))
    cells = KMeans(3, n_init=10, random_state=seed).fit(X)
    scores, weights = [], []
    for cell in range(3):
        here, made, held = (part[cells.predict(part) == cell] for part in (X, G, T))
        if len(made) > 20 and len(held):
            n, m = len(made), len(held)
            U = mannwhitneyu(cdist(made, here).min(axis=1), cdist(held, here).min(axis=1)).statistic
            scores.append((U - (n * m / 2 - 0.5)) / np.sqrt(n * m * (n + m + 1) / 12))
            weights.append(m)

    found = metrics.data_copying_score(
        train=train, holdout=holdout, synthetic=synthetic, random=np.random.default_rng(3)
    )
    assert found == close(np.average(scores, weights=weights))


def test_feature_likelihood_divergence_is_the_mixture_with_its_likeliest_variances(tables: Tables) -> None:
    """The same expectation-maximisation on whole matrices of distances, with SciPy's sums of exponentials."""
    train, synthetic, holdout = tables
    real = np.concatenate([train, holdout])
    low, middle, high = np.quantile(real, [0.1587, 0.5, 0.8413], axis=0)
    unit = np.maximum((high - low) / 2, real.std(axis=0) / 2)
    X, G, T = ((part - middle) / unit for part in (train, synthetic, holdout))
    squares, held = cdist(X, G, "sqeuclidean"), cdist(T, G, "sqeuclidean")

    def logs(pairs: np.ndarray, variances: np.ndarray) -> np.ndarray:
        return -0.5 * pairs / variances - 0.5 * WIDTH * np.log(variances)

    variances, before = np.full(len(G), squares.min(axis=1).mean() / WIDTH), -np.inf
    for _ in range(50):
        now = logs(squares, variances)
        likelihood = logsumexp(now, axis=1)
        shares = now - likelihood[:, None]
        shares = np.exp(shares - logsumexp(shares, axis=0))
        variances = np.maximum((shares * squares).sum(axis=0) / WIDTH, 1e-4)
        if likelihood.mean() / WIDTH - before < 1e-5:
            break
        before = likelihood.mean() / WIDTH
    scores = [
        -100 / WIDTH * (logsumexp(logs(pairs, variances), axis=1).mean() - np.log(len(G))) for pairs in (squares, held)
    ]

    found = metrics.feature_likelihood_divergence(train=train, holdout=holdout, synthetic=synthetic)
    assert (found.train_value, found.value) == (close(scores[0]), close(scores[1]))
    assert found.gap == pytest.approx(scores[0] - scores[1], rel=1e-6, abs=1e-6 * abs(scores[0]))


def test_vendi_score_is_the_entropy_of_the_cosine_kernel(tables: Tables) -> None:
    features = tables[1]
    values = linalg.eigvalsh(1 - cdist(features, features, "cosine")) / len(features)

    assert metrics.vendi_score(features) == close(np.exp(entropy(values[values > 1e-13])))
