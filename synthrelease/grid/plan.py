"""From a study to its jobs: what each makes, from which settings, and which others it needs first."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from synthrelease.grid.settings import StudySettings
from synthrelease.study_records import REAL, TrainedOn

Verb = Literal["phantom", "prepare", "train", "sample", "measure", "segment", "audit", "decide"]
VERSIONS: dict[Verb, int] = {  # raised when the same settings and images would give another result
    "phantom": 1,
    "prepare": 1,
    "train": 1,
    "sample": 1,
    "measure": 1,
    "segment": 1,
    "audit": 1,
    "decide": 1,
}


@dataclass(frozen=True)
class Job:
    """One result to make; its name says where it stands in the grid."""

    name: str
    verb: Verb
    data: str
    needs: tuple[str, ...] = ()
    shaped_by: dict[str, Any] = field(default_factory=dict)  # settings, as JSON
    generator: str = ""
    segmenter: str = ""
    train_on: TrainedOn | None = None
    augmented: bool = False
    real_fraction: float = 1.0
    seed: int = 0

    @property
    def kind(self) -> tuple[str, ...]:
        """What jobs that take about as long have in common."""
        return (self.verb, self.data, self.generator if self.verb in ("train", "sample") else "", self.segmenter)


def jobs_of(study: StudySettings) -> tuple[Job, ...]:
    """Return every job of a study, each after those that it needs."""
    jobs: list[Job] = []
    for data in study.data:
        jobs += _images(study, data)
    if study.segmenters:
        for data in study.data:
            jobs += _segmentations(study, data)
    for data in study.data:
        for generator in study.generators:
            jobs += _judgements(study, data, generator, jobs)
    return tuple(jobs)


def sets_job(study: StudySettings, data: str) -> str:
    """Return the name of the job whose folder holds a data set's image sets; empty where they are given."""
    return "" if study.data[data].sets is not None else f"prepare/{data}"


def made_job(study: StudySettings, data: str, generator: str) -> str:
    """Return the name of the job that makes a generator's images; empty where they are given."""
    return "" if study.generators[generator].images else f"sample/{data}/{generator}"


def segment_name(job: Job) -> str:
    """Return a segmentation's name; it holds everything that tells it from the others."""
    parts = ["segment", job.data, job.generator or REAL, job.segmenter, job.train_on or ""]
    parts.append("augmented" if job.augmented else "plain")
    if job.real_fraction < 1:
        parts.append(f"real{job.real_fraction:g}")
    return "/".join([*parts, f"seed{job.seed}"])


def _images(study: StudySettings, data: str) -> Iterator[Job]:
    """Yield how a data set becomes image sets, and generators learn them and are sampled."""
    given = study.data[data]
    if given.phantom is not None:
        yield Job(f"phantom/{data}", "phantom", data, shaped_by=given.phantom.model_dump(mode="json"))
    if given.sets is None:
        shape = given.prepare.model_dump(mode="json", exclude={"workers"})
        needs = (f"phantom/{data}",) if given.phantom is not None else ()
        yield Job(f"prepare/{data}", "prepare", data, needs, shape)
    for name, generator in study.generators.items():
        if generator.images:
            continue
        train = f"train/{data}/{name}"
        yield Job(train, "train", data, _some(sets_job(study, data)), _training(study, data, name), generator=name)
        shape = generator.model_dump(include={"samples", "first_seed", "truncation", "sampler", "sampling_steps"})
        yield Job(f"sample/{data}/{name}", "sample", data, (train,), shape, generator=name)


def _training(study: StudySettings, data: str, generator: str) -> dict[str, Any]:
    fields = {"config", "steps", "kimg", "batch", "seed", "set", "screen_kimg"}
    shape: dict[str, Any] = study.generators[generator].model_dump(mode="json", include=fields)
    return {**shape, "kind": study.kind_of(generator), "resolution": study.data[data].resolution}


def _segmentations(study: StudySettings, data: str) -> Iterator[Job]:
    """Yield a training for each segmenter, training set, augmentation and seed; those on real alone once."""
    grid = study.grid
    arms = [(REAL, "real")] if "real" in grid.train_on else []
    arms += [(name, arm) for name in study.generators for arm in grid.train_on if arm != "real"]
    for segmenter in study.segmenters:
        for augmented in grid.augmented:
            for generator, arm in arms:
                for seed in range(grid.seeds):
                    yield _segmentation(study, data, generator, segmenter, arm, augmented, 1.0, seed)
        for generator in (REAL, *study.generators) if grid.sweep else ():
            for fraction in sorted(grid.sweep):
                for seed in range(grid.sweep_seeds):
                    arm = "real" if generator == REAL else "both"
                    yield _segmentation(study, data, generator, segmenter, arm, grid.augmented[0], fraction, seed)


def _segmentation(
    study: StudySettings,
    data: str,
    generator: str,
    segmenter: str,
    arm: Any,
    augmented: bool,
    fraction: float,
    seed: int,
) -> Job:
    settings = study.segmenters[segmenter]
    made = "" if generator == REAL else generator
    job = Job(
        "",
        "segment",
        data,
        needs=_some(sets_job(study, data)) + (_some(made_job(study, data, made)) if made else ()),
        shaped_by={
            "network": study.network_of(segmenter),
            **settings.model_dump(mode="json", include={"preset", "size", "set"}),
            "train_on": arm,
            "augmented": augmented,
            "real_fraction": fraction,
            "seed": seed,
            **({"real_share": study.grid.real_share} if arm == "both" else {}),
        },
        generator=made,
        segmenter=segmenter,
        train_on=arm,
        augmented=augmented,
        real_fraction=fraction,
        seed=seed,
    )
    return replace(job, name=segment_name(job))


def _judgements(study: StudySettings, data: str, generator: str, jobs: list[Job]) -> Iterator[Job]:
    """Yield quality, audit and decision of one generator's images."""
    place = f"{data}/{generator}"
    needs = _some(sets_job(study, data)) + _some(made_job(study, data, generator))
    evidence = []
    for verb, settings in (("measure", study.measure), ("audit", study.audit)):
        if settings is not None:
            shape = settings.model_dump(mode="json")
            evidence.append(f"{verb}/{place}")
            yield Job(evidence[-1], verb, data, needs, shape, generator=generator)  # type: ignore[arg-type]
    if study.policy and study.audit is not None:
        useful = [job.name for job in jobs if job.verb == "segment" and decides(study, job, data, generator)]
        yield Job(
            f"decide/{place}", "decide", data, (*evidence, *useful), {"policy": study.policy}, generator=generator
        )


def decides(study: StudySettings, job: Job, data: str, generator: str) -> bool:
    """Say whether a segmentation is part of the usefulness that a decision on a generator's images looks at.

    It is that of the first segmenter without augmentation, or with it where the study has nothing else.
    """
    return (
        job.data == data
        and job.generator in ("", generator)
        and job.segmenter == next(iter(study.segmenters))
        and job.augmented == study.grid.augmented[0]
        and job.real_fraction == 1
    )


def _some(name: str) -> tuple[str, ...]:
    return (name,) if name else ()
