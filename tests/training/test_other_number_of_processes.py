"""A training begun by one number of processes goes on with another, to what the unbroken training gives."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from checkpoint_helpers import everything_in, tensors_in
from training_helpers import GANS, nearly

from synthrelease.training.training_log import read_scalars

TESTS = Path(__file__).resolve().parents[1]
ALONE = [sys.executable]
TOGETHER = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
ORDERS = [(TOGETHER, ALONE), (ALONE, TOGETHER)]
IDS = ["two then one", "one then two"]

GENERATOR = """
import sys, torch
from pathlib import Path
from training_helpers import heads, tiny_generator
torch.set_num_threads(1)
name, folder, steps, resume = sys.argv[1], Path(sys.argv[2]), int(sys.argv[3]), sys.argv[4] == "resume"
changes = {} if name == "diffusion" else {"network": {"group": 1}}
tiny_generator(name, log_every=1, **changes).train(heads(), steps, folder, resume=resume)
"""
SEGMENTER = """
import os, sys, torch
from pathlib import Path
from checkpoint_helpers import Watched
from segmentation_helpers import trained
torch.set_num_threads(1)
after = int(sys.argv[2])
trained(Path(sys.argv[1]), steps=12, validate_every=3, log_every=1, optimiser="sgd", momentum=0.9, learning_rate=0.02,
        resume=sys.argv[3] == "resume", progress=Watched(after, lambda: os._exit(9)))
"""


def run(launch: list[str], script: str, *words: str | Path, ends: bool = True) -> None:
    environment = {**os.environ, "PYTHONPATH": str(TESTS), "OMP_NUM_THREADS": "1"}
    folder = Path(words[0] if Path(words[0]).is_absolute() else words[1]).parent
    file = folder / "train_this.py"
    file.write_text(script, encoding="utf-8")
    command = [*launch, str(file), *map(str, words)]
    done = subprocess.run(command, env=environment, timeout=300, capture_output=True, text=True, check=False)
    assert (done.returncode == 0) == ends, done.stderr[-3000:]


@pytest.mark.slow
@pytest.mark.parametrize(("first", "then"), ORDERS, ids=IDS)
@pytest.mark.parametrize("name", [*GANS, "diffusion"])
def test_a_generator_goes_on_with_another_number_of_processes(name, first, then, tmp_path) -> None:
    run(ALONE, GENERATOR, name, tmp_path / "unbroken", "6", "begin")
    run(first, GENERATOR, name, tmp_path / "broken", "3", "begin")
    run(then, GENERATOR, name, tmp_path / "broken", "6", "resume")

    if name == "diffusion":
        one, two = tensors_in(tmp_path / "unbroken"), tensors_in(tmp_path / "broken")
        moved = [key for key in one if key.endswith("exp_avg")]
        assert moved
        assert all(torch.allclose(one[key], two[key], rtol=1e-2, atol=1e-4) for key in moved)
    else:
        assert nearly(everything_in(tmp_path / "unbroken"), everything_in(tmp_path / "broken"))
    steps = [{row["step"] for row in read_scalars(tmp_path / name)} for name in ("unbroken", "broken")]
    assert steps == [set(range(1, 7))] * 2


@pytest.mark.slow
@pytest.mark.parametrize(("first", "then"), ORDERS, ids=IDS)
def test_a_segmenter_killed_in_the_middle_goes_on_with_another_number_of_processes(first, then, tmp_path) -> None:
    run(ALONE, SEGMENTER, tmp_path / "unbroken", "1000", "begin")
    run(first, SEGMENTER, tmp_path / "broken", "7", "begin", ends=False)
    run(then, SEGMENTER, tmp_path / "broken", "1000", "resume")

    one, two = (
        {row["step"]: row["loss"] for row in read_scalars(tmp_path / name) if "loss" in row}
        for name in ("unbroken", "broken")
    )
    assert sorted(one) == sorted(two)
    assert one[1] - one[12] > 0.1, "something was learnt"
    assert np.allclose([one[step] for step in sorted(one)], [two[step] for step in sorted(two)], rtol=1e-4)
