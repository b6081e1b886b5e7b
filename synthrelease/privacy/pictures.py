"""Pixels of the pairs that a person should see, the train image brought onto the synthetic one."""

from __future__ import annotations

from typing import Literal, TypedDict

import numpy as np
from numpy.typing import NDArray

from synthrelease.privacy.audit import Audit
from synthrelease.privacy.confirmation import onto
from synthrelease.privacy.parts import side_by_side
from synthrelease.privacy.queries import of_set
from synthrelease.records import PartSuspect, Suspect

Image = NDArray[np.float32]


class Picture(TypedDict):
    """One pair; images are (c, s, s) in [0, 1]."""

    suspect: Suspect
    synthetic: Image
    train: Image
    holdout: Image | None
    channels: tuple[str, ...]
    kind: Literal["suspect", "closest", "part"]


def picture(audit: Audit, suspect: Suspect, kind: Literal["suspect", "closest"]) -> Picture:
    """Return a suspect beside its train image, brought onto it, and its nearest holdout image where that is known."""
    matches = audit.found.whole
    row = audit.found.synthetic_rows[suspect.image_id]
    train = image_of(audit, "train", int(matches.index[row]))
    holdout = audit.found.holdout_rows.get(row)
    return Picture(
        suspect=suspect,
        synthetic=image_of(audit, "synthetic", row),
        train=onto(train, matches.maps[row], bool(matches.mirrored[row])),
        holdout=None if holdout is None else image_of(audit, "holdout", holdout),
        channels=audit.frame.channels,
        kind=kind,
    )


def part_picture(audit: Audit, part: PartSuspect) -> Picture:
    """Return a copied part beside the part of the train image that it resembles."""
    row = audit.found.synthetic_rows[part.image_id]
    matches = audit.found.patches if part.part == "patch" else audit.found.tumours
    whole = image_of(audit, "synthetic", row), image_of(audit, "train", int(matches.index[row]))
    synthetic, train = side_by_side(*whole, matches, row)
    suspect = Suspect(
        image_id=part.image_id,
        train_image_id=part.train_image_id,
        train_subject=part.train_subject,
        score=part.score,
        above_alarm=part.above_alarm,
        mirrored=bool(matches.mirrored[row]),
    )
    return Picture(
        suspect=suspect, synthetic=synthetic, train=train, holdout=None, channels=audit.frame.channels, kind="part"
    )


def image_of(audit: Audit, role: str, number: int) -> Image:
    """Return one image (c, s, s) of a role as it was compared."""
    images = dict(audit.roles.named())[role]
    image: Image = of_set(role, images, audit.frame.channels, audit.frame.size).load(number, number + 1)[0][0]
    return image
