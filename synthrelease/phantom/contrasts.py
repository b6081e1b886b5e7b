"""What a scanner makes of the tissues: four contrasts with bias field, texture, vessels and Rician noise."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from synthrelease.phantom.anatomy import Tissues
from synthrelease.phantom.tumour import Regions
from synthrelease.phantom.waves import Floats, Waves, draw_waves

# Mean brightness as a share of the volume's maximum, rows T1, T1ce, T2, FLAIR. Orders and spreads follow a BraTS case
# and the relaxation times of the tissues at 1.5 to 3 T; every subject draws its own around these.
# Columns: CSF, grey matter, white matter, necrosis, enhancing tumour, oedema.
_MEANS = np.array(
    [
        [0.20, 0.43, 0.55, 0.30, 0.45, 0.40],
        [0.09, 0.22, 0.27, 0.15, 0.62, 0.20],
        [0.66, 0.25, 0.18, 0.56, 0.38, 0.46],
        [0.07, 0.41, 0.29, 0.42, 0.62, 0.72],
    ]
)
_SPREADS = np.array(
    [
        [0.12, 0.05, 0.04, 0.15, 0.10, 0.06],
        [0.15, 0.07, 0.05, 0.20, 0.14, 0.08],
        [0.08, 0.08, 0.08, 0.14, 0.12, 0.10],
        [0.20, 0.07, 0.07, 0.35, 0.12, 0.10],
    ]
)
_VESSEL = np.array([0.82, 0.88, 0.12, 0.30])


@dataclass(frozen=True)
class Look:
    """How one subject's scans look."""

    means: Floats  # (4, 6) brightness of CSF, grey, white, necrosis, enhancing, oedema
    bias: tuple[Waves, ...]  # one per contrast
    bias_size: Floats  # (4,)
    grain: Waves  # slow differences within a tissue
    patches: Waves  # within tumours
    spots: Waves  # where vessels cross the surface
    noise: Floats  # (4,) standard deviation at 1 mm, share of the maximum
    caps: float  # FLAIR brightness added along the ventricles, grows with age


def draw_look(random: np.random.Generator, atrophy: float) -> Look:
    """Return the look of one subject's scans: protocol, field strength and coil differ between subjects."""
    means = _MEANS * np.exp(random.normal(size=(4, 6)) * _SPREADS)
    means *= np.exp(random.normal(0, [[0.06], [0.16], [0.12], [0.08]], size=(4, 1)))
    return Look(
        means=np.minimum(means, 0.97).astype(np.float32),
        bias=tuple(draw_waves(random, 6, 130, 320) for _ in range(4)),
        bias_size=random.uniform(0.05, 0.16, 4).astype(np.float32),
        grain=draw_waves(random, 24, 9, 50),
        patches=draw_waves(random, 32, 8, 40),
        spots=draw_waves(random, 24, 7, 16),
        noise=(random.uniform(0.005, 0.012) * random.uniform(0.8, 1.25, 4)).astype(np.float32),
        caps=float(0.10 + 0.4 * atrophy * random.random()),
    )


def render(
    look: Look, brain: Tissues, tumour: Regions, points: Floats, voxel: float, random: np.random.Generator
) -> Floats:
    """Return brightness (4, n) in [0, 1], order T1, T1ce, T2, FLAIR, of voxels inside the head at (3, n) scanner mm."""
    edge = max(voxel, 1.8)
    patches = look.patches.at(points)
    whole, core, dead = (np.clip(0.5 + depth / edge, 0, 1) for depth in (tumour.whole, tumour.core, tumour.necrosis))
    healthy = 1 - whole
    shares = np.stack(
        [
            brain.csf * (1 - np.maximum(core, whole * (1 - brain.csf))),
            brain.grey * healthy,
            brain.white * healthy,
            dead,
            core - dead,
            np.maximum(whole - core, 0) * (1 - brain.csf),
        ]
    )
    shares /= np.maximum(shares.sum(axis=0), 1e-3)
    shares[3:] *= 1 + np.array([[0.12], [0.11], [0.06]], dtype=np.float32) * patches
    bright = look.means @ shares
    bright[3] *= 1 + look.caps * np.exp(-np.maximum(brain.ventricle, 0) / 3.5) * (1 - brain.csf)
    bright *= 1 + 0.025 * look.grain.at(points)
    vessels = _vessels(look, brain, points)
    bright += (_VESSEL[:, None] - bright) * vessels
    bias = np.stack([waves.at(points) for waves in look.bias])
    bright *= np.exp(look.bias_size[:, None] * bias)
    sigma = look.noise[:, None] / np.sqrt(voxel)
    noise = random.standard_normal((2, *bright.shape), dtype=np.float32) * sigma
    return np.asarray(np.clip(np.hypot(bright + noise[0], noise[1]), 0.004, 1), dtype=np.float32)


def _vessels(look: Look, brain: Tissues, points: Floats) -> Floats:
    """Share (n,) of each voxel that is a vessel: the sagittal sinus, surface veins and choroid plexus."""
    x, y, z = brain.place
    upper = 1 / (1 + np.exp(-(z - 6 - 0.5 * np.maximum(y + 40, 0)) / 3))
    sinus = upper * np.clip(1.6 - np.hypot(x, np.maximum(brain.depth - 1.5, 0)) / 2.6, 0, 1)
    spots = look.spots.at(points)
    veins = np.clip(1.1 * (spots - 1.5), 0, 1) * np.clip(2 - brain.depth / 2.2, 0, 1)
    plexus = np.clip((spots - 0.5), 0, 1) * (brain.ventricle < -2.2) * (y < -22) * (z > -8)
    return np.asarray(0.9 * np.clip(sinus + veins + 0.7 * plexus, 0, 1), dtype=np.float32)
