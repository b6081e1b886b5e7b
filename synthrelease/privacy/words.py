"""What the audit did not test, and what its reader should know, in sentences."""

from __future__ import annotations

import numpy as np

from synthrelease.image_set import MASK
from synthrelease.privacy.calibration import Thresholds
from synthrelease.privacy.parts import SMALLEST_TUMOUR
from synthrelease.privacy.roles import Roles, known_subjects
from synthrelease.privacy.screening import FEWEST_SUBJECTS_FOR_SIGNIFICANCE
from synthrelease.settings import AuditSettings

ALWAYS = (
    "Attribute inference: whether a known patient's other properties can be guessed from the synthetic images.",
    "Linkage of this release with other releases or public data.",
    "Attackers who hold the generator's weights or can query it: that is a different release.",
    "Relatives and repeat visits under other ids, unless their images themselves are near copies.",
    "Whether the holdout was used to choose the generator's checkpoint.",
    "Copies turned by more than about 30 degrees, upside down, or inverted in contrast.",
    "Copies of a three-dimensional anatomy spread over several slices.",
    "Patches moved by more than a few per cent of the image, and parts smaller than the patches searched.",
)


def not_tested(roles: Roles, limits: Thresholds | None, settings: AuditSettings, notes: list[str]) -> tuple[str, ...]:
    """Return one sentence for everything this audit could not or did not look at."""
    sentences = [*roles.not_tested, *(note for note in notes if note)]
    if limits is None:
        sentences.append("Nothing is calibrated: without a holdout no similarity can be called large or small.")
        sentences.append("The audit's own power: planted copies need thresholds to be caught.")
    elif not settings.parts:
        sentences.append("Copied parts: the search on patches and tumours was switched off.")
    else:
        sentences += _parts_not_searched(roles, limits)
    if roles.holdout is not None and _subjects(roles) < FEWEST_SUBJECTS_FOR_SIGNIFICANCE:
        sentences.append(
            f"Significance of single images: with {_subjects(roles)} holdout subjects no p-value can be below "
            f"{1 / (_subjects(roles) + 1):.2f}."
        )
    return tuple(dict.fromkeys([*sentences, *ALWAYS]))


def warnings(roles: Roles, limits: Thresholds | None, settings: AuditSettings) -> tuple[str, ...]:
    """Return what a reader should know before reading the numbers."""
    found = []
    for role, images in roles.named():
        found += [
            f"{role}: {note.removeprefix('warning:').strip()}" for note in images.notes if note.startswith("warning:")
        ]
    sizes = {role: images.size for role, images in roles.named()}
    if len(set(sizes.values())) > 1:
        listed = ", ".join(f"{role} {h}x{w}" for role, (h, w) in sizes.items())
        found.append(f"Image sizes differ ({listed}); all were compared at {settings.image_size} px.")
    if limits is not None and limits.degraded:
        found.append(
            "Synthetic images are smoother or noisier than real ones; the thresholds come from holdout images "
            "degraded in the same way, because those are the stricter yardstick here."
        )
    if settings.attempt > 1:
        found.append(f"This is attempt {settings.attempt} at auditing this release; bounds pay for every attempt.")
    if known_subjects(roles.train) is not None and len(np.unique(roles.train.subjects)) < 17:
        found.append(
            f"Only {len(np.unique(roles.train.subjects))} train subjects: even if every planted copy is caught, "
            "a power of 0.8 cannot be shown with fewer than 17."
        )
    return tuple(found)


def _parts_not_searched(roles: Roles, limits: Thresholds) -> list[str]:
    sentences = []
    if "patch" not in limits.parts:
        sentences.append("Copied patches: too few holdout subjects have enough foreground.")
    if any(name.startswith("tumour") for name in limits.parts):
        smallest = SMALLEST_TUMOUR / 64
        sentences.append(
            f"Copied tumours smaller than {smallest:.0%} of the image's side: they hold too little to compare."
        )
    else:
        without = [role for role, images in roles.named() if MASK not in images.channels]
        why = f"no mask in {', '.join(without)}" if without else "too few holdout subjects have a large enough tumour"
        sentences.append(f"Copied tumours in other heads: {why}.")
    return sentences


def _subjects(roles: Roles) -> int:
    return 0 if roles.holdout is None else len(np.unique(roles.holdout.subjects))
