"""Any folder that users have, as an image set: prepared sets, BraTS, slices per subject, flat folders, NPZ."""

from __future__ import annotations

import logging
import os
import shutil
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

from synthrelease import store
from synthrelease.errors import ScanError
from synthrelease.image_set import ImageRow, ImageSet, is_image_set, open_set
from synthrelease.image_writer import ImageSetWriter
from synthrelease.object_storage import address_of
from synthrelease.progress import Progress
from synthrelease.scans.files import SUBJECTS_FILE, Listing, list_sources
from synthrelease.scans.importing import LEFT_OUT, Reading, ahead, import_files, refuse_unmatched
from synthrelease.scans.subjects import compiled, refuse_nameless, subject_finder

_LOG = logging.getLogger(__name__)
STEP_VERSION = 1  # raise it when the same files would give other pixels, ids or subjects
IMAGES_AT_ONCE = 64


def open_images(
    folder: Path,
    *,
    subject_pattern: str | None = None,
    needs_subject: bool,
    exclude: Sequence[str] = (),
    cache: Path,
    progress: Progress,
    must_match: bool = True,
) -> ImageSet:
    """Return the images of a prepared set, a raw folder or one file; raw images are imported once into ``cache``.

    The import is named after the relative paths, the SHA-256 of every file and these options, so a second
    call over an unchanged folder only hashes. Sizes are never changed: pixels keep their stored values, as
    uint8, uint16 or float32.

    Args:
        folder: prepared image set, folder of images in any depth, or a single file such as an NPZ.
        subject_pattern: searched in the relative path; group 1 is the subject.
        needs_subject: true for real roles, where every image must have a subject.
        exclude: image ids or file paths to leave out, exactly as listed.
        must_match: whether an excluded name that this folder lacks is an error; see `left_out`.

    Raises:
        SettingsError: a pattern that is no regular expression or has no group.
        ScanError: nothing to read, mixed sizes, an excluded name that is not there, unknown subjects.
    """
    pattern = compiled(subject_pattern)
    folder = Path(folder)
    if is_image_set(folder):
        return _prepared(folder, subject_pattern, exclude, cache, needs_subject=needs_subject, must_match=must_match)
    url = address_of(folder)
    if url is not None:
        raise ScanError(
            f"{url} is no prepared image set.",
            "From object storage only image sets are read: make one with `synthrelease prepare`, and copy it there.",
        )
    _refuse_lookalikes(folder)
    listing = list_sources(folder, exclude)
    finder = subject_finder(listing, pattern, needs_subject=needs_subject)
    remaining = frozenset(exclude) - listing.excluded
    reading = Reading(finder, remaining, alone=len(listing.sources) == 1, needs_subject=needs_subject)
    options = [subject_pattern, needs_subject, sorted(exclude), folder.is_file()]
    into = cache / f"images-{store.digest(['import', STEP_VERSION, options, _fingerprint(listing, progress)])}"
    return _cached(into) or import_files(listing, reading, into, progress, must_match=must_match)


def left_out(images: ImageSet) -> set[str]:
    """Return the excluded names that this set really left out.

    A study that hands one list to several folders opens them with ``must_match=False`` and refuses names
    that none of them knew.
    """
    return {note.removeprefix(LEFT_OUT) for note in images.notes if note.startswith(LEFT_OUT)}


def _cached(into: Path) -> ImageSet | None:
    if not into.is_dir():
        return None
    try:
        return open_set(into, check_content=True)
    except ScanError:  # a damaged cache costs time, never an answer
        _LOG.warning("A damaged entry of the cache (%s) is made again.", into.name)
        shutil.rmtree(into)
        return None


def _fingerprint(listing: Listing, progress: Progress) -> list[object]:
    """Return names and content hashes of everything that shapes the import."""
    paths = [path for source in listing.sources for path in source.paths]
    table = listing.root / SUBJECTS_FILE
    threads = min(8, os.cpu_count() or 1)
    hashes = []
    with ThreadPoolExecutor(threads) as pool, progress.task(f"Hashing {listing.root.name}", len(paths)) as advance:
        for sha in ahead(pool, _sha256, paths, 4 * threads):
            hashes.append(sha)
            advance(1)
    names = [[source.name, *(path.name for path in source.paths)] for source in listing.sources]
    unread = [[item.image_id, item.reason] for item in listing.unread]
    return [names, hashes, unread, listing.notes, _sha256(table) if table.is_file() else ""]


def _sha256(path: Path) -> str:
    try:
        return store.sha256_of(path)
    except OSError as error:  # reading it will list it as unread
        return f"unreadable {error.errno}"


def _refuse_lookalikes(folder: Path) -> None:
    """Raise for folders that belong to prepared sets without being one."""
    if (folder / "images.zarr").exists():
        remedy = "Run the command that makes it again: finished work is kept."
        raise ScanError(f"{folder} is an image set that was never finished.", remedy)
    if folder.is_dir():
        inner = sorted(entry.name for entry in folder.iterdir() if entry.is_dir() and is_image_set(entry))
        if inner:
            raise ScanError(
                f"{folder} holds the image sets {', '.join(inner)}.", f"Give one, e.g. {folder / inner[0]}."
            )


def _prepared(
    folder: Path,
    subject_pattern: str | None,
    exclude: Sequence[str],
    cache: Path,
    *,
    needs_subject: bool,
    must_match: bool,
) -> ImageSet:
    # Caches trust the recorded hash, so a set that was changed in place must not get past this line.
    images = open_set(folder, check_content=True)
    if subject_pattern is not None:
        note = "warning: a prepared image set names its own subjects; --subject-pattern was not used"
        images = replace(images, notes=(*images.notes, note))
    if exclude:
        images = _without(images, frozenset(exclude), cache, must_match=must_match)
    if needs_subject:
        refuse_nameless([row.image_id for row in images.rows if not row.subject], len(images))
    return images


def _without(images: ImageSet, exclude: frozenset[str], cache: Path, *, must_match: bool) -> ImageSet:
    """Return the set without images whose id, or whose file, is excluded."""

    def names(image_id: str, source: str = "") -> frozenset[str]:
        return exclude & {image_id, source, image_id.rpartition("#")[0]}

    met = set[str]().union(*(names(row.image_id, row.source) for row in images.rows))
    met |= set[str]().union(*(names(item.image_id) for item in images.unread))
    if must_match:
        refuse_unmatched(exclude - met, images.folder.name if images.folder else "the image set")
    kept = [i for i, row in enumerate(images.rows) if not names(row.image_id, row.source)]
    unread = tuple(item for item in images.unread if not names(item.image_id))
    if not kept:
        raise ScanError("Every image of the set was excluded.", "Shorten the list given with --exclude.")
    rest = images if len(kept) == len(images) else _copied(images, kept, cache, sorted(met))
    notes = (*images.notes, *(f"{LEFT_OUT}{name}" for name in sorted(met)))
    return replace(rest, unread=unread, notes=notes)


def _copied(images: ImageSet, kept: list[int], cache: Path, excluded: list[str]) -> ImageSet:
    into = cache / f"images-{store.digest(['without', STEP_VERSION, images.content, excluded])}"
    if (copy := _cached(into)) is not None:
        return copy
    with ImageSetWriter(into, images.channels, images.voxel_size) as writer:
        for start, numbers, rows in _blocks_of(images, kept):
            if f"rows {start}" not in writer.finished:
                writer.add(f"rows {start}", images.read(numbers), rows)
        return writer.close()


def _blocks_of(images: ImageSet, kept: list[int]) -> Iterator[tuple[int, list[int], list[ImageRow]]]:
    for start in range(0, len(kept), IMAGES_AT_ONCE):
        numbers = kept[start : start + IMAGES_AT_ONCE]
        yield start, numbers, [images.rows[i] for i in numbers]
