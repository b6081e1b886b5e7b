"""One audit from opened roles to a complete evidence folder, and again without the images that were taken out."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from numpy.typing import ArrayLike

from synthrelease import memory, opening, policy, store
from synthrelease.decision import keeping, log
from synthrelease.decision.folder import Evidence
from synthrelease.errors import SettingsError, SynthreleaseError
from synthrelease.progress import SILENT, Progress
from synthrelease.records import AuditRecord
from synthrelease.release_records import Removal
from synthrelease.settings import AuditSettings
from synthrelease.workers import HERE, Workers

if TYPE_CHECKING:  # it loads torch
    from synthrelease.privacy.audit import Audit

_LOG = logging.getLogger(__name__)


def audited(roles: opening.OpenRoles, settings: AuditSettings, progress: Progress, workers: Workers = HERE) -> Audit:
    """Return what an audit of opened roles found, with the verdict of the audit's own policy."""
    from synthrelease.privacy.audit import audit as run

    memory.blocks_at_once(1)  # too little is said before hours of embedding
    cache = store.cache_folder()
    extractors, unfitted = opening.extractors(settings, roles.train, cache, progress)
    found = run(
        train=roles.train,
        holdout=roles.holdout,
        synthetic=roles.synthetic,
        extractors=extractors,
        unfitted=unfitted,
        settings=settings,
        made_with=opening.made_with(settings),
        cache=cache,
        progress=progress,
        excluded=settings.exclude,
        workers=workers,
    )
    verdict, findings = policy.judge(policy.measures_of(found.record), policy.built_in(settings.power_floor))
    return replace(found, record=found.record.model_copy(update={"verdict": verdict, "findings": findings}))


def audit_into(
    evidence: Path,
    roles: opening.OpenRoles,
    settings: AuditSettings,
    progress: Progress,
    *warnings: str,
    workers: Workers = HERE,
) -> AuditRecord:
    """Audit, and write everything that the evidence folder holds; an earlier attempt is put aside first."""
    with store.one_writer(evidence):  # two audits into one folder would mix their files
        return _audit_alone(evidence, roles, settings, progress, warnings, workers)


def _audit_alone(
    evidence: Path,
    roles: opening.OpenRoles,
    settings: AuditSettings,
    progress: Progress,
    warnings: Sequence[str],
    workers: Workers,
) -> AuditRecord:
    content = roles.synthetic.content
    attempt = max(settings.attempt, keeping.next_attempt(evidence, content))
    found = audited(roles, settings.model_copy(update={"attempt": attempt}), progress, workers)
    record = found.record.model_copy(update={"warnings": (*found.record.warnings, *warnings)})
    keeping.put_aside(evidence, content)
    keeping.keep_inputs(
        evidence,
        train=roles.train,
        holdout=roles.holdout,
        synthetic=roles.synthetic,
        sources=roles.sources,
        cache=store.cache_folder(),
        progress=progress,
    )
    _take_pairs(evidence, found, record)
    record = keeping.keep_audit(evidence, record)
    keeping.note_audit(
        evidence, synthetic=content, verdict=record.verdict, images=len(roles.synthetic), attempt=attempt
    )
    write_report(evidence)
    return record


def _take_pairs(evidence: Path, found: Audit, record: AuditRecord) -> None:
    """Copy the pairs for readers into the evidence, from the cache where the same audit made them before."""
    from synthrelease.privacy.readers import VERSION, pairs_to_read, reading_order

    def make(folder: Path) -> None:
        pairs = ((pair.info, pair.images()) for pair in pairs_to_read(found))
        keeping.keep_pairs(folder, pairs, lambda infos: reading_order(infos, record.made_with.seed))

    made_from = [VERSION, store.digest(keeping.timeless(record).model_dump(mode="json"))]
    store.kept(store.cache_folder(), "pairs", made_from, make, lambda folder: keeping.take_pairs(evidence, folder))


def audit_without(evidence: Evidence, removal: Removal, progress: Progress) -> AuditRecord:
    """Audit what remains without the removed images, and log what was removed."""
    sources = evidence.sources()
    settings = opening.settings_of(evidence.audit, sources)
    smaller = sources.model_copy(update={"removed": (*sources.removed, *removal.images)})
    roles = opening.open_again(smaller, settings, store.cache_folder(), progress)
    removed = removal.model_dump(mode="json")
    acts = [entry for entry in log.read(evidence.folder) if entry.action in ("remove", "audit")]
    if not acts or acts[-1].action != "remove" or acts[-1].data != removed:  # a killed run has said it already
        log.append(evidence.folder, "remove", data=removed)
    warning = (
        f"{len(smaller.removed)} images were taken out as suspects before this audit. That none of what remains is a "
        "suspect shows nothing by itself: the decision counts what may remain."
    )
    return audit_into(evidence.folder, roles, settings, progress, warning)


def write_report(evidence: Path) -> None:
    """Write the internal report; what was decided or signed stands in the log, whether or not its page can be drawn."""
    from synthrelease.report.again import render

    try:
        render(evidence, None)
    except SynthreleaseError as error:
        _LOG.warning("report.html was not written: %s Later: synthrelease report EVIDENCE.", error.problem)


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
    opening.check_extractors(settings)
    roles = opening.OpenRoles(
        opening.in_memory("train", train, train_subjects, channels),
        None if holdout is None else opening.in_memory("holdout", holdout, holdout_subjects, channels),
        opening.in_memory("synthetic", synthetic, synthetic_subjects, channels),
        opening.NOWHERE,
    )
    if out is None:
        return audited(roles, settings, progress).record
    return audit_into(store.private_folder(out / "evidence"), roles, settings, progress)
