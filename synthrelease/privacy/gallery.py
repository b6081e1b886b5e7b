"""The train set made searchable: descriptors, FAISS indexes, images ready for confirmation, parts."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from synthrelease import memory, store
from synthrelease.features.analysis import VERSION as ANALYSIS_VERSION
from synthrelease.features.analysis import analysis_images, analysis_masks
from synthrelease.features.extract import features_of
from synthrelease.features.interface import Extractor
from synthrelease.image_set import MASK, ImageSet
from synthrelease.mapped import New
from synthrelease.privacy import confirmation, parts
from synthrelease.privacy.confirmation import Matches, Prepared, keep_to_one_thread, one_thread_each
from synthrelease.privacy.neighbours import Index, Whitening, nearest_across, shards_of, union
from synthrelease.privacy.neighbours import Queries as Described
from synthrelease.privacy.parts import PartMatches, PatchSearch, PatchTables, TumourSearch, TumourTables
from synthrelease.privacy.queries import Queries, of_set
from synthrelease.privacy.tables import Whitened, kept, kept_whitened
from synthrelease.progress import SILENT, Advance, Progress
from synthrelease.workers import HERE, Workers

PREPARE_BLOCK = 128
SCREEN_VERSION = 2
LEAST_SHARD = 4096  # train rows: smaller shards cost more in travel than they save in search
Span = tuple[int, int]
Made = TypeVar("Made")


@dataclass(frozen=True)
class Frame:
    """How images of all three roles are brought into comparable form, and where results are kept."""

    channels: tuple[str, ...]
    size: int
    cache: Path
    progress: Progress
    workers: Workers = HERE

    def prepare(self, pixels: NDArray[np.generic]) -> NDArray[np.float32]:
        """Return stored pixels (k, c, h, w), all channels of the set already chosen, in [0, 1]."""
        return analysis_images(pixels, self.size)

    def __reduce__(self) -> tuple[Any, ...]:
        """Travel to a worker, which tells nobody and gives no work away."""
        return _frame_there, (self.channels, self.size, str(self.cache))


def _frame_there(channels: tuple[str, ...], size: int, cache: str) -> Frame:
    """Return the frame on a worker: with the cache it came from, or, on a machine without that folder, its own."""
    there = Path(cache)
    return Frame(channels, size, there if there.is_dir() else store.cache_folder(), SILENT)


@dataclass(frozen=True)
class Screened:
    """What the search found for each query."""

    whole: Matches
    patch: PartMatches
    tumour: PartMatches
    tumour_area: NDArray[np.float64]  # (n,) box area as a share of the image; 0 without a tumour


class Gallery:
    """The train images, ready to be searched by `screen`.

    Indexes are built when a block has to be searched, so that a run whose results are all in the cache is quick.
    """

    def __init__(self, images: ImageSet, extractors: Sequence[Extractor], frame: Frame, *, with_parts: bool) -> None:
        self.images = images
        self.frame = frame
        self.extractors = tuple(extractors)
        self.features = [features_for(images, extractor, frame) for extractor in extractors]
        self.prepared = prepared_set(images, frame)
        self.with_parts = with_parts

    @cached_property
    def whitened(self) -> list[Whitened]:
        """The features that are searched, one table per extractor."""
        known = zip(self.extractors, self.features, strict=True)
        return [kept_whitened(self.frame.cache, features, self._shaped, e.info) for e, features in known]

    @cached_property
    def searches(self) -> list[tuple[Extractor, Whitening, Index]]:
        """One whitened index per extractor."""
        known = zip(self.extractors, self.whitened, strict=True)
        return [(extractor, table.whitening, Index(table.features)) for extractor, table in known]

    @cached_property
    def patches(self) -> PatchSearch:
        """The search on patches."""

        def make(new: New) -> PatchTables:
            with self.frame.progress.task("Describing patches of train images", len(self.images)) as advance:
                return PatchTables.of(self.prepared, new, advance)

        made_from = [confirmation.VERSION, parts.VERSION, self._shaped]
        return PatchSearch(self.prepared, kept(self.frame.cache, "patches", made_from, PatchTables, make))

    @cached_property
    def tumours(self) -> TumourSearch:
        """The search on tumours."""

        def make(new: New) -> TumourTables:
            return TumourTables.of(self.prepared, _boxes_of(self.images, self.frame), new)

        made_from = [confirmation.VERSION, parts.VERSION, self._shaped]
        return TumourSearch(self.prepared, kept(self.frame.cache, "tumours", made_from, TumourTables, make))

    @property
    def boxes(self) -> parts.Boxes:
        """Tumour boxes (n, 4) of the train images; zeros where there is none."""
        return self.tumours.tables.boxes

    @property
    def _shaped(self) -> object:
        """What shapes any table of these train images."""
        return [ANALYSIS_VERSION, self.images.content, self.images.channels, self.frame.channels, self.frame.size]

    @property
    def key(self) -> object:
        """Everything that shapes what a search in this gallery finds."""
        infos = [asdict(extractor.info) for extractor in self.extractors]
        versions = [ANALYSIS_VERSION, confirmation.VERSION, parts.VERSION, SCREEN_VERSION]
        return [self.images.content, self.frame.channels, self.frame.size, infos, versions]

    def candidates(self, images: NDArray[np.float32], k: int) -> NDArray[np.int64]:
        """Return candidate train rows (n, K) of images (n, c, s, s): the union over descriptors."""
        found = []
        for extractor, whiten, index in self.searches:
            looked_for = described(images, extractor, whiten, k)
            found.append(index.nearest(looked_for.features, k, looked_for.mirrored)[0])
        return union(found)

    def screen(self, queries: Queries, k: int, *, whole: bool = True, with_parts: bool = True) -> Screened:
        """Return the best match of every query; finished blocks are kept and never made again."""
        with_parts = with_parts and self.with_parts
        made_from = ["screen", self.key, queries.key, k, whole, with_parts]

        def make(folder: Path) -> None:
            with self.frame.progress.task(f"Searching {queries.name}", queries.count) as advance:
                todo = [span for span in queries.blocks() if not _block_file(folder, span).exists()]
                advance(queries.count - sum(stop - start for start, stop in todo))
                if self.frame.workers is HERE:
                    self._screen_here(folder, queries, todo, (k, whole, with_parts), advance)
                else:
                    self._screen_there(folder, queries, todo, (k, whole, with_parts), advance)

        def read(folder: Path) -> Screened:
            blocks = []
            for start, _ in queries.blocks():
                with np.load(folder / f"block-{start}.npz", allow_pickle=False) as block:
                    blocks.append({name: block[name] for name in block.files})
            return _joined(blocks)

        return store.kept(self.frame.cache, "screen", made_from, make, read)

    def _screen_here(
        self, folder: Path, queries: Queries, todo: Sequence[Span], what: tuple[int, bool, bool], advance: Advance
    ) -> None:
        k, whole, with_parts = what
        # Built here, once: threads that found an index missing would each build their own.
        _ = (self.searches if whole else None, (self.patches, self.tumours) if with_parts else None)

        def block(span: Span) -> int:
            _keep_block(folder, span, self.screen_block(queries, span, k if whole else 0, None, with_parts))
            return span[1] - span[0]

        for done in side_by_side(block, todo):
            advance(done)

    def _screen_there(
        self, folder: Path, queries: Queries, todo: Sequence[Span], what: tuple[int, bool, bool], advance: Advance
    ) -> None:
        """Search on a cluster: train's descriptors in shards, everything else block by block of the queries."""
        k, whole, with_parts = what
        workers = self.frame.workers
        job = ScreenJob(self.images, self.extractors, self.frame, self.with_parts, queries, with_parts)
        whitenings = [table.whitening for table in self.whitened] if whole else []
        found: list[NDArray[np.int64]] = []
        parts_of = list(workers.each(ScreenJob.describe, job, [(span, whitenings, k) for span in todo]))
        for place, table in enumerate(self.whitened if whole else ()):
            features = np.concatenate([part[place].features for part in parts_of])
            flipped = [part[place].mirrored for part in parts_of]
            mirrored = None if flipped[0] is None else np.concatenate([part for part in flipped if part is not None])
            rows = max(LEAST_SHARD, -(-len(self.images) // workers.count))
            shards = shards_of(table.features, rows)
            found.append(nearest_across(shards, Described(features, k, mirrored), workers)[0])
        pieces, first = [], 0
        for span in todo:
            size = span[1] - span[0]
            of_span = [rows[first : first + size] for rows in found]
            pieces.append((span, union(of_span) if whole else np.full((size, 1), -1)))
            first += size
        for span, block in zip(todo, workers.each(ScreenJob.block, job, pieces), strict=True):
            _keep_block(folder, span, block)
            advance(span[1] - span[0])

    def screen_block(
        self, queries: Queries, span: Span, k: int, candidates: NDArray[np.int64] | None, with_parts: bool
    ) -> dict[str, Any]:
        """Return the best matches of one block of queries, as tables by name.

        Args:
            queries: What is searched.
            span: First row and end of the block.
            k: Candidates per descriptor; 0: no whole image is searched.
            candidates: (n, K) train rows, where they were looked for elsewhere; None: they are looked for here.
            with_parts: Search patches and tumours as well.
        """
        images, masks = queries.load(*span)
        prepared = confirmation.prepare(images)
        if candidates is None:
            candidates = self.candidates(images, k) if k else np.full((len(images), 1), -1)
        matches = confirmation.confirm(prepared, self.prepared, candidates)
        patch = self.patches.match(prepared) if with_parts else parts.no_matches(len(images))
        boxes = np.zeros((len(images), 4), np.float32) if masks is None else parts.tumour_boxes(masks)
        tumour = self.tumours.match(prepared, boxes) if with_parts else parts.no_matches(len(images))
        area = (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1]) / confirmation.SIZE**2
        found = {f"whole_{name}": value for name, value in vars(matches).items()}
        found |= {f"patch_{name}": value for name, value in vars(patch).items()}
        found |= {f"tumour_{name}": value for name, value in vars(tumour).items()}
        return found | {"area": area.astype(np.float64)}


@dataclass(frozen=True)
class ScreenJob:
    """What a worker of a cluster needs to search any block of queries; it opens the train images by their folder."""

    train: ImageSet
    extractors: tuple[Extractor, ...]
    frame: Frame
    with_parts: bool
    queries: Queries
    parts_wanted: bool

    def describe(self, piece: tuple[Span, list[Whitening], int]) -> list[Described]:
        """Return a block's whitened descriptors, one for each extractor."""
        span, whitenings, k = piece
        if not whitenings:
            return []
        keep_to_one_thread()
        images = self.queries.load(*span)[0]
        return [described(images, e, w, k) for e, w in zip(self.extractors, whitenings, strict=True)]

    def block(self, piece: tuple[Span, NDArray[np.int64]]) -> dict[str, Any]:
        """Return the best matches of one block, whose candidates are known."""
        span, candidates = piece
        keep_to_one_thread()
        with _ONE_GALLERY:  # threads of a worker share it
            gallery = _gallery_there(self)
            _ = (gallery.patches, gallery.tumours) if self.parts_wanted else None
        return gallery.screen_block(self.queries, span, 0, candidates, self.parts_wanted)


_ONE_GALLERY = threading.Lock()
_GALLERIES: dict[str, Gallery] = {}


def _gallery_there(job: ScreenJob) -> Gallery:
    """Return this worker's gallery of the job's train images; only the latest is held."""
    key = f"{job.train.content} {job.frame.channels} {job.frame.size} {job.with_parts}"
    if key not in _GALLERIES:
        _GALLERIES.clear()
        _GALLERIES[key] = Gallery(job.train, (), job.frame, with_parts=job.with_parts)
    return _GALLERIES[key]


def described(images: NDArray[np.float32], extractor: Extractor, whiten: Whitening, k: int) -> Described:
    """Return what to look for so that images (n, c, s, s) find their k nearest train images."""
    mirrored = None
    if not extractor.info.mirror_invariant:
        mirrored = whiten(extractor.embed(np.ascontiguousarray(images[..., ::-1])))
    return Described(whiten(extractor.embed(images)), k, mirrored)


def _block_file(folder: Path, span: Span) -> Path:
    return folder / f"block-{span[0]}.npz"


def _keep_block(folder: Path, span: Span, found: dict[str, Any]) -> None:
    with store.atomic_path(_block_file(folder, span)) as partial:
        np.savez(partial, allow_pickle=False, **found)


def side_by_side(work: Callable[[tuple[int, int]], int], spans: Iterable[tuple[int, int]]) -> Iterator[int]:
    """Yield what ``work`` returns for each span, in order; spans run on as many threads as torch and memory allow."""
    with contextlib.ExitStack() as stack:
        count = memory.blocks_at_once(stack.enter_context(one_thread_each()))
        pool = stack.enter_context(ThreadPoolExecutor(count, initializer=keep_to_one_thread))
        try:
            yield from pool.map(work, spans)
        finally:
            pool.shutdown(cancel_futures=True)  # Ctrl-C ends after the blocks in hand, which are kept


def features_for(images: ImageSet, extractor: Extractor, frame: Frame) -> NDArray[np.float32]:
    """Return the features (n, d) of an image set, memory-mapped from the cache."""
    rows = [images.channels.index(name) for name in frame.channels]
    return features_of(
        images,
        extractor,
        prepare=partial(_prepared, rows=rows, size=frame.size),
        key=[ANALYSIS_VERSION, frame.channels, frame.size],
        cache=frame.cache,
        progress=frame.progress,
        workers=frame.workers,
    )


def _prepared(pixels: NDArray[Any], *, rows: Sequence[int], size: int) -> NDArray[np.float32]:
    return analysis_images(pixels[:, rows], size)


def prepared_set(images: ImageSet, frame: Frame, role: str = "train") -> Prepared:
    """Return a whole set ready for confirmation, memory-mapped from the cache."""
    queries = of_set("prepare", images, frame.channels, frame.size)

    def make(new: New) -> Prepared:
        tables: dict[str, NDArray[Any]] = {}
        with frame.progress.task(f"Preparing {role} images", len(images)) as done:
            for start, stop in queries.blocks():
                block = confirmation.prepare(queries.load(start, stop)[0])
                for name, part in vars(block).items():
                    if name not in tables:
                        tables[name] = new(name, (len(images), *part.shape[1:]), part.dtype)
                    tables[name][start:stop] = part
                done(stop - start)
        return Prepared(**tables)

    return kept(frame.cache, "prepared", [confirmation.VERSION, queries.key], Prepared, make)


def prepared_rows(images: ImageSet, frame: Frame, rows: NDArray[np.int64]) -> Prepared:
    """Return some rows of a set ready for confirmation, in the order given, without preparing the others."""
    blocks = (rows[start : start + PREPARE_BLOCK] for start in range(0, len(rows), PREPARE_BLOCK))
    made = [confirmation.prepare(frame.prepare(images.read(block.tolist(), frame.channels))) for block in blocks]
    return confirmation.joined(made)


def _boxes_of(images: ImageSet, frame: Frame) -> parts.Boxes:
    if MASK not in images.channels:
        return np.zeros((len(images), 4), np.float32)
    masks = (analysis_masks(block[:, 0], frame.size) for block in images.blocks(PREPARE_BLOCK, (MASK,)))
    return np.concatenate([parts.tumour_boxes(block) for block in masks])


def _joined(blocks: list[dict[str, NDArray[np.generic]]]) -> Screened:
    whole = {name: np.concatenate([b[name] for b in blocks]) for name in blocks[0]}

    def chosen(prefix: str) -> dict[str, NDArray[np.generic]]:
        return {name.removeprefix(prefix): value for name, value in whole.items() if name.startswith(prefix)}

    return Screened(
        Matches(**chosen("whole_")),  # type: ignore[arg-type]
        PartMatches(**chosen("patch_")),  # type: ignore[arg-type]
        PartMatches(**chosen("tumour_")),  # type: ignore[arg-type]
        whole["area"].astype(np.float64),
    )
