"""Quality measures that need no features: intensities, spectra, likeness within a set and tumour masks, in one pass."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import reduce
from operator import add
from typing import Any

import numpy as np
from numpy.typing import NDArray

from synthrelease import metrics, seeds
from synthrelease.errors import AuditError
from synthrelease.image_set import MASK, ImageSet
from synthrelease.metrics.checks import FloatArray, IntArray
from synthrelease.metrics.intervals import clopper_pearson
from synthrelease.metrics.jackknife import jackknife_interval, parts_of
from synthrelease.metrics.quality import Comparison, Table, Value, measure_pair
from synthrelease.progress import Progress
from synthrelease.records import AREA_EDGES, VOLUME_EDGES, Curve
from synthrelease.settings import MeasureSettings
from synthrelease.workers import HERE, Workers

BLOCK = 32  # images read together
LABELS = (51, 102, 204)  # NCR, ED, ET as prepared
MOST_LABELS = 8  # more different values are no labels
VOLUMES = "mask_volume_distance"

Prepare = Callable[[NDArray[Any]], NDArray[np.float32]]
Sums = dict[str, Any]
"""Per contrast a `PixelSums`, and under `mask` a `MaskSums`."""


@dataclass
class _Role:
    """One set, cut into parts for intervals and into the images that stand in the floor."""

    images: ImageSet
    prepare: Prepare
    part: IntArray
    half: IntArray
    """0 or 1 for the halves of the real subjects; of synthetic images 0 for those compared with a half, else -1."""
    areas: list[float] = field(default_factory=list)
    """Tumour area of each image, share of the image, where there are masks."""
    by_part: dict[int, Sums] = field(default_factory=dict)
    by_half: dict[int, Sums] = field(default_factory=dict)
    subject: IntArray | None = None
    """Of each real image, its subject's number; what leaves depends on how many stand behind a point."""
    by_subject: dict[int, Sums] = field(default_factory=dict)


def of_pixels(
    *,
    real: tuple[ImageSet, Prepare],
    synthetic: tuple[ImageSet, Prepare],
    groups: NDArray[Any],
    contrasts: Sequence[str],
    settings: MeasureSettings,
    progress: Progress,
    workers: Workers = HERE,
) -> tuple[list[tuple[Value, str]], tuple[Curve, ...]]:
    """Return every measure of pixels and masks with the contrast that it is of, and the curves of the figures.

    Args:
        real: the set, and what maps its blocks as stored to images (k, contrasts, s, s) in [0, 1].
        synthetic: likewise, with the same s.
        groups: (n,) subject of each real image.
        contrasts: names of the prepared channels.
        settings: seed, parts, pairs.
        progress: hears of images.
        workers: who adds up the images.
    """
    made, known = _roles(real, synthetic, groups, settings)
    labels = _labels(known.images) if MASK in known.images.channels and MASK in made.images.channels else None
    with progress.task("Measuring intensities and masks", len(made.images) + len(known.images)) as advance:
        for role in (known, made):
            _add_up(role, contrasts, labels, advance, workers)
    found: list[tuple[Value, str]] = []
    for name in contrasts:
        found += [(value, name) for value in _of_contrast(known, made, name, settings)]
    if labels is not None:
        found += [(value, "") for value in _of_masks(known, made, settings)]
    with progress.task("Measuring likeness within sets", len(contrasts)) as advance:
        for place, name in enumerate(contrasts):
            found.append((_likeness(known, made, place, groups, settings), name))
            advance(1)
    return found, tuple(_curves(known, made, contrasts, labels is not None))


def _roles(
    real: tuple[ImageSet, Prepare], synthetic: tuple[ImageSet, Prepare], groups: NDArray[Any], settings: MeasureSettings
) -> tuple[_Role, _Role]:
    seed, parts = settings.seed, max(settings.parts, 1)
    half = parts_of(groups, 2, seeds.named(seed, "halves"))
    made = len(synthetic[0])
    few = np.full(made, -1)
    few[seeds.named(seed, "few").permutation(made)[: int((half == 1).sum())]] = 0
    known_parts = parts_of(groups, parts, seeds.named(seed, "real parts"))
    made_parts = parts_of(np.arange(made), parts, seeds.named(seed, "synthetic parts"))
    subject = np.unique(groups, return_inverse=True)[1].reshape(-1)
    return _Role(*synthetic, made_parts, few), _Role(*real, known_parts, half, subject=subject)


def _labels(images: ImageSet) -> NDArray[Any]:
    """Return the values above 0 that real masks use, ascending: the innermost tumour has the highest."""
    seen: set[Any] = set()
    for block in images.blocks(BLOCK, (MASK,)):
        seen |= set(np.unique(block).tolist())
    values = sorted(seen - {0})
    return np.array(values if 0 < len(values) <= MOST_LABELS else LABELS)


def _add_up(
    role: _Role,
    contrasts: Sequence[str],
    labels: NDArray[Any] | None,
    advance: Callable[[int], None],
    workers: Workers,
) -> None:
    """Add every image to the sums of its part and half; nothing else of it is kept."""
    job = _AddingJob(role.images, role.prepare, tuple(contrasts), labels, (role.part, role.half, role.subject))
    kept = role.by_part, role.by_half, role.by_subject
    for size, sums, areas in workers.each(_AddingJob.block, job, range(0, len(role.images), BLOCK)):
        for total, of_block in zip(kept, sums, strict=True):
            for key, own in of_block.items():
                _add(total, key, own)
        role.areas += areas
        advance(size)


def _add(total: dict[int, Sums], key: int, own: Sums) -> None:
    before = total.get(key)
    total[key] = own if before is None else {name: before[name] + own[name] for name in own}


@dataclass(frozen=True)
class _AddingJob:
    """What a worker needs to add up any block of a set."""

    images: ImageSet
    prepare: Prepare
    contrasts: tuple[str, ...]
    labels: NDArray[Any] | None
    groups: tuple[IntArray | None, ...]
    """Of each image its part, its half, its subject."""

    def block(self, start: int) -> tuple[int, list[dict[int, Sums]], list[float]]:
        """Return a block's number of images, its sums by part, half and subject, and the tumour area of each image."""
        block = self.images.read(slice(start, start + BLOCK))
        masks = None if self.labels is None else block[:, self.images.channels.index(MASK)]
        sums: list[dict[int, Sums]] = [{} for _ in self.groups]
        areas: list[float] = []
        for k, image in enumerate(self.prepare(block)):
            own: Sums = {name: metrics.pixel_sums(image[None, place]) for place, name in enumerate(self.contrasts)}
            if masks is not None and self.labels is not None:
                own[MASK] = metrics.mask_sums(masks[None, k], self.labels)
                areas.append(float(own[MASK].areas[0]))
            for total, groups in zip(sums, self.groups, strict=True):
                if groups is not None:
                    _add(total, int(groups[start + k]), own)
        return len(block), sums, areas


def _of_contrast(known: _Role, made: _Role, name: str, settings: MeasureSettings) -> Iterator[Value]:
    for metric, measure in (
        ("intensity_distance", metrics.intensity_distance),
        ("spectrum_distance", metrics.spectrum_distance),
    ):
        yield _compared(known, made, name, metric, measure, settings)


def _of_masks(known: _Role, made: _Role, settings: MeasureSettings) -> Iterator[Value]:
    pairs = (
        ("mask_area_distance", metrics.mask_area_distance),
        ("mask_place_overlap", metrics.mask_place_overlap),
        ("mask_label_distance", metrics.mask_label_distance),
    )
    for metric, measure in pairs:
        yield _compared(known, made, MASK, metric, measure, settings)
    of_real, of_made = ((role.images, np.array(role.areas)) for role in (known, made))
    yield measure_volumes(real=of_real, synthetic=of_made, settings=settings)
    for metric, alone in (("mask_off_level", metrics.mask_off_level), ("mask_nesting", metrics.mask_nesting)):
        yield _of_one(known, made, metric, alone)


def volumes_of(images: ImageSet, areas: NDArray[np.floating]) -> FloatArray | None:
    """Return the tumour volume (s,) of each subject in ml, or None where slices cannot be put together.

    Args:
        images: the set; its voxel size is taken at its word (1 mm where nothing else is known).
        areas: (n,) tumour area of each image, share of the image.

    Returns:
        One volume per subject, over the slices that the set holds; None where an image has no subject, or no subject
        has two slices.
    """
    subjects = images.subjects
    if not len(subjects) or bool((subjects == "").any()):
        return None
    names, codes = np.unique(subjects, return_inverse=True)
    if len(names) == len(subjects):
        return None
    height, width = images.size
    millilitres = float(np.prod(images.voxel_size)) * height * width / 1000
    return np.asarray(np.bincount(codes.reshape(-1), weights=areas) * millilitres, dtype=np.float64)


def measure_volumes(
    *, real: tuple[ImageSet, FloatArray], synthetic: tuple[ImageSet, FloatArray], settings: MeasureSettings
) -> Value:
    """Return the distance between tumour volumes of two sets, each with the tumour area of every image.

    Interval, halves and floor are over subjects; where a set holds slices of nobody in particular, there is a reason
    in place of a number: a single slice has an area, and no volume.
    """
    counts = len(synthetic[0]), len(real[0])
    known, made = volumes_of(*real), volumes_of(*synthetic)
    missing = [name for name, found in (("real", known), ("synthetic", made)) if found is None]
    if known is None or made is None:
        note = f"Not computable: the {' and '.join(missing)} images are single slices; their tumour areas are compared."
        return Value(VOLUMES, VOLUMES, None, *counts, note=note)
    comparison = Comparison(known[:, None], made[:, None], np.arange(len(known)), settings.seed, settings.parts)

    def of_tables(first: Table, second: Table) -> list[float]:
        return [metrics.mask_volume_distance(real=first, synthetic=second)]

    (found,) = measure_pair(comparison, [(VOLUMES, VOLUMES)], of_tables)
    note = f"Of {len(made)} synthetic and {len(known)} real subjects; the floor's count is of subjects. {found.note}"
    low = None if found.low is None else max(0.0, found.low)
    return replace(found, count=counts[0], real_count=counts[1], low=low, note=note.strip())


def _compared(
    known: _Role,
    made: _Role,
    key: str,
    metric: str,
    measure: Callable[..., float],
    settings: MeasureSettings,
) -> Value:
    """Return one measure from sums, with its interval over parts and its floor between halves."""

    def statistic(real: Sequence[Any], synthetic: Sequence[Any]) -> FloatArray:
        return np.array([measure(real=reduce(add, real), synthetic=reduce(add, synthetic))])

    counts = len(made.images), len(known.images)
    real, synthetic = ([sums[key] for _, sums in sorted(role.by_part.items())] for role in (known, made))
    try:
        value = statistic(real, synthetic)
        span = jackknife_interval(statistic, real=real, synthetic=synthetic, value=value) if settings.parts else None
    except AuditError as error:
        return Value(metric, metric, None, *counts, note=error.problem)
    low, high = (None, None) if span is None else (max(0.0, float(span[0][0])), float(span[1][0]))
    found = Value(metric, metric, float(value[0]), *counts, low, high)
    if not {0, 1} <= set(known.by_half) or 0 not in made.by_half:
        return found
    try:
        floor = measure(real=known.by_half[0][key], synthetic=known.by_half[1][key])
        matched = measure(real=known.by_half[0][key], synthetic=made.by_half[0][key])
    except AuditError:
        return found
    count = int((made.half == 0).sum())
    return Value(metric, metric, float(value[0]), *counts, low, high, floor, matched, count)


def _of_one(known: _Role, made: _Role, metric: str, measure: Callable[..., float]) -> Value:
    """Return a share of the synthetic masks; the real masks' own share is its floor."""
    counts = len(made.images), len(known.images)

    def whole(role: _Role) -> Any:
        return reduce(add, (sums[MASK] for sums in role.by_part.values()))

    def statistic(_: Sequence[Any], synthetic: Sequence[Any]) -> FloatArray:
        return np.array([measure(synthetic=reduce(add, synthetic))])

    try:
        value, floor = measure(synthetic=whole(made)), measure(synthetic=whole(known))
        parts = [sums[MASK] for sums in made.by_part.values()]
        span = jackknife_interval(statistic, real=[None, None], synthetic=parts, value=np.array([value]))
    except AuditError as error:
        return Value(metric, metric, None, *counts, note=error.problem)
    low, high = (None, None) if span is None else (max(0.0, float(span[0][0])), min(1.0, float(span[1][0])))
    if metric == "mask_nesting":  # a count of images: its exact interval is known
        low, high = clopper_pearson(round(value * counts[0]), counts[0])
    elif low == high:
        low = high = None  # every part gave the same, which says nothing of other images
    note = "The floor is the share of the real masks."
    return Value(metric, metric, value, *counts, low, high, floor, value, counts[1], note)


def _likeness(known: _Role, made: _Role, place: int, groups: NDArray[Any], settings: MeasureSettings) -> Value:
    """Return how alike pairs of synthetic images are, beside pairs of real images of different subjects."""
    counts, metric = (len(made.images), len(known.images)), "mean_similarity"
    try:
        of_made = _pairs(made, np.arange(len(made.images)), place, settings)
    except AuditError as error:
        return Value("ms_ssim", metric, None, *counts, note=error.problem)
    note = f"{of_made.pairs} pairs; no image is in two of them."
    try:
        floor = _pairs(known, groups, place, settings)
    except AuditError as error:
        note = f"{note} No floor: {error.problem}"
        return Value("ms_ssim", metric, of_made.value, *counts, of_made.low, of_made.high, note=note)
    note = f"{note} The floor is of {floor.pairs} pairs of real images of different subjects."
    pairs = 2 * min(of_made.pairs, floor.pairs)
    return Value(
        "ms_ssim", metric, of_made.value, *counts, of_made.low, of_made.high, floor.value, of_made.value, pairs, note
    )


def _pairs(role: _Role, groups: NDArray[Any], place: int, settings: MeasureSettings) -> metrics.Likeness:
    pairs = metrics.disjoint_pairs(groups, settings.pairs, seeds.named(settings.seed, "pairs"))
    first: list[NDArray[np.float32]] = []
    second: list[NDArray[np.float32]] = []
    for start in range(0, len(pairs), BLOCK):
        for column, kept in ((0, first), (1, second)):
            rows = [int(row) for row in pairs[start : start + BLOCK, column]]
            kept += list(role.prepare(role.images.read(rows))[:, place])
    return metrics.mean_similarity(np.array(first), np.array(second))


def _curves(known: _Role, made: _Role, contrasts: Sequence[str], masks: bool) -> Iterator[Curve]:
    real, synthetic = (_whole(role) for role in (known, made))
    for name in contrasts:
        histograms = [_coarse(side[name].histogram) for side in (real, synthetic)]
        middles = (np.arange(len(histograms[0])) + 0.5) / len(histograms[0])
        behind = _behind([_bins(one[name].histogram) for one in known.by_subject.values()])
        yield _curve("intensity", name, middles, histograms, behind)
        cycles = np.arange(1, len(real[name].power) + 1, dtype=np.float64)
        behind = _behind([one[name].power for one in known.by_subject.values()])
        yield _curve("spectrum", name, cycles, [real[name].spectrum, synthetic[name].spectrum], behind)
    if masks:
        areas = [side[MASK].areas[side[MASK].areas > 0] for side in (real, synthetic)]
        if min(map(len, areas)):
            shares = [_binned(one, AREA_EDGES) / len(one) for one in areas]
            behind = _behind([_binned(one[MASK].areas, AREA_EDGES) for one in known.by_subject.values()])
            yield _curve("tumour area", "", _middles(AREA_EDGES), shares, behind)
            yield from _volume_curve(known, made)
            maps = [(side[MASK].place / side[MASK].place.sum()).ravel() for side in (real, synthetic)]
            behind = _behind([one[MASK].place.ravel() for one in known.by_subject.values()])
            yield _curve("tumour place", "", np.empty(0), maps, behind)


def _volume_curve(known: _Role, made: _Role) -> Iterator[Curve]:
    """Yield how tumour volumes of subjects are distributed, where both sets have subjects with tumour."""
    both = [volumes_of(role.images, np.array(role.areas)) for role in (known, made)]
    volumes = [found[found > 0] for found in both if found is not None]
    if len(volumes) == 2 and min(map(len, volumes)):
        shares = [_binned(one, VOLUME_EDGES) / len(one) for one in volumes]
        behind = _binned(volumes[0], VOLUME_EDGES).astype(np.int64)  # each subject has one volume
        yield _curve("tumour volume", "", _middles(VOLUME_EDGES), shares, behind)


def _binned(sizes: FloatArray, edges: Sequence[float]) -> FloatArray:
    """Return how many sizes lie in each bin, those beyond the ends in the outer ones; sizes of 0 are left out."""
    return np.histogram(np.clip(sizes[sizes > 0], edges[0], edges[-1]), edges)[0].astype(np.float64)


def _middles(edges: Sequence[float]) -> FloatArray:
    """Return the geometric middle of each bin."""
    found = np.array(edges)
    return np.asarray(np.sqrt(found[1:] * found[:-1]), dtype=np.float64)


def _behind(by_subject: Sequence[FloatArray]) -> IntArray:
    """Return how many subjects stand behind each point: (sum)^2 / sum of squares, rounded down; a giant counts once."""
    table = np.array(by_subject, dtype=np.float64)
    squares = (table**2).sum(axis=0)
    effective = np.divide(table.sum(axis=0) ** 2, squares, out=np.zeros_like(squares), where=squares > 0)
    return np.asarray(np.floor(effective + 1e-9), dtype=np.int64)


def _whole(role: _Role) -> Sums:
    names = next(iter(role.by_part.values())).keys()
    return {name: reduce(add, (sums[name] for sums in role.by_part.values())) for name in names}


def _coarse(histogram: FloatArray) -> FloatArray:
    """Return 64 shares of 256 counts: enough for a figure."""
    wide = _bins(histogram)
    return np.asarray(wide / max(float(wide.sum()), 1.0), dtype=np.float64)


def _bins(histogram: FloatArray) -> FloatArray:
    return np.asarray(histogram.reshape(64, -1).sum(axis=1), dtype=np.float64)


def _curve(name: Any, view: str, at: FloatArray, sides: Sequence[FloatArray], behind: IntArray) -> Curve:
    """Return a curve of the real side and the synthetic one."""
    places, real, synthetic = (tuple(round(float(x), 6) for x in values) for values in (at, *sides))
    counts = tuple(int(count) for count in behind)
    return Curve(name=name, view=view, at=places, real=real, synthetic=synthetic, real_subjects=counts)
