"""Inception-v3 (Szegedy et al. 2016, arXiv 1512.00567) as keras.applications and as torchvision build it.

Layers are defined in the order in which Keras creates them: its files number them in that order.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

Kernel = int | tuple[int, int]
EPSILON = 1e-3


class Unit(nn.Module):
    """Convolution without bias, batch normalisation, ReLU.

    Keras trains no scale here (``scale=False``): its files are loaded with a scale of 1.
    """

    def __init__(self, width_in: int, width: int, kernel: Kernel, stride: int = 1, padding: Kernel = 0) -> None:
        super().__init__()
        self.conv = nn.Conv2d(width_in, width, kernel, stride, padding, bias=False)
        self.bn = nn.BatchNorm2d(width, EPSILON)

    def forward(self, maps: Tensor) -> Tensor:
        return functional.relu(self.bn(self.conv(maps)), inplace=True)


def _average_pool(keras: bool) -> nn.Module:
    # Keras 'same' pooling divides by the pixels inside the image, torchvision's always by nine.
    return nn.AvgPool2d(3, 1, padding=1, count_include_pad=not keras)


class MixedA(nn.Module):
    """35x35 grid: 1x1, 5x5, double 3x3 and pooled branches."""

    def __init__(self, width_in: int, pooled: int, *, keras: bool) -> None:
        super().__init__()
        self.branch1x1 = Unit(width_in, 64, 1)
        self.branch5x5_1 = Unit(width_in, 48, 1)
        self.branch5x5_2 = Unit(48, 64, 5, padding=2)
        self.branch3x3dbl_1 = Unit(width_in, 64, 1)
        self.branch3x3dbl_2 = Unit(64, 96, 3, padding=1)
        self.branch3x3dbl_3 = Unit(96, 96, 3, padding=1)
        self.branch_pool = Unit(width_in, pooled, 1)
        self.pool = _average_pool(keras)

    def forward(self, maps: Tensor) -> Tensor:
        five = self.branch5x5_2(self.branch5x5_1(maps))
        double = self.branch3x3dbl_3(self.branch3x3dbl_2(self.branch3x3dbl_1(maps)))
        return torch.cat([self.branch1x1(maps), five, double, self.branch_pool(self.pool(maps))], 1)


class MixedB(nn.Module):
    """35x35 to 17x17."""

    def __init__(self, width_in: int) -> None:
        super().__init__()
        self.branch3x3 = Unit(width_in, 384, 3, 2)
        self.branch3x3dbl_1 = Unit(width_in, 64, 1)
        self.branch3x3dbl_2 = Unit(64, 96, 3, padding=1)
        self.branch3x3dbl_3 = Unit(96, 96, 3, 2)
        self.pool = nn.MaxPool2d(3, 2)

    def forward(self, maps: Tensor) -> Tensor:
        double = self.branch3x3dbl_3(self.branch3x3dbl_2(self.branch3x3dbl_1(maps)))
        return torch.cat([self.branch3x3(maps), double, self.pool(maps)], 1)


class MixedC(nn.Module):
    """17x17 grid: factorised 7x7 branches."""

    def __init__(self, width: int, *, keras: bool) -> None:
        super().__init__()
        row: tuple[Kernel, Kernel] = ((1, 7), (0, 3))
        column: tuple[Kernel, Kernel] = ((7, 1), (3, 0))
        self.branch1x1 = Unit(768, 192, 1)
        self.branch7x7_1 = Unit(768, width, 1)
        self.branch7x7_2 = Unit(width, width, row[0], padding=row[1])
        self.branch7x7_3 = Unit(width, 192, column[0], padding=column[1])
        self.branch7x7dbl_1 = Unit(768, width, 1)
        self.branch7x7dbl_2 = Unit(width, width, column[0], padding=column[1])
        self.branch7x7dbl_3 = Unit(width, width, row[0], padding=row[1])
        self.branch7x7dbl_4 = Unit(width, width, column[0], padding=column[1])
        self.branch7x7dbl_5 = Unit(width, 192, row[0], padding=row[1])
        self.branch_pool = Unit(768, 192, 1)
        self.pool = _average_pool(keras)

    def forward(self, maps: Tensor) -> Tensor:
        seven = self.branch7x7_3(self.branch7x7_2(self.branch7x7_1(maps)))
        double = self.branch7x7dbl_3(self.branch7x7dbl_2(self.branch7x7dbl_1(maps)))
        double = self.branch7x7dbl_5(self.branch7x7dbl_4(double))
        return torch.cat([self.branch1x1(maps), seven, double, self.branch_pool(self.pool(maps))], 1)


class MixedD(nn.Module):
    """17x17 to 8x8."""

    def __init__(self) -> None:
        super().__init__()
        self.branch3x3_1 = Unit(768, 192, 1)
        self.branch3x3_2 = Unit(192, 320, 3, 2)
        self.branch7x7x3_1 = Unit(768, 192, 1)
        self.branch7x7x3_2 = Unit(192, 192, (1, 7), padding=(0, 3))
        self.branch7x7x3_3 = Unit(192, 192, (7, 1), padding=(3, 0))
        self.branch7x7x3_4 = Unit(192, 192, 3, 2)
        self.pool = nn.MaxPool2d(3, 2)

    def forward(self, maps: Tensor) -> Tensor:
        three = self.branch3x3_2(self.branch3x3_1(maps))
        seven = self.branch7x7x3_4(self.branch7x7x3_3(self.branch7x7x3_2(self.branch7x7x3_1(maps))))
        return torch.cat([three, seven, self.pool(maps)], 1)


class MixedE(nn.Module):
    """8x8 grid: expanded 3x3 branches."""

    def __init__(self, width_in: int, *, keras: bool) -> None:
        super().__init__()
        self.branch1x1 = Unit(width_in, 320, 1)
        self.branch3x3_1 = Unit(width_in, 384, 1)
        self.branch3x3_2a = Unit(384, 384, (1, 3), padding=(0, 1))
        self.branch3x3_2b = Unit(384, 384, (3, 1), padding=(1, 0))
        self.branch3x3dbl_1 = Unit(width_in, 448, 1)
        self.branch3x3dbl_2 = Unit(448, 384, 3, padding=1)
        self.branch3x3dbl_3a = Unit(384, 384, (1, 3), padding=(0, 1))
        self.branch3x3dbl_3b = Unit(384, 384, (3, 1), padding=(1, 0))
        self.branch_pool = Unit(width_in, 192, 1)
        self.pool = _average_pool(keras)

    def forward(self, maps: Tensor) -> Tensor:
        three = self.branch3x3_1(maps)
        double = self.branch3x3dbl_2(self.branch3x3dbl_1(maps))
        branches = [
            self.branch1x1(maps),
            self.branch3x3_2a(three),
            self.branch3x3_2b(three),
            self.branch3x3dbl_3a(double),
            self.branch3x3dbl_3b(double),
            self.branch_pool(self.pool(maps)),
        ]
        return torch.cat(branches, 1)


class InceptionV3(nn.Module):
    """Maps (n, 3, h, w), h and w at least 75, to the spatial mean of the last feature map, (n, 2048)."""

    def __init__(self, *, keras: bool) -> None:
        super().__init__()
        self.body = nn.Sequential(
            Unit(3, 32, 3, 2),
            Unit(32, 32, 3),
            Unit(32, 64, 3, padding=1),
            nn.MaxPool2d(3, 2),
            Unit(64, 80, 1),
            Unit(80, 192, 3),
            nn.MaxPool2d(3, 2),
            MixedA(192, 32, keras=keras),
            MixedA(256, 64, keras=keras),
            MixedA(288, 64, keras=keras),
            MixedB(288),
            MixedC(128, keras=keras),
            MixedC(160, keras=keras),
            MixedC(160, keras=keras),
            MixedC(192, keras=keras),
            MixedD(),
            MixedE(1280, keras=keras),
            MixedE(2048, keras=keras),
        )

    def forward(self, images: Tensor) -> Tensor:
        maps: Tensor = self.body(images)
        return maps.mean((2, 3))
