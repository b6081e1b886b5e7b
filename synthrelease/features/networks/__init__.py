"""The RadImageNet networks, in their Keras and their PyTorch variants, and FID's, without torchvision.

Parameter names are ``body.<torchvision child>.<torchvision name>``, so that each published layout is
a renaming of these (see ``features/layouts.py``).
"""

from __future__ import annotations

from torch import nn

from synthrelease.errors import SettingsError


def build(architecture: str, *, keras: bool) -> nn.Module:
    """Return a network that maps (n, 3, h, w) to pooled features (n, d), with random weights.

    Args:
        architecture: ``resnet50`` or ``inceptionv3`` (d = 2,048), ``densenet121`` (d = 1,024), or ``inception-fid``
            (d = 2,048, and class probabilities beside the features), which has one variant.
        keras: The variant of keras.applications instead of torchvision's: they differ in biases,
            stride placement, epsilon and average pooling, though the shapes are compatible.
    """
    match architecture:
        case "resnet50":
            from synthrelease.features.networks.resnet50 import ResNet50

            return ResNet50(keras=keras)
        case "inceptionv3":
            from synthrelease.features.networks.inceptionv3 import InceptionV3

            return InceptionV3(keras=keras)
        case "densenet121":
            from synthrelease.features.networks.densenet121 import DenseNet121

            return DenseNet121(keras=keras)
        case "inception-fid":
            from synthrelease.features.networks.inception_fid import FidInception

            return FidInception()
    raise SettingsError(
        f"No network is called {architecture!r}.", "Use resnet50, inceptionv3, densenet121 or inception-fid."
    )
