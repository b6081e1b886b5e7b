"""Keeps beside an audit's record what deciding, reading and packaging need later. All of it stays inside."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from synthrelease import fingerprints, store
from synthrelease.decision import log, seal
from synthrelease.decision.folder import (
    ATTEMPTS,
    AUDIT,
    FINGERPRINTS,
    IDENTITIES,
    IMAGES,
    PAIRS,
    SOURCES,
    open_evidence,
    write_images,
    write_pairs,
    write_record,
)
from synthrelease.errors import IntegrityError
from synthrelease.image_set import ImageSet, image_hashes
from synthrelease.progress import Progress
from synthrelease.records import AuditRecord
from synthrelease.release_records import Identities, PairInfo, Sources

FINGERPRINT_VERSION = 1
Pixels = NDArray[np.float32]
KEPT_OF_ATTEMPTS = (IMAGES, SOURCES, "report.html", AUDIT)  # the audit last: where it lies, nothing is missing


def keep_inputs(
    folder: Path,
    *,
    train: ImageSet,
    holdout: ImageSet | None,
    synthetic: ImageSet,
    sources: Sources,
    cache: Path,
    progress: Progress,
) -> None:
    """Write the lists by which a package is checked: released images, names and pictures that must not leave."""
    real = [images for images in (train, holdout) if images is not None]
    write_record(folder / SOURCES, sources)
    write_images(folder, dict(zip(synthetic.ids, image_hashes(synthetic), strict=True)))
    names = {row.subject for images in real for row in images.rows} - {""}
    files = {name for images in real for row in images.rows for name in (row.image_id, row.source)} - {""}
    files |= {unread.image_id for images in real for unread in images.unread}
    paths = {source.path for source in (sources.train, sources.holdout, sources.synthetic) if source} - {""}
    write_record(
        folder / IDENTITIES,
        Identities(subjects=tuple(sorted(names)), images=tuple(sorted(files)), paths=tuple(sorted(paths))),
    )
    planes = sorted(set().union(*(_fingerprints(images, cache, progress) for images in real)))
    store.write_text(folder / FINGERPRINTS, "".join(f"{plane}\n" for plane in planes))


def keep_pairs(
    folder: Path,
    pairs: Iterable[tuple[PairInfo, dict[str, Pixels]]],
    order: Callable[[list[PairInfo]], list[PairInfo]],
) -> None:
    """Write each pair's pixels (c, s, s) in [0, 1] as 8-bit `pairs/<id>.npz`, then their index."""
    place = store.private_folder(folder / PAIRS)
    written: list[PairInfo] = []
    for info, images in pairs:
        levels = {name: np.rint(np.clip(image, 0, 1) * 255).astype(np.uint8) for name, image in images.items()}
        with store.atomic_path(place / f"{info.pair_id}.npz") as partial, partial.open("wb") as file:
            np.savez_compressed(file, allow_pickle=False, **levels)
        written.append(info)
    write_pairs(folder, order(written))


def timeless(record: AuditRecord) -> AuditRecord:
    """Return the record without date and duration, in which alone equal audits differ."""
    return record.model_copy(update={"made_with": record.made_with.model_copy(update={"date": "", "seconds": 0.0})})


def take_pairs(folder: Path, source: Path) -> None:
    """Copy the pairs that lie in ``source`` into the evidence folder; older pairs go."""
    place = store.private_folder(folder / PAIRS)
    files = {file.name: file for file in (source / PAIRS).iterdir() if not file.name.startswith(".")}
    for name, file in files.items():
        with store.atomic_path(place / name) as partial:
            shutil.copyfile(file, partial)
    for old in place.iterdir():
        if old.name not in files:
            old.unlink()


def keep_audit(folder: Path, record: AuditRecord) -> AuditRecord:
    """Write `audit.json`, unless the one that lies there says the same: then decisions and approvals stay in force."""

    if (folder / AUDIT).is_file():
        with contextlib.suppress(IntegrityError):
            there = open_evidence(folder).audit
            if timeless(there) == timeless(record):
                return there
    write_record(folder / AUDIT, record)
    return record


def next_attempt(folder: Path, synthetic: str) -> int:
    """Return which attempt an audit of these images is: audits of other images in this folder count."""
    seen: list[str] = []
    for entry in log.read(folder):
        if entry.action == "audit" and (content := str(entry.data.get("synthetic"))) not in seen:
            seen.append(content)
    return seen.index(synthetic) + 1 if synthetic in seen else len(seen) + 1


def note_audit(folder: Path, *, synthetic: str, verdict: str, images: int, attempt: int) -> None:
    """Add an audit to the log; the same one run again is not told twice."""
    data: dict[str, object] = {
        "synthetic": synthetic,
        "verdict": verdict,
        "images": images,
        "attempt": attempt,
        "audit_sha256": store.sha256_of(folder / AUDIT),
        "kept_sha256": seal.seal(folder),
    }
    told = [entry.data for entry in log.read(folder) if entry.action == "audit"]
    if not told or told[-1] != data:
        log.append(folder, "audit", data=data)


def put_aside(folder: Path, synthetic: str) -> None:
    """Copy the audit that lies here to `attempts/<number>`, if it was of other images than those named."""
    told = [entry.data for entry in log.read(folder) if entry.action == "audit"]
    if not told or told[-1].get("synthetic") == synthetic:
        return
    place = store.private_folder(folder / ATTEMPTS / str(told[-1].get("attempt")))
    if (place / AUDIT).is_file() and store.sha256_of(place / AUDIT) == told[-1].get("audit_sha256"):
        return  # by a run that was killed afterwards: what lies in the folder now may be half of the next audit
    for name in KEPT_OF_ATTEMPTS:
        if (folder / name).is_file():
            with store.atomic_path(place / name) as partial:
                shutil.copyfile(folder / name, partial)


def _fingerprints(images: ImageSet, cache: Path, progress: Progress) -> set[str]:
    """Return the fingerprints of every plane of a set, from the cache where they were made before."""

    def make(folder: Path) -> None:
        found: set[str] = set()
        with progress.task("Fingerprints of real images", len(images)) as advance:
            for block in images.blocks(64):
                found |= {mark for image in block for plane in image if (mark := fingerprints.of_plane(plane))}
                advance(len(block))
        store.write_text(folder / "planes.txt", "\n".join(sorted(found)))

    def read(folder: Path) -> set[str]:
        return set((folder / "planes.txt").read_text(encoding="ascii").split())

    return store.kept(cache, "fingerprints", [FINGERPRINT_VERSION, images.content], make, read)
