"""A model's folder: begun, gone on with, and the checkpoint in it that is sampled."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from synthrelease import __version__, store
from synthrelease.errors import GeneratorError, SettingsError
from synthrelease.generators.image_feed import ImageFeed
from synthrelease.generators.interface import STANDARD_LEVELS
from synthrelease.generators.training_loop import Callbacks, Learner, Loop, TrainingSettings
from synthrelease.image_set import ImageSet
from synthrelease.settings import Settings
from synthrelease.training import checkpoint as saved
from synthrelease.training.running import Processes, processes, stop_requests

LearnerMaker = Callable[[ImageFeed, Sequence[str], Processes], Learner]
"""Images, their channels and the processes that train together to a learner."""

_SHAPING = ("generator", "channels", "resolution", "network", "training", "trained_on")
_SEEN = {"log_every", "checkpoint_every", "sample_every", "screen_kimg", "keep_last", "grid", "tensorboard"}
_RESCUE = {"learning_rate", "rate_scale", "clip_norm", "precision", "accumulation"}
_FREE = _SEEN | _RESCUE
"""Settings that may change on the way: those that shape no weight, and those that rescue a training gone wrong."""


def train_into(
    folder: Path,
    images: ImageSet,
    steps: int,
    *,
    name: str,
    network: Settings,
    training: TrainingSettings,
    batch: int,
    resolution: int,
    device: Any,
    make: LearnerMaker,
    resume: bool,
    callbacks: Callbacks,
) -> bool:
    """Train for ``steps`` optimiser steps in all, and return whether this process is the one that writes.

    Args:
        folder: Of this training: `MODEL.json`, checkpoints, scalars, sample grids.
        images: The training set; two images or more.
        steps: Where to end; a resumed training that is there already does nothing.
        name: Of the generator, as `MODEL.json` says it.
        network: Settings that shape the networks.
        training: How they learn.
        batch: Images a step at the end of the training.
        resolution: Height and width, pixels.
        device: A `torch.device`.
        make: Makes the learner.
        resume: Go on from the newest checkpoint in ``folder``; it must have been trained on the same images with the
            same settings. Learning rate, clipping and precision may differ, and so may what shapes no weight.
        callbacks: Progress, memorisation screen, measure of the best checkpoint.

    Raises:
        GeneratorError: There is a training in ``folder`` already, or another one; or numbers went wrong.
        KeyboardInterrupt: Stopped by Ctrl-C or SIGTERM, after writing a checkpoint.
    """
    if steps < 1:
        raise SettingsError(f"{steps} steps teach nothing.", "Give --steps 1 or more.")
    with processes(device) as together, stop_requests() as stop, _only_training(folder, together):
        feed = ImageFeed(
            images,
            resolution=resolution,
            batch=batch,
            seed=training.seed,
            rank=together.rank,
            world=together.world,
            memory=training.memory_mib * 2**20,
        )
        try:
            about = _described(name, network, training, feed, images)
            path = saved.to_resume(
                folder,
                about,
                resume=resume,
                read=saved.read_model,
                shaping=_SHAPING,
                free=_FREE,
                described_in=saved.MODEL,
                error=GeneratorError,
            )
            learner = make(feed, images.channels, together)
            if together.leads:
                saved.write_model(store.private_folder(folder), about)
            if path is not None:
                learner.restore(saved.load(path))
            Loop(learner, training, images.channels, folder, together, callbacks).run(steps, stop)
        finally:
            feed.close()
    return together.leads


def _only_training(folder: Path, together: Processes) -> AbstractContextManager[object]:
    return store.one_writer(folder) if together.leads else nullcontext()


def _described(
    name: str, network: Settings, training: TrainingSettings, feed: ImageFeed, images: ImageSet
) -> dict[str, Any]:
    return {
        "generator": name,
        "made_with": __version__,
        "channels": list(images.channels),
        "resolution": feed.resolution,
        "voxel_size": list(images.voxel_size),
        "mask_levels": list(feed.levels) if feed.mask is not None else [],
        "network": network.model_dump(mode="json"),
        "training": training.model_dump(mode="json"),
        "trained_on": images.content,
    }


def chosen_checkpoint(folder: Path, which: str = "best") -> Path:
    """Return the checkpoint to sample: the best, or the last that no screen stopped where none was judged.

    Args:
        folder: Of a training.
        which: "best", or "last" for the newest, whatever a screen said of it.

    Raises:
        GeneratorError: There is none, or the memorisation screen stopped the training before a clean one.
    """
    if which not in ("best", "last"):
        raise SettingsError(f"There is no checkpoint {which!r}: choose best or last.")
    known = saved.saved(folder)
    if not known:
        raise GeneratorError(f"{folder} holds no finished checkpoint.", "Train the model first.")
    if which == "last":
        return known[-1]
    best = saved.best(folder)
    if best is not None:
        return best
    clean = [path for path in known if saved.scalars_of(path).get("clean", True)]
    if not clean:
        raise GeneratorError(
            f"The memorisation screen stopped the training in {folder}, and no earlier checkpoint is left.",
            "Train on more subjects, with augmentation, or for fewer steps, with --screen-kimg at shorter intervals.",
        )
    return clean[-1]


@dataclass(frozen=True)
class Opened:
    """What a training folder says of the checkpoint that is sampled."""

    channels: tuple[str, ...]
    mask_levels: tuple[int, ...]
    voxel_size: tuple[float, float, float]  # of the training set, mm
    scalars: Mapping[str, Any]
    tensors: Mapping[str, Tensor]
    weights_sha256: str


def opened(folder: Path, network: str, which: str = "best") -> Opened:
    """Return one network of the chosen checkpoint, and what `MODEL.json` says; raises as `chosen_checkpoint`."""
    about, path = saved.read_model(folder), chosen_checkpoint(folder, which)
    tensors, sha256 = saved.load_network(path, network)
    x, y, z = about["voxel_size"]
    levels = tuple(about["mask_levels"]) or STANDARD_LEVELS
    return Opened(tuple(about["channels"]), levels, (x, y, z), saved.scalars_of(path), tensors, sha256)
