"""The whole pipeline, one function per verb; the command line and the Python API both call these."""

from __future__ import annotations

import datetime
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Literal

from synthrelease import auditing, opening, policy, store, workers
from synthrelease.auditing import audit_arrays as audit_arrays
from synthrelease.decision import approval
from synthrelease.decision import decide as deciding
from synthrelease.decision.folder import open_evidence
from synthrelease.errors import IntegrityError, SettingsError
from synthrelease.image_set import ImageSet, open_set
from synthrelease.progress import SILENT, Progress
from synthrelease.records import AuditRecord, TrainingPlan
from synthrelease.release_records import (
    Approval,
    DecisionRecord,
    KeyInfo,
    PackageInfo,
    QualityRecord,
    Reading,
    ReleaseOptions,
    UtilityRecord,
    Verification,
)
from synthrelease.settings import AuditSettings, MeasureSettings, PhantomSettings, PrepareSettings

if TYPE_CHECKING:  # science folders load torch; each verb imports what it needs
    from synthrelease.features.cache import CacheContent
    from synthrelease.features.weights import InstalledWeights, Listing
    from synthrelease.generators.sampling import SampleRecord


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


def train_plan(generator: str, *, config: str | None, resolution: int, channels: int, **options: Any) -> TrainingPlan:
    """Return settings and network sizes of a generator, without images and without making any weight."""
    from synthrelease.generators.plans import plan

    return plan(generator, config=config, resolution=resolution, channels=channels, **options)


def train(
    generator: str,
    *,
    images: Path,
    out: Path,
    steps: int | None = None,
    kimg: float | None = None,
    resolution: int = 256,
    config: str | None = None,
    changes: Mapping[str, Any] = MappingProxyType({}),
    batch: int | None = None,
    resume: bool = False,
    holdout: Path | None = None,
    screen_kimg: float = 0,
    best: Literal["fd", "own"] | None = None,
    judged_images: int = 500,
    progress: Progress = SILENT,
    device: str = "auto",
    **training: Any,
) -> Path:
    """Train a generator on an image set for ``steps`` steps, or until it saw ``kimg`` thousand images.

    Args:
        generator: One of `interface.NAMES`.
        images: Image set to learn from.
        out: The model's folder.
        steps: Optimiser steps in all.
        kimg: Instead of ``steps``: thousand images seen in all.
        resolution: Height and width, pixels.
        config: A named configuration; None: the published one.
        changes: Settings of the networks that differ from it.
        batch: Images a step; None: the configuration's.
        resume: Go on from the newest checkpoint in ``out``.
        holdout: Image set of other subjects, for the screen.
        screen_kimg: Thousand images between looks for memorised ones, which end the training when near copies exceed
            those in the holdout; 0 never looks.
        best: What the best checkpoint is best in: fd is the Frechet distance of samples to train in the features that
            come with the tool, own the learner's own measure (a diffusion model's denoising loss; a GAN has none, and
            its newest checkpoint is sampled). None: fd for GANs, own for diffusion, whose samples take long.
        judged_images: Samples of which that distance is taken at each checkpoint.
        progress: Hears of every step.
        device: auto, cpu, cuda or cuda:N.
        training: Fields of `GanTraining` or `DiffusionTraining`, e.g. ``seed=1``.
    """
    from synthrelease import watching
    from synthrelease.generators.plans import trained

    train_set = open_set(images, check_content=True)
    if screen_kimg and holdout is None:
        raise SettingsError("Looking for memorised images needs a holdout.", "Give --holdout, or no --screen-kimg.")
    others = None if holdout is None else open_set(holdout, check_content=True)
    judged = best == "fd" or (best is None and generator != "diffusion")
    watchers = watching.callbacks(
        train_set,
        others if screen_kimg else None,
        resolution=resolution,
        judged_images=judged_images if judged else 0,
        progress=progress,
    )
    return trained(
        generator,
        images=train_set,
        out=out,
        steps=steps,
        kimg=kimg,
        resolution=resolution,
        config=config,
        changes=changes,
        batch=batch,
        device=device,
        training={**training, "screen_kimg": screen_kimg},
        resume=resume,
        callbacks=watchers,
    )


def sample(
    model: Path,
    seeds: Sequence[int],
    out: Path,
    *,
    truncation: float | None = None,
    sampler: str | None = None,
    sampling_steps: int | None = None,
    device: str = "auto",
    progress: Progress = SILENT,
) -> SampleRecord:
    """Make an image set with a trained model, image i from seed i alone; a rerun goes on where the last one stopped."""
    from synthrelease.generators.plans import open_model, sampled

    generator = open_model(model, device=device, truncation=truncation, sampler=sampler, steps=sampling_steps)
    return sampled(generator, seeds, out, progress=progress)


def segment(
    *,
    test: Path,
    out: Path,
    real: Path | None = None,
    synthetic: Path | None = None,
    progress: Progress = SILENT,
    **options: Any,
) -> UtilityRecord | None:
    """Train segmenters on real, synthetic or both, score them on test subjects, and write `out/utility.json`.

    Args:
        test: Image set of real subjects that no training saw.
        out: Folder of models, per-subject table and record.
        real: Image set of real training subjects.
        synthetic: Image set to prove useful.
        progress: Hears of every step.
        options: Of `segmenting.segment_into`, e.g. ``seeds=(0, 1, 2)``.

    Returns:
        The record; None in the helping processes of a training by several.
    """
    from synthrelease import segmenting
    from synthrelease.segmentation.plan import Roles

    sets = {"real": real, "synthetic": synthetic}
    opened = {name: open_set(path, check_content=True) for name, path in sets.items() if path is not None}
    roles = Roles(test=open_set(test, check_content=True), **opened)
    return segmenting.segment_into(out, roles, progress=progress, **options)


def measure(
    *,
    real: Path,
    synthetic: Path,
    out: Path,
    holdout: Path | None = None,
    settings: MeasureSettings | None = None,
    progress: Progress = SILENT,
    cluster: str = "",
) -> QualityRecord:
    """Measure synthetic images against real ones, here or on a cluster (`workers.opened`); write `out/quality.json`."""
    from synthrelease import measuring

    with workers.opened(cluster) as found:
        return measuring.measure(
            real=real,
            synthetic=synthetic,
            out=out,
            holdout=holdout,
            settings=settings,
            progress=progress,
            workers=found,
        )


def audit(
    *,
    train: Path,
    holdout: Path | None,
    synthetic: Path,
    out: Path,
    settings: AuditSettings,
    progress: Progress = SILENT,
    cluster: str = "",
) -> AuditRecord:
    """Audit folders or image sets, here or on a cluster (`workers.opened`); write `out/evidence`, return the record."""
    opening.check_extractors(settings)
    evidence = store.private_folder(out / "evidence")
    roles = opening.open_roles(
        train=train,
        holdout=holdout,
        synthetic=synthetic,
        settings=settings,
        cache=store.cache_folder(),
        progress=progress,
    )
    with workers.opened(cluster) as found:
        return auditing.audit_into(evidence, roles, settings, progress, workers=found)


def release_policy(name: str) -> tuple[policy.Policy, str]:
    """Return a release policy and its text: `controlled`, `registered`, `public`, or a TOML file."""
    return policy.open_release_policy(name)


def decide(
    evidence: Path,
    *,
    policy_name: str,
    quality: Path | None = None,
    utility: Path | None = None,
    generator_authors: Sequence[str] = (),
    remove_suspects: bool = False,
    progress: Progress = SILENT,
) -> DecisionRecord:
    """Hold an audit's evidence against a release policy; with ``remove_suspects`` take them out and audit the rest.

    Args:
        evidence: OUT of an audit, or its `evidence` folder.
        policy_name: `controlled`, `registered`, `public`, or a TOML file.
        quality: A `quality.json` to import.
        utility: A `utility.json` to import.
        generator_authors: People who made the generator, who may not approve.
        remove_suspects: Take out every suspect that no reader has cleared, audit what remains, and decide on that.
        progress: Hears of every step.
    """
    rules, text = release_policy(policy_name)
    opened = open_evidence(evidence)
    if quality is not None:
        deciding.import_record(quality, opened, "quality.json", QualityRecord)
    if utility is not None:
        deciding.import_record(utility, opened, "utility.json", UtilityRecord)
    decision = deciding.decide(opened, rules, text, generator_authors=generator_authors)
    if remove_suspects:
        removal = deciding.removable(opened, decision)
        auditing.audit_without(opened, removal, progress)
        decision = deciding.decide(open_evidence(evidence), rules, text)
    auditing.write_report(opened.folder)
    return decision


def approve(
    evidence: Path,
    *,
    by: str,
    role: str,
    reason: str,
    conditions: Sequence[str] = (),
    review_by: datetime.date | None = None,
) -> tuple[tuple[Approval, ...], int]:
    """Record an approval; return those that stand, and how many different people are needed."""
    opened = open_evidence(evidence)
    approvals = approval.approve(opened, by=by, role=role, reason=reason, conditions=conditions, review_by=review_by)
    auditing.write_report(opened.folder)
    return approvals


def refuse(evidence: Path, *, by: str, role: str, reason: str, withdraw: bool = False) -> None:
    """Record that a person rejects a release, or withdraws what was approved."""
    opened = open_evidence(evidence)
    (approval.withdraw if withdraw else approval.reject)(opened, by=by, role=role, reason=reason)
    auditing.write_report(opened.folder)


def review(evidence: Path, *, by: str, port: int, open_browser: bool, say: Callable[[str], None]) -> Reading:
    """Serve the local page on which a person reads pairs, until it is finished or interrupted."""
    from synthrelease.review.server import serve

    return serve(open_evidence(evidence), by=by, port=port, open_browser=open_browser, say=say)


def package(
    evidence: Path, out: Path, options: ReleaseOptions, *, key: Path | None = None, progress: Progress = SILENT
) -> PackageInfo:
    """Build a release package at ``out`` from approved evidence: all of it, or nothing."""
    from synthrelease.release.package import build

    opened = open_evidence(evidence)

    def images() -> ImageSet:
        sources = opened.sources()
        settings = opening.settings_of(opened.audit, sources)
        return opening.named_like(
            opening.open_synthetic(sources, settings, store.cache_folder(), progress), opened.audit.inputs.channels
        )

    return build(opened, images, out, options, key=key, progress=progress)


def verify(package: Path, key: Path | None = None) -> Verification:
    """Check a package from cheap to dear and return every problem."""
    from synthrelease.release.verify import verify as check

    return check(package, key)


def keys_new(file: Path | None = None) -> KeyInfo:
    """Make a signing key, in ``file`` or where the user's keys lie."""
    from synthrelease.release.signing import new_key

    return new_key(file)


def keys_show() -> tuple[KeyInfo, ...]:
    """Return the user's signing keys."""
    from synthrelease.release.signing import known_keys

    return known_keys()


def report(path: Path, out: Path | None = None) -> tuple[Path, ...]:
    """Write the pages of an evidence folder or a package again from their records, without images or torch.

    Raises:
        IntegrityError: A package is not what was signed; pages of it would speak for somebody else's claims.
    """
    from synthrelease.report.again import RECORD, render

    if (path / RECORD).is_file() and not (found := verify(path)).intact:
        first = found.problems[0]
        raise IntegrityError(
            f"{path} is not what its publisher signed: {first.path}: {first.text}", "See `synthrelease verify`."
        )
    return render(path, out)


def weights_list() -> Listing:
    """Return the known weights files and what is installed."""
    from synthrelease.features.weights import listing

    return listing()


def weights_import(name: str, file: Path) -> InstalledWeights:
    """Check a weights file and copy it into the user's cache."""
    from synthrelease.features.weights import import_weights

    return import_weights(name, file)


def weights_fit_head(name: str, **options: Any) -> dict[str, Any]:
    """Fit a surrogate class head for an extractor on labelled images; see `measuring_heads.fit_head`."""
    from synthrelease.measuring_heads import fit_head

    return fit_head(name, **options)


def cache_show() -> CacheContent:
    """Return what the cache holds, by kind."""
    from synthrelease.features.cache import show_cache

    return show_cache()


def cache_clear(*, weights: bool = False) -> CacheContent:
    """Delete everything in the cache but imported weights, or these too."""
    from synthrelease.features.cache import clear_cache

    return clear_cache(weights=weights)
