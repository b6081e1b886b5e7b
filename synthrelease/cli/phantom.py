"""`synthrelease phantom`: a cohort of made-up heads to try everything on."""

from __future__ import annotations

import json
import shlex
from pathlib import Path

import click

from synthrelease.settings import PhantomSettings


@click.command("phantom")
@click.argument("out", type=click.Path(file_okay=False, path_type=Path))
@click.option("--subjects", type=int, default=12, show_default=True, help="Subjects to make.")
@click.option("--seed", type=int, default=0, show_default=True, help="Another seed, another cohort.")
@click.option("--size", type=int, default=240, show_default=True, help="In-plane pixels, 32 to 240; 240 is 1 mm.")
@click.option(
    "--naming",
    type=click.Choice(["2020", "2021", "2023"]),
    default="2021",
    show_default=True,
    help="BraTS year whose file names and labels are used.",
)
@click.option("--json", "as_json", is_flag=True, help="One JSON document on stdout.")
def command(*, out: Path, as_json: bool, **options: object) -> int:
    """Make a cohort of procedural head scans in OUT, laid out like BraTS.

    Nobody was scanned for these: heads, folds, ventricles and tumours are drawn from the seed, so they can be shared
    freely and the true answer to every question is known. An interrupted run continues where it stopped.

    \b
    synthrelease phantom cohort --subjects 12 --seed 0
    synthrelease phantom small --subjects 60 --size 64
    """
    from synthrelease import study
    from synthrelease.cli.console import ConsoleProgress

    settings = PhantomSettings.checked(**options)
    folders = study.phantom(out, settings, ConsoleProgress())
    click.echo(_document(out, settings, folders) if as_json else _summary(out, settings, folders))
    return 0


def _summary(out: Path, settings: PhantomSettings, folders: list[Path]) -> str:
    cases = f"{len(folders)} case{'' if len(folders) == 1 else 's'}"
    sets = out.parent / f"{out.name}-sets" if out.name not in {"", ".."} else Path("../phantom-sets")
    return (
        f"{cases} in {out} ({folders[0].name} to {folders[-1].name}), {settings.size} pixels across, "
        f"seed {settings.seed}.\nProcedural phantoms, not patients.\n\n"
        f"Next: synthrelease prepare {shlex.quote(str(out))} --out {shlex.quote(str(sets))}"
    )


def _document(out: Path, settings: PhantomSettings, folders: list[Path]) -> str:
    cases = [folder.name for folder in folders]
    return json.dumps({"out": str(out), **settings.model_dump(), "cases": cases}, indent=1)
