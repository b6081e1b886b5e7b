"""Exact nearest neighbours and ball memberships, at matrix-product speed and in bounded memory.

Every pair is screened in single precision on centred features, with a bound on the rounding error that holds for any
order of summation; whatever the bound cannot settle is computed again in float64 from the features themselves.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from synthrelease.errors import AuditError
from synthrelease.metrics.checks import FloatArray, IntArray

ROWS = 16_384  # of features that `closest` compares at once: 128 MiB of 2,048 features
BLOCK_BYTES = 96 * 2**20
_CACHED_BYTES = 2**20  # of rows that are worked on together, where one pass over a table follows another
BYTES_PER_PAIR = 16  # a bound, its place in the partition, masks
_GROUP = 16  # values looked at together for the smallest of a row
_Screening: TypeAlias = type[np.float32] | type[np.float64]
_Side: TypeAlias = tuple[npt.NDArray[np.floating], FloatArray]


@dataclass(frozen=True)
class Frame:
    """The centre and scale in which distances are screened, so that neither offset nor unit costs precision."""

    centre: FloatArray
    scale: float

    @classmethod
    def around(cls, references: FloatArray, queries: FloatArray) -> Frame:
        """Return the frame centred on the references that holds both tables."""
        centre = references.mean(axis=0, dtype=np.float64)
        # Rows are brought to length 1 or less: their squares cannot overflow in single precision.
        tables = (references,) if references is queries else (references, queries)
        longest = max(float(_squares(part, centre).max()) for part in tables)
        return cls(centre, 1.0 / np.sqrt(longest) if longest > 0 else 1.0)

    def slack(self, precision: _Screening) -> float:
        """Bound of |computed - true| / (|x|^2 + |y|^2): d roundings in the product, and those around it."""
        return (len(self.centre) + 16) * float(np.finfo(precision).eps) / 2

    def rows(self, table: FloatArray, precision: _Screening) -> npt.NDArray[np.floating]:
        """Return the rows of a table in this frame, each of length 1 or less."""
        scaled = np.empty(table.shape, dtype=precision)
        for part, centred in _centred(table, self.centre):
            np.multiply(centred, self.scale, out=scaled[part], casting="same_kind")
        return scaled

    def norms(self, table: FloatArray) -> FloatArray:
        """Return the squared length of each row in this frame."""
        return _squares(table, self.centre) * self.scale**2


def _squares(table: FloatArray, centre: FloatArray) -> FloatArray:
    """Squared length of each centred row."""
    result = np.empty(len(table))
    for part, centred in _centred(table, centre):
        np.einsum("ij,ij->i", centred, centred, out=result[part])
    return result


def _centred(table: FloatArray, centre: FloatArray) -> Iterator[tuple[slice, FloatArray]]:
    """Yield a few centred rows at a time, in float64, always in the same room."""
    step = max(1, _CACHED_BYTES // (8 * table.shape[1]))
    room = np.empty((min(step, len(table)), table.shape[1]))
    for start in range(0, len(table), step):
        rows = table[start : start + step]
        yield slice(start, start + len(rows)), np.subtract(rows, centre, out=room[: len(rows)])


def blocks(count: int, width: int, bytes_each: int = BYTES_PER_PAIR) -> Iterator[slice]:
    """Yield slices of `count` rows such that rows x `width` pairs stay within the memory of one block."""
    step = max(1, BLOCK_BYTES // max(1, bytes_each * width))
    for start in range(0, count, step):
        yield slice(start, min(start + step, count))


def pair_squares(left: FloatArray, right: FloatArray, rows: IntArray, columns: IntArray) -> FloatArray:
    """Return squared distances of the listed pairs in float64: exactly 0 for equal rows."""
    result = np.empty(len(rows))
    step = max(1, _CACHED_BYTES // (8 * left.shape[1]))
    room = np.empty((min(step, len(rows)), left.shape[1]))
    for start in range(0, len(rows), step):
        part = slice(start, start + step)
        first = left[rows[part]]
        difference = np.subtract(first, right[columns[part]], out=room[: len(first)], dtype=np.float64)
        np.einsum("ij,ij->i", difference, difference, out=result[part])
    return result


def nearest(
    queries: FloatArray,
    references: FloatArray,
    k: int = 1,
    exclude_groups: tuple[IntArray, IntArray] | None = None,
) -> tuple[FloatArray, IntArray]:
    """Return Euclidean distances to the k nearest references of each query, ascending, and their row numbers.

    Args:
        queries: (n, d) checked features, in single or double precision.
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
    frame = Frame.around(references, queries)
    right = (frame.rows(references, np.float32), frame.norms(references))
    distances, indices = np.empty((len(queries), k)), np.empty((len(queries), k), dtype=np.int64)
    for rows in blocks(len(queries), len(references)):
        part = queries[rows]
        left = (frame.rows(part, np.float32), frame.norms(part))
        lower = lower_bounds(frame, left, right, np.float32)
        banned = None if exclude_groups is None else exclude_groups[0][rows, None] == exclude_groups[1]
        if banned is not None:
            lower[banned] = np.inf
        doubt = 2 * frame.slack(np.float32), left[1], right[1]
        squares, indices[rows], crowded = _settle(lower, doubt, part, references, k)
        if len(crowded):
            del lower
            still_banned = None if banned is None else banned[crowded]
            squares[crowded], named = _settle_in_double(frame, part[crowded], references, k, still_banned)
            indices[rows.start + crowded] = named
        distances[rows] = np.sqrt(squares)
    return distances, indices


def closest(queries: npt.NDArray[Any], references: npt.NDArray[Any]) -> tuple[FloatArray, IntArray]:
    """Return Euclidean distance to and row of each query's nearest reference, as `nearest` with k = 1 does.

    Both tables, (n, d) and (m, d), may be mapped from files: `ROWS` of each are looked at together.
    """
    distances, rows = np.full(len(queries), np.inf), np.zeros(len(queries), dtype=np.int64)
    for first in range(0, len(queries), ROWS):
        part = slice(first, first + ROWS)
        asked = np.asarray(queries[part])
        for start in range(0, len(references), ROWS):
            far, found = nearest(asked, np.asarray(references[start : start + ROWS]))
            nearer = far[:, 0] < distances[part]
            distances[part] = np.where(nearer, far[:, 0], distances[part])
            rows[part] = np.where(nearer, found[:, 0] + start, rows[part])
    return distances, rows


def lower_bounds(frame: Frame, left: _Side, right: _Side, precision: _Screening) -> npt.NDArray[np.floating]:
    """Return (n, m) values no larger than the scaled squared distances, from rows and squared lengths of each side."""
    kept = 1 - frame.slack(precision)
    lower: npt.NDArray[np.floating] = np.asarray((-2 * left[0]) @ right[0].T)
    lower += (kept * right[1]).astype(left[0].dtype)
    lower += (kept * left[1]).astype(left[0].dtype)[:, None]
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
    first = _some_smallest(lower, k)
    bounds = np.take_along_axis(lower, first, axis=1)
    if not np.isfinite(bounds).all():
        raise AuditError(
            f"An image has fewer than {k} neighbours outside its own subject.", "Add subjects, or lower k."
        )
    # The k-th true neighbour is no farther than the farthest of any k references.
    reach = (bounds + doubt[0] * (doubt[1][:, None] + doubt[2][first])).max(axis=1)
    candidates = lower <= np.nextafter(np.asarray(reach, dtype=np.float32), np.float32(np.inf))[:, None]
    crowded = np.flatnonzero(np.count_nonzero(candidates, axis=1) > 4 * k + 64 + width // 128)
    candidates[crowded] = False
    candidates[crowded[:, None], first[crowded]] = True
    rows, columns = np.nonzero(candidates)
    squares = pair_squares(queries, references, rows, columns)
    order = np.lexsort((columns, squares, rows))
    starts = np.searchsorted(rows, np.arange(count))
    chosen = order[starts[:, None] + np.arange(k)]
    return squares[chosen], columns[chosen], crowded


def _some_smallest(lower: npt.NDArray[np.floating], k: int) -> IntArray:
    """Return k columns of each row whose values are about its smallest: their largest bounds the k-th from above.

    Columns are put into groups of 16; the k groups with the least minima name one column each. That reads every value
    once, at a tenth of a partition's time, and misses only where two of the smallest share a group.
    """
    count, width = lower.shape
    if k == 1:
        return np.asarray(lower.argmin(axis=1)[:, None])
    groups = width // _GROUP
    if groups < 8 * k:
        return np.asarray(np.argpartition(lower, k - 1, axis=1)[:, :k])
    minima = lower[:, : _GROUP * groups].reshape(count, _GROUP, groups).min(axis=1)
    left = width - _GROUP * groups
    np.minimum(minima[:, :left], lower[:, _GROUP * groups :], out=minima[:, :left])
    least = np.argpartition(minima, k - 1, axis=1)[:, :k]
    members = least[:, :, None] + groups * np.arange(_GROUP + 1)
    members = np.where(members < width, members, least[:, :, None])
    values = lower[np.arange(count)[:, None, None], members]
    best = values.argmin(axis=2)
    if not np.isfinite(minima[np.arange(count)[:, None], least]).all():  # whole groups are passed over
        return np.asarray(np.argpartition(lower, k - 1, axis=1)[:, :k])
    return np.asarray(np.take_along_axis(members, best[:, :, None], axis=2)[:, :, 0])


def own_radii(table: FloatArray, k: int) -> FloatArray:
    """Return the distance (n,) of each row to its k-th neighbour in the same table, itself not counted, exactly.

    As `nearest` with each row left out, at half the products: the distance of a pair serves both of its rows.
    """
    if len(table) < 64 * k:
        each = np.arange(len(table))
        return nearest(table, table, k, exclude_groups=(each, each))[0][:, -1]
    frame = Frame.around(table, table)
    rows, norms = frame.rows(table, np.float32), frame.norms(table)
    doubt = 2 * frame.slack(np.float32)
    reach = np.full(len(table), np.inf)  # no k-th neighbour is farther than this, squared and scaled
    found: list[tuple[IntArray, IntArray, npt.NDArray[np.floating]]] = []
    for part in blocks(len(table), len(table)):
        start, stop = part.start, part.stop
        lower = lower_bounds(frame, (rows[part], norms[part]), (rows[start:], norms[start:]), np.float32)
        np.fill_diagonal(lower, np.inf)
        _draw_in(reach[start:stop], lower, k, doubt * (norms[part] + norms[start:].max()))
        i, j = true_places(lower <= _up(reach[part])[:, None])
        found.append((start + i, start + j, lower[i, j]))
        across = lower[:, stop - start :]
        _draw_in(reach[stop:], across.T, k, doubt * (norms[stop:] + norms[part].max()))
        i, j = true_places(across <= _up(reach[stop:]))
        found.append((stop + j, start + i, across[i, j]))
    left, right, bounds = (np.concatenate(pieces) for pieces in zip(*found, strict=True))
    kept = bounds <= _up(reach)[left]
    left, right, bounds = left[kept], right[kept], np.asarray(bounds[kept], dtype=np.float64)
    above = bounds + doubt * (norms[left] + norms[right])
    return _kth_distance(table, left, right, (bounds, above), k)


def true_places(found: npt.NDArray[np.bool_]) -> tuple[IntArray, IntArray]:
    """Return rows and columns of what is true; in one dimension NumPy finds it several times faster than in two."""
    places = np.flatnonzero(found.reshape(-1))
    return tuple(np.divmod(places, found.shape[1]))  # type: ignore[return-value]


def _up(values: FloatArray) -> npt.NDArray[np.float32]:
    """Return single precision that is never below the value."""
    return np.nextafter(np.asarray(values, dtype=np.float32), np.float32(np.inf))


def _draw_in(reach: FloatArray, lower: npt.NDArray[np.floating], k: int, doubt: FloatArray) -> None:
    """Lower `reach` (n,) to the upper bound of the k-th smallest of each row of bounds (n, m), where that is less."""
    groups = lower.shape[1] // _GROUP
    if groups < k or not len(reach):
        return
    shape = (len(lower), _GROUP, groups)
    minima = lower[:, : _GROUP * groups].reshape(shape).min(axis=1)
    np.minimum(reach, np.partition(minima, k - 1, axis=1)[:, k - 1] + doubt, out=reach)


def _kth_distance(
    table: FloatArray, left: IntArray, right: IntArray, between: tuple[FloatArray, FloatArray], k: int
) -> FloatArray:
    """Return the exact k-th distance of each row from pairs that hold its k nearest; crowded rows are searched anew.

    Pairs that are certainly nearer than the k-th (their upper bound is below the k-th lower bound) are only counted.
    """
    rows = np.arange(len(table))
    crowded = np.flatnonzero(np.bincount(left, minlength=len(table)) > 4 * k + 64 + len(table) // 128)
    order = np.lexsort((between[0], left))
    starts = np.searchsorted(left[order], rows)
    kth_lower = between[0][order][starts + k - 1]
    open_ = between[1] >= kth_lower[left]
    open_ &= ~np.isin(left, crowded) if len(crowded) else True
    nearer = np.bincount(left[~open_], minlength=len(table))
    left, right = left[open_], right[open_]
    squares = pair_squares(table, table, left, right)
    order = np.lexsort((squares, left))
    radii = np.empty(len(table))
    settled = np.setdiff1d(rows, crowded)
    places = np.searchsorted(left[order], settled) + k - 1 - nearer[settled]
    radii[settled] = np.sqrt(squares[order[places]])
    if len(crowded):
        radii[crowded] = nearest(table[crowded], table, k, exclude_groups=(crowded, rows))[0][:, -1]
    return radii


def _settle_in_double(
    frame: Frame, queries: FloatArray, references: FloatArray, k: int, banned: npt.NDArray[np.bool_] | None
) -> tuple[FloatArray, IntArray]:
    """Top k of queries whose references crowd together closer than single precision tells apart.

    Where more than 32 references agree to about 1e-13 of the features' squared length, which of them is named is open.
    """
    lower = np.empty((len(queries), len(references)))
    left = (frame.rows(queries, np.float64), frame.norms(queries))
    for part in blocks(len(references), references.shape[1], bytes_each=32):
        right = (frame.rows(references[part], np.float64), frame.norms(references[part]))
        lower[:, part] = lower_bounds(frame, left, right, np.float64)
    if banned is not None:
        lower[banned] = np.inf
    short = min(len(references), k + 32)
    columns = np.sort(np.argpartition(lower, short - 1, axis=1)[:, :short], axis=1)
    squares = pair_squares(queries, references, np.repeat(np.arange(len(queries)), short), columns.ravel())
    squares = np.where(np.isinf(np.take_along_axis(lower, columns, axis=1)), np.inf, squares.reshape(columns.shape))
    order = np.argsort(squares, axis=1, kind="stable")[:, :k]
    return np.take_along_axis(squares, order, axis=1), np.take_along_axis(columns, order, axis=1)
