"""Every option on one page: type, default, unit and reason."""

from __future__ import annotations

import difflib
import tomllib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Literal, Self, get_args

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from synthrelease.errors import SettingsError

REMEDY = "Correct this; the command's --help and the files in examples/ show what is expected."
ScalingName = Literal["akbar2024", "robust"]


class Settings(BaseModel):
    """Base of all settings: immutable; an unknown key is an error that names the nearest one."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    @classmethod
    def checked(cls, **options: Any) -> Self:
        """Build settings, turning every problem into one `SettingsError`."""
        try:
            return cls(**options)
        except ValidationError as error:
            problems = [_in_words(cls, item) for item in error.errors()]
            raise SettingsError(f"{cls.__name__}: {'; '.join(problems)}", REMEDY) from error

    @classmethod
    def from_toml(cls, path: Path) -> Self:
        """Read settings from a TOML file."""
        try:
            options = tomllib.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError, RecursionError) as error:  # ValueError: not UTF-8, not TOML, a number too long
            raise SettingsError(f"{path} is not readable TOML: {error}", REMEDY) from error
        return cls.checked(**options)


class PhantomSettings(Settings):
    """The procedural cohort."""

    subjects: int = Field(default=12, ge=1, le=100_000, description="Subjects to make")
    seed: int = Field(default=0, ge=0, description="Subject i of seed s is the same in every cohort size")
    size: int = Field(
        default=240, ge=32, le=240, description="In-plane pixels; 240 gives BraTS geometry, 240x240x155 at 1 mm"
    )
    naming: Literal["2020", "2021", "2023"] = Field(default="2021", description="BraTS year whose names are used")


class PrepareSettings(Settings):
    """Real scans to image sets."""

    fractions: tuple[float, float, float] = Field(
        default=(0.6, 0.2, 0.2), description="Share of subjects in train, holdout, test"
    )
    seed: int = Field(default=0, ge=0, description="Of the split")
    preset: ScalingName = Field(default="akbar2024", description="Intensity scaling, see docs/preparing.md")
    foreground: float = Field(
        default=0.15, ge=0, le=1, description="Least share of pixels above 50/255 in the first contrast (Akbar 2024)"
    )
    subject_pattern: str | None = Field(default=None, description="Regex on the relative path; group 1 is the subject")
    workers: int = Field(default=0, ge=0, description="Processes; 0 takes all cores")

    @model_validator(mode="after")
    def _fractions_make_one(self) -> Self:
        if min(self.fractions) < 0 or abs(sum(self.fractions) - 1) > 1e-6:
            raise ValueError("fractions must be three non-negative numbers that sum to 1")
        return self


class AuditSettings(Settings):
    """The audit. Defaults follow the measurements in docs/experiments.md."""

    extractors: tuple[str, ...] = Field(
        default=(), description="Names; empty takes `embedded` and every installed RadImageNet network"
    )
    weights: dict[str, Path] = Field(default_factory=dict, description="Weights file per extractor name")
    channels: tuple[str, ...] = Field(default=(), description="Contrasts to compare; empty takes all common ones")
    subject_pattern: str | None = Field(default=None, description="Regex on the relative path; group 1 is the subject")
    exclude: tuple[str, ...] = Field(default=(), description="Files left out by name, in any role")
    alpha: float = Field(
        default=0.01, gt=0, le=0.2, description="Share of strangers' images that may be flagged, all parts together"
    )
    seed: int = Field(default=0, ge=0, description="Of planted copies, bootstrap, permutations")
    image_size: int = Field(default=128, ge=32, le=512, description="Longest side compared, pixels")
    candidates: int = Field(
        default=4, ge=1, le=64, description="Nearest train images per descriptor and query that confirmation looks at"
    )
    planted_subjects: int = Field(
        default=72,
        ge=1,
        description="Most train subjects copied per kind: 72 of 72 caught gives a power of at least 0.95",
    )
    power_floor: float = Field(default=0.8, ge=0, le=1, description="Least power_low of each required kind")
    bootstrap: int = Field(default=1000, ge=100, description="Draws of subjects behind each interval")
    permutations: int = Field(default=999, ge=99, description="Of subject labels behind each p-value")
    parts: bool = Field(default=True, description="Also search patches and tumours")
    attempt: int = Field(default=1, ge=1, description="Which audit of this release; later ones pay in confidence")
    train_encoder: bool = Field(default=False, description="First train the copy encoder on train (minutes)")

    @property
    def alpha_each(self) -> float:
        """Alpha of one search: whole images, patches and tumours share it, a third each."""
        return self.alpha / 3 if self.parts else self.alpha


class MeasureSettings(Settings):
    """Image quality against real images."""

    extractors: tuple[str, ...] = Field(
        default=(), description="Names; empty takes copy-encoder and every imported network"
    )
    weights: dict[str, Path] = Field(default_factory=dict, description="Weights file per extractor name")
    heads: dict[str, Path] = Field(default_factory=dict, description="File with a class head per extractor name")
    channels: tuple[str, ...] = Field(default=(), description="Contrasts to measure; empty takes all common ones")
    subject_pattern: str | None = Field(default=None, description="Regex on the relative path; group 1 is the subject")
    exclude: tuple[str, ...] = Field(default=(), description="Files left out by name, in any role")
    seed: int = Field(default=0, ge=0, description="Of halves, parts, subsets and pairs")
    parts: int = Field(default=5, ge=0, le=50, description="Parts that are left out in turn for intervals; 0: none")
    pairs: int = Field(default=200, ge=2, le=10_000, description="Most pairs behind the likeness of images of a set")
    compared: int = Field(
        default=50_000,
        ge=100,
        description="Most images of each set behind measures that compare images with images; drawn once by the seed. "
        "The Frechet distance, spectra and masks take all",
    )


def _in_words(cls: type[BaseModel], item: Any) -> str:
    name = ".".join(map(str, item["loc"])) or "settings"
    if item["type"] == "extra_forbidden":
        near = difflib.get_close_matches(str(item["loc"][-1]), _fields_at(cls, item["loc"][:-1]), n=1)
        return f"unknown key {name!r}" + (f", did you mean {near[0]!r}?" if near else "")
    return f"{name}: {item['msg']}"


def _fields_at(cls: type[BaseModel], place: Sequence[int | str]) -> list[str]:
    """Return the keys that a table within settings knows."""
    for step in place:
        field = cls.model_fields.get(str(step))
        if field is None:
            continue  # the name of an entry: the table's values are what its annotation says
        found = next((part for part in _parts_of(field.annotation) if issubclass(part, BaseModel)), None)
        if found is None:
            return []
        cls = found
    return list(cls.model_fields)


def _parts_of(annotation: Any) -> Iterator[type]:
    """Yield the classes within an annotation such as ``dict[str, X] | None``."""
    if isinstance(annotation, type) and not get_args(annotation):
        yield annotation
    for part in get_args(annotation):
        yield from _parts_of(part)
