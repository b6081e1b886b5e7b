"""A segmenter's folder: what it was made of, begun, gone on with, and opened to predict."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from synthrelease import __version__, store
from synthrelease.errors import SegmentationError
from synthrelease.segmentation.augmentation import AugmentSettings
from synthrelease.segmentation.feed import Reader
from synthrelease.segmentation.labels import Labels
from synthrelease.segmentation.mixing import Mix, Source
from synthrelease.segmentation.networks import PRESETS, NetworkSettings, Segmenter, built
from synthrelease.segmentation.recipe import SegmenterTraining
from synthrelease.training import checkpoint as saved

SEGMENTER = "SEGMENTER.json"
FORMAT = 1
_FREE = {"log_every", "keep_last", "memory_mib", "workers", "tensorboard"}  # shape no weight, so may differ on resuming
_SHAPING = ("name", "network", "training", "augment", "reader", "mix")


@dataclass(frozen=True)
class Model:
    """A network and what it takes and tells apart."""

    name: str  # unet or swin
    network: NetworkSettings
    reader: Reader

    def described(self, mix: Mix, training: SegmenterTraining, augment: AugmentSettings | None) -> dict[str, Any]:
        """Return everything that shapes the weights, as JSON holds it."""
        about = {
            "format": FORMAT,
            "made_with": __version__,
            "name": self.name,
            "network": self.network.model_dump(mode="json"),
            "training": training.model_dump(mode="json"),
            "augment": None if augment is None else augment.model_dump(mode="json"),
            "reader": asdict(self.reader),
            "mix": {
                "arm": mix.arm,
                "real_share": mix.real_share,
                "real": _source(mix.real),
                "synthetic": _source(mix.synthetic),
                "validation": _source(mix.validation),
            },
        }
        plain: dict[str, Any] = json.loads(json.dumps(about))  # tuples become lists, as when read back
        return plain


def _source(source: Source | None) -> dict[str, Any] | None:
    if source is None:
        return None
    rows = hashlib.sha256(source.rows.astype("<i8").tobytes()).hexdigest()
    return {"content": source.images.content, "images": len(source), "rows": rows}


def begin_or_resume(folder: Path, about: Mapping[str, Any], *, resume: bool) -> Path | None:
    """Return the checkpoint to go on from, None to begin.

    Raises:
        SegmentationError: There is a training in ``folder`` and ``resume`` is off, or it is another training.
    """
    return saved.to_resume(
        folder,
        about,
        resume=resume,
        read=read_model,
        shaping=_SHAPING,
        free=_FREE,
        described_in=SEGMENTER,
        error=SegmentationError,
    )


def write_model(folder: Path, about: Mapping[str, Any]) -> None:
    """Write `SEGMENTER.json`, readable by its owner alone: weights can hold what they learnt from."""
    store.write_text(store.private_folder(folder) / SEGMENTER, json.dumps(about, indent=1))


def read_model(folder: Path) -> dict[str, Any]:
    """Return what `write_model` wrote.

    Raises:
        SegmentationError: It is missing or no description that this version reads.
    """
    try:
        about = json.loads((folder / SEGMENTER).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise SegmentationError(f"{folder} is no trained segmenter: {SEGMENTER} cannot be read.") from error
    entries = about if isinstance(about, dict) else {}
    if not {"format", *_SHAPING} <= entries.keys() or entries["format"] != FORMAT or entries["name"] not in PRESETS:
        raise SegmentationError(f"{folder / SEGMENTER} is not a description that this version reads.")
    return entries


def reader_of(about: Mapping[str, Any]) -> Reader:
    """Return what a segmenter that `read_model` describes takes and tells apart."""
    entry = about["reader"]
    labels = Labels(
        tuple(entry["labels"]["levels"]),
        tuple(entry["labels"]["names"]),
        tuple((name, tuple(classes)) for name, classes in entry["labels"]["regions"]),
    )
    height, width = entry["size"]
    return Reader(tuple(entry["contrasts"]), (height, width), labels)


def open_segmenter(folder: Path, device: torch.device) -> tuple[Segmenter, Reader, str]:
    """Return the trained network of a folder at its best checkpoint, its reader, and its weights' SHA-256.

    Raises:
        SegmentationError: It is not trained.
        StoreError: A file was changed or does not fit.
    """
    about = read_model(folder)
    path = saved.best(folder) or saved.latest(folder)
    if path is None:
        raise SegmentationError(f"{folder} holds no finished checkpoint.", "Train the segmenter first.")
    settings = type(next(iter(PRESETS[about["name"]].values()))).checked(**about["network"])
    reader = reader_of(about)
    network = built(settings, contrasts=len(reader.contrasts), classes=reader.labels.classes, seed=0)
    name = "segmenter-average" if about["training"]["average_decay"] else "segmenter"
    tensors, sha256 = saved.load_network(path, name)
    saved.restore(network, tensors, name=name)
    return network.to(device).eval(), reader, sha256
