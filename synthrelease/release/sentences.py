"""Sentences that may leave: the audit's own, without the names and small counts that they carry inside.

A sentence of the audit is never copied: its beginning picks one of the sentences below. What begins in no known way
may hold a name (a channel, a file, a folder), so it becomes `UNTOLD`, and nothing is silently left out.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

UNTOLD = "A further limit of this audit is told inside only, because its wording may name files or patients."
WITHHELD_POWER = (
    "How many planted copies of some kinds were caught is withheld: the counts would tell of a group of fewer than "
    "{cell} real patients."
)
WITHHELD_HOLDOUT = (
    "Every number that rests on the holdout is withheld, because it has fewer than {cell} patients: rates among "
    "strangers, excess, membership attack, stranger bound."
)
WITHHELD_TRAIN = (
    "Every number that rests on train is withheld, because it has fewer than {cell} patients: power, bounds, "
    "membership attack, comparisons."
)

SENTENCES: tuple[tuple[str, str], ...] = (  # how the audit's sentence begins, what may leave
    (
        "Attribute inference:",
        "Attribute inference: whether a known patient's other properties can be guessed from the synthetic images.",
    ),
    ("Linkage of this release", "Linkage of this release with other releases or public data."),
    (
        "Attackers who hold the generator's weights",
        "Attackers who hold the generator's weights or can query it: that is a different release.",
    ),
    (
        "Relatives and repeat visits",
        "Relatives and repeat visits under other ids, unless their images themselves are near copies.",
    ),
    ("Whether the holdout was used", "Whether the holdout was used to choose the generator's checkpoint."),
    (
        "Copies turned by more than",
        "Copies turned by more than about 30 degrees, upside down, or inverted in contrast.",
    ),
    ("Copies of a three-dimensional", "Copies of a three-dimensional anatomy spread over several slices."),
    (
        "Patches moved by more than",
        "Patches moved by more than a few per cent of the image, and parts smaller than the patches searched.",
    ),
    (
        "Nothing is calibrated:",
        "Nothing is calibrated: without a holdout no similarity can be called large or small.",
    ),
    ("The audit's own power:", "The audit's own power: planted copies need thresholds to be caught."),
    ("Copied parts:", "Copied parts: the search on patches and tumours was switched off."),
    ("Copied patches:", "Copied patches: too few holdout patients have enough foreground."),
    ("Copied tumours smaller than", "Copied tumours that are very small: they hold too little to compare."),
    ("Copied tumours in other heads:", "Copied tumours in other heads: masks are missing, or too few to compare."),
    (
        "Significance of single images:",
        "Significance of single images: the holdout has too few patients for any p-value to be small.",
    ),
    ("Membership was not attacked", "Membership was not attacked."),
    ("Whether the holdout represents train", "Whether the holdout represents train."),
    ("Channel ", "Some channels were not compared."),
    # Warnings of the run that change how the numbers are read.
    (
        "Image sizes differ",
        "Image sizes differed between the real and the synthetic images; all were compared at one size.",
    ),
    (
        "Synthetic images are smoother or noisier",
        "Synthetic images are smoother or noisier than real ones; the thresholds come from holdout images degraded in "
        "the same way, because those are the stricter yardstick here.",
    ),
    ("Only ", "Train has so few patients that even a perfect audit could not show much power."),
)
TOLD_ELSEWHERE = ("This is attempt ",)  # warnings whose content has a field of its own

_SMALL = re.compile(
    r"(?<![\w.,])(\d{1,6})(?=(?: of (?:the )?[\d,]+)?(?: (?:real|train|training|holdout|test|further|other))* "
    r"(?:subject|patient|person|people|stranger|individual)s?\b)"
)


def public_sentences(sentences: Sequence[str]) -> tuple[str, ...]:
    """Return what may leave of the audit's sentences, each once, unknown ones as `UNTOLD`."""
    kept = [sentence for sentence in sentences if not sentence.startswith(TOLD_ELSEWHERE)]
    return tuple(dict.fromkeys(_public(sentence) for sentence in kept))


def without_small_counts(text: str, cell: int) -> str:
    """Return text with every count of real people from 1 to ``cell`` - 1 as "fewer than ..."."""
    return _SMALL.sub(lambda found: fewer(cell) if 0 < int(found[1]) < cell else found[1], text)


def fewer(cell: int) -> str:
    """Return the words for a count that is too small to tell."""
    return f"fewer than {cell}"


def _public(sentence: str) -> str:
    return next((public for beginning, public in SENTENCES if sentence.startswith(beginning)), UNTOLD)
