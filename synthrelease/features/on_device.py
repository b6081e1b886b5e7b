"""A network on its device: a GPU where there is one, in the memory format, precision and batches that suit it."""

from __future__ import annotations

import contextlib
import copy
import os
import threading
from collections.abc import Callable, Iterator
from typing import Any, Literal, cast, get_args

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from synthrelease.errors import AuditError, SettingsError

Precision = Literal["full", "bf16", "fp16"]
PRECISION = "SYNTHRELEASE_EMBEDDING_PRECISION"  # environment: how networks are run that allow fewer bits
GPU_BATCH = 128  # images at once on a GPU; the largest maps of ResNet-50 then take 0.4 GB each


def embedding_precision() -> Precision:
    """Return the precision that the environment asks for; full, 32 bits throughout, where it asks for nothing.

    Raises:
        SettingsError: The variable holds something else.
    """
    asked = os.environ.get(PRECISION, "").strip() or "full"
    if asked not in get_args(Precision):
        raise SettingsError(
            f"{PRECISION} is {asked!r}, which is no precision.",
            f"Allowed are {', '.join(get_args(Precision))}; full is meant where it is not set.",
        )
    return cast(Precision, asked)


def choose_device() -> torch.device:
    """Return the GPU where there is one, else the CPU."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


class _Tf32:
    """torch's switch for convolutions, which is one for all threads: the first in turns it off, the last out back."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._inside = 0
        self._before: object = None

    def _place(self) -> tuple[Any, str, object]:
        cudnn: Any = torch.backends.cudnn
        if hasattr(cudnn, "conv"):  # since torch 2.9, where the old switch may not be read once this one was used
            return cudnn.conv, "fp32_precision", "ieee"
        return cudnn, "allow_tf32", False

    def enter(self) -> None:
        with self._lock:
            if self._inside == 0:
                place, name, off = self._place()
                self._before = getattr(place, name)
                setattr(place, name, off)
            self._inside += 1

    def leave(self) -> None:
        with self._lock:
            self._inside -= 1
            if self._inside == 0:
                place, name, _ = self._place()
                setattr(place, name, self._before)


_TF32 = _Tf32()


@contextlib.contextmanager
def without_tf32() -> Iterator[None]:
    """Keep convolutions on a GPU from rounding 32-bit numbers to 10 bits of mantissa (TF32), torch's silent default.

    Matrix products use TF32 only where the user asked torch for it, and are left alone.
    """
    _TF32.enter()
    try:
        yield
    finally:
        _TF32.leave()


def pinned(images: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the same images, where there is a GPU in memory that it can fetch them from while the CPU goes on."""
    if not torch.cuda.is_available():
        return images
    return torch.from_numpy(np.ascontiguousarray(images)).pin_memory().numpy()


def bring(images: Tensor, device: torch.device) -> Tensor:
    """Return images on the device, without waiting for the copy to a GPU to end."""
    if device.type == "cuda" and not images.is_pinned():
        images = images.pin_memory()  # a copy from other memory would wait for the work before it
    return images.to(device, non_blocking=True)


class OnDevice:
    """A network, ready to turn blocks of images into features.

    What comes out on a CPU in full precision does not depend on anything here. It travels to other processes by way of
    the CPU, and takes the device that is there.
    """

    def __init__(
        self, network: nn.Module, *, channels_last: bool | None = None, precision: Precision | None = None
    ) -> None:
        """Bring the network to its device.

        Args:
            network: Ready to be used, on the CPU.
            channels_last: Lay out images and weights with the channels last; None does so on a GPU alone.
            precision: Of the network's products; None asks the environment.
        """
        self.precision = embedding_precision() if precision is None else precision
        self._asked_layout = channels_last
        self._settle(network)

    def _settle(self, network: nn.Module) -> None:
        self.device = choose_device()
        self._channels_last = self.device.type == "cuda" if self._asked_layout is None else self._asked_layout
        self.network: nn.Module = network.to(self.device)
        if self._channels_last:
            self.network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    @property
    def suffix(self) -> str:
        """What the precision adds to an extractor's preprocessing, so that no cache or record takes it for full."""
        return "" if self.precision == "full" else f"/{self.precision}"

    def batch(self, on_cpu: int) -> int:
        """Return how many images to run at once."""
        return on_cpu if self.device.type == "cpu" else max(on_cpu, GPU_BATCH)

    def __call__(self, inputs: Tensor) -> Tensor:
        """Return what the network makes of inputs on the device, as 32-bit numbers."""
        if self._channels_last:
            inputs = inputs.contiguous(memory_format=torch.channels_last)
        kind = torch.float16 if self.precision == "fp16" else torch.bfloat16
        with torch.autocast(self.device.type, dtype=kind, enabled=self.precision != "full"):
            outputs: Tensor = self.network(inputs)
        return outputs.float()

    def rows(self, images: Tensor, of: Callable[[Tensor], Tensor], *, batch: int) -> Tensor:
        """Return features (n, d), on the CPU, of images (n, ...) on the CPU.

        Args:
            images: In pinned memory (`pinned`) they need not be copied there first.
            of: Features of a batch on the device.
            batch: Images at once on a CPU; see `batch`.

        Raises:
            AuditError: A number outgrew the 16 bits of fp16.
        """
        with torch.inference_mode(), without_tf32():
            # They stay on the GPU until the last batch was handed to it: reading one back would wait for it.
            parts = [of(bring(block, self.device)) for block in torch.split(images, self.batch(batch))]
            features = torch.cat(parts).cpu()
        if self.precision == "fp16" and not bool(torch.isfinite(features).all()):
            raise AuditError(
                "A feature is not a finite number: fp16 holds none above 65,504.", f"Set {PRECISION} to bf16 or full."
            )
        return features

    def __getstate__(self) -> dict[str, Any]:
        """Travel by way of the CPU: the other process may have no GPU."""
        network = self.network if self.device.type == "cpu" else copy.deepcopy(self.network).cpu()
        return {"network": network, "asked_layout": self._asked_layout, "precision": self.precision}

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Settle on the device that this process has."""
        self.precision, self._asked_layout = state["precision"], state["asked_layout"]
        self._settle(state["network"])
