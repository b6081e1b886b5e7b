"""`synthrelease weights`: known weights files, importing one, and where imported ones lie."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

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
