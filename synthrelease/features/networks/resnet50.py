"""ResNet-50 (He et al. 2016, arXiv 1512.03385) as keras.applications and as torchvision build it."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional

KERAS_EPSILON = 1.001e-5
TORCH_EPSILON = 1e-5
DEPTHS = (3, 4, 6, 3)
WIDTHS = (64, 128, 256, 512)


class Bottleneck(nn.Module):
    """1x1, 3x3, 1x1 convolutions around a shortcut.

    Keras (v1) puts the stride on the first 1x1, torchvision (v1.5) on the 3x3; Keras convolutions have biases.
    """

    def __init__(self, width_in: int, width: int, stride: int, *, keras: bool) -> None:
        super().__init__()
        epsilon = KERAS_EPSILON if keras else TORCH_EPSILON
        first, second = (stride, 1) if keras else (1, stride)
        self.conv1 = nn.Conv2d(width_in, width, 1, first, bias=keras)
        self.bn1 = nn.BatchNorm2d(width, epsilon)
        self.conv2 = nn.Conv2d(width, width, 3, second, padding=1, bias=keras)
        self.bn2 = nn.BatchNorm2d(width, epsilon)
        self.conv3 = nn.Conv2d(width, 4 * width, 1, bias=keras)
        self.bn3 = nn.BatchNorm2d(4 * width, epsilon)
        self.downsample: nn.Module = nn.Identity()
        if stride != 1 or width_in != 4 * width:
            shortcut = nn.Conv2d(width_in, 4 * width, 1, stride, bias=keras)
            self.downsample = nn.Sequential(shortcut, nn.BatchNorm2d(4 * width, epsilon))

    def forward(self, images: Tensor) -> Tensor:
        residual = functional.relu(self.bn1(self.conv1(images)), inplace=True)
        residual = functional.relu(self.bn2(self.conv2(residual)), inplace=True)
        residual = self.bn3(self.conv3(residual))
        return functional.relu(residual + self.downsample(images), inplace=True)


class ResNet50(nn.Module):
    """Maps (n, 3, h, w) to the spatial mean of the last feature map, (n, 2048)."""

    def __init__(self, *, keras: bool) -> None:
        super().__init__()
        epsilon = KERAS_EPSILON if keras else TORCH_EPSILON
        stages: list[nn.Module] = []
        width_in = 64
        for number, (depth, width) in enumerate(zip(DEPTHS, WIDTHS, strict=True)):
            blocks: list[nn.Module] = []
            for block in range(depth):
                stride = 2 if number > 0 and block == 0 else 1
                blocks.append(Bottleneck(width_in, width, stride, keras=keras))
                width_in = 4 * width
            stages.append(nn.Sequential(*blocks))
        self.body = nn.Sequential(
            nn.Conv2d(3, 64, 7, 2, padding=3, bias=keras),
            nn.BatchNorm2d(64, epsilon),
            nn.ReLU(inplace=True),
            # Keras pads with zeros, torch with -inf: the same after a ReLU.
            nn.MaxPool2d(3, 2, padding=1),
            *stages,
        )

    def forward(self, images: Tensor) -> Tensor:
        maps: Tensor = self.body(images)
        return maps.mean((2, 3))
