"""Pixels of the pairs that a person should see, the train image brought onto the synthetic one."""

from __future__ import annotations

from typing import Literal, TypedDict

import numpy as np
from numpy.typing import NDArray

from synthrelease.privacy.audit import Audit
from synthrelease.privacy.confirmation import onto
from synthrelease.privacy.queries import of_set
from synthrelease.records import Suspect

MOST_SUSPECTS = 20

Image = NDArray[np.float32]


class Picture(TypedDict):
    """One pair; images are (c, s, s) in [0, 1]."""

    suspect: Suspect
    synthetic: Image
    train: Image
    holdout: Image | None
    channels: tuple[str, ...]
    kind: Literal["suspect", "closest", "part"]


def pictures(audit: Audit) -> list[Picture]:
    """Return the worst suspects, the worst parts, and the closest pairs that are not suspects, in that order."""
    suspects = audit.record.suspects[:MOST_SUSPECTS]
    shown = {suspect.image_id for suspect in suspects}
    closest = [pair for pair in audit.record.closest if pair.image_id not in shown]
    return [_picture(audit, s, "suspect") for s in suspects] + [_picture(audit, s, "closest") for s in closest]


def _picture(audit: Audit, suspect: Suspect, kind: Literal["suspect", "closest"]) -> Picture:
    roles, frame, matches = audit.roles, audit.frame, audit.found.whole
    row = audit.found.synthetic_rows[suspect.image_id]

    def image_of(role: str, number: int) -> Image:
        images = dict(roles.named())[role]
        image: Image = of_set(role, images, frame.channels, frame.size).load(number, number + 1)[0][0]
        return image

    synthetic = image_of("synthetic", row)
    train = onto(image_of("train", int(matches.index[row])), matches.maps[row], bool(matches.mirrored[row]))
    holdout = audit.found.holdout_rows.get(row)
    return Picture(
        suspect=suspect,
        synthetic=synthetic,
        train=train,
        holdout=None if holdout is None else image_of("holdout", holdout),
        channels=frame.channels,
        kind=kind,
    )
