"""`synthrelease package`: approved evidence in, a package that a stranger can check out."""

from __future__ import annotations

import textwrap
from pathlib import Path

import click

from synthrelease.cli import printable
from synthrelease.cli.console import ConsoleProgress
from synthrelease.release_records import PackageInfo, ReleaseOptions


@click.command("package")
@click.argument("evidence", type=click.Path(path_type=Path))
@click.option("--out", required=True, type=click.Path(path_type=Path), help="The package: a new folder.")
@click.option("--licence", "--license", required=True, metavar="SPDX", help="SPDX expression, e.g. CC-BY-4.0.")
@click.option("--title", required=True, help="Name of the data set, as strangers will read it.")
@click.option(
    "--creator", "creators", required=True, multiple=True, help="Person or group; may be given several times."
)
@click.option("--key", type=click.Path(path_type=Path), help="Private key; default: your own, made once.")
@click.option(
    "--format",
    "image_format",
    type=click.Choice(["nifti", "png", "dicom"]),
    default="nifti",
    show_default=True,
    help="nifti keeps volumes whole and every number type; png opens as images; dicom is marked as synthetic.",
)
@click.option("--description", default="", help="What the images show, and what for.")
@click.option("--contact", default="", help="Where to ask for withdrawal: an address that may be public.")
@click.option("--generator", default="", help="Generator and its settings, in words.")
@click.option("--intended-uses", default="", help="What the images are meant for.")
@click.option("--version", default="1.0.0", show_default=True, help="Of the release.")
@click.option("--json", "as_json", is_flag=True, help="Print what was built on stdout.")
def command(evidence: Path, out: Path, key: Path | None, as_json: bool, **said: object) -> None:
    """Build a release package from approved evidence: all of it, or nothing.

    EVIDENCE is the OUT of an audit, or OUT/evidence. The package holds images with fresh headers,
    numbered in an order that only your key can tell, a dataset card, machine-readable metadata, a public
    report, a manifest and a signed statement. Before it takes its name it is searched for everything
    known of real patients; whatever is found is named, and there is no package.

    \b
    synthrelease package result --out release --licence CC-BY-4.0 \\
        --title "Synthetic brain MRI" --creator "Department of Radiology"

    Exit codes: 0 done, 1 an error you can fix, 3 not approved, 4 rejected,
    5 evidence or images are not what was audited.
    """
    from synthrelease import study

    options = ReleaseOptions.model_validate(said)
    built = study.package(evidence, out, options, key=key, progress=ConsoleProgress())
    click.echo(built.model_dump_json(indent=1) if as_json else _summary(built, out))


def _summary(built: PackageInfo, out: Path) -> str:
    word = "is there already, the same to the last byte" if built.unchanged else "is ready"
    basis = f"{built.decision}{', overridden by an approval with its reason' if built.overridden else ''}"
    lines = [
        f"The package {out} {word}.",
        "",
        f"  title      {built.title}, version {built.version}, {built.date}",
        f"  images     {built.images}",
        f"  files      {built.files}, {_size(built.bytes)}",
        f"  decision   {basis}",
        f"  signed by  key {built.key.key_id[:16]}",
        f"  key file   {built.key.path}{' (made just now: keep a copy)' if built.key.made else ''}",
        "",
    ]
    lines += textwrap.wrap(
        "Give recipients your public key by another way than the package; then they can tell that it comes from you:",
        78,
    )
    lines += [f"  synthrelease verify {out} --key publisher.pub"]
    return printable("\n".join(lines))


def _size(count: int) -> str:
    for unit, size in (("GB", 1e9), ("MB", 1e6), ("KB", 1e3)):
        if count >= size:
            return f"{count / size:.1f} {unit}"
    return f"{count} bytes"
