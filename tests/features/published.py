"""RadImageNet files in every published layout, with random weights, and what each network must answer.

An independent second implementation: plain functions that write every padding out and share no code with the
package. Evaluating a network here also draws its weights, under the names of the layout asked for.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass, field
from pathlib import Path

import h5py
import numpy as np
import torch
from torch import Tensor
from torch.nn import functional


@dataclass
class Weights:
    """Random weights drawn on first use; a second evaluation meets the same ones."""

    random: np.random.Generator
    layers: dict[str, dict[str, Tensor]] = field(default_factory=OrderedDict)

    def convolution(self, layer: str, shape: tuple[int, ...], bias: bool) -> dict[str, Tensor]:
        """Kernel (out, in, h, w) that keeps the signal's size, and a bias large enough to matter."""
        if layer not in self.layers:
            spread = np.sqrt(3 / np.prod(shape[1:]))
            own = {"weight": self._uniform(shape, -spread, spread)}
            if bias:
                own["bias"] = self._uniform(shape[:1], -1, 1)
            self.layers[layer] = own
        return self.layers[layer]

    def normalisation(self, layer: str, width: int, scale: bool) -> dict[str, Tensor]:
        """Statistics of a batch normalisation; some variances are so small that epsilon matters."""
        if layer not in self.layers:
            variance = self._uniform((width,), 0.5, 1.5)
            own = {"weight": self._uniform((width,), 0.5, 1.5)} if scale else {}
            if scale:  # scaled back, so that signals keep their size
                few = slice(None, None, max(width // 4, 1))
                variance[few] = 1e-5
                own["weight"][few] *= 4e-3
            own |= {"bias": self._uniform((width,), -0.5, 0.5), "running_mean": self._uniform((width,), -0.3, 0.3)}
            self.layers[layer] = {**own, "running_var": variance}
        return self.layers[layer]

    def _uniform(self, shape: tuple[int, ...], low: float, high: float) -> Tensor:
        return torch.from_numpy(self.random.random(shape, dtype=np.float32) * np.float32(high - low) + np.float32(low))


@dataclass
class Reference:
    """One network in one variant: how it computes, and what the layout calls its layers."""

    weights: Weights
    epsilon: float
    bias: bool = False
    scale: bool = True

    def conv(
        self, x: Tensor, layer: str, width: int, kernel: tuple[int, int], stride: int = 1, same: bool = True
    ) -> Tensor:
        own = self.weights.convolution(layer, (width, x.shape[1], *kernel), self.bias)
        if same:
            x = functional.pad(x, (kernel[1] // 2, kernel[1] // 2, kernel[0] // 2, kernel[0] // 2))
        return functional.conv2d(x, own["weight"], own.get("bias"), stride)

    def norm(self, x: Tensor, layer: str) -> Tensor:
        own = {k: v.view(1, -1, 1, 1) for k, v in self.weights.normalisation(layer, x.shape[1], self.scale).items()}
        x = (x - own["running_mean"]) / torch.sqrt(own["running_var"] + self.epsilon)
        return x * own.get("weight", 1.0) + own["bias"]


def resnet50(x: Tensor, weights: Weights, *, form: str, keras: bool, stride_first: bool | None = None) -> Tensor:
    """ResNet-50; Keras has biases, the stride on the first 1x1 and epsilon 1.001e-5."""
    net = Reference(weights, epsilon=1.001e-5 if keras else 1e-5, bias=keras)
    stride_first = keras if stride_first is None else stride_first

    def name(stage: int, block: int, step: int, kind: str) -> str:
        if form == "keras-h5":
            return f"conv{stage}_block{block}_{step}_{kind}"
        parent = f"layer{stage - 1}" if form == "keras-port" else f"backbone.{stage + 2}"
        child = f"downsample.{int(kind == 'bn')}" if step == 0 else f"{kind}{step}"
        return f"{parent}.{block - 1}.{child}"

    stem = {"keras-h5": ("conv1_conv", "conv1_bn"), "keras-port": ("conv1", "bn1")}
    first = stem.get(form, ("backbone.0", "backbone.1"))
    x = functional.relu(net.norm(net.conv(x, first[0], 64, (7, 7), 2), first[1]))
    x = functional.max_pool2d(functional.pad(x, (1, 1, 1, 1)), 3, 2)
    for stage, depth in zip((2, 3, 4, 5), (3, 4, 6, 3), strict=True):
        width = 32 * 2 ** (stage - 1)
        for block in range(1, depth + 1):
            stride = 2 if stage > 2 and block == 1 else 1
            strides = (stride, 1) if stride_first else (1, stride)
            y = net.conv(x, name(stage, block, 1, "conv"), width, (1, 1), strides[0])
            y = functional.relu(net.norm(y, name(stage, block, 1, "bn")))
            y = net.conv(y, name(stage, block, 2, "conv"), width, (3, 3), strides[1])
            y = functional.relu(net.norm(y, name(stage, block, 2, "bn")))
            y = net.norm(net.conv(y, name(stage, block, 3, "conv"), 4 * width, (1, 1)), name(stage, block, 3, "bn"))
            if block == 1:
                x = net.conv(x, name(stage, block, 0, "conv"), 4 * width, (1, 1), stride)
                x = net.norm(x, name(stage, block, 0, "bn"))
            x = functional.relu(x + y)
    return x.mean((2, 3))


def densenet121(x: Tensor, weights: Weights, *, form: str, keras: bool) -> Tensor:
    """DenseNet-121, with the ReLU after the last normalisation; Keras layer names hold slashes."""
    net = Reference(weights, epsilon=1.001e-5 if keras else 1e-5)
    h5 = form == "keras-h5"

    def name(keras_name: str, torch_name: str) -> str:
        return keras_name if h5 else f"backbone.0.{torch_name}"

    x = net.conv(x, name("conv1/conv", "conv0"), 64, (7, 7), 2)
    x = functional.relu(net.norm(x, name("conv1/bn", "norm0")))
    x = functional.max_pool2d(functional.pad(x, (1, 1, 1, 1)), 3, 2)
    for stage, depth in zip((2, 3, 4, 5), (6, 12, 24, 16), strict=True):
        for k in range(1, depth + 1):
            block, layer = f"conv{stage}_block{k}", f"denseblock{stage - 1}.denselayer{k}"
            y = functional.relu(net.norm(x, name(f"{block}_0_bn", f"{layer}.norm1")))
            y = net.conv(y, name(f"{block}_1_conv", f"{layer}.conv1"), 128, (1, 1))
            y = functional.relu(net.norm(y, name(f"{block}_1_bn", f"{layer}.norm2")))
            x = torch.cat([x, net.conv(y, name(f"{block}_2_conv", f"{layer}.conv2"), 32, (3, 3))], 1)
        if stage < 5:
            x = functional.relu(net.norm(x, name(f"pool{stage}_bn", f"transition{stage - 1}.norm")))
            x = net.conv(x, name(f"pool{stage}_conv", f"transition{stage - 1}.conv"), x.shape[1] // 2, (1, 1))
            x = functional.avg_pool2d(x, 2)
    return functional.relu(net.norm(x, name("bn", "norm5"))).mean((2, 3))


def inceptionv3(
    x: Tensor,
    weights: Weights,
    *,
    form: str,
    keras: bool,
    count_padding: bool | None = None,
    last_pool: str = "average",
) -> Tensor:
    """Inception-v3; Keras numbers its layers, has no scale and leaves padding out of average pools.

    FID's network has the scales, leaves padding out, and its last pool takes the maximum.
    """
    net = Reference(weights, epsilon=1e-3, scale=form != "keras-h5")
    count_padding = (not keras) if count_padding is None else count_padding
    prefix = {"pytorch": "backbone.", "keras-port-children": ""}.get(form, "")
    used = -1

    def unit(
        x: Tensor, torch_name: str, width: int, kernel: tuple[int, int] = (1, 1), stride: int = 1, same: bool = True
    ) -> Tensor:
        nonlocal used
        used += 1
        number = f"_{used}" if used else ""
        conv, norm = f"conv2d{number}", f"batch_normalization{number}"
        if form != "keras-h5":
            conv, norm = f"{prefix}{torch_name}.conv", f"{prefix}{torch_name}.bn"
        return functional.relu(net.norm(net.conv(x, conv, width, kernel, stride, same), norm))

    def average(x: Tensor) -> Tensor:
        total = 9 * functional.avg_pool2d(functional.pad(x, (1, 1, 1, 1)), 3, 1)
        inside = 9 * functional.avg_pool2d(functional.pad(torch.ones_like(x), (1, 1, 1, 1)), 3, 1)
        return total / 9 if count_padding else total / inside

    x = unit(x, "0", 32, (3, 3), 2, same=False)
    x = unit(x, "1", 32, (3, 3), same=False)
    x = functional.max_pool2d(unit(x, "2", 64, (3, 3)), 3, 2)
    x = unit(x, "4", 80)
    x = functional.max_pool2d(unit(x, "5", 192, (3, 3), same=False), 3, 2)
    for child, pooled in ((7, 32), (8, 64), (9, 64)):
        one = unit(x, f"{child}.branch1x1", 64)
        five = unit(unit(x, f"{child}.branch5x5_1", 48), f"{child}.branch5x5_2", 64, (5, 5))
        three = unit(unit(x, f"{child}.branch3x3dbl_1", 64), f"{child}.branch3x3dbl_2", 96, (3, 3))
        three = unit(three, f"{child}.branch3x3dbl_3", 96, (3, 3))
        x = torch.cat([one, five, three, unit(average(x), f"{child}.branch_pool", pooled)], 1)
    three = unit(x, "10.branch3x3", 384, (3, 3), 2, same=False)
    double = unit(unit(x, "10.branch3x3dbl_1", 64), "10.branch3x3dbl_2", 96, (3, 3))
    double = unit(double, "10.branch3x3dbl_3", 96, (3, 3), 2, same=False)
    x = torch.cat([three, double, functional.max_pool2d(x, 3, 2)], 1)
    for child, width in ((11, 128), (12, 160), (13, 160), (14, 192)):
        one = unit(x, f"{child}.branch1x1", 192)
        seven = unit(unit(x, f"{child}.branch7x7_1", width), f"{child}.branch7x7_2", width, (1, 7))
        seven = unit(seven, f"{child}.branch7x7_3", 192, (7, 1))
        double = unit(unit(x, f"{child}.branch7x7dbl_1", width), f"{child}.branch7x7dbl_2", width, (7, 1))
        double = unit(unit(double, f"{child}.branch7x7dbl_3", width, (1, 7)), f"{child}.branch7x7dbl_4", width, (7, 1))
        double = unit(double, f"{child}.branch7x7dbl_5", 192, (1, 7))
        x = torch.cat([one, seven, double, unit(average(x), f"{child}.branch_pool", 192)], 1)
    three = unit(unit(x, "15.branch3x3_1", 192), "15.branch3x3_2", 320, (3, 3), 2, same=False)
    seven = unit(unit(x, "15.branch7x7x3_1", 192), "15.branch7x7x3_2", 192, (1, 7))
    seven = unit(unit(seven, "15.branch7x7x3_3", 192, (7, 1)), "15.branch7x7x3_4", 192, (3, 3), 2, same=False)
    x = torch.cat([three, seven, functional.max_pool2d(x, 3, 2)], 1)
    for child in (16, 17):
        one = unit(x, f"{child}.branch1x1", 320)
        three = unit(x, f"{child}.branch3x3_1", 384)
        wide = [unit(three, f"{child}.branch3x3_2a", 384, (1, 3)), unit(three, f"{child}.branch3x3_2b", 384, (3, 1))]
        double = unit(unit(x, f"{child}.branch3x3dbl_1", 448), f"{child}.branch3x3dbl_2", 384, (3, 3))
        wide.append(unit(double, f"{child}.branch3x3dbl_3a", 384, (1, 3)))
        wide.append(unit(double, f"{child}.branch3x3dbl_3b", 384, (3, 1)))
        maximum = functional.max_pool2d(functional.pad(x, (1, 1, 1, 1), value=-torch.inf), 3, 1)
        pooled_maps = maximum if child == 17 and last_pool == "maximum" else average(x)
        x = torch.cat([one, *wide, unit(pooled_maps, f"{child}.branch_pool", 192)], 1)
    return x.mean((2, 3))


NETWORKS = {"resnet50": resnet50, "inceptionv3": inceptionv3, "densenet121": densenet121}


def prepared(grey: np.ndarray, *, keras: bool) -> Tensor:
    """Network input of grey images (n, 1, 224, 224) in [0, 1], from the authors' own lines on 0..255."""
    bytes_like = torch.from_numpy(grey.repeat(3, axis=1)).double() * 255
    if keras:
        means = torch.tensor([103.939, 116.779, 123.68], dtype=torch.float64).view(1, 3, 1, 1)
        return ((bytes_like - means) / 255).float()
    return ((bytes_like - 127.5) * 2 / 255).float()


def write_keras(path: Path, weights: Weights, *, whole_model: bool = True, first_number: int = 0) -> Path:
    """Write an h5 as Keras 2 does: layer/layer/leaf:0, kernels (h, w, in, out), empty groups for other layers."""
    leaves = {"bias": "beta", "weight": "gamma", "running_mean": "moving_mean", "running_var": "moving_variance"}
    with h5py.File(path, "w") as file:
        root = file
        if whole_model:
            file.attrs["backend"], file.attrs["keras_version"] = "tensorflow", "2.4.0"
            file.attrs["model_config"] = '{"class_name": "Functional"}'
            root = file.create_group("model_weights")
        root.create_group("activation_1")
        root.create_group("global_average_pooling2d")
        for layer, own in weights.layers.items():
            shown = layer if first_number == 0 else _renumbered(layer, first_number)
            convolution = own["weight"].ndim == 4 if "weight" in own else False
            for leaf, tensor in own.items():
                kind = {"weight": "kernel", "bias": "bias"}[leaf] if convolution else leaves[leaf]
                values = tensor.permute(2, 3, 1, 0) if tensor.ndim == 4 else tensor
                root[f"{shown}/{shown}/{kind}:0"] = values.numpy()
    return path


def _renumbered(layer: str, first: int) -> str:
    kind, _, number = layer.rpartition("_") if layer[-1].isdigit() and "_" in layer else (layer, "", "0")
    return f"{kind}_{int(number) + first}"


def state_dict(weights: Weights, *, counters: bool = True) -> OrderedDict[str, Tensor]:
    """Return PyTorch names; batch normalisations carry num_batches_tracked."""
    state: OrderedDict[str, Tensor] = OrderedDict()
    for layer, own in weights.layers.items():
        state.update({f"{layer}.{leaf}": tensor for leaf, tensor in own.items()})
        if counters and "running_var" in own:
            state[f"{layer}.num_batches_tracked"] = torch.tensor(7)
    return state
