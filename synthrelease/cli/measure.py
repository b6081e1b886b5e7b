"""`synthrelease measure`: how much synthetic images look like real ones, beside what real images give themselves."""

from __future__ import annotations

import textwrap
from pathlib import Path
from typing import Any

import click

from synthrelease.cli.cluster import cluster_option
from synthrelease.cli.console import ConsoleProgress
from synthrelease.cli.setting import largest, memory_limit
from synthrelease.release_records import Measurement, QualityRecord
from synthrelease.settings import MeasureSettings

WIDTH = 78
Images = click.Path(path_type=Path)


@click.command("measure")
@click.option("--real", required=True, type=Images, help="Real images that the generator learnt from.")
@click.option("--synthetic", required=True, type=Images, help="What the generator made.")
@click.option("--out", required=True, type=Images, help="Folder for quality.json and quality.html (mode 0700).")
@click.option("--holdout", type=Images, help="Real images of other patients; needed for FLD and its gap.")
@click.option(
    "--extractor",
    "extractors",
    multiple=True,
    metavar="NAME",
    help="inception, radimagenet-resnet50, -inceptionv3, -densenet121, copy-encoder, pixels. May be given several "
    "times; default: copy-encoder and every imported network.",
)
@click.option(
    "--weights",
    multiple=True,
    metavar="[NAME=]FILE",
    help="Weights file of an extractor; plain FILE when one extractor is given.",
)
@click.option(
    "--head",
    "heads",
    multiple=True,
    metavar="[NAME=]FILE",
    help="NPZ with a class head (weight, bias) for the inception score of an extractor without one.",
)
@click.option("--channels", metavar="A,B,...", help="Contrasts to measure; default: all that the folders share.")
@click.option("--subject-pattern", metavar="REGEX", help="Searched in the relative path; group 1 is the subject.")
@click.option("--exclude", multiple=True, metavar="PATH", help="Leave out a file by its relative path.")
@click.option("--seed", default=0, show_default=True, help="Of halves, parts, subsets and pairs.")
@click.option(
    "--compared",
    default=50_000,
    show_default=True,
    type=click.IntRange(min=100),
    metavar="IMAGES",
    help="Most images of each set behind all measures but the Frechet distance, spectra and masks, which take all.",
)
@click.option("--no-intervals", is_flag=True, help="Skip the intervals, which cost ten times the rest.")
@cluster_option
@memory_limit
@largest
@click.option("--json", "as_json", is_flag=True, help="Print the record on stdout.")
def command(
    real: Path,
    synthetic: Path,
    out: Path,
    holdout: Path | None,
    cluster: str,
    as_json: bool,
    no_intervals: bool,
    **options: Any,
) -> None:
    """Measure the quality of synthetic images.

    FID, KID, precision, recall, density, coverage, Vendi, MIFID, FLD, inception score, intensities, sharpness,
    likeness within the set and tumour masks, per contrast and for three contrasts as colours. Every number stands
    beside its floor: the same between two halves of the real patients. What a measure means and cannot see:
    docs/measures.md. None of them can rule out copying: for that there is `synthrelease audit`.

    \b
    synthrelease measure --real train --synthetic made --out quality
    synthrelease measure --real train --synthetic made --out quality \\
        --extractor inception --weights pt_inception-2015-12-05-6726825d.pth
    synthrelease decide result --policy controlled \\
        --quality quality/quality.json

    FID is only called FID with the published Inception file; with any other extractor it is fid_NAME.

    Exit codes: 0 done, 1 an error you can fix.
    """
    from synthrelease import study

    record = study.measure(
        real=real,
        synthetic=synthetic,
        out=out,
        holdout=holdout,
        settings=_settings(options, 0 if no_intervals else 5),
        progress=ConsoleProgress(),
        cluster=cluster,
    )
    click.echo(record.model_dump_json(indent=1) if as_json else _summary(record, out))


def _settings(options: dict[str, Any], parts: int) -> MeasureSettings:
    extractors = tuple(options.pop("extractors"))
    files = {kind: _named(options.pop(kind), extractors, kind) for kind in ("weights", "heads")}
    channels = options.pop("channels") or ""
    named = tuple(name.strip() for name in channels.split(",") if name.strip())
    return MeasureSettings.checked(extractors=extractors, channels=named, parts=parts, **files, **options)


def _named(items: tuple[str, ...], extractors: tuple[str, ...], kind: str) -> dict[str, Path]:
    """Return files by extractor; a file alone belongs to the one extractor that is given."""
    found: dict[str, Path] = {}
    for item in items:
        name, named, file = item.partition("=")
        if not named or Path(item).exists():  # a path may hold "=" itself
            option = "--" + kind.removesuffix("s") if kind == "heads" else "--weights"
            if len(extractors) != 1:
                raise click.UsageError(f"{option} FILE needs exactly one --extractor; else write {option} NAME=FILE.")
            name, file = extractors[0], item
        found[name] = Path(file)
    return found


def _summary(record: QualityRecord, out: Path) -> str:
    head = (
        "Value, in brackets at the floor's count; floor: the same between halves of the real patients; 95 % interval."
    )
    lines = [*textwrap.wrap(head, WIDTH), ""]
    reasons: dict[str, list[str]] = {}
    for item in record.measurements:
        if item.value is None:
            reasons.setdefault(item.note, []).append(item.name)
            continue
        lines += _line(item)
    for reason, names in reasons.items():
        lines += ["", *textwrap.wrap(f"Not measured: {', '.join(names)}. {reason}", WIDTH, break_on_hyphens=False)]
    lines += ["", f"Record: {out / 'quality.json'}"]
    lines.append(f"Page:   {out / 'quality.html'}  (holds patient images: keep it inside)")
    return "\n".join(lines)


def _line(item: Measurement) -> list[str]:
    span = "" if item.low is None or item.high is None else f"  {item.low:.4g} to {item.high:.4g}"
    floor = "" if item.floor is None else f"  floor {item.floor:.4g}"
    matched = "" if item.matched is None else f" ({item.matched:.4g})"
    text = f"{item.value:.4g}{matched}{floor}{span}"
    name = f"  {item.name}"
    return [f"{name:<34}{text}"] if len(name) < 34 and len(text) <= WIDTH - 34 else [name, f"      {text}"]
