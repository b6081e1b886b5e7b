"""The search on parts: a copied piece of anatomy, or a copied tumour, in another head.

Patches are squares at fixed places of the 64 px image, each searched among the train patches at the same place, in both
orientations. Tumours are the mask's bounding boxes, brought to one size, searched among all train tumours.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from synthrelease.mapped import New, in_memory
from synthrelease.privacy import alignment
from synthrelease.privacy.confirmation import SIZE, Prepared, local_correlation
from synthrelease.privacy.neighbours import Index, Whitening, fit_whitening, whitening_tables
from synthrelease.progress import Advance

VERSION = "parts-5"
PATCH = 28  # pixels of 64: large enough to belong to one patient, small enough to be pasted
STRIDE = 6  # pixels: a pasted square of half the side then holds a whole patch wherever it lies
PLACES = tuple((top, left) for top in range(0, 37, STRIDE) for left in range(0, 37, STRIDE))
LEAST_FOREGROUND = 0.6  # of a patch; emptier ones are skipped
CELLS = 8  # a patch's descriptor has 8 x 8 cells per contrast
CONFIRMED = 6  # best (place, orientation, train patch) per query that are confirmed
TUMOUR_MARGIN = 1.4  # box side over the mask's: the rim belongs to the tumour
SMALLEST_TUMOUR = 7.0  # pixels of 64; smaller ones hold too little to recognise
CROP = 32  # pixels to which a tumour's box is brought
PORTION = 512
PATCH_WIDTH = TUMOUR_WIDTH = 64  # dimensions that whitening keeps
FITTED_ON = 400  # images, evenly spread: some ten thousand patches fix 64 directions
TUMOURS_FITTED_ON = 10_000  # at most, evenly spread
SHOWN = 96  # pixels of a part in the report

Boxes = NDArray[np.float32]  # (n, 4): top, left, bottom, right in pixels of 64


@dataclass(frozen=True)
class PartMatches:
    """Best part match of each query; score -1 where the query has no such part."""

    score: NDArray[np.float64]
    index: NDArray[np.int64]
    box: Boxes  # in the query
    mirrored: NDArray[np.bool_]  # matched in the mirrored query
    maps: NDArray[np.float32]  # (n, 2, 3), from the (mirrored) query's box to the train image


def no_matches(count: int) -> PartMatches:
    """Return matches that say "no such part"."""
    return PartMatches(
        score=np.full(count, -1.0),
        index=np.full(count, -1),
        box=np.zeros((count, 4), np.float32),
        mirrored=np.zeros(count, bool),
        maps=np.zeros((count, 2, 3), np.float32),
    )


@dataclass(frozen=True)
class PatchTables:
    """Whitened train patches, place by place; only the first ``counts`` rows of a place are filled."""

    mean: NDArray[np.float32]  # (d,), of the whitening
    matrix: NDArray[np.float32]  # (d, w)
    counts: NDArray[np.int64]  # (places,)
    rows: NDArray[np.int32]  # (places, n), the train image of each patch
    features: NDArray[np.float32]  # (places, n, w)

    @classmethod
    def of(cls, train: Prepared, new: New = in_memory, done: Advance = lambda count: None) -> PatchTables:
        """Return the tables of train images, read once from the first to the last.

        Args:
            train: The images, which may be mapped from files.
            new: Makes an empty table; memory is O(`PORTION`) where it maps them to files.
            done: Hears how many images are done.
        """
        n = len(train)
        sample = train.take(np.unique(np.linspace(0, n - 1, min(n, FITTED_ON)).astype(np.int64)))
        described = np.concatenate([table[kept] for table, kept in (_describe_place(sample, at) for at in PLACES)])
        whitening = fit_whitening(described, PATCH_WIDTH) if len(described) else None
        counts = new("counts", (len(PLACES),), np.int64)
        rows = new("rows", (len(PLACES), n), np.int32)
        width = 0 if whitening is None else whitening.matrix.shape[1]
        features = new("features", (len(PLACES), n, width), np.float32)
        for start in range(0, n if whitening else 0, PORTION):
            chosen = np.arange(start, min(start + PORTION, n))
            block = train.take(chosen)
            for number, place in enumerate(PLACES):
                table, kept = _describe_place(block, place)
                if whitening is not None and kept.any():
                    filled = slice(counts[number], counts[number] + kept.sum())
                    rows[number, filled], features[number, filled] = chosen[kept], whitening(table[kept])
                    counts[number] = filled.stop
            done(len(chosen))
        return cls(*whitening_tables(whitening, new), counts, rows, features)


@dataclass(frozen=True)
class TumourTables:
    """Whitened train tumours."""

    mean: NDArray[np.float32]  # (d,), of the whitening
    matrix: NDArray[np.float32]  # (d, w)
    boxes: Boxes  # (n, 4), of all train images
    rows: NDArray[np.int64]  # (m,), the train images with a tumour
    features: NDArray[np.float32]  # (m, w)

    @classmethod
    def of(cls, train: Prepared, boxes: Boxes, new: New = in_memory) -> TumourTables:
        """Return the tables of train images and their tumour boxes; arguments as of `PatchTables.of`."""
        there = np.flatnonzero(boxes[:, 2] > boxes[:, 0])
        sample = there[:: max(1, -(-len(there) // TUMOURS_FITTED_ON))]
        whitening = None
        if len(there) >= 2:
            described = [_describe_boxes(train.take(part), boxes[part]) for part in _portions(sample)]
            whitening = fit_whitening(np.concatenate(described), TUMOUR_WIDTH)
        width = 0 if whitening is None else whitening.matrix.shape[1]
        features = new("features", (len(there), width), np.float32)
        for number, part in enumerate(_portions(there) if whitening else ()):
            first = number * PORTION
            if whitening is not None:
                features[first : first + len(part)] = whitening(_describe_boxes(train.take(part), boxes[part]))
        known, rows = new("boxes", boxes.shape, np.float32), new("rows", there.shape, np.int64)
        known[:], rows[:] = boxes, there
        return cls(*whitening_tables(whitening, new), known, rows, features)


def _portions(rows: NDArray[np.int64]) -> Iterator[NDArray[np.int64]]:
    for start in range(0, len(rows), PORTION):
        yield rows[start : start + PORTION]


class PatchSearch:
    """Train patches, place by place."""

    def __init__(self, train: Prepared, tables: PatchTables | None = None) -> None:
        self.train = train
        self.tables = tables = tables or PatchTables.of(train)
        self.whitening = Whitening(tables.mean, tables.matrix) if tables.mean.size else None
        self.indexes = [
            Index(tables.features[number, :count]) if count else None for number, count in enumerate(tables.counts)
        ]

    def match(self, queries: Prepared) -> PartMatches:
        """Return the best patch match of each query."""
        if self.whitening is None:
            return no_matches(len(queries))
        found = [self._nearest(queries, flipped) for flipped in (False, True)]
        distance = np.concatenate([f[0] for f in found], axis=1)  # (n, 2 * places)
        train_rows = np.concatenate([f[1] for f in found], axis=1)
        best = np.argsort(distance, axis=1, kind="stable")[:, :CONFIRMED]
        n = len(queries)
        query = np.repeat(np.arange(n), best.shape[1])
        choice = best.ravel()
        usable = np.isfinite(distance[query, choice])
        query, choice = query[usable], choice[usable]
        place, flipped = choice % len(PLACES), choice >= len(PLACES)
        boxes = np.array([(t, le, t + PATCH, le + PATCH) for t, le in PLACES], np.float32)[place]
        rows = train_rows[query, choice]
        score, maps = _confirm(queries, self.train, (query, rows), (boxes, boxes), flipped, PATCH)
        boxes = np.where(flipped[:, None], _mirrored(boxes), boxes)
        return _best_of(n, query, PartMatches(score, rows, boxes, flipped, maps))

    def _nearest(self, queries: Prepared, flipped: bool) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
        distance = np.full((len(queries), len(PLACES)), np.inf)
        rows = np.full((len(queries), len(PLACES)), -1)
        for number, (place, index) in enumerate(zip(PLACES, self.indexes, strict=True)):
            described, kept = _describe_place(queries, place, flipped)
            if index is None or self.whitening is None or not kept.any():
                continue
            found, far = index.nearest(self.whitening(described[kept]), 1)
            distance[kept, number] = far[:, 0]
            rows[kept, number] = self.tables.rows[number][found[:, 0]]
        return distance, rows


class TumourSearch:
    """Train tumours, wherever they lie."""

    def __init__(self, train: Prepared, tables: TumourTables) -> None:
        self.train, self.tables = train, tables
        self.whitening = Whitening(tables.mean, tables.matrix) if tables.mean.size else None
        self.index = Index(tables.features) if self.whitening else None

    def match(self, queries: Prepared, boxes: Boxes) -> PartMatches:
        """Return the best tumour match of each query with a tumour box."""
        there = np.flatnonzero(boxes[:, 2] > boxes[:, 0])
        if self.whitening is None or self.index is None or not len(there):
            return no_matches(len(queries))
        described = self.whitening(_describe_boxes(queries.take(there), boxes[there]))
        found, _ = self.index.nearest(described, 3)
        query = np.repeat(there, 2 * found.shape[1])
        rows = self.tables.rows[np.repeat(found, 2, axis=1).ravel()]
        flipped = np.tile([False, True], len(query) // 2)
        seen = np.where(flipped[:, None], _mirrored(boxes)[query], boxes[query])
        score, maps = _confirm(queries, self.train, (query, rows), (seen, self.tables.boxes[rows]), flipped, CROP)
        return _best_of(len(queries), query, PartMatches(score, rows, boxes[query], flipped, maps))


def tumour_boxes(masks: NDArray[np.uint8]) -> Boxes:
    """Return the boxes (n, 4) of label masks (n, s, s), squared, with margin; zeros where too small or absent."""
    n, side = masks.shape[0], masks.shape[1]
    boxes = np.zeros((n, 4), np.float32)
    for row in range(n):
        where = np.argwhere(masks[row] > 0) * (SIZE / side)
        if not len(where):
            continue
        low, high = where.min(0), where.max(0) + SIZE / side
        half = TUMOUR_MARGIN * float((high - low).max()) / 2
        if 2 * half / TUMOUR_MARGIN < SMALLEST_TUMOUR:
            continue
        middle = (low + high) / 2
        boxes[row] = (*(middle - half), *(middle + half))
    return boxes


def _confirm(
    queries: Prepared,
    train: Prepared,
    rows: tuple[NDArray[np.int64], NDArray[np.int64]],
    boxes: tuple[Boxes, Boxes],
    flipped: NDArray[np.bool_],
    crop: int,
) -> tuple[NDArray[np.float64], NDArray[np.float32]]:
    """Return the score and the map of every (query box, train box) pair after a small alignment of the crop."""
    score = np.full(len(rows[0]), -1.0)
    fitted = np.zeros((len(score), 2, 3), np.float32)
    for start in range(0, len(score), PORTION):
        part = slice(start, start + PORTION)
        images = torch.from_numpy(queries.images[rows[0][part]]).float()
        flip = torch.from_numpy(flipped[part])[:, None, None, None]
        images = torch.where(flip, images.flip(-1), images)
        query = alignment.sample(images, _box_maps(boxes[0][part]), crop)
        target = torch.from_numpy(train.images[rows[1][part]]).float()
        base = _box_maps(boxes[1][part])
        weight = torch.ones_like(query[:, :1])
        template = alignment.Template.of(query.mean(1, keepdim=True), weight)
        maps, _ = alignment.fit(template, target.mean(1, keepdim=True), base, 5, base=base)
        noise = torch.from_numpy(queries.noise[rows[0][part]]), torch.from_numpy(train.noise[rows[1][part]])
        score[part], fitted[part] = local_correlation(query, target, weight, maps, noise).numpy(), maps.numpy()
    return score, fitted


def _best_of(n: int, query: NDArray[np.int64], pairs: PartMatches) -> PartMatches:
    """Return the best of several pairs for each of n queries; ``query`` says whose each pair is."""
    result = no_matches(n)
    for i in np.argsort(pairs.score, kind="stable"):  # ascending: the best writes last
        for name, values in vars(pairs).items():
            getattr(result, name)[query[i]] = values[i]
    return result


def _mirrored(boxes: Boxes) -> Boxes:
    """Return the same boxes in the mirror image."""
    flipped: Boxes = boxes[:, [0, 3, 2, 1]] * np.array([1, -1, 1, -1], np.float32) + np.array(
        [0, SIZE, 0, SIZE], np.float32
    )
    return flipped


def side_by_side(
    synthetic: NDArray[np.float32], train: NDArray[np.float32], matches: PartMatches, row: int
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return the part as it lies in the synthetic image (c, s, s) and in the train image, both (c, 96, 96)."""
    box = torch.from_numpy(matches.box[row : row + 1])
    seen = alignment.sample(torch.from_numpy(synthetic)[None], _box_maps(box.numpy()), SHOWN)[0]
    source = alignment.sample(torch.from_numpy(train)[None], torch.from_numpy(matches.maps[row : row + 1]), SHOWN)[0]
    return seen.numpy(), (source.flip(-1) if matches.mirrored[row] else source).numpy()


def _describe_place(
    images: Prepared, place: tuple[int, int], flipped: bool = False
) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """Return descriptors (n, d) of the patches at one place, and which of them hold enough foreground (n,)."""
    n = len(images)
    pixels, mask = images.images, images.foreground
    if flipped:
        pixels, mask = pixels[..., ::-1], mask[..., ::-1]
    cells = PATCH // CELLS  # 28 = 8 x 3 + 4: two pixels of each edge stay out
    edge = (PATCH - cells * CELLS) // 2
    top, left = place
    kept = mask[:, top : top + PATCH, left : left + PATCH].mean((1, 2)) >= LEAST_FOREGROUND * 255
    inner = slice(top + edge, top + edge + cells * CELLS), slice(left + edge, left + edge + cells * CELLS)
    patch = np.asarray(pixels[:, :, inner[0], inner[1]], dtype=np.float32)
    return _normalised(patch.reshape(n, -1, CELLS, cells, CELLS, cells).mean((3, 5))), kept


def _describe_boxes(images: Prepared, boxes: Boxes) -> NDArray[np.float32]:
    """Return descriptors (n, d) of boxes, the same for a box and its mirror image."""
    crops = alignment.sample(torch.from_numpy(np.asarray(images.images)).float(), _box_maps(boxes), 12).numpy()
    mirrored = crops[..., ::-1]
    half = crops.shape[-1] // 2
    return _normalised(np.concatenate([(crops + mirrored)[..., :half], np.abs(crops - mirrored)[..., :half]], axis=1))


def _normalised(cells: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return (n, c * h * w) of cells (n, c, h, w), each contrast with mean 0 and deviation 1."""
    centred = cells - cells.mean((2, 3), keepdims=True)
    deviation = np.sqrt((centred**2).mean((2, 3), keepdims=True))
    flat: NDArray[np.float32] = (centred / np.maximum(deviation, 1e-3)).reshape(len(cells), -1).astype(np.float32)
    return flat


def _box_maps(boxes: Boxes) -> torch.Tensor:
    """Return the maps (n, 2, 3) from a crop's [-1, 1] to the image's."""
    low = torch.from_numpy(np.ascontiguousarray(boxes[:, :2])) * 2 / SIZE - 1
    high = torch.from_numpy(np.ascontiguousarray(boxes[:, 2:])) * 2 / SIZE - 1
    half, middle = (high - low) / 2, (high + low) / 2
    maps = torch.zeros(len(boxes), 2, 3)
    maps[:, 0, 0], maps[:, 0, 2] = half[:, 1], middle[:, 1]
    maps[:, 1, 1], maps[:, 1, 2] = half[:, 0], middle[:, 0]
    return maps
