"""Trains the copy encoder: two disguised views of one image must lie together, everything else apart.

InfoNCE (van den Oord et al. 2018, arXiv 1807.03748, Eq. 4) with the entropy term of SSCD (Pizzi et al. 2022,
arXiv 2202.10261, Eq. 5; KoLeo), which spreads the features so that one threshold suits dense and thin regions alike.
"""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from synthrelease import seeds, store
from synthrelease.errors import AuditError
from synthrelease.features.canonical import canonical_frame, smooth
from synthrelease.features.copy_encoder import FRAME, EncoderNetwork
from synthrelease.features.interface import checked_images
from synthrelease.progress import SILENT, Progress

STEPS = 600
PAIRS = 96  # images a step, each seen twice
TEMPERATURE = 0.07
SPREAD = 1.0  # weight of the KoLeo term
RATE = 3e-3  # peak learning rate of AdamW under a cosine with warm-up
WARM_UP = 30


def train(
    slices: NDArray[np.float32], *, seed: int, steps: int = STEPS, progress: Progress = SILENT
) -> dict[str, Tensor]:
    """Return the state dict of an encoder trained on images (n, c, h, w) in [0, 1]; each contrast is an image.

    The same seed, images and number of threads give the same weights. n must be at least 32: fewer images are no
    contrast to learn from.
    """
    if len(slices) < 32:
        raise AuditError(
            f"The copy encoder cannot be trained on {len(slices)} images.", "Use at least 32, or the shipped encoder."
        )
    size = (len(slices) * slices.shape[1], 1, FRAME, FRAME)
    frames = torch.from_numpy(canonical_frame(checked_images(slices), FRAME).reshape(size))
    frames = frames[frames.std((1, 2, 3)) > 0.5]  # a missing contrast is a constant frame: nothing to recognise
    network = _new_network(seed)
    optimiser = torch.optim.AdamW(network.parameters(), lr=RATE, weight_decay=0.05)
    with progress.task("Training the copy encoder", steps) as advance:
        for step in range(steps):
            optimiser.param_groups[0]["lr"] = RATE * _rate_at(step, steps)
            random = seeds.at_step(seed, step)
            chosen = frames[torch.from_numpy(random.permutation(len(frames))[:PAIRS])]
            chosen = varied(chosen, random)
            views = torch.cat([disguise(chosen, random), disguise(chosen, random)])
            loss = contrast_loss(functional.normalize(network(views)))
            optimiser.zero_grad(set_to_none=True)
            loss.backward()  # type: ignore[no-untyped-call]
            optimiser.step()
            advance(1)
    return {name: tensor.detach().clone() for name, tensor in network.eval().state_dict().items()}


def save(state: dict[str, Tensor], path: Path) -> str:
    """Write the weights in half precision as safetensors, whole or not at all, and return the file's SHA-256."""
    from safetensors.torch import save_file

    half = {name: (t.half() if t.is_floating_point() else t).contiguous() for name, t in state.items()}
    with store.atomic_path(path) as partial:
        save_file(half, partial, metadata={"synthrelease": "copy encoder 1"})
    return store.sha256_of(path)


def contrast_loss(features: Tensor) -> Tensor:
    """Return InfoNCE plus KoLeo of unit vectors (2k, d), where rows i and i + k are views of one image."""
    k = len(features) // 2
    similarity = features @ features.T
    hidden = similarity.masked_fill(torch.eye(2 * k, dtype=torch.bool), -torch.inf)
    partner = torch.arange(2 * k).roll(k)
    contrast = functional.cross_entropy(hidden / TEMPERATURE, partner)
    strangers = hidden.clone()
    strangers[torch.arange(2 * k), partner] = -torch.inf
    nearest = (2 - 2 * strangers.max(1).values).clamp_min(1e-6).sqrt()
    return contrast - SPREAD * nearest.log().mean()


def varied(frames: Tensor, random: np.random.Generator) -> Tensor:
    """Return frames (n, 1, s, s) made stranger: both views of an image will share what is changed here.

    Phantoms are tidier than patients. Half get other tones (some inverted), half get structure of their own on every
    scale, so that the encoder learns to tell apart what it has never seen.
    """
    n, side = len(frames), frames.shape[-1]
    tones = _gamma(frames * (1 - 2 * _chosen(random, n, 0.3)), _drawn(random, n, -0.9, 0.9).exp())
    frames = torch.where(_chosen(random, n, 0.5) > 0, tones, frames)
    texture = torch.zeros_like(frames)
    for cells in (4, 8, 16, 32):
        field = torch.from_numpy(random.standard_normal((n, 1, cells, cells), dtype=np.float32))
        texture += functional.interpolate(field, (side, side), mode="bicubic") / cells**0.5
    share = _drawn(random, n, 0, 0.8) * _chosen(random, n, 0.5)
    return _standard((1 - share) * frames + share * _standard(texture))


def disguise(frames: Tensor, random: np.random.Generator) -> Tensor:
    """Return one altered view of each frame (n, 1, s, s); of mean 0 and standard deviation 1 again.

    Moved by up to 15 degrees, 20 % scale and 8 % shift, bent by up to about 2 pixels of 64, mirrored; gamma 0.6 to
    1.7, blurred, noisy, and blended with up to 30 % of another image.
    """
    n = len(frames)
    views = _moved(frames, random)
    views = _gamma(views, _drawn(random, n, -0.5, 0.5).exp())
    share = _drawn(random, n, 0, 0.3) * _chosen(random, n, 0.3)
    views = (1 - share) * views + share * views.roll(1 + int(random.integers(n - 1)), 0) if n > 1 else views
    blurred = smooth(views, float(random.uniform(0.3, 2.0)))
    views = torch.where(_chosen(random, n, 0.4) > 0, blurred, views)
    noise = torch.from_numpy(random.standard_normal(views.shape, dtype=np.float32))
    views = views + noise * _drawn(random, n, 0, 0.5) * _chosen(random, n, 0.5)
    return _standard(views)


def _moved(frames: Tensor, random: np.random.Generator) -> Tensor:
    n = len(frames)
    angle = _drawn(random, n, -math.radians(15), math.radians(15)).flatten()
    scale = _drawn(random, n, math.log(0.8), math.log(1.25)).flatten().exp()
    stretch = _drawn(random, n, -0.05, 0.05).flatten().exp()
    mirror = 1 - 2 * _chosen(random, n, 0.5).flatten()
    theta = torch.zeros(n, 2, 3)
    theta[:, 0, 0], theta[:, 0, 1] = mirror * scale * stretch * angle.cos(), -scale * stretch * angle.sin()
    theta[:, 1, 0], theta[:, 1, 1] = mirror * scale / stretch * angle.sin(), scale / stretch * angle.cos()
    theta[:, :, 2] = torch.from_numpy(random.uniform(-0.16, 0.16, (n, 2)).astype(np.float32))
    grid = functional.affine_grid(theta, list(frames.shape), align_corners=False)
    bend = torch.from_numpy(random.standard_normal((n, 2, 6, 6), dtype=np.float32)) * 0.03 * _drawn(random, n, 0, 1)
    bend = functional.interpolate(bend, frames.shape[-2:], mode="bicubic", align_corners=True)
    return functional.grid_sample(frames, grid + bend.permute(0, 2, 3, 1), padding_mode="border", align_corners=False)


def _gamma(frames: Tensor, power: Tensor) -> Tensor:
    low, high = frames.amin((1, 2, 3), keepdim=True), frames.amax((1, 2, 3), keepdim=True)
    return _standard(((frames - low) / (high - low).clamp_min(1e-6)).clamp_min(1e-6) ** power)


def _standard(frames: Tensor) -> Tensor:
    centred = frames - frames.mean((1, 2, 3), keepdim=True)
    return centred / centred.square().mean((1, 2, 3), keepdim=True).sqrt().clamp_min(1e-6)


def _drawn(random: np.random.Generator, n: int, low: float, high: float) -> Tensor:
    return torch.from_numpy(random.uniform(low, high, (n, 1, 1, 1)).astype(np.float32))


def _chosen(random: np.random.Generator, n: int, share: float) -> Tensor:
    return torch.from_numpy((random.random((n, 1, 1, 1)) < share).astype(np.float32))


def _new_network(seed: int) -> EncoderNetwork:
    with torch.random.fork_rng():  # initial weights follow the seed, and the caller's randomness is left alone
        torch.manual_seed(seed)
        return EncoderNetwork().train()


def _rate_at(step: int, steps: int) -> float:
    warm = min(1.0, (step + 1) / WARM_UP)
    return warm * 0.5 * (1 + math.cos(math.pi * step / steps))
