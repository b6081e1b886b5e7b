"""`synthrelease segment`: do segmenters learn from synthetic images what they learn from real ones?"""

from __future__ import annotations

import textwrap
from pathlib import Path
from typing import Any

import click

from synthrelease.cli.console import ConsoleProgress
from synthrelease.cli.setting import SettingChange
from synthrelease.release_records import Measurement, UtilityRecord

FEW = 10  # subjects: a bootstrap of fewer misses the truth far more often than it says
WORDS = {"real": "real", "synthetic": "synthetic", "both": "synthetic + real"}
SHOWN = {**WORDS, "chance": "one fixed mask"}


@click.command("segment")
@click.option("--real", type=click.Path(path_type=Path), help="Image set of real train subjects, with masks.")
@click.option("--synthetic", type=click.Path(path_type=Path), help="Image set that a generator made, with masks.")
@click.option(
    "--test",
    required=True,
    type=click.Path(path_type=Path),
    help="Image set of real subjects that nobody trained on: all scores come from it.",
)
@click.option("--out", required=True, type=click.Path(path_type=Path), help="Results; they stay inside.")
@click.option(
    "--train-on",
    multiple=True,
    type=click.Choice(list(WORDS)),
    help="May be repeated; default: real and synthetic, as far as they are given.",
)
@click.option("--network", type=click.Choice(["unet", "swin"]), default="unet", show_default=True)
@click.option("--preset", help="akbar2024 (default; needs a GPU) or small, for a CPU.")
@click.option("--seeds", type=click.IntRange(min=1), default=1, show_default=True, help="Trainings per training set.")
@click.option("--first-seed", type=click.IntRange(min=0), default=0, show_default=True, help="The others follow it.")
@click.option("--augment", is_flag=True, help="Turn, stretch, blur training images, add noise, change gamma.")
@click.option(
    "--real-share",
    type=click.FloatRange(0, 1, min_open=True, max_open=True),
    help="With both: share of the images seen that is real.  [default: 0.5]",
)
@click.option(
    "--real-fraction",
    type=click.FloatRange(0, 1, min_open=True),
    help="Use only this share of the real subjects.  [default: 1]",
)
@click.option("--size", type=click.IntRange(min=16), help="Longest side in training, pixels; default: as tested.")
@click.option("--steps", type=click.IntRange(min=1), help="Optimiser steps; default: the preset's.")
@click.option("--batch", type=click.IntRange(min=1), help="Images per step; default: the preset's.")
@click.option("--patience", type=click.IntRange(min=0), help="Stop after so many validations without gain; 0: never.")
@click.option(
    "--set",
    "changes",
    multiple=True,
    type=SettingChange("batch=16"),
    help="Change one setting, e.g. --set optimiser=adamw.",
)
@click.option("--precision", type=click.Choice(["none", "bf16", "fp16"]), help="Arithmetic; study: fp16.")
@click.option("--device", default="auto", show_default=True, help="auto, cpu, cuda or cuda:N.")
@click.option("--resume", is_flag=True, help="Go on where an earlier run into OUT stopped.")
@click.option("--json", "as_json", is_flag=True, help="Print the record on stdout.")
def command(
    train_on: tuple[str, ...],
    seeds: int,
    first_seed: int,
    changes: tuple[tuple[str, object], ...],
    as_json: bool,
    **options: Any,
) -> None:
    """Train segmenters on real and synthetic images and compare them on real patients.

    Relative Dice is mean Dice trained on synthetic over mean Dice trained on real: 1 means that the synthetic
    images teach as much. It says nothing about copies of patients: that is `audit`. One training is one throw
    of the dice; give --seeds 10, as the reference study did, for an interval that knows it.

    OUT/utility.json holds the record for `decide --utility`, OUT/subjects.csv every subject and region, OUT/models
    the trainings. On several GPUs:
    torchrun --nproc-per-node 4 --no-python synthrelease segment ...

    \b
    synthrelease segment --real sets/train --synthetic made --test sets/test \\
        --out useful --preset small --seeds 3
    synthrelease segment --real sets/train --synthetic made --test sets/test \\
        --out mixed --train-on both --real-share 0.2 --real-fraction 0.1
    """
    from synthrelease import study

    flat = ("real_share", "real_fraction", "steps", "batch", "patience", "precision")
    named = {name: value for name in flat if (value := options.pop(name)) is not None}
    given = [name for name in ("real", "synthetic") if options[name] is not None]
    if not given:
        raise click.UsageError("Training needs images: give --real, --synthetic or both.")
    record = study.segment(
        train_on=train_on or given,
        seeds=range(first_seed, first_seed + seeds),
        changes={**dict(changes), **named},
        progress=ConsoleProgress(),
        **options,
    )
    if record is not None:
        click.echo(record.model_dump_json(indent=1) if as_json else _summary(record, options["out"]))


def _summary(record: UtilityRecord, out: Path) -> str:
    lines = [f"{record.segmenter}, {record.seeds} seed{'s' if record.seeds > 1 else ''}", ""]
    for item in record.measurements:
        if item.name.startswith("relative_dice_") and item.value is not None:
            arm = SHOWN[item.name.rpartition("_")[2]]
            lines.append(f"  relative Dice of {arm}: {_interval(item)}")
    rows = [item for item in record.measurements if item.name.startswith("dice_")]
    if any(line.startswith("  relative") for line in lines):
        lines.append("")
    lines.append(f"  {'trained on':<18}{'region':<9}{'Dice (95 % interval)':<26}subjects")
    for item in rows:
        _, region, arm = item.name.split("_", 2)
        lines.append(f"  {SHOWN[arm]:<18}{region:<9}{_interval(item):<26}{item.count:>8}")
    notes = [
        f"{item.name.split('_')[1]}, {SHOWN[item.name.split('_', 2)[2]]}: {item.note}"
        for item in rows
        if item.note and not item.name.endswith("_chance")
    ]
    for note in notes:
        lines += textwrap.wrap(note, 76, initial_indent="  ", subsequent_indent="    ")
    if any(item.name.endswith("_chance") for item in rows):
        lines += [
            "",
            "  One fixed mask: laid on everybody where train tumours usually lie.",
            "  A Dice is only low or high beside it.",
        ]
    lines.append("")
    if record.seeds == 1:
        lines.append("  One training each: how much another seed would differ is not known.")
    if max((item.count or 0) for item in rows) < FEW:
        lines.append(f"  Fewer than {FEW} test subjects: the intervals are too narrow to be trusted.")
    lines += ["", f"Record with Hausdorff distances: {out / 'utility.json'}", f"Each subject: {out / 'subjects.csv'}"]
    lines.append("The folder names real subjects and holds weights: keep it inside.")
    return "\n".join(lines)


def _interval(item: Measurement) -> str:
    if item.value is None or item.low is None or item.high is None:
        return "empty everywhere"
    return f"{item.value:.3f} ({item.low:.3f} to {item.high:.3f})"
