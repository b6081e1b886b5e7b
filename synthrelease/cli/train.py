"""`synthrelease train`: a generator learns from an image set; `--dry-run` shows what would be built."""

from __future__ import annotations

import json
import shlex
from pathlib import Path
from typing import Any

import click

from synthrelease.cli.console import ConsoleProgress
from synthrelease.records import TrainingPlan


@click.command("train")
@click.option(
    "--generator",
    required=True,
    metavar="NAME",
    help="progan, stylegan1, stylegan2, stylegan3 or diffusion. This version trains diffusion; of the others it "
    "shows the networks (--dry-run).",
)
@click.option("--images", type=click.Path(path_type=Path), help="Image set to learn from: train alone.")
@click.option("--out", type=click.Path(path_type=Path), help="Folder of the model: checkpoints, scalars, sample grids.")
@click.option("--steps", type=click.IntRange(min=1), help="Optimiser steps in all.")
@click.option("--kimg", type=click.FloatRange(min=0, min_open=True), help="Instead: thousand images seen in all.")
@click.option("--resolution", default=256, show_default=True, help="Height and width, a power of two.")
@click.option("--config", metavar="PRESET", help="A named configuration; the default is the published one.")
@click.option("--resume", is_flag=True, help="Go on from the newest checkpoint in OUT.")
@click.option("--batch", type=click.IntRange(min=1), help="Images per step; default: the published number.")
@click.option("--seed", default=0, show_default=True, help="Of weights, order of images and noise.")
@click.option("--precision", type=click.Choice(["none", "bf16", "fp16"]), default="none", show_default=True)
@click.option("--device", default="auto", show_default=True, help="auto, cpu, cuda or cuda:N.")
@click.option("--channels", type=click.IntRange(min=1), default=5, show_default=True, help="Of a dry run's images.")
@click.option("--dry-run", is_flag=True, help="Print settings and network sizes and stop; needs no images.")
@click.option("--json", "as_json", is_flag=True, help="Print the answer on stdout as JSON.")
def command(generator: str, dry_run: bool, as_json: bool, **options: Any) -> None:
    """Train a generator on an image set.

    Model files are safetensors and JSON. They can hold what they learnt from, so they are a release of their own:
    `package` never includes them.

    \b
    synthrelease train --generator stylegan2 --dry-run --json
    synthrelease train --generator diffusion --images sets/train --out model \\
        --config small --resolution 64 --batch 16 --steps 20000
    """
    from synthrelease import study

    if dry_run:
        plan = study.train_plan(
            generator, config=options["config"], resolution=options["resolution"], channels=options["channels"]
        )
        click.echo(plan.model_dump_json(indent=1) if as_json else _planned(plan))
        return
    missing = [f"--{name}" for name in ("images", "out") if options[name] is None]
    if missing or (options["steps"] is None) == (options["kimg"] is None):
        needed = [*missing, "--steps or --kimg"] if (options["steps"] is None) == (options["kimg"] is None) else missing
        raise click.UsageError(f"Training needs {', '.join(needed)}; with --dry-run it needs none of them.")
    options.pop("channels")
    folder = study.train(generator, progress=ConsoleProgress(), **options)
    if as_json:
        click.echo(json.dumps({"generator": generator, "model": str(folder)}))
    else:
        click.echo(f"Model: {folder}  (a release of its own: `package` never includes it)")
        click.echo(f"Next: synthrelease sample {shlex.quote(str(folder))} --count 1000 --out made")


def _planned(plan: TrainingPlan) -> str:
    lines = [f"{plan.generator}, configuration {plan.config}: {plan.channels} channels at {plan.resolution} px", ""]
    for name, size in plan.networks.items():
        mapping = f" ({size.mapping:,} of them in the mapping)" if size.mapping else ""
        lines.append(f"  {name:<14} {size.parameters:>12,} parameters{mapping}")
    lines += ["", *(f"  {name:<20} {value}" for name, value in plan.settings.items())]
    return "\n".join(lines)
