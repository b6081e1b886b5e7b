"""Glioma-like tumours: a core that enhances at its rim, dead or non-enhancing tissue within, oedema around."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from synthrelease.phantom.anatomy import Head, Tissues, skull_depth
from synthrelease.phantom.tissue import ventricle_wall
from synthrelease.phantom.waves import Floats, Waves, draw_waves


@dataclass(frozen=True)
class Tumour:
    """One subject's tumour; all lengths in mm."""

    centre: Floats  # (3,)
    shape: Floats  # (3, 3) maps offsets to those of a ball
    radius: float  # of the core
    satellite: Floats  # (4,) offset and radius of a second focus; radius 0 is none
    margin: float  # reach of the oedema beyond the core
    crust: float  # thickness of the enhancing rim
    lumps: Waves
    bumps: Waves
    spread: Waves
    push: float  # how far tissue at the core's edge is displaced


@dataclass(frozen=True)
class Regions:
    """Depths (n,) in mm below the border of each nested region (negative outside)."""

    necrosis: Floats
    core: Floats
    whole: Floats


def draw_tumour(random: np.random.Generator, head: Head) -> Tumour:
    """Return a tumour in the white matter of ``head``; kinds and sizes range as in BraTS."""
    kind = random.choice(["ring", "solid", "low grade"], p=[0.62, 0.2, 0.18])
    radius = float(np.exp(random.uniform(np.log(8.5), np.log(23))))
    crust = {"ring": (0.16, 0.42), "solid": (0.6, 1.1), "low grade": (0.05, 0.12)}[kind]
    axes, _ = np.linalg.qr(random.normal(size=(3, 3)))
    squeeze = np.exp(random.normal(0, 0.2, size=3))
    squeeze /= np.prod(squeeze) ** (1 / 3)
    satellite = random.normal(size=3)
    satellite *= radius * random.uniform(1.1, 1.7) / np.linalg.norm(satellite)
    second = radius * random.uniform(0.35, 0.7) if random.random() < 0.3 else 0.0
    return Tumour(
        centre=_draw_centre(random, head, radius),
        shape=((axes * squeeze) @ axes.T).astype(np.float32),
        radius=radius,
        satellite=np.append(satellite, second).astype(np.float32),
        margin=float(random.uniform(3, 9) + radius * random.uniform(0.2, 0.75)),
        crust=float(max(radius * random.uniform(*crust), 2.0)),
        lumps=draw_waves(random, 16, 24, 60),
        bumps=draw_waves(random, 24, 8, 20),
        spread=draw_waves(random, 20, 22, 60),
        push=float(radius * random.uniform(0.05, 0.38)),
    )


def _draw_centre(random: np.random.Generator, head: Head, radius: float) -> Floats:
    """A place deep enough in a hemisphere, clear of ventricles and midline."""
    for _ in range(50):
        places = random.uniform([12, -62, -14], [54, 50, 46], size=(256, 3)).T.astype(np.float32)
        places[0] *= random.choice([-1, 1])
        depth = skull_depth(head, places)[1]
        clear = np.minimum(ventricle_wall(head, places), np.abs(places[0]) - 8)
        good = np.flatnonzero((depth > 9 + 0.45 * radius) & (clear > 1 + 0.35 * radius))
        if good.size:
            return places[:, good[0]]
    return np.array([30, -10, 28], dtype=np.float32)


def push_aside(tumour: Tumour, place: Floats) -> Floats:
    """Return where tissue now at ``place`` (3, n) lay before the tumour grew: (3, n) mm."""
    offset = place - tumour.centre[:, None]
    distance = np.sqrt((offset * offset).sum(axis=0)) + 1e-3
    reach = 1.5 * tumour.radius + 12
    moved = tumour.push * np.exp(-((distance / reach) ** 2)) * (1 - np.exp(-((distance / 9) ** 2)))
    return np.asarray(place - offset * (moved / distance), dtype=np.float32)


def regions(tumour: Tumour, place: Floats, brain: Tissues) -> Regions:
    """Return the tumour's nested regions at reference places (3, n), mm.

    Oedema follows white matter: it slows in cortex and deep grey and stays out of CSF.
    """
    nothing = np.full(place.shape[1], -99, dtype=np.float32)
    offset = place - tumour.centre[:, None]
    extent = tumour.radius * 2.2 + 1.9 * tumour.margin
    near = np.flatnonzero((offset * offset).sum(axis=0) < extent**2)
    if not near.size:
        return Regions(nothing, nothing, nothing)
    here, offset = place[:, near], offset[:, near]
    bumps, lumps, spread = tumour.bumps.at(here), tumour.lumps.at(here), tumour.spread.at(here)
    rough = tumour.radius * (0.2 * lumps + 0.1 * bumps)
    distance = np.sqrt(((tumour.shape @ offset) ** 2).sum(axis=0))
    over = np.maximum(-here[0] * np.sign(tumour.centre[0]), 0)  # mm beyond the midline, which the falx guards
    core = tumour.radius + rough - distance - 0.7 * over
    if tumour.satellite[3] > 0:
        second = np.sqrt(((offset - tumour.satellite[:3, None]) ** 2).sum(axis=0))
        core = np.maximum(core, tumour.satellite[3] + 0.6 * rough - second)
    margin = tumour.margin * (1 + 0.4 * spread)
    barrier = 4.5 * (brain.grey[near] + 0.8 * brain.deep_grey[near])
    whole = np.maximum(core + margin - barrier - np.minimum(over, 6), core)
    free = np.minimum(brain.depth[near] - 1.0, brain.ventricle[near] - 0.5)  # not in ventricles, not outside
    free = np.where(brain.csf[near] > 0.7, -1, free)
    core = np.minimum(core, brain.depth[near] - 1.0)
    necrosis = core - tumour.crust * (1 + 0.45 * spread + 0.3 * bumps)
    return Regions(
        necrosis=_placed(nothing, near, np.minimum(necrosis, core)),
        core=_placed(nothing, near, core),
        whole=_placed(nothing, near, np.maximum(np.minimum(whole, free), core)),
    )


def _placed(background: Floats, where: np.ndarray, values: Floats) -> Floats:
    result = background.copy()
    result[where] = values
    return result
