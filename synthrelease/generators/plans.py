"""From a generator's name to what it would build, to a training, and to samples of what was trained."""

from __future__ import annotations

import difflib
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, cast

from synthrelease import store
from synthrelease.errors import GeneratorError, SettingsError
from synthrelease.generators.interface import build_networks, check_name, default_settings
from synthrelease.generators.sampling import SampleRecord, read_record, write_samples
from synthrelease.image_set import ImageSet
from synthrelease.progress import Progress
from synthrelease.records import NetworkSize, TrainingPlan
from synthrelease.settings import Settings


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
        case _:
            return {"paper": default_settings(name)}


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


def plan(name: str, *, config: str | None, resolution: int, channels: int) -> TrainingPlan:
    """Return what training a generator would build.

    Args:
        name: One of `interface.NAMES`.
        config: One of `presets`; None takes the default.
        resolution: Height and width, pixels.
        channels: Of the images, masks included.
    """
    import torch

    if channels < 1:
        raise SettingsError(f"Images of {channels} channels cannot be made.", "Give at least one.")
    chosen, settings = configured(name, config)
    with torch.device("meta"):
        networks = build_networks(name, settings, channels=channels, resolution=resolution)
    sizes = {}
    for part, network in networks.items():
        mapping = getattr(network, "mapping", None)
        sizes[part] = NetworkSize(
            parameters=sum(weight.numel() for weight in network.parameters()),
            mapping=None if mapping is None else sum(weight.numel() for weight in mapping.parameters()),
        )
    return TrainingPlan(
        generator=name,
        config=chosen,
        resolution=resolution,
        channels=channels,
        settings=settings.model_dump(mode="json"),
        networks=sizes,
    )


def trained(
    name: str,
    *,
    images: ImageSet,
    out: Path,
    steps: int | None,
    kimg: float | None,
    resolution: int,
    config: str | None,
    resume: bool,
    progress: Progress,
    device: str,
    training: Mapping[str, Any],
) -> Path:
    """Train a generator and return its folder.

    Raises:
        GeneratorError: This version has the networks of this generator, and no training loop for them.
    """
    chosen, network = configured(name, config)
    if name != "diffusion":
        raise GeneratorError(
            f"This version cannot train {name}: its networks and losses are there, its training loop is not.",
            "Train --generator diffusion, or look at the networks with --dry-run.",
        )
    from synthrelease.generators.diffusion import DiffusionSettings
    from synthrelease.generators.diffusion_model import Diffusion
    from synthrelease.generators.diffusion_training import Callbacks, DiffusionTraining

    given = {option: value for option, value in training.items() if value is not None}
    how = DiffusionTraining.checked(**given)
    progress.say(f"{name}, configuration {chosen}, {resolution} px, {len(images)} images")
    model = Diffusion(cast(DiffusionSettings, network), how, resolution=resolution, device=device)
    total = steps if steps is not None else math.ceil((kimg or 0) * 1000 / how.batch)
    with store.one_writer(out):
        return model.train(images, total, out, resume=resume, callbacks=Callbacks(progress=progress))


def sampled(
    model: Path,
    seeds: Sequence[int],
    out: Path,
    *,
    sampler: str | None,
    steps: int | None,
    device: str,
    progress: Progress,
) -> SampleRecord:
    """Write one image per seed with a trained model and return the record of it."""
    from synthrelease.generators.diffusion import SamplingSettings
    from synthrelease.generators.diffusion_model import Diffusion

    options = {"sampler": sampler, "steps": steps}
    how = SamplingSettings.checked(**{name: value for name, value in options.items() if value is not None})
    generator = Diffusion.open(model, sampling=how, device=device)
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
