"""Confirms candidate copies on pixels: align, then correlate locally.

A copy agrees with its source in every neighbourhood once it is aligned; two strangers agree in outline only. The
score is the mean over the foreground of the correlation in 9 x 9 windows at 64 px, at each place the best over shifts
of +-2 pixels that neighbours and contrasts share. Design choices and their figures: docs/experiments.md.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, fields
from functools import cache

import numpy as np
import torch
import torch.nn.functional as nn
from numpy.typing import NDArray

from synthrelease.features.canonical import foreground, frame_transform, smooth
from synthrelease.privacy import alignment

VERSION = "confirm-3"
SIZE = 64  # pixels at which pairs are compared
SMOOTHING = 1.5 / 128  # of the side, before halving: noise goes, anatomy stays
SHIFT = 2  # pixels: what a smooth deformation may move locally
WINDOW = 9  # pixels
KEPT = 3  # candidates per query that reach the dear stage
PAIRS_AT_ONCE = 256
NOISE_TRUST = 0.8  # share of the estimated noise variance that is taken out of a window's variance
NOISE_CAP = 0.7  # of a window's variance at most: a noise estimate never makes anatomy out of nothing
_EMPTY = 1e-7  # variance of a whole contrast, as a share of the range squared, below which it is empty
_FLAT = 1e-5  # variance, as a share of the range squared, below which a window has nothing to say


@dataclass(frozen=True)
class Prepared:
    """Images made ready for confirmation; 1/8 of the memory of the originals in float32 at 128 px."""

    images: NDArray[np.float16]  # (n, c, 64, 64), smoothed
    foreground: NDArray[np.uint8]  # (n, 64, 64), 0 to 255
    noise: NDArray[np.float32]  # (n, c), variance of the noise left after smoothing
    frame: NDArray[np.float32]  # (n, 2, 3), canonical frame to image

    def __len__(self) -> int:
        return len(self.images)

    def take(self, rows: NDArray[np.int64]) -> Prepared:
        """Return the chosen rows."""
        return Prepared(self.images[rows], self.foreground[rows], self.noise[rows], self.frame[rows])


@dataclass(frozen=True)
class Matches:
    """For each query the best train image: arrays of length n."""

    index: NDArray[np.int64]  # row of the train set; -1 where there was no candidate
    score: NDArray[np.float64]  # 1 for a verbatim copy
    mirrored: NDArray[np.bool_]
    maps: NDArray[np.float32]  # (n, 2, 3), query to train, after mirroring the query


def prepare(images: NDArray[np.float32]) -> Prepared:
    """Return images (n, c, s, s) in [0, 1] ready for `confirm`."""
    return joined([_prepare_block(images[start : start + 128]) for start in range(0, len(images), 128)])


def joined(blocks: Sequence[Prepared]) -> Prepared:
    """Return the images of all blocks, in order."""
    return Prepared(*(np.concatenate([getattr(block, f.name) for block in blocks]) for f in fields(Prepared)))


def confirm(queries: Prepared, train: Prepared, candidates: NDArray[np.int64]) -> Matches:
    """Return the best candidate of each query.

    Args:
        queries: n images.
        train: The train images.
        candidates: (n, k) rows of ``train``; -1 marks an empty place. Both orientations of the query are tried.

    Cost is bounded by three exits: every candidate is aligned at 32 px from four starts; the best start is refined
    there; the best `KEPT` candidates of each query are refined at 64 px and correlated locally.
    """
    n, k = candidates.shape
    query_rows = np.repeat(np.arange(n), k)
    train_rows = candidates.ravel()
    there = train_rows >= 0
    coarse = np.full(n * k, -2.0)
    maps = np.zeros((n * k, 2, 3), np.float32)
    mirrored = np.zeros(n * k, bool)
    for chosen in _portions(np.flatnonzero(there)):
        pair = _Pair.of(queries, train, query_rows[chosen], train_rows[chosen])
        fitted, score, flipped = _align_coarsely(pair)
        coarse[chosen], maps[chosen], mirrored[chosen] = score.numpy(), fitted.numpy(), flipped.numpy()
    kept = np.argsort(-coarse.reshape(n, k), axis=1, kind="stable")[:, :KEPT] + np.arange(n)[:, None] * k
    kept = kept.ravel()[there[kept.ravel()]]
    final = np.full(n * k, -2.0)
    for chosen in _portions(kept):
        pair = _Pair.of(queries, train, query_rows[chosen], train_rows[chosen], mirrored[chosen])
        template = alignment.Template.of(pair.query_mean, pair.query_mask + 0.05)
        fitted, _ = alignment.fit(template, pair.train_mean, torch.from_numpy(maps[chosen]), 5)
        final[chosen], maps[chosen] = _score(pair, fitted).numpy(), fitted.numpy()
    best = final.reshape(n, k).argmax(axis=1) + np.arange(n) * k
    found = final[best] > -2
    return Matches(
        np.where(found, train_rows[best], -1), np.where(found, final[best], -1.0), mirrored[best], maps[best]
    )


@contextmanager
def one_thread_each() -> Iterator[int]:
    """Yield how many workers to use while every operation keeps to one thread.

    The operations here are small: split over cores, each waits for its slowest part, and on a busy machine that made
    searches ten times slower. Whole blocks side by side share nothing. The user's limit on torch's threads is kept.
    """
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield before
    finally:
        torch.set_num_threads(before)


def keep_to_one_thread() -> None:
    """Limit the calling thread; the limit belongs to a thread, so every worker calls this once."""
    torch.set_num_threads(1)


def onto(train: NDArray[np.float32], maps: NDArray[np.float32], mirrored: bool) -> NDArray[np.float32]:
    """Return a train image (c, s, s) as it lies on its query: through the map (2, 3), mirrored back if need be."""
    seen = alignment.sample(torch.from_numpy(train)[None], torch.from_numpy(maps)[None], train.shape[-1])[0]
    return (seen.flip(-1) if mirrored else seen).numpy()


def local_correlation(
    query: torch.Tensor,
    train: torch.Tensor,
    mask: torch.Tensor,
    maps: torch.Tensor,
    noise: tuple[torch.Tensor, torch.Tensor],
) -> torch.Tensor:
    """Return the score (n,) of aligned pairs.

    Noise lowers a correlation by a known factor; variances are therefore corrected for the noise estimated in each
    image (attenuation, Spearman 1904), for strangers and copies alike.

    Args:
        query: (n, c, s, s), smoothed.
        train: (n, c, t, t), smoothed.
        mask: (n, 1, s, s) weights in the query's frame.
        maps: (n, 2, 3), query to train; where they leave the train image there is no weight.
        noise: (n, c) noise variances of query and train.
    """
    size = query.shape[-1]
    seen = alignment.sample(train, maps, size)
    half, full, spread = _box(size, 2), _box(size, 1), _box(len(range(0, size, 2)), 1, WINDOW // 2 + 1)
    q_mean = _filtered(query, half)
    q_variance = _without_noise(_filtered(query * query, half) - q_mean * q_mean, noise[0])
    t_mean = _filtered(seen, full)
    t_variance = _without_noise(_filtered(seen * seen, full) - t_mean * t_mean, noise[1])
    live = _live(query, seen)
    padded = [nn.pad(part, (SHIFT,) * 4, mode="replicate") for part in (seen, t_mean, t_variance)]
    volume = []
    for down in range(2 * SHIFT + 1):
        for right in range(2 * SHIFT + 1):
            shifted, mean, variance = (part[:, :, down : down + size, right : right + size] for part in padded)
            covariance = _filtered(query * shifted, half) - q_mean * mean[:, :, ::2, ::2]
            local = (covariance + _FLAT) / (q_variance * variance[:, :, ::2, ::2]).sqrt()
            volume.append((local.clamp(-1, 1) * live).sum(1))  # contrasts move together
    values = torch.stack(volume, 1)
    place = _filtered(values, spread).argmax(1, keepdim=True)  # neighbours move together
    best = values.gather(1, place)
    weight = (mask * _inside(maps, size))[:, :, ::2, ::2]
    return (best * weight).sum((1, 2, 3)) / weight.sum((1, 2, 3)).clamp_min(1e-6)


@dataclass(frozen=True)
class _Pair:
    """Tensors of a portion of pairs, the query already mirrored where asked."""

    query: torch.Tensor
    train: torch.Tensor
    query_mask: torch.Tensor
    train_mask: torch.Tensor
    query_noise: torch.Tensor
    train_noise: torch.Tensor
    query_frame: torch.Tensor
    train_frame: torch.Tensor

    @classmethod
    def of(
        cls,
        queries: Prepared,
        train: Prepared,
        query_rows: NDArray[np.int64],
        train_rows: NDArray[np.int64],
        mirrored: NDArray[np.bool_] | None = None,
    ) -> _Pair:
        q, q_mask, q_noise, q_frame = _tensors(queries.take(query_rows))
        t, t_mask, t_noise, t_frame = _tensors(train.take(train_rows))
        if mirrored is not None:
            flip = torch.from_numpy(mirrored)
            q = torch.where(flip[:, None, None, None], q.flip(-1), q)
            q_mask = torch.where(flip[:, None, None, None], q_mask.flip(-1), q_mask)
            q_frame = torch.where(flip[:, None, None], _mirror_frame(q_frame), q_frame)
        return cls(q, t, q_mask, t_mask, q_noise, t_noise, q_frame, t_frame)

    @property
    def query_mean(self) -> torch.Tensor:
        return self.query.mean(1, keepdim=True)

    @property
    def train_mean(self) -> torch.Tensor:
        return self.train.mean(1, keepdim=True)


def _tensors(part: Prepared) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
    mask = torch.from_numpy(part.foreground).float()[:, None] / 255
    return torch.from_numpy(part.images).float(), mask, torch.from_numpy(part.noise), torch.from_numpy(part.frame)


def _prepare_block(images: NDArray[np.float32]) -> Prepared:
    block = torch.from_numpy(np.ascontiguousarray(images))
    small = nn.interpolate(smooth(block, SMOOTHING * block.shape[-1]), (SIZE, SIZE), mode="area")
    mask = foreground(small)
    frame = frame_transform(mask)
    return Prepared(
        images=small.half().numpy(),
        foreground=(mask[:, 0] * 255).round().to(torch.uint8).numpy(),
        noise=(noise_deviation(block) ** 2 * _noise_kept(block.shape[-1])).numpy(),
        frame=frame.numpy(),
    )


def noise_deviation(images: torch.Tensor) -> torch.Tensor:
    """Return the standard deviation (n, c) of white noise in images (n, c, h, w).

    The mask of Immerkaer (CVIU 64:300, 1996) cancels smooth structure; the median leaves edges out.
    """
    mask = torch.tensor([[1.0, -2.0, 1.0], [-2.0, 4.0, -2.0], [1.0, -2.0, 1.0]])[None, None] / 6
    n, c = images.shape[:2]
    response = nn.conv2d(images.reshape(n * c, 1, *images.shape[2:]), mask).abs().flatten(1)
    return response.median(1).values.reshape(n, c) * 1.4826


def noise_of(images: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return `noise_deviation` of NumPy images (n, c, h, w)."""
    return noise_deviation(torch.from_numpy(np.ascontiguousarray(images))).numpy()


@cache
def _noise_kept(size: int) -> float:
    """Return the share of white noise variance that smoothing and averaging down to `SIZE` leave."""
    sd = SMOOTHING * size
    steps = np.arange(-np.ceil(3 * sd), np.ceil(3 * sd) + 1)
    kernel = np.exp(-0.5 * (steps / sd) ** 2)
    cells = max(1, round(size / SIZE))
    kernel = np.convolve(kernel / kernel.sum(), np.full(cells, 1 / cells))
    return float((kernel**2).sum() ** 2)


def _live(query: torch.Tensor, train: torch.Tensor) -> torch.Tensor:
    """Return weights (n, c, 1, 1) of the contrasts: one that is empty in both images agrees about nothing."""
    there = (query.var((2, 3)) > _EMPTY) | (train.var((2, 3)) > _EMPTY)
    return (there / there.sum(1, keepdim=True).clamp_min(1))[:, :, None, None]


def _without_noise(variance: torch.Tensor, noise: torch.Tensor) -> torch.Tensor:
    variance = variance.clamp_min(0)
    floor = (1 - NOISE_CAP) * variance
    return torch.maximum(variance - NOISE_TRUST * noise[:, :, None, None], floor) + _FLAT


def _align_coarsely(pair: _Pair) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Return maps, correlations and orientations after alignment at 32 px."""
    n = len(pair.query)
    train = nn.avg_pool2d(pair.train_mean, 2)
    query = nn.avg_pool2d(pair.query_mean, 2)
    weight = nn.avg_pool2d(pair.query_mask, 2) + 0.05
    identity = torch.eye(2, 3).repeat(n, 1, 1)
    templates = [alignment.Template.of(query, weight), alignment.Template.of(query.flip(-1), weight.flip(-1))]
    starts, scores = [], []
    for flipped, template in enumerate(templates):
        frame = _mirror_frame(pair.query_frame) if flipped else pair.query_frame
        canonical = alignment.compose(pair.train_frame, alignment.inverse(frame))
        canonical = torch.where(alignment.plausible(canonical)[:, None, None], canonical, identity)
        for start in (identity, canonical):
            maps, score = alignment.fit(template, train, start, 3)
            starts.append(maps)
            scores.append(score)
    best = torch.stack(scores).argmax(0)
    maps = torch.stack(starts)[best, torch.arange(n)]
    mirrored = best >= 2
    maps, score = alignment.fit(_either(templates[0], templates[1], mirrored), train, maps, 5)
    return maps, score, mirrored


def _either(plain: alignment.Template, flipped: alignment.Template, chosen: torch.Tensor) -> alignment.Template:
    """Return the template of the orientation chosen for each pair."""
    picked = {}
    for name, value in vars(plain).items():
        if isinstance(value, torch.Tensor):
            mask = chosen.view(-1, *[1] * (value.dim() - 1))
            picked[name] = torch.where(mask, getattr(flipped, name), value)
    return alignment.Template(**picked, size=plain.size)


def _score(pair: _Pair, maps: torch.Tensor) -> torch.Tensor:
    mask = torch.maximum(pair.query_mask, alignment.sample(pair.train_mask, maps, SIZE))
    return local_correlation(pair.query, pair.train, mask, maps, (pair.query_noise, pair.train_noise))


def _mirror_frame(frame: torch.Tensor) -> torch.Tensor:
    """Return the canonical frame of the mirror image: its own mirror on both sides."""
    signs = torch.tensor([[1.0, -1.0, -1.0], [-1.0, 1.0, 1.0]])
    return frame * signs


def _inside(maps: torch.Tensor, size: int) -> torch.Tensor:
    grid = nn.affine_grid(maps, [len(maps), 1, size, size], align_corners=False)
    return (grid.abs() <= 1.0 + 2 / size).all(-1)[:, None].float()


def _filtered(images: torch.Tensor, matrix: torch.Tensor) -> torch.Tensor:
    """Return ``matrix @ images @ matrix.T`` for every image, as two large products instead of many small ones."""
    return ((images @ matrix.mT).mT @ matrix.mT).mT


@cache
def _box(size: int, stride: int, window: int = WINDOW) -> torch.Tensor:
    """Return the matrix (ceil(size / stride), size) of a moving average that leaves out what lies outside.

    Two matrix products filter a whole batch an order of magnitude faster than pooling does on a CPU.
    """
    centres = torch.arange(0, size, stride)[:, None]
    matrix = ((torch.arange(size)[None] - centres).abs() <= window // 2).float()
    return matrix / matrix.sum(1, keepdim=True)


def _portions(rows: NDArray[np.int64]) -> list[NDArray[np.int64]]:
    return [rows[start : start + PAIRS_AT_ONCE] for start in range(0, len(rows), PAIRS_AT_ONCE)]
