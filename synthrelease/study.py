"""The whole pipeline, one function per verb; the command line and the Python API both call these."""

from __future__ import annotations

import datetime
import difflib
import os
import platform
from collections.abc import Sequence
from dataclasses import replace
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from synthrelease import __version__, policy, store
from synthrelease.errors import AuditError, SettingsError
from synthrelease.image_set import MASK, ImageRow, ImageSet, from_arrays, is_image_set
from synthrelease.progress import SILENT, Progress
from synthrelease.records import AuditRecord, MadeWith
from synthrelease.settings import AuditSettings, PhantomSettings, PrepareSettings

if TYPE_CHECKING:  # science folders load torch; each verb imports what it needs
    from synthrelease.features.cache import CacheContent
    from synthrelease.features.interface import Extractor
    from synthrelease.features.weights import InstalledWeights, Listing
    from synthrelease.privacy.audit import Audit

PACKAGES = ("torch", "numpy", "scipy", "scikit-learn", "faiss-cpu", "zarr", "nibabel", "pillow")
EMBEDDED = "embedded"  # stands for the descriptors that need no download


def phantom(out: Path, settings: PhantomSettings, progress: Progress = SILENT) -> list[Path]:
    """Write a procedural cohort in BraTS layout and return its subject folders."""
    from synthrelease.phantom.cohort import write_cohort

    return write_cohort(out, settings, progress)


def prepare(
    cohort: Path,
    out: Path,
    settings: PrepareSettings,
    lists: dict[str, Path] | None = None,
    progress: Progress = SILENT,
) -> dict[str, ImageSet]:
    """Turn a cohort into the image sets `out/train`, `out/holdout` and `out/test`, split by subject."""
    from synthrelease.scans.prepare import prepare_cohort

    return prepare_cohort(cohort, out, settings, lists=lists, progress=progress)


def audit(
    *,
    train: Path,
    holdout: Path | None,
    synthetic: Path,
    out: Path,
    settings: AuditSettings,
    progress: Progress = SILENT,
) -> AuditRecord:
    """Audit folders or image sets; write `out/evidence/audit.json` and `report.html`, and return the record."""
    _check_extractors(settings)
    evidence = store.private_folder(out / "evidence")
    cache = store.cache_folder()
    train_set, holdout_set, synthetic_set, excluded = _open_roles(train, holdout, synthetic, settings, cache, progress)
    found = _audited(train_set, holdout_set, synthetic_set, settings, cache, progress, excluded)
    return _written(found, evidence)


def audit_arrays(
    *,
    train: ArrayLike,
    synthetic: ArrayLike,
    train_subjects: Sequence[str],
    holdout: ArrayLike | None = None,
    holdout_subjects: Sequence[str] | None = None,
    synthetic_subjects: Sequence[str] | None = None,
    channels: Sequence[str] | None = None,
    out: Path | None = None,
    progress: Progress = SILENT,
    **options: Any,
) -> AuditRecord:
    """Return the audit's record for images in memory, the same as for folders.

    Args:
        train: (n, c, h, w) images that the generator saw, any number type.
        synthetic: (m, c, h, w) what it made.
        train_subjects: n subject ids.
        holdout: (k, c, h, w) images of other subjects; None leaves everything uncalibrated.
        holdout_subjects: k subject ids.
        synthetic_subjects: m ids of groups of like images, where there are such.
        channels: c names; one called "mask" holds labels, not intensities.
        out: Also write `out/evidence/audit.json` and `report.html`.
        progress: Hears of every step.
        options: Fields of `AuditSettings`, e.g. ``alpha=0.01``.

    Raises:
        SynthreleaseError: With what is wrong and what to do.
    """
    if holdout is not None and holdout_subjects is None:
        raise SettingsError("holdout was given without holdout_subjects.", "Pass one subject id per holdout image.")
    settings = AuditSettings.checked(**options)
    _check_extractors(settings)
    found = _audited(
        _in_memory("train", train, train_subjects, channels),
        None if holdout is None else _in_memory("holdout", holdout, holdout_subjects, channels),
        _in_memory("synthetic", synthetic, synthetic_subjects, channels),
        settings,
        store.cache_folder(),
        progress,
        (),
    )
    if out is not None:
        return _written(found, store.private_folder(out / "evidence"))
    return found.record


def weights_list() -> Listing:
    """Return the known weights files and what is installed."""
    from synthrelease.features.weights import listing

    return listing()


def weights_import(name: str, file: Path) -> InstalledWeights:
    """Check a weights file and copy it into the user's cache."""
    from synthrelease.features.weights import import_weights

    return import_weights(name, file)


def cache_show() -> CacheContent:
    """Return what the cache holds, by kind."""
    from synthrelease.features.cache import show_cache

    return show_cache()


def cache_clear(*, weights: bool = False) -> CacheContent:
    """Delete everything in the cache but imported weights, or these too."""
    from synthrelease.features.cache import clear_cache

    return clear_cache(weights=weights)


def _audited(
    train: ImageSet,
    holdout: ImageSet | None,
    synthetic: ImageSet,
    settings: AuditSettings,
    cache: Path,
    progress: Progress,
    excluded: tuple[str, ...],
) -> Audit:
    from synthrelease.privacy.audit import audit as run

    extractors, unfitted = _extractors(settings, train, cache, progress)
    found = run(
        train=train,
        holdout=holdout,
        synthetic=synthetic,
        extractors=extractors,
        unfitted=unfitted,
        settings=settings,
        made_with=_made_with(settings),
        cache=cache,
        progress=progress,
        excluded=excluded,
    )
    verdict, findings = policy.judge(policy.measures_of(found.record), policy.built_in(settings.power_floor))
    return replace(found, record=found.record.model_copy(update={"verdict": verdict, "findings": findings}))


def _written(found: Audit, evidence: Path) -> AuditRecord:
    from synthrelease.privacy.pictures import pictures
    from synthrelease.report.pairs import Pair
    from synthrelease.report.views import write_audit_report

    store.write_text(evidence / "audit.json", found.record.model_dump_json(indent=1))
    pairs = [Pair(**picture) for picture in pictures(found)]
    write_audit_report(found.record, pairs, evidence)
    return found.record


def _open_roles(
    train: Path, holdout: Path | None, synthetic: Path, settings: AuditSettings, cache: Path, progress: Progress
) -> tuple[ImageSet, ImageSet | None, ImageSet, tuple[str, ...]]:
    from synthrelease.scans.folder import left_out, open_images

    def opened(folder: Path, *, real: bool) -> ImageSet:
        images = open_images(
            folder,
            subject_pattern=settings.subject_pattern,
            needs_subject=real,
            exclude=settings.exclude,
            cache=cache,
            progress=progress,
            must_match=False,
        )
        return replace(images, folder=folder.resolve())  # the user's, not the cache's

    sets = [
        opened(train, real=True),
        None if holdout is None else opened(holdout, real=True),
        opened(synthetic, real=False),
    ]
    known = set().union(*(left_out(images) for images in sets if images is not None))
    unmatched = sorted(set(settings.exclude) - known)
    if unmatched:
        raise SettingsError(
            f"--exclude names what no folder holds: {', '.join(unmatched)}.",
            "Use the path relative to its folder, as the report prints it.",
        )
    train_set, holdout_set, synthetic_set = (None if images is None else _with_text_names(images) for images in sets)
    if train_set is None or synthetic_set is None:
        raise AuditError("Train and synthetic images are both needed.")
    if settings.subject_pattern is None and not is_image_set(synthetic):
        synthetic_set = _without_subjects(synthetic_set)
    return train_set, holdout_set, synthetic_set, settings.exclude


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


def _check_extractors(settings: AuditSettings) -> None:
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


def _extractors(
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


def _in_memory(
    role: str, images: ArrayLike, subjects: Sequence[str] | None, channels: Sequence[str] | None
) -> ImageSet:
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


def _made_with(settings: AuditSettings) -> MadeWith:
    moment = os.environ.get("SOURCE_DATE_EPOCH")
    now = datetime.datetime.fromtimestamp(int(moment), datetime.UTC) if moment else datetime.datetime.now(datetime.UTC)
    options = settings.model_dump(mode="json")
    options["weights"] = {name: path.name for name, path in settings.weights.items()}
    return MadeWith(
        synthrelease=__version__,
        python=platform.python_version(),
        packages={name: metadata.version(name) for name in PACKAGES},
        settings=options,
        seed=settings.seed,
        extractors=(),
        date=now.isoformat(timespec="seconds"),
        seconds=0.0,
    )
