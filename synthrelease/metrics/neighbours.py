"""Exact nearest neighbours and ball memberships, at matrix-product speed and in bounded memory.

Every pair is screened in single precision on centred features, with a bound on the rounding error that holds for any
order of summation; whatever the bound cannot settle is computed again in float64 from the features themselves.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from synthrelease.errors import AuditError
from synthrelease.metrics.checks import FloatArray, IntArray

BLOCK_BYTES = 96 * 2**20
_BYTES_PER_PAIR = 16  # a bound, its place in the partition, masks
_Screening: TypeAlias = type[np.float32] | type[np.float64]


@dataclass(frozen=True)
class _Frame:
    """The centre and scale in which distances are screened, so that neither offset nor unit costs precision."""

    centre: FloatArray
    scale: float

    @classmethod
    def around(cls, references: FloatArray, queries: FloatArray) -> _Frame:
        centre = references.mean(axis=0)
        # Rows are brought to length 1 or less: their squares cannot overflow in single precision.
        longest = max(float(_squares(part, centre).max()) for part in (references, queries))
        return cls(centre, 1.0 / np.sqrt(longest) if longest > 0 else 1.0)

    def slack(self, precision: _Screening) -> float:
        """Bound of |computed - true| / (|x|^2 + |y|^2): d roundings in the product, and those around it."""
        return (len(self.centre) + 16) * float(np.finfo(precision).eps) / 2

    def rows(self, table: FloatArray, precision: _Screening) -> npt.NDArray[np.floating]:
        return np.asarray((table - self.centre) * self.scale, dtype=precision)

    def norms(self, table: FloatArray) -> FloatArray:
        return _squares(table, self.centre) * self.scale**2


def _squares(table: FloatArray, centre: FloatArray) -> FloatArray:
    """Squared length of each centred row, a few rows at a time."""
    step = max(1, BLOCK_BYTES // 4 // (8 * table.shape[1]))
    parts = [table[start : start + step] - centre for start in range(0, len(table), step)]
    return np.concatenate([np.einsum("ij,ij->i", part, part) for part in parts])


def blocks(count: int, width: int, bytes_each: int = _BYTES_PER_PAIR) -> Iterator[slice]:
    """Yield slices of `count` rows such that rows x `width` pairs stay within the memory of one block."""
    step = max(1, BLOCK_BYTES // max(1, bytes_each * width))
    for start in range(0, count, step):
        yield slice(start, min(start + step, count))


def pair_squares(left: FloatArray, right: FloatArray, rows: IntArray, columns: IntArray) -> FloatArray:
    """Return squared distances of the listed pairs in float64: exactly 0 for equal rows."""
    result = np.empty(len(rows))
    for part in blocks(len(rows), left.shape[1], bytes_each=32):
        difference = left[rows[part]] - right[columns[part]]
        result[part] = np.einsum("ij,ij->i", difference, difference)
    return result


def nearest(
    queries: FloatArray,
    references: FloatArray,
    k: int = 1,
    exclude_groups: tuple[IntArray, IntArray] | None = None,
) -> tuple[FloatArray, IntArray]:
    """Return Euclidean distances to the k nearest references of each query, ascending, and their row numbers.

    Args:
        queries: (n, d) checked float64 features.
        references: (m, d) likewise.
        k: neighbours per query, 1 to m.
        exclude_groups: group of each query (n,) and of each reference (m,); references in the query's group are passed
            over. ``(np.arange(n), np.arange(n))`` leaves out each row itself.

    Returns:
        (n, k) distances and (n, k) indices; ties go to the lower index.

    Raises:
        AuditError: a query has fewer than k references to choose from.
    """
    if not 1 <= k <= len(references):
        raise AuditError(f"{k} neighbours were asked for, out of {len(references)} images.", "Lower k or add images.")
    frame = _Frame.around(references, queries)
    right = (frame.rows(references, np.float32), frame.norms(references))
    distances, indices = np.empty((len(queries), k)), np.empty((len(queries), k), dtype=np.int64)
    for rows in blocks(len(queries), len(references)):
        part = queries[rows]
        lower = _lower_bounds(frame, part, right, np.float32)
        banned = None if exclude_groups is None else exclude_groups[0][rows, None] == exclude_groups[1]
        if banned is not None:
            lower[banned] = np.inf
        doubt = 2 * frame.slack(np.float32), frame.norms(part), right[1]
        squares, indices[rows], crowded = _settle(lower, doubt, part, references, k)
        if len(crowded):
            del lower
            still_banned = None if banned is None else banned[crowded]
            squares[crowded], named = _settle_in_double(frame, part[crowded], references, k, still_banned)
            indices[rows.start + crowded] = named
        distances[rows] = np.sqrt(squares)
    return distances, indices


def _lower_bounds(
    frame: _Frame, queries: FloatArray, right: tuple[npt.NDArray[np.floating], FloatArray], precision: _Screening
) -> npt.NDArray[np.floating]:
    """Return (n, m) values no larger than the scaled squared distances."""
    left, kept = frame.rows(queries, precision), 1 - frame.slack(precision)
    lower = np.asarray((-2 * left) @ right[0].T)
    lower += np.asarray(kept * right[1], dtype=precision)
    lower += np.asarray(kept * frame.norms(queries), dtype=precision)[:, None]
    return lower


def _settle(
    lower: npt.NDArray[np.floating],
    doubt: tuple[float, FloatArray, FloatArray],
    queries: FloatArray,
    references: FloatArray,
    k: int,
) -> tuple[FloatArray, IntArray, IntArray]:
    """Turn lower bounds into the exact top k; also list the rows with too many candidates to settle this way.

    `doubt` holds what makes lower bounds upper ones: a factor, to be multiplied by the squared lengths of both rows.
    """
    count, width = lower.shape
    first = lower.argmin(axis=1)[:, None] if k == 1 else np.argpartition(lower, k - 1, axis=1)[:, :k]
    bounds = np.take_along_axis(lower, first, axis=1)
    if not np.isfinite(bounds).all():
        raise AuditError(
            f"An image has fewer than {k} neighbours outside its own subject.", "Add subjects, or lower k."
        )
    # The k-th true neighbour is no farther than the farthest of any k references.
    reach = (bounds + doubt[0] * (doubt[1][:, None] + doubt[2][first])).max(axis=1)
    candidates = lower <= np.nextafter(np.asarray(reach, dtype=np.float32), np.float32(np.inf))[:, None]
    crowded = np.flatnonzero(candidates.sum(axis=1) > 4 * k + 64 + width // 128)
    candidates[crowded] = False
    candidates[crowded[:, None], first[crowded]] = True
    rows, columns = np.nonzero(candidates)
    squares = pair_squares(queries, references, rows, columns)
    order = np.lexsort((columns, squares, rows))
    starts = np.searchsorted(rows, np.arange(count))
    chosen = order[starts[:, None] + np.arange(k)]
    return squares[chosen], columns[chosen], crowded


def _settle_in_double(
    frame: _Frame, queries: FloatArray, references: FloatArray, k: int, banned: npt.NDArray[np.bool_] | None
) -> tuple[FloatArray, IntArray]:
    """Top k of queries whose references crowd together closer than single precision tells apart.

    Where more than 32 references agree to about 1e-13 of the features' squared length, which of them is named is open.
    """
    lower = np.empty((len(queries), len(references)))
    for part in blocks(len(references), references.shape[1], bytes_each=32):
        right = (frame.rows(references[part], np.float64), frame.norms(references[part]))
        lower[:, part] = _lower_bounds(frame, queries, right, np.float64)
    if banned is not None:
        lower[banned] = np.inf
    short = min(len(references), k + 32)
    columns = np.sort(np.argpartition(lower, short - 1, axis=1)[:, :short], axis=1)
    squares = pair_squares(queries, references, np.repeat(np.arange(len(queries)), short), columns.ravel())
    squares = np.where(np.isinf(np.take_along_axis(lower, columns, axis=1)), np.inf, squares.reshape(columns.shape))
    order = np.argsort(squares, axis=1, kind="stable")[:, :k]
    return np.take_along_axis(squares, order, axis=1), np.take_along_axis(columns, order, axis=1)


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
        left: (n, d) checked float64 features, each the centre of a ball.
        right: (m, d) likewise.
        left_radii: (n,) radii of the left balls, in feature units.
        right_radii: (m,) radii of the right balls.
    """
    frame = _Frame.around(right, left)
    norms = frame.norms(left), frame.norms(right)
    prepared = (frame.rows(right, np.float32), norms[1])
    held_left, held_right = np.zeros(len(left), dtype=np.int64), np.zeros(len(right), dtype=np.int64)
    holds_left, holds_right = np.zeros(len(left), dtype=np.bool_), np.zeros(len(right), dtype=np.bool_)
    for rows in blocks(len(left), len(right), bytes_each=3 * _BYTES_PER_PAIR):  # most pairs may lie inside
        part = left[rows]
        lower = _lower_bounds(frame, part, prepared, np.float32)
        spread = (norms[0][rows], norms[1])
        inside = _strictly_inside(frame, lower, (part, right), spread, right_radii[None, :])
        held_left[rows] = np.bincount(inside[0], minlength=len(part))
        holds_right[inside[1]] = True
        inside = _strictly_inside(frame, lower, (part, right), spread, left_radii[rows, None])
        held_right += np.bincount(inside[1], minlength=len(right))
        holds_left[rows.start + inside[0]] = True
    return Memberships(held_left, held_right, holds_left, holds_right)


def _strictly_inside(
    frame: _Frame,
    lower: npt.NDArray[np.floating],
    features: tuple[FloatArray, FloatArray],
    norms: tuple[FloatArray, FloatArray],
    radii: FloatArray,
) -> tuple[IntArray, IntArray]:
    """Return the (row, column) pairs whose distance is below the radius; `radii` broadcasts to all pairs."""
    limits = (radii * frame.scale) ** 2
    above = np.nextafter(np.asarray(limits * (1 + 1e-6), dtype=np.float32), np.float32(np.inf))
    rows, columns = np.nonzero(lower <= above)
    upper = lower[rows, columns] + 2 * frame.slack(np.float32) * (norms[0][rows] + norms[1][columns])
    inside = upper < np.broadcast_to(limits, lower.shape)[rows, columns] * (1 - 1e-6)
    unsettled = np.flatnonzero(~inside)
    distances = np.sqrt(pair_squares(*features, rows[unsettled], columns[unsettled]))
    inside[unsettled] = distances < np.broadcast_to(radii, lower.shape)[rows[unsettled], columns[unsettled]]
    return rows[inside], columns[inside]
