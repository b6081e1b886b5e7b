"""The study as numbers and as a page: what it would cost, how far it is, what it found."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from synthrelease import store
from synthrelease.grid.collecting import collected
from synthrelease.grid.cost import JobCost, costs_of, total
from synthrelease.grid.places import JobState, places_of, states_of
from synthrelease.grid.plan import Job, Verb, jobs_of
from synthrelease.grid.settings import StudySettings, read_study
from synthrelease.study_records import StudyRecord

RECORD, PAGE, REPORT = "study.json", "study.html", "report"


@dataclass(frozen=True)
class Planned:
    """The grid of a study."""

    settings: StudySettings
    jobs: tuple[Job, ...]
    costs: Mapping[str, JobCost]

    def by_verb(self) -> dict[Verb, tuple[int, JobCost]]:
        """Return how many jobs of each kind there are, and what they cost together."""
        verbs = dict.fromkeys(job.verb for job in self.jobs)
        return {
            verb: (
                sum(job.verb == verb for job in self.jobs),
                total([self.costs[job.name] for job in self.jobs if job.verb == verb and job.name in self.costs]),
            )
            for verb in verbs
        }


def planned(file: Path) -> Planned:
    """Return a study's jobs and their cost, without data, GPU or running anything.

    Raises:
        SettingsError: Something in the file cannot be.
    """
    settings = read_study(file)
    jobs = jobs_of(settings)
    return Planned(settings, jobs, costs_of(settings, jobs))


@dataclass(frozen=True)
class Left:
    """How long jobs of one verb may still take."""

    jobs: int
    seconds: float  # of those whose like has finished
    unknown: int  # jobs whose like has not


def status(file: Path) -> tuple[JobState, ...]:
    """Return how far every job of a study is."""
    settings = read_study(file)
    return states_of(places_of(settings, jobs_of(settings)))


def time_left(states: Sequence[JobState]) -> dict[str, Left]:
    """Return for each verb how long its unfinished jobs may take, going by finished jobs of the same kind."""
    taken: dict[tuple[str, ...], list[float]] = {}
    for state in states:
        if state.state == "finished":
            taken.setdefault(state.place.job.kind, []).append(state.place.seconds())
    found: dict[str, Left] = {}
    for verb in dict.fromkeys(state.place.job.verb for state in states):
        kinds = [s.place.job.kind for s in states if s.place.job.verb == verb and s.state != "finished"]
        known = [statistics.fmean(taken[kind]) for kind in kinds if kind in taken]
        found[verb] = Left(len(kinds), sum(known), len(kinds) - len(known))
    return found


def report(file: Path, out: Path | None = None) -> tuple[StudyRecord, Path]:
    """Write the study's record and page, of what is finished so far, and return the record and the folder.

    Args:
        file: study.toml.
        out: Folder; None: `report` in the study's results. It stays inside: it names data sets and patients' counts.
    """
    from synthrelease.report.study_page import write_study_page

    settings = read_study(file)
    record = collected(settings, places_of(settings, jobs_of(settings)))
    folder = store.private_folder(out or settings.results / REPORT)
    store.write_text(folder / RECORD, record.model_dump_json(indent=1))
    write_study_page(record, folder / PAGE)
    return record, folder
