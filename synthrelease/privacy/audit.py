"""The audit, in the order of its evidence: screen inputs, search, calibrate, count, plant, bound, attack, compare."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from synthrelease import seeds
from synthrelease.features.interface import Extractor
from synthrelease.image_set import ImageSet
from synthrelease.privacy import leaks, screening, words
from synthrelease.privacy.bounds import bounds
from synthrelease.privacy.calibration import Thresholds, thresholds
from synthrelease.privacy.exposure import exposure
from synthrelease.privacy.feature_steps import FeatureSteps
from synthrelease.privacy.gallery import Frame, Gallery, Screened
from synthrelease.privacy.label_checks import check_masks
from synthrelease.privacy.power import plant
from synthrelease.privacy.queries import Degradation, of_set
from synthrelease.privacy.remembered import remembered
from synthrelease.privacy.roles import Roles, check_roles, describe, known_subjects, pixel_hashes
from synthrelease.privacy.suspects import Found, collect
from synthrelease.privacy.transfer import VERSION as TRANSFER_VERSION
from synthrelease.privacy.transfer import match_quality
from synthrelease.progress import Progress
from synthrelease.records import (
    AuditRecord,
    Distribution,
    Exposure,
    ExtractorUsed,
    MadeWith,
    NearCopies,
    Rate,
    Suspect,
    TransferCheck,
)
from synthrelease.settings import AuditSettings
from synthrelease.workers import HERE, Workers

LARGEST_SHIFT = -0.2  # of the chance that a synthetic image outscores a stranger, below one half
HISTOGRAM = np.linspace(0.2, 1.0, 41)


@dataclass(frozen=True)
class Audit:
    """The record (verdict still open) and what a report needs to show pairs as pixels."""

    record: AuditRecord
    found: Found
    roles: Roles
    frame: Frame
    strangers: Screened | None
    settings: AuditSettings


def audit(
    *,
    train: ImageSet,
    holdout: ImageSet | None,
    synthetic: ImageSet,
    extractors: Sequence[Extractor],
    unfitted: Extractor,
    settings: AuditSettings,
    made_with: MadeWith,
    cache: Path,
    progress: Progress,
    excluded: tuple[str, ...] = (),
    workers: Workers = HERE,
) -> Audit:
    """Return the evidence of one audit; the policy turns it into a verdict.

    Args:
        train: Images that the generator saw, with subjects.
        holdout: Images of other subjects from the same source; None leaves everything uncalibrated.
        synthetic: What the generator made.
        extractors: They find candidates; confirmation decides.
        unfitted: Extractor for membership and comparisons; fitted on nothing.
        settings: See `AuditSettings`.
        made_with: Versions and settings for the record.
        cache: Folder (0700) in which every finished step is kept.
        progress: Hears of every step.
        excluded: Files that the user left out by name, for the record.
        workers: Who embeds and searches.

    Raises:
        SplitError: A subject or an image is in both train and holdout.
        AuditError: Roles that cannot be compared.
    """
    start = time.monotonic()
    roles = check_roles(train=train, holdout=holdout, synthetic=synthetic, channels=settings.channels)
    frame = Frame(roles.channels, settings.image_size, cache, progress, workers)
    gallery = Gallery(roles.train, extractors, frame, with_parts=settings.parts)
    strangers = screen_strangers(gallery, roles, settings)
    limits, degradation = calibrate(gallery, roles, strangers, settings)
    queries = of_set("synthetic images", roles.synthetic, frame.channels, frame.size)
    synthetic_found = gallery.screen(queries, settings.candidates)
    found = collect(roles, synthetic_found, strangers, limits, frame, settings)
    near = count_near_copies(roles, synthetic_found, limits, settings, found.exact)
    planted, planted_scores = plant(gallery, roles, limits, degradation, settings)
    unfitted_steps = FeatureSteps(roles, unfitted, frame, settings)
    attack, attack_note = unfitted_steps.membership()
    fair, fair_note = unfitted_steps.representative()
    record = AuditRecord(
        verdict="incomplete",
        findings=(),
        calibrated=limits is not None,
        alpha=settings.alpha,
        threshold=limits.whole.flag if limits else None,
        alarm=limits.whole.alarm if limits else None,
        part_thresholds={name: c.flag for name, c in limits.parts.items()} if limits else {},
        part_alarms={name: c.alarm for name, c in limits.parts.items()} if limits else {},
        stranger_bound=_stranger_bound(roles),
        near_copies=near,
        suspects=found.suspects,
        alarms=found.alarms,
        exact_copies=found.exact,
        part_suspects=found.parts,
        part_alarms_count=found.patch_alarms + found.tumour_alarms,
        exposed_subjects=tuple(dict.fromkeys(s.train_subject for s in found.suspects)),
        exposure=_exposure(roles, synthetic_found, strangers, limits),
        closest=found.closest,
        planted=planted,
        bounds=bounds(planted, alarms=_alarms(found, limits), images=len(roles.synthetic), attempt=settings.attempt)
        if limits
        else (),
        membership=attack,
        representative=fair,
        transfer=check_transfer(degradation, limits, near, roles, synthetic_found, settings),
        masks=check_masks(real=roles.train, synthetic=roles.synthetic, holdout=roles.holdout),
        comparisons=unfitted_steps.comparisons(),
        distribution=_distribution(synthetic_found, limits, planted_scores, roles),
        not_tested=words.not_tested(roles, limits, settings, [attack_note, fair_note]),
        warnings=words.warnings(roles, limits, settings),
        inputs=describe(roles, excluded),
        made_with=made_with.model_copy(
            update={"seconds": round(time.monotonic() - start, 3), "extractors": _used(gallery, unfitted_steps)}
        ),
    )
    return Audit(record, found, roles, frame, strangers, settings)


def screen_strangers(gallery: Gallery, roles: Roles, settings: AuditSettings) -> Screened | None:
    """Search the holdout in train, and refuse a holdout that holds train's own patients."""
    if roles.holdout is None:
        return None
    frame = gallery.frame
    found = gallery.screen(of_set("holdout images", roles.holdout, frame.channels, frame.size), settings.candidates)
    best, train_ids = found.whole.index, roles.train.ids
    leaks.refuse_shared_images(
        _same_pixels(roles, roles.holdout)
        + leaks.near_duplicates(
            holdout_ids=roles.holdout.ids,
            holdout_subjects=roles.holdout.subjects,
            best_train_ids=[train_ids[row] for row in best],
            best_train_subjects=roles.train.subjects[best],
            scores=found.whole.score,
        )
    )
    return found


def _same_pixels(roles: Roles, holdout: ImageSet) -> tuple[leaks.SharedImage, ...]:
    """Return holdout images that are train images, pixel for pixel, under another subject's name."""
    return leaks.same_pixels(
        train_ids=roles.train.ids,
        train_subjects=roles.train.subjects,
        train_hashes=pixel_hashes(roles.train, roles.channels),
        holdout_ids=holdout.ids,
        holdout_subjects=holdout.subjects,
        holdout_hashes=pixel_hashes(holdout, roles.channels),
    )


def calibrate(
    gallery: Gallery, roles: Roles, strangers: Screened | None, settings: AuditSettings
) -> tuple[Thresholds | None, Degradation]:
    """Return thresholds from strangers, also degraded to the synthetic quality where that differs."""
    if roles.holdout is None or strangers is None:
        return None, Degradation()
    frame = gallery.frame
    holdout, synthetic = roles.holdout, roles.synthetic
    key = [holdout.content, synthetic.content, frame.channels, frame.size, TRANSFER_VERSION]
    degradation = remembered(
        frame, "Comparing sharpness and noise", key, Degradation, lambda: match_quality(holdout, synthetic, frame)
    )
    searches = [strangers]
    if degradation.any:
        queries = of_set(
            "degraded holdout images", roles.holdout, frame.channels, frame.size, degradation, settings.seed
        )
        searches.append(gallery.screen(queries, settings.candidates))
    return thresholds(roles.holdout, searches, settings.alpha_each), degradation


def count_near_copies(
    roles: Roles, found: Screened, limits: Thresholds | None, settings: AuditSettings, exact: tuple[Suspect, ...]
) -> NearCopies:
    """Return the near-copy rate in synthetic beside that in the holdout, and the excess."""
    if limits is None or roles.holdout is None:
        share = len(exact) / len(roles.synthetic)
        nothing = Rate(
            value=share,
            low=share,
            high=1.0,
            count=len(roles.synthetic),
            flagged=len(exact),
            method="Exact copies alone: without a holdout nothing else can be counted.",
        )
        return NearCopies(synthetic=nothing, holdout=None, excess=None)
    return screening.near_copies(
        holdout_scores=limits.scores,
        holdout_subjects=roles.holdout.subjects,
        synthetic_scores=found.whole.score,
        synthetic_subjects=known_subjects(roles.synthetic),
        alpha=settings.alpha_each,
        draws=settings.bootstrap,
        random=seeds.named(settings.seed, "excess"),
    )


def _exposure(
    roles: Roles, found: Screened, strangers: Screened | None, limits: Thresholds | None
) -> tuple[Exposure, ...]:
    subjects = roles.train.subjects
    none = np.array([], dtype=np.str_)
    known = roles.holdout is not None and strangers is not None
    return exposure(
        train_subjects=subjects,
        synthetic_best=subjects[found.whole.index],
        synthetic_scores=found.whole.score,
        holdout_best=subjects[strangers.whole.index] if known and strangers else none,
        holdout_subjects=roles.holdout.subjects if known and roles.holdout else none,
        flag=limits.whole.flag if limits else np.inf,
        alarm=limits.whole.alarm if limits else np.inf,
    )


def check_transfer(
    degradation: Degradation,
    limits: Thresholds | None,
    near: NearCopies,
    roles: Roles,
    found: Screened,
    settings: AuditSettings,
) -> TransferCheck | None:
    """Return whether strangers are a fair yardstick: synthetic scores must not lie significantly below theirs."""
    if limits is None or near.excess is None or roles.holdout is None:
        return None
    shift = screening.score_shift(
        holdout_scores=limits.scores,
        holdout_subjects=roles.holdout.subjects,
        synthetic_scores=found.whole.score,
        synthetic_subjects=known_subjects(roles.synthetic),
        draws=settings.bootstrap,
        random=seeds.named(settings.seed, "shift"),
    )
    return TransferCheck(
        blur_sd=degradation.blur_sd * 128,
        noise_sd=degradation.noise_sd,
        threshold_plain=limits.plain_flag,
        threshold_degraded=limits.whole.flag if degradation.any else None,
        transferable=near.excess.high >= 0 and shift.high >= LARGEST_SHIFT,
    )


def _distribution(
    found: Screened, limits: Thresholds | None, planted: NDArray[np.float64], roles: Roles
) -> Distribution | None:
    if limits is None or roles.holdout is None:
        return None
    subjects = roles.holdout.subjects
    _, codes, counts = np.unique(subjects, return_inverse=True, return_counts=True)
    weights = 1 / counts[codes] / len(counts)

    def share(scores: NDArray[np.float64], each: NDArray[np.float64] | None = None) -> tuple[float, ...]:
        if not len(scores):
            return ()
        each = np.full(len(scores), 1 / len(scores)) if each is None else each
        inside = np.clip(scores, HISTOGRAM[0], HISTOGRAM[-1])
        return tuple(map(float, np.histogram(inside, HISTOGRAM, weights=each)[0]))

    return Distribution(
        edges=tuple(map(float, HISTOGRAM)),
        synthetic=share(found.whole.score),
        holdout=share(limits.scores, weights),
        planted=share(planted),
    )


def _alarms(found: Found, limits: Thresholds) -> dict[str, int]:
    """Return alarms per searched part; a part without thresholds was not searched."""
    counts = {"whole": len(found.alarms), "patch": found.patch_alarms, "tumour": found.tumour_alarms}
    return {
        part: count
        for part, count in counts.items()
        if part == "whole" or any(name.startswith(part) for name in limits.parts)
    }


def _stranger_bound(roles: Roles) -> float | None:
    if roles.holdout is None:
        return None
    return screening.stranger_bound(len(np.unique(roles.holdout.subjects)))


def _used(gallery: Gallery, steps: FeatureSteps) -> tuple[ExtractorUsed, ...]:
    unfitted, tables = steps.unfitted, steps.tables
    searched = [(e, table.shape[1], True) for e, table in zip(gallery.extractors, gallery.features, strict=True)]
    if unfitted.info not in [e.info for e in gallery.extractors]:
        searched.append((unfitted, tables["train"].shape[1], False))
    return tuple(
        ExtractorUsed(
            name=extractor.info.name,
            preprocessing=extractor.info.preprocessing,
            weights_sha256=extractor.info.weights_sha256,
            fitted_on="train" if extractor.info.fitted_on == "train" else "nothing",
            width=int(width),
            searched=is_searched,
        )
        for extractor, width, is_searched in searched
    )
