"""From a generator's name to what it would build, to a training, and to samples of what was trained."""

from __future__ import annotations

import difflib
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, cast

from synthrelease.errors import SettingsError
from synthrelease.generators.interface import build_networks, check_name
from synthrelease.generators.sampling import SampleRecord, read_record, write_samples
from synthrelease.image_set import ImageSet
from synthrelease.progress import Progress
from synthrelease.records import NetworkSize, TrainingPlan
from synthrelease.settings import Settings
from synthrelease.training.checkpoint import read_model
from synthrelease.training.running import is_leader

if TYPE_CHECKING:
    from synthrelease.generators.diffusion import DiffusionSettings
    from synthrelease.generators.diffusion_model import Diffusion
    from synthrelease.generators.gan_model import Gan
    from synthrelease.generators.training_loop import Callbacks


def presets(name: str) -> Mapping[str, Settings]:
    """Return a generator's named configurations; the first is its default."""
    match check_name(name):
        case "stylegan2":
            from synthrelease.generators import stylegan2

            return cast(Mapping[str, Settings], stylegan2.PRESETS)
        case "stylegan3":
            from synthrelease.generators import stylegan3

            return cast(Mapping[str, Settings], stylegan3.PRESETS)
        case "diffusion":
            from synthrelease.generators import diffusion

            return cast(Mapping[str, Settings], diffusion.PRESETS)
        case "progan":
            from synthrelease.generators import progan

            return cast(Mapping[str, Settings], progan.PRESETS)
        case _:
            from synthrelease.generators import stylegan1

            return cast(Mapping[str, Settings], stylegan1.PRESETS)


def configured(name: str, config: str | None) -> tuple[str, Settings]:
    """Return the name and settings of a configuration, the default one where none is named."""
    known = presets(name)
    if config is None:
        return next(iter(known.items()))
    if config not in known:
        near = difflib.get_close_matches(config, known, n=1)
        hint = f"Did you mean {near[0]!r}? " if near else ""
        raise SettingsError(f"{name} has no configuration {config!r}.", f"{hint}Known: {', '.join(known)}.")
    return config, known[config]


def sizes_of(name: str, settings: Settings, *, channels: int, resolution: int) -> dict[str, NetworkSize]:
    """Return the size of each network of a generator, counted without making the weights."""
    import torch

    with torch.device("meta"):
        networks = build_networks(name, settings, channels=channels, resolution=resolution)
    sizes = {}
    for part, network in networks.items():
        mapping = getattr(network, "mapping", None)
        sizes[part] = NetworkSize(
            parameters=sum(weight.numel() for weight in network.parameters()),
            mapping=None if mapping is None else sum(weight.numel() for weight in mapping.parameters()),
        )
    return sizes


def plan(
    name: str,
    *,
    config: str | None,
    resolution: int,
    channels: int,
    changes: Mapping[str, Any] = MappingProxyType({}),
    batch: int | None = None,
) -> TrainingPlan:
    """Return what training a generator would build.

    Args:
        name: One of `interface.NAMES`.
        config: One of `presets`; None takes the default.
        resolution: Height and width, pixels.
        channels: Of the images, masks included.
        changes: Settings of the networks that differ from the configuration.
        batch: Images a step, at every resolution; None: the configuration's.
    """
    if channels < 1:
        raise SettingsError(f"Images of {channels} channels cannot be made.", "Give at least one.")
    chosen, settings = configured(name, config)
    settings = changed(settings, changes, batch)
    sizes = sizes_of(name, settings, channels=channels, resolution=resolution)
    return TrainingPlan(
        generator=name,
        config=chosen,
        resolution=resolution,
        channels=channels,
        settings=settings.model_dump(mode="json"),
        networks=sizes,
    )


def changed(settings: Settings, changes: Mapping[str, Any], batch: int | None) -> Settings:
    """Return settings with single values changed, and with the same batch at every resolution if one is given."""
    wanted = dict(changes)
    if batch is not None and "batch" in type(settings).model_fields:
        wanted["batch"] = batch
    elif batch is not None and "batches" in type(settings).model_fields:
        wanted["batches"] = {4: batch}
    return type(settings).checked(**{**settings.model_dump(), **wanted})


def _parted(changes: Mapping[str, Any], training: type[Settings]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the changes of the training's settings, and the others, which must be the networks'."""
    own = {name: value for name, value in changes.items() if name in training.model_fields}
    return own, {name: value for name, value in changes.items() if name not in own}


def trained(
    name: str,
    *,
    images: ImageSet,
    out: Path,
    steps: int | None,
    kimg: float | None,
    resolution: int,
    config: str | None,
    changes: Mapping[str, Any],
    batch: int | None,
    device: str,
    training: Mapping[str, Any],
    resume: bool,
    callbacks: Callbacks,
) -> Path:
    """Train a generator and return its folder.

    Args:
        name: One of `interface.NAMES`.
        images: What to learn from.
        out: The model's folder.
        steps: Optimiser steps in all, or None where ``kimg`` says how many thousand images are to be seen.
        kimg: See ``steps``; where both are None, a GAN is trained as long as in its paper.
        resolution: Height and width, pixels.
        config: One of `presets`; None takes the default.
        changes: Single settings, of the networks or of the training, that differ from the configuration.
        batch: Images a step, at every resolution; None: the configuration's.
        device: A device's name.
        training: Fields of `GanTraining` or `DiffusionTraining` that differ from the defaults.
        resume: Go on from the newest checkpoint.
        callbacks: Who is told and asked on the way.
    """
    chosen, settings = configured(name, config)
    if is_leader():
        callbacks.progress.say(f"{name}, configuration {chosen}, {resolution} px, {len(images)} images")
    model: Diffusion | Gan
    if name == "diffusion":
        from synthrelease.generators.diffusion_model import Diffusion
        from synthrelease.generators.diffusion_training import DiffusionTraining

        of_training, of_networks = _parted(changes, DiffusionTraining)
        how = DiffusionTraining.checked(**{**training, **({} if batch is None else {"batch": batch}), **of_training})
        network = cast("DiffusionSettings", changed(settings, of_networks, None))
        model = Diffusion(network, how, resolution=resolution, device=device)
        if steps is None and kimg is None:
            raise SettingsError("How long is diffusion to be trained?", "Give --steps or --kimg.")
        total = steps or math.ceil((kimg or 0) * 1000 / how.batch)
    else:
        from synthrelease.generators.gan_model import Gan
        from synthrelease.generators.gan_training import GanTraining
        from synthrelease.generators.schedule import Schedule, steps_for

        of_training, of_networks = _parted(changes, GanTraining)
        settings = changed(settings, of_networks, batch)
        model = Gan(
            name, settings, GanTraining.checked(**{**training, **of_training}), resolution=resolution, device=device
        )
        total = steps or steps_for(cast(Schedule, settings), kimg or cast(Any, settings).total_kimg, resolution)
    return model.train(images, total, out, resume=resume, callbacks=callbacks)


def open_model(
    folder: Path, *, device: str, truncation: float | None = None, sampler: str | None = None, steps: int | None = None
) -> Diffusion | Gan:
    """Return the trained generator in a folder, whatever its kind, ready to sample.

    Args:
        folder: Of a training.
        device: A device's name.
        truncation: Of a GAN with styles; see `GanSampling`.
        sampler: Of a diffusion model; see `SamplingSettings`.
        steps: Of a diffusion model: network runs per image.

    Raises:
        SettingsError: An option belongs to the other kind of generator.
    """
    kind = check_name(read_model(folder)["generator"])
    options = {"truncation": truncation, "sampler": sampler, "steps": steps}
    given = {option: value for option, value in options.items() if value is not None}
    foreign = given.keys() & ({"truncation"} if kind == "diffusion" else {"sampler", "steps"})
    if foreign:
        names = {"truncation": "--truncation", "sampler": "--sampler", "steps": "--sampling-steps"}
        raise SettingsError(
            f"{', '.join(names[option] for option in sorted(foreign))} has no meaning for {kind}.", "Leave it out."
        )
    if kind == "diffusion":
        from synthrelease.generators.diffusion import SamplingSettings
        from synthrelease.generators.diffusion_model import Diffusion

        return Diffusion.open(folder, sampling=SamplingSettings.checked(**given), device=device)
    from synthrelease.generators.gan_model import Gan
    from synthrelease.generators.gan_sampling import GanSampling

    return Gan.open(folder, sampling=GanSampling.checked(**given), device=device)


def sampled(generator: Diffusion | Gan, seeds: Sequence[int], out: Path, *, progress: Progress) -> SampleRecord:
    """Write one image per seed with a trained model and return the record of it."""
    write_samples(
        generator,
        seeds,
        out,
        mask_levels=generator.mask_levels,
        made_with=generator.made_with(),
        voxel_size=generator.voxel_size,
        progress=progress,
    )
    return read_record(out)
