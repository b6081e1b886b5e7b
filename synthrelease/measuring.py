"""How much synthetic images look like real ones: opened folders in, `quality.json` and a page for inside out."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from synthrelease import __version__, memory, opening, seeds, store
from synthrelease.errors import AuditError, SplitError
from synthrelease.image_set import ImageSet
from synthrelease.progress import SILENT, Progress
from synthrelease.release_records import Measurement, QualityRecord
from synthrelease.settings import AuditSettings, MeasureSettings
from synthrelease.workers import HERE, Workers

if TYPE_CHECKING:  # these load torch
    from synthrelease.features.interface import Extractor
    from synthrelease.features.views import Scaling, View
    from synthrelease.metrics.quality import Value

QUALITY, PAGE = "quality.json", "quality.html"
COPIES = 13  # of the larger table that the dearest measure makes
SHOWN = 8  # random synthetic images on the page, each with its nearest real image
NO_HEAD = (
    "Not computable: this extractor has no class probabilities, and no RadImageNet head is published. Give one with "
    "--head, or fit a surrogate on your own labels with `synthrelease weights fit-head`."
)


@dataclass(frozen=True)
class Sets:
    """The images to measure, the contrasts that all have, and how stored pixels become intensities."""

    real: ImageSet
    synthetic: ImageSet
    holdout: ImageSet | None
    contrasts: tuple[str, ...]
    scaling: Scaling
    size: int
    workers: Workers = HERE

    @property
    def groups(self) -> NDArray[Any]:
        """(n,) subject of each real image; its id where subjects are not known."""
        subjects = self.real.subjects
        return subjects if bool((subjects != "").all()) else np.array(self.real.ids)

    def prepare(self, images: ImageSet, channels: Sequence[str]) -> Callable[[NDArray[Any]], NDArray[np.float32]]:
        """Return what maps blocks of a set as stored to images (k, c, s, s) in [0, 1] of some channels."""
        places = [images.channels.index(name) for name in channels]
        return partial(_scaled, places=places, scaling=self.scaling, size=self.size)

    def pixels(self, images: ImageSet) -> Callable[[NDArray[Any]], NDArray[np.float32]]:
        """Return what maps blocks of a set to images of one size in both sets: measures of pixels need it."""
        places = [images.channels.index(name) for name in self.contrasts]
        scaling = self.scaling if self.real.size == self.synthetic.size else "analysis"
        return partial(_scaled, places=places, scaling=scaling, size=self.size)


def _scaled(block: NDArray[Any], *, places: Sequence[int], scaling: Scaling, size: int) -> NDArray[np.float32]:
    from synthrelease.features.views import scaled

    return scaled(block[:, places], scaling, size)


def measure(
    *,
    real: Path,
    synthetic: Path,
    out: Path,
    holdout: Path | None = None,
    settings: MeasureSettings | None = None,
    progress: Progress = SILENT,
    workers: Workers = HERE,
) -> QualityRecord:
    """Measure synthetic images against real ones, write `OUT/quality.json` and `OUT/quality.html`; return the record.

    Args:
        real: Images that the generator learnt from (train, for the measures that tell train from holdout).
        synthetic: What it made.
        out: Folder of the results (mode 0700): the page shows real images and must stay inside.
        holdout: Real images of other subjects, for the feature likelihood divergence.
        settings: Extractors, weights, intervals.
        progress: Hears of every step.
        workers: Who embeds images and adds up pixels.
    """
    settings = settings or MeasureSettings()
    cache = store.cache_folder()
    sets = replace(_opened(real, synthetic, holdout, settings, cache, progress), workers=workers)
    record, pictures = measured(sets, settings, cache, progress)
    from synthrelease.report.quality import write_quality_page

    folder = store.private_folder(out)
    with store.one_writer(folder / QUALITY):  # record and page of one run, also where two write at once
        store.write_text(folder / QUALITY, record.model_dump_json(indent=1) + "\n")
        write_quality_page(record, pictures, folder / PAGE)
    return record


def measured(
    sets: Sets, settings: MeasureSettings, cache: Path, progress: Progress
) -> tuple[QualityRecord, list[tuple[NDArray[np.float32], NDArray[np.float32]]]]:
    """Return the record of opened sets, and random synthetic images beside their nearest real ones (for inside)."""
    found: list[Measurement] = []
    nearest: list[tuple[int, int]] = []
    for extractor in _extractors(settings):
        views = _views(extractor, sets.contrasts)
        for view in views:
            tables = _features(sets, view, cache, progress)
            found += _of_features(sets, view, tables, settings, progress)
            if view is views[-1] and not nearest:
                nearest = _neighbours(tables, view, settings.seed)
    from synthrelease.features.views import scaling_id
    from synthrelease.measuring_pixels import of_pixels
    from synthrelease.metrics.quality import INTERVAL

    of_images, curves = of_pixels(
        real=(sets.real, sets.pixels(sets.real)),
        synthetic=(sets.synthetic, sets.pixels(sets.synthetic)),
        groups=sets.groups,
        contrasts=sets.contrasts,
        settings=settings,
        progress=progress,
        workers=sets.workers,
    )
    found += [as_measurement(value, view) for value, view in of_images]
    made = {
        "real": sets.real.content,
        "holdout": sets.holdout.content if sets.holdout is not None else "",
        "scaling": scaling_id(sets.scaling, sets.size),
        "interval": INTERVAL.format(parts=settings.parts) if settings.parts else "none",
        "seed": str(settings.seed),
        "synthrelease": __version__,
        "date": opening.date_made(),
    }
    record = QualityRecord(measurements=tuple(found), synthetic=sets.synthetic.content, curves=curves, made_with=made)
    return record, [_pictures(sets, pair) for pair in nearest]


def _opened(
    real: Path,
    synthetic: Path,
    holdout: Path | None,
    settings: MeasureSettings,
    cache: Path,
    progress: Progress,
) -> Sets:
    from synthrelease.features.views import scaling_for

    reading = AuditSettings(subject_pattern=settings.subject_pattern, exclude=settings.exclude)
    real_set = opening.open_role(real, reading, cache, progress, real=True)
    held = None if holdout is None else opening.open_role(holdout, reading, cache, progress, real=True)
    made = opening.open_role(synthetic, reading, cache, progress, real=False)
    made = opening.named_like(made, real_set.contrasts)
    held = None if held is None else opening.named_like(held, real_set.contrasts)
    roles = [role for role in (real_set, made, held) if role is not None]
    unread = [f"{item.image_id}: {item.reason}" for role in roles for item in role.unread]
    if unread:
        raise AuditError(
            f"{len(unread)} files could not be read: {'; '.join(unread[:3])}.",
            "Mend them, or leave them out by name with --exclude: quality must not depend on which files are broken.",
        )
    shared = tuple(name for name in real_set.contrasts if all(name in role.contrasts for role in roles))
    unknown = [name for name in settings.channels if name not in shared]
    if unknown or not shared:
        raise AuditError(
            f"The folders do not share {', '.join(unknown) if unknown else 'any contrast'}.",
            f"They share: {', '.join(shared) or 'none'}.",
        )
    few = [f"{len(role)} image" for role in (real_set, made) if len(role) < 2]
    if few:
        raise AuditError(f"There is only {few[0]}: nothing can be measured.", "Give two images or more of each kind.")
    if held is not None:
        _check_apart(real_set, held)
    scaling = scaling_for(*(role.pixels.dtype for role in roles))
    return Sets(real_set, made, held, settings.channels or shared, scaling, min(max(role.size) for role in roles))


def _check_apart(real: ImageSet, holdout: ImageSet) -> None:
    """Raise where a holdout subject is also in the real images: the gap between the two would hide copying."""
    shared = sorted((set(real.subjects.tolist()) & set(holdout.subjects.tolist())) - {""})
    if shared or real.content == holdout.content:
        raise SplitError(
            f"{len(shared) or 'All'} holdout subjects are also in the real images: {', '.join(shared[:5])}.",
            "Split by subject with `synthrelease prepare`: train, holdout and test share nobody.",
        )


def _extractors(settings: MeasureSettings) -> list[Extractor]:
    from synthrelease.features.interface import load
    from synthrelease.features.weights import imported

    names = settings.extractors or ("copy-encoder", *(found.name for found in imported()))
    return [load(name, settings.weights.get(name)) for name in dict.fromkeys((*names, *settings.weights))]


def _views(extractor: Extractor, contrasts: tuple[str, ...]) -> tuple[View, ...]:
    from synthrelease.features.views import views_of

    return views_of(extractor, contrasts)


def _features(sets: Sets, view: View, cache: Path, progress: Progress) -> dict[str, NDArray[Any]]:
    """Return the feature table of each role, memory-mapped from the cache."""
    from synthrelease.features.extract import features_of
    from synthrelease.features.views import scaling_id

    key = ["measure", scaling_id(sets.scaling, sets.size), view.channels]
    roles = {"real": sets.real, "synthetic": sets.synthetic}
    if sets.holdout is not None:
        roles["holdout"] = sets.holdout
    return {
        role: features_of(
            images,
            view.extractor,
            prepare=sets.prepare(images, view.channels),
            key=key,
            cache=cache,
            progress=progress,
            workers=sets.workers,
        )
        for role, images in roles.items()
    }


def _of_features(
    sets: Sets, view: View, tables: dict[str, NDArray[Any]], settings: MeasureSettings, progress: Progress
) -> list[Measurement]:
    from synthrelease.metrics import quality

    width = tables["real"].shape[1] - view.classes
    of_all = quality.Comparison(
        tables["real"][:, :width], tables["synthetic"][:, :width], sets.groups, settings.seed, settings.parts
    )
    rows = {role: quality.rows_at_most(len(t), settings.compared, settings.seed, role) for role, t in tables.items()}
    groups, few = sets.groups[rows["real"]], {role: table[rows[role]] for role, table in tables.items()}
    largest = max(len(table) for table in few.values()) * width * 4
    what = f"Measuring {max(map(len, few.values())):,} images of {width:,} features"
    memory.at_once(1, memory.BASE, COPIES * largest, what, "lower --compared")
    comparison = quality.Comparison(
        few["real"][:, :width], few["synthetic"][:, :width], groups, settings.seed, settings.parts
    )
    extractor = view.extractor.info.name
    known = _is_published_inception(view)
    suffix = f"_{extractor}"
    short = "" if known else suffix
    steps: list[Callable[[], list[Value]]] = [
        lambda: quality.measure_frechet(of_all, f"fid{short}"),
        lambda: quality.measure_extrapolated(comparison, f"fd_infinity{suffix}"),
        lambda: quality.measure_kernel(comparison, f"kid{short}"),
        lambda: quality.measure_coverage(comparison, suffix),
        lambda: quality.measure_vendi(comparison, f"vendi{suffix}"),
        lambda: quality.measure_memorisation(comparison, f"mifid{suffix}"),
        lambda: _score(groups, view, few, settings, f"is{short}"),
    ]
    if "holdout" in tables:
        held = few["holdout"][:, :width]
        names = (f"fld{suffix}", f"fld_gap{suffix}")
        steps.append(lambda: quality.measure_likelihood(comparison, held, names))
    found: list[Value] = []
    with progress.task(f"Measuring {extractor} on {view.name}", len(steps)) as advance:
        for step in steps:
            found += step()
            advance(1)
    return [_measurement(value, view, known) for value in found]


def _score(
    groups: NDArray[Any], view: View, tables: dict[str, NDArray[Any]], settings: MeasureSettings, name: str
) -> list[Value]:
    """Return the inception score from the extractor's own head or the user's; "not computable" where there is none."""
    from synthrelease.features.heads import head_width, read_head
    from synthrelease.metrics import quality

    extractor = view.extractor.info.name
    note = ""
    if view.classes:
        real, synthetic = (tables[role][:, -view.classes :] for role in ("real", "synthetic"))
    elif extractor in settings.heads:
        width = tables["real"].shape[1]
        if len(view.channels) > 1 and width != head_width(settings.heads[extractor]):
            counts = len(tables["synthetic"]), len(tables["real"])
            reason = f"Not computable: the head was not made for {width} features side by side."
            return [quality.Value(name, "inception_score", None, *counts, note=reason)]
        head = read_head(settings.heads[extractor], view.extractor.info, width)
        real, synthetic = (head.probabilities(tables[role]) for role in ("real", "synthetic"))
        name, note = (f"radis_surrogate_{extractor}" if head.surrogate else name), head.about
    else:
        counts = len(tables["synthetic"]), len(tables["real"])
        return [quality.Value(name, "inception_score", None, *counts, note=NO_HEAD)]
    comparison = quality.Comparison(real, synthetic, groups, settings.seed, settings.parts)
    found = quality.measure_score(comparison, name)
    return [replace(value, note=f"{value.note} {note}".strip()) for value in found]


def _is_published_inception(view: View) -> bool:
    """FID, KID and IS are names of this one network with these weights; anything else carries the extractor's name."""
    from synthrelease.features.weights import FID_SHA256, INCEPTION

    info = view.extractor.info
    return info.name == INCEPTION and info.weights_sha256 == FID_SHA256


def _measurement(value: Value, view: View, known: bool) -> Measurement:
    from synthrelease.features.weights import INCEPTION

    info = view.extractor.info
    note = value.note
    if info.name == INCEPTION and not known:
        note = f"{note} The weights are not the file whose hash is known, so this is not called FID.".strip()
    return as_measurement(value, view.name).model_copy(
        update={
            "extractor": info.name,
            "weights_sha256": info.weights_sha256,
            "preprocessing": info.preprocessing,
            "note": note,
        }
    )


def as_measurement(value: Value, view: str) -> Measurement:
    """Return the record of a value; its name carries the view, as tables show names alone."""
    from synthrelease.metrics.table import METRICS

    return Measurement(
        name=f"{value.name} ({view})" if view else value.name,
        metric=value.metric,
        view=view,
        value=_finite(value.value),
        low=_finite(value.low),
        high=_finite(value.high),
        count=value.count,
        real_count=value.real_count,
        floor=_finite(value.floor),
        matched=_finite(value.matched),
        floor_count=value.floor_count,
        unit=METRICS[value.metric].unit,
        note=value.note,
    )


def _finite(number: float | None) -> float | None:
    return number if number is not None and np.isfinite(number) else None


def _neighbours(tables: dict[str, NDArray[Any]], view: View, seed: int) -> list[tuple[int, int]]:
    """Return random synthetic images, each with its nearest real one in a view's features."""
    from synthrelease.metrics.neighbours import closest

    width = tables["real"].shape[1] - view.classes
    made, real = tables["synthetic"][:, :width], tables["real"][:, :width]
    count = min(SHOWN, len(made))
    chosen = np.sort(seeds.named(seed, "shown").choice(len(made), count, replace=False))
    return [(int(row), int(found)) for row, found in zip(chosen, closest(made[chosen], real)[1], strict=True)]


def _pictures(sets: Sets, pair: tuple[int, int]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    made, real = ((sets.synthetic, pair[0]), (sets.real, pair[1]))
    first, second = (sets.prepare(images, sets.contrasts)(images.read([number]))[0] for images, number in (made, real))
    return first, second
