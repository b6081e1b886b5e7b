"""Which images lie inside whose ball: the comparison behind precision, recall, density and coverage."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from synthrelease.metrics.checks import FloatArray, IntArray
from synthrelease.metrics.neighbours import BYTES_PER_PAIR, Frame, blocks, lower_bounds, pair_squares, true_places


@dataclass(frozen=True)
class Memberships:
    """Who lies strictly inside whose ball; the ball of an image reaches to its own k-th neighbour."""

    balls_around_left: IntArray
    """(n,) right-hand balls that hold each left row."""
    balls_around_right: IntArray
    """(m,) left-hand balls that hold each right row."""
    left_ball_holds: npt.NDArray[np.bool_]
    """(n,) some right row lies inside this left row's ball."""
    right_ball_holds: npt.NDArray[np.bool_]
    """(m,) some left row lies inside this right row's ball."""


def memberships(left: FloatArray, right: FloatArray, *, left_radii: FloatArray, right_radii: FloatArray) -> Memberships:
    """Return which rows lie strictly inside which balls, decided exactly, from one pass over all pairs.

    Args:
        left: (n, d) checked features, in single or double precision, each the centre of a ball.
        right: (m, d) likewise.
        left_radii: (n,) radii of the left balls, in feature units.
        right_radii: (m,) radii of the right balls.
    """
    frame = Frame.around(right, left)
    norms = frame.norms(left), frame.norms(right)
    prepared = (frame.rows(right, np.float32), norms[1])
    held_left, held_right = np.zeros(len(left), dtype=np.int64), np.zeros(len(right), dtype=np.int64)
    holds_left, holds_right = np.zeros(len(left), dtype=np.bool_), np.zeros(len(right), dtype=np.bool_)
    for rows in blocks(len(left), len(right), bytes_each=3 * BYTES_PER_PAIR):  # most pairs may lie inside
        part = left[rows]
        spread = (norms[0][rows], norms[1])
        lower = lower_bounds(frame, (frame.rows(part, np.float32), spread[0]), prepared, np.float32)
        inside = _strictly_inside(frame, lower, (part, right), spread, right_radii[None, :])
        held_left[rows] = np.bincount(inside[0], minlength=len(part))
        holds_right[inside[1]] = True
        inside = _strictly_inside(frame, lower, (part, right), spread, left_radii[rows, None])
        held_right += np.bincount(inside[1], minlength=len(right))
        holds_left[rows.start + inside[0]] = True
    return Memberships(held_left, held_right, holds_left, holds_right)


def _strictly_inside(
    frame: Frame,
    lower: npt.NDArray[np.floating],
    features: tuple[FloatArray, FloatArray],
    norms: tuple[FloatArray, FloatArray],
    radii: FloatArray,
) -> tuple[IntArray, IntArray]:
    """Return the (row, column) pairs whose distance is below the radius; `radii` broadcasts to all pairs."""
    limits = (radii * frame.scale) ** 2
    above = np.nextafter(np.asarray(limits * (1 + 1e-6), dtype=np.float32), np.float32(np.inf))
    rows, columns = true_places(lower <= above)
    upper = lower[rows, columns] + 2 * frame.slack(np.float32) * (norms[0][rows] + norms[1][columns])
    inside = upper < np.broadcast_to(limits, lower.shape)[rows, columns] * (1 - 1e-6)
    unsettled = np.flatnonzero(~inside)
    distances = np.sqrt(pair_squares(*features, rows[unsettled], columns[unsettled]))
    inside[unsettled] = distances < np.broadcast_to(radii, lower.shape)[rows[unsettled], columns[unsettled]]
    return rows[inside], columns[inside]
