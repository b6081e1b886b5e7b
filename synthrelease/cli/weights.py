"""`synthrelease weights`: known weights files, importing one, and where imported ones lie."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import click


@click.group()
def command() -> None:
    """List, import and find the weights of RadImageNet networks.

    They are not shipped. Fetch a file from its project's page, then import it: everything runs offline.
    """


@command.command("list")
@click.option("--json", "as_json", is_flag=True, help="One JSON document on stdout.")
def list_(as_json: bool) -> None:
    """Show every known file, its source, licence and SHA-256, and what is installed.

    \b
    synthrelease weights list
    """
    from synthrelease import study

    found = study.weights_list()
    if as_json:
        click.echo(json.dumps(asdict(found), default=str))
        return
    for file in found.known:
        hash_line = f"{file.sha256} ({file.sha256_status})" if file.sha256 else "none published"
        click.echo(f"{file.name}  [{file.form}]  {' or '.join(file.file_names)}")
        click.echo(f"  from     {file.source}\n  licence  {file.licence}\n  sha256   {hash_line}")
    click.echo("\nInstalled:" if found.installed else f"\nNothing is installed in {found.folder}.")
    for item in found.installed:
        click.echo(f"  {item.name}  [{item.form}]  {item.path}\n    sha256 {item.sha256}\n    {item.recognised}")


@command.command("import")
@click.argument("name")
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--json", "as_json", is_flag=True, help="One JSON document on stdout.")
def import_(name: str, file: Path, as_json: bool) -> None:
    """Check FILE and install it as the weights of the extractor NAME.

    \b
    synthrelease weights import radimagenet-resnet50 ResNet50.pt
    """
    from synthrelease import study

    found = study.weights_import(name, file)
    if as_json:
        click.echo(json.dumps(asdict(found), default=str))
        return
    click.echo(f"Installed {found.original_name} as {found.name} [{found.form}].")
    click.echo(f"  {found.path}\n  sha256 {found.sha256}\n  {found.recognised}")


@command.command("where")
@click.option("--json", "as_json", is_flag=True, help="One JSON document on stdout.")
def where(as_json: bool) -> None:
    """Print the folder of imported weights.

    \b
    synthrelease weights where
    """
    from synthrelease import study

    folder = study.weights_list().folder
    click.echo(json.dumps({"folder": str(folder)}) if as_json else str(folder))


@command.command("fit-head")
@click.argument("name")
@click.option("--images", required=True, type=click.Path(path_type=Path), help="Labelled real images.")
@click.option("--labels", required=True, type=click.Path(path_type=Path), help="CSV: label, and image_id or subject.")
@click.option("--out", required=True, type=click.Path(path_type=Path), help="The head, an NPZ file.")
@click.option("--weights", type=click.Path(path_type=Path), help="Weights file; default: the imported one.")
@click.option("--channel", help="Contrast to look at; default: the first.")
@click.option("--seed", default=0, show_default=True, help="Of the folds behind the accuracy.")
@click.option("--json", "as_json", is_flag=True, help="One JSON document on stdout.")
def fit_head(name: str, images: Path, labels: Path, out: Path, as_json: bool, **options: Any) -> None:
    """Fit a surrogate class head for the extractor NAME, for inception scores.

    No head of RadImageNet is published. A linear head on your own labels stands in for it, and says so: its score is
    named radis_surrogate_NAME and carries the head's accuracy on patients that it did not see.

    \b
    synthrelease weights fit-head radimagenet-resnet50 --images train \\
        --labels grades.csv --out head.npz
    synthrelease measure ... --head radimagenet-resnet50=head.npz
    """
    from synthrelease import study
    from synthrelease.cli.console import ConsoleProgress

    found = study.weights_fit_head(name, images=images, labels=labels, out=out, progress=ConsoleProgress(), **options)
    if as_json:
        click.echo(json.dumps(found))
        return
    click.echo(f"Wrote {out}: {len(found['classes'])} classes from {found['images']} images.")
    click.echo(
        f"  accuracy on held-out patients {found['accuracy']:.2f} "
        f"({found['accuracy_low']:.2f} to {found['accuracy_high']:.2f}); guessing {found['commonest_class']:.2f}"
    )
