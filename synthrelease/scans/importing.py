"""Any listed files to one image set: look at every file once, settle what the set looks like, then write it."""

from __future__ import annotations

import os
import re
import shutil
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from synthrelease.errors import ScanError
from synthrelease.image_set import MASK, ImageRow, ImageSet, Unread, is_image_set, open_set
from synthrelease.image_writer import ImageSetWriter
from synthrelease.progress import Progress
from synthrelease.scans import brats
from synthrelease.scans.blocks import Block, Unusable
from synthrelease.scans.files import Listing, Source
from synthrelease.scans.readers import read_file, stem
from synthrelease.scans.subjects import Finder, refuse_nameless

LEFT_OUT = "left out by name: "  # starts the note about each excluded name that was there
RGB = ("red", "green", "blue")
IMAGES_PER_PIECE = 64
Item = TypeVar("Item")
Made = TypeVar("Made")


@dataclass
class Summary:
    """What one file holds, without its pixels."""

    reason: str = ""  # why nothing of it can be used
    names: tuple[str, ...] = ()
    size: tuple[int, int] = (0, 0)
    types: set[str] = field(default_factory=set)
    is_grey: bool = True  # its three colours are equal everywhere
    has_mask: bool = False
    images: int = 0
    empty: int = 0
    unread: list[Unread] = field(default_factory=list)
    notes: set[str] = field(default_factory=set)
    excluded: set[str] = field(default_factory=set)
    nameless: list[str] = field(default_factory=list)
    voxel_size: tuple[float, float, float] = (1.0, 1.0, 1.0)
    is_stack: bool = False


@dataclass(frozen=True)
class Layout:
    """What all images of the set have in common."""

    names: tuple[str, ...]
    grey: bool  # colours are stored once
    masks: bool
    dtype: np.dtype[Any]

    @property
    def channels(self) -> tuple[str, ...]:
        names = ("grey",) if self.grey and self.names == RGB else self.names
        return (*names, MASK) if self.masks else names


@dataclass(frozen=True)
class Reading:
    """How images are named while a folder is read."""

    subject_of: Finder
    exclude: frozenset[str]
    alone: bool  # the only file: ids stated inside it need no prefix
    needs_subject: bool

    def rows(self, source: Source, block: Block) -> list[ImageRow]:
        """Return one row per image of the block."""
        ids = [self._image_id(source, block, i) for i in range(len(block.numbers))]
        stated = block.subjects or ("",) * len(ids)
        return [
            ImageRow(name, self.subject_of(name, source, stated[i]), _slice_number(source, block, i), source.name)
            for i, name in enumerate(ids)
        ]

    def _image_id(self, source: Source, block: Block, i: int) -> str:
        if block.ids:
            return block.ids[i] if self.alone else f"{source.name}#{block.ids[i]}"
        return source.name if block.kind == "picture" else f"{source.name}#{block.numbers[i]}"


def import_files(listing: Listing, reading: Reading, into: Path, progress: Progress, *, must_match: bool) -> ImageSet:
    """Return the listed files as an image set in the folder ``into``.

    Raises:
        ScanError: images of several sizes, no readable image, real images without a subject, or (with
            ``must_match``) an excluded name that is not there.
    """
    threads = min(8, os.cpu_count() or 1)
    label = listing.root.name or "images"
    with ThreadPoolExecutor(threads) as pool, progress.task(f"Checking {label}", len(listing.sources)) as advance:
        summaries = []
        for summary in ahead(pool, lambda source: _summary(source, reading), listing.sources, 2 * threads):
            summaries.append(summary)
            advance(1)
    _check_names(listing, reading, summaries, must_match=must_match)
    layout, notes = _settle(listing.sources, summaries)
    voxel_size = next((s.voxel_size for s in summaries if not s.reason), (1.0, 1.0, 1.0))
    with ImageSetWriter(into, layout.channels, voxel_size) as writer, ThreadPoolExecutor(threads) as pool:
        if is_image_set(into):  # another run imported it while this one waited
            shutil.rmtree(writer.partial, ignore_errors=True)
            return open_set(into)
        _write(writer, listing, summaries, layout, reading, pool, progress)
        named = [f"{LEFT_OUT}{name}" for name in sorted(listing.excluded)]
        for note in [*listing.notes, *notes, *_counts(summaries), *_one_subject(writer, reading), *named]:
            writer.note(note)
        return writer.close()


def ahead(pool: ThreadPoolExecutor, work: Callable[[Item], Made], items: Iterable[Item], window: int) -> Iterator[Made]:
    """Yield ``work(item)`` in order, computing at most ``window`` items ahead: memory stays bounded."""
    waiting: deque[Future[Made]] = deque()
    for item in items:
        waiting.append(pool.submit(work, item))
        if len(waiting) >= window:
            yield waiting.popleft().result()
    while waiting:
        yield waiting.popleft().result()


def read_source(source: Source) -> Iterator[Block]:
    """Yield the usable images of one file or case; raises `Unusable` with the reason."""
    return read_file(source.path, source.mask) if source.case is None else brats.read_case(source.case)


def _summary(source: Source, reading: Reading) -> Summary:
    found = Summary()
    try:
        for block in read_source(source):
            _add(found, source, block, reading)
    except Unusable as reason:
        # What was counted before the fault must not be written either: a stack is used whole or not at all.
        return Summary(reason=str(reason), excluded=found.excluded)
    if found.images == 0 and not found.unread:
        found.reason = "it holds no images"
    return found


def _add(found: Summary, source: Source, block: Block, reading: Reading) -> None:
    rows = reading.rows(source, block)
    faults = [Unread(f"{source.name}#{number}", reason) for number, reason in block.unread]
    found.excluded |= {row.image_id for row in rows} & reading.exclude
    found.excluded |= {item.image_id for item in faults} & reading.exclude
    found.unread += [item for item in faults if item.image_id not in reading.exclude]
    used = [row for row in rows if row.image_id not in reading.exclude]
    if reading.needs_subject:
        found.nameless += [row.image_id for row in used if not row.subject][: 5 - len(found.nameless)]
    found.names, found.size = block.names, (int(block.pixels.shape[2]), int(block.pixels.shape[3]))
    found.types.add(str(block.pixels.dtype))
    found.is_grey = found.is_grey and _is_grey(block)
    found.has_mask = block.mask is not None
    found.images += len(used)
    found.empty += block.empty
    found.notes |= set(block.notes)
    found.voxel_size, found.is_stack = block.voxel_size, block.kind == "stack"


def _is_grey(block: Block) -> bool:
    first = block.pixels[:, :1]
    return block.names == RGB and bool((block.pixels[:, 1:] == first).all())


def _check_names(listing: Listing, reading: Reading, summaries: list[Summary], *, must_match: bool) -> None:
    for summary in summaries:
        listing.excluded |= summary.excluded
    refuse_unmatched(reading.exclude - listing.excluded if must_match else (), listing.root.name)
    nameless = [name for summary in summaries for name in summary.nameless]
    refuse_nameless(nameless, sum(summary.images for summary in summaries))


def refuse_unmatched(names: Iterable[str], folder: str) -> None:
    """Raise if names that the user excluded are not there: a typing error would leave the file in."""
    if missing := sorted(names):
        raise ScanError(
            f"Excluded, but not in {folder}: {', '.join(map(repr, missing[:5]))}.",
            "Write names as the list of unread files shows them: the path relative to the folder.",
        )


def _settle(sources: Sequence[Source], summaries: list[Summary]) -> tuple[Layout, list[str]]:
    """Return the common layout; files of another layout get their reason, in place."""
    usable = [(source, s) for source, s in zip(sources, summaries, strict=True) if not s.reason and s.images]
    if not usable:
        reasons = "; ".join(f"{a.name}: {b.reason}" for a, b in zip(sources[:3], summaries[:3], strict=True))
        raise ScanError(
            f"None of {len(sources)} files could be used ({reasons}).", "Repair the files or point at another folder."
        )
    notes = [f"{note} ({sum(note in s.notes for _, s in usable)} files)" for note in _all_notes(usable)]
    colour = [s for _, s in usable if s.names == RGB]
    grey = bool(colour) and all(s.is_grey for s in colour)
    if grey:
        notes.append("grey images stored as RGB: one channel kept")
    usual = _usual_names(usable, grey=grey)
    for _, s in usable:
        if _shown(s, grey=grey) != usual:
            s.reason = f"it has the channels {', '.join(s.names)}, the other images {', '.join(usual)}"
    usable = [(source, s) for source, s in usable if not s.reason]
    _refuse_sizes(usable)
    types = sorted({kind for _, s in usable for kind in s.types})
    dtype = np.result_type(*types)
    if len(types) > 1:
        notes.append(f"warning: number types {', '.join(types)} in one set, all stored as {dtype}; scales may differ")
    masks = sum(s.has_mask for _, s in usable)
    if 0 < masks < len(usable):
        notes.append(f"mask channel dropped: {len(usable) - masks} of {len(usable)} files have no mask")
    return Layout(usual, grey, masks == len(usable), dtype), notes


def _all_notes(usable: list[tuple[Source, Summary]]) -> list[str]:
    return sorted(set().union(*(s.notes for _, s in usable)))


def _shown(summary: Summary, *, grey: bool) -> tuple[str, ...]:
    return ("grey",) if grey and summary.names == RGB else summary.names


def _usual_names(usable: list[tuple[Source, Summary]], *, grey: bool) -> tuple[str, ...]:
    counts: Counter[tuple[str, ...]] = Counter()
    for _, s in usable:
        counts[_shown(s, grey=grey)] += s.images
    return min(counts, key=lambda names: (-counts[names], names))


def _refuse_sizes(usable: list[tuple[Source, Summary]]) -> None:
    sizes: dict[tuple[int, int], list[str]] = {}
    for source, s in usable:
        sizes.setdefault(s.size, []).append(source.name)
    if len(sizes) > 1:
        shown = "; ".join(
            f"{h}x{w}: {len(names)} files, e.g. {names[0]!r}"
            for (h, w), names in sorted(sizes.items(), key=lambda item: -len(item[1]))[:8]
        )
        raise ScanError(
            f"Images of {len(sizes)} sizes in one folder ({shown}).",
            "Resizing would change what the audit measures, so it is left to you: export every image at one size, "
            "keep the sizes in separate folders, or leave files out with --exclude.",
        )


def _write(
    writer: ImageSetWriter,
    listing: Listing,
    summaries: list[Summary],
    layout: Layout,
    reading: Reading,
    pool: ThreadPoolExecutor,
    progress: Progress,
) -> None:
    if "listing" not in writer.finished:
        lost = [Unread(a.name, b.reason) for a, b in zip(listing.sources, summaries, strict=True) if b.reason]
        slices = [item for s in summaries if not s.reason for item in s.unread]
        writer.add("listing", None, [], [*listing.unread, *lost, *slices])
    pieces = _pieces(listing.sources, summaries)
    todo = [(key, sources) for key, sources in pieces if key not in writer.finished]
    whole = [source for key, sources in todo for source in sources if not key.startswith("stack")]
    loaded = ahead(pool, lambda source: _load(source, layout, reading), whole, min(10, 2 + (os.cpu_count() or 1)))
    with progress.task(f"Importing {listing.root.name or 'images'}", len(listing.sources)) as advance:
        advance(sum(len(sources) for key, sources in pieces if key in writer.finished))
        for key, sources in todo:
            if key.startswith("stack"):
                _write_stack(writer, key, sources[0], layout, reading)
            else:
                parts = [part for _ in sources for part in next(loaded)]
                _add_parts(writer, key, parts)
            advance(len(sources))


def _pieces(sources: Sequence[Source], summaries: list[Summary]) -> list[tuple[str, list[Source]]]:
    """Group the usable files, in order, into pieces of about 64 images; a large stack is its own piece."""
    pieces: list[tuple[str, list[Source]]] = []
    room = 0
    for number, (source, summary) in enumerate(zip(sources, summaries, strict=True)):
        if summary.reason or not summary.images:
            continue
        if summary.is_stack:
            pieces.append((f"stack {number}", [source]))
            room = 0
        elif summary.images <= room:
            pieces[-1][1].append(source)
            room -= summary.images
        else:
            pieces.append((f"files {number}", [source]))
            room = IMAGES_PER_PIECE - summary.images
    return pieces


def _write_stack(writer: ImageSetWriter, key: str, source: Source, layout: Layout, reading: Reading) -> None:
    for number, block in enumerate(read_source(source)):
        if f"{key}.{number}" not in writer.finished:
            _add_parts(writer, f"{key}.{number}", [_fitted(source, block, layout, reading)])
    writer.add(key, None, [])


def _load(source: Source, layout: Layout, reading: Reading) -> list[tuple[NDArray[Any], list[ImageRow]]]:
    try:
        return [_fitted(source, block, layout, reading) for block in read_source(source)]
    except Unusable as error:
        raise ScanError(
            f"{source.name} changed while it was read: {error}.",
            "Run the same command again when nothing writes there.",
        ) from error


def _fitted(source: Source, block: Block, layout: Layout, reading: Reading) -> tuple[NDArray[Any], list[ImageRow]]:
    """Return the block's pixels in the set's channels and number type, without excluded images."""
    rows = reading.rows(source, block)
    kept = [i for i, row in enumerate(rows) if row.image_id not in reading.exclude]
    if len(kept) < len(rows):
        block, rows = block.keep(kept), [rows[i] for i in kept]
    pixels = block.pixels[:, :1] if layout.grey and block.names == RGB else block.pixels
    pixels = pixels.astype(layout.dtype, copy=False)
    if layout.masks and block.mask is not None:
        pixels = np.concatenate([pixels, block.mask[:, None].astype(layout.dtype)], axis=1)
    return pixels, rows


def _add_parts(writer: ImageSetWriter, key: str, parts: list[tuple[NDArray[Any], list[ImageRow]]]) -> None:
    rows = [row for _, rows in parts for row in rows]
    writer.add(key, np.concatenate([pixels for pixels, _ in parts]) if rows else None, rows)


def _counts(summaries: list[Summary]) -> list[str]:
    empty = sum(s.empty for s in summaries if not s.reason)
    return [f"{empty} slices with less than 1 % foreground left out"] if empty else []


def _one_subject(writer: ImageSetWriter, reading: Reading) -> list[str]:
    subjects = {row.subject for row in writer.rows}
    if not reading.needs_subject or len(subjects) != 1 or len(writer.rows) < 2:
        return []
    return [
        f"warning: all {len(writer.rows)} images count as one subject, {min(subjects)!r}; if that is wrong, give "
        "--subject-pattern, a subjects.csv, or in an NPZ file the array subjects"
    ]


def _slice_number(source: Source, block: Block, i: int) -> int:
    """Return the place within the volume: for pictures the number that ends the file name."""
    if block.kind != "picture" or block.numbers[i]:
        return block.numbers[i]
    digits = re.search(r"(\d{1,9})$", stem(source.path.name))
    return int(digits[1]) if digits else 0
