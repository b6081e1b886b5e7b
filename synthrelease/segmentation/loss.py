"""The loss: soft Dice over the batch plus cross-entropy, over every supervised output."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as functional
from torch import Tensor

SMOOTH = 1e-5  # in numerator and denominator, as MONAI's

Total = Callable[[Tensor], Tensor]
"""Adds a tensor up over the processes that train together."""


def dice_and_cross_entropy(
    logits: Tensor, labels: Tensor, *, background: bool = True, total: Total = lambda value: value, world: int = 1
) -> tuple[Tensor, Tensor]:
    """Return the loss to differentiate, and its value over all processes.

    The same as MONAI's ``DiceCELoss(softmax=True, batch=True)``; written out because the Dice of a batch that is spread
    over processes needs their sums. Averaging the processes' gradients then gives the whole batch's gradient.

    Args:
        logits: (b, classes, h, w), this process's share.
        labels: (b, h, w) int64.
        background: Whether class 0 counts in the Dice term (study: yes for the U-Net).
        total: Sum over the processes.
        world: How many processes.

    Returns:
        The loss that gives this process's gradient, and the loss of the whole batch, detached.
    """
    logits = logits.float()  # sums over a batch of images overflow in 16 bits
    entropy = functional.cross_entropy(logits, labels)
    shares = torch.softmax(logits, dim=1)
    truth = functional.one_hot(labels, logits.shape[1]).movedim(-1, 1).to(shares.dtype)
    if not background:
        shares, truth = shares[:, 1:], truth[:, 1:]
    axes = (0, 2, 3)
    sums = torch.stack([(shares * truth).sum(axes), shares.sum(axes) + truth.sum(axes)])
    if world > 1:
        sums = sums + (total(sums.detach()) - sums.detach())
    dice = (1 - (2 * sums[0] + SMOOTH) / (sums[1] + SMOOTH)).mean()
    value = dice.detach() + (entropy.detach() if world == 1 else total(entropy.detach()) / world)
    return entropy + world * dice, value


def deep_loss(
    outputs: Sequence[Tensor], labels: Tensor, *, background: bool, total: Total = lambda value: value, world: int = 1
) -> tuple[Tensor, Tensor]:
    """Return the mean of the outputs' losses with weights 1, 1/2, 1/4, ...; see `dice_and_cross_entropy`."""
    weights = [0.5**i for i in range(len(outputs))]
    parts = [
        dice_and_cross_entropy(output, labels, background=background, total=total, world=world) for output in outputs
    ]
    whole = sum(weights)
    pairs = list(zip(weights, parts, strict=True))
    loss = torch.stack([weight * part[0] for weight, part in pairs]).sum() / whole
    return loss, torch.stack([weight * part[1] for weight, part in pairs]).sum() / whole
