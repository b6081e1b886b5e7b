"""What a segmenter is trained on: real subjects, synthetic images, or both, and what chooses its checkpoint."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from synthrelease import seeds
from synthrelease.errors import SegmentationError
from synthrelease.image_set import ImageSet
from synthrelease.settings import Settings

Arm = Literal["real", "synthetic", "both"]
ARMS: tuple[Arm, ...] = ("real", "synthetic", "both")
FEWEST_SUBJECTS = 2  # one to learn from, one to choose the checkpoint on
FEWEST_IMAGES = 2


class MixSettings(Settings):
    """How real and synthetic images are mixed and held back."""

    real_share: float = Field(
        default=0.5, gt=0, lt=1, description="Of the images seen in training on both, how many are real (study: half)"
    )
    real_fraction: float = Field(default=1.0, gt=0, le=1, description="Share of real subjects that may be used")
    validation_share: float = Field(
        default=0.2, gt=0, lt=1, description="Real subjects, or synthetic images, that choose the checkpoint"
    )
    split_seed: int = Field(default=0, ge=0, description="Of these choices; the same for all training seeds")


@dataclass(frozen=True)
class Source:
    """Some images of one set."""

    images: ImageSet
    rows: NDArray[np.int64]  # ascending row numbers

    def __len__(self) -> int:
        return len(self.rows)


@dataclass(frozen=True)
class Mix:
    """What one training sees."""

    arm: Arm
    real: Source | None
    synthetic: Source | None
    real_share: float  # of the images seen: 1 for real alone, 0 for synthetic alone
    validation: Source
    by_subject: bool  # validation scores whole subjects; else single images


def mixed(arm: Arm, *, real: ImageSet | None, synthetic: ImageSet | None, settings: MixSettings) -> Mix:
    """Return what a training sees and what chooses its checkpoint.

    With real images among them, whole real subjects are held back and choose; a training on synthetic images alone
    never touches a real one: some of its own images choose.

    Args:
        arm: real, synthetic or both.
        real: Train images with subjects; not looked at for synthetic.
        synthetic: Not looked at for real.
        settings: Shares and the seed of the split.

    Raises:
        SegmentationError: A set is missing or too small, or real images carry no subjects.
    """
    if arm not in ARMS:
        raise SegmentationError(f"There is no training set {arm!r}.", f"Choose among {', '.join(ARMS)}.")
    missing = [n for n, s in (("real", real), ("synthetic", synthetic)) if arm in (n, "both") and s is None]
    if missing:
        raise SegmentationError(
            f"Training on {arm} needs {' and '.join(missing)} images.", "Give them, or leave it out."
        )
    made = chosen = held = None
    if arm != "real" and synthetic is not None:
        made, held = _synthetic(synthetic, settings, holds_back=arm == "synthetic")
    if arm != "synthetic" and real is not None:
        chosen, held = _real(real, settings)
    assert held is not None
    share = {"real": 1.0, "synthetic": 0.0, "both": settings.real_share}[arm]
    return Mix(arm, chosen, made, share, held, by_subject=arm != "synthetic")


def _real(images: ImageSet, settings: MixSettings) -> tuple[Source, Source]:
    """Return real images to learn from and to choose on, of different subjects."""
    subjects = images.subjects
    if (subjects == "").any():
        raise SegmentationError("Some real images have no subject.", "Prepare them with --subject-pattern.")
    kept = used_subjects(subjects.tolist(), settings.real_fraction, settings.split_seed)
    if len(kept) < FEWEST_SUBJECTS:
        raise SegmentationError(
            f"{len(kept)} real subject is left; one more is needed to choose the checkpoint on.",
            "Use more subjects or a larger --real-fraction.",
        )
    count = min(max(1, round(settings.validation_share * len(kept))), len(kept) - 1)
    order = seeds.named(settings.split_seed, "validation subjects").permutation(len(kept))
    held = {kept[i] for i in order[:count]}
    learning = np.isin(subjects, [name for name in kept if name not in held])
    return _source(images, learning), _source(images, np.isin(subjects, list(held)))


def used_subjects(subjects: Sequence[str], fraction: float, seed: int) -> list[str]:
    """Return the subjects that a fraction leaves; a larger fraction holds those of a smaller one."""
    names = sorted(set(subjects))
    order = seeds.named(seed, "fraction of subjects").permutation(len(names))
    return sorted(names[i] for i in order[: max(1, math.ceil(fraction * len(names) - 1e-9))])


def _synthetic(images: ImageSet, settings: MixSettings, *, holds_back: bool) -> tuple[Source, Source | None]:
    if len(images) < FEWEST_IMAGES:
        raise SegmentationError(f"There is {len(images)} synthetic image.", "Sample more with `synthrelease sample`.")
    if not holds_back:
        return _source(images, np.ones(len(images), dtype=bool)), None
    count = min(max(1, round(settings.validation_share * len(images))), len(images) - 1)
    held = np.zeros(len(images), dtype=bool)
    held[seeds.named(settings.split_seed, "validation images").permutation(len(images))[:count]] = True
    return _source(images, ~held), _source(images, held)


def _source(images: ImageSet, chosen: NDArray[np.bool_]) -> Source:
    return Source(images, np.flatnonzero(chosen).astype(np.int64))
