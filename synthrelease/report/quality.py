"""Image quality as a page and as a section: tables and figures of a quality record, and a grid of images."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from synthrelease import store
from synthrelease.records import Curve
from synthrelease.release_records import Measurement, QualityRecord
from synthrelease.report import formats
from synthrelease.report.figures import Picture
from synthrelease.report.pages import page
from synthrelease.report.quality_figures import figures_of, floors_figure

PIXELS_ONLY = "Pixels and masks, without features"
TILE, GAP = 96, 4  # pixels
Pair = tuple[NDArray[np.float32], NDArray[np.float32]]
"""A synthetic image (c, h, w) in [0, 1] and its nearest real one."""


@dataclass(frozen=True)
class Group:
    """The measurements of one extractor on one view, in the order of the record."""

    title: str
    preprocessing: str
    weights_sha256: str
    rows: tuple[Measurement, ...]
    figure: Picture | None
    """Measures as multiples of their floors."""


@dataclass(frozen=True)
class QualitySection:
    """Everything that the quality section shows."""

    groups: tuple[Group, ...]
    figures: tuple[tuple[str, Picture, Curve], ...]
    """Caption, figure, and the numbers in it."""
    grid: Picture | None
    synthrelease: str
    date: str
    interval: str
    scaling: str


def quality_section(record: QualityRecord, pairs: Sequence[Pair] = (), *, public: bool = False) -> QualitySection:
    """Return the section for the inside edition, or for the public one.

    Args:
        record: what `synthrelease measure` found.
        pairs: random synthetic images beside their nearest real images; they never reach the public edition.
        public: no real image, no nearest neighbours, no vector graphics.
    """
    made = record.made_with
    return QualitySection(
        groups=groups_of(record.measurements, as_png=public),
        figures=figures_of(record.curves, as_png=public),
        grid=None if public or not pairs else _grid(pairs),
        synthrelease=made.get("synthrelease", ""),
        date=made.get("date", ""),
        interval=made.get("interval", ""),
        scaling=made.get("scaling", ""),
    )


def write_quality_page(record: QualityRecord, pairs: Sequence[Pair], path: Path) -> Path:
    """Write the inside page of a quality record, whole or not at all, and return its path; it shows real images."""
    store.write_text(path, page("quality.html.j2", quality=quality_section(record, pairs), record=record))
    return path


def groups_of(measurements: Sequence[Measurement], *, as_png: bool = False) -> tuple[Group, ...]:
    """Return measurements by extractor and view, each group with its figure; those without features come together."""
    keys = dict.fromkeys((item.extractor, item.view if item.extractor else "") for item in measurements)
    found = []
    for extractor, view in keys:
        rows = [m for m in measurements if m.extractor == extractor and (not extractor or m.view == view)]
        title = f"{extractor} on {view}" if extractor else PIXELS_ONLY
        figure = floors_figure(rows, as_png=as_png)
        found.append(Group(title, rows[0].preprocessing, rows[0].weights_sha256 or "", tuple(rows), figure))
    return tuple(found)


def _grid(pairs: Sequence[Pair]) -> Picture:
    """Return random synthetic images in the upper row, and below each its nearest real image."""
    rows = []
    for side in (0, 1):
        tiles = [_tile(pair[side]) for pair in pairs]
        gap = np.full((tiles[0].shape[0], GAP), 255, np.uint8)
        rows.append(np.concatenate([piece for tile in tiles for piece in (tile, gap)][:-1], axis=1))
    between = np.full((2 * GAP, rows[0].shape[1]), 255, np.uint8)
    image = Image.fromarray(np.concatenate([rows[0], between, rows[1]]))
    file = io.BytesIO()
    image.save(file, "PNG", compress_level=7)
    address = "data:image/png;base64," + base64.b64encode(file.getvalue()).decode()
    count = formats.counted(len(pairs), "synthetic image")
    finding = f"{count} drawn at random in the upper row; below each the real image nearest to it in these features."
    return Picture(address, image.width, image.height, finding)


def _tile(image: NDArray[Any]) -> NDArray[np.uint8]:
    """Return the contrasts of an image (c, h, w) below each other, each `TILE` pixels a side."""
    planes = [Image.fromarray(np.rint(np.clip(plane, 0, 1) * 255).astype(np.uint8)) for plane in image]
    return np.concatenate([np.asarray(plane.resize((TILE, TILE), Image.Resampling.BOX)) for plane in planes])
