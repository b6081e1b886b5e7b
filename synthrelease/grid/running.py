"""Doing the jobs of a study: what is built is skipped, what fails is noted, and the others go on."""

from __future__ import annotations

import datetime
import json
import queue
import shutil
import subprocess
import sys
import threading
import time
import traceback
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path

from synthrelease import segmenting, store, study
from synthrelease.errors import ExitCode, SettingsError, SynthreleaseError
from synthrelease.grid import collecting
from synthrelease.grid.cost import check
from synthrelease.grid.places import JOB, Place, failure, images_of, places_of, sets_of
from synthrelease.grid.plan import Job, jobs_of
from synthrelease.grid.settings import StudySettings, read_study
from synthrelease.progress import SILENT, Progress


@dataclass(frozen=True)
class Outcome:
    """What one `study run` did."""

    made: tuple[str, ...]
    failed: Mapping[str, str]
    """Job to why."""
    blocked: tuple[str, ...]
    left: int
    """Jobs of the study that have no result yet, chosen or not."""


@dataclass(frozen=True)
class Work:
    """What every job is handed."""

    settings: StudySettings
    places: Mapping[str, Place]
    device: str
    progress: Progress


def run(
    file: Path, *, devices: Sequence[str] = ("auto",), only: Sequence[str] = (), progress: Progress = SILENT
) -> Outcome:
    """Do every job of a study that has no result yet, and return what came of it.

    Jobs that failed before are tried again. A job whose needs failed is left. With several devices, each has one job at
    a time in a process of its own, whose words go to `results/logs/`.

    Args:
        file: study.toml.
        devices: auto, cpu, cuda or cuda:N; one may be named twice to share it.
        only: Patterns of job names, with * and ?; none: all. What a chosen job needs is done too.
        progress: Hears of every job.

    Raises:
        SettingsError: The study cannot be read, or a pattern fits no job.
        KeyboardInterrupt: Stopped; what is finished stays, and trainings go on from their checkpoints.
    """
    settings = read_study(file)
    check(settings)  # now, and not after days of training something else
    jobs = jobs_of(settings)
    places = places_of(settings, jobs)
    store.private_folder(settings.results)
    chosen = _chosen(jobs, only)
    if len(devices) == 1:
        work = Work(settings, places, devices[0], progress)
        made, failed = _one_by_one(work, chosen)
    else:
        made, failed = _side_by_side(file, places, chosen, devices, progress)
    left = [job for job in jobs if not places[job.name].finished]
    blocked = tuple(job.name for job in chosen if job in left and job.name not in failed)
    return Outcome(tuple(made), failed, blocked, len(left))


def _chosen(jobs: Sequence[Job], only: Sequence[str]) -> list[Job]:
    """Return the jobs that patterns fit, and all that these need, in order."""
    if not only:
        return list(jobs)
    wanted: set[str] = set()
    for pattern in only:
        fitting = {job.name for job in jobs if fnmatchcase(job.name, pattern)}
        if not fitting:
            raise SettingsError(
                f"No job of this study fits {pattern!r}.", "`synthrelease study status FILE --all` lists their names."
            )
        wanted |= fitting
    for job in reversed(jobs):
        if job.name in wanted:
            wanted |= set(job.needs)
    return [job for job in jobs if job.name in wanted]


def _ready(job: Job, places: Mapping[str, Place]) -> bool:
    return all(places[name].finished for name in job.needs)


# --- in this process --------------------------------------------------------------------------------------------------


def _one_by_one(work: Work, jobs: Sequence[Job]) -> tuple[list[str], dict[str, str]]:
    made: list[str] = []
    failed: dict[str, str] = {}
    for number, job in enumerate(jobs, 1):
        place = work.places[job.name]
        if place.finished or not _ready(job, work.places):
            continue
        work.progress.say(f"[{number} of {len(jobs)}] {job.name}")
        problem = _attempted(work, place)
        if problem:
            failed[job.name] = problem
            work.progress.say(f"  failed: {problem}")
        else:
            made.append(job.name)
    return made, failed


def _attempted(work: Work, place: Place) -> str:
    """Do a job; return why it failed, or nothing."""
    try:
        done(work, place)
    except SynthreleaseError as error:
        _note(place, error.problem, error.remedy)
        return error.problem
    except Exception as error:  # the grid must go on: the note keeps the traceback
        problem = f"{type(error).__name__}: {error}"
        _note(place, problem, traceback.format_exc())
        return problem
    place.note.unlink(missing_ok=True)
    return ""


def _note(place: Place, problem: str, remedy: str) -> None:
    about = {"job": place.job.name, "problem": problem, "remedy": remedy, "time": _now()}
    store.write_text(place.note, json.dumps(about, indent=1))


def _now() -> str:
    return datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")


def done(work: Work, place: Place) -> Path:
    """Do one job and return its finished folder; a job that was begun goes on where it stopped."""
    make = _MAKERS[place.job.verb]

    def timed(folder: Path) -> None:
        with _timed(place, folder):
            make(work, place.job, folder)

    return store.result(place.results, place.job.verb, place.made_from, timed)


@contextmanager
def _timed(place: Place, folder: Path) -> Iterator[None]:
    """Add the seconds that the block takes to those of earlier attempts, however it ends."""
    before, begun = place.seconds(), time.monotonic()
    try:
        yield
    finally:
        about = {"job": place.job.name, "seconds": round(before + time.monotonic() - begun, 1), "time": _now()}
        store.write_text(folder / JOB, json.dumps(about))


def _phantom(work: Work, job: Job, folder: Path) -> None:
    settings = work.settings.data[job.data].phantom
    assert settings is not None  # or there would be no such job
    study.phantom(folder / "cohort", settings, work.progress)


def _prepare(work: Work, job: Job, folder: Path) -> None:
    data = work.settings.data[job.data]
    cohort = data.cohort or work.places[f"phantom/{job.data}"].folder / "cohort"
    study.prepare(cohort, folder / "sets", data.prepare, data.lists or None, work.progress)


def _train(work: Work, job: Job, folder: Path) -> None:
    generator = work.settings.generators[job.generator]
    sets = sets_of(work.settings, work.places, job.data)
    study.train(
        work.settings.kind_of(job.generator),
        images=sets / "train",
        holdout=sets / "holdout" if generator.screen_kimg else None,
        out=folder / "model",
        resolution=work.settings.data[job.data].resolution,
        resume=True,
        device=work.device,
        progress=work.progress,
        changes=generator.set,
        **generator.model_dump(include={"steps", "kimg", "config", "batch", "seed", "screen_kimg"}),
    )


def _sample(work: Work, job: Job, folder: Path) -> None:
    generator = work.settings.generators[job.generator]
    study.sample(
        work.places[f"train/{job.data}/{job.generator}"].folder / "model",
        range(generator.first_seed, generator.first_seed + generator.samples),
        folder / "images",
        device=work.device,
        progress=work.progress,
        **generator.model_dump(include={"truncation", "sampler", "sampling_steps"}),
    )


def _segment(work: Work, job: Job, folder: Path) -> None:
    grid, segmenter = work.settings.grid, work.settings.segmenters[job.segmenter]
    sets = sets_of(work.settings, work.places, job.data)
    assert job.train_on is not None  # of every segmentation
    study.segment(
        test=sets / "test",
        real=sets / "train",  # also without being trained on: it names the labels
        synthetic=images_of(work.settings, work.places, job.data, job.generator) if job.generator else None,
        out=folder,
        train_on=(job.train_on,),
        network=work.settings.network_of(job.segmenter),
        preset=segmenter.preset,
        seeds=(job.seed,),
        augment=job.augmented,
        size=segmenter.size,
        changes={**segmenter.set, "real_share": grid.real_share, "real_fraction": job.real_fraction},
        device=work.device,
        resume=True,
        progress=work.progress,
    )
    if not grid.keep_weights:
        for checkpoints in (folder / segmenting.MODELS).glob("*/checkpoints"):
            shutil.rmtree(checkpoints)


def _measure(work: Work, job: Job, folder: Path) -> None:
    sets = sets_of(work.settings, work.places, job.data)
    study.measure(
        real=sets / "train",
        holdout=_holdout(sets),
        synthetic=images_of(work.settings, work.places, job.data, job.generator),
        out=folder,
        settings=work.settings.measure,
        progress=work.progress,
    )


def _audit(work: Work, job: Job, folder: Path) -> None:
    sets = sets_of(work.settings, work.places, job.data)
    assert work.settings.audit is not None  # or there would be no such job
    study.audit(
        train=sets / "train",
        holdout=_holdout(sets),
        synthetic=images_of(work.settings, work.places, job.data, job.generator),
        out=folder,
        settings=work.settings.audit,
        progress=work.progress,
    )


def _holdout(sets: Path) -> Path | None:
    return sets / "holdout" if (sets / "holdout").is_dir() else None


def _decide(work: Work, job: Job, folder: Path) -> None:
    """Decide on the audit's own evidence, where people read pairs and sign; keep what was decided here."""
    place = f"{job.data}/{job.generator}"
    quality = work.places.get(f"measure/{place}")
    utility = collecting.utility_for_decision(work.settings, work.places, job)
    written = folder / segmenting.UTILITY
    if utility is not None:
        store.write_text(written, utility.model_dump_json(indent=1))
    decision = study.decide(
        work.places[f"audit/{place}"].folder,
        policy_name=work.settings.policy,
        quality=None if quality is None else quality.folder / "quality.json",
        utility=None if utility is None else written,
        progress=work.progress,
    )
    store.write_text(folder / "decision.json", decision.model_dump_json(indent=1))


_MAKERS: Mapping[str, Callable[[Work, Job, Path], None]] = {
    "phantom": _phantom,
    "prepare": _prepare,
    "train": _train,
    "sample": _sample,
    "segment": _segment,
    "measure": _measure,
    "audit": _audit,
    "decide": _decide,
}


# --- in processes of their own, one per device ------------------------------------------------------------------------


def _side_by_side(
    file: Path, places: Mapping[str, Place], jobs: Sequence[Job], devices: Sequence[str], progress: Progress
) -> tuple[list[str], dict[str, str]]:
    """Do jobs on several devices; what fails, even by being killed, is noted and the others go on."""
    made: list[str] = []
    failed: dict[str, str] = {}
    free: queue.Queue[str] = queue.Queue()
    for device in devices:
        free.put(device)
    answers: queue.Queue[tuple[Job, str, int]] = queue.Queue()
    waiting = [job for job in jobs if not places[job.name].finished]
    running: dict[str, subprocess.Popen[bytes]] = {}
    try:
        while True:
            for job in [job for job in waiting if _ready(job, places)][: free.qsize()]:
                waiting.remove(job)
                device = free.get()
                progress.say(f"{job.name} begins on {device}")
                running[job.name] = process = _begun(file, places[job.name], device)
                threading.Thread(target=_heard, args=(process, job, device, answers), daemon=True).start()
            if not running:
                return made, failed  # what still waits needs something that failed
            job, device, code = answers.get()
            del running[job.name]
            free.put(device)
            place = places[job.name]
            if place.finished:
                made.append(job.name)
                progress.say(f"{job.name}: done after {place.seconds():.0f} s, {len(waiting)} wait")
                continue
            if code == ExitCode.INTERRUPTED:
                raise KeyboardInterrupt
            if not place.note.is_file():
                _note(place, f"Its process ended with code {code}: {_last_words(place.log)}", f"See {place.log}.")
            failed[job.name] = failure(place)
            progress.say(f"{job.name} failed: {failed[job.name]}")
    finally:
        _stopped(running.values())


def _begun(file: Path, place: Place, device: str) -> subprocess.Popen[bytes]:
    store.private_folder(place.log.parent)
    place.note.unlink(missing_ok=True)  # an old note must not speak for this attempt
    command = [sys.executable, "-m", "synthrelease", "study", "run", str(file)]
    command += ["--only", place.job.name, "--device", device, "--no-report"]
    with place.log.open("ab") as log:
        return subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log)


def _last_words(log: Path) -> str:
    lines = log.read_text(encoding="utf-8", errors="replace").split("\n")
    return next((line for line in reversed(lines) if line.strip()), "it said nothing")


def _heard(process: subprocess.Popen[bytes], job: Job, device: str, answers: queue.Queue[tuple[Job, str, int]]) -> None:
    answers.put((job, device, process.wait()))


def _stopped(processes: Collection[subprocess.Popen[bytes]]) -> None:
    """Ask processes to stop, as Ctrl-C did where it reached them, and wait until they have written checkpoints."""
    for process in processes:
        process.terminate()
    for process in processes:
        process.wait()
