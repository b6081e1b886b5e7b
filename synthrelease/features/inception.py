"""Inception features and class probabilities for FID and IS, from the user's own weights file.

Two published forms hold the same weights of 2015-12-05: a state dict (pytorch-fid, torch-fidelity) and a TorchScript
program (StyleGAN 2 ADA, clean-fid), which resizes by itself. "FID" means this network and no other.
"""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from synthrelease import store
from synthrelease.errors import AuditError, WeightsError
from synthrelease.features.interface import ExtractorInfo, checked_features, checked_images
from synthrelease.features.layouts import Layout, describe, layout_of, load_network
from synthrelease.features.networks.inception_fid import CLASSES, WIDTH
from synthrelease.features.torchscript import is_torchscript, read_torchscript
from synthrelease.features.weight_files import read_weights

NAME = "inception"
SIZE = 299  # pixels a side of the network's input
BATCH = 16
SCRIPT = Layout("torchscript", "inception-fid")
ROUTES = {
    "fid-state-dict": f"bytes/bilinear {SIZE} as TensorFlow 1 (x = i * w / {SIZE})/(x-128)/128/mean pool",
    "torchscript": "bytes/resized and scaled by the program",
}


class Route(Protocol):
    """Turns colour images (n, 3, h, w) in 0..255 into features (n, 2048) and probabilities (n, 1008)."""

    def __call__(self, colours: Tensor) -> tuple[Tensor, Tensor]:
        """Return both."""


def open_inception(path: Path) -> tuple[Route, Layout]:
    """Return how to run the network in ``path``, completely loaded, and the form that the file is in.

    Raises:
        WeightsError: The file is something else (the message says what), incomplete, or damaged.
    """
    if path.is_file() and is_torchscript(path):
        return _script_route(path), SCRIPT
    raw = read_weights(path)
    layout = layout_of(raw)
    if layout is None or layout.form != "fid-state-dict":
        raise WeightsError(
            f"{path.name} looks like {describe(raw)}; expected the Inception network of FID (1008 classes).",
            "Known files: pt_inception-2015-12-05-6726825d.pth and inception-2015-12-05.pt; see "
            "`synthrelease weights list`.",
        )
    network = load_network(raw, layout)
    return lambda colours: network(resized(colours)), layout


class Inception:
    """Pooled features and class probabilities of the FID network."""

    classes = CLASSES

    def __init__(self, weights: Path) -> None:
        self.route, self.layout = open_inception(weights)
        self.info = ExtractorInfo(
            name=NAME,
            preprocessing=f"{self.layout.form}/grey to 3/{ROUTES[self.layout.form]}/contrasts side by side/1",
            weights_sha256=store.sha256_of(weights),
            fitted_on="nothing",
            mirror_invariant=False,
        )

    def embed(self, images: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return features (n, c * 2048) of images (n, c, h, w) in [0, 1]: each contrast alone, as grey."""
        images = checked_images(images)
        n, c = images.shape[:2]
        grey = images.reshape(n * c, 1, *images.shape[2:])
        return checked_features(self.with_classes(np.repeat(grey, 3, axis=1))[0].reshape(n, -1))

    def with_classes(self, colours: NDArray[np.float32]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Return features (n, 2048) and probabilities (n, 1008) of colour images (n, 3, h, w) in [0, 1].

        Pixels are rounded to bytes first: the reference network was only ever given bytes.
        """
        colours = checked_images(colours)
        if colours.shape[1] != 3:
            raise AuditError(f"Colour images have 3 channels, these have {colours.shape[1]}.")
        pixels = torch.from_numpy(np.rint(255 * np.clip(colours, 0, 1)))
        with torch.inference_mode():
            parts = [self.route(block) for block in torch.split(pixels, BATCH)]
        features = torch.cat([part[0] for part in parts]).float().numpy()
        return checked_features(features), torch.cat([part[1] for part in parts]).float().numpy()


def resized(colours: Tensor) -> Tensor:
    """Return network input (n, 3, 299, 299) of images (n, 3, h, w) in 0..255, as the TensorFlow 1 graph resized them.

    Output pixel i is interpolated at i * w / 299: corners, not centres, are aligned at the upper left, and the last
    pixel is repeated beyond the edge.
    """
    for axis in (2, 3):
        length = colours.shape[axis]
        if length != SIZE:
            at = torch.arange(SIZE, dtype=torch.float32) * (length / SIZE)
            lower = at.floor().long().clamp(max=length - 1)
            upper = (lower + 1).clamp(max=length - 1)
            share = (at - lower).to(colours.dtype).view(-1, 1) if axis == 2 else (at - lower).to(colours.dtype)
            below, above = colours.index_select(axis, lower), colours.index_select(axis, upper)
            colours = below + (above - below) * share
    return (colours - 128) / 128


def _script_route(path: Path) -> Route:
    module = read_torchscript(path)
    tensors: dict[str, Tensor] = dict(nn.Module.state_dict(module))
    bad = [name for name, tensor in tensors.items() if not bool(torch.isfinite(tensor.float()).all())]
    if bad:
        raise WeightsError(f"{path.name}: {len(bad)} tensors hold values that are not finite.", "Fetch it again.")

    def route(colours: Tensor) -> tuple[Tensor, Tensor]:
        return module(colours, return_features=True), module(colours, no_output_bias=True)

    try:
        with torch.inference_mode():
            features, probabilities = route(torch.zeros(1, 3, SIZE, SIZE))
        fits = features.shape == (1, WIDTH) and probabilities.shape == (1, CLASSES)
        fits = fits and abs(float(probabilities.sum()) - 1) < 1e-3
    except (RuntimeError, TypeError, ValueError, AttributeError) as error:
        raise _unlike(path) from error
    if not fits:
        raise _unlike(path)
    return route


def _unlike(path: Path) -> WeightsError:
    return WeightsError(
        f"{path.name} is a TorchScript program, but it does not answer as inception-2015-12-05.pt does: "
        f"{WIDTH} features with return_features=True, {CLASSES} probabilities with no_output_bias=True.",
        "Give inception-2015-12-05.pt as published, or the state dict of pytorch-fid.",
    )
