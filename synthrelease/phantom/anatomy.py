"""One subject's head as a function of place: which tissue fills a voxel at any point, in mm, at any voxel size.

Axes: x grows along image columns, y towards the forehead, z towards the crown; the origin lies near the anterior
commissure. All depths and distances are in mm and positive inside. Sizes follow adult atlases (AC-PC space).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from synthrelease.phantom.waves import Floats, Waves, draw_waves


@dataclass(frozen=True)
class Head:
    """Everything that tells one subject's anatomy from another's."""

    rotation: Floats  # (3, 3), rows are the head's axes
    shift: Floats  # (3,) mm
    stretch: Floats  # (3,) scale of the reference anatomy
    warp: tuple[Waves, Waves, Waves]
    warp_size: float  # mm
    inner_warp: tuple[Waves, Waves, Waves]  # bends what lies within, not the outline
    inner_warp_size: float  # mm
    squareness: float  # exponent of the axial outline; 2 is an ellipse
    taper: float  # how much narrower the forehead is than the back
    atrophy: float  # 0 young, 1 aged: sulci, ventricles and outer CSF widen together
    cortex: float  # mm, thickness of the grey ribbon
    sulcus_depth: float  # mm
    sulcus_width: float  # mm, half the gap between two gyri
    rim: float  # mm, CSF between brain and skull
    folds_alike: Waves  # left and right share these folds
    folds_own: Waves
    folds_major: Waves  # few, wide and deep
    fold_depth: Waves
    fold_width: Waves
    rim_field: Waves
    sylvian: Floats  # (2, 3): height, slope, half width of the lateral fissure per side
    ventricles: Floats  # (2, 7, 4): x, y, z, radius of seven stations per side
    third: float  # mm, half width of the third ventricle
    nuclei: Floats  # (2, 4, 6): centre and radii of caudate, putamen, pallidum, thalamus per side
    folia: float  # mm between leaves of the cerebellum
    folia_field: Waves


@dataclass(frozen=True)
class Tissues:
    """Fractions (n,) of each voxel, summing to 1, and what the other steps need to know of the place."""

    csf: Floats
    grey: Floats
    white: Floats
    depth: Floats  # mm below the brain's surface
    ventricle: Floats  # mm outside the ventricles' wall (negative within)
    deep_grey: Floats  # fraction that is basal ganglia or thalamus
    place: Floats  # (3, n) reference coordinates, mm


# Stations of a lateral ventricle: frontal horn, foramen, body, atrium, occipital horn; atrium to temporal horn.
_STATIONS = np.array(
    [
        [15, 36, 3, 2.0],
        [8, 16, 9, 4.2],
        [9, -6, 17, 4.2],
        [17, -30, 15, 5.0],
        [25, -42, 6, 6.0],
        [22, -64, 3, 1.6],
        [33, -16, -16, 1.8],
    ],
    dtype=np.float32,
)
SEGMENTS = ((0, 1), (1, 2), (2, 3), (3, 4), (4, 5), (4, 6))
# Caudate, putamen, pallidum, thalamus: centre, radii.
_NUCLEI = np.array(
    [[14, 17, 9, 5, 13, 9], [26, 4, 1, 6, 16, 11], [19, -1, 0, 4, 9, 7], [11, -16, 7, 9, 15, 10]],
    dtype=np.float32,
)


def draw_head(random: np.random.Generator) -> Head:
    """Return a new subject's anatomy."""
    atrophy = float(random.beta(1.6, 1.8))
    gyrus = float(random.uniform(0.92, 1.3))  # how broad this subject's gyri are
    return Head(
        rotation=_rotation(random.normal(0, np.radians([4.0, 3.5, 4.5]))),
        shift=random.normal(0, [2.0, 4.0, 3.0]).astype(np.float32),
        stretch=(random.normal(1, 0.04) * random.normal(1, [0.05, 0.045, 0.035])).astype(np.float32),
        warp=_draw_warp(random, 110, 260),
        warp_size=float(random.uniform(1.8, 3.4)),
        inner_warp=_draw_warp(random, 36, 90),
        inner_warp_size=float(random.uniform(1.3, 2.3)),
        squareness=float(random.uniform(2.0, 2.5)),
        taper=float(random.uniform(0.04, 0.17)),
        atrophy=atrophy,
        cortex=float(random.uniform(2.3, 3.1)),
        sulcus_depth=float(random.uniform(15, 23)),
        sulcus_width=float(0.2 + 0.42 * atrophy + random.uniform(-0.05, 0.15)),
        rim=float(0.6 + 1.3 * atrophy + random.uniform(-0.3, 0.4)),
        folds_alike=draw_waves(random, 24, 12.5 * gyrus, 19 * gyrus),
        folds_own=draw_waves(random, 32, 12 * gyrus, 19 * gyrus),
        folds_major=draw_waves(random, 20, 28 * gyrus, 42 * gyrus),
        fold_depth=draw_waves(random, 12, 30, 80),
        fold_width=draw_waves(random, 12, 35, 90),
        rim_field=draw_waves(random, 10, 40, 120),
        sylvian=_draw_sylvian(random, atrophy),
        ventricles=_draw_ventricles(random, atrophy),
        third=float(0.7 + 2.2 * atrophy + random.uniform(0, 0.6)),
        nuclei=_draw_nuclei(random),
        folia=float(random.uniform(5.0, 6.5)),
        folia_field=draw_waves(random, 10, 18, 60),
    )


def _draw_warp(random: np.random.Generator, shortest: float, longest: float) -> tuple[Waves, Waves, Waves]:
    x, y, z = (draw_waves(random, 10, shortest, longest) for _ in range(3))
    return x, y, z


def _rotation(angles: np.ndarray) -> Floats:
    turns = []
    for axis, angle in enumerate(angles):
        turn = np.eye(3)
        first, second = (axis + 1) % 3, (axis + 2) % 3
        turn[first, first] = turn[second, second] = np.cos(angle)
        turn[first, second], turn[second, first] = -np.sin(angle), np.sin(angle)
        turns.append(turn)
    return (turns[0] @ turns[1] @ turns[2]).astype(np.float32)


def _draw_sylvian(random: np.random.Generator, atrophy: float) -> Floats:
    height, slope = random.normal([-1, 0.0], [2.5, 0.08], size=(2, 2)).T
    width = 0.6 + 1.0 * atrophy + random.uniform(0, 0.6, 2)
    return np.stack([height, slope - 0.42, width], axis=1).astype(np.float32)


def _draw_ventricles(random: np.random.Generator, atrophy: float) -> Floats:
    stations = np.stack([_STATIONS, _STATIONS])
    size = np.exp(np.log(0.7) + 0.95 * atrophy + random.normal(0, 0.18))
    sides = np.exp(random.normal(0, 0.12, size=(2, 1)))
    stations[..., 3] *= size * sides * np.exp(random.normal(0, 0.1, size=(2, 7)))
    stations[..., 0] += 1.2 * (size - 1) * 3  # wide ventricles grow outwards: they may not cross the midline
    stations[..., :3] += random.normal(0, 1.6, size=(2, 7, 3)) + random.normal(0, 1.8, size=(1, 7, 3))
    stations[:, 5, 1] += random.normal(0, 5, size=2)  # occipital horns differ most
    stations[..., 0] = np.maximum(stations[..., 0], stations[..., 3] + 0.6)
    return stations.astype(np.float32)


def _draw_nuclei(random: np.random.Generator) -> Floats:
    nuclei = np.stack([_NUCLEI, _NUCLEI]) * random.normal(1, 0.06, size=(1, 4, 6))
    nuclei[..., :3] += random.normal(0, 0.8, size=(2, 4, 3))
    nuclei[..., 3:] *= random.normal(1, 0.05, size=(2, 4, 3))
    return nuclei.astype(np.float32)


def reference_place(head: Head, points: Floats) -> Floats:
    """Return where (3, n) scanner points in mm lie in the reference anatomy: (3, n) mm."""
    place = (head.rotation @ (points - head.shift[:, None])) / head.stretch[:, None]
    bend = np.stack([waves.at(points) for waves in head.warp])
    return np.asarray(place + head.warp_size * bend, dtype=np.float32)


def inner_place(head: Head, place: Floats) -> Floats:
    """Return reference places (3, n) bent further, as what lies inside differs more than the outline: (3, n) mm."""
    bend = np.stack([waves.at(place) for waves in head.inner_warp])
    return np.asarray(place + head.inner_warp_size * bend, dtype=np.float32)


def skull_depth(head: Head, place: Floats) -> tuple[Floats, Floats, Floats, Floats]:
    """Return depths (n,) in mm below: the brain mask, cerebrum, cerebellum, brainstem; negative outside."""
    tentorium = _tentorium(place)
    ball = ellipsoid_depth(place, (0, -58, -36), (52, 37, 31))
    cerebrum = _cerebrum_depth(head, place, ball)
    cerebellum = np.minimum(ball, tentorium - 1.2 - place[2])
    stem = _stem_depth(place)
    mask = _smooth_max(_smooth_max(cerebrum, cerebellum, 7.0), stem, 7.0)
    return mask, cerebrum, cerebellum, stem


def _cerebrum_depth(head: Head, place: Floats, cerebellum: Floats) -> Floats:
    x, y, z = place[0], place[1] + 3, place[2] - 13
    n = head.squareness
    across = np.abs(x) / (66 * (1 - head.taper * y / 87))
    flat = (across**n + (np.abs(y) / 87) ** n) ** (2 / n)
    ratio = np.sqrt(flat + (z / np.where(z > 0, 60, 72)) ** 2) + 1e-3
    dome = np.sqrt(x * x + y * y + z * z) * (1 / ratio - 1)
    front = 1 / (1 + np.exp(-(place[1] + 20) / 5))
    # The occipital lobes rest on the tentorium and, beside it, reach down around the cerebellum.
    behind = np.maximum(place[2] - _tentorium(place), np.minimum(-cerebellum - 1.2, place[2] + 27))
    floor = front * (place[2] + 29) + (1 - front) * (behind + 1)
    sided = np.stack([np.abs(x), place[1], place[2]])
    temporal = ellipsoid_depth(sided, (41, -8, -21), (21, 37, 23))
    floor = floor + np.maximum(floor - 6, 0)  # folds reach less far up from the base than in from the sides
    return np.asarray(_smooth_max(-_smooth_max(-dome, -floor, 8.0), temporal, 4.0), dtype=np.float32)


def _tentorium(place: Floats) -> Floats:
    """Height of the sheet between cerebrum and cerebellum: a tent, highest at the midline."""
    return np.asarray(-2 - 0.48 * np.abs(place[0]) - 0.42 * np.maximum(-place[1] - 42, 0), dtype=np.float32)


def _stem_depth(place: Floats) -> Floats:
    middle = -25 - 0.12 * (place[2] + 8)
    middle = np.where(place[2] < -8, -24 + 0.16 * (place[2] + 8), middle)
    bulge = 11 + 5 * np.exp(-(((place[2] + 30) / 11) ** 2)) - 0.06 * np.maximum(-45 - place[2], 0)
    radius = np.sqrt((place[0] / 1.15) ** 2 + (place[1] - middle) ** 2)
    return np.asarray(np.minimum(bulge - radius, 8 - place[2]), dtype=np.float32)


def ellipsoid_depth(place: Floats, centre: tuple[float, ...] | Floats, radii: tuple[float, ...] | Floats) -> Floats:
    """Return how deep places (3, ...) lie in an ellipsoid, mm: above 0 inside; close to true depth near the surface."""
    offset = place - np.asarray(centre, dtype=np.float32)[:, None]
    ratio = np.sqrt(((offset / np.asarray(radii, dtype=np.float32)[:, None]) ** 2).sum(axis=0)) + 1e-3
    return np.asarray(np.sqrt((offset**2).sum(axis=0)) * (1 / ratio - 1), dtype=np.float32)


def _smooth_max(first: Floats, second: Floats, width: float) -> Floats:
    """The larger of two depths, rounded where they meet, over ``width`` mm."""
    near = np.maximum(width - np.abs(first - second), 0) / width
    return np.asarray(np.maximum(first, second) + near * near * width / 4, dtype=np.float32)
