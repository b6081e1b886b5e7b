"""The study's page: figures and tables of a study record, which shows generators beside each other."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from synthrelease import store
from synthrelease.release_records import Measurement
from synthrelease.report import formats, study_words
from synthrelease.report.figures import Picture
from synthrelease.report.pages import page
from synthrelease.report.study_figures import relative_figure, sweep_figure, tradeoff_figure
from synthrelease.report.study_words import Spot
from synthrelease.study_records import REAL, Association, FixedMask, Interval, Ranking, StudyRecord, Sweep, Usefulness

HEADLINES = ("frechet_distance", "frechet_distance_extrapolated", "kernel_distance")  # first that most images have
MOST_ROWS = 24  # of a table that is not folded away
CHANCE = 0.05


@dataclass(frozen=True)
class ScoreRow:
    """One training set's scores, region by region in the table's order; None where a region is unknown."""

    generator: str
    train_on: str
    dice: tuple[Interval | None, ...]
    hausdorff: tuple[Interval | None, ...]
    hausdorff_95: tuple[Interval | None, ...]
    relative: Interval | None
    seeds: str
    test_subjects: int
    notes: tuple[str, ...]


@dataclass(frozen=True)
class ScoreGroup:
    """Scores of one data set, segmenter and augmentation."""

    title: str
    regions: tuple[str, ...]
    rows: tuple[ScoreRow, ...]
    fixed_mask: FixedMask | None


@dataclass(frozen=True)
class RankTable:
    """Ranks of one data set: a row for each measure, a cell for each generator."""

    title: str
    generators: tuple[str, ...]
    rows: tuple[tuple[str, tuple[tuple[str, str], ...]], ...]
    """Measure in words, and for each generator (own rank, published rank)."""
    published: str
    """Year whose ranks stand beside; empty: none."""


@dataclass(frozen=True)
class AssociationTable:
    """What should foretell one thing."""

    against: str
    rows: tuple[Association, ...]
    striking: int
    """Rows with a small p-value."""
    tested: int
    """Rows with any p-value."""


@dataclass(frozen=True)
class QualityTable:
    """Every quality measure of one data set, generators as columns."""

    data: str
    generators: tuple[str, ...]
    rows: tuple[tuple[str, tuple[Measurement | None, ...]], ...]


def study_page(record: StudyRecord) -> str:
    """Return a study's record as one self-contained HTML page; it names data sets and must stay inside."""
    measure, spots = _spots(record)
    higher = next((ranking.higher_is_better for ranking in record.rankings if ranking.measure == measure), None)
    return page(
        "study.html.j2",
        record=record,
        study_words=study_words,
        failed=[job for job in record.unfinished if job.state in ("failed", "blocked")],
        tradeoff=tradeoff_figure(spots, measure, higher),
        spots=spots,
        headline=measure,
        relative=_relative(record.usefulness),
        sweeps=_sweep_figures(record.sweeps),
        scores=_scores(record.usefulness),
        rank_tables=_rank_tables(record.rankings),
        sources=list(dict.fromkeys(r.published_source for r in record.rankings if r.published_source)),
        associations=_associations(record.associations),
        quality_tables=_quality_tables(record),
        most_rows=MOST_ROWS,
        interval=interval,
        millimetres=millimetres,
    )


def write_study_page(record: StudyRecord, path: Path) -> Path:
    """Write a study's page, whole or not at all, and return its path; it must stay inside."""
    store.write_text(path, study_page(record))
    return path


def interval(found: Interval | None) -> str:
    """Return a number with its interval, "0.712 (0.650 to 0.780)", or why there is none."""
    return _interval(found, formats.number)


def millimetres(found: Interval | None) -> str:
    """Return a distance with its interval to a tenth of a millimetre: voxels are seldom finer than 1 mm."""
    return _interval(found, lambda value: f"{value:.1f}")


def _interval(found: Interval | None, written: Callable[[float], str]) -> str:
    if found is None or found.value is None:
        return formats.MISSING
    value = written(found.value)
    if found.low is None or found.high is None:
        return f"{value} (no interval)"
    # An interval is never broken across lines, so that columns of them can be read.
    return f"{value} ({formats.SPACE.join((written(found.low), 'to', written(found.high)))})"


def _spots(record: StudyRecord) -> tuple[str, list[Spot]]:
    """Return the quality measure of the first figure and its dots: training on synthetic images alone."""
    measure = _headline([m for item in record.generated for m in item.quality])
    of = {(item.data, item.generator): item for item in record.generated}
    spots: dict[tuple[str, str, str], Spot] = {}
    for item in sorted(
        record.usefulness, key=lambda item: item.augmented
    ):  # without augmentation where there is a choice
        made, relative = of.get((item.data, item.generator)), item.relative_dice
        if made is None or item.train_on != "synthetic" or relative is None or relative.value is None:
            continue
        quality = next((m.value for m in made.quality if m.name == measure and m.value is not None), None)
        if quality is not None:
            near = None if made.near_copies is None else made.near_copies.value
            spot = Spot(item.data, item.segmenter, item.generator, quality, relative, relative.value, near)
            spots.setdefault((item.data, item.segmenter, item.generator), spot)
    return measure, list(spots.values())


def _headline(measurements: Sequence[Measurement]) -> str:
    """Return the measure that most images have, of those that compare real with synthetic features."""
    for metric in HEADLINES:
        names = [m.name for m in measurements if m.metric == metric and m.value is not None]
        if names:
            return max(dict.fromkeys(names), key=names.count)
    return next((m.name for m in measurements if m.value is not None), "")


def _relative(usefulness: Sequence[Usefulness]) -> list[tuple[str, Picture, list[Usefulness]]]:
    groups: dict[tuple[str, str], list[Usefulness]] = {}
    fixed: dict[tuple[str, str], list[Interval]] = {}
    for item in usefulness:
        if item.relative_dice is not None and item.real_fraction == 1:
            groups.setdefault((item.data, item.segmenter), []).append(item)
        if item.fixed_mask is not None:
            fixed.setdefault((item.data, item.segmenter), []).append(item.fixed_mask.relative_dice)
    found = []
    for (data, segmenter), items in groups.items():
        figure = relative_figure(items, fixed.get((data, segmenter), []))
        if figure is not None:
            found.append((f"Relative Dice on {data}, {segmenter}.", figure, items))
    return found


def _sweep_figures(sweeps: Sequence[Sweep]) -> list[tuple[str, Picture, list[Sweep]]]:
    groups: dict[tuple[str, str, bool], list[Sweep]] = {}
    for sweep in sweeps:
        groups.setdefault((sweep.data, sweep.segmenter, sweep.augmented), []).append(sweep)
    found = []
    for (data, segmenter, augmented), items in groups.items():
        figure = sweep_figure(items)
        if figure is not None:
            caption = f"Real subjects and Dice on {data}, {segmenter}, {study_words.augmentation(augmented)}."
            found.append((caption, figure, items))
    return found


def _scores(usefulness: Sequence[Usefulness]) -> list[ScoreGroup]:
    groups: dict[tuple[str, str, bool], list[Usefulness]] = {}
    for item in usefulness:
        if item.real_fraction == 1:
            groups.setdefault((item.data, item.segmenter, item.augmented), []).append(item)
    found = []
    for (data, segmenter, augmented), items in groups.items():
        regions = tuple(dict.fromkeys(region.region for item in items for region in item.regions))
        ordered = sorted(items, key=lambda item: item.generator != REAL)
        title = f"{data}, {segmenter}, {study_words.augmentation(augmented)}"
        fixed = next((item.fixed_mask for item in ordered if item.fixed_mask is not None), None)
        found.append(ScoreGroup(title, regions, tuple(_score_row(item, regions) for item in ordered), fixed))
    return found


def _score_row(item: Usefulness, regions: Sequence[str]) -> ScoreRow:
    by_name = {region.region: region for region in item.regions}
    known = [by_name.get(name) for name in regions]
    return ScoreRow(
        generator="no generator" if item.generator == REAL else item.generator,
        train_on=study_words.ARMS[item.train_on],
        dice=tuple(None if region is None else region.dice for region in known),
        hausdorff=tuple(None if region is None else region.hausdorff for region in known),
        hausdorff_95=tuple(None if region is None else region.hausdorff_95 for region in known),
        relative=item.relative_dice,
        seeds=f"{len(item.seeds)} of {item.seeds_planned}",
        test_subjects=item.test_subjects,
        notes=tuple(f"{region.region}: {region.note}" for region in item.regions if region.note),
    )


def _rank_tables(rankings: Sequence[Ranking]) -> list[RankTable]:
    """Return for each data set a table of usefulness and near copies, and one of quality measures."""
    found = []
    for data in dict.fromkeys(ranking.data for ranking in rankings):
        own = [ranking for ranking in rankings if ranking.data == data]
        useful = [ranking for ranking in own if ranking.measure in study_words.NAMES]
        for title, rows in (("usefulness and near copies", useful), ("quality", [r for r in own if r not in useful])):
            if rows:
                found.append(_rank_table(f"{data}: ranks by {title}", rows))
    return found


def _rank_table(title: str, rankings: Sequence[Ranking]) -> RankTable:
    names = tuple(dict.fromkeys(name for ranking in rankings for name in ranking.ranks))
    others = tuple(dict.fromkeys(name for r in rankings for name in r.published if name not in names))
    columns = names + others
    return RankTable(
        title=title,
        generators=columns,
        rows=tuple((_rank_words(r), tuple(_rank_cell(r, name) for name in columns)) for r in rankings),
        published=next((ranking.published_year for ranking in rankings if ranking.published_year), ""),
    )


def _rank_words(ranking: Ranking) -> str:
    pieces = [study_words.measure_name(ranking.measure), ranking.segmenter]
    pieces += [study_words.ARMS[ranking.train_on]] if ranking.train_on else []
    pieces += [] if ranking.augmented is None else [study_words.augmentation(ranking.augmented)]
    return ", ".join(piece for piece in pieces if piece)


def _rank_cell(ranking: Ranking, name: str) -> tuple[str, str]:
    published = f"published {ranking.published[name]}" if name in ranking.published else ""
    if name not in ranking.ranks:
        return "–", published
    own = f"{ranking.ranks[name]:g}"
    if name in ranking.low and name in ranking.high:
        own += f" ({ranking.low[name]:g} to {ranking.high[name]:g})"
    return own, published


def _associations(associations: Sequence[Association]) -> list[AssociationTable]:
    found = []
    for against in dict.fromkeys(item.against for item in associations):
        rows = tuple(item for item in associations if item.against == against)
        tested = [item.spearman_p for item in rows if item.spearman_p is not None]
        found.append(AssociationTable(against, rows, sum(p < CHANCE for p in tested), len(tested)))
    return found


def _quality_tables(record: StudyRecord) -> list[QualityTable]:
    found = []
    for data in dict.fromkeys(item.data for item in record.generated):
        items = [item for item in record.generated if item.data == data and item.quality]
        names = dict.fromkeys(m.name for item in items for m in item.quality)
        by_name = [{m.name: m for m in item.quality} for item in items]
        rows = tuple((name, tuple(known.get(name) for known in by_name)) for name in names)
        if rows:
            found.append(QualityTable(data, tuple(item.generator for item in items), rows))
    return found
