"""What fills each voxel: folded cortex, white matter, CSF, ventricles, deep nuclei, cerebellum and brainstem.

Thin things are rendered by the share of the voxel that they fill, so a small phantom is a coarse picture of the same
head, not a different one.
"""

from __future__ import annotations

import numpy as np

from synthrelease.phantom.anatomy import SEGMENTS, Head, Tissues, ellipsoid_depth, skull_depth
from synthrelease.phantom.waves import Floats

_FOLD_RADIUS = 46.0  # mm from the hemisphere's core line at which fold wavelengths are as drawn
_FOLD_SLANT = 0.15  # 0 makes every sulcus point at the core line, 1 leaves them unordered
_BLUR = 1.8  # mm, the scanner's own resolution: no edge is sharper


def tissues(head: Head, outer: Floats, inner: Floats, voxel: float) -> Tissues:
    """Return what fills voxels of ``voxel`` mm.

    Args:
        head: The subject.
        outer: (3, n) reference places in mm, which set the skull.
        inner: (3, n) the same with tissue pushed aside by a tumour, which set all within.
        voxel: Edge length in mm.
    """
    edge = max(voxel, _BLUR)
    depths = _part_depths(head, outer, inner)
    surface, cerebrum, cerebellum, stem = depths
    rim = head.rim * np.clip(0.7 + 0.6 * head.rim_field.at(inner), 0.1, 2)
    csf, grey = _cerebral(head, inner, cerebrum, rim, edge)
    others = cerebrum < np.maximum(cerebellum, stem)
    csf[others], grey[others] = _hindbrain(
        head, inner[:, others], cerebellum[others], stem[others], rim[others], edge, voxel
    )
    wall = ventricle_wall(head, inner)
    nuclei = _nuclei(head, inner, edge) * (1 - others)
    grey = np.maximum(grey, nuclei)
    csf = np.maximum(csf, _filled(-wall, edge))
    grey = np.asarray((1 - csf) * grey, dtype=np.float32)
    return Tissues(csf, grey, 1 - csf - grey, surface, wall, nuclei, inner)


def _part_depths(head: Head, outer: Floats, inner: Floats) -> tuple[Floats, Floats, Floats, Floats]:
    mask, cerebrum, cerebellum, stem = skull_depth(head, outer)
    middle = np.maximum(1 - ((inner[1] + 4) / 40) ** 2 - ((inner[2] - 3) / 23) ** 2, 0)
    below_callosum = 23 * (1 - np.sqrt(1 - np.minimum(middle, 1)))  # the falx ends at the corpus callosum
    falx = np.hypot(inner[0], 2.5 * below_callosum)
    falx += 0.8 * np.maximum(falx - 5, 0) + 0.35 * head.rim  # medial sulci are shallower than lateral ones
    falx = np.where(inner[2] > -24, falx, np.inf)
    return mask, np.minimum(cerebrum, falx).astype(np.float32), cerebellum, stem


def _filled(depth: Floats, edge: float) -> Floats:
    """Share of a voxel that lies inside a surface ``depth`` mm away."""
    return np.asarray(np.clip(0.5 + depth / edge, 0, 1), dtype=np.float32)


def _sheet(distance: Floats, half_width: Floats, edge: float) -> Floats:
    """Share of a voxel that lies in a sheet of the given half width, ``distance`` mm from its middle."""
    upper = np.clip(distance + edge / 2, -half_width, half_width)
    lower = np.clip(distance - edge / 2, -half_width, half_width)
    return np.asarray((upper - lower) / edge, dtype=np.float32)


def _cerebral(head: Head, place: Floats, depth: Floats, rim: Floats, edge: float) -> tuple[Floats, Floats]:
    """CSF and grey matter fractions of the folded mantle."""
    csf = _filled(rim - depth, edge)
    grey = _filled(rim + head.cortex - depth, edge)
    near = np.flatnonzero((depth > -2) & (depth < 36))
    place, depth = place[:, near], depth[near]
    reach = np.clip(head.sulcus_depth * (1 + 0.35 * head.fold_depth.at(place)), 4, 32).astype(np.float32)
    minor, major = _sulcus_distances(head, place)
    width = head.sulcus_width * np.exp(0.45 * head.fold_width.at(place))
    wide = np.minimum(0.45 + 1.3 * width, 2.3)
    sheets = (
        (np.hypot(minor, np.maximum(depth - reach, 0)), width * np.clip(1.25 - 0.75 * depth / reach, 0.15, 1.25)),
        (np.hypot(major, np.maximum(depth - reach - 4, 0)), wide * np.clip(1.2 - 0.8 * depth / (reach + 4), 0.1, 1.2)),
        _sylvian(head, place),
    )
    for across, half in sheets:
        csf[near] = np.maximum(csf[near], _sheet(across, half, edge))
        grey[near] = np.maximum(grey[near], _sheet(across, half + head.cortex, edge))
    return csf, grey


def _sulcus_distances(head: Head, place: Floats) -> tuple[Floats, Floats]:
    """Distances (n,) in mm to the nearest minor and major sulcus: the zero sheets of two band-limited fields.

    The fields are read where a line from the hemisphere's core meets a cylinder, so sulci run inwards from the surface.
    """
    core = np.stack([np.where(place[0] < 0, -26, 26), np.clip(place[1], -52, 44), 10 + 0 * place[2]], dtype=np.float32)
    arm = place - core
    length = np.sqrt((arm * arm).sum(axis=0)) + 4
    scale = _FOLD_SLANT + (1 - _FOLD_SLANT) * _FOLD_RADIUS / length
    pattern = core + arm * scale
    major, major_slope = head.folds_major.with_slope(pattern)
    own, own_slope = head.folds_own.with_slope(pattern)
    pattern[0] = np.abs(pattern[0])
    alike, alike_slope = head.folds_alike.with_slope(pattern)
    alike_slope[0] *= np.sign(place[0])
    minor = _to_zero(0.8 * own + 0.6 * alike, 0.8 * own_slope + 0.6 * alike_slope, scale, 0.06)
    return minor, _to_zero(major, major_slope, scale, 0.03)


def _to_zero(value: Floats, slope: Floats, scale: Floats, least: float) -> Floats:
    """Distance (n,) to where a field is zero, to first order; ``least`` slope per mm keeps flat spots finite."""
    slope[[0, 2]] *= scale
    return np.asarray(np.abs(value) / np.sqrt((slope * slope).sum(axis=0) + least**2), dtype=np.float32)


def _sylvian(head: Head, place: Floats) -> tuple[Floats, Floats]:
    """Distance to the lateral fissure and the insular cleft behind it, and their half width."""
    height, slope, half = head.sylvian[(place[0] < 0).astype(int)].T
    across, y = np.abs(place[0]), place[1]
    above = (place[2] - height - slope * (y + 5) - 0.5 * (across - 45)) / 1.2  # per mm across the tilted sheet
    outside = np.maximum(np.abs(y + 6) - 34, 0)
    cleft = np.sqrt(above**2 + np.maximum(39 - across, 0) ** 2 + outside**2)
    bowed = across - 40 + 0.008 * (y + 2) ** 2 + 2.2 * head.fold_depth.at(place)
    high = np.maximum(np.abs(place[2] - height) - 6, 0)
    insula = np.sqrt(bowed**2 + high**2 + np.maximum(np.abs(y + 2) - 19, 0) ** 2)
    return np.minimum(cleft, insula).astype(np.float32), half


def ventricle_wall(head: Head, place: Floats) -> Floats:
    """Distance (n,) in mm outside the nearest ventricle's wall, negative within; capped at 30."""
    wall = np.full(place.shape[1], 30, dtype=np.float32)
    for side, stations in enumerate(head.ventricles):
        here = np.flatnonzero((place[0] < 4) if side else (place[0] > -4))
        sided = place[:, here] * np.array([[-1 if side else 1], [1], [1]], dtype=np.float32)
        for start, end in SEGMENTS:
            wall[here] = np.minimum(wall[here], _tube(sided, stations[start], stations[end]))
    y, z = place[1], place[2]
    third = np.sqrt(place[0] ** 2 + np.maximum(np.abs(y + 4) - 10, 0) ** 2 + np.maximum(np.abs(z + 3) - 8, 0) ** 2)
    radii = np.array([7, 4, 9], dtype=np.float32) * (0.8 + 0.4 * head.atrophy)
    fourth = ellipsoid_depth(place, (0, -41, -32), radii)
    return np.asarray(np.minimum(np.minimum(wall, third - head.third), -fourth), dtype=np.float32)


def _tube(place: Floats, start: Floats, end: Floats) -> Floats:
    along = end[:3] - start[:3]
    offset = place - start[:3, None]
    share = np.clip(along @ offset / (along @ along), 0, 1)
    away = offset - along[:, None] * share
    radius = start[3] + (end[3] - start[3]) * share
    return np.asarray(np.sqrt((away * away).sum(axis=0)) - radius, dtype=np.float32)


def _nuclei(head: Head, place: Floats, edge: float) -> Floats:
    """Fraction that is deep grey: caudate, putamen, thalamus, and, paler, the pallidum."""
    grey = np.zeros(place.shape[1], dtype=np.float32)
    here = np.flatnonzero((np.abs(place[0]) < 42) & (np.abs(place[1]) < 40) & (np.abs(place[2]) < 32))
    right = place[0, here] > 0
    for nucleus, strength in enumerate((0.95, 0.9, 0.5, 0.72)):
        for side in (0, 1):
            mine = here[right != bool(side)]
            sided = place[:, mine] * np.array([[-1 if side else 1], [1], [1]], dtype=np.float32)
            ball = head.nuclei[side, nucleus]
            share = strength * _filled(ellipsoid_depth(sided, ball[:3], ball[3:]), edge)
            grey[mine] = np.maximum(grey[mine], share)
    return grey


def _hindbrain(
    head: Head, place: Floats, cerebellum: Floats, stem: Floats, rim: Floats, edge: float, voxel: float
) -> tuple[Floats, Floats]:
    """CSF and grey matter fractions of cerebellum and brainstem."""
    shell = np.sqrt((0.75 * place[0]) ** 2 + (place[1] + 24) ** 2 + (place[2] + 12) ** 2)  # leaves ring the stem
    wave = np.cos(2 * np.pi * shell / head.folia + 2.0 * head.folia_field.at(place))
    wave *= max(0.0, 1 - (voxel / head.folia) ** 2)  # leaves thinner than a voxel leave their mean
    core = np.clip((cerebellum - 9) / 10, 0, 1)
    leaves = np.clip(0.8 - 0.65 * core + (0.34 - 0.18 * core) * wave, 0.05, 1)
    is_stem = stem > cerebellum
    grey = np.where(is_stem, 0.28 + 0.25 * np.exp(-np.maximum(stem, 0) / 2), leaves)
    furrow = np.where(is_stem, 0, 0.9 * np.clip(-wave - 0.45, 0, 1) * np.exp(-np.maximum(cerebellum, 0) / 9))
    csf = np.maximum(_filled(0.7 * rim - np.maximum(cerebellum, stem), edge), furrow)
    return csf.astype(np.float32), grey.astype(np.float32)
