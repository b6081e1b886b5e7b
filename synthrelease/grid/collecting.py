"""From finished jobs to the study's record: scores per training set, what was found about each generator."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray
from pydantic import ValidationError

from synthrelease import __version__, opening, segmenting
from synthrelease.errors import StoreError
from synthrelease.grid.comparing import compared
from synthrelease.grid.places import Place, images_of, sets_of, states_of
from synthrelease.grid.plan import Job
from synthrelease.grid.settings import StudySettings
from synthrelease.image_set import open_set
from synthrelease.records import AuditRecord, Record
from synthrelease.release_records import DecisionRecord, Measurement, QualityRecord, UtilityRecord
from synthrelease.study_records import (
    REAL,
    FixedMask,
    Generated,
    Interval,
    RegionScores,
    StudyRecord,
    TrainedOn,
    Unfinished,
    Usefulness,
)

FEW_SUBJECTS, FEW_SEEDS, FEW_GENERATORS = 10, 3, 5
Key = tuple[str, str, str, bool, TrainedOn]
AnyRecord = TypeVar("AnyRecord", bound=Record)


def collected(settings: StudySettings, places: Mapping[str, Place]) -> StudyRecord:
    """Return the record of everything that is finished, and the list of what is not.

    Raises:
        StoreError: A result is damaged.
    """
    states = states_of(places)
    useful, draws = _usefulness(settings, places)
    generated = [_generated(settings, places, data, made) for data in settings.data for made in settings.generators]
    published = {name: data.published_year for name, data in settings.data.items() if data.published_year}
    rankings, associations, sweeps = compared(useful, generated, draws, published)
    return StudyRecord(
        name=settings.name,
        jobs=len(states),
        finished=sum(state.state == "finished" for state in states),
        unfinished=tuple(
            Unfinished(
                job=state.place.job.name,
                state="waiting" if state.state == "started" else state.state,
                reason=state.reason,
            )
            for state in states
            if state.state != "finished"
        ),
        usefulness=tuple(useful),
        generated=tuple(generated),
        rankings=tuple(rankings),
        associations=tuple(associations),
        sweeps=tuple(sweeps),
        made_with={"synthrelease": __version__, "date": opening.date_made()},
        small=tuple(_small(settings, useful)),
    )


def utility_for_decision(settings: StudySettings, places: Mapping[str, Place], job: Job) -> UtilityRecord | None:
    """Return the usefulness that a decision looks at: of the segmentations that it needs; None without any."""
    needed = [places[name] for name in job.needs if places[name].job.verb == "segment"]
    if not needed:
        return None
    trained = {(str(place.job.train_on), place.job.seed): place.folder for place in needed}
    train = sets_of(settings, places, job.data) / "train"
    return _compared(settings, places, needed[0].job, job.generator, trained, train).record


def _compared(
    settings: StudySettings,
    places: Mapping[str, Place],
    job: Job,
    generator: str,
    trained: Mapping[tuple[str, int], Path],
    train: Path | None = None,
) -> segmenting.Comparison:
    return segmenting.compared(
        trained,
        network=settings.network_of(job.segmenter),
        preset=settings.segmenters[job.segmenter].preset,
        test=sets_of(settings, places, job.data) / "test",
        synthetic=images_of(settings, places, job.data, generator) if generator else None,
        train=train,
    )


def _usefulness(
    settings: StudySettings, places: Mapping[str, Place]
) -> tuple[list[Usefulness], dict[Key, NDArray[np.float64]]]:
    """Return one record per data set, generator, segmenter, augmentation, training set and share of real subjects."""
    groups: dict[tuple[object, ...], list[Place]] = {}
    for place in places.values():
        if place.job.verb == "segment":
            groups.setdefault(_group(place.job), []).append(place)
    found: list[Usefulness] = []
    draws: dict[Key, NDArray[np.float64]] = {}
    for members in groups.values():
        job = members[0].job
        reference = groups.get(_group_of_reference(job), [])
        one = _useful(settings, places, members, [] if reference is members else reference)
        if one is None:
            continue
        record, drawn = one
        found.append(record)
        if job.real_fraction == 1:
            draws[job.data, record.generator, job.segmenter, job.augmented, record.train_on] = drawn
    return found, draws


def _group(job: Job) -> tuple[object, ...]:
    return (job.data, job.generator, job.segmenter, job.augmented, job.train_on, job.real_fraction)


def _group_of_reference(job: Job) -> tuple[object, ...]:
    return (job.data, "", job.segmenter, job.augmented, "real", 1.0)


def _useful(
    settings: StudySettings, places: Mapping[str, Place], members: Sequence[Place], reference: Sequence[Place]
) -> tuple[Usefulness, NDArray[np.float64]] | None:
    """Return what trainings on one training set say, beside those on all real subjects; None before the first."""
    job, arm = members[0].job, members[0].job.train_on
    assert arm is not None  # of every segmentation
    own = {place.job.seed: place.folder for place in members if place.finished}
    real = {place.job.seed: place.folder for place in reference if place.finished}
    if not own:
        return None
    shared = own.keys() & real.keys()
    beside = bool(shared) and arm != "real"  # a fraction of the real ones has the same arm as all of them
    seeds = sorted(shared if beside else own)
    trained: dict[tuple[str, int], Path] = {(arm, seed): own[seed] for seed in seeds}
    if beside:
        trained |= {("real", seed): real[seed] for seed in seeds}
    train = sets_of(settings, places, job.data) / "train"
    whole = arm == "real" and job.real_fraction == 1
    found = _compared(settings, places, job, job.generator, trained, train if whole else None)
    by_name = {item.name: item for item in found.record.measurements}
    relative = by_name.get(f"relative_dice_{arm}")
    record = Usefulness(
        data=job.data,
        generator=job.generator or REAL,
        segmenter=job.segmenter,
        augmented=job.augmented,
        train_on=arm,
        real_fraction=job.real_fraction,
        real_subjects=None if arm == "synthetic" else segmenting.subjects_used(train, job.real_fraction),
        test_subjects=found.subjects,
        seeds=tuple(seeds),
        seeds_planned=len(members),
        regions=tuple(_regions(by_name, arm)),
        relative_dice=None if relative is None else _interval(relative),
        fixed_mask=_fixed_mask(by_name),
    )
    return record, np.asarray(found.draws[arm])


def _regions(by_name: Mapping[str, Measurement], arm: str) -> Iterator[RegionScores]:
    for name, item in by_name.items():
        if name.startswith("dice_") and name.endswith(f"_{arm}"):
            region = name.removeprefix("dice_").removesuffix(f"_{arm}")
            yield RegionScores(
                region=region,
                dice=_interval(item),
                hausdorff=_interval(by_name[f"hausdorff_{region}_{arm}"]),
                hausdorff_95=_interval(by_name[f"hausdorff_95_{region}_{arm}"]),
                note=item.note,
            )


def _fixed_mask(by_name: Mapping[str, Measurement]) -> FixedMask | None:
    start, end = "dice_", "_chance"
    dice = {
        name.removeprefix(start).removesuffix(end): _interval(item)
        for name, item in by_name.items()
        if name.startswith(start) and name.endswith(end)
    }
    return FixedMask(dice=dice, relative_dice=_interval(by_name["relative_dice_chance"])) if dice else None


def _interval(item: Measurement) -> Interval:
    return Interval(value=item.value, low=item.low, high=item.high)


def _generated(settings: StudySettings, places: Mapping[str, Place], data: str, generator: str) -> Generated:
    """Return what was found about one generator's images so far."""
    place = f"{data}/{generator}"
    quality = _read(places.get(f"measure/{place}"), "quality.json", QualityRecord)
    audit = _read(places.get(f"audit/{place}"), "evidence/audit.json", AuditRecord)
    decision = _read(places.get(f"decide/{place}"), "decision.json", DecisionRecord)
    copies = None if audit is None else audit.near_copies
    made = places.get(f"sample/{place}")
    there = made is None or made.finished
    return Generated(
        data=data,
        generator=generator,
        images=_count(images_of(settings, places, data, generator)) if there else None,
        quality=() if quality is None else quality.measurements,
        near_copies=None if copies is None else copies.synthetic,
        near_copies_holdout=None if copies is None else copies.holdout,
        above_alarm=None if audit is None else len(audit.alarms),
        verdict=None if audit is None else audit.verdict,
        decision=None if decision is None else decision.decision,
        policy="" if decision is None else decision.policy,
    )


def _count(images: Path) -> int:
    return len(open_set(images))


def _read(place: Place | None, file: str, kind: type[AnyRecord]) -> AnyRecord | None:
    if place is None or not place.finished:
        return None
    try:
        return kind.model_validate_json((place.folder / file).read_bytes())
    except (OSError, ValidationError) as error:
        raise StoreError(
            f"{place.folder / file} is damaged.", f"Delete {place.folder}, and run the study again."
        ) from error


def _small(settings: StudySettings, useful: Sequence[Usefulness]) -> Iterator[str]:
    """Yield what is too small to be trusted, in words."""
    fewest = min((item.test_subjects for item in useful), default=FEW_SUBJECTS)
    if fewest < FEW_SUBJECTS:
        yield f"Scores come from only {fewest} test subjects: their intervals are narrower than the truth."
    seeds = min((len(item.seeds) for item in useful if item.real_fraction == 1), default=FEW_SEEDS)
    if seeds < FEW_SEEDS:
        yield f"Some combinations were trained {'once' if seeds == 1 else 'twice'}: chance in training is not known."
    pairs = len(settings.data) * len(settings.generators)
    if 1 < pairs < FEW_GENERATORS:
        yield f"Only {pairs} sets of synthetic images are compared: ranks and associations mean little."
