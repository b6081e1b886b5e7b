"""Published layouts of RadImageNet and FID weights: which one a file is in, and what its network calls its tensors.

Three families are incompatible though their shapes agree: weights of keras.applications (h5, and its PyTorch
port), weights trained in PyTorch, and everything else. They are told apart by their tensors' names alone.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

import torch
from torch import nn

from synthrelease.errors import WeightsError
from synthrelease.features import networks
from synthrelease.features.networks.inception_fid import CHILDREN
from synthrelease.features.networks.inception_fid import CLASSES as FID_CLASSES
from synthrelease.features.weight_files import OPTIONAL, RawWeights

Form = Literal["keras-h5", "keras-port", "pytorch", "keras-port-children", "fid-state-dict", "torchscript"]
TITLES = {"resnet50": "ResNet50", "inceptionv3": "InceptionV3", "densenet121": "DenseNet121"}
KERAS_LEAVES = {"weight": "gamma", "bias": "beta", "running_mean": "moving_mean", "running_var": "moving_variance"}


@dataclass(frozen=True)
class Layout:
    """One published form of one network."""

    form: Form
    architecture: str

    @property
    def keras(self) -> bool:
        """The weights were trained in Keras, whatever the file type."""
        return self.form != "pytorch"

    @property
    def title(self) -> str:
        """The layout in words."""
        if self.architecture == "inception-fid":
            return "Inception network of FID"
        kind = {
            "keras-h5": "Keras h5",
            "keras-port": "PyTorch port of the Keras weights",
            "keras-port-children": "PyTorch port of the Keras weights, numbered children",
            "pytorch": "PyTorch, keys backbone.*",
        }
        return f"RadImageNet {TITLES[self.architecture]} ({kind[self.form]})"


def layout_of(raw: RawWeights) -> Layout | None:
    """Return the published layout that a file is in, or None."""
    names = raw.tensors.keys()
    if raw.container == "keras":
        return _keras_layout(set(names))
    for architecture, mark in (
        ("densenet121", "backbone.0.conv0.weight"),
        ("inceptionv3", "backbone.0.conv.weight"),
        ("resnet50", "backbone.4.0.conv1.weight"),
    ):
        if mark in names:
            return Layout("pytorch", architecture)
    if "Mixed_7c.branch1x1.conv.weight" in names and len(raw.tensors.get("fc.weight", ())) == FID_CLASSES:
        return Layout("fid-state-dict", "inception-fid")
    if "conv1.bias" in names and "layer1.0.conv1.bias" in names:
        return Layout("keras-port", "resnet50")
    if "0.conv.weight" in names and "17.branch1x1.conv.weight" in names and _scales_are_one(raw):
        return Layout("keras-port-children", "inceptionv3")
    return None


def _keras_layout(names: set[str]) -> Layout | None:
    if "conv1_conv/kernel" in names:
        return Layout("keras-h5", "resnet50")
    if "conv1/conv/kernel" in names:
        return Layout("keras-h5", "densenet121")
    numbered = [name for name in names if re.fullmatch(r"conv2d(_\d+)?/kernel", name)]
    if numbered and not any(
        name.startswith(("block35_", "block8_", "conv_7b", "dense", "predictions")) for name in names
    ):
        return Layout("keras-h5", "inceptionv3")
    return None


def _scales_are_one(raw: RawWeights) -> bool:
    """Keras' InceptionV3 trains no scale, so a port of it holds ones: that tells it from a PyTorch training."""
    return all(bool((tensor == 1).all()) for name, tensor in raw.tensors.items() if name.endswith("bn.weight"))


def describe(raw: RawWeights) -> str:
    """Say in words what a file seems to be, for an error message."""
    layout = layout_of(raw)
    if layout is not None:
        article = "the" if layout.form == "fid-state-dict" else "a"
        return f"{article} {layout.title}" + ("" if article == "the" else " file")
    names = raw.tensors
    head = names.get("fc.weight")
    classes = "" if head is None else f" with a head of {len(head)} classes"
    if any(name.startswith(("block35_", "conv_7b")) for name in names):
        return "a RadImageNet Inception-ResNet-v2 (Keras) file, which is not supported"
    if "Mixed_7c.branch1x1.conv.weight" in names:
        return f"a torchvision Inception-v3{classes}"
    if "layer4.2.conv3.weight" in names:
        return (
            f"an ImageNet ResNet-50{classes}"
            if head is not None
            else "a torchvision ResNet-50 without RadImageNet's names"
        )
    if "features.denseblock4.denselayer16.conv2.weight" in names:
        return "a torchvision DenseNet-121 (ImageNet names)"
    if "layer1.0.conv1.weight" in names:
        return f"another ResNet (not 50 layers){classes}"
    if "head.weight" in names and "squeeze.weight" in names:
        return "a synthrelease copy encoder"
    first = ", ".join(sorted(names)[:3]) or "nothing"
    return f"an unknown table of {len(names)} tensors ({first}, ...)"


def load_network(raw: RawWeights, layout: Layout) -> nn.Module:
    """Return the network of ``layout`` with every tensor of the file in its place.

    Raises:
        WeightsError: A tensor is missing, left over, or has another shape; a partial load never happens.
    """
    network = networks.build(layout.architecture, keras=layout.keras)
    state = network.state_dict()
    tensors = _ranked(raw.tensors) if layout == Layout("keras-h5", "inceptionv3") else raw.tensors
    places = _places(layout, network)
    missing = [name for name, own in places.items() if name not in tensors and not own.endswith(OPTIONAL)]
    unexpected = [name for name in tensors if name not in places]
    shapes = [
        f"{name} is {tuple(tensors[name].shape)}, expected {tuple(state[own].shape)}"
        for name, own in places.items()
        if name in tensors and tensors[name].shape != state[own].shape
    ]
    if missing or unexpected or shapes:
        problems = [_listed("missing", missing), _listed("unexpected", unexpected), _listed("wrong shapes", shapes)]
        raise WeightsError(
            f"{raw.path.name} looks like a {layout.title} file but does not match it: "
            f"{'; '.join(filter(None, problems))}.",
            f"Give the file as published{_head_advice(layout)} and complete; nothing is loaded in part.",
        )
    state.update({own: tensors[name].to(state[own].dtype) for name, own in places.items() if name in tensors})
    network.load_state_dict(state, strict=True)
    return network.eval().requires_grad_(False)


def _head_advice(layout: Layout) -> str:
    return ", with its head," if layout.form == "fid-state-dict" else ", without a head"


def _listed(title: str, names: list[str]) -> str:
    shown = ", ".join(names[:4]) + (", ..." if len(names) > 4 else "")
    return f"{len(names)} {title} ({shown})" if names else ""


def _places(layout: Layout, network: nn.Module) -> dict[str, str]:
    """Return {name in the file: name in the network} for every tensor that the file must hold."""
    own_names = list(network.state_dict())
    match layout.form:
        case "pytorch":
            # The published DenseNet is wrapped once more: its features are the only child.
            prefix = "backbone.0." if layout.architecture == "densenet121" else "backbone."
            return {prefix + own.removeprefix("body."): own for own in own_names}
        case "keras-port-children":
            return {own.removeprefix("body."): own for own in own_names}
        case "fid-state-dict":
            return {_inception_name(own): own for own in own_names}
        case "keras-port":
            return {_resnet_name(own): own for own in own_names}
        case "keras-h5":
            convolutions = {name for name, module in network.named_modules() if isinstance(module, nn.Conv2d)}
            keras_names = _keras_layers(layout.architecture, network)
            places = {}
            for own in own_names:
                layer, leaf = own.rsplit(".", 1)
                no_scale = layout.architecture == "inceptionv3" and layer.endswith("bn") and leaf == "weight"
                if leaf == OPTIONAL or no_scale:  # where Keras has no scale, the network's own 1 stays
                    continue
                kind = {"weight": "kernel", "bias": "bias"} if layer in convolutions else KERAS_LEAVES
                places[f"{keras_names[layer]}/{kind[leaf]}"] = own
            return places
    raise AssertionError(layout.form)  # a program brings its own names


def _inception_name(own: str) -> str:
    if own.startswith("fc."):
        return own
    child, rest = re.fullmatch(r"body\.(\d+)\.(.+)", own).groups()  # type: ignore[union-attr]
    return f"{CHILDREN[int(child)]}.{rest}"


def _resnet_name(own: str) -> str:
    child, rest = re.fullmatch(r"body\.(\d+)\.(.+)", own).groups()  # type: ignore[union-attr]
    return {"0": "conv1.", "1": "bn1."}.get(child, f"layer{int(child) - 3}.") + rest


def _keras_layers(architecture: str, network: nn.Module) -> dict[str, str]:
    """Return {layer of the network: layer in Keras} for convolutions and normalisations."""
    layers = [name for name, m in network.named_modules() if isinstance(m, nn.Conv2d | nn.BatchNorm2d)]
    match architecture:
        case "resnet50":
            return {layer: _keras_resnet_layer(layer) for layer in layers}
        case "densenet121":
            return {layer: _keras_densenet_layer(layer) for layer in layers}
    convolutions = [layer for layer in layers if layer.endswith("conv")]
    numbered = {layer: f"conv2d#{rank}" for rank, layer in enumerate(convolutions)}
    numbered.update({layer[:-4] + "bn": f"batch_normalization#{rank}" for rank, layer in enumerate(convolutions)})
    return numbered


def _keras_resnet_layer(layer: str) -> str:
    parts = layer.split(".")
    if len(parts) == 2:
        return {"0": "conv1_conv", "1": "conv1_bn"}[parts[1]]
    block = f"conv{int(parts[1]) - 2}_block{int(parts[2]) + 1}"
    if parts[3] == "downsample":
        return f"{block}_0_{'conv' if parts[4] == '0' else 'bn'}"
    return f"{block}_{parts[3][-1]}_{parts[3][:-1]}"


def _keras_densenet_layer(layer: str) -> str:
    parts = layer.split(".")[1:]
    if len(parts) == 1:
        return {"conv0": "conv1/conv", "norm0": "conv1/bn", "norm5": "bn"}[parts[0]]
    stage = int(parts[0][-1]) + 1  # Keras counts the first convolution as stage 1
    if parts[0].startswith("transition"):
        return f"pool{stage}_{'bn' if parts[1] == 'norm' else 'conv'}"
    number = parts[1].removeprefix("denselayer")
    suffix = {"norm1": "0_bn", "conv1": "1_conv", "norm2": "1_bn", "conv2": "2_conv"}[parts[2]]
    return f"conv{stage}_block{number}_{suffix}"


def _ranked(tensors: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Number Keras' automatic names by rank: a second model in one session starts its count at 94, not 0."""
    layers = {name.rsplit("/", 1)[0] for name in tensors}
    ranks: dict[str, str] = {}
    for kind in ("conv2d", "batch_normalization"):
        own = [layer for layer in layers if re.fullmatch(rf"{kind}(_\d+)?", layer)]
        own.sort(key=lambda layer, kind=kind: int(layer.removeprefix(kind).removeprefix("_") or 0))  # type: ignore[misc]
        ranks.update({layer: f"{kind}#{rank}" for rank, layer in enumerate(own)})
    return {
        f"{ranks.get(name.rsplit('/', 1)[0], name.rsplit('/', 1)[0])}/{name.rsplit('/', 1)[-1]}": tensor
        for name, tensor in tensors.items()
    }
