"""The copy encoder: a small network that keeps what identifies an image and drops how a copy may be disguised.

It was trained on the procedural phantom cohort alone (`examples/train_copy_encoder.py` rebuilds the file), so it has
seen no patient. Self-supervised copy descriptors: Pizzi et al. 2022 (SSCD, arXiv 2202.10261).
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from synthrelease import store
from synthrelease.errors import WeightsError
from synthrelease.features.canonical import VERSION, canonical_frame
from synthrelease.features.interface import ExtractorInfo, FittedOn, checked_features, checked_images
from synthrelease.features.on_device import OnDevice
from synthrelease.features.weight_files import read_weights

SHIPPED = Path(__file__).with_name("copy_encoder.safetensors")
SHIPPED_SHA256 = "1d213d9f5ebb3a329ba6dca1bce17ee9a1bd9645c385040ac2e0f38bcbf6acfa"
FRAME = 64  # pixels a side of the canonical frame
WIDTH = 128  # features per contrast
BATCH = 256
CHANNELS = (24, 48, 96, 96, 128)


class EncoderNetwork(nn.Module):
    """Maps frames (n, 1, 64, 64) to (n, 128), not normalised.

    The last 4x4 map is flattened, not averaged: where something lies is what tells patients apart.
    """

    def __init__(self) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        width_in = 1
        for width, stride in zip(CHANNELS, (2, 2, 2, 1, 2), strict=True):
            layers += [
                nn.Conv2d(width_in, width, 3, stride, 1, bias=False),
                nn.BatchNorm2d(width),
                nn.ReLU(inplace=True),
            ]
            width_in = width
        self.convolutions = nn.Sequential(*layers)
        self.squeeze = nn.Conv2d(width_in, 40, 1)
        self.head = nn.Linear(40 * 16, WIDTH)

    def forward(self, frames: Tensor) -> Tensor:
        maps = functional.relu(self.squeeze(self.convolutions(frames)))
        features: Tensor = self.head(maps.flatten(1))
        return features


class CopyEncoder:
    """Unit vectors (n, 128 c) that are the same for an image and its mirror image.

    Each contrast is embedded on its own and the c unit vectors are put side by side, so that a dot product of two
    images is the mean similarity over contrasts: a difference in one contrast is not hidden by averaging vectors,
    and any number of contrasts works with one network.
    """

    def __init__(self, weights: Path | None = None, fitted_on: FittedOn = "nothing") -> None:
        """Load the shipped weights, or those of an encoder trained by `copy_encoder_training` (``fitted_on`` train)."""
        path = weights or SHIPPED
        sha256 = _checked_hash(path, None if weights else SHIPPED_SHA256)
        self.on = OnDevice(open_encoder(path))
        self.info = ExtractorInfo(
            name="copy-encoder",
            preprocessing=f"{VERSION}/{FRAME}px/mirror-averaged/contrasts side by side/1{self.on.suffix}",
            weights_sha256=sha256,
            fitted_on="train" if weights else fitted_on,
            mirror_invariant=True,
        )

    def embed(self, images: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return unit vectors (n, 128 c) of images (n, c, h, w) in [0, 1]."""
        images = checked_images(images)
        n, c = images.shape[:2]
        framed = canonical_frame(images, FRAME, device=self.on.device)
        frames = torch.from_numpy(framed.reshape(n * c, 1, FRAME, FRAME))
        rows = self.on.rows(frames, lambda block: embed_frames(self.on, block), batch=BATCH)
        features: NDArray[np.float32] = (rows / c**0.5).numpy().reshape(n, c * WIDTH)
        return checked_features(features)


def embed_frames(network: Callable[[Tensor], Tensor], frames: Tensor) -> Tensor:
    """Return unit vectors (n, 128) of frames (n, 1, 64, 64), averaged with those of their mirror images."""
    return functional.normalize(network(frames) + network(frames.flip(-1)))


def open_encoder(path: Path) -> EncoderNetwork:
    """Return the encoder whose weights (safetensors, half or single precision) are in ``path``."""
    raw = read_weights(path)
    network = EncoderNetwork()
    own = network.state_dict()
    wrong = {name for name in own.keys() | raw.tensors.keys() if _shape(own, name) != _shape(raw.tensors, name)}
    if wrong:
        raise WeightsError(
            f"{path.name} is not a copy encoder: {len(wrong)} tensors differ, first {min(wrong)}.",
            "Give a file written by `examples/train_copy_encoder.py`, or leave it out to use the shipped one.",
        )
    network.load_state_dict({name: tensor.to(own[name].dtype) for name, tensor in raw.tensors.items()})
    return network.eval().requires_grad_(False)


def _shape(tensors: dict[str, Tensor], name: str) -> tuple[int, ...] | None:
    return tuple(tensors[name].shape) if name in tensors else None


def _checked_hash(path: Path, expected: str | None) -> str:
    if not path.is_file():
        raise WeightsError(f"The copy encoder's weights are missing: {path}.", "Install synthrelease again.")
    sha256 = store.sha256_of(path)
    if expected is not None and sha256 != expected:
        raise WeightsError(
            f"The shipped copy encoder has SHA-256 {sha256}, expected {expected}.",
            "The installation is damaged or was changed: install synthrelease again.",
        )
    return sha256
