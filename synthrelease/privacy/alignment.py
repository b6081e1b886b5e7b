"""Brings candidate pairs onto each other: small affine maps, many pairs at once, coarse to fine.

Maps are (n, 2, 3) from a query's pixel to the train image's, in [-1, 1] coordinates (x right, y down). The fit
is Gauss-Newton on ``query = gain * train(map) + offset``: for one pair this is the enhanced correlation coefficient of
Evangelidis and Psarakis (IEEE TPAMI 30:1858, 2008) up to the order of elimination, and needs five to ten steps where
gradient ascent needs hundreds.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as nn

LARGEST_TURN = math.radians(35)
LARGEST_SCALE = 1.45
LARGEST_SHEAR = 0.25


def sample(images: torch.Tensor, maps: torch.Tensor, size: int) -> torch.Tensor:
    """Return images (n, c, h, w) seen through maps (n, 2, 3), as (n, c, size, size); edges continued."""
    grid = nn.affine_grid(maps, [len(images), images.shape[1], size, size], align_corners=False)
    return nn.grid_sample(images, grid, mode="bilinear", padding_mode="border", align_corners=False)


def correlation(first: torch.Tensor, second: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
    """Return the weighted Pearson correlation (n,) of images (n, 1, h, w)."""
    total = weight.sum((1, 2, 3)).clamp_min(1e-6)
    mean_a = (weight * first).sum((1, 2, 3)) / total
    mean_b = (weight * second).sum((1, 2, 3)) / total
    a = first - mean_a[:, None, None, None]
    b = second - mean_b[:, None, None, None]
    # Variances below a millionth of the range are a constant image, not a signal.
    power = ((weight * a * a).sum((1, 2, 3)) / total) * ((weight * b * b).sum((1, 2, 3)) / total)
    return (weight * a * b).sum((1, 2, 3)) / total / power.clamp_min(1e-12).sqrt()


def compose(outer: torch.Tensor, inner: torch.Tensor) -> torch.Tensor:
    """Return the maps that apply ``inner`` first, then ``outer``; both (n, 2, 3)."""
    linear = outer[:, :, :2] @ inner[:, :, :2]
    shift = outer[:, :, :2] @ inner[:, :, 2:] + outer[:, :, 2:]
    return torch.cat([linear, shift], dim=2)


def inverse(maps: torch.Tensor) -> torch.Tensor:
    """Return the inverse maps of (n, 2, 3)."""
    linear = torch.linalg.inv(maps[:, :, :2])
    return torch.cat([linear, -linear @ maps[:, :, 2:]], dim=2)


def plausible(maps: torch.Tensor) -> torch.Tensor:
    """Say (n,) which maps are small affine ones; the rest squeezes strangers onto each other."""
    a, b, c, d = maps[:, 0, 0], maps[:, 0, 1], maps[:, 1, 0], maps[:, 1, 1]
    turn = torch.atan2(c - b, a + d).abs()
    sx, sy = torch.hypot(a, c), torch.hypot(b, d)
    shear = ((a * b + c * d) / (sx * sy).clamp_min(1e-6)).abs()
    sizes = torch.maximum(torch.maximum(sx, 1 / sx.clamp_min(1e-6)), torch.maximum(sy, 1 / sy.clamp_min(1e-6)))
    near = maps[:, :, 2].abs().amax(1) < 0.6
    return (turn < LARGEST_TURN) & (sizes < LARGEST_SCALE) & (shear < LARGEST_SHEAR) & (a * d - b * c > 0) & near


def fit(
    query: torch.Tensor,
    train: torch.Tensor,
    weight: torch.Tensor,
    maps: torch.Tensor,
    steps: int,
    base: torch.Tensor | None = None,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the best maps met on the way (n, 2, 3) and their correlations (n,).

    Args:
        query: (n, 1, s, s).
        train: (n, 1, t, t), the images to bring onto the queries.
        weight: (n, 1, s, s) weights in the query's frame, 0 to 1.
        maps: (n, 2, 3) starts; the result is never worse than a plausible start. Where nothing on the way
            was plausible the start comes back with correlation -1.
        steps: Gauss-Newton steps.
        base: (n, 2, 3) maps against which "small" is judged, where queries are crops; none is the identity.
    """
    undo = None if base is None else inverse(base)
    size = query.shape[-1]
    sources = torch.cat([train, *_gradients(train)], dim=1)
    axis = (torch.arange(size, dtype=query.dtype, device=query.device) + 0.5) * 2 / size - 1
    x, y = axis.expand(size, size), axis[:, None].expand(size, size)
    best, best_score = maps.clone(), torch.full((len(maps),), -1.0, dtype=query.dtype, device=query.device)
    for step in range(steps + 1):
        seen = sample(sources, maps, size)
        score = correlation(query, seen[:, :1], weight)
        better = (score > best_score) & plausible(maps if undo is None else compose(undo, maps))
        best = torch.where(better[:, None, None], maps, best)
        best_score = torch.where(better, score, best_score)
        if step < steps:
            maps = _gauss_newton_step(query, seen, weight, best, maps, better, (x, y))
    return best, best_score


def _gauss_newton_step(
    query: torch.Tensor,
    seen: torch.Tensor,
    weight: torch.Tensor,
    best: torch.Tensor,
    maps: torch.Tensor,
    better: torch.Tensor,
    axes: tuple[torch.Tensor, torch.Tensor],
) -> torch.Tensor:
    """Return the next maps: a damped step where the last one helped, else halfway back to the best."""
    x, y = axes
    value, dx, dy = seen[:, 0], seen[:, 1], seen[:, 2]
    columns = torch.stack([dx * x, dx * y, dx, dy * x, dy * y, dy, value, torch.ones_like(value)], dim=1).flatten(2)
    weighted = columns * weight.flatten(2)
    normal = weighted @ columns.transpose(1, 2)
    # Damping relative to each unknown's own size keeps flat images from flying off.
    normal = normal + torch.diag_embed(1e-3 * normal.diagonal(dim1=1, dim2=2) + 1e-6)
    right = (weighted @ query.flatten(2).transpose(1, 2))[:, :, 0]
    solution = torch.linalg.solve(normal, right)
    gain = solution[:, 6]
    gain = torch.where(gain.abs() < 0.1, torch.full_like(gain, 0.1), gain)
    change = (solution[:, :6] / gain[:, None]).clamp(-0.2, 0.2).view(-1, 2, 3)
    return torch.where(better[:, None, None], maps + change, 0.5 * (maps + best))


def _gradients(images: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Return d/dx and d/dy of images (n, 1, s, s) per unit of [-1, 1]."""
    size = images.shape[-1]
    padded = nn.pad(images, (1, 1, 1, 1), mode="replicate")
    dx = (padded[:, :, 1:-1, 2:] - padded[:, :, 1:-1, :-2]) * (size / 4)
    dy = (padded[:, :, 2:, 1:-1] - padded[:, :, :-2, 1:-1]) * (size / 4)
    return dx, dy
