"""Checkpoints: complete, written whole or not at all, checked when read; safetensors and JSON, never code.

A training folder holds `MODEL.json` (what it is, how it was made) and `checkpoints/step-<number>/` with one file of
tensors per network and per optimiser and `state.json`, which names them with their SHA-256. Nothing random is
stored: every draw is a function of seed and step, so the step is the whole position.
"""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from synthrelease import store
from synthrelease.errors import StoreError, SynthreleaseError

FORMAT = 1
MODEL = "MODEL.json"
STATE = "state.json"
BEST = "best.json"
FOLDER = "checkpoints"
WEIGHTS_NOTE = (
    "Weights can hold images of the patients they were trained on. They are a release of their own, with its own "
    "review: `synthrelease package` never includes them, and an audit of sampled images says nothing about them."
)
_SHOWN = 5  # names listed in an error

Tensors = Mapping[str, Tensor]


@dataclass(frozen=True)
class Checkpoint:
    """All that a training needs to go on as if it had never stopped."""

    step: int
    networks: Mapping[str, Tensors]  # state of each network by name, averaged ones included
    optimisers: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)  # what `state_dict()` returned
    scalars: Mapping[str, Any] = field(default_factory=dict)  # anything JSON can hold: ADA's p, the fp16 scale, ...


def save(folder: Path, checkpoint: Checkpoint, *, keep_last: int = 2) -> Path:
    """Write `checkpoints/step-<number>` into a training folder and return it; older ones are deleted.

    Args:
        folder: The training folder.
        checkpoint: What to write. Tensors may be on any device.
        keep_last: How many of the newest stay; the one marked best stays besides.
    """
    final = folder / FOLDER / f"step-{checkpoint.step:09d}"
    with store.disk_errors(final):
        store.private_folder(final.parent)
        partial = Path(tempfile.mkdtemp(prefix=f".{final.name}.", dir=final.parent))
        try:
            _write(partial, checkpoint)
            if final.exists():  # a resumed run comes by again
                _remove(final)
            partial.replace(final)
        finally:
            shutil.rmtree(partial, ignore_errors=True)
    _prune(folder, keep_last)
    return final


def _write(partial: Path, checkpoint: Checkpoint) -> None:
    files: dict[str, str] = {}
    structure: dict[str, Any] = {}
    for name, tensors in checkpoint.networks.items():
        files[f"network-{name}.safetensors"] = _write_tensors(partial / f"network-{name}.safetensors", tensors)
    for name, state in checkpoint.optimisers.items():
        tensors, structure[name] = _flat(state)
        files[f"optimiser-{name}.safetensors"] = _write_tensors(partial / f"optimiser-{name}.safetensors", tensors)
    about = {
        "format": FORMAT,
        "step": checkpoint.step,
        "networks": list(checkpoint.networks),
        "optimisers": structure,
        "scalars": dict(checkpoint.scalars),
        "files": files,
    }
    with (partial / STATE).open("w", encoding="utf-8") as file:
        json.dump(about, file, indent=1)
        file.flush()
        os.fsync(file.fileno())


def _write_tensors(path: Path, tensors: Tensors) -> str:
    # Cloned, because safetensors refuses tensors that share memory.
    copies = {name: t.detach().to("cpu", copy=True).contiguous() for name, t in tensors.items()}
    try:
        save_file(copies, path)
    except SafetensorError as error:
        raise StoreError(
            f"{path.name} cannot be written: {error}.",
            "Free some space or choose another place, then go on with --resume: earlier checkpoints are kept.",
        ) from error
    with path.open("rb+") as file:
        os.fsync(file.fileno())
    return store.sha256_of(path)


def _flat(state: Mapping[str, Any]) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Return an optimiser's tensors under names, and the rest as JSON."""
    tensors: dict[str, Tensor] = {}
    numbers: dict[str, dict[str, Any]] = {}
    for index, entries in state["state"].items():
        for key, value in entries.items():
            if isinstance(value, Tensor):
                tensors[f"{index}.{key}"] = value
            else:
                numbers.setdefault(str(index), {})[key] = value
    return tensors, {"groups": state["param_groups"], "numbers": numbers}


def _unflat(tensors: Tensors, structure: Mapping[str, Any]) -> dict[str, Any]:
    state: dict[int, dict[str, Any]] = {}
    for name, tensor in tensors.items():
        index, _, key = name.partition(".")
        state.setdefault(int(index), {})[key] = tensor
    for index, entries in structure["numbers"].items():
        state.setdefault(int(index), {}).update(entries)
    groups = [{k: tuple(v) if k == "betas" else v for k, v in group.items()} for group in structure["groups"]]
    return {"state": state, "param_groups": groups}


def saved(folder: Path) -> list[Path]:
    """Return the checkpoints of a training folder, oldest first."""
    return sorted(path for path in (folder / FOLDER).glob("step-*") if (path / STATE).is_file())


def latest(folder: Path) -> Path | None:
    """Return the newest checkpoint of a training folder, or None."""
    return next(reversed(saved(folder)), None)


def best(folder: Path) -> Path | None:
    """Return the checkpoint that `mark_best` chose, or None if there is none (any more)."""
    entry = _best_entry(folder)
    path = folder / FOLDER / entry["checkpoint"] if entry else None
    return path if path is not None and (path / STATE).is_file() else None


def mark_best(folder: Path, checkpoint: Path, *, metric: str, value: float) -> bool:
    """Remember a checkpoint as the best if ``value`` is below what the best so far has in this metric.

    Returns:
        Whether it is the best now. A different metric, or a best that is gone, starts anew.
    """
    entry = _best_entry(folder)
    known = entry is not None and entry["metric"] == metric and best(folder) is not None
    if known and entry is not None and not value < entry["value"]:
        return False
    text = json.dumps({"checkpoint": checkpoint.name, "metric": metric, "value": value, "better": "lower"})
    store.write_text(folder / BEST, text)
    return True


def _best_entry(folder: Path) -> dict[str, Any] | None:
    try:
        entry = json.loads((folder / BEST).read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return None
    fits = isinstance(entry, dict) and {"checkpoint", "metric", "value"} <= entry.keys()
    return entry if fits and Path(entry["checkpoint"]).name == entry["checkpoint"] else None


def _prune(folder: Path, keep_last: int) -> None:
    chosen = best(folder)
    for path in (folder / FOLDER).glob(".step-*"):  # what a killed run left half written
        shutil.rmtree(path, ignore_errors=True)
    for path in saved(folder)[:-keep_last]:
        if path != chosen:
            _remove(path)


def _remove(path: Path) -> None:
    """Delete a checkpoint; it loses its name first, so that a run killed meanwhile leaves no half of one."""
    gone = path.with_name(f".{path.name}.gone")
    shutil.rmtree(gone, ignore_errors=True)
    path.replace(gone)
    shutil.rmtree(gone, ignore_errors=True)


def load(path: Path) -> Checkpoint:
    """Return a checkpoint, on the CPU.

    Raises:
        StoreError: A file is missing, was changed, or is no checkpoint; other checkpoints to go on from are named.
    """
    about = _state(path)
    networks = {name: _read_tensors(path, f"network-{name}.safetensors", about) for name in about["networks"]}
    optimisers = {
        name: _unflat(_read_tensors(path, f"optimiser-{name}.safetensors", about), structure)
        for name, structure in about["optimisers"].items()
    }
    return Checkpoint(about["step"], networks, optimisers, about["scalars"])


def load_network(path: Path, name: str) -> tuple[dict[str, Tensor], str]:
    """Return the tensors of one network of a checkpoint and the SHA-256 of their file; raises as `load`."""
    about = _state(path)
    file = f"network-{name}.safetensors"
    return _read_tensors(path, file, about), about["files"][file]


def scalars_of(path: Path) -> dict[str, Any]:
    """Return the scalars of a checkpoint without reading its tensors; raises as `load`."""
    return dict(_state(path)["scalars"])


def _state(path: Path) -> dict[str, Any]:
    try:
        about = json.loads((path / STATE).read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise _damaged(path, f"{STATE} cannot be read") from error
    wanted = {"format", "step", "networks", "optimisers", "scalars", "files"}
    if not isinstance(about, dict) or not wanted <= about.keys():
        raise _damaged(path, f"{STATE} lacks entries")
    kinds = {"step": int, "networks": list, "optimisers": dict, "scalars": dict, "files": dict}
    if not all(isinstance(about[name], kind) for name, kind in kinds.items()):
        raise _damaged(path, f"{STATE} holds entries of another kind")
    if about["format"] != FORMAT:
        raise StoreError(
            f"{path.name} has format {about['format']}; this version reads {FORMAT}.", "Use the version that wrote it."
        )
    return about


def _read_tensors(path: Path, file: str, about: Mapping[str, Any]) -> dict[str, Tensor]:
    if file not in about["files"]:
        raise _damaged(path, f"it holds no {file}")
    try:
        if store.sha256_of(path / file) != about["files"][file]:
            raise _damaged(path, f"{file} is not what was written")
        return load_file(path / file)
    except (OSError, SafetensorError) as error:
        raise _damaged(path, f"{file} cannot be read") from error


def _damaged(path: Path, why: str) -> StoreError:
    others = [other.name for other in saved(path.parent.parent) if other != path]
    remedy = f"Delete that folder to go on from {others[-1]}." if others else "Train again, or restore it from a copy."
    return StoreError(f"The checkpoint {path.name} is damaged: {why}.", remedy)


def restore(network: nn.Module, tensors: Tensors, *, name: str) -> None:
    """Put tensors into a network; every one must be there, of its shape, and finite.

    Raises:
        StoreError: They belong to another architecture or hold numbers that are not finite.
    """
    own = network.state_dict()
    problems = _named("missing", own.keys() - tensors.keys()) + _named("unknown", tensors.keys() - own.keys())
    common = own.keys() & tensors.keys()
    problems += _named("of another shape", [n for n in common if own[n].shape != tensors[n].shape])
    if problems:
        raise StoreError(
            f"The weights do not fit the network {name!r}: {'; '.join(problems)}.",
            "They were trained with other settings: use those of its MODEL.json.",
        )
    broken = [n for n, t in tensors.items() if t.is_floating_point() and not bool(torch.isfinite(t).all())]
    if broken:
        raise StoreError(
            f"The weights of {name!r} are not finite: {'; '.join(_named('broken', broken))}.",
            "Go on from an earlier checkpoint.",
        )
    network.load_state_dict(dict(tensors))


def _named(what: str, names: Sequence[str] | set[str]) -> list[str]:
    ordered = sorted(names)
    more = f" and {len(ordered) - _SHOWN} more" if len(ordered) > _SHOWN else ""
    return [f"{what}: {', '.join(ordered[:_SHOWN])}{more}"] if ordered else []


def write_model(folder: Path, about: Mapping[str, Any]) -> None:
    """Write `MODEL.json`: what the generator is and how it was trained, and that weights are a separate release."""
    store.write_text(folder / MODEL, json.dumps({"format": FORMAT, **about, "weights": WEIGHTS_NOTE}, indent=1))


def read_model(folder: Path) -> dict[str, Any]:
    """Return what `write_model` wrote, or raise `StoreError` with the remedy."""
    try:
        about = json.loads((folder / MODEL).read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise StoreError(
            f"{folder} is no trained generator: it has no {MODEL}.", "Name the folder given to `train --out`."
        ) from error
    except (OSError, ValueError, RecursionError) as error:
        raise StoreError(f"{folder / MODEL} cannot be read: {error}", "Restore it from a copy.") from error
    if not isinstance(about, dict) or about.get("format") != FORMAT or "generator" not in about:
        raise StoreError(f"{folder / MODEL} is not a description this version reads.", "Restore it from a copy.")
    return about


def to_resume(
    folder: Path,
    about: Mapping[str, Any],
    *,
    resume: bool,
    read: Callable[[Path], Mapping[str, Any]],
    shaping: Sequence[str],
    free: Collection[str],
    described_in: str,
    error: type[SynthreleaseError],
) -> Path | None:
    """Return the checkpoint of a training folder to go on from, None to begin.

    Args:
        folder: The training folder.
        about: What the training to come is: entries by name.
        resume: Whether it may go on from what is there.
        read: Returns what the training before was, as it was described in the folder.
        shaping: Entries that must be as they were.
        free: Keys within these entries that may differ.
        described_in: File of that description, to be named.
        error: Raised with what is wrong.
    """
    path = latest(folder)
    if path is None:
        return None
    if not resume:
        raise error(
            f"{folder} holds a training already (up to {path.name}).",
            "Go on with it with --resume, or choose another --out.",
        )
    before = read(folder)
    different = [key for key in shaping if _without(before.get(key), free) != _without(about[key], free)]
    if different:
        raise error(
            f"The training in {folder} differs in: {', '.join(different)}.",
            f"Resume it with the images and settings it was started with (see its {described_in}).",
        )
    return path


def _without(entry: Any, free: Collection[str]) -> Any:
    return {key: value for key, value in entry.items() if key not in free} if isinstance(entry, dict) else entry
