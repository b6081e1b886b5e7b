"""What an audit needs before it starts: the three roles opened, the extractors chosen, versions noted."""

from __future__ import annotations

import datetime
import difflib
import hashlib
import os
import platform
from collections.abc import Sequence
from dataclasses import dataclass, replace
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from synthrelease import __version__
from synthrelease.errors import DecisionError, IntegrityError, ScanError, SettingsError
from synthrelease.image_set import MASK, ImageRow, ImageSet, from_arrays, is_image_set
from synthrelease.object_storage import absolute
from synthrelease.progress import Progress
from synthrelease.records import AuditRecord, MadeWith
from synthrelease.release_records import Source, Sources
from synthrelease.settings import AuditSettings

if TYPE_CHECKING:
    from synthrelease.features.interface import Extractor

PACKAGES = ("torch", "numpy", "scipy", "scikit-learn", "faiss-cpu", "zarr", "nibabel", "pillow")
EMBEDDED = "embedded"  # stands for the descriptors that need no download


@dataclass(frozen=True)
class OpenRoles:
    """The three roles as the user named them, and where they lie."""

    train: ImageSet
    holdout: ImageSet | None
    synthetic: ImageSet
    sources: Sources


NOWHERE = Sources(train=Source(path="", content=""), holdout=None, synthetic=Source(path="", content=""))
"""Of images that were audited from memory."""


def open_roles(
    *,
    train: Path,
    holdout: Path | None,
    synthetic: Path,
    settings: AuditSettings,
    cache: Path,
    progress: Progress,
) -> OpenRoles:
    """Return the images of all roles; files left out by name must be in one of them."""
    from synthrelease.scans.folder import left_out

    train_set = open_role(train, settings, cache, progress, real=True)
    holdout_set = None if holdout is None else open_role(holdout, settings, cache, progress, real=True)
    synthetic_set = open_role(synthetic, settings, cache, progress, real=False)
    known = set().union(*(left_out(images) for images in (train_set, holdout_set, synthetic_set) if images is not None))
    unmatched = sorted(set(settings.exclude) - known)
    if unmatched:
        raise SettingsError(
            f"--exclude names what no folder holds: {', '.join(unmatched)}.",
            "Use the path relative to its folder, as the report prints it.",
        )
    sources = Sources(
        train=_source(train, train_set),
        holdout=None if holdout is None or holdout_set is None else _source(holdout, holdout_set),
        synthetic=_source(synthetic, synthetic_set),
        subject_pattern=settings.subject_pattern,
        exclude=settings.exclude,
        weights={name: str(path.absolute()) for name, path in settings.weights.items()},
    )
    return OpenRoles(train_set, holdout_set, synthetic_set, sources)


def open_role(folder: Path, settings: AuditSettings, cache: Path, progress: Progress, *, real: bool) -> ImageSet:
    """Return the images of one folder, with names that can be written."""
    from synthrelease.scans.folder import open_images

    images = open_images(
        folder,
        subject_pattern=settings.subject_pattern,
        needs_subject=real,
        exclude=settings.exclude,
        cache=cache,
        progress=progress,
        must_match=False,
    )
    images = _with_text_names(replace(images, folder=absolute(folder)))  # the user's, not the cache's
    if not real and settings.subject_pattern is None and not is_image_set(folder):
        return _without_subjects(images)
    return images


def open_again(sources: Sources, settings: AuditSettings, cache: Path, progress: Progress) -> OpenRoles:
    """Return the roles of an earlier audit, without the images that were taken out since.

    Raises:
        IntegrityError: A folder no longer holds what was audited.
    """
    holdout = None if sources.holdout is None else _unchanged(sources.holdout, settings, cache, progress, real=True)
    return OpenRoles(
        _unchanged(sources.train, settings, cache, progress, real=True),
        holdout,
        open_synthetic(sources, settings, cache, progress),
        sources,
    )


def open_synthetic(sources: Sources, settings: AuditSettings, cache: Path, progress: Progress) -> ImageSet:
    """Return the audited synthetic images, without those that were taken out since."""
    images = _unchanged(sources.synthetic, settings, cache, progress, real=False)
    return without(images, frozenset(sources.removed)) if sources.removed else images


def settings_of(record: AuditRecord, sources: Sources) -> AuditSettings:
    """Return the settings of an earlier audit."""
    options = {**record.made_with.settings, "weights": sources.weights}
    return AuditSettings.checked(**options)


def without(images: ImageSet, removed: frozenset[str]) -> ImageSet:
    """Return a view of the set without the named images; pixels stay where they are."""
    kept = [number for number, row in enumerate(images.rows) if row.image_id not in removed]
    content = hashlib.sha256("\n".join([images.content, *sorted(removed)]).encode()).hexdigest()
    pixels = _Chosen(images.pixels, np.array(kept, dtype=np.int64))
    return replace(images, rows=tuple(images.rows[number] for number in kept), pixels=pixels, content=content)


def named_like(images: ImageSet, contrasts: tuple[str, ...]) -> ImageSet:
    """Return the set with numbered contrasts (`channel0`, ...) called as in the audit, where the counts agree."""
    if images.contrasts != tuple(f"channel{i}" for i in range(len(contrasts))):
        return images
    names = iter(contrasts)
    return replace(images, channels=tuple(MASK if channel == MASK else next(names) for channel in images.channels))


class _Chosen:
    """Some images of an array, read like the array itself."""

    def __init__(self, pixels: Any, kept: NDArray[np.int64]) -> None:
        self.pixels, self.kept = pixels, kept
        self.shape, self.ndim, self.dtype = (len(kept), *pixels.shape[1:]), pixels.ndim, pixels.dtype

    @property
    def oindex(self) -> _Chosen:
        return self

    def __getitem__(self, rows: slice | NDArray[np.int64]) -> NDArray[Any]:
        source = self.pixels if isinstance(self.pixels, np.ndarray) else self.pixels.oindex
        return np.asarray(source[self.kept[rows]])


def _source(folder: Path, images: ImageSet) -> Source:
    return Source(path=str(absolute(folder)), content=images.content)


def _unchanged(source: Source, settings: AuditSettings, cache: Path, progress: Progress, *, real: bool) -> ImageSet:
    if not source.path:
        raise DecisionError(
            "These images were audited from memory, so there is no folder to read them from.",
            "Write them as an image set, and audit that folder.",
        )
    remedy = "Audit again: what was decided holds for the images as they were."
    try:
        images = open_role(Path(source.path), settings, cache, progress, real=real)
    except ScanError as error:
        raise IntegrityError(f"The audited images cannot be read again: {error.problem}", remedy) from error
    if images.content != source.content:
        raise IntegrityError(f"{source.path} no longer holds the images that were audited.", remedy)
    return images


def _without_subjects(images: ImageSet) -> ImageSet:
    """Forget subjects that only folder names suggest: a folder of synthetic images is not a patient."""
    return replace(images, rows=tuple(replace(row, subject="") for row in images.rows))


def _with_text_names(images: ImageSet) -> ImageSet:
    """Return the set with names that can be written: bytes of a file name that are no UTF-8 become \\xff."""

    def text(name: str) -> str:
        return name.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")

    rows = tuple(replace(r, image_id=text(r.image_id), subject=text(r.subject)) for r in images.rows)
    unread = tuple(replace(u, image_id=text(u.image_id), reason=text(u.reason)) for u in images.unread)
    notes = tuple(map(text, images.notes))
    folder = None if images.folder is None else Path(text(str(images.folder)))
    return replace(images, rows=rows, unread=unread, notes=notes, folder=folder)


def check_extractors(settings: AuditSettings) -> None:
    """Refuse names that no extractor has, and weights that none would use, before any image is read."""
    from synthrelease.features.interface import NAMES
    from synthrelease.features.weights import installed

    known = (EMBEDDED, *NAMES)
    for name in settings.extractors:
        if name not in known:
            near = difflib.get_close_matches(name.lower(), known, n=1, cutoff=0.4)
            hint = f"Did you mean {near[0]!r}? " if near else ""
            raise SettingsError(f"No extractor is called {name!r}.", f"{hint}Known: {', '.join(known)}.")
    names = settings.extractors or (EMBEDDED, *(found.name for found in installed()))
    for name in sorted(settings.weights):
        if name not in names:
            remedy = f"Add --extractor {name}." if name in known else f"Known: {', '.join(known)}."
            raise SettingsError(f"--weights was given for {name}, which is not among the extractors.", remedy)
        if name in (EMBEDDED, "pixels"):
            remedy = f"Leave out {settings.weights[name]}."
            raise SettingsError(f"The extractor {name!r} takes no weights file.", remedy)


def extractors(
    settings: AuditSettings, train: ImageSet, cache: Path, progress: Progress
) -> tuple[list[Extractor], Extractor]:
    """Return the extractors that find candidates, and the one, fitted on nothing, for membership and comparisons."""
    from synthrelease.features.interface import load
    from synthrelease.features.pixels import CanonicalPixels, PlainPixels
    from synthrelease.features.weights import installed

    names = settings.extractors or (EMBEDDED, *(found.name for found in installed()))
    chosen: list[Extractor] = []
    for name in dict.fromkeys(names):
        weights = settings.weights.get(name)
        if name in (EMBEDDED, "pixels"):
            chosen += [CanonicalPixels(), PlainPixels()]
            if name == EMBEDDED:
                chosen.append(_copy_encoder(settings, train, cache, progress))
        else:
            chosen.append(load(name, weights))
    by_info = {extractor.info: extractor for extractor in chosen}
    unfitted = [e for e in by_info.values() if e.info.fitted_on == "nothing"]
    preferred = sorted(unfitted, key=lambda e: ("radimagenet" not in e.info.name, "encoder" not in e.info.name))
    return list(by_info.values()), preferred[0] if preferred else CanonicalPixels()


def _copy_encoder(settings: AuditSettings, train: ImageSet, cache: Path, progress: Progress) -> Extractor:
    from synthrelease.features.copy_encoder import CopyEncoder

    if not settings.train_encoder:
        return CopyEncoder()
    from synthrelease.features.own_encoder import trained_on

    return trained_on(train, settings.image_size, seed=settings.seed, cache=cache, progress=progress)


def in_memory(role: str, images: ArrayLike, subjects: Sequence[str] | None, channels: Sequence[str] | None) -> ImageSet:
    """Return arrays of one role as an image set, or raise with what is wrong with them."""
    pixels: NDArray[Any] = np.asarray(images)
    if pixels.ndim != 4 or 0 in pixels.shape or pixels.dtype.kind not in "biuf":
        raise SettingsError(
            f"{role} has shape {pixels.shape} and type {pixels.dtype}.",
            "Pass real numbers as (n, c, h, w), at least one image.",
        )
    if subjects is not None and len(subjects) != len(pixels):
        raise SettingsError(f"{role} has {len(pixels)} images but {len(subjects)} subjects.", "Pass one id per image.")
    flat = pixels.reshape(len(pixels), -1)
    constant = flat.min(axis=1) == flat.max(axis=1)  # alike in everybody: they would match as copies
    for bad, fault in ((~np.isfinite(flat).all(axis=1), "hold NaN or infinity"), (constant, "are all of one value")):
        if bad.any():
            raise SettingsError(f"{role} images {np.flatnonzero(bad)[:5].tolist()} {fault}.", "Leave them out.")
    names = [str(s) for s in subjects] if subjects is not None else [""] * len(pixels)
    rows = [ImageRow(f"{role}/{i}", name, i) for i, name in enumerate(names)]
    default = None if channels is None else tuple(channels)
    if default is not None and default.count(MASK) > 1:
        raise SettingsError("Two channels are called 'mask'.", "Name one mask channel at most.")
    return from_arrays(pixels, rows, channels=default)


def date_made() -> str:
    """Return the moment for a record, UTC; ``SOURCE_DATE_EPOCH`` gives it where it is set."""
    moment = os.environ.get("SOURCE_DATE_EPOCH")
    now = datetime.datetime.fromtimestamp(int(moment), datetime.UTC) if moment else datetime.datetime.now(datetime.UTC)
    return now.isoformat(timespec="seconds")


def made_with(settings: AuditSettings) -> MadeWith:
    """Return versions, settings, seed and date for the record."""
    options = settings.model_dump(mode="json")
    options["weights"] = {name: path.name for name, path in settings.weights.items()}
    return MadeWith(
        synthrelease=__version__,
        python=platform.python_version(),
        packages={name: metadata.version(name) for name in PACKAGES},
        settings=options,
        seed=settings.seed,
        extractors=(),
        date=date_made(),
        seconds=0.0,
    )
