"""Features of a whole image set, in blocks, cached by everything that shaped them."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from synthrelease import store
from synthrelease.errors import AuditError
from synthrelease.features.interface import Extractor, NonFiniteFeatureError
from synthrelease.features.on_device import pinned
from synthrelease.image_set import ImageSet
from synthrelease.mapped import new_array
from synthrelease.progress import SILENT, Progress
from synthrelease.workers import HERE, Workers

VERSION = 1
BLOCK = 64  # images a block: four Zarr chunks, and little to lose when interrupted

Prepare = Callable[[NDArray[Any]], NDArray[np.float32]]


def features_of(
    images: ImageSet,
    extractor: Extractor,
    *,
    prepare: Prepare,
    key: object,
    cache: Path,
    progress: Progress = SILENT,
    mirrored: bool = False,
    workers: Workers = HERE,
) -> NDArray[np.float32]:
    """Return the features (n, d) of every image, memory-mapped, in the set's order.

    Made block by block and kept: an interrupted run continues, a second run reads. The next block is read and
    prepared while this one is embedded.

    Args:
        images: The set; pixels as stored.
        extractor: Turns prepared images into features.
        prepare: Maps a block as stored (k, c, h, w) to float32 (k, c', h', w') in [0, 1].
        key: JSON-able name and settings of ``prepare``: it shapes the features, so it names them too.
        cache: Folder to keep features in; they are data of real patients.
        progress: Hears of blocks, and of a damaged cache entry.
        mirrored: Embed the left-right mirror images (the same features where the extractor cannot tell).
        workers: Who embeds; on a cluster ``prepare`` and the extractor travel there.

    Raises:
        AuditError: The set is empty, a feature is not finite (its image is named), or ``prepare`` lost images.
    """
    if len(images) == 0:
        raise AuditError("There are no images to embed.", "Give a set with at least one image.")
    mirrored = mirrored and not extractor.info.mirror_invariant
    made_from = {
        "version": VERSION,
        "content": images.content,
        "channels": images.channels,
        "extractor": asdict(extractor.info),
        "prepare": key,
        "mirrored": mirrored,
    }

    def make(folder: Path) -> None:
        with progress.task(f"Embedding ({extractor.info.name})", len(images)) as advance:
            if workers is HERE:
                for start, block in _blocks(images, prepare, folder, mirrored):
                    if block is not None:
                        _write_block(folder, start, _embed(extractor, block, images, start))
                    advance(min(BLOCK, len(images) - start))
            else:
                job = EmbeddingJob(images, extractor, prepare, mirrored)
                missing = [s for s in range(0, len(images), BLOCK) if not _block_file(folder, s).is_file()]
                advance(len(images) - sum(min(BLOCK, len(images) - start) for start in missing))
                for start, features in zip(missing, workers.each(EmbeddingJob.block, job, missing), strict=True):
                    _write_block(folder, start, features)
                    advance(len(features))
        _join(folder, len(images))

    store.private_folder(cache)
    entry = store.result(cache, "features", made_from, make)
    if not _is_whole(entry, len(images)):
        progress.say(f"Cached features {entry.name} are damaged and are made again.")
        shutil.rmtree(entry)
        entry = store.result(cache, "features", made_from, make)
    features: NDArray[np.float32] = np.load(entry / "features.npy", mmap_mode="r", allow_pickle=False)
    return features


@dataclass(frozen=True)
class EmbeddingJob:
    """What a worker needs to embed any block of a set."""

    images: ImageSet
    extractor: Extractor
    prepare: Prepare
    mirrored: bool

    def block(self, start: int) -> NDArray[np.float32]:
        """Return the features (k, d) of the block that starts at a row."""
        prepared = _prepared(self.images.read(slice(start, start + BLOCK)), self.prepare, self.mirrored)
        return _embed(self.extractor, prepared, self.images, start)


def _prepared(stored: NDArray[Any], prepare: Prepare, mirrored: bool) -> NDArray[np.float32]:
    prepared = prepare(stored)
    if prepared.ndim != 4 or len(prepared) != len(stored):
        raise AuditError(f"Preparing {stored.shape} images gave {prepared.shape}; expected the same number.")
    return np.ascontiguousarray(prepared[..., ::-1]) if mirrored else prepared


def _blocks(
    images: ImageSet, prepare: Prepare, folder: Path, mirrored: bool
) -> Iterator[tuple[int, NDArray[np.float32] | None]]:
    """Yield each block's first row and prepared pixels, or None where its features are there already."""

    def read(start: int) -> NDArray[np.float32] | None:
        if _block_file(folder, start).is_file():
            return None
        # Here, not in the extractor: it is done while the block before this one is embedded.
        return pinned(_prepared(images.read(slice(start, start + BLOCK)), prepare, mirrored))

    starts = range(0, len(images), BLOCK)
    with ThreadPoolExecutor(1, "read-images") as reader:
        pending = reader.submit(read, 0)
        for start in starts:
            block = pending.result()
            if start + BLOCK < len(images):
                pending = reader.submit(read, start + BLOCK)
            yield start, block


def _embed(extractor: Extractor, block: NDArray[np.float32], images: ImageSet, start: int) -> NDArray[np.float32]:
    try:
        features = extractor.embed(block)
    except NonFiniteFeatureError as error:
        raise NonFiniteFeatureError(start + error.row, images.rows[start + error.row].image_id) from error
    if features.ndim != 2 or len(features) != len(block):
        raise AuditError(f"{extractor.info.name} gave features {features.shape} for {len(block)} images.")
    rows = np.flatnonzero(~np.isfinite(features).all(1))  # an outsider's extractor may not check
    if rows.size:
        raise NonFiniteFeatureError(start + int(rows[0]), images.rows[start + int(rows[0])].image_id)
    return features.astype(np.float32, copy=False)


def _block_file(folder: Path, start: int) -> Path:
    return folder / f"block-{start:09d}.npy"


def _write_block(folder: Path, start: int, features: NDArray[np.float32]) -> None:
    with store.atomic_path(_block_file(folder, start)) as partial, partial.open("wb") as file:
        np.save(file, features, allow_pickle=False)


def _join(folder: Path, count: int) -> None:
    """Write all blocks as one array, with its size and SHA-256 beside it; then drop the blocks."""
    files = [_block_file(folder, start) for start in range(0, count, BLOCK)]
    width = np.load(files[0], mmap_mode="r", allow_pickle=False).shape[1]
    with store.atomic_path(folder / "features.npy") as partial:
        whole = new_array(partial, (count, width), np.float32)
        for number, file in enumerate(files):
            whole[number * BLOCK : (number + 1) * BLOCK] = np.load(file, allow_pickle=False)
        whole.flush()
        del whole
        seal = {"bytes": partial.stat().st_size, "sha256": store.sha256_of(partial)}
    store.write_text(folder / "seal.json", json.dumps(seal))
    for file in files:
        file.unlink(missing_ok=True)


def _is_whole(entry: Path, count: int) -> bool:
    """Compare size first, then the hash, with what was recorded."""
    try:
        seal = json.loads((entry / "seal.json").read_text(encoding="utf-8"))
        file = entry / "features.npy"
        if file.stat().st_size != seal["bytes"] or store.sha256_of(file) != seal["sha256"]:
            return False
        return len(np.load(file, mmap_mode="r", allow_pickle=False)) == count
    except (OSError, ValueError, KeyError, TypeError, RecursionError, EOFError):
        return False
