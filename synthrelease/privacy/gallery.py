"""The train set made searchable: descriptors, FAISS indexes, images ready for confirmation, parts."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from synthrelease import store
from synthrelease.features.analysis import VERSION as ANALYSIS_VERSION
from synthrelease.features.analysis import analysis_images, analysis_masks
from synthrelease.features.extract import features_of
from synthrelease.features.interface import Extractor
from synthrelease.image_set import MASK, ImageSet
from synthrelease.privacy import confirmation, parts
from synthrelease.privacy.confirmation import Matches, Prepared, keep_to_one_thread, one_thread_each
from synthrelease.privacy.neighbours import Index, Whitening, fit_whitening, union
from synthrelease.privacy.parts import PartMatches, PatchSearch, TumourSearch
from synthrelease.privacy.queries import Queries, of_set
from synthrelease.progress import Progress

PREPARE_BLOCK = 128
SCREEN_VERSION = 1
Made = TypeVar("Made")


@dataclass(frozen=True)
class Frame:
    """How images of all three roles are brought into comparable form, and where results are kept."""

    channels: tuple[str, ...]
    size: int
    cache: Path
    progress: Progress

    def prepare(self, pixels: NDArray[np.generic]) -> NDArray[np.float32]:
        """Return stored pixels (k, c, h, w), all channels of the set already chosen, in [0, 1]."""
        return analysis_images(pixels, self.size)


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
    def searches(self) -> list[tuple[Extractor, Whitening, Index]]:
        """One whitened index per extractor."""
        found = []
        for extractor, features in zip(self.extractors, self.features, strict=True):
            whiten = fit_whitening(features)
            found.append((extractor, whiten, Index(whiten(features))))
        return found

    @cached_property
    def boxes(self) -> parts.Boxes:
        """Tumour boxes (n, 4) of the train images; zeros where there is none."""
        return _boxes_of(self.images, self.frame)

    @cached_property
    def patches(self) -> PatchSearch:
        """The search on patches."""
        return PatchSearch(self.prepared)

    @cached_property
    def tumours(self) -> TumourSearch:
        """The search on tumours."""
        return TumourSearch(self.prepared, self.boxes)

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
            mirrored = None
            if not extractor.info.mirror_invariant:
                mirrored = whiten(extractor.embed(np.ascontiguousarray(images[..., ::-1])))
            found.append(index.nearest(whiten(extractor.embed(images)), k, mirrored)[0])
        return union(found)

    def screen(self, queries: Queries, k: int, *, whole: bool = True, with_parts: bool = True) -> Screened:
        """Return the best match of every query; finished blocks are kept and never made again."""
        with_parts = with_parts and self.with_parts
        made_from = ["screen", self.key, queries.key, k, whole, with_parts]

        def make(folder: Path) -> None:
            def block(span: tuple[int, int]) -> int:
                place = folder / f"block-{span[0]}.npz"
                if not place.exists():
                    found: dict[str, Any] = self._screen_block(queries, *span, k, whole, with_parts)
                    with store.atomic_path(place) as partial:
                        np.savez(partial, allow_pickle=False, **found)
                return span[1] - span[0]

            # Built here, once: workers that found it missing would each build their own.
            self._build(whole, with_parts)
            with self.frame.progress.task(f"Searching {queries.name}", queries.count) as advance:
                for done in side_by_side(block, queries.blocks()):
                    advance(done)

        def read(folder: Path) -> Screened:
            blocks = []
            for start, _ in queries.blocks():
                with np.load(folder / f"block-{start}.npz", allow_pickle=False) as block:
                    blocks.append({name: block[name] for name in block.files})
            return _joined(blocks)

        return store.kept(self.frame.cache, "screen", made_from, make, read)

    def _build(self, whole: bool, with_parts: bool) -> tuple[object, ...]:
        """Touch every index that the search needs."""
        return (self.searches if whole else None, (self.patches, self.tumours) if with_parts else None)

    def _screen_block(
        self, queries: Queries, start: int, stop: int, k: int, whole: bool, with_parts: bool
    ) -> dict[str, NDArray[np.generic]]:
        images, masks = queries.load(start, stop)
        prepared = confirmation.prepare(images)
        empty = np.full((len(images), 1), -1)
        matches = confirmation.confirm(prepared, self.prepared, self.candidates(images, k) if whole else empty)
        patch = self.patches.match(prepared) if with_parts else parts.no_matches(len(images))
        boxes = np.zeros((len(images), 4), np.float32) if masks is None else parts.tumour_boxes(masks)
        tumour = self.tumours.match(prepared, boxes) if with_parts else parts.no_matches(len(images))
        area = (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1]) / confirmation.SIZE**2
        found = {f"whole_{name}": value for name, value in vars(matches).items()}
        found |= {f"patch_{name}": value for name, value in vars(patch).items()}
        found |= {f"tumour_{name}": value for name, value in vars(tumour).items()}
        return found | {"area": area.astype(np.float64)}


def side_by_side(work: Callable[[tuple[int, int]], int], spans: Iterable[tuple[int, int]]) -> Iterator[int]:
    """Yield what ``work`` returns for each span, in order; spans run on as many threads as torch may use."""
    with one_thread_each() as workers, ThreadPoolExecutor(workers, initializer=keep_to_one_thread) as pool:
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
        prepare=lambda pixels: frame.prepare(pixels[:, rows]),
        key=[ANALYSIS_VERSION, frame.channels, frame.size],
        cache=frame.cache,
        progress=frame.progress,
    )


def prepared_set(images: ImageSet, frame: Frame, role: str = "train") -> Prepared:
    """Return a whole set ready for confirmation, memory-mapped from the cache."""
    queries = of_set("prepare", images, frame.channels, frame.size)

    def make(folder: Path) -> None:
        tables: dict[str, NDArray[np.generic]] = {}
        with frame.progress.task(f"Preparing {role} images", len(images)) as done:
            for start, stop in queries.blocks():
                block = confirmation.prepare(queries.load(start, stop)[0])
                for name, part in vars(block).items():
                    if name not in tables:
                        tables[name] = np.lib.format.open_memmap(
                            folder / f"{name}.npy", mode="w+", dtype=part.dtype, shape=(len(images), *part.shape[1:])
                        )
                    tables[name][start:stop] = part
                done(stop - start)

    def read(folder: Path) -> Prepared:
        names = Prepared.__annotations__
        return Prepared(**{n: np.load(folder / f"{n}.npy", mmap_mode="r", allow_pickle=False) for n in names})

    made_from = [confirmation.VERSION, queries.key]
    return store.kept(frame.cache, "prepared", made_from, make, read)


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
