"""The commands that are killed, each on the smallest inputs on which it does all that it does."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
TINY_GAN = """--generator stylegan2 --config small --resolution 64 --batch 4 --set channel_base=128
    --set channel_max=4 --set tensorboard=false"""
OFTEN = "--steps 4 --checkpoint-every 2 --sample-every 3"
TINY_UNET = """--preset small --size 64 --steps 4 --batch 4 --set validate_every=2 --set filters=[4,8,8]
    --set heads=1 --set workers=1"""
FAST = ("--extractor", "pixels", "--no-intervals", "--channels", "t1")
SAID = ("--licence", "CC-BY-4.0", "--title", "Made-up", "--creator", "Nobody")
STUDY = """
name = "Killed"
results = "results"
policy = "controlled"
measure = { extractors = ["pixels"], parts = 0, channels = ["t1"] }

[audit]
extractors = ["pixels"]
image_size = 64
parts = false
bootstrap = 100
permutations = 99
planted_subjects = 3

[data.one]
sets = "../base/sets"
resolution = 64

[generators.stylegan2]
config = "small"
steps = 4
batch = 4
samples = 16
set = { channel_base = 128, channel_max = 4, tensorboard = false, checkpoint_every = 2, sample_every = 0 }

[segmenters.unet]
preset = "small"
set = { steps = 2, batch = 4, validate_every = 1, filters = [4, 8, 8], heads = 1, workers = 1 }

[grid]
train_on = ["real", "synthetic"]
augmented = [false]
seeds = 1
"""
PERSON = ("--by", "A. Steward", "--role", "steward", "--reason", "Made-up patients.")


@dataclass(frozen=True)
class Verb:
    """One command: its words, the words that are added when it is run again, and what is copied beside it first."""

    words: tuple[str, ...]
    again: tuple[str, ...] = ()
    copies: tuple[str, ...] = ()  # of the base, that the command writes into


def verbs(base: Path, run: Path) -> dict[str, Verb]:
    """Return every verb that is killed, by name; results go to ``run``, inputs come from ``base``."""
    sets = base / "sets"
    real, holdout, test, made = sets / "train", sets / "holdout", sets / "test", base / "made"
    return {
        "prepare": Verb(_words("prepare", base / "cohort", "--out", run / "sets", *SPLIT)),
        "train": Verb(
            _words("train", "--images", real, "--out", run / "model", *_split(TINY_GAN), *_split(OFTEN)),
            again=("--resume",),
        ),
        "sample": Verb(_words("sample", base / "model", "--count", 300, "--out", run / "made")),
        "measure": Verb(
            _words(
                "measure", "--real", real, "--holdout", holdout, "--synthetic", made, "--out", run / "quality", *FAST
            )
        ),
        "segment": Verb(
            _words(
                "segment",
                "--real",
                real,
                "--synthetic",
                made,
                "--test",
                test,
                "--out",
                run / "useful",
                *_split(TINY_UNET),
            ),
            again=("--resume",),
        ),
        "audit": Verb(
            _words("audit", "--train", real, "--holdout", holdout, "--synthetic", made, "--out", run / "result", *WHOLE)
        ),
        "decide": Verb(_words("decide", run / "result", "--policy", "controlled"), copies=("result",)),
        "package": Verb(_words("package", run / "approved", "--out", run / "release", *SAID), copies=("approved",)),
        "study": Verb(_words("study", "run", run / "study.toml"), copies=("study.toml",)),
    }


def _split(words: str) -> list[str]:
    return words.split()


def _words(*words: object) -> tuple[str, ...]:
    return tuple(map(str, words))


SPLIT = ("--fractions", "0.5,0.25,0.25", "--foreground", "0.25", "--workers", "1")
WHOLE = ("--extractor", "pixels", "--image-size", "64")
QUICK = (*WHOLE, "--no-parts")


def environment(work: Path, **more: str) -> dict[str, str]:
    """Return the environment of a command: one cache per run, one key for all, one date, one thread."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("FAULT_", "PYTEST"))}
    return {
        **kept,
        "PYTHONPATH": os.pathsep.join([str(ROOT / "tests" / "faults" / "hook"), str(ROOT)]),
        "SYNTHRELEASE_CACHE": str(work / "run" / "cache"),
        "SYNTHRELEASE_KEYS": str(work / "keys"),
        "SOURCE_DATE_EPOCH": "1700000000",
        "OMP_NUM_THREADS": "1",
        **more,
    }


def called(work: Path, *words: object) -> int:
    """Run a command to its end and return its exit code."""
    command = [sys.executable, "-m", "synthrelease", *map(str, words)]
    done = subprocess.run(command, env=environment(work), capture_output=True, text=True, check=False)
    if done.returncode in (1, 2, 5):
        raise RuntimeError(f"{words[0]}: {done.stderr}")
    return done.returncode


def make_base(work: Path, wanted: Mapping[str, Verb]) -> Path:
    """Make the inputs that the wanted verbs share, once."""
    base = work / "base"
    if (base / "complete").is_file():
        return base
    shutil.rmtree(base, ignore_errors=True)
    base.mkdir(parents=True)
    called(work, "phantom", base / "cohort", "--subjects", 12, "--size", 64, "--seed", 3)
    called(work, "prepare", base / "cohort", "--out", base / "sets", *SPLIT)
    (base / "study.toml").write_text(STUDY, encoding="utf-8")
    if set(wanted) - {"prepare", "train", "study"}:
        trains = ("--images", base / "sets" / "train", "--out", base / "model", *_split(TINY_GAN))
        called(work, "train", *trains, "--steps", 2)
        called(work, "sample", base / "model", "--count", 24, "--out", base / "made")
    if {"decide", "package"} & set(wanted):
        _make_evidence(work, base)
    (base / "complete").touch()
    return base


def _make_evidence(work: Path, base: Path) -> None:
    """Audit once; keep the evidence as it was audited, and as it was approved.

    Evidence names where its images lie, not where it lies itself, so a copy is as good.
    """
    sets = base / "sets"
    roles = ("--train", sets / "train", "--holdout", sets / "holdout", "--synthetic", base / "made")
    called(work, "audit", *roles, "--out", base / "result", *QUICK)
    shutil.copytree(base / "result", base / "approved")
    called(work, "decide", base / "approved", "--policy", "controlled")
    called(work, "approve", base / "approved", *PERSON)
