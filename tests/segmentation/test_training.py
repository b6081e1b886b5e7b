"""Training a segmenter: it learns, goes on to the bit wherever it stopped, and says what went wrong."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from checkpoint_helpers import Watched, curve, everything_in, same
from segmentation_helpers import reader_of, recipe, trained, tumours

from synthrelease.errors import SegmentationError, StoreError
from synthrelease.segmentation.augmentation import AugmentSettings
from synthrelease.segmentation.mixing import MixSettings, mixed
from synthrelease.segmentation.model_folder import open_segmenter
from synthrelease.segmentation.networks import SwinSettings
from synthrelease.segmentation.recipe import rate_at
from synthrelease.segmentation.training import Validations
from synthrelease.training import checkpoint
from synthrelease.training.training_log import read_scalars

SWIN = SwinSettings(features=12, depths=(1, 1, 1, 1), heads=(1, 2, 4, 8), window=4, drop_path=0.3)


def _crash() -> None:
    raise RuntimeError("power failure")


@pytest.fixture(scope="module")
def unbroken(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return trained(tmp_path_factory.mktemp("unbroken") / "model")


def test_a_tumour_that_is_there_to_see_is_learnt(tmp_path: Path) -> None:
    trained(tmp_path / "m", steps=60, validate_every=20, learning_rate=0.01)
    found = [row["validation_dice"] for row in read_scalars(tmp_path / "m") if "validation_dice" in row]
    assert found[-1] > 0.8
    losses = [row["loss"] for row in read_scalars(tmp_path / "m") if "loss" in row]
    assert losses[-1] < losses[0] / 2


def test_a_crash_costs_nothing_but_time(tmp_path: Path, unbroken: Path) -> None:
    with pytest.raises(RuntimeError, match="power failure"):
        trained(tmp_path / "m", progress=Watched(5, _crash))
    left = checkpoint.latest(tmp_path / "m")
    assert left is not None
    assert left.name.endswith("003")
    trained(tmp_path / "m", resume=True)
    assert same(tmp_path / "m", unbroken)
    assert curve(tmp_path / "m") == curve(unbroken), "lines after the checkpoint are not doubled"


def test_ctrl_c_stops_between_steps_with_a_checkpoint(tmp_path: Path, unbroken: Path) -> None:
    progress = Watched(4, lambda: os.kill(os.getpid(), signal.SIGINT))
    before = signal.getsignal(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt):
        trained(tmp_path / "m", progress=progress)
    left = checkpoint.latest(tmp_path / "m")
    assert left is not None
    assert left.name.endswith("004")
    assert "--resume" in progress.said[-1]
    assert signal.getsignal(signal.SIGINT) is before
    trained(tmp_path / "m", resume=True)
    assert same(tmp_path / "m", unbroken)
    assert (tmp_path / "m" / "best.json").read_text() == (unbroken / "best.json").read_text()


@pytest.mark.slow
def test_kill_9_at_any_moment_changes_no_weight(tmp_path: Path) -> None:
    options = {"steps": 40, "validate_every": 4}
    trained(tmp_path / "unbroken", **options)
    script = "import sys\nfrom pathlib import Path\nfrom segmentation_helpers import trained\n"
    script += f"trained(Path(sys.argv[1]), resume=True, **{options})\n"
    tests = Path(__file__).resolve().parents[1]
    environment = {**os.environ, "PYTHONPATH": str(tests), "OMP_NUM_THREADS": str(torch.get_num_threads())}
    killed = 0
    for wanted in (2, 5, 8):  # checkpoints that are there when it is killed
        run = subprocess.Popen([sys.executable, "-c", script, str(tmp_path / "killed")], env=environment)
        while run.poll() is None and _steps(tmp_path / "killed") < 4 * wanted:
            time.sleep(0.002)
        run.kill()
        killed += run.wait() == -signal.SIGKILL
    assert killed == 3
    assert 0 < _steps(tmp_path / "killed") < 40
    subprocess.run([sys.executable, "-c", script, str(tmp_path / "killed")], env=environment, check=True)
    assert same(tmp_path / "killed", tmp_path / "unbroken")


def _steps(folder: Path) -> int:
    latest = checkpoint.latest(folder)
    return int(latest.name.rpartition("-")[2]) if latest else 0


@pytest.mark.parametrize(
    "changes",
    [
        {"optimiser": "sgd", "momentum": 0.9, "warmup_steps": 3},
        {"average_decay": 0.9},
        {"precision": "bf16"},
        {"precision": "fp16", "clip_norm": 1.0},
        {"augment": AugmentSettings(), "workers": 3},
        {"network": SWIN, "name": "swin"},
    ],
    ids=["sgd", "average", "bf16", "fp16", "augmented", "swin with skipped blocks"],
)
def test_whatever_is_chosen_goes_on_to_the_bit(tmp_path: Path, changes: dict[str, Any]) -> None:
    small = mixed("both", real=tumours(), synthetic=tumours(7, seed=4, name="made"), settings=MixSettings())
    trained(tmp_path / "one", mix=small, steps=4, validate_every=2, **changes)
    with pytest.raises(RuntimeError, match="power failure"):
        trained(tmp_path / "two", mix=small, steps=4, validate_every=2, progress=Watched(3, _crash), **changes)
    trained(tmp_path / "two", mix=small, steps=4, validate_every=2, resume=True, **changes)
    assert same(tmp_path / "one", tmp_path / "two")


def test_threads_that_augment_change_nothing(tmp_path: Path) -> None:
    trained(tmp_path / "one", steps=3, augment=AugmentSettings(), workers=1)
    trained(tmp_path / "four", steps=3, augment=AugmentSettings(), workers=4)
    assert same(tmp_path / "one", tmp_path / "four")


def test_another_seed_is_another_training_and_torch_is_left_alone(tmp_path: Path, unbroken: Path) -> None:
    torch.manual_seed(3)
    expected = torch.rand(1)
    torch.manual_seed(3)
    trained(tmp_path / "m", seed=1)
    assert torch.equal(torch.rand(1), expected)
    assert not same(tmp_path / "m", unbroken)


def test_training_stops_when_validation_gains_nothing_any_more_and_stays_stopped(tmp_path: Path) -> None:
    progress = Watched(1000, _crash)
    options: dict[str, Any] = {"steps": 50, "validate_every": 2, "patience": 3, "min_gain": 1.0}
    trained(tmp_path / "m", progress=progress, **options)
    # The first validation is a gain over nothing; three without one follow.
    assert _steps(tmp_path / "m") == 8
    assert "3 validations without a gain of 1 in Dice" in progress.said[-1]
    before = everything_in(tmp_path / "m")
    trained(tmp_path / "m", resume=True, **options)
    assert everything_in(tmp_path / "m")["step"] == before["step"]


def test_stopping_early_counts_the_same_after_a_crash(tmp_path: Path) -> None:
    options: dict[str, Any] = {"steps": 50, "validate_every": 2, "patience": 3, "min_gain": 1.0}
    with pytest.raises(RuntimeError, match="power failure"):
        trained(tmp_path / "m", progress=Watched(5, _crash), **options)
    trained(tmp_path / "m", resume=True, **options)
    assert _steps(tmp_path / "m") == 8


def test_a_gain_too_small_to_count_does_not_wait_for_the_next() -> None:
    seen = Validations()
    for value in (0.0, 0.4, 0.45, 0.49):
        seen.add(value, recipe(min_gain=0.1, patience=2))
    assert (seen.best, seen.stale, seen.finished) == (0.4, 2, True)


def test_the_best_checkpoint_is_the_one_that_validation_liked_best(tmp_path: Path) -> None:
    trained(tmp_path / "m", steps=12, validate_every=2, keep_last=1, learning_rate=0.02)
    values = {row["step"]: row["validation_dice"] for row in read_scalars(tmp_path / "m") if "validation_dice" in row}
    best = checkpoint.best(tmp_path / "m")
    assert best is not None
    assert values[int(best.name[-9:])] == max(values.values())


def test_a_loss_that_is_not_finite_stops_and_names_the_last_good_checkpoint(tmp_path: Path) -> None:
    with pytest.raises(SegmentationError, match=r"not finite.*No checkpoint was written yet"):
        trained(tmp_path / "m", learning_rate=1e30, log_every=1, clip_norm=0)
    trained(tmp_path / "n", steps=3, validate_every=3)
    latest = checkpoint.latest(tmp_path / "n")
    assert latest is not None
    assert all(torch.isfinite(t).all() for t in everything_in(tmp_path / "n").values() if isinstance(t, torch.Tensor))


def test_a_training_is_not_overwritten_nor_mixed_with_another(tmp_path: Path) -> None:
    trained(tmp_path / "m")
    with pytest.raises(SegmentationError, match="holds a training already"):
        trained(tmp_path / "m")
    with pytest.raises(SegmentationError, match="differs in: training"):
        trained(tmp_path / "m", resume=True, learning_rate=1e-4)
    others = mixed("real", real=tumours(seed=9), synthetic=None, settings=MixSettings())
    with pytest.raises(SegmentationError, match="differs in: mix"):
        trained(tmp_path / "m", resume=True, mix=others)
    trained(tmp_path / "m", resume=True, log_every=1, workers=2)


def test_a_flipped_bit_in_a_checkpoint_is_noticed(tmp_path: Path) -> None:
    trained(tmp_path / "m")
    best = checkpoint.best(tmp_path / "m")
    assert best is not None
    file = best / "network-segmenter.safetensors"
    content = bytearray(file.read_bytes())
    content[-1] ^= 1
    file.write_bytes(bytes(content))
    with pytest.raises(StoreError, match="damaged"):
        open_segmenter(tmp_path / "m", torch.device("cpu"))


def test_an_opened_segmenter_draws_what_the_trained_one_did(tmp_path: Path) -> None:
    images = tumours()
    trained(tmp_path / "m", average_decay=0.5)
    network, reader, sha256 = open_segmenter(tmp_path / "m", torch.device("cpu"))
    assert reader == reader_of(images)
    assert len(sha256) == 64
    again, _, _ = open_segmenter(tmp_path / "m", torch.device("cpu"))
    batch = torch.randn(2, 1, 24, 24)
    assert torch.equal(network(batch), again(batch))


@pytest.mark.parametrize("contrasts", [1, 3, 7])
def test_any_number_of_contrasts_and_labels_is_learnt(tmp_path: Path, contrasts: int) -> None:
    channels = (*(f"contrast{i}" for i in range(contrasts)), "mask")
    images = tumours(channels=channels, levels=(40, 90, 140, 250)[: contrasts % 4 + 1], size=17)
    trained(tmp_path / "m", steps=2, mix=mixed("real", real=images, synthetic=None, settings=MixSettings()))
    network, reader, _ = open_segmenter(tmp_path / "m", torch.device("cpu"))
    assert network(torch.zeros(1, contrasts, 17, 17)).shape == (1, reader.labels.classes, 17, 17)


def test_the_learning_rate_rises_and_falls_as_it_should() -> None:
    settings = recipe(steps=100, warmup_steps=10, learning_rate=1.0, decay_power=0.9)
    assert rate_at(0, settings) == pytest.approx(0.1)
    assert rate_at(9, settings) == pytest.approx(0.91**0.9)
    assert rate_at(50, settings) == pytest.approx(0.5**0.9)
    assert 0 < rate_at(99, settings) < 0.02


@pytest.mark.slow
def test_two_processes_learn_what_one_does(tmp_path: Path) -> None:
    tests = Path(__file__).resolve().parents[1]
    script = tmp_path / "together.py"
    script.write_text(
        "import sys\nfrom pathlib import Path\nfrom segmentation_helpers import trained\n"
        "from synthrelease.segmentation.augmentation import AugmentSettings\n"
        "trained(Path(sys.argv[1]), steps=12, log_every=1, optimiser='sgd', momentum=0.9, learning_rate=0.02,\n"
        "        augment=AugmentSettings())\n"
    )
    environment = {**os.environ, "PYTHONPATH": str(tests), "OMP_NUM_THREADS": "1"}
    launch = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    subprocess.run([*launch, str(script), str(tmp_path / "two")], check=True, env=environment, timeout=300)
    subprocess.run([sys.executable, str(script), str(tmp_path / "one")], check=True, env=environment, timeout=300)
    one, two = curve(tmp_path / "one"), curve(tmp_path / "two")
    assert [row["step"] for row in one] == [row["step"] for row in two]
    losses = [[row["loss"] for row in rows if "loss" in row] for rows in (one, two)]
    assert losses[0][0] - losses[0][-1] > 0.1, "something was learnt"
    assert np.allclose(*losses, rtol=1e-4)
    assert np.allclose(
        *([r["validation_dice"] for r in rows if "validation_dice" in r] for rows in (one, two)), atol=0.01
    )


def test_a_batch_that_cannot_be_divided_is_refused() -> None:
    from synthrelease.segmentation.feed import MixedFeed

    mix = mixed("real", real=tumours(), synthetic=None, settings=MixSettings())
    with pytest.raises(SegmentationError, match="cannot be divided among 2"):
        MixedFeed(mix, reader_of(tumours()), batch=3, seed=0, world=2)
