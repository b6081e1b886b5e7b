"""RadImageNet features (Mei et al. 2022, Radiology: AI, 10.1148/ryai.210315) from the user's own weights file."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from synthrelease import store
from synthrelease.errors import WeightsError
from synthrelease.features.interface import ExtractorInfo, checked_features, checked_images
from synthrelease.features.layouts import TITLES, Layout, describe, layout_of, load_network
from synthrelease.features.on_device import OnDevice
from synthrelease.features.weight_files import read_weights

SIZE = 224  # pixels a side; all three networks were trained at it
BATCH = 32  # on a CPU
# Means of imagenet_utils.preprocess_input(mode="caffe"), blue, green, red, on 0..255.
CAFFE_MEANS = (103.939, 116.779, 123.68)


def open_network(architecture: str, path: Path) -> tuple[nn.Module, Layout]:
    """Return the network in ``path``, fully loaded, and the layout that the file is in.

    Raises:
        WeightsError: The file is something else (the message says what), incomplete, or damaged.
    """
    raw = read_weights(path)
    layout = layout_of(raw)
    if layout is None or layout.architecture != architecture:
        raise WeightsError(
            f"{path.name} looks like {describe(raw)}; expected RadImageNet {TITLES[architecture]} weights.",
            "Known forms: the Keras no-top .h5, its PyTorch port (.pth) and the PyTorch .pt with keys backbone.*; "
            "see `synthrelease weights list`.",
        )
    return load_network(raw, layout), layout


class RadImageNet:
    """Pooled features of one network: (n, c * 2048), or (n, c * 1024) for DenseNet121.

    Each contrast is embedded on its own, as grey in all three colour channels, and the c vectors are put
    side by side: pretrained colour filters have no meaning across contrasts.
    """

    def __init__(self, name: str, weights: Path) -> None:
        network, self.layout = open_network(name.removeprefix("radimagenet-"), weights)
        self.on = OnDevice(network, channels_last=True)
        scaling = "(255x-bgr means)/255" if self.layout.keras else "2x-1"
        self.info = ExtractorInfo(
            name=name,
            preprocessing=f"{self.layout.form}/grey to 3/bilinear {SIZE}/{scaling}/mean pool/contrasts side by side/1"
            + self.on.suffix,
            weights_sha256=store.sha256_of(weights),
            fitted_on="nothing",
            mirror_invariant=False,
        )

    def embed(self, images: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return features (n, c * d) of images (n, c, h, w) in [0, 1], float32 and finite."""
        images = checked_images(images)
        n, c = images.shape[:2]
        grey = torch.from_numpy(images.reshape(n * c, 1, *images.shape[2:]))
        return checked_features(self.pooled(grey).numpy().reshape(n, -1))

    def pooled(self, images: Tensor) -> Tensor:
        """Return features (n, d) of images (n, 1, h, w) or (n, 3, h, w) in [0, 1], both on the CPU."""
        return self.on.rows(images, lambda block: self.on(prepare(block, keras=self.layout.keras)), batch=BATCH)


def prepare(grey: Tensor, *, keras: bool) -> Tensor:
    """Return network input (n, 3, 224, 224) of images in [0, 1]: grey (n, 1, h, w), or three contrasts as colours.

    Keras: ``preprocess_input(mode="caffe")`` and then ``rescale=1/255``, blue first; PyTorch: the official
    example's (x - 127.5) * 2 / 255. Grey fills all three channels, so their order only matters to the means.
    """
    if grey.shape[-2:] != (SIZE, SIZE):
        grey = functional.interpolate(grey, (SIZE, SIZE), mode="bilinear", align_corners=False)
    if not keras:
        return (2 * grey - 1).expand(-1, 3, -1, -1)
    means = torch.tensor(CAFFE_MEANS, device=grey.device).view(1, 3, 1, 1)
    return grey - means / 255
