"""How much arithmetic a segmenter takes, counted on a network without weights."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch.utils.flop_counter import FlopCounterMode

from synthrelease.segmentation.networks import Segmenter
from synthrelease.segmentation.plan import settings_of

FORWARD_AND_BACK = 3  # a backward pass has about twice the products of the forward one


def training_cost(
    network: str, preset: str | None, changes: Mapping[str, Any], *, contrasts: int, classes: int, size: int
) -> tuple[float, int]:
    """Return the floating point operations of one whole training, and the network's parameters.

    Products of matrices and convolutions count, two operations per multiplication and addition; validation does not.

    Args:
        network: unet or swin.
        preset: None: the study's.
        changes: Single settings that differ from it.
        contrasts: Channels in.
        classes: Background included.
        size: Height and width, pixels.
    """
    _, (shape, training, _, _) = settings_of(network, preset, changes)
    # Made first and emptied then: SwinUNETR cannot be made without memory.
    body = Segmenter(shape, contrasts=contrasts, classes=classes).to("meta").eval().requires_grad_(False)
    images = torch.empty(1, contrasts, size, size, device="meta")
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        body(images)
    operations = FORWARD_AND_BACK * float(counter.get_total_flops()) * training.steps * training.batch
    return operations, sum(weight.numel() for weight in body.parameters())
