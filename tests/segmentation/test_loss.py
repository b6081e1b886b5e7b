"""The loss: MONAI's, and the same over processes as in one."""

from __future__ import annotations

import math

import pytest
import torch
from monai.losses import DiceCELoss

from synthrelease.segmentation.loss import deep_loss, dice_and_cross_entropy


def _case(seed: int = 0, images: int = 6, classes: int = 3) -> tuple[torch.Tensor, torch.Tensor]:
    random = torch.Generator().manual_seed(seed)
    logits = torch.randn(images, classes, 9, 7, generator=random, dtype=torch.float64)
    return logits.float(), torch.randint(classes, (images, 9, 7), generator=random)


@pytest.mark.parametrize("background", [True, False])
def test_it_is_monais(background: bool) -> None:
    logits, labels = _case()
    theirs = DiceCELoss(include_background=background, to_onehot_y=True, softmax=True, batch=True)
    loss, value = dice_and_cross_entropy(logits, labels, background=background)
    assert float(loss) == pytest.approx(float(theirs(logits, labels[:, None])), rel=1e-5)
    assert float(value) == pytest.approx(float(loss), rel=1e-6)


def test_a_perfect_answer_costs_nothing_and_none_at_all_costs_its_logarithm() -> None:
    _, labels = _case()
    sure = 50 * torch.nn.functional.one_hot(labels, 3).movedim(-1, 1).float()
    assert float(dice_and_cross_entropy(sure, labels)[0]) == pytest.approx(0, abs=1e-5)
    shares = torch.bincount(labels.flatten()) / labels.numel()
    expected = math.log(3) + float((1 - 2 * shares / 3 / (1 / 3 + shares)).mean())
    assert float(dice_and_cross_entropy(torch.zeros_like(sure), labels)[0]) == pytest.approx(expected, rel=1e-4)


def test_averaging_the_gradients_of_two_halves_gives_the_whole_batches() -> None:
    logits, labels = _case()
    whole = logits.clone().requires_grad_()
    loss, value = dice_and_cross_entropy(whole, labels, background=False)
    loss.backward()
    assert whole.grad is not None
    halves = [(logits[i::2].clone().requires_grad_(), labels[i::2]) for i in (0, 1)]
    # What the other process would add to each sum, found with a first pass.
    seen: list[list[torch.Tensor]] = []
    for half in halves:
        own: list[torch.Tensor] = []
        dice_and_cross_entropy(*half, background=False, world=2, total=lambda v, own=own: own.append(v) or v)
        seen.append(own)
    for number, half in enumerate(halves):
        others = iter(seen[1 - number])
        part, told = dice_and_cross_entropy(
            *half, background=False, world=2, total=lambda v, others=others: v + next(others)
        )
        assert float(told) == pytest.approx(float(value), rel=1e-5)
        part.backward()
        # Processes hold the same weights, so their gradients' mean is half of each one's share.
        assert half[0].grad is not None
        assert torch.allclose(half[0].grad / 2, whole.grad[number::2], atol=1e-8)


def test_coarser_outputs_count_half_as_much_each() -> None:
    logits, labels = _case()
    other = _case(1)[0]
    first, second = (float(dice_and_cross_entropy(one, labels)[0]) for one in (logits, other))
    loss, value = deep_loss([logits, other], labels, background=True)
    assert float(loss) == pytest.approx((first + second / 2) / 1.5, rel=1e-6)
    assert float(value) == pytest.approx(float(loss), rel=1e-6)


def test_half_precision_does_not_overflow() -> None:
    labels = torch.zeros(4, 256, 256, dtype=torch.long)
    loss, _ = dice_and_cross_entropy(torch.zeros(4, 2, 256, 256, dtype=torch.float16), labels)
    assert torch.isfinite(loss)
