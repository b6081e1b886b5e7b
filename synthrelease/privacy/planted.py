"""Hides known copies among the queries and counts how many are caught: the audit's own power."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from synthrelease import seeds
from synthrelease.features.analysis import VERSION, analysis_images, analysis_masks
from synthrelease.image_set import MASK, ImageSet
from synthrelease.metrics.intervals import clopper_pearson
from synthrelease.privacy.queries import Degradation, Images, Masks, Queries
from synthrelease.privacy.transformations import KINDS, affine
from synthrelease.records import Planted

PLANT_VERSION = 1
SOFT_EDGE = 0.03  # of the side: pasted parts have no seam to give them away
PATCH_SHARE = 0.5  # of the side: a pasted square

Part = Literal["whole", "patch", "tumour"]
Rows = NDArray[np.int64]


@dataclass(frozen=True)
class Plan:
    """Which train images are copied: at most one per subject and kind."""

    sources: Rows
    companions: Rows  # the other image that some kinds need
    names: tuple[str, ...]  # kind of each
    subjects: NDArray[np.str_]  # of the sources

    def of_kind(self, name: str) -> NDArray[np.bool_]:
        return np.array([kind == name for kind in self.names], dtype=bool)


PART_KINDS: tuple[tuple[str, str, Part], ...] = (  # name, strength, part
    ("patch_pasted", "half the side, in another head", "patch"),
    ("patch_pasted_varied", "the same, 5 degrees and gamma 0.8", "patch"),
    ("tumour_pasted", "in another head", "tumour"),
    ("tumour_pasted_varied", "the same, 8 degrees and gamma 0.8", "tumour"),
)


def plan_whole(subjects: NDArray[np.str_], most: int, seed: int) -> Plan:
    """Draw one source image per train subject and kind, ``most`` subjects at most."""
    return _plan(subjects, [kind.name for kind in KINDS], most, seed, np.ones(len(subjects), bool))


def plan_parts(subjects: NDArray[np.str_], with_tumour: NDArray[np.bool_], heads: int, most: int, seed: int) -> Plan:
    """Draw sources for pasted patches, and for pasted tumours among images that have one.

    The companions are rows of the holdout: in the head of another train subject the rest of the image would be a copy
    as well, and the search could find that one instead.
    """
    patch = _plan(subjects, [k[0] for k in PART_KINDS if k[2] == "patch"], most, seed, np.ones(len(subjects), bool))
    tumour = _plan(subjects, [k[0] for k in PART_KINDS if k[2] == "tumour"], most, seed, with_tumour)
    sources = np.concatenate([patch.sources, tumour.sources])
    return Plan(
        sources,
        seeds.named(seed, "plant", "heads").integers(heads, size=len(sources)),
        patch.names + tumour.names,
        np.concatenate([patch.subjects, tumour.subjects]),
    )


def whole_queries(
    plan: Plan, images: ImageSet, channels: tuple[str, ...], size: int, seed: int, degradation: Degradation
) -> Queries:
    """Return the planted copies of whole images as queries."""
    kinds = {kind.name: kind for kind in KINDS}

    def load(start: int, stop: int) -> tuple[Images, None]:
        source, other = (_read(images, rows[start:stop], channels, size) for rows in (plan.sources, plan.companions))
        made = [
            kinds[plan.names[i]].apply(source[i - start], other[i - start], seeds.at_image(seed, i))
            for i in range(start, stop)
        ]
        return degradation.apply(analysis_images(np.stack(made), size), seed + 1, start), None

    return Queries(
        "planted copies", _key("whole", plan, images, channels, size, seed, degradation), len(plan.names), load
    )


def part_queries(
    plan: Plan,
    images: ImageSet,
    heads: ImageSet,
    channels: tuple[str, ...],
    size: int,
    seed: int,
    degradation: Degradation,
) -> Queries:
    """Return strangers' heads (rows of ``heads``) into which a patch or a tumour of ``images`` was pasted."""

    def load(start: int, stop: int) -> tuple[Images, Masks]:
        source = _read(images, plan.sources[start:stop], channels, size)
        other = _read(heads, plan.companions[start:stop], channels, size)
        masks = _read_masks(images, plan.sources[start:stop], size)
        made, labels = [], []
        for i in range(start, stop):
            random = seeds.at_image(seed, i)
            image, mask = source[i - start], masks[i - start]
            if plan.names[i].endswith("varied"):
                turn = float(random.choice((-1, 1))) * (5 if plan.names[i].startswith("patch") else 8)
                image = np.clip(affine(image, turn=turn), 0, 1) ** np.float32(0.8)
                mask = (affine(mask[None].astype(np.float32), turn=turn)[0] > 0).astype(np.uint8)
            where = _patch_window(image, random) if plan.names[i].startswith("patch") else _tumour_window(mask)
            made.append(where * image + (1 - where) * other[i - start])
            labels.append(mask if plan.names[i].startswith("tumour") else np.zeros_like(mask))
        return degradation.apply(analysis_images(np.stack(made), size), seed + 1, start), np.stack(labels)

    return Queries(
        "planted parts",
        _key(f"parts of {heads.content}", plan, images, channels, size, seed, degradation),
        len(plan.names),
        load,
    )


def power_row(
    name: str,
    strength: str,
    part: Part,
    *,
    scores: NDArray[np.float64],
    right: NDArray[np.bool_],
    flag: NDArray[np.float64] | float,
    alarm: NDArray[np.float64] | float,
    required: bool,
    held_out: bool = False,
) -> Planted:
    """Return the record of one kind: a copy counts as caught only with its right source subject."""
    caught = int(((scores > flag) & right).sum())
    at_alarm = int(((scores > alarm) & right).sum())
    low, high = clopper_pearson(caught, len(scores))
    low_at_alarm, high_at_alarm = clopper_pearson(at_alarm, len(scores))
    return Planted(
        transformation=name,
        strength=strength,
        part=part,
        required=required,
        held_out=held_out,
        planted=len(scores),
        caught=caught,
        low=low,
        high=high,
        caught_at_alarm=at_alarm,
        low_at_alarm=low_at_alarm,
        high_at_alarm=high_at_alarm,
        right_source=int(right.sum()),
    )


def _plan(subjects: NDArray[np.str_], kinds: list[str], most: int, seed: int, usable: NDArray[np.bool_]) -> Plan:
    rows_of = {name: np.flatnonzero(usable & (subjects == name)) for name in np.unique(subjects[usable])}
    sources, companions, names = [], [], []
    for kind in kinds:
        random = seeds.named(seed, "plant", kind)
        chosen = random.permutation(sorted(rows_of))[:most]
        wants = next((k.companion for k in KINDS if k.name == kind), "stranger")
        for name in sorted(map(str, chosen)):
            source = int(random.choice(rows_of[name]))
            companion = _companion(wants, source, subjects, rows_of[name], random)
            if companion is None:
                continue  # a subject with one slice has no neighbouring slice
            sources.append(source)
            companions.append(companion)
            names.append(kind)
    rows = np.array(sources, dtype=np.int64)
    return Plan(rows, np.array(companions, dtype=np.int64), tuple(names), subjects[rows])


def _companion(
    wants: str, source: int, subjects: NDArray[np.str_], own: Rows, random: np.random.Generator
) -> int | None:
    if wants == "neighbour":
        others = own[own != source]
        return int(others[np.argmin(np.abs(others - source))]) if len(others) else None
    if wants == "stranger":
        strangers = np.flatnonzero(subjects != subjects[source])
        return int(random.choice(strangers)) if len(strangers) else None
    return source


def _patch_window(image: Images, random: np.random.Generator) -> Images:
    """Return a soft square over tissue: the brightest of a few draws."""
    size = image.shape[-1]
    side = round(PATCH_SHARE * size)
    places = random.integers(round(0.1 * size), round(0.9 * size) - side + 1, size=(8, 2))
    filled = [image[:, top : top + side, left : left + side].mean() for top, left in places]
    top, left = places[int(np.argmax(filled))]
    window = np.zeros((size, size), np.float32)
    window[top : top + side, left : left + side] = 1
    return _soft(window)


def _tumour_window(mask: Masks) -> Images:
    rows, columns = np.nonzero(mask)
    window = np.zeros(mask.shape, np.float32)
    if len(rows):
        half = max(int(np.ptp(rows)), int(np.ptp(columns))) * 0.7 + 1
        middle = (rows.min() + rows.max()) / 2, (columns.min() + columns.max()) / 2
        low = [max(0, int(m - half)) for m in middle]
        high = [int(m + half) + 1 for m in middle]
        window[low[0] : high[0], low[1] : high[1]] = 1
    return _soft(window)


def _soft(window: Images) -> Images:
    distance = ndimage.distance_transform_edt(np.pad(window, 1))[1:-1, 1:-1]
    soft: Images = np.minimum(distance / max(1.0, SOFT_EDGE * window.shape[-1]), 1).astype(np.float32)[None]
    return soft


def _read(images: ImageSet, rows: Rows, channels: tuple[str, ...], size: int) -> Images:
    return analysis_images(images.read(list(map(int, rows)), channels), size)


def _read_masks(images: ImageSet, rows: Rows, size: int) -> Masks:
    if MASK not in images.channels:
        return np.zeros((len(rows), size, size), np.uint8)
    return analysis_masks(images.read(list(map(int, rows)), (MASK,))[:, 0], size)


def _key(
    what: str, plan: Plan, images: ImageSet, channels: tuple[str, ...], size: int, seed: int, d: Degradation
) -> object:
    rows = [plan.sources.tolist(), plan.companions.tolist(), list(plan.names)]
    return [what, PLANT_VERSION, VERSION, images.content, channels, size, seed, d.blur_sd, d.noise_sd, rows]
