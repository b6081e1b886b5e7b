"""The three roles side by side: what they share, what must be refused before any image is compared."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from synthrelease import store
from synthrelease.errors import AuditError
from synthrelease.features.analysis import SCALING
from synthrelease.image_set import MASK, ImageSet
from synthrelease.privacy.leaks import shared_subjects
from synthrelease.records import Inputs, RoleInputs, UnreadFile

FEWEST_TRAIN = 2
HASHED_AT_ONCE = 64


@dataclass(frozen=True)
class Roles:
    """Train, holdout and synthetic images with the contrasts that all of them have."""

    train: ImageSet
    holdout: ImageSet | None
    synthetic: ImageSet
    channels: tuple[str, ...]
    not_tested: tuple[str, ...]

    def named(self) -> list[tuple[str, ImageSet]]:
        """Return the roles that are there, by name."""
        sets = [("train", self.train), ("holdout", self.holdout), ("synthetic", self.synthetic)]
        return [(name, images) for name, images in sets if images is not None]


def check_roles(*, train: ImageSet, holdout: ImageSet | None, synthetic: ImageSet, channels: tuple[str, ...]) -> Roles:
    """Return the roles ready to compare, or raise an error that names what is wrong.

    Raises:
        SplitError: A subject is in both train and holdout.
        AuditError: No common contrast, an unknown channel, or too few images.
    """
    subjects = len(np.unique(train.subjects))
    if len(train) < FEWEST_TRAIN or subjects < FEWEST_TRAIN:
        raise AuditError(
            f"Train holds {len(train)} image(s) of {subjects} subject(s): nothing to compare with.",
            "Give the images the generator was trained on, of at least 2 subjects.",
        )
    if holdout is not None:
        shared_subjects(train_subjects=train.subjects, holdout_subjects=holdout.subjects)
    holdout = None if holdout is None else _named_alike(holdout, train)
    synthetic = _named_alike(synthetic, train)
    roles = [("train", train), ("synthetic", synthetic)] + ([] if holdout is None else [("holdout", holdout)])
    common = _common(roles, channels)
    missing = [
        f"Channel {name!r} was not compared: {role} does not have it."
        for name in dict.fromkeys(c for _, images in roles for c in images.channels)
        for role, images in roles
        if name not in images.channels and (name == MASK or not channels)
    ]
    ignored = [f"Channel {c!r} was left out by --channels." for c in train.contrasts if channels and c not in common]
    return Roles(train, holdout, synthetic, common, tuple(missing + ignored))


def describe(roles: Roles, excluded: tuple[str, ...]) -> Inputs:
    """Return the record of the inputs; folders by name only, never by path."""
    described = {name: _described(images, name) for name, images in roles.named()}
    unread = [
        UnreadFile(role=name, image_id=item.image_id, reason=item.reason)
        for name, images in roles.named()
        for item in images.unread
    ]
    return Inputs(
        train=described["train"],
        holdout=described.get("holdout"),
        synthetic=described["synthetic"],
        channels=roles.channels,
        scaling=SCALING,
        unread=tuple(unread),
        excluded=excluded,
    )


def pixel_hashes(images: ImageSet, channels: tuple[str, ...]) -> list[str]:
    """Return the SHA-256 of each image's contrasts as stored; blank images get one of their own, they match nobody."""
    found: list[str] = []
    for block in images.blocks(HASHED_AT_ONCE, channels):
        for image in block:
            blank = bool((image == image.flat[0]).all())
            own = f"blank {images.content} {len(found)}".encode() if blank else np.ascontiguousarray(image).tobytes()
            found.append(hashlib.sha256(own).hexdigest())
    return found


def known_subjects(images: ImageSet) -> NDArray[np.str_] | None:
    """Return subjects where every image has one, else None."""
    subjects = images.subjects
    return subjects if len(subjects) and bool((subjects != "").all()) else None


def _described(images: ImageSet, role: str) -> RoleInputs:
    subjects = known_subjects(images)
    return RoleInputs(
        folder=images.folder.name if images.folder is not None and role else "in memory",
        images=len(images),
        subjects=None if subjects is None else len(np.unique(subjects)),
        size=images.size,
        channels=images.channels,
        dtype=str(images.pixels.dtype),
        content=images.content,
        notes=images.notes,
    )


def _common(roles: list[tuple[str, ImageSet]], wanted: tuple[str, ...]) -> tuple[str, ...]:
    offered = "; ".join(f"{role}: {', '.join(images.contrasts)}" for role, images in roles)
    common = tuple(c for c in roles[0][1].contrasts if all(c in images.contrasts for _, images in roles))
    unknown = [name for name in wanted if name not in common]
    if unknown:
        raise AuditError(f"--channels names {', '.join(unknown)}, which not all roles have.", f"There are {offered}.")
    if not common:
        raise AuditError(
            f"The folders have no contrast in common: {offered}.",
            "Export the same contrasts for every role, or prepare all folders in the same way.",
        )
    return wanted or common


def _named_alike(images: ImageSet, train: ImageSet) -> ImageSet:
    """Give numbered channels (`channel0`, ...) the train contrasts' names where the counts agree."""
    numbered = tuple(f"channel{i}" for i in range(len(images.contrasts)))
    if images.contrasts != numbered or len(numbered) != len(train.contrasts) or train.contrasts == numbered:
        return images
    names = iter(train.contrasts)
    renamed = tuple(MASK if c == MASK else next(names) for c in images.channels)
    note = f"Channels without names were taken in train's order: {', '.join(train.contrasts)}."
    content = store.digest(
        [images.content, renamed]
    )  # names shape what is compared, so they name it in every cache key
    return replace(images, channels=renamed, content=content, notes=(*images.notes, note))
