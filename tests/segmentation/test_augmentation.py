"""What augmentation may do to an image, and that it is a function of its place alone."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch

from synthrelease import seeds
from synthrelease.segmentation.augmentation import AugmentSettings, augmented

OFF: dict[str, Any] = {f"{what}_chance": 0.0 for what in ("rotation", "scale", "noise", "blur", "coarse", "gamma")}


def _only(**on: Any) -> AugmentSettings:
    return AugmentSettings(**{**OFF, **on})


def _square(size: int = 64) -> tuple[torch.Tensor, torch.Tensor]:
    labels = torch.zeros(size, size, dtype=torch.uint8)
    labels[24:40, 28:36] = 2
    image = torch.stack([labels.float(), 3 * labels.float()]) + 0.01
    return image, labels


def _run(settings: AugmentSettings, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    return augmented(*_square(), settings, seeds.named(seed, "test"))


def test_with_every_chance_at_zero_nothing_changes() -> None:
    image, labels = _run(_only())
    assert torch.equal(image, _square()[0])
    assert torch.equal(labels, _square()[1])


def test_the_same_place_gives_the_same_image_and_another_place_another() -> None:
    first, again, other = (_run(AugmentSettings(), seed)[0] for seed in (4, 4, 5))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_rotation_turns_image_and_labels_alike_within_30_degrees() -> None:
    angles = []
    for seed in range(40):
        image, labels = _run(_only(rotation_chance=1.0), seed)
        assert set(labels.unique().tolist()) <= {0, 2}
        agree = ((image[0] > 1) == (labels > 0)).float().mean()
        assert agree > 0.97
        rows, columns = (part.float() for part in torch.nonzero(labels, as_tuple=True))
        spread = torch.cov(torch.stack([rows, columns]))
        angles.append(math.degrees(0.5 * math.atan2(2 * spread[0, 1], spread[0, 0] - spread[1, 1])))
    assert max(map(abs, angles)) <= 31
    assert max(angles) > 15
    assert min(angles) < -15


def test_scale_changes_rows_and_columns_apart_by_at_most_a_tenth() -> None:
    heights, widths = set(), set()
    for seed in range(40):
        _, labels = _run(_only(scale_chance=1.0), seed)
        rows, columns = torch.nonzero(labels, as_tuple=True)
        heights.add(int(rows.max() - rows.min()) + 1)
        widths.add(int(columns.max() - columns.min()) + 1)
    assert heights <= set(range(14, 19))
    assert len(heights) > 1
    assert widths <= set(range(6, 11))


@pytest.mark.parametrize("what", ["noise", "blur", "coarse", "gamma"])
def test_intensities_change_and_labels_do_not(what: str) -> None:
    found = [_run(_only(**{f"{what}_chance": 1.0}), seed) for seed in range(8)]
    assert any(not torch.equal(image, _square()[0]) for image, _ in found)
    assert all(torch.equal(labels, _square()[1]) for _, labels in found)
    assert all(image.shape == (2, 64, 64) and torch.isfinite(image).all() for image, _ in found)
    assert all(type(image) is torch.Tensor for image, _ in found)


def test_gamma_keeps_mean_and_spread() -> None:
    image, _ = _run(_only(gamma_chance=1.0), 3)
    for changed, plain in zip(image, _square()[0], strict=True):
        assert float(changed.mean()) == pytest.approx(float(plain.mean()), abs=1e-3)
        assert float(changed.std()) == pytest.approx(float(plain.std()), rel=1e-2)


def test_a_contrast_without_anything_on_it_stays_empty_under_gamma() -> None:
    image, _ = augmented(torch.zeros(1, 16, 16), _square(16)[1], _only(gamma_chance=1.0), seeds.named(0, "x"))
    assert image.abs().max() == 0
