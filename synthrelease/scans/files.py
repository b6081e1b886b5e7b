"""Which files of a folder are images, which are masks beside them, and which cannot be used."""

from __future__ import annotations

import os
import re
import stat
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from synthrelease.errors import ScanError
from synthrelease.image_set import Unread
from synthrelease.scans import brats
from synthrelease.scans.readers import FORMATS, KNOWN, extension, stem

SUBJECTS_FILE = "subjects.csv"
_IGNORED = {".txt", ".csv", ".json", ".md", ".xml", ".html", ".log", ".yaml", ".yml", ".toml", ".pdf", ".xlsx", ".tsv"}


@dataclass(frozen=True)
class Source:
    """One image file with its mask, or one BraTS case; ``name`` is relative to the folder, with slashes."""

    name: str
    path: Path
    mask: Path | None = None
    case: brats.Case | None = None

    @property
    def paths(self) -> tuple[Path, ...]:
        """Every file behind this source."""
        if self.case is not None:
            return tuple(path for _, path in self.case.files)
        return (self.path,) if self.mask is None else (self.path, self.mask)


@dataclass
class Listing:
    """What a folder holds, in the order of names."""

    root: Path
    sources: list[Source] = field(default_factory=list)
    unread: list[Unread] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    excluded: set[str] = field(default_factory=set)  # names from the user's list that were met


def list_sources(folder: Path, exclude: Sequence[str] = ()) -> Listing:
    """Return the image files of a folder (or the one file given), without those excluded by name.

    Hidden files and known text files are ignored, other extensions are noted, links that lead out of
    the folder are listed as unread.

    Raises:
        ScanError: the folder is missing or holds no image.
    """
    root = folder.parent if folder.is_file() else folder
    listing = Listing(root)
    if folder.is_file():
        paths = [folder]
    elif folder.is_dir():
        paths = _walk(root, listing)
    else:
        raise ScanError(f"{folder} does not exist.", f"Give a folder of images ({FORMATS}) or a prepared image set.")
    paths = _leave_out(paths, set(exclude), listing)
    images = _images(paths, listing)
    listing.sources = _cases(images, set(exclude), listing) if brats.is_brats(images) else _pairs(images, listing)
    if not listing.sources:
        found = "; ".join([*listing.notes, *(f"{item.image_id}: {item.reason}" for item in listing.unread[:3])])
        raise ScanError(
            f"{folder} holds no images{f' ({found})' if found else ''}.",
            f"Formats that can be read: {FORMATS}, BraTS folders, and prepared image sets.",
        )
    return listing


def relative(path: Path, root: Path) -> str:
    """Return the path below ``root`` with '/' on every system."""
    return path.relative_to(root).as_posix()


def _walk(root: Path, listing: Listing) -> list[Path]:
    """Return the regular files below ``root``, sorted; what cannot be followed goes to ``listing.unread``."""
    found = []
    hidden = 0
    inside = root.resolve()

    def refuse(error: OSError) -> None:
        name = relative(Path(error.filename), root) if error.filename else root.name
        listing.unread.append(Unread(name, f"the folder cannot be listed: {error.strerror}"))

    for place, folders, names in os.walk(root, onerror=refuse):
        hidden += sum(_is_hidden_image(name) for name in names)
        hidden += sum(name.startswith(".") for name in folders)
        folders[:] = sorted(name for name in folders if not name.startswith((".", "__MACOSX")))
        for name in [n for n in folders if (Path(place) / n).is_symlink()]:
            listing.unread.append(Unread(relative(Path(place) / name, root), "a linked folder, not followed"))
        for path in (Path(place) / name for name in sorted(names) if not name.startswith(".")):
            if path.is_symlink() and not path.resolve().is_relative_to(inside):
                listing.unread.append(Unread(relative(path, root), "a link that leads out of the folder"))
            elif reason := _irregular(path):
                listing.unread.append(Unread(relative(path, root), reason))
            else:
                found.append(path)
    if hidden:
        listing.notes.append(f"hidden images and folders left out, because their names start with a dot: {hidden}")
    return sorted(found, key=lambda path: relative(path, root))


def _is_hidden_image(name: str) -> bool:
    """Say whether a file would be read if its name did not start with a dot; `._x` is what macOS leaves beside x."""
    return name.startswith(".") and not name.startswith("._") and extension(Path(name.lstrip("."))) in KNOWN


def _irregular(path: Path) -> str:
    try:
        mode = path.stat().st_mode
    except OSError as error:
        return f"it cannot be opened: {error.strerror}"
    return "" if stat.S_ISREG(mode) else "not a regular file"  # opening a pipe would wait for ever


def _leave_out(paths: list[Path], exclude: set[str], listing: Listing) -> list[Path]:
    kept = []
    for path in paths:
        name = relative(path, listing.root)
        if name in exclude:
            listing.excluded.add(name)
        else:
            kept.append(path)
    for item in [item for item in listing.unread if item.image_id in exclude]:
        listing.excluded.add(item.image_id)
        listing.unread.remove(item)
    return kept


def _images(paths: list[Path], listing: Listing) -> list[Path]:
    kinds = [(path, extension(path)) for path in paths]
    unknown = Counter(kind or "none" for _, kind in kinds if kind not in KNOWN | _IGNORED)
    if unknown:
        named = ", ".join(f"{count} with {kind}" for kind, count in sorted(unknown.items()))
        listing.notes.append(f"files of other kinds left out by extension: {named}")
    return [path for path, kind in kinds if kind in KNOWN]


def _pairs(images: list[Path], listing: Listing) -> list[Source]:
    """Join every ``X_mask.*`` with the image ``X.*`` beside it."""
    by_stem: dict[tuple[Path, str], list[Path]] = {}
    for path in images:
        by_stem.setdefault((path.parent, stem(path.name)), []).append(path)
    masks: dict[Path, Path] = {}
    owned: set[Path] = set()
    orphans = 0
    for (parent, name), paths in by_stem.items():
        owner = re.fullmatch(r"(.+)_mask", name, re.I | re.S)
        if owner is None:
            continue
        beside = by_stem.get((parent, owner[1]), [])
        masks |= dict.fromkeys(beside, paths[0])
        owned |= set(paths)
        orphans += 0 if beside else len(paths)
    if orphans:
        listing.notes.append(f"{orphans} mask files without an image beside them left out")
    return [Source(relative(path, listing.root), path, masks.get(path)) for path in images if path not in owned]


def _cases(images: list[Path], exclude: set[str], listing: Listing) -> list[Source]:
    cases, others = brats.find_cases(images)
    if others:
        shown = ", ".join(relative(path, listing.root) for path in others[:3])
        listing.notes.append(f"{len(others)} files without a BraTS name left out ({shown})")
    listing.excluded |= {case.name for case in cases} & exclude
    return [Source(case.name, case.files[0][1], case=case) for case in cases if case.name not in exclude]
