"""The exponential moving average of a network's weights: what is sampled, and what a checkpoint is judged by."""

from __future__ import annotations

import copy
from typing import TypeVar

import torch
from torch import Tensor, nn

Network = TypeVar("Network", bound=nn.Module)


def averaged_copy(network: Network) -> Network:
    """Return a copy that starts at the network's weights, takes no gradients and is in evaluation mode."""
    return copy.deepcopy(network).eval().requires_grad_(False)


@torch.no_grad()
def update_average(average: nn.Module, network: nn.Module, decay: float) -> None:
    """Move every averaged weight ``1 - decay`` of the way to the network's; buffers are copied.

    Args:
        average: Made by `averaged_copy` of this network.
        network: After an optimiser's step.
        decay: Share of the average that stays, 0 to 1; 0.9999 remembers about 10,000 steps.
    """
    kept: list[Tensor] = list(average.parameters())
    new = list(network.parameters())
    # One fused call: at 41 million weights in 500 tensors, a loop of small ones costs more than the arithmetic.
    torch._foreach_lerp_(kept, [p.detach().to(a.dtype) for a, p in zip(kept, new, strict=True)], 1.0 - decay)
    for old, fresh in zip(average.buffers(), network.buffers(), strict=True):
        old.copy_(fresh)


def warmed_decay(decay: float, step: int) -> float:
    """Return the decay of step 1, 2, ...: small at first, so that the average forgets the random start.

    min(decay, (1 + step) / (10 + step)), as TensorFlow's moving averages count it.
    """
    return min(decay, (1 + step) / (10 + step))
