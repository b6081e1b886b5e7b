"""The examples do what they say."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
from project import ROOT

from synthrelease.image_set import open_set

EXAMPLES = ROOT / "examples"


def test_an_outsiders_generator_takes_less_than_sixty_lines_and_makes_an_image_set(tmp_path):
    script = EXAMPLES / "add_a_generator.py"
    assert len(script.read_text().splitlines()) < 60
    done = subprocess.run(
        [sys.executable, str(script), "--out", str(tmp_path)], capture_output=True, text=True, timeout=300, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "50 images" in done.stdout
    train, made = open_set(tmp_path / "sets" / "train"), open_set(tmp_path / "made")
    assert made.channels == train.channels
    assert [row.seed for row in made.rows] == list(range(50))
    pixels = made.read(slice(None)).astype(float)
    assert pixels.std(0).mean() > 5, "images differ"
    mean = train.read(slice(None)).astype(float).mean(0)
    assert np.corrcoef(pixels.mean(0).ravel(), mean.ravel())[0, 1] > 0.9, "and look like train on average"
