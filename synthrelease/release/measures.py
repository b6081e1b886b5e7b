"""What may leave of quality and utility: numbers about sets of patients, and curves where enough patients stand."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from synthrelease.records import AREA_EDGES, VOLUME_EDGES, AuditRecord, Curve, PublicCurve, Rate
from synthrelease.release.shield import NAME, PREPROCESSING, SHA256, WORDS, Shield, matching
from synthrelease.release_records import Measurement, QualityRecord, UtilityRecord

DECIMALS = 4  # of the values of a curve: finer ones would tell how many slices stand behind them
EDGES = {"tumour area": AREA_EDGES, "tumour volume": VOLUME_EDGES}  # bins that no image has a say in
SHARES = frozenset({"intensity", "tumour place", *EDGES})  # curves whose real values together are 1
COUNTED = frozenset({"mask_nesting"})  # measures whose floor is a share of the real images: it tells how many


@dataclass(frozen=True)
class Measures:
    """The parts of the public record that are about quality and utility."""

    quality: QualityRecord | None
    curves: tuple[PublicCurve, ...]
    utility: UtilityRecord | None


def public_measures(
    quality: QualityRecord | None,
    utility: UtilityRecord | None,
    audit: AuditRecord,
    channels: Sequence[str],
    shield: Shield,
) -> Measures:
    """Return what may leave of two records.

    Args:
        quality: as imported.
        utility: as imported.
        audit: that of the same images; a real set is only known to be large enough where it is the audit's train.
        channels: of the released images; a curve of anything else stays inside.
        shield: what is too small to tell.
    """
    known = quality is not None and quality.made_with.get("real") == audit.inputs.train.content
    curves = quality.curves if quality is not None and known and not shield.small_train else ()
    return Measures(
        quality=None if quality is None else QualityRecord(measurements=_of_quality(quality.measurements, shield)),
        curves=tuple(public_curve(curve, shield.cell) for curve in curves if _tellable(curve, channels)),
        utility=None if utility is None else _of_utility(utility, shield),
    )


def public_curve(curve: Curve, cell: int) -> PublicCurve:
    """Return a curve without the real values on which fewer than ``cell`` patients stand.

    Zeros are such values too: where a distribution ends tells of its last patient. What is left of a distribution is
    divided by its sum, so that the part that was left out cannot be worked out.
    """
    enough = [value if count >= cell else None for value, count in zip(curve.real, curve.real_subjects, strict=True)]
    told = sum(value for value in enough if value is not None) if curve.name in SHARES else 1.0
    whole = told if told > 0 else 1.0
    real = tuple(None if value is None else round(value / whole, DECIMALS) for value in enough)
    return PublicCurve(
        name=curve.name,
        view=curve.view,
        at=curve.at,
        real=real if any(value is not None for value in real) else (),
        synthetic=tuple(round(value, DECIMALS) for value in curve.synthetic),
    )


def _tellable(curve: Curve, channels: Sequence[str]) -> bool:
    """Say whether it is known how many patients stand behind each real value, of a contrast that is released."""
    if curve.view and curve.view not in channels:
        return False
    if curve.name in EDGES and not _between(curve.at, EDGES[curve.name]):
        return False  # bins made from the images themselves, which end at the largest tumour
    return len(curve.real_subjects) == len(curve.real) == len(curve.synthetic) > 0


def _between(at: Sequence[float], edges: Sequence[float]) -> bool:
    """Say whether there is one position in every bin."""
    bins = list(pairwise(edges))
    return len(at) == len(bins) and all(low <= x <= high for x, (low, high) in zip(at, bins, strict=True))


def _of_quality(measurements: Sequence[Measurement], shield: Shield) -> tuple[Measurement, ...]:
    """Return measurements without notes, which are free text; those with odd names stay inside."""
    return tuple(_measured(item, shield) for item in measurements if _named(item) and not shield.small_train)


def _of_utility(utility: UtilityRecord, shield: Shield) -> UtilityRecord:
    """Return scores on test patients; counts here are of patients, and follow the minimum cell."""
    dice = utility.relative_dice
    shown: Rate | None = None
    if dice is not None and not shield.small_test:
        method = matching(WORDS, dice.method)
        shown = Rate(value=dice.value, low=dice.low, high=dice.high, count=dice.count, method=method)
    tested = [item.count for item in utility.measurements if item.count is not None]
    few = shield.small_test or shield.small_train or max(tested, default=shield.cell) < shield.cell
    scores = () if few else tuple(filter(_named, utility.measurements))
    return UtilityRecord(
        relative_dice=shown,
        measurements=tuple(_scored(item, max(tested, default=0), shield) for item in scores),
        segmenter=matching(NAME, utility.segmenter),
        seeds=utility.seeds,
    )


def _scored(item: Measurement, tested: int, shield: Shield) -> Measurement:
    """Return a score; of a region that too few patients have nothing, and where too few lack it no count."""
    count = item.count
    if count is not None and count < shield.cell:
        unit = matching(WORDS, item.unit)
        return Measurement(name=item.name, value=None, unit=unit, note="Too few patients have it.")
    told = None if count is not None and 0 < tested - count < shield.cell else count
    return _measured(item, shield).model_copy(update={"count": told})


def _measured(item: Measurement, shield: Shield) -> Measurement:
    floors = not shield.small and not (item.metric in COUNTED and _counts_few(item, shield.cell))
    halves = floors and (item.floor_count or 0) >= shield.cell
    return Measurement(
        name=item.name,
        value=item.value,
        low=item.low,
        high=item.high,
        count=item.count,
        floor=item.floor if floors else None,
        matched=item.matched if floors else None,
        floor_count=item.floor_count if halves else None,
        real_count=None if item.real_count is None or item.real_count < shield.cell else item.real_count,
        extractor=matching(NAME, item.extractor),
        preprocessing=matching(PREPROCESSING, item.preprocessing),
        weights_sha256=matching(SHA256, item.weights_sha256 or "") or None,
        unit=matching(WORDS, item.unit),
        note="" if item.value is not None else "Not computed.",
    )


def _named(item: Measurement) -> bool:
    return NAME.fullmatch(item.name) is not None


def _counts_few(item: Measurement, cell: int) -> bool:
    """Say whether the floor, a share of the real images, tells of fewer than ``cell`` of them."""
    return item.floor is not None and item.real_count is not None and 0 < round(item.floor * item.real_count) < cell
