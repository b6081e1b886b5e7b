"""Smooth random fields that can be evaluated anywhere, so one slice costs one slice and every size shows one head."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]


@dataclass(frozen=True)
class Waves:
    """A sum of plane waves: (m, 3) wave vectors in radians per mm, (m,) phases, (m,) amplitudes."""

    vectors: Floats
    phases: Floats
    amplitudes: Floats

    def at(self, points: Floats) -> Floats:
        """Return the field, about unit variance, at (3, n) points in mm: (n,)."""
        return self.amplitudes @ np.cos(self._angles(points))

    def with_slope(self, points: Floats) -> tuple[Floats, Floats]:
        """Return the field (n,) and its gradient per mm (3, n) at (3, n) points in mm."""
        angles = self._angles(points)
        gradient = -(self.vectors.T * self.amplitudes) @ np.sin(angles)
        return self.amplitudes @ np.cos(angles), gradient

    def _angles(self, points: Floats) -> Floats:
        angles: Floats = self.vectors @ points
        angles += self.phases[:, None]
        return angles


def draw_waves(random: np.random.Generator, count: int, shortest: float, longest: float) -> Waves:
    """Return ``count`` plane waves of random direction, wavelengths log-uniform in [shortest, longest] mm."""
    directions = random.normal(size=(count, 3))
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    lengths = np.exp(random.uniform(np.log(shortest), np.log(longest), size=(count, 1)))
    return Waves(
        vectors=(directions * 2 * np.pi / lengths).astype(np.float32),
        phases=random.uniform(0, 2 * np.pi, count).astype(np.float32),
        amplitudes=np.full(count, np.sqrt(2 / count), dtype=np.float32),
    )
