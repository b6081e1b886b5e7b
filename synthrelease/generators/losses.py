"""Losses of the GANs and their penalties, as functions of scores, images and callables.

Every function returns a scalar mean over the images unless it says otherwise. Scores are a discriminator's
outputs, (n,), higher for more real; images are (n, c, h, w). Penalties differentiate once more through the
gradient, so everything in between must be differentiable twice.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as functional
from torch import Tensor


def wasserstein_generator(fake: Tensor) -> Tensor:
    """Return -E[D(G(z))] of scores of generated images (Arjovsky 2017, algorithm 1)."""
    return -fake.mean()


def wasserstein_discriminator(real: Tensor, fake: Tensor) -> Tensor:
    """Return E[D(G(z))] - E[D(x)] (Arjovsky 2017, equation 2); add `gradient_penalty` and `drift`."""
    return fake.mean() - real.mean()


def gradient_penalty(
    discriminator: Callable[[Tensor], Tensor], *, real: Tensor, fake: Tensor, shares: Tensor, weight: float = 10.0
) -> Tensor:
    """Return weight * E[(|grad D(m)| - 1)^2] at m = fake + t (real - fake) (Gulrajani 2017, equation 3).

    Args:
        discriminator: Images to scores.
        real: (n, c, h, w) real images.
        fake: As many generated images.
        shares: (n,) the t of each pair, uniform in 0 to 1.
        weight: lambda; 10 in the paper.
    """
    t = shares.to(real)[:, None, None, None]
    mixed = torch.lerp(fake.detach(), real.detach(), t).requires_grad_(True)
    (slope,) = torch.autograd.grad(discriminator(mixed).sum(), mixed, create_graph=True)
    # Not torch.norm: its second derivative is not a number where an image's gradient is 0.
    norm = (slope.float().square().sum((1, 2, 3)) + 1e-12).sqrt()
    return weight * (norm - 1).square().mean()


def drift(real: Tensor, weight: float = 0.001) -> Tensor:
    """Return weight * E[D(x)^2], which keeps scores near 0 (Karras 2018, appendix A.1)."""
    return weight * real.square().mean()


def logistic_generator(fake: Tensor) -> Tensor:
    """Return E[-log sigmoid(D(G(z)))], the non-saturating loss (Goodfellow 2014, section 3)."""
    return functional.softplus(-fake).mean()


def logistic_discriminator(real: Tensor, fake: Tensor) -> Tensor:
    """Return E[-log sigmoid(D(x))] + E[-log(1 - sigmoid(D(G(z))))] (Goodfellow 2014, equation 1)."""
    return functional.softplus(-real).mean() + functional.softplus(fake).mean()


def r1_penalty(scores: Tensor, real: Tensor, *, gamma: float, interval: int = 1) -> Tensor:
    """Return gamma / 2 * E[|grad D(x)|^2] on real images (Mescheder 2018, equation 9), times `interval`.

    Args:
        scores: (n,) of `real`, computed with gradients.
        real: (n, c, h, w) real images that require gradients; with augmentation, the images before it.
        gamma: Weight.
        interval: Steps between two penalties where it is lazy (Karras 2020, appendix B): each weighs as many times.
    """
    (slope,) = torch.autograd.grad(scores.sum(), real, create_graph=True)
    return interval * gamma / 2 * slope.float().square().sum((1, 2, 3)).mean()


def path_lengths(images: Tensor, styles: Tensor, directions: Tensor) -> Tensor:
    """Return |J^T y| of each image (n,): how far it moves for a step of its style (Karras 2020, section 3.2).

    Args:
        images: (n, c, h, w), computed from `styles` with gradients.
        styles: (n, layers, latent), requiring gradients; the squared length is the mean over layers of the sums.
        directions: y, standard normal numbers in the shape of `images`.
    """
    height, width = images.shape[2:]
    along = (images.float() * directions).sum() / (height * width) ** 0.5
    (slope,) = torch.autograd.grad(along, styles, create_graph=True)
    # 1e-12 keeps the second derivative finite where no style matters, as with a generator of zeros.
    return (slope.float().square().sum(2).mean(1) + 1e-12).sqrt()


def path_length_penalty(
    lengths: Tensor, mean: Tensor, *, weight: float = 2.0, interval: int = 1, decay: float = 0.01
) -> tuple[Tensor, Tensor]:
    """Return weight * E[(|J^T y| - a)^2] times `interval`, and the moved mean a to keep (Karras 2020, equation 4).

    The mean that enters the penalty holds this batch's share with its gradient, as in the reference.

    Args:
        lengths: (n,) of `path_lengths`.
        mean: a so far, a scalar without gradient; 0 at the start.
        weight: 2 in StyleGAN 2.
        interval: Steps between two penalties: each weighs as many times.
        decay: What this batch counts in the mean.
    """
    moved = torch.lerp(mean.to(lengths), lengths.mean(), decay)
    return weight * interval * (lengths - moved).square().mean(), moved.detach()


def lazy_adam(rate: float, betas: tuple[float, float], interval: int | None) -> tuple[float, tuple[float, float]]:
    """Return Adam's learning rate and betas for a network with a penalty every `interval` steps, else unchanged.

    With one more update in every k, rate and betas are taken to c = k / (k + 1): c rate, beta^c (Karras 2020,
    appendix B). This supposes that the penalty makes an update of its own; None is a network without one.
    """
    if interval is None:
        return rate, betas
    c = interval / (interval + 1)
    return rate * c, (betas[0] ** c, betas[1] ** c)
