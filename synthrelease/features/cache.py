"""What the user's cache holds, and emptying it."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path

from synthrelease import store

PATIENTS = (
    "The cache holds data of real patients (features and intermediate images); "
    "it is readable by its owner alone and must not be shared or backed up elsewhere."
)
WEIGHTS = "weights"


@dataclass(frozen=True)
class CacheKind:
    """One kind of entry, e.g. features."""

    kind: str
    entries: int
    bytes: int


@dataclass(frozen=True)
class CacheContent:
    """What is there, where, and the warning that belongs to it; `removed_bytes` after clearing."""

    folder: Path
    kinds: tuple[CacheKind, ...]
    bytes: int
    note: str
    removed_bytes: int = 0


def show_cache(removed_bytes: int = 0) -> CacheContent:
    """Return the size of each kind of entry. Links are counted as links, never followed."""
    folder = store.cache_folder()
    sizes: dict[str, list[int]] = {}
    for kind, entry in _entries(folder):
        sizes.setdefault(kind, []).append(_size(entry))
    kinds = tuple(CacheKind(kind, len(sizes[kind]), sum(sizes[kind])) for kind in sorted(sizes))
    return CacheContent(folder, kinds, sum(kind.bytes for kind in kinds), PATIENTS, removed_bytes)


def clear_cache(*, weights: bool = False) -> CacheContent:
    """Delete everything but imported weights (those too with ``weights``); return what is left."""
    folder = store.cache_folder()
    before = show_cache().bytes
    with store.disk_errors(folder):
        for kind, entry in _entries(folder):
            if kind != WEIGHTS or weights:
                shutil.rmtree(entry) if entry.is_dir() and not entry.is_symlink() else entry.unlink()
    after = show_cache()
    return show_cache(before - after.bytes)


def _entries(folder: Path) -> list[tuple[str, Path]]:
    """Return (kind, path): `weights/NAME` is one entry, anything else is named before its first hyphen."""
    entries = []
    for place in sorted(folder.iterdir()):
        if place.name == WEIGHTS and place.is_dir():
            entries += [(WEIGHTS, inner) for inner in sorted(place.iterdir())]
        else:
            partial = place.name.endswith(".partial")
            entries.append(("unfinished" if partial else place.name.split("-")[0].lstrip("."), place))
    return entries


def _size(entry: Path) -> int:
    if entry.is_symlink() or not entry.is_dir():
        return entry.lstat().st_size
    return sum(file.lstat().st_size for file in entry.rglob("*") if not file.is_dir() or file.is_symlink())
