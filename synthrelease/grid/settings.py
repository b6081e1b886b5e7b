"""study.toml: data sets, generators and segmenters by name, and the grid that is made of them."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, Self

from pydantic import Field, field_validator, model_validator

from synthrelease.errors import SettingsError
from synthrelease.settings import AuditSettings, MeasureSettings, PhantomSettings, PrepareSettings, Settings
from synthrelease.study_records import REAL, TrainedOn

KINDS = ("progan", "stylegan1", "stylegan2", "stylegan3", "diffusion")
NETWORKS = ("unet", "swin")
_NAME = re.compile(r"[a-z0-9][a-z0-9_-]*")


class DataSettings(Settings):
    """One data set: a cohort to prepare, image sets that are prepared already, or phantoms."""

    cohort: Path | None = Field(default=None, description="Folder of scans, for `prepare`")
    sets: Path | None = Field(default=None, description="Instead: what `prepare` made: train, holdout, test in it")
    phantom: PhantomSettings | None = Field(default=None, description="Instead: a made-up cohort")
    prepare: PrepareSettings = Field(default=PrepareSettings(), description="How scans become image sets")
    lists: dict[str, Path] = Field(default_factory=dict, description="Role to a text file of subjects, for `prepare`")
    resolution: int = Field(default=256, ge=8, description="Of generated images, pixels; a power of two")
    channels: int = Field(
        default=5, ge=1, description="Contrasts and mask; only `study plan` asks, before data is read"
    )
    published_year: Literal["", "2020", "2021"] = Field(
        default="", description="BraTS year whose published ranks stand beside yours"
    )

    @model_validator(mode="after")
    def _one_source(self) -> Self:
        if sum(source is not None for source in (self.cohort, self.sets, self.phantom)) != 1:
            raise ValueError("give exactly one of cohort, sets and phantom")
        return self


class GeneratorSettings(Settings):
    """One generator: trained here, or images that something else made."""

    kind: str = Field(default="", description=f"{', '.join(KINDS)}; empty: the name of the table")
    images: dict[str, Path] = Field(
        default_factory=dict, description="Instead of training: data set to an image set that was made elsewhere"
    )
    config: str | None = Field(default=None, description="A named configuration; none: the published one")
    steps: int | None = Field(default=None, ge=1, description="Optimiser steps")
    kimg: float | None = Field(
        default=None, gt=0, description="Instead: thousand images seen; none: the paper's, for GANs"
    )
    batch: int | None = Field(default=None, ge=1, description="Images per step; none: the published number")
    seed: int = Field(default=0, ge=0, description="Of the training")
    set: dict[str, Any] = Field(default_factory=dict, description="Single settings of networks and training")
    screen_kimg: float = Field(default=0, ge=0, description="Thousand images between looks for memorised ones; 0: none")
    samples: int = Field(default=10_000, ge=2, description="Images to make")
    first_seed: int = Field(default=0, ge=0, description="Image i is made from seed first_seed + i")
    truncation: float | None = Field(default=None, gt=0, description="Of GANs with styles")
    sampler: str | None = Field(default=None, description="Of diffusion")
    sampling_steps: int | None = Field(default=None, ge=1, description="Of diffusion: network runs per image")

    @model_validator(mode="after")
    def _one_length(self) -> Self:
        if self.steps is not None and self.kimg is not None:
            raise ValueError("give steps or kimg, not both")
        return self


class SegmenterSettings(Settings):
    """One segmentation network and how it is trained."""

    network: str = Field(default="", description=f"{' or '.join(NETWORKS)}; empty: the name of the table")
    preset: str | None = Field(default=None, description="akbar2024 or small; none: akbar2024")
    size: int | None = Field(
        default=None, ge=16, description="Longest side in training, pixels; none: the test images'"
    )
    set: dict[str, Any] = Field(
        default_factory=dict, description="Single settings of network, training and augmentation"
    )


class GridSettings(Settings):
    """Which combinations are trained."""

    train_on: tuple[TrainedOn, ...] = Field(default=("real", "synthetic", "both"), description="Training sets")
    augmented: tuple[bool, ...] = Field(default=(False, True), description="Without and with augmentation")
    seeds: int = Field(default=10, ge=1, description="Trainings of each combination; 10 in the reference study")
    real_share: float = Field(default=0.5, gt=0, lt=1, description="With both: share of the images seen that is real")
    keep_weights: bool = Field(
        default=False, description="Keep trained segmenters; a full grid's fill terabytes, and scores stay anyway"
    )
    sweep: tuple[float, ...] = Field(
        default=(), description="Shares of the real subjects, alone and with synthetic images: what few real ones add"
    )
    sweep_seeds: int = Field(default=1, ge=1, description="Trainings of each combination of the sweep")

    @model_validator(mode="after")
    def _makes_sense(self) -> Self:
        if not self.train_on or not self.augmented:
            raise ValueError("train_on and augmented need at least one entry each")
        if len(set(self.train_on)) < len(self.train_on) or len(set(self.augmented)) < len(self.augmented):
            raise ValueError("train_on and augmented must not repeat an entry")
        if any(not 0 < share < 1 for share in self.sweep) or len(set(self.sweep)) < len(self.sweep):
            raise ValueError("sweep takes different shares between 0 and 1; 1 is always part of it")
        return self


class StudySettings(Settings):
    """A whole study."""

    name: str = Field(default="study", description="Title of the report")
    results: Path = Field(default=Path("results"), description="Where everything goes; relative to study.toml")
    data: dict[str, DataSettings] = Field(description="Data sets by name")
    generators: dict[str, GeneratorSettings] = Field(default_factory=dict, description="Generators by name")
    segmenters: dict[str, SegmenterSettings] = Field(default_factory=dict, description="Segmenters by name")
    grid: GridSettings = GridSettings()
    measure: MeasureSettings | None = Field(default=MeasureSettings(), description="Image quality; false: not measured")
    audit: AuditSettings | None = Field(default=AuditSettings(), description="Memorisation; false: no audit")
    policy: str = Field(default="controlled", description="Release policy; empty: nothing is decided")

    @field_validator("measure", "audit", mode="before")
    @classmethod
    def _switched_off(cls, value: Any) -> Any:
        return None if value is False else value  # TOML has no null

    @model_validator(mode="after")
    def _names_fit(self) -> Self:
        problems = [
            _name_problem(kind, name) for kind in ("data", "generators", "segmenters") for name in getattr(self, kind)
        ]
        problems += [
            _kind_problem(f"generators.{n}", g.kind or n, KINDS) for n, g in self.generators.items() if not g.images
        ]
        problems += [_kind_problem(f"segmenters.{n}", s.network or n, NETWORKS) for n, s in self.segmenters.items()]
        problems += [
            f"generators.{name}: images are missing for {', '.join(sorted(missing))}"
            for name, given in self.generators.items()
            if given.images and (missing := self.data.keys() - given.images.keys())
        ]
        if not self.data:
            problems.append("data: at least one data set is needed")
        if self.policy and self.audit is None and self.generators:
            problems.append("policy: nothing can be decided without an audit")
        if found := [problem for problem in problems if problem]:
            raise ValueError("; ".join(found))
        return self

    def kind_of(self, generator: str) -> str:
        """Return which of the five networks a generator is; empty for images that were made elsewhere."""
        given = self.generators[generator]
        return "" if given.images else given.kind or generator

    def network_of(self, segmenter: str) -> str:
        """Return unet or swin."""
        return self.segmenters[segmenter].network or segmenter


def read_study(path: Path) -> StudySettings:
    """Return a study from TOML; relative paths in it start at its own folder.

    Raises:
        SettingsError: It is not readable, or something in it cannot be.
    """
    if not path.is_file():
        raise SettingsError(f"There is no file {path}.", "See examples/tiny_study.toml for a study to start from.")
    study = StudySettings.from_toml(path)
    base = path.resolve().parent
    return study.model_copy(
        update={
            "results": base / study.results,
            "data": {name: _rebased(data, base, ("cohort", "sets", "lists")) for name, data in study.data.items()},
            "generators": {name: _rebased(made, base, ("images",)) for name, made in study.generators.items()},
            **{
                verb: None if settings is None else _rebased(settings, base, ("weights", "heads"))
                for verb, settings in (("measure", study.measure), ("audit", study.audit))
            },
            "policy": str(base / study.policy) if study.policy.endswith(".toml") else study.policy,
        }
    )


def _rebased(settings: Any, base: Path, fields: tuple[str, ...]) -> Any:
    values = {name: getattr(settings, name) for name in fields if name in type(settings).model_fields}
    return settings.model_copy(update={name: _absolute(value, base) for name, value in values.items()})


def _absolute(value: Any, base: Path) -> Any:
    if isinstance(value, Mapping):
        return {name: base / place for name, place in value.items()}
    return None if value is None else base / value


def _name_problem(kind: str, name: str) -> str:
    if name == REAL and kind == "generators":
        return f"generators.{name}: that name means training on real images"
    if not _NAME.fullmatch(name):
        return f"{kind}.{name}: names are small letters, digits, - and _"
    return ""


def _kind_problem(place: str, kind: str, known: tuple[str, ...]) -> str:
    return "" if kind in known else f"{place}: {kind!r} is none of {', '.join(known)}"
