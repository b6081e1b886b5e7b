"""What tests of studies share: a study of ready image sets whose every job takes seconds."""

from __future__ import annotations

from pathlib import Path

from segmentation_helpers import BRATS, stored, tumours

LEVELS = (102, 51, 204)
STUDY = """
name = "A test"
policy = ""
measure = false
audit = false

[data.one]
sets = "one"
resolution = 32

[generators.good]
images = { one = "good" }

[segmenters.unet]
preset = "small"
set = { steps = 2, batch = 4, validate_every = 2, warmup_steps = 0, filters = [4, 8, 8], heads = 1, workers = 1 }

[grid]
train_on = ["real", "synthetic"]
augmented = [false]
seeds = 2
"""


def a_study(folder: Path, text: str = STUDY) -> Path:
    """Write image sets and a study.toml into a folder and return the file."""
    for seed, role in enumerate(("train", "holdout", "test")):
        images = tumours(12, seed=seed, name=role, channels=BRATS, levels=LEVELS, size=32)
        stored(folder / "one" / role, images)
    made = tumours(8, seed=7, name="made", channels=BRATS, levels=LEVELS, size=32, subjects=False)
    stored(folder / "good", made)
    file = folder / "study.toml"
    file.write_text(text, encoding="utf-8")
    return file
