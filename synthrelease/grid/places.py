"""Where each job's result lies: folders named after everything that shaped them, and what state they are in."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from synthrelease import store, study
from synthrelease.errors import SettingsError, StoreError
from synthrelease.grid.plan import VERSIONS, Job
from synthrelease.grid.settings import StudySettings
from synthrelease.image_set import is_image_set, open_set
from synthrelease.policy import open_release_policy

JOB, FAILED, LOGS = "job.json", "failed", "logs"
ROLES = ("train", "holdout", "test")
State = Literal["finished", "started", "failed", "waiting", "blocked"]


@dataclass(frozen=True)
class Place:
    """A job, all that shapes its result, and the folder that is named after it."""

    job: Job
    made_from: Mapping[str, Any]
    results: Path

    @property
    def folder(self) -> Path:
        """Return the finished folder's path."""
        return self.results / f"{self.job.verb}-{store.digest(self.made_from)}"

    @property
    def finished(self) -> bool:
        """Whether the result is there."""
        return self.folder.is_dir()

    @property
    def note(self) -> Path:
        """Return the file that says why the job failed last time, if it did."""
        return self.results / FAILED / f"{self.folder.name}.json"

    @property
    def log(self) -> Path:
        """Return the file that a job of its own process writes to."""
        return self.results / LOGS / f"{self.job.name.replace('/', '_')}.log"

    def seconds(self) -> float:
        """Return how long the job has taken so far, over all its attempts."""
        for folder in (self.folder, self.folder.with_name(self.folder.name + ".partial")):
            try:
                return float(json.loads((folder / JOB).read_text(encoding="utf-8"))["seconds"])
            except (OSError, ValueError, KeyError, TypeError):
                continue
        return 0.0


@dataclass(frozen=True)
class JobState:
    """How far a job is."""

    place: Place
    state: State
    reason: str = ""


def places_of(settings: StudySettings, jobs: Sequence[Job]) -> dict[str, Place]:
    """Return the place of every job by its name.

    A result is named after its settings, the version of its step, the names of the results that it needs, and, where
    it starts from files, what these are: a changed file or setting gives a new name, and the old result stays.

    Raises:
        SettingsError: A folder that the study names is not there.
    """
    found: dict[str, Place] = {}
    for job in jobs:
        made_from = {
            "step": [job.verb, VERSIONS[job.verb]],
            "settings": job.shaped_by,
            "needs": [found[name].folder.name for name in job.needs],
            "starts_from": dict(_started_from(settings, job)),
        }
        found[job.name] = Place(job, made_from, settings.results)
    return found


def states_of(places: Mapping[str, Place]) -> tuple[JobState, ...]:
    """Return how far every job is, in the plan's order."""
    found: dict[str, JobState] = {}
    for name, place in places.items():
        found[name] = _state(place, [found[need] for need in place.job.needs])
    return tuple(found.values())


def _state(place: Place, needs: Sequence[JobState]) -> JobState:
    if place.finished:
        return JobState(place, "finished")
    if place.note.is_file():
        return JobState(place, "failed", failure(place))
    stuck = next((need for need in needs if need.state in ("failed", "blocked")), None)
    if stuck is not None:
        return JobState(place, "blocked", f"needs {stuck.place.job.name}")
    started = place.folder.with_name(place.folder.name + ".partial").is_dir()
    return JobState(place, "started" if started else "waiting")


def failure(place: Place) -> str:
    """Return why a job failed."""
    try:
        return str(json.loads(place.note.read_text(encoding="utf-8"))["problem"])
    except (OSError, ValueError, KeyError, TypeError):
        return "it failed, and its note cannot be read"


def sets_of(settings: StudySettings, places: Mapping[str, Place], data: str) -> Path:
    """Return the folder with a data set's train, holdout and test."""
    given = settings.data[data].sets
    return given if given is not None else places[f"prepare/{data}"].folder / "sets"


def images_of(settings: StudySettings, places: Mapping[str, Place], data: str, generator: str) -> Path:
    """Return the image set that a generator made."""
    given = settings.generators[generator].images
    return given[data] if given else places[f"sample/{data}/{generator}"].folder / "images"


def _started_from(settings: StudySettings, job: Job) -> Iterator[tuple[str, Any]]:
    """Yield what a job reads that no other job made."""
    data = settings.data[job.data]
    if job.verb == "prepare" and data.cohort is not None:
        yield "cohort", _listing(data.cohort)
        yield "lists", {role: _text(path) for role, path in data.lists.items()}
    if data.sets is not None and job.verb in ("train", "segment", "measure", "audit"):
        yield "sets", {role: open_set(data.sets / role).content for role in ROLES if is_image_set(data.sets / role)}
    images = settings.generators[job.generator].images if job.generator else {}
    if images and job.verb in ("segment", "measure", "audit"):
        yield "images", open_set(images[job.data]).content
    if job.verb in ("measure", "audit"):
        yield "weights", _weights(job.shaped_by)
    if job.verb == "decide":
        yield "policy", open_release_policy(settings.policy)[1]


def _listing(cohort: Path) -> str:
    """Return a digest of names, sizes and times of all files: `prepare` itself hashes what is in them."""
    if not cohort.is_dir():
        raise SettingsError(f"There is no folder {cohort}.", "Correct `cohort` in study.toml.")
    files = []
    for folder, _, names in sorted(os.walk(cohort)):
        for name in sorted(names):
            path = Path(folder) / name
            about = path.stat()
            files.append((str(path.relative_to(cohort)), about.st_size, about.st_mtime_ns))
    return store.digest(files)


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise SettingsError(f"{path} cannot be read: {error}.", "Correct `lists` in study.toml.") from error


def _weights(shape: Mapping[str, Any]) -> dict[str, str]:
    """Return the SHA-256 of every weights file that extractors may read: other weights give other numbers."""
    files = {**shape.get("weights", {}), **shape.get("heads", {})}
    try:
        given = {name: store.sha256_of(Path(path)) for name, path in files.items()}
    except OSError as error:
        raise StoreError(f"A weights file cannot be read: {error}.", "Correct `weights` in study.toml.") from error
    if shape.get("extractors"):
        return given
    return {**{found.name: found.sha256 for found in study.weights_list().installed}, **given}
