"""The Inception network of the Frechet inception distance (Heusel et al. 2017), with its head of 1,008 classes.

The weights of 2015 were trained in TensorFlow. Against torchvision's Inception-v3 its graph leaves padding out of every
average pool, and the pool of its last block takes the maximum.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from synthrelease.features.networks.inceptionv3 import InceptionV3, MixedE

CLASSES = 1008  # 1,000 of ImageNet and the unused places of the graph
WIDTH = 2048
CHILDREN = {  # place in `body`: name in the published state dict
    **{0: "Conv2d_1a_3x3", 1: "Conv2d_2a_3x3", 2: "Conv2d_2b_3x3", 4: "Conv2d_3b_1x1", 5: "Conv2d_4a_3x3"},
    **{7: "Mixed_5b", 8: "Mixed_5c", 9: "Mixed_5d"},
    **{10: "Mixed_6a", 11: "Mixed_6b", 12: "Mixed_6c", 13: "Mixed_6d", 14: "Mixed_6e"},
    **{15: "Mixed_7a", 16: "Mixed_7b", 17: "Mixed_7c"},
}


class FidInception(nn.Module):
    """Maps (n, 3, 299, 299) in [-1, 1] to pooled features (n, 2048) and class probabilities (n, 1008)."""

    def __init__(self) -> None:
        super().__init__()
        self.body = InceptionV3(keras=True).body  # its average pools leave padding out, as here
        last = self.body[17]
        assert isinstance(last, MixedE)
        last.pool = nn.MaxPool2d(3, 1, padding=1)
        self.fc = nn.Linear(WIDTH, CLASSES)

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Return features, and probabilities without the head's bias, which the score's original leaves out."""
        maps: Tensor = self.body(images)
        features = maps.mean((2, 3))
        return features, torch.softmax(features @ self.fc.weight.T, dim=1)
