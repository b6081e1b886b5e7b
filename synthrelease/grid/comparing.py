"""What a study's numbers say beside each other: ranks of generators, associations of measures, real-image sweeps."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from synthrelease.grid.published import published_ranks, source
from synthrelease.metrics.ranking import Correlation, kendall, knee, rank_intervals, ranks, spearman
from synthrelease.metrics.table import METRICS
from synthrelease.release_records import Measurement
from synthrelease.study_records import (
    REAL,
    Association,
    Generated,
    Interval,
    Ranking,
    RegionScores,
    Sweep,
    SweepPoint,
    TrainedOn,
    Usefulness,
)

Key = tuple[str, str, str, bool, TrainedOn]
"""Data set, generator, segmenter, augmented, training set."""
Draws = Mapping[Key, NDArray[np.float64]]
"""Mean Dice in each draw of the bootstrap (draws,); within a data set draw i takes the same test subjects."""
Of = dict[tuple[str, str], float]
"""(data set, generator) to a number."""

ARMS: tuple[TrainedOn, ...] = ("synthetic", "both")
NEAR_COPIES = "near_copies"
FEWEST = 2  # generators below which there is nothing to rank


def compared(
    usefulness: Sequence[Usefulness],
    generated: Sequence[Generated],
    draws: Draws | None = None,
    published: Mapping[str, str] | None = None,
) -> tuple[tuple[Ranking, ...], tuple[Association, ...], tuple[Sweep, ...]]:
    """Return rankings, associations and sweeps of a study, of whatever is finished.

    Args:
        usefulness: One record per training set, over its seeds.
        generated: One record per data set and generator.
        draws: For the intervals of ranks by Dice; data without draws get none.
        published: Data set to the year whose published ranks stand beside its own; data sets without get none.
    """
    years = published or {}
    rankings = [
        *_rankings_of_usefulness(usefulness, draws or {}, years),
        *_rankings_of_copies(generated),
        *_rankings_of_quality(generated, years),
    ]
    return tuple(rankings), tuple(_associations(usefulness, generated)), tuple(_sweeps(usefulness))


def higher_is_better(item: Measurement) -> bool | None:
    """Return which way a quality measure is better by the metric table; None where it is neither of the two."""
    if item.metric not in METRICS or item.name.startswith("fld_gap"):
        return None
    # A share of which 0 is best cannot be below 0.
    better = METRICS[item.metric].better.split(";")[0]
    return {"higher": True, "lower": False, "0": False}.get(better)


def _rankings_of_usefulness(
    usefulness: Sequence[Usefulness], draws: Draws, years: Mapping[str, str]
) -> Iterator[Ranking]:
    groups: dict[tuple[str, str, bool, TrainedOn], list[Usefulness]] = {}
    for item in usefulness:
        if item.generator != REAL and item.real_fraction == 1 and item.train_on in ARMS:
            groups.setdefault((item.data, item.segmenter, item.augmented, item.train_on), []).append(item)
    for (data, segmenter, augmented, arm), items in groups.items():
        for measure in ("dice", "hausdorff", "hausdorff_95"):
            higher = measure == "dice"
            order = ranks({item.generator: _mean_of(item, measure) for item in items}, higher_is_better=higher)
            if len(order) < FEWEST:
                continue
            low, high = _intervals(order, draws, (data, segmenter, augmented, arm)) if higher else ({}, {})
            beside = published_ranks(measure, years.get(data, ""), segmenter=segmenter, augmented=augmented)
            yield Ranking(
                measure=measure,
                data=data,
                segmenter=segmenter,
                augmented=augmented,
                train_on=arm,
                higher_is_better=higher,
                ranks=order,
                low=low,
                high=high,
                published=beside,
                published_year=years[data] if beside else "",
                published_source=source() if beside else "",
            )


def _intervals(
    order: Mapping[str, float], draws: Draws, group: tuple[str, str, bool, TrainedOn]
) -> tuple[dict[str, float], dict[str, float]]:
    """Return intervals of Dice ranks; none unless every ranked generator has draws on the same subjects."""
    data, segmenter, augmented, arm = group
    drawn = {name: draws.get((data, name, segmenter, augmented, arm)) for name in order}
    known = {name: np.asarray(values) for name, values in drawn.items() if values is not None}
    if len(known) < len(order) or len({len(values) for values in known.values()}) != 1:
        return {}, {}
    return rank_intervals(known, higher_is_better=True)


def _rankings_of_copies(generated: Sequence[Generated]) -> Iterator[Ranking]:
    for data in dict.fromkeys(item.data for item in generated):
        rates = {item.generator: item.near_copies.value for item in generated if item.data == data and item.near_copies}
        order = ranks(rates, higher_is_better=False)
        if len(order) >= FEWEST:
            yield Ranking(measure=NEAR_COPIES, data=data, higher_is_better=False, ranks=order)


def _rankings_of_quality(generated: Sequence[Generated], years: Mapping[str, str]) -> Iterator[Ranking]:
    for data in dict.fromkeys(item.data for item in generated):
        of_data = [item for item in generated if item.data == data]
        for name, higher in _directions(of_data).items():
            order = ranks({item.generator: _measured(item, name) for item in of_data}, higher_is_better=higher)
            if len(order) < FEWEST:
                continue
            # Only Inception's own FID and IS are called so without a suffix: what the reference study ranked.
            plain = re.fullmatch(r"(fid|is)( \(.*\))?", name)
            beside = published_ranks(plain[1], years.get(data, "")) if plain else {}
            yield Ranking(
                measure=name,
                data=data,
                higher_is_better=higher,
                ranks=order,
                published=beside,
                published_year=years[data] if beside else "",
                published_source=source() if beside else "",
            )


def _associations(usefulness: Sequence[Usefulness], generated: Sequence[Generated]) -> Iterator[Association]:
    quality = {name: _oriented(generated, name, higher=higher) for name, higher in _directions(generated).items()}
    copies: Of = {(i.data, i.generator): i.near_copies.value for i in generated if i.near_copies}
    useful: dict[str, Of] = {}
    for item in usefulness:
        relative = item.relative_dice
        if item.train_on == "synthetic" and relative is not None and relative.value is not None:
            where = f"{item.segmenter}, {'with' if item.augmented else 'without'} augmentation"
            useful.setdefault(f"relative Dice of {where}", {})[item.data, item.generator] = relative.value
    targets = useful | ({"near-copy rate": copies} if copies else {})
    for against, target in targets.items():
        for name, of in (quality if target is not copies else quality | useful).items():
            if of.keys() & target.keys():
                yield _association(name, of, against, target)


def _association(measure: str, of: Of, against: str, target: Of) -> Association:
    pairs = [pair for pair in of if pair in target]
    x, y = [of[pair] for pair in pairs], [target[pair] for pair in pairs]
    rho, tau = spearman(x, y), kendall(x, y)
    notes = [note for note in dict.fromkeys((rho.note, tau.note)) if note]
    sets = {data for data, _ in pairs}
    if len(sets) > 1 and rho.value is not None:
        notes.append(f"Pools {len(sets)} data sets, whose levels may differ.")
    return Association(
        measure=measure,
        against=against,
        count=len(pairs),
        spearman=_interval(rho),
        spearman_p=rho.p_value,
        kendall=_interval(tau),
        kendall_p=tau.p_value,
        points=tuple((f"{data} / {made}", a, b) for (data, made), a, b in zip(pairs, x, y, strict=True)),
        note=" ".join(notes),
    )


def _interval(found: Correlation) -> Interval:
    return Interval(value=found.value, low=found.low, high=found.high)


def _sweeps(usefulness: Sequence[Usefulness]) -> Iterator[Sweep]:
    """Yield a sweep wherever trainings on part of the real subjects are there."""
    groups: dict[tuple[str, str, str, bool], list[Usefulness]] = {}
    for item in usefulness:
        groups.setdefault((item.data, item.generator, item.segmenter, item.augmented), []).append(item)
    for (data, generator, segmenter, augmented), items in groups.items():
        if all(item.real_fraction == 1 for item in items):
            continue
        points = sorted((point for item in items if (point := _sweep_point(item))), key=lambda p: p.real_subjects)
        points = list({point.real_subjects: point for point in points}.values())
        known = [(p.real_subjects, p.dice.value) for p in points if p.dice.value is not None]
        bend = knee([x for x, _ in known], [y for _, y in known])
        yield Sweep(
            data=data,
            generator=generator,
            segmenter=segmenter,
            augmented=augmented,
            points=tuple(points),
            knee=None if bend is None else round(bend),
        )


def _sweep_point(item: Usefulness) -> SweepPoint | None:
    if not item.regions:
        return None
    alone = item.train_on == "synthetic"
    if not alone and item.real_subjects is None:
        return None
    return SweepPoint(
        real_subjects=0 if alone else int(item.real_subjects or 0),
        real_fraction=0.0 if alone else item.real_fraction,
        dice=_mean_region(item).dice,
    )


def _mean_region(item: Usefulness) -> RegionScores:
    return next((region for region in item.regions if region.region == "mean"), item.regions[0])


def _mean_of(item: Usefulness, measure: str) -> float | None:
    found: Interval | None = getattr(_mean_region(item), measure) if item.regions else None
    return None if found is None else found.value


def _directions(generated: Sequence[Generated]) -> dict[str, bool]:
    """Return every quality measure with a known direction, in the records' order."""
    measured = {m.name: higher_is_better(m) for item in generated for m in item.quality}
    return {name: higher for name, higher in measured.items() if higher is not None}


def _measured(item: Generated, name: str) -> float | None:
    return next((m.value for m in item.quality if m.name == name), None)


def _oriented(generated: Sequence[Generated], name: str, *, higher: bool) -> Of:
    """Return a measure with its sign turned where lower is better, so that more is better."""
    values = {(item.data, item.generator): _measured(item, name) for item in generated}
    return {pair: value if higher else -value for pair, value in values.items() if value is not None}
