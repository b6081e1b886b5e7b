"""A surrogate class head for extractors that are published without one, fitted on the user's labelled images."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np

from synthrelease import opening, store
from synthrelease.errors import ScanError, SettingsError
from synthrelease.image_set import ImageSet
from synthrelease.progress import SILENT, Progress
from synthrelease.settings import AuditSettings


def fit_head(
    name: str,
    *,
    images: Path,
    labels: Path,
    out: Path,
    weights: Path | None = None,
    channel: str | None = None,
    seed: int = 0,
    progress: Progress = SILENT,
) -> dict[str, object]:
    """Fit a linear head over an extractor's frozen features, write it as NPZ, and return what is known of it.

    Args:
        name: Extractor, e.g. radimagenet-resnet50.
        images: Labelled real images.
        labels: CSV with the columns `label` and `image_id`, or `label` and `subject`.
        out: The NPZ to write.
        weights: Weights file of the extractor; None takes the imported one.
        channel: The contrast that is looked at; the first by default.
        seed: Of the folds.
        progress: Hears of embedding.
    """
    from synthrelease.features.extract import features_of
    from synthrelease.features.heads import write_surrogate
    from synthrelease.features.interface import load
    from synthrelease.features.views import scaled, scaling_for, scaling_id
    from synthrelease.metrics.linear_head import fit_linear_head

    cache = store.cache_folder()
    extractor = load(name, weights)
    if hasattr(extractor, "with_classes"):
        raise SettingsError(f"{name} has a head of its own.", "A surrogate is for extractors without one.")
    found = opening.open_role(images, AuditSettings(), cache, progress, real=True)
    chosen = channel or found.contrasts[0]
    if chosen not in found.contrasts:
        raise SettingsError(f"There is no contrast {chosen!r}.", f"There are {', '.join(found.contrasts)}.")
    label_of = _labels(labels, found)
    scaling, size, place = scaling_for(found.pixels.dtype), max(found.size), found.channels.index(chosen)
    table = features_of(
        found,
        extractor,
        prepare=lambda block: scaled(block[:, [place]], scaling, size),
        key=["measure", scaling_id(scaling, size), (chosen,)],
        cache=cache,
        progress=progress,
    )
    kept = [row for row, label in enumerate(label_of) if label]
    names = np.array([label_of[row] for row in kept])
    head = fit_linear_head(features=table[kept], labels=names, subjects=found.subjects[kept], seed=seed)
    about: dict[str, object] = {
        "channel": chosen,
        "classes": list(head.classes),
        "images": len(kept),
        "subjects": len(np.unique(found.subjects[kept])),
        "accuracy": round(head.accuracy, 4),
        "accuracy_low": round(head.low, 4),
        "accuracy_high": round(head.high, 4),
        "commonest_class": round(head.commonest, 4),
    }
    write_surrogate(out, head.weight, head.bias, extractor.info, about)
    return {"file": str(out), "extractor": name, **about}


def _labels(path: Path, images: ImageSet) -> list[str]:
    """Return the label of each image, empty where the file names neither it nor its subject."""
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            rows = list(csv.DictReader(file))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise ScanError(f"{path} cannot be read as a table: {error}.", "Give a CSV with a head row.") from error
    columns = set(rows[0]) if rows else set()
    key = next((name for name in ("image_id", "subject") if name in columns), None)
    if key is None or "label" not in columns:
        raise ScanError(
            f"{path.name} has the columns {', '.join(sorted(map(str, columns))) or 'none'}.",
            "It needs `label`, and `image_id` or `subject`.",
        )
    known = {row[key].strip(): (row["label"] or "").strip() for row in rows if row[key]}
    found = [known.get(row.image_id if key == "image_id" else row.subject, "") for row in images.rows]
    if not any(found):
        raise ScanError(f"{path.name} names none of the {len(images)} images.", f"Its {key} must equal the set's.")
    return found
