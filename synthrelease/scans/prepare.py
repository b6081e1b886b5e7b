"""A cohort of real scans to the image sets train, holdout and test, split by subject."""

from __future__ import annotations

import json
import multiprocessing
import os
from collections import Counter, deque
from collections.abc import Iterator, Mapping
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from synthrelease import store
from synthrelease.errors import IntegrityError, ScanError, StoreError
from synthrelease.image_set import ImageRow, ImageSet, Unread, is_image_set, open_set
from synthrelease.image_writer import ImageSetWriter
from synthrelease.progress import Progress
from synthrelease.scans import split
from synthrelease.scans.cohort import Cohort, Volume, load_subject, open_cohort
from synthrelease.scans.slices import cut
from synthrelease.settings import PrepareSettings

STEP_VERSION = 1  # raise it when the same scans and settings would give other pixels
UNREAD = "\0unread files of the cohort"  # no subject is named so
LEFT_OUT = "slices left out: too little foreground"


@dataclass(frozen=True)
class Prepared:
    """What one subject became."""

    subject: str
    pixels: NDArray[np.uint8] | None  # (k, c, side, side)
    rows: tuple[ImageRow, ...]
    unread: tuple[Unread, ...]
    tally: Mapping[str, int]


def prepare_cohort(
    cohort: Path,
    out: Path,
    settings: PrepareSettings,
    *,
    lists: dict[str, Path] | None,
    progress: Progress,
) -> dict[str, ImageSet]:
    """Return the image sets written to ``out/train``, ``out/holdout`` and ``out/test``.

    Subjects are handled one at a time per worker, so memory does not grow with the cohort. An interrupted
    run continues where it stopped; finished sets made from the same scans and settings are kept. The result is
    the same for any number of workers.

    Args:
        lists: role to a text file of subjects; replaces the fractions. Subjects in no list are left out.

    Raises:
        ScanError: nothing readable, mixed sizes or BraTS years. SplitError: too few subjects, wrong lists.
        StoreError: ``out`` holds the result of other settings or other scans.
    """
    found = open_cohort(cohort, settings.subject_pattern, progress)
    roles, unlisted = _roles(found, settings, lists)
    results: dict[str, ImageSet] = {}
    with ExitStack() as stack:
        stack.enter_context(store.one_writer(out))
        _claim(out, _made_from(found, settings, roles))
        writers: dict[str, ImageSetWriter] = {}
        for role, subjects in roles.items():
            if is_image_set(out / role):
                results[role] = _finished(out / role)
            elif subjects:
                writers[role] = stack.enter_context(ImageSetWriter(out / role, found.channels, found.voxel_size))
        first = next(role for role, subjects in roles.items() if subjects)
        if first in writers and UNREAD not in writers[first].finished:  # whose they are is not always known
            writers[first].add(UNREAD, None, [], found.unread)
        _fill(writers, roles, found, settings, progress)
        _refuse_empty(writers)
        for role, writer in writers.items():
            for note in _notes(writer, found, settings, unlisted):
                writer.note(note)
            results[role] = writer.close()
    _report(results, progress)
    return {role: results[role] for role in split.ROLES if role in results}


def _roles(
    found: Cohort, settings: PrepareSettings, lists: dict[str, Path] | None
) -> tuple[dict[str, tuple[str, ...]], tuple[str, ...]]:
    if lists:
        return split.by_lists(found.subjects, lists)
    return split.by_fractions(found.subjects, settings.fractions, settings.seed), ()


def _made_from(found: Cohort, settings: PrepareSettings, roles: Mapping[str, tuple[str, ...]]) -> dict[str, Any]:
    """Return all that shapes the result; the number of workers does not."""
    return {
        "step": ["prepare", STEP_VERSION],
        "scans": found.content,
        "settings": settings.model_dump(mode="json", exclude={"workers"}),
        "roles": {role: list(subjects) for role, subjects in roles.items()},
    }


def _finished(folder: Path) -> ImageSet:
    try:
        return open_set(folder, check_content=True)
    except ScanError as error:
        raise IntegrityError(error.problem, f"Remove {folder} and run the same command again.") from error


def _claim(out: Path, made_from: dict[str, Any]) -> None:
    """Write what the folder is made from, or refuse if it was begun from something else."""
    record = out / "made_from.json"
    if record.is_file():
        try:
            before = json.loads(record.read_text(encoding="utf-8"))
        except (ValueError, RecursionError) as error:
            raise StoreError(f"{record} is damaged: {error}", "Choose another --out folder.") from error
        if not isinstance(before, dict):
            raise StoreError(f"{record} is damaged: it holds no record.", "Choose another --out folder.")
        changed = sorted(key for key in {*before, *made_from} if before.get(key) != made_from.get(key))
        if changed:
            raise StoreError(
                f"{out} was prepared differently: {', '.join(changed)} changed.",
                "Choose another --out folder, or remove this one if it is no longer needed.",
            )
        return
    if out.is_dir() and any(is_image_set(out / role) for role in split.ROLES):
        raise StoreError(f"{out} holds image sets of unknown origin.", "Choose another --out folder.")
    store.private_folder(out)
    store.write_text(record, json.dumps(made_from, indent=1, sort_keys=True))


def _fill(
    writers: Mapping[str, ImageSetWriter],
    roles: Mapping[str, tuple[str, ...]],
    found: Cohort,
    settings: PrepareSettings,
    progress: Progress,
) -> None:
    todo = {
        subject: writer for role, writer in writers.items() for subject in roles[role] if subject not in writer.finished
    }
    done = sum(len(roles[role]) for role in writers) - len(todo)
    with progress.task("Preparing subjects", len(todo) + done) as advance:
        advance(done)
        for made in _prepared_in_order(found, list(todo), settings):
            todo[made.subject].add(made.subject, made.pixels, made.rows, made.unread, made.tally)
            advance(1)


def _refuse_empty(writers: Mapping[str, ImageSetWriter]) -> None:
    """Raise, before any set is finished, if nothing of a role could be read."""
    empty = {role: writer.unread for role, writer in writers.items() if not writer.rows}
    if empty:
        reasons = "; ".join(f"{item.image_id}: {item.reason}" for unread in empty.values() for item in unread[:3])
        raise ScanError(
            f"Nothing in {' and '.join(empty)} could be read ({reasons}).",
            "Repair these files or take them out of the cohort, and prepare into a new --out folder.",
        )


def _prepared_in_order(found: Cohort, subjects: list[str], settings: PrepareSettings) -> Iterator[Prepared]:
    """Yield every subject in order; at most ``workers + 2`` are in memory at once."""
    workers = min(settings.workers or _cores(), len(subjects))
    tasks = ((part, settings) for part in found.parts(subjects))
    if workers <= 1:
        yield from (prepare_subject(*task) for task in tasks)
        return
    # Spawned, not forked: threads of the libraries loaded here do not survive a fork.
    pool = ProcessPoolExecutor(workers, multiprocessing.get_context("spawn"))
    try:
        waiting: deque[Future[Prepared]] = deque()
        for task in tasks:
            waiting.append(pool.submit(prepare_subject, *task))
            if len(waiting) >= workers + 2:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    except BrokenProcessPool as error:
        raise ScanError(
            "A worker process ended early, most likely for lack of memory.",
            "Run the same command again with --workers 1: finished subjects are kept. (In a script, call this below "
            "`if __name__ == '__main__':`.)",
        ) from error
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def prepare_subject(part: Cohort, settings: PrepareSettings) -> Prepared:
    """Return the slices of the one subject of ``part``."""
    subject = part.subjects[0]
    rows: list[ImageRow] = []
    pixels: list[NDArray[np.uint8]] = []
    unread: list[Unread] = []
    tally: Counter[str] = Counter()
    for volume in load_subject(part):
        if isinstance(volume, Unread):
            unread.append(volume)
            continue
        kept = cut(
            volume.pixels,
            volume.mask,
            numbers=tuple(range(len(volume.rows))),
            scaling=settings.preset,
            least=settings.foreground,
            keep_scale=volume.loose and volume.pixels.dtype == np.uint8,
        )
        tally[LEFT_OUT] += kept.left_out
        if kept.rescued:
            tally[_rescue_note(volume, kept.numbers[0])] += 1
        pixels.append(kept.pixels)
        rows += [volume.rows[i] for i in kept.numbers]
    return Prepared(subject, np.concatenate(pixels) if pixels else None, tuple(rows), tuple(unread), tally)


def _rescue_note(volume: Volume, number: int) -> str:
    name = volume.rows[number].image_id
    return f"no slice of {volume.name} passed the foreground rule: its fullest, {name}, was kept"


def _notes(
    writer: ImageSetWriter, found: Cohort, settings: PrepareSettings, unlisted: tuple[str, ...]
) -> Iterator[str]:
    yield f"scaling {settings.preset}; slices with more than {settings.foreground:.0%} foreground kept"
    yield from found.notes
    if count := writer.tally.pop(LEFT_OUT, 0):
        yield f"{count} {LEFT_OUT}"
    yield from writer.tally
    if unlisted:
        yield f"{len(unlisted)} subjects in no list left out"


def _report(results: Mapping[str, ImageSet], progress: Progress) -> None:
    for role, images in results.items():
        for item in images.unread:
            progress.say(f"{role}: {item.image_id} could not be used: {item.reason}")


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
