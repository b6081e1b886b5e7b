"""`synthrelease sample`: images from a trained generator, each from its own seed."""

from __future__ import annotations

import shlex
from pathlib import Path

import click

from synthrelease.cli.console import ConsoleProgress


@click.command("sample")
@click.argument("model", type=click.Path(path_type=Path))
@click.option("--count", type=click.IntRange(min=1), required=True, help="Images to make.")
@click.option(
    "--seed",
    default=0,
    show_default=True,
    type=click.IntRange(min=0),
    help="Image i has the seed SEED + i: 0 and 1 overlap.",
)
@click.option("--out", type=click.Path(path_type=Path), required=True, help="Image set to write.")
@click.option(
    "--truncation",
    type=click.FloatRange(0, 1),
    help="psi of a StyleGAN: below 1, images are nearer to the mean one and less varied.  [default: 1]",
)
@click.option("--sampler", type=click.Choice(["dpm++", "ddim", "ddpm"]), help="Of a diffusion model; default: dpm++.")
@click.option("--sampling-steps", type=click.IntRange(min=1), help="Of a diffusion model; default: the sampler's own.")
@click.option("--device", default="auto", show_default=True, help="auto, cpu, cuda or cuda:N.")
@click.option("--json", "as_json", is_flag=True, help="Print the record of the sampling on stdout.")
def command(
    model: Path,
    count: int,
    seed: int,
    out: Path,
    truncation: float | None,
    sampler: str | None,
    sampling_steps: int | None,
    device: str,
    as_json: bool,
) -> None:
    """Make synthetic images with a trained model.

    Image i depends on its seed alone. Contrasts are 8 bits; the mask is brought to the legal label levels, and the
    share of pixels that were off them is kept in `sampling.json`. An interrupted run goes on where it stopped.

    \b
    synthrelease sample model --count 1000 --seed 0 --out made
    """
    from synthrelease import study

    record = study.sample(
        model,
        range(seed, seed + count),
        out,
        truncation=truncation,
        sampler=sampler,
        sampling_steps=sampling_steps,
        device=device,
        progress=ConsoleProgress(),
    )
    if as_json:
        click.echo(record.model_dump_json(indent=1))
        return
    click.echo(f"{count} images in {out}.")
    if record.mask is not None:
        far = record.mask.off_level_share_of_tumour
        click.echo(f"Before masks were brought to their levels, {far:.1%} of the tumour pixels were far")
        click.echo("off every one of them: a measure of quality, kept in sampling.json.")
    click.echo(f"Next: synthrelease audit --train SET --holdout SET --synthetic {shlex.quote(str(out))} --out DIR")
