"""Brings candidate pairs onto each other: small affine maps, many pairs at once, coarse to fine.

Maps are (n, 2, 3) from a query's pixel to the train image's, in [-1, 1] coordinates (x right, y down). The fit is the
inverse compositional algorithm (Baker and Matthews, IJCV 56:221, 2004) with a free gain and offset: all derivatives
belong to the query, so a step costs one resampling and one small product, and five to ten steps do what gradient
ascent does in hundreds.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as nn

LARGEST_TURN = math.radians(35)
LARGEST_SCALE = 1.45
LARGEST_SHEAR = 0.25


def sample(images: torch.Tensor, maps: torch.Tensor, size: int) -> torch.Tensor:
    """Return images (n, c, h, w) seen through maps (n, 2, 3), as (n, c, size, size); edges continued."""
    grid = nn.affine_grid(maps, [len(images), images.shape[1], size, size], align_corners=False)
    return nn.grid_sample(images, grid, mode="bilinear", padding_mode="border", align_corners=False)


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


@dataclass(frozen=True)
class Template:
    """What a query contributes to its alignment, computed once for all steps and starts."""

    columns: torch.Tensor  # (n, 8, p), weighted: six derivatives by the map, the query itself, ones
    inverse: torch.Tensor  # (n, 8, 8), of the normal matrix
    weight: torch.Tensor  # (n, p)
    total: torch.Tensor  # (n,)
    mean: torch.Tensor  # (n,) of the query
    power: torch.Tensor  # (n,) its variance
    size: int

    @classmethod
    def of(cls, query: torch.Tensor, weight: torch.Tensor) -> Template:
        """Return the template of queries (n, 1, s, s) with weights (n, 1, s, s) in 0 to 1."""
        size = query.shape[-1]
        axis = (torch.arange(size, dtype=query.dtype, device=query.device) + 0.5) * 2 / size - 1
        x, y = axis.expand(size, size), axis[:, None].expand(size, size)
        dx, dy = (part[:, 0] for part in _gradients(query))
        value = query[:, 0]
        plain = torch.stack([dx * x, dx * y, dx, dy * x, dy * y, dy, value, torch.ones_like(value)], dim=1).flatten(2)
        flat = weight.flatten(1)
        columns = plain * flat[:, None]
        normal = columns @ plain.transpose(1, 2)
        # Damping relative to each unknown's own size keeps flat images from flying off.
        normal = normal + torch.diag_embed(1e-3 * normal.diagonal(dim1=1, dim2=2) + 1e-6)
        total = flat.sum(1).clamp_min(1e-6)
        mean = columns[:, 6].sum(1) / total
        power = (columns[:, 6] * plain[:, 6]).sum(1) / total - mean**2
        return cls(columns, torch.linalg.inv(normal), flat, total, mean, power.clamp_min(0), size)


def fit(
    template: Template,
    train: torch.Tensor,
    maps: torch.Tensor,
    steps: int,
    base: torch.Tensor | None = None,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the best maps met on the way (n, 2, 3) and their correlations (n,).

    Args:
        template: Of the queries.
        train: (n, 1, t, t), the images to bring onto the queries.
        maps: (n, 2, 3) starts; the result is never worse than a plausible start. Where nothing on the way
            was plausible the start comes back with correlation -1.
        steps: Steps at most; 0 only rates the starts.
        base: (n, 2, 3) maps against which "small" is judged, where queries are crops; none is the identity.
    """
    undo = None if base is None else inverse(base)
    best, best_score = maps.clone(), torch.full((len(maps),), -1.0, dtype=train.dtype, device=train.device)
    for step in range(steps + 1):
        seen = sample(train, maps, template.size).flatten(1)
        products = torch.bmm(template.columns, seen[:, :, None])[:, :, 0]
        score = _correlation_from(template, products, seen)
        better = (score > best_score) & plausible(maps if undo is None else compose(undo, maps))
        best = torch.where(better[:, None, None], maps, best)
        best_score = torch.where(better, score, best_score)
        if step < steps:
            maps = torch.where(better[:, None, None], _improved(template, products, maps), 0.5 * (maps + best))
    return best, best_score


def _correlation_from(template: Template, products: torch.Tensor, seen: torch.Tensor) -> torch.Tensor:
    mean = products[:, 7] / template.total
    power = (template.weight * seen * seen).sum(1) / template.total - mean**2
    shared = products[:, 6] / template.total - mean * template.mean
    # Variances below a millionth of the range are a constant image, not a signal.
    return shared / (power.clamp_min(0) * template.power).clamp_min(1e-12).sqrt()


def _improved(template: Template, products: torch.Tensor, maps: torch.Tensor) -> torch.Tensor:
    """Return the next maps: what is seen is the query moved by a small map, so undo that map first."""
    solution = (template.inverse @ products[:, :, None])[:, :, 0]
    gain = solution[:, 6]
    gain = torch.where(gain.abs() < 0.1, torch.full_like(gain, 0.1), gain)
    change = (solution[:, :6] / gain[:, None]).clamp(-0.2, 0.2).view(-1, 2, 3)
    moved = change + torch.eye(2, 3, dtype=maps.dtype, device=maps.device)
    return compose(maps, inverse(moved))


def _gradients(images: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Return d/dx and d/dy of images (n, 1, s, s) per unit of [-1, 1]."""
    size = images.shape[-1]
    padded = nn.pad(images, (1, 1, 1, 1), mode="replicate")
    dx = (padded[:, :, 1:-1, 2:] - padded[:, :, 1:-1, :-2]) * (size / 4)
    dy = (padded[:, :, 2:, 1:-1] - padded[:, :, :-2, 1:-1]) * (size / 4)
    return dx, dy
