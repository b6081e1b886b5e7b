"""DenseNet-121 (Huang et al. 2017, arXiv 1608.06993) as keras.applications and as torchvision build it."""

from __future__ import annotations

from collections import OrderedDict

import torch
from torch import Tensor, nn
from torch.nn import functional

KERAS_EPSILON = 1.001e-5
TORCH_EPSILON = 1e-5
GROWTH = 32
DEPTHS = (6, 12, 24, 16)


class DenseLayer(nn.Module):
    """Appends 32 new maps to those that came in."""

    def __init__(self, width: int, epsilon: float) -> None:
        super().__init__()
        self.norm1 = nn.BatchNorm2d(width, epsilon)
        self.conv1 = nn.Conv2d(width, 4 * GROWTH, 1, bias=False)
        self.norm2 = nn.BatchNorm2d(4 * GROWTH, epsilon)
        self.conv2 = nn.Conv2d(4 * GROWTH, GROWTH, 3, padding=1, bias=False)

    def forward(self, maps: Tensor) -> Tensor:
        new = self.conv1(functional.relu(self.norm1(maps), inplace=True))
        new = self.conv2(functional.relu(self.norm2(new), inplace=True))
        return torch.cat([maps, new], 1)


def _block(width: int, depth: int, epsilon: float) -> nn.Module:
    layers = [(f"denselayer{k + 1}", DenseLayer(width + k * GROWTH, epsilon)) for k in range(depth)]
    return nn.Sequential(OrderedDict[str, nn.Module](layers))


def _transition(width: int, epsilon: float) -> nn.Module:
    steps: list[tuple[str, nn.Module]] = [
        ("norm", nn.BatchNorm2d(width, epsilon)),
        ("relu", nn.ReLU(inplace=True)),
        ("conv", nn.Conv2d(width, width // 2, 1, bias=False)),
        ("pool", nn.AvgPool2d(2, 2)),
    ]
    return nn.Sequential(OrderedDict(steps))


class DenseNet121(nn.Module):
    """Maps (n, 3, h, w) to the spatial mean after the last normalisation and ReLU, (n, 1024)."""

    def __init__(self, *, keras: bool) -> None:
        super().__init__()
        epsilon = KERAS_EPSILON if keras else TORCH_EPSILON
        steps: list[tuple[str, nn.Module]] = [
            ("conv0", nn.Conv2d(3, 64, 7, 2, padding=3, bias=False)),
            ("norm0", nn.BatchNorm2d(64, epsilon)),
            ("relu0", nn.ReLU(inplace=True)),
            ("pool0", nn.MaxPool2d(3, 2, padding=1)),
        ]
        width = 64
        for number, depth in enumerate(DEPTHS, 1):
            steps.append((f"denseblock{number}", _block(width, depth, epsilon)))
            width += depth * GROWTH
            if number < len(DEPTHS):
                steps.append((f"transition{number}", _transition(width, epsilon)))
                width //= 2
        steps.append(("norm5", nn.BatchNorm2d(width, epsilon)))
        self.body = nn.Sequential(OrderedDict(steps))

    def forward(self, images: Tensor) -> Tensor:
        # The PyTorch files end at norm5; the ReLU of torchvision's forward belongs to the features all the same.
        return functional.relu(self.body(images), inplace=True).mean((2, 3))
