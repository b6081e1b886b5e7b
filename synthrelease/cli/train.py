"""`synthrelease train`: a generator learns from an image set; `--dry-run` shows what would be built."""

from __future__ import annotations

import json
import shlex
from pathlib import Path
from typing import Any

import click

from synthrelease.cli.console import ConsoleProgress
from synthrelease.cli.setting import SettingChange
from synthrelease.records import TrainingPlan


@click.command("train")
@click.option(
    "--generator", required=True, metavar="NAME", help="progan, stylegan1, stylegan2, stylegan3 or diffusion."
)
@click.option("--images", type=click.Path(path_type=Path), help="Image set to learn from: train alone.")
@click.option("--out", type=click.Path(path_type=Path), help="Folder of the model: checkpoints, scalars, sample grids.")
@click.option("--steps", type=click.IntRange(min=1), help="Optimiser steps in all.")
@click.option(
    "--kimg",
    type=click.FloatRange(min=0, min_open=True),
    help="Instead: thousand images seen in all.  [default: the paper's, for GANs]",
)
@click.option("--resolution", default=256, show_default=True, help="Height and width, a power of two.")
@click.option(
    "--config", metavar="PRESET", help="A named configuration; the default is the published one. small: for a CPU."
)
@click.option(
    "--set",
    "changes",
    multiple=True,
    type=SettingChange("channel_max=64"),
    help="Change one setting, e.g. --set r1=2; --dry-run lists those of the networks. May be repeated.",
)
@click.option("--resume", is_flag=True, help="Go on from the newest checkpoint in OUT.")
@click.option("--batch", type=click.IntRange(min=1), help="Images per step; default: the published number.")
@click.option("--seed", default=0, show_default=True, help="Of weights, order of images and noise.")
@click.option(
    "--augment",
    type=click.Choice(["none", "medical", "shifts", "official"]),
    help="Adaptive augmentation (StyleGAN 1 to 3), for few images; default: none.",
)
@click.option("--holdout", type=click.Path(path_type=Path), help="Image set of other subjects, for --screen-kimg.")
@click.option(
    "--screen-kimg",
    type=click.FloatRange(min=0),
    default=0,
    help="Every so many thousand images, look whether samples are near copies of train, and stop if so.",
)
@click.option(
    "--best",
    type=click.Choice(["fd", "own"]),
    help="What the best checkpoint is best in: Frechet distance to train (default of GANs), or the own loss "
    "(default of diffusion).",
)
@click.option("--checkpoint-every", type=click.IntRange(min=1), help="Steps between checkpoints.  [default: 2000]")
@click.option("--sample-every", type=click.IntRange(min=0), help="Steps between sample grids.  [default: 2000]")
@click.option("--precision", type=click.Choice(["none", "bf16", "fp16"]), default="none", show_default=True)
@click.option("--device", default="auto", show_default=True, help="auto, cpu, cuda or cuda:N.")
@click.option("--channels", type=click.IntRange(min=1), default=5, show_default=True, help="Of a dry run's images.")
@click.option("--dry-run", is_flag=True, help="Print settings and network sizes and stop; needs no images.")
@click.option("--json", "as_json", is_flag=True, help="Print the answer on stdout as JSON.")
def command(
    generator: str,
    dry_run: bool,
    as_json: bool,
    channels: int,
    changes: tuple[tuple[str, object], ...],
    **options: Any,
) -> None:
    """Train a generator on an image set.

    Model files are safetensors and JSON. They can hold what they learnt from, so they are a release of their own:
    `package` never includes them. On several GPUs:
    torchrun --nproc-per-node 4 --no-python synthrelease train ...

    \b
    synthrelease train --generator stylegan2 --dry-run --json
    synthrelease train --generator stylegan2 --images sets/train --out model \\
        --config small --resolution 64 --kimg 20
    synthrelease train --generator diffusion --images sets/train --out model \\
        --resolution 256 --steps 100000 --holdout sets/holdout --screen-kimg 200
    """
    from synthrelease import study

    if dry_run:
        shape = {name: options[name] for name in ("config", "resolution", "batch")}
        plan = study.train_plan(generator, channels=channels, changes=dict(changes), **shape)
        click.echo(plan.model_dump_json(indent=1) if as_json else _planned(plan))
        return
    missing = [f"--{name}" for name in ("images", "out") if options[name] is None]
    if missing:
        raise click.UsageError(f"Training needs {', '.join(missing)}; with --dry-run it needs none of them.")
    if options["steps"] is not None and options["kimg"] is not None:
        raise click.UsageError("Give --steps or --kimg, not both.")
    given = {name: value for name, value in options.items() if value is not None}
    folder = study.train(generator, changes=dict(changes), progress=ConsoleProgress(), **given)
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
