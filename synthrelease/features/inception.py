"""Inception features and class probabilities for FID and IS, from the user's own weights file.

Two published forms hold the same weights of 2015-12-05: a state dict (pytorch-fid, torch-fidelity) and a TorchScript
program (StyleGAN 2 ADA, clean-fid), which resizes by itself. "FID" means this network and no other.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from synthrelease import store
from synthrelease.errors import AuditError, WeightsError
from synthrelease.features.interface import ExtractorInfo, checked_features, checked_images
from synthrelease.features.layouts import Layout, describe, layout_of, load_network
from synthrelease.features.networks.inception_fid import CLASSES, WIDTH
from synthrelease.features.on_device import OnDevice
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


class FromColours(nn.Module):
    """The state dict's network: colour images (n, 3, h, w) in 0..255 to features and probabilities (n, 2048 + 1008)."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, colours: Tensor) -> Tensor:
        return torch.cat(self.network(resized(colours)), 1)


class Program(nn.Module):
    """The TorchScript program: it answers as `FromColours` does."""

    def __init__(self, module: Any) -> None:
        super().__init__()
        self.module = module

    def forward(self, colours: Tensor) -> Tensor:
        return torch.cat([self.module(colours, return_features=True), self.module(colours, no_output_bias=True)], 1)


def open_inception(path: Path) -> tuple[FromColours | Program, Layout]:
    """Return the network in ``path``, completely loaded, and the form that the file is in.

    Raises:
        WeightsError: The file is something else (the message says what), incomplete, or damaged.
    """
    if path.is_file() and is_torchscript(path):
        return _program(path), SCRIPT
    raw = read_weights(path)
    layout = layout_of(raw)
    if layout is None or layout.form != "fid-state-dict":
        raise WeightsError(
            f"{path.name} looks like {describe(raw)}; expected the Inception network of FID (1008 classes).",
            "Known files: pt_inception-2015-12-05-6726825d.pth and inception-2015-12-05.pt; see "
            "`synthrelease weights list`.",
        )
    return FromColours(load_network(raw, layout)), layout


class Inception:
    """Pooled features and class probabilities of the FID network."""

    classes = CLASSES

    def __init__(self, weights: Path) -> None:
        network, self.layout = open_inception(weights)
        # Always in full precision: FID is compared across papers. A program keeps its own memory format.
        layout = None if isinstance(network, FromColours) else False
        self.on = OnDevice(network, channels_last=layout, precision="full")
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
        rows = self.on.rows(
            torch.from_numpy(colours), lambda block: self.on((255 * block.clamp(0, 1)).round()), batch=BATCH
        ).numpy()
        return checked_features(np.ascontiguousarray(rows[:, :WIDTH])), np.ascontiguousarray(rows[:, WIDTH:])


def resized(colours: Tensor) -> Tensor:
    """Return network input (n, 3, 299, 299) of images (n, 3, h, w) in 0..255, as the TensorFlow 1 graph resized them.

    Output pixel i is interpolated at i * w / 299: corners, not centres, are aligned at the upper left, and the last
    pixel is repeated beyond the edge.
    """
    for axis in (2, 3):
        length = colours.shape[axis]
        if length != SIZE:
            at = torch.arange(SIZE, dtype=torch.float32, device=colours.device) * (length / SIZE)
            lower = at.floor().long().clamp(max=length - 1)
            upper = (lower + 1).clamp(max=length - 1)
            share = (at - lower).to(colours.dtype).view(-1, 1) if axis == 2 else (at - lower).to(colours.dtype)
            below, above = colours.index_select(axis, lower), colours.index_select(axis, upper)
            colours = below + (above - below) * share
    return (colours - 128) / 128


def _program(path: Path) -> Program:
    module = read_torchscript(path)
    tensors: dict[str, Tensor] = dict(nn.Module.state_dict(module))
    bad = [name for name, tensor in tensors.items() if not bool(torch.isfinite(tensor.float()).all())]
    if bad:
        raise WeightsError(f"{path.name}: {len(bad)} tensors hold values that are not finite.", "Fetch it again.")
    black = torch.zeros(1, 3, SIZE, SIZE)
    try:
        with torch.inference_mode():
            features, probabilities = module(black, return_features=True), module(black, no_output_bias=True)
        fits = features.shape == (1, WIDTH) and probabilities.shape == (1, CLASSES)
        fits = fits and abs(float(probabilities.sum()) - 1) < 1e-3
    except (RuntimeError, TypeError, ValueError, AttributeError) as error:
        raise _unlike(path) from error
    if not fits:
        raise _unlike(path)
    return Program(module)


def _unlike(path: Path) -> WeightsError:
    return WeightsError(
        f"{path.name} is a TorchScript program, but it does not answer as inception-2015-12-05.pt does: "
        f"{WIDTH} features with return_features=True, {CLASSES} probabilities with no_output_bias=True.",
        "Give inception-2015-12-05.pt as published, or the state dict of pytorch-fid.",
    )
