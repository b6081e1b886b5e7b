"""What a study will cost, before there is data or a GPU: arithmetic counted on empty networks, and disk."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from synthrelease.errors import SettingsError
from synthrelease.grid.plan import Job
from synthrelease.grid.settings import StudySettings

CLASSES = 4  # background and three labels, as in BraTS
TENSORS = 4  # per weight in a checkpoint: itself, its average, two of the optimiser
CHECKPOINTS = 3  # kept of a generator: two newest, the best
BYTES = 4  # of a weight


@dataclass(frozen=True)
class JobCost:
    """What one job takes: floating point operations, and what stays on disk, bytes."""

    operations: float
    bytes: float


def costs_of(settings: StudySettings, jobs: Sequence[Job]) -> dict[str, JobCost]:
    """Return the cost of every training and sampling by the job's name; other jobs are not in it.

    Raises:
        SettingsError: A configuration does not exist, or nothing says how long a generator is trained.
    """
    check(settings)
    found: dict[str, JobCost] = {}
    segmenters: dict[tuple[str, str], JobCost] = {}
    for job in jobs:
        if job.verb in ("train", "sample"):
            found[job.name] = _generator(settings, job)
        elif job.verb == "segment":
            key = (job.data, job.segmenter)
            segmenters[key] = segmenters.get(key) or _segmenter(settings, job)
            found[job.name] = segmenters[key]
    return found


def check(settings: StudySettings) -> None:
    """Raise a `SettingsError` that names the generator or segmenter that could not be trained as the study says."""
    from synthrelease.generators.cost import of_networks
    from synthrelease.segmentation.plan import settings_of

    for name, given in settings.generators.items():
        if kind := settings.kind_of(name):
            with _named(f"generators.{name}"):
                of_networks(kind, given.config, given.set, given.batch)
                if kind == "diffusion" and given.steps is None and given.kimg is None:
                    raise SettingsError("nothing says how long it is to be trained.", "Give it steps or kimg.")
    for name, segmenter in settings.segmenters.items():
        with _named(f"segmenters.{name}"):
            settings_of(settings.network_of(name), segmenter.preset, segmenter.set)


@contextmanager
def _named(place: str) -> Iterator[None]:
    try:
        yield
    except SettingsError as error:
        raise SettingsError(f"{place}: {error.problem}", error.remedy) from error


def _generator(settings: StudySettings, job: Job) -> JobCost:
    from synthrelease.generators.cost import cost_of, images_seen, of_networks
    from synthrelease.generators.diffusion import SamplingSettings

    given, data = settings.generators[job.generator], settings.data[job.data]
    kind = settings.kind_of(job.generator)
    shape = of_networks(kind, given.config, given.set, given.batch)
    cost = cost_of(kind, shape, channels=data.channels, resolution=data.resolution)
    if job.verb == "train":
        length = given.model_dump(include={"steps", "kimg", "batch"})
        images = images_seen(kind, shape, resolution=data.resolution, **length)
        assert images is not None  # `check` saw to it
        return JobCost(images * cost.per_training_image, cost.parameters * BYTES * TENSORS * CHECKPOINTS)
    runs = (given.sampling_steps or SamplingSettings().steps) if kind == "diffusion" else 1
    pixels = given.samples * data.channels * data.resolution**2  # one byte each, before compression
    return JobCost(given.samples * runs * cost.per_sampling_run, pixels)


def _segmenter(settings: StudySettings, job: Job) -> JobCost:
    from synthrelease.segmentation.cost import training_cost

    data, segmenter = settings.data[job.data], settings.segmenters[job.segmenter]
    operations, parameters = training_cost(
        settings.network_of(job.segmenter),
        segmenter.preset,
        segmenter.set,
        contrasts=max(data.channels - 1, 1),
        classes=CLASSES,
        size=segmenter.size or data.resolution,
    )
    kept = parameters * BYTES * TENSORS * CHECKPOINTS if settings.grid.keep_weights else 0
    return JobCost(operations, kept)


def hours(operations: float, tflops: float) -> float:
    """Return how long operations take at a rate in 10^12 operations a second."""
    return operations / (tflops * 1e12) / 3600


def total(costs: Sequence[JobCost]) -> JobCost:
    """Return the sum of costs."""
    return JobCost(math.fsum(cost.operations for cost in costs), math.fsum(cost.bytes for cost in costs))
