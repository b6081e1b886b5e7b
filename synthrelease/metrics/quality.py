"""Several metrics of two feature tables, each with its interval and beside what halves of the real images give."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from synthrelease import seeds
from synthrelease.errors import AuditError
from synthrelease.metrics.checks import FloatArray, IntArray, checked_tables
from synthrelease.metrics.coverage import precision_recall_density_coverage
from synthrelease.metrics.extrapolation import frechet_distance_extrapolated
from synthrelease.metrics.frechet import (
    frechet_distance,
    frechet_from_moments,
    memorization_informed_frechet_distance,
)
from synthrelease.metrics.inception_score import inception_score
from synthrelease.metrics.jackknife import PARTS, jackknife_interval, parts_of
from synthrelease.metrics.kernel import kernel_distance
from synthrelease.metrics.likelihood import feature_likelihood_divergence
from synthrelease.metrics.moments import Rows, of_checked, together
from synthrelease.metrics.vendi import vendi_score

Table = npt.NDArray[Any]
Statistic = Callable[[Sequence[Any], Sequence[Any]], FloatArray]
INTERVAL = (
    "95 percent, delete-a-group jackknife: {parts} parts of the real subjects and {parts} of the synthetic images are "
    "left out in turn"
)


@dataclass(frozen=True)
class Value:
    """One number with what a reader needs to trust it; None where it could not be computed, with the reason."""

    name: str
    metric: str
    """Line of the metric table."""
    value: float | None
    count: int
    real_count: int | None = None
    low: float | None = None
    high: float | None = None
    floor: float | None = None
    matched: float | None = None
    floor_count: int | None = None
    note: str = ""


@dataclass(frozen=True)
class Comparison:
    """Two feature tables cut into halves and parts once, so that every metric sees the same cuts."""

    real: Table
    synthetic: Table
    groups: npt.NDArray[Any]
    """(n,) subject of each real image."""
    seed: int = 0
    parts: int = PARTS
    first: IntArray = field(init=False)
    """Rows of one half of the real subjects."""
    second: IntArray = field(init=False)
    """Rows of the other half, no more than there are synthetic images."""
    few: IntArray = field(init=False)
    """Rows of as many synthetic images."""

    def __post_init__(self) -> None:
        random = seeds.named(self.seed, "halves")
        half = parts_of(self.groups, 2, random)
        first, second = np.flatnonzero(half == 0), np.flatnonzero(half == 1)
        count = min(len(second), len(self.synthetic))
        object.__setattr__(self, "first", first)
        object.__setattr__(self, "second", np.sort(random.choice(second, count, replace=False)))
        object.__setattr__(self, "few", np.sort(random.choice(len(self.synthetic), count, replace=False)))

    @property
    def halved(self) -> bool:
        """There are two subjects or more, so that there are two halves."""
        return min(len(self.first), len(self.second)) >= 2

    def real_parts(self) -> list[Rows]:
        """Return the real table in parts of whole subjects."""
        return _cut(self.real, parts_of(self.groups, max(self.parts, 1), seeds.named(self.seed, "real parts")))

    def synthetic_parts(self) -> list[Rows]:
        """Return the synthetic table in parts."""
        each = np.arange(len(self.synthetic))
        return _cut(self.synthetic, parts_of(each, max(self.parts, 1), seeds.named(self.seed, "synthetic parts")))


def _cut(table: Table, part: IntArray) -> list[Rows]:
    return [Rows(table, np.flatnonzero(part == number)) for number in range(int(part.max(initial=0)) + 1)]


def rows_at_most(count: int, most: int, seed: int, role: str) -> IntArray | slice:
    """Return which of ``count`` images stand for all where at most ``most`` are compared; all where there are fewer."""
    if count <= most:
        return slice(None)
    return np.sort(seeds.named(seed, f"compared {role}").choice(count, most, replace=False))


def measure_pair(
    comparison: Comparison, names: Sequence[tuple[str, str]], of_tables: Callable[[Table, Table], Sequence[float]]
) -> list[Value]:
    """Return values of metrics that compare real with synthetic features, with interval and floor.

    Args:
        comparison: the tables.
        names: (name, metric) of each number that `of_tables` gives.
        of_tables: maps (real, synthetic) tables to the numbers.
    """

    def statistic(real: Sequence[Any], synthetic: Sequence[Any]) -> FloatArray:
        return np.array(of_tables(np.concatenate(real), np.concatenate(synthetic)), dtype=np.float64)

    def of_halves(first: Rows, second: Rows) -> Sequence[float]:
        return of_tables(np.asarray(first), np.asarray(second))

    return _values(comparison, names, statistic, comparison.real_parts(), comparison.synthetic_parts(), of_halves)


def _values(
    comparison: Comparison,
    names: Sequence[tuple[str, str]],
    statistic: Statistic,
    real: Sequence[Any],
    synthetic: Sequence[Any],
    of_halves: Callable[[Rows, Rows], Sequence[float]],
) -> list[Value]:
    counts = len(comparison.synthetic), len(comparison.real)
    try:
        value = statistic(real, synthetic)
    except AuditError as error:
        return [Value(name, metric, None, *counts, note=_reason(error)) for name, metric in names]
    notes, span, floor, matched = [], None, None, None
    try:
        span = jackknife_interval(statistic, real=real, synthetic=synthetic, value=value) if comparison.parts else None
    except AuditError as error:
        notes.append(f"No interval: {_reason(error)}")
    if comparison.halved:
        half = Rows(comparison.real, comparison.first)
        try:
            floor = of_halves(half, Rows(comparison.real, comparison.second))
            matched = of_halves(half, Rows(comparison.synthetic, comparison.few))
        except AuditError as error:
            notes.append(f"No floor: {_reason(error)}")
            floor = None
    else:
        notes.append("No floor: the real images are of one subject.")
    found = []
    for k, (name, metric) in enumerate(names):
        found.append(
            Value(
                name,
                metric,
                float(value[k]),
                *counts,
                low=None if span is None else float(span[0][k]),
                high=None if span is None else float(span[1][k]),
                floor=None if floor is None else float(floor[k]),
                matched=None if floor is None or matched is None else float(matched[k]),
                floor_count=len(comparison.few) if floor is not None else None,
                note=" ".join(notes),
            )
        )
    return found


def measure_frechet(comparison: Comparison, name: str) -> list[Value]:
    """Return the Frechet distance; where images outnumber features from moments of parts, so that no table is held."""
    names = [(name, "frechet_distance")]
    width = comparison.real.shape[1]

    def of_tables(first: Table, second: Table) -> list[float]:
        return [frechet_distance(real=first, synthetic=second)]

    if min(len(comparison.real), len(comparison.synthetic)) <= width:
        return measure_pair(comparison, names, of_tables)

    def of_moments(first: Sequence[Any], second: Sequence[Any]) -> FloatArray:
        return np.array([frechet_from_moments(real=together(first), synthetic=together(second))])

    def of_halves(first: Rows, second: Rows) -> list[float]:
        if min(len(first), len(second)) <= width:
            return of_tables(np.asarray(first), np.asarray(second))
        return [frechet_from_moments(real=of_checked(first), synthetic=of_checked(second))]

    try:
        checked_tables(real=comparison.real, synthetic=comparison.synthetic)
    except AuditError as error:
        counts = len(comparison.synthetic), len(comparison.real)
        return [Value(name, "frechet_distance", None, *counts, note=_reason(error))]
    cut = [[of_checked(part) for part in side] for side in (comparison.real_parts(), comparison.synthetic_parts())]
    return _values(comparison, names, of_moments, cut[0], cut[1], of_halves)


def measure_kernel(comparison: Comparison, name: str) -> list[Value]:
    """Return the kernel distance."""

    def of_tables(first: Table, second: Table) -> list[float]:
        random = seeds.named(comparison.seed, "kernel_distance")
        return [kernel_distance(real=first, synthetic=second, random=random).value]

    return measure_pair(comparison, [(name, "kernel_distance")], of_tables)


def measure_coverage(comparison: Comparison, suffix: str) -> list[Value]:
    """Return precision, recall, density and coverage."""

    def of_tables(first: Table, second: Table) -> list[float]:
        found = precision_recall_density_coverage(real=first, synthetic=second)
        return [found.precision, found.recall, found.density, found.coverage]

    metric = "precision_recall_density_coverage"
    names = [(f"{name}{suffix}", metric) for name in ("precision", "recall", "density", "coverage")]
    found = measure_pair(comparison, names, of_tables)
    return [_within(value, 0, np.inf if value.name.startswith("density") else 1) for value in found]


def measure_memorisation(comparison: Comparison, name: str) -> list[Value]:
    """Return the memorisation-informed Frechet distance, real images in the role of train."""

    def of_tables(first: Table, second: Table) -> list[float]:
        return [memorization_informed_frechet_distance(train=first, synthetic=second)]

    return measure_pair(comparison, [(name, "memorization_informed_frechet_distance")], of_tables)


def measure_extrapolated(comparison: Comparison, name: str) -> list[Value]:
    """Return the Frechet distance at infinitely many synthetic images, with the interval of the line's intercept."""
    counts = len(comparison.synthetic), len(comparison.real)
    metric = "frechet_distance_extrapolated"

    def extrapolated(real: Table, synthetic: Table) -> Any:
        random = seeds.named(comparison.seed, metric)
        return frechet_distance_extrapolated(real=real, synthetic=synthetic, random=random)

    try:
        found = extrapolated(comparison.real, comparison.synthetic)
    except AuditError as error:
        return [Value(name, metric, None, *counts, note=_reason(error))]
    value = Value(name, metric, found.value, *counts, low=found.low, high=found.high)
    note = "Interval: of the line's intercept alone. Only the synthetic images are extrapolated."
    try:
        half = comparison.real[comparison.first]
        floor = extrapolated(half, comparison.real[comparison.second]).value
        matched = extrapolated(half, comparison.synthetic[comparison.few]).value
    except AuditError as error:
        return [replace(value, note=f"{note} No floor: {_reason(error)}")]
    return [replace(value, floor=floor, matched=matched, floor_count=len(comparison.few), note=note)]


def measure_alone(
    comparison: Comparison, name: str, metric: str, of_table: Callable[[Table], float], note: str
) -> list[Value]:
    """Return a metric of the synthetic images alone; its floor is the metric of as many real images."""
    counts = len(comparison.synthetic), len(comparison.real)

    def statistic(_: Sequence[Any], synthetic: Sequence[Any]) -> FloatArray:
        return np.array([of_table(np.concatenate(synthetic))])

    try:
        value = of_table(comparison.synthetic)
        parts = comparison.synthetic_parts()
        nobody = [np.empty(0)] * 2  # real images play no part, so they add no error
        span = None
        if comparison.parts:
            span = jackknife_interval(statistic, real=nobody, synthetic=parts, value=np.array([value]))
        random = seeds.named(comparison.seed, "as many")
        size = min(counts)
        real = comparison.real[np.sort(random.choice(counts[1], size, replace=False))]
        few = comparison.synthetic[np.sort(random.choice(counts[0], size, replace=False))]
        floor, matched = of_table(real), of_table(few)
    except AuditError as error:
        return [Value(name, metric, None, *counts, note=_reason(error))]
    low, high = (None, None) if span is None else (float(span[0][0]), float(span[1][0]))
    return [Value(name, metric, value, *counts, low, high, floor, matched, size, note)]


def measure_vendi(comparison: Comparison, name: str) -> list[Value]:
    """Return the Vendi score of the synthetic images."""
    note = "The floor is the score of as many real images."
    return measure_alone(comparison, name, "vendi_score", vendi_score, note)


def measure_score(comparison: Comparison, name: str) -> list[Value]:
    """Return the inception score; the tables hold class probabilities."""

    def of_table(probabilities: Table) -> float:
        random = seeds.named(comparison.seed, "inception_score")
        splits = max(1, min(10, len(probabilities) // 20))
        return inception_score(probabilities=_renormed(probabilities), random=random, splits=splits).value

    splits, classes = max(1, min(10, len(comparison.synthetic) // 20)), comparison.synthetic.shape[1]
    note = f"{classes} classes, {splits} splits. The floor is the score of as many real images."
    return [_within(value, 1, classes) for value in measure_alone(comparison, name, "inception_score", of_table, note)]


def measure_likelihood(comparison: Comparison, holdout: Table, names: tuple[str, str]) -> list[Value]:
    """Return the feature likelihood divergence on the holdout and its gap; real images in the role of train."""
    metric = "feature_likelihood_divergence"
    counts = len(comparison.synthetic), len(comparison.real)

    def of_tables(train: Table, synthetic: Table) -> list[float]:
        found = feature_likelihood_divergence(train=train, holdout=holdout, synthetic=synthetic)
        return [found.value, found.gap]

    if len(holdout) < 2:
        return [Value(name, metric, None, *counts, note="Fewer than two holdout images.") for name in names]
    return measure_pair(comparison, [(name, metric) for name in names], of_tables)


def _renormed(probabilities: Table) -> FloatArray:
    rows = np.asarray(probabilities, dtype=np.float64)
    return np.asarray(rows / rows.sum(axis=1, keepdims=True))


def _within(value: Value, low: float, high: float) -> Value:
    """Return the value with its interval cut to what the metric can be."""
    if value.low is None or value.high is None:
        return value
    return replace(value, low=max(value.low, low), high=min(value.high, high))


def _reason(error: AuditError) -> str:
    return error.problem.replace("\n", " ")
