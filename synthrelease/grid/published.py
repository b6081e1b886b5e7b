"""The ranks that the reference study published, as data."""

from __future__ import annotations

import functools
import tomllib
from dataclasses import dataclass
from pathlib import Path

FILE = Path(__file__).with_name("published_ranks.toml")


@dataclass(frozen=True)
class PublishedRanks:
    """One row of the published tables."""

    measure: str
    """fid, is, dice or hausdorff."""
    year: str
    """Of BraTS."""
    of: dict[str, int]
    """Generator to rank, 1 = best."""
    segmenter: str = ""
    augmented: bool | None = None


@functools.cache
def published_rows() -> tuple[PublishedRanks, ...]:
    """Return every published row of ranks."""
    return tuple(PublishedRanks(**row) for row in tomllib.loads(FILE.read_text(encoding="utf-8"))["ranks"])


@functools.cache
def source() -> str:
    """Return where the ranks come from, and what is not known about them."""
    about = tomllib.loads(FILE.read_text(encoding="utf-8"))
    return f"{about['source']}. {about['unknown']}"


def published_ranks(measure: str, year: str, *, segmenter: str = "", augmented: bool | None = None) -> dict[str, int]:
    """Return the published ranks (generator to rank) of one measure in one year; empty where there are none."""
    wanted = (measure, year, segmenter, augmented)
    for row in published_rows():
        if (row.measure, row.year, row.segmenter, row.augmented) == wanted:
            return dict(row.of)
    return {}
