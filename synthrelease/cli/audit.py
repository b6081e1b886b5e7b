"""`synthrelease audit`: three folders in, calibrated evidence and a report out."""

from __future__ import annotations

import textwrap
from pathlib import Path
from typing import Any

import click

from synthrelease.cli.cluster import cluster_option
from synthrelease.cli.console import ConsoleProgress
from synthrelease.cli.setting import largest, memory_limit
from synthrelease.errors import ExitCode
from synthrelease.records import AuditRecord, Finding
from synthrelease.settings import AuditSettings

EXIT_CODES = {
    "pass": ExitCode.DONE,
    "review": ExitCode.REVIEW_OR_INCOMPLETE,
    "incomplete": ExitCode.REVIEW_OR_INCOMPLETE,
    "reject": ExitCode.REJECTED,
}
NEXT = {
    "pass": "No rule was broken. This is copy screening: it is not proof that nobody can be recognised.",
    "review": "A person has to look: open the report at the pairs.",
    "incomplete": "Something could not be checked. Mend it and run the same command again.",
    "reject": "Do not release these images as they are.",
}


@click.command("audit")
@click.option("--train", required=True, type=click.Path(path_type=Path), help="Images that the generator saw.")
@click.option(
    "--holdout", type=click.Path(path_type=Path), help="Images of other patients from the same source: the yardstick."
)
@click.option("--synthetic", required=True, type=click.Path(path_type=Path), help="What the generator made.")
@click.option("--out", required=True, type=click.Path(path_type=Path), help="Results go to OUT/evidence (mode 0700).")
@click.option(
    "--extractor",
    "extractors",
    multiple=True,
    metavar="NAME",
    help="embedded (default), pixels, radimagenet-resnet50, -inceptionv3, -densenet121. May be given several times.",
)
@click.option(
    "--weights",
    multiple=True,
    metavar="[NAME=]FILE",
    help="Weights file of an extractor; plain FILE when one extractor is given.",
)
@click.option("--subject-pattern", metavar="REGEX", help="Searched in the relative path; group 1 is the subject.")
@click.option("--channels", metavar="A,B,...", help="Contrasts to compare; default: all that the folders share.")
@click.option("--exclude", multiple=True, metavar="PATH", help="Leave out a file by its relative path; recorded.")
@click.option("--alpha", default=0.01, show_default=True, help="Share of strangers' images that may be flagged.")
@click.option("--seed", default=0, show_default=True, help="Of planted copies, bootstrap and permutations.")
@click.option("--image-size", default=128, show_default=True, help="Pixels at which images are compared.")
@click.option(
    "--attempt",
    default=1,
    show_default=True,
    help="Which audit of this release, at least; other images audited into OUT count. Later ones pay in bounds.",
)
@click.option("--train-encoder", is_flag=True, help="Train the copy encoder on your train images first (minutes).")
@click.option("--no-parts", is_flag=True, help="Skip the search on patches and tumours.")
@cluster_option
@memory_limit
@largest
@click.option("--json", "as_json", is_flag=True, help="Print the record on stdout.")
def command(
    train: Path, holdout: Path | None, synthetic: Path, out: Path, cluster: str, as_json: bool, **options: Any
) -> None:
    """Audit synthetic images for memorised patients.

    Each of TRAIN, HOLDOUT and SYNTHETIC is a prepared image set or a folder: a folder per subject, a flat
    folder of PNG, TIFF, WebP, NIfTI, DICOM or NPY files, BraTS folders, or one NPZ.

    \b
    synthrelease audit --train train --holdout holdout --synthetic made --out result
    synthrelease audit ... --subject-pattern '(TCGA_[A-Z0-9]+_[A-Z0-9]+)'

    Exit codes: 0 pass, 3 review or incomplete, 4 reject, 1 an error you can fix.
    """
    from synthrelease import study

    settings = _settings(options)
    record = study.audit(
        train=train,
        holdout=holdout,
        synthetic=synthetic,
        out=out,
        settings=settings,
        progress=ConsoleProgress(),
        cluster=cluster,
    )
    click.echo(record.model_dump_json(indent=1) if as_json else _summary(record, out))
    click.get_current_context().exit(EXIT_CODES[record.verdict])


def _settings(options: dict[str, Any]) -> AuditSettings:
    extractors = tuple(options.pop("extractors"))
    weights: dict[str, Path] = {}
    for item in options.pop("weights"):
        name, named, file = item.partition("=")
        if not named or Path(item).exists():  # a path may hold "=" itself
            file = item
            if len(extractors) != 1:
                raise click.UsageError("--weights FILE needs exactly one --extractor; else write --weights NAME=FILE.")
            name = extractors[0]
        weights[name] = Path(file)
    channels = options.pop("channels") or ""
    return AuditSettings.checked(
        extractors=extractors,
        weights=weights,
        channels=tuple(name.strip() for name in channels.split(",") if name.strip()),
        parts=not options.pop("no_parts"),
        **options,
    )


def _summary(record: AuditRecord, out: Path) -> str:
    near = record.near_copies
    lines = [f"Verdict: {record.verdict.upper()}. {NEXT[record.verdict]}", ""]
    reasons = _reasons(record)
    lines += [*reasons, ""] if reasons else []
    if record.calibrated and near.holdout and near.excess:
        lines += [
            f"  near copies   synthetic {near.synthetic.value:.2%}, strangers {near.holdout.value:.2%}, "
            f"excess {near.excess.value:+.2%}",
            f"                (95 % interval of the excess {near.excess.low:+.2%} to {near.excess.high:+.2%})",
            f"  suspects      {len(record.suspects)} of {near.synthetic.count} images, "
            f"{len(record.alarms)} above alarm, {len(record.exact_copies)} exact",
            f"  parts         {len(record.part_suspects)} suspects, {record.part_alarms_count} above alarm",
        ]
    else:
        lines += [f"  exact copies  {len(record.exact_copies)}", "  Nothing else is calibrated: there is no holdout."]
    caught = [bound.power_low for bound in record.bounds if bound.required]
    if caught:
        lines.append(f"  power         at least {min(caught):.0%} of each required kind of planted copy is caught")
    for warning in record.warnings:
        lines += textwrap.wrap(f"  warning       {warning}", 78, subsequent_indent=" " * 16)
    names = ", ".join(e.name for e in record.made_with.extractors if e.searched)
    lines += [f"  searched with {names}", f"  not tested    {len(record.not_tested)} things, listed in the report", ""]
    lines.append(f"Report: {out / 'evidence' / 'report.html'}  (holds patient images: keep it inside)")
    return "\n".join(lines)


def _reasons(record: AuditRecord) -> list[str]:
    """Return what broke a rule, in words that cannot be read the other way round."""
    failed = [finding for finding in record.findings if not finding.passed]
    lines = [f"  {f.outcome:<10}  {_broken(f, record)}" for f in failed if f.value is not None]
    unknown = [f.rule.lower() for f in failed if f.value is None]
    if unknown and not record.calibrated:
        lines.append(f"  incomplete  {len(unknown)} rules could not be checked without a holdout")
    elif unknown:
        lines += [f"  incomplete  not measured: {rule}" for rule in unknown]
    return [part for line in lines for part in textwrap.wrap(line, 78, subsequent_indent=" " * 14)]


def _broken(finding: Finding, record: AuditRecord) -> str:
    value, limit = finding.value or 0.0, finding.limit
    match finding.measure:
        case "exact_copies":
            return f"exact copies of train images: {value:.0f} (allowed: {limit:.0f})"
        case "excess_low":
            return f"excess of near copies is at least {value:.2%} (allowed: {limit:.2%})"
        case "calibrated":
            return "there is no holdout: nothing is calibrated"
        case "holdout_subjects":
            return f"{value:.0f} holdout subjects (needed: at least {limit:.0f})"
        case "unread_files":
            return f"{value:.0f} files could not be read (mend them, or name them with --exclude)"
        case "representative":
            return "a classifier tells holdout from train: the holdout is no yardstick"
        case "power_low":
            return f"power is only shown to be {value:.2f} (needed: at least {limit:.2f})"
        case "transferable":
            return "synthetic images resemble train less than strangers do: no fair yardstick"
        case "alarms":
            bound = record.stranger_bound
            chance = f"; a new stranger gets there with a chance of up to {bound:.0%}" if bound else ""
            return f"{len(record.alarms)} images and {record.part_alarms_count} parts above alarm (allowed: 0{chance})"
        case "membership_above_null":
            return f"the membership attack is {value:.3f} above what chance allows"
    return f"{finding.rule}: {value:.4g} (limit {limit:.4g})"
