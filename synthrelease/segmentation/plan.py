"""What a comparison of training sets is made of: image sets, network, settings; everything checked before training."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

from synthrelease.errors import SegmentationError, SettingsError, SplitError
from synthrelease.image_set import ImageSet
from synthrelease.segmentation.augmentation import AugmentSettings
from synthrelease.segmentation.feed import Reader
from synthrelease.segmentation.labels import labels_of
from synthrelease.segmentation.mixing import ARMS, Arm, MixSettings
from synthrelease.segmentation.model_folder import Model
from synthrelease.segmentation.networks import NetworkSettings, chosen
from synthrelease.segmentation.recipe import TRAININGS, SegmenterTraining
from synthrelease.segmentation.usefulness import Compared
from synthrelease.settings import Settings


@dataclass(frozen=True)
class Roles:
    """The image sets of one comparison."""

    test: ImageSet
    real: ImageSet | None = None
    synthetic: ImageSet | None = None


@dataclass(frozen=True)
class Plan:
    """What is trained, how often, and how."""

    arms: tuple[Arm, ...]
    seeds: tuple[int, ...]
    preset: str
    model: Model
    mix: MixSettings
    training: SegmenterTraining
    augment: AugmentSettings | None

    @property
    def compared(self) -> Compared:
        """Return what a record of the comparison needs to know of it."""
        return Compared(self.arms, self.seeds, self.model.name, self.preset, self.model.reader.labels)


def planned(
    roles: Roles,
    *,
    train_on: Sequence[str],
    network: str,
    preset: str | None,
    seeds: Sequence[int],
    augment: bool,
    size: int | None,
    changes: Mapping[str, Any],
) -> Plan:
    """Return what `segment_into` would train, after looking at the image sets; raises as it."""

    arms = tuple(arm for arm in ARMS if arm in train_on)
    if not arms or set(train_on) - set(ARMS) or not seeds or min(seeds) < 0 or len(set(seeds)) < len(seeds):
        raise SettingsError(
            f"Nothing can be trained on {', '.join(train_on) or 'nothing'} with seeds {', '.join(map(str, seeds))}.",
            f"Choose among {', '.join(ARMS)}, and different seeds from 0 on.",
        )
    needed = roles.real if "real" in arms or roles.real is not None else roles.synthetic
    if needed is None:
        raise SegmentationError(f"Training on {arms[0]} needs images.", "Give --real, --synthetic or both.")
    _check_roles(roles)
    preset, settings = settings_of(network, preset, changes)
    height, width = roles.test.size
    factor = 1.0 if size is None else size / max(height, width)
    small = (max(1, round(height * factor)), max(1, round(width * factor)))
    reader = Reader(needed.contrasts, small, labels_of(needed))
    for name, images in (("test", roles.test), ("real", roles.real), ("synthetic", roles.synthetic)):
        if images is not None:  # now, and not after hours of training on another set
            reader.check(images, name)
    return Plan(
        arms=arms,
        seeds=tuple(seeds),
        preset=preset,
        model=Model(network, settings[0], reader),
        training=settings[1],
        mix=settings[2],
        augment=settings[3] if augment else None,
    )


def settings_of(
    network: str, preset: str | None, changes: Mapping[str, Any]
) -> tuple[str, tuple[NetworkSettings, SegmenterTraining, MixSettings, AugmentSettings]]:
    """Return a preset's name and its settings of network, training, mixing and augmentation, with single ones changed.

    Raises:
        SettingsError: There is no such network, preset or setting, or they do not fit together.
    """
    preset, shape = chosen(network, preset)
    parts: list[Settings] = [shape, TRAININGS[network][preset], MixSettings(), AugmentSettings()]
    return preset, cast(Any, tuple(_changed(parts, changes)))


def _changed(parts: Sequence[Settings], changes: Mapping[str, Any]) -> list[Settings]:
    """Return settings with single values changed; each name belongs to one of them."""
    known = {name for part in parts for name in type(part).model_fields} - {"seed"}
    if unknown := sorted(set(changes) - known):
        raise SettingsError(
            f"There is no setting {', '.join(unknown)} of this network, its training or its images.",
            f"There are: {', '.join(sorted(known))}.",
        )
    return [
        type(part).checked(
            **{**part.model_dump(), **{k: v for k, v in changes.items() if k in type(part).model_fields}}
        )
        for part in parts
    ]


def _check_roles(roles: Roles) -> None:
    """Raise where a test subject is also trained on: its score would say nothing."""
    tested = set(roles.test.subjects.tolist()) - {""}
    for name, images in (("real", roles.real), ("synthetic", roles.synthetic)):
        if images is None:
            continue
        shared = sorted(tested & set(images.subjects.tolist()))
        if shared or images.content == roles.test.content:
            raise SplitError(
                f"{len(shared) or 'All'} test subjects are also in the {name} images: {', '.join(shared[:5])}.",
                "Split by subject with `synthrelease prepare`: train, holdout and test share nobody.",
            )
