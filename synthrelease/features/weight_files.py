"""Weights files into plain named tensors: HDF5 (Keras), safetensors, and PyTorch without running what they hold."""

from __future__ import annotations

import pickle
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from synthrelease import store
from synthrelease.errors import WeightsError

Container = Literal["keras", "torch", "safetensors"]
HDF5_MAGIC = b"\x89HDF\r\n\x1a\n"
_WEIGHTS = (".pt", ".pth", ".h5", ".safetensors")
OPTIONAL = "num_batches_tracked"  # counts training steps; evaluation never reads it


@dataclass(frozen=True)
class RawWeights:
    """What a file holds. Keras names are ``layer/leaf``; convolutions are (out, in, h, w) in either case."""

    path: Path
    container: Container
    tensors: dict[str, Tensor]


def read_weights(path: Path) -> RawWeights:
    """Return all tensors of a weights file, told apart by content, not by suffix.

    Raises:
        WeightsError: The file is missing, not a weights file, holds Python objects, or a value is not finite.
    """
    head = _head_of(path)
    if head.startswith(HDF5_MAGIC):
        raw = RawWeights(path, "keras", _keras_tensors(path))
    elif head[8:9] == b"{" and int.from_bytes(head[:8], "little") < path.stat().st_size:
        raw = RawWeights(path, "safetensors", _safe_tensors(path))
    else:
        _refuse_other_content(path, head)
        raw = RawWeights(path, "torch", _torch_tensors(path))
    bad = [name for name, tensor in raw.tensors.items() if not bool(torch.isfinite(tensor).all())]
    if bad:
        raise WeightsError(
            f"{path.name}: {len(bad)} tensors hold values that are not finite, first {bad[0]}.",
            "The file is damaged: fetch it again.",
        )
    return raw


def _head_of(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            return file.read(64)
    except OSError as error:
        raise WeightsError(f"The weights file {path} cannot be read: {error.strerror}.", "Check the path.") from error


def _refuse_other_content(path: Path, head: bytes) -> None:
    text = head.lstrip().lower()
    if text.startswith((b"<!doctype", b"<html")):
        raise WeightsError(
            f"{path.name} is a web page, not a weights file.",
            "The download page was saved instead of the file: download it again in a browser.",
        )
    if head.startswith(b"PK"):
        inside = [item.filename for item in _members(path) if item.filename.endswith(_WEIGHTS)]
        if inside:
            raise WeightsError(
                f"{path.name} is an archive that holds {', '.join(sorted(inside)[:5])}.",
                "Unpack it, and give the one file of the network that you want.",
            )


def _keras_tensors(path: Path) -> dict[str, Tensor]:
    import h5py

    leaves: dict[str, str] = {}
    tensors: dict[str, Tensor] = {}
    try:
        with h5py.File(path, "r") as file:
            root = file.get("model_weights", file)

            def visit(name: str, item: object) -> None:
                if isinstance(item, h5py.Dataset):
                    leaves[_keras_name(name)] = name

            root.visititems(visit)
            _refuse_large(path, sum(int(root[place].size or 0) for place in leaves.values()))
            for name, place in leaves.items():
                tensors[name] = _torch_order(np.asarray(root[place][()]))
    except WeightsError:
        raise
    except Exception as error:  # as below
        raise WeightsError(f"{path.name} is a damaged HDF5 file: {error}", "Fetch it again.") from error
    return tensors


def _keras_name(place: str) -> str:
    """Return ``layer/leaf``; Keras repeats the layer's name, which may hold slashes: a/b/a/b/gamma:0."""
    *groups, leaf = place.split("/")
    half = len(groups) // 2
    if groups[:half] == groups[half:]:
        groups = groups[:half]
    return "/".join([*groups, leaf.removesuffix(":0")])


def _torch_order(values: np.ndarray) -> Tensor:
    """Keras convolutions are (h, w, in, out)."""
    if values.ndim == 4:
        values = values.transpose(3, 2, 0, 1)
    return torch.from_numpy(np.ascontiguousarray(values, dtype=np.float32))


def _safe_tensors(path: Path) -> dict[str, Tensor]:
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        tensors = load_file(path)
    except (SafetensorError, OSError, ValueError) as error:
        raise WeightsError(f"{path.name} is a damaged safetensors file: {error}", "Fetch it again.") from error
    return {name: tensor.float() for name, tensor in tensors.items()}


def _refuse_packed(path: Path) -> None:
    """Refuse an archive whose members unpack to more than weights can be."""
    _refuse_large(path, sum(item.file_size for item in _members(path)) // 8)


def _members(path: Path) -> list[zipfile.ZipInfo]:
    try:
        if not zipfile.is_zipfile(path):
            return []
        with zipfile.ZipFile(path) as archive:
            return archive.infolist()
    except Exception as error:  # the reader raises whatever damaged bytes provoke
        raise WeightsError(f"{path.name} is a damaged archive: {error}", "Fetch it again.") from error


def _refuse_large(path: Path, count: int) -> None:
    if count > store.largest():
        raise WeightsError(
            f"{path.name} unpacks to {count:,} values, more than the limit of {store.largest():,}.",
            f"Raise it with the environment variable {store.LARGEST} if the file is the one you mean.",
        )


def _torch_tensors(path: Path) -> dict[str, Tensor]:
    _refuse_packed(path)
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise WeightsError(
            f"{path.name} is not a weights file, or holds Python objects beside its tensors, which are never run.",
            "Save its state_dict() alone, or give the file as published.",
        ) from error
    except Exception as error:  # the reader raises whatever damaged bytes provoke
        raise WeightsError(
            f"{path.name} is not a weights file that can be read (PyTorch, Keras or safetensors).",
            "A TorchScript file, a damaged download or another kind of file: give the state dict as published.",
        ) from error
    if not isinstance(content, dict) or not all(isinstance(value, Tensor) for value in content.values()):
        inside = ", ".join(map(str, list(content)[:5])) if isinstance(content, dict) else type(content).__name__
        raise WeightsError(
            f"{path.name} is not a plain table of tensors (it holds: {inside}).",
            "Save the state_dict() alone: a training checkpoint carries more than the network.",
        )
    _refuse_large(path, sum(tensor.numel() for tensor in content.values()))  # a few bytes may stand for many values
    return {str(name): tensor.float() for name, tensor in content.items()}
