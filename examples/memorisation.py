"""Memorisation, made and caught: `python examples/memorisation.py --data FOLDER/lgg --out memorisation-output`.

A small diffusion model is trained far too long on three patients, and the same model for a short time on forty.
Samples of both are audited against the same holdout patients: the first must be rejected, most of its samples naming
the slice that they repeat; the second must show no excess of near copies. While they learn, the screen that can watch a
training looks at them every now and then, and the table says after which step it would have ended it.

The data are the lower-grade-glioma patients of Buda et al. 2019: a folder per patient, slices with `*_mask.png` beside
them. Nothing is downloaded. On two cores it takes up to 90 minutes; stopped at any time, the same command goes on.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from synthrelease import seeds, study, watching
from synthrelease.generators.diffusion import SamplingSettings
from synthrelease.generators.diffusion_model import Diffusion
from synthrelease.generators.sampling import as_released
from synthrelease.image_set import MASK, is_image_set, open_set
from synthrelease.image_writer import ImageSetWriter
from synthrelease.records import AuditRecord
from synthrelease.settings import AuditSettings, PrepareSettings
from synthrelease.training import checkpoint

SEED = 0
FEW, MANY = 3, 40  # patients
LEAST_SLICES = 10  # of each of the few
LONG, SHORT = 5000, 1000  # steps
PIECE = 500  # steps between looks of the screen
LEARNING_RATES = {0: 1e-3, 3000: 3e-4, 4500: 1e-4}  # from step: at the first alone, detail stays noise for long
RESOLUTION = 32
SAMPLES, LOOKED_AT = 200, 100
SAMPLING_STEPS = 25
TRAINING: dict[str, Any] = {
    "batch": 8,
    "average_decay": 0.999,
    "clip_norm": 1.0,
    "checkpoint_every": PIECE,
    "sample_every": PIECE,
    "keep_last": 3,
    "tensorboard": False,
}


def main() -> None:
    """Prepare, train, sample, audit, compare; exit 1 if an audit says something else than it must."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True, help="folder with one folder of slices per patient")
    parser.add_argument("--out", type=Path, default=Path("memorisation-output"))
    parser.add_argument("--minutes", type=float, default=90, help="stop training after so many; run again to go on")
    parser.add_argument("--precision", choices=["none", "bf16"], default="none", help="bf16 where the CPU has it")
    given = parser.parse_args()
    deadline = time.monotonic() + 60 * given.minutes
    given.out.mkdir(parents=True, exist_ok=True)

    prepare(given.data, given.out)
    train(given.out, "many", SHORT, given.precision, deadline)
    train(given.out, "few", LONG, given.precision, deadline)
    records = {name: audited(given.out, name) for name in ("few", "many")}
    print(table(given.out, records))
    problems = wrong(given.out, records)
    sys.exit("Not as it must be: " + "; ".join(problems) if problems else 0)


def prepare(data: Path, out: Path) -> None:
    """Write the image sets `out/sets/{few,many}/{train,holdout}`.

    Patients come in a shuffled order: 40 to train, the rest is the holdout of both models. The few are the first of the
    forty that have at least 10 slices.
    """
    patients = sorted(folder.name for folder in data.iterdir() if folder.is_dir())
    order = [patients[i] for i in seeds.named(SEED, "memorisation example").permutation(len(patients))]
    many, holdout = order[:MANY], order[MANY:]
    few = [name for name in many if len(list((data / name).glob("*_mask.*"))) >= LEAST_SLICES][:FEW]
    for name, chosen in (("few", few), ("many", many)):
        lists = {}
        for role, subjects in (("train", chosen), ("holdout", holdout)):
            lists[role] = out / f"{name}-{role}.txt"
            lists[role].write_text("\n".join(subjects) + "\n", encoding="utf-8")
        sets = study.prepare(data, out / "sets" / name, PrepareSettings(foreground=0.0, workers=1), lists)
        print(f"{name}: {len(chosen)} patients, {len(sets['train'])} slices", flush=True)


def train(out: Path, name: str, steps: int, precision: str, deadline: float) -> None:
    """Train up to ``steps`` in pieces; after each, the screen looks, until it first would have stopped the training."""
    folder, notes = out / "models" / name, out / f"screen-{name}.jsonl"
    screen = None
    while (done := steps_of(folder)) < steps:
        if time.monotonic() > deadline:
            sys.exit(f"Time is up after step {done} of {name}: run the same command again to go on.")
        study.train(
            "diffusion",
            images=out / "sets" / name / "train",
            out=folder,
            steps=min(steps, (done // PIECE + 1) * PIECE),
            resolution=RESOLUTION,
            config="small",
            resume=True,
            precision=precision,
            learning_rate=next(rate for first, rate in reversed(LEARNING_RATES.items()) if done >= first),
            **TRAINING,
        )
        if not any(look["stop"] for look in looks(notes)):
            screen = screen or screen_of(out, name)
            look_once(screen, folder, notes)
    if not notes.exists():
        look_once(screen_of(out, name), folder, notes)


def steps_of(folder: Path) -> int:
    """Return the step of the newest checkpoint; 0 before the first."""
    newest = checkpoint.latest(folder)
    return int(newest.name.rpartition("-")[2]) if newest else 0


def screen_of(out: Path, name: str) -> Any:
    """Return the screen of a training: the auditor's own near-copy rate on fresh samples."""
    train_set, holdout = (open_set(out / "sets" / name / role) for role in ("train", "holdout"))
    return watching.memorisation_screen(train_set, holdout, resolution=RESOLUTION, images=LOOKED_AT)


def look_once(screen: Any, folder: Path, notes: Path) -> None:
    """Have the newest weights screened and note what was found."""
    model = Diffusion.open(folder, sampling=SamplingSettings(steps=SAMPLING_STEPS), which="last")
    mask = model.channels.index(MASK)

    def sampler(some: Sequence[int]) -> Iterator[Any]:
        for batch in model.sample(some):
            yield as_released(batch, mask=mask, levels=model.mask_levels)[0]

    step = steps_of(folder)
    found = screen(step, sampler)
    with notes.open("a", encoding="utf-8") as file:
        file.write(json.dumps({"step": step, "stop": found.stop, "reason": found.reason, **found.scalars}) + "\n")
    print(
        f"{folder.name}, step {step}: {'would stop, ' if found.stop else ''}{found.reason or 'no excess'}", flush=True
    )


def looks(notes: Path) -> list[dict[str, Any]]:
    """Return what the screen found so far."""
    return [json.loads(line) for line in notes.read_text(encoding="utf-8").splitlines()] if notes.exists() else []


def audited(out: Path, name: str) -> AuditRecord:
    """Sample a model and audit the samples, as a user would before a release.

    Train and holdout are audited at the size that the model saw: against originals at 256 px, images of 32 px score
    lower, copies too, and half of them pass for strangers.
    """
    samples = out / "samples" / name
    study.sample(out / "models" / name, range(SAMPLES), samples, sampling_steps=SAMPLING_STEPS)
    return study.audit(
        train=as_seen(out, name, "train"),
        holdout=as_seen(out, name, "holdout"),
        synthetic=samples,
        out=out / "audits" / name,
        settings=AuditSettings(),
    )


def as_seen(out: Path, name: str, role: str) -> Path:
    """Return the image set of one role at the training's resolution."""
    folder = out / "seen" / name / role
    if not is_image_set(folder):
        seen = watching.as_trained(open_set(out / "sets" / name / role), RESOLUTION)
        with ImageSetWriter(folder, seen.channels, seen.voxel_size) as writer:
            writer.add("all", seen.read(slice(None)), seen.rows)
            writer.close()
    return folder


def wrong(out: Path, records: dict[str, AuditRecord]) -> list[str]:
    """Return what is not as stated at the top."""
    few, many = records["few"], records["many"]
    problems = []
    if few.verdict != "reject":
        problems.append(f"the audit of the over-trained model says {few.verdict}")
    if len(few.suspects) <= SAMPLES / 2:
        problems.append(f"only {len(few.suspects)} of {SAMPLES} samples of the over-trained model name a train slice")
    if many.near_copies.excess is None or many.near_copies.excess.low > 0 or many.verdict == "reject":
        problems.append(f"the model of many patients is flagged ({many.verdict})")
    stopped = {name: any(look["stop"] for look in looks(out / f"screen-{name}.jsonl")) for name in records}
    if stopped != {"few": True, "many": False}:
        problems.append(f"the screen would have stopped {[name for name, stop in stopped.items() if stop]}")
    return problems


def table(out: Path, records: dict[str, AuditRecord]) -> str:
    """Return both models side by side."""
    columns = [column(out, name, record) for name, record in records.items()]
    rows = [[name, *(values[name] for values in columns)] for name in columns[0]]
    widths = [max(len(row[i]) for row in rows) for i in range(3)]
    return "\n".join("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) for row in rows)


def column(out: Path, name: str, record: AuditRecord) -> dict[str, str]:
    """Return what the table says about one model."""
    near, excess = record.near_copies, record.near_copies.excess
    lines = (out / "models" / name / "scalars.jsonl").read_text(encoding="utf-8").splitlines()
    losses = [(row["loss"], row["images_per_second"]) for row in map(json.loads, lines) if "loss" in row]
    slices, steps = record.inputs.train.images, steps_of(out / "models" / name)
    stops = [str(look["step"]) for look in looks(out / f"screen-{name}.jsonl") if look["stop"]]
    return {
        "patients": str(record.inputs.train.subjects),
        "slices": str(slices),
        "steps (passes over the slices)": f"{steps} ({steps * TRAINING['batch'] / slices:.0f})",
        "loss, mean of the last 500 steps": f"{np.mean([loss for loss, _ in losses[-10:]]):.4f}",
        "training images a second, median": f"{np.median([rate for _, rate in losses]):.1f}",
        "screen would stop it after step": stops[0] if stops else "never",
        "samples naming a train slice": f"{len(record.suspects)} of {SAMPLES}",
        "train slices so named": str(len({suspect.train_image_id for suspect in record.suspects})),
        "samples above every stranger": f"{len(record.alarms)} of {SAMPLES}",
        "near copies among holdout slices": f"{near.holdout.value:.1%}" if near.holdout else "-",
        "excess, 95 % interval": f"{excess.low:.1%} to {excess.high:.1%}" if excess else "-",
        "verdict": record.verdict,
    }


if __name__ == "__main__":
    main()
