"""The training of a diffusion model: it learns, goes on to the bit wherever it stopped, and says what went wrong."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from checkpoint_helpers import Watched, curve, power_failure, same, tensors_in
from diffusion_helpers import QUICK, TINY, discs, settings, tiny, trained
from PIL import Image

from synthrelease.errors import GeneratorError, ScanError, SettingsError
from synthrelease.generators.diffusion_model import Diffusion
from synthrelease.generators.diffusion_training import AVERAGE, PROBE
from synthrelease.generators.interface import Sampler, Screened
from synthrelease.generators.training_loop import Callbacks
from synthrelease.training import checkpoint
from synthrelease.training.training_log import read_scalars


@pytest.fixture(scope="module")
def unbroken(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("unbroken") / "model"
    trained(folder, steps=8, checkpoint_every=3)
    return folder


def test_training_lowers_the_loss(tmp_path: Path) -> None:
    trained(tmp_path / "m", steps=60, batch=8, learning_rate=1e-2, log_every=10)
    losses = [row["loss"] for row in read_scalars(tmp_path / "m") if "loss" in row]
    assert len(losses) == 6
    assert losses[0] > 0.6
    assert losses[-1] < losses[0] / 2


def test_velocity_is_learnt_too(tmp_path: Path) -> None:
    generator = Diffusion(
        TINY.model_copy(update={"predicts": "velocity"}),
        settings(batch=8, learning_rate=1e-2, log_every=10),
        QUICK,
        resolution=16,
        device="cpu",
    )
    generator.train(discs(), 40, tmp_path / "m")
    losses = [row["loss"] for row in read_scalars(tmp_path / "m") if "loss" in row]
    assert losses[-1] < 0.7 * losses[0]


def test_a_crash_costs_nothing_but_time(tmp_path: Path, unbroken: Path) -> None:
    generator = tiny(checkpoint_every=3)
    with pytest.raises(RuntimeError, match="power failure"):
        generator.train(discs(), 8, tmp_path / "m", callbacks=Callbacks(progress=Watched(5, power_failure)))
    left = checkpoint.latest(tmp_path / "m")
    assert left is not None
    assert left.name.endswith("003")
    tiny(checkpoint_every=3).train(discs(), 8, tmp_path / "m", resume=True)
    assert same(tmp_path / "m", unbroken)
    assert curve(tmp_path / "m") == curve(unbroken), "lines after the checkpoint are not doubled"


def test_ctrl_c_stops_between_steps_with_a_checkpoint(tmp_path: Path, unbroken: Path) -> None:
    progress = Watched(4, lambda: os.kill(os.getpid(), signal.SIGINT))
    before = signal.getsignal(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt):
        tiny(checkpoint_every=3).train(discs(), 8, tmp_path / "m", callbacks=Callbacks(progress=progress))
    left = checkpoint.latest(tmp_path / "m")
    assert left is not None
    assert left.name.endswith("004")
    assert "--resume" in progress.said[-1]
    assert signal.getsignal(signal.SIGINT) is before
    tiny(checkpoint_every=3).train(discs(), 8, tmp_path / "m", resume=True)
    assert same(tmp_path / "m", unbroken)


def test_a_finished_training_resumed_does_nothing_and_a_longer_one_goes_on(tmp_path: Path, unbroken: Path) -> None:
    trained(tmp_path / "m", steps=5)
    tiny().train(discs(), 5, tmp_path / "m", resume=True)
    before = tensors_in(tmp_path / "m")
    tiny().train(discs(), 8, tmp_path / "m", resume=True)
    assert same(tmp_path / "m", unbroken)
    assert not all(torch.equal(before[name], tensor) for name, tensor in tensors_in(unbroken).items())


def test_another_seed_is_another_training(tmp_path: Path, unbroken: Path) -> None:
    trained(tmp_path / "m", steps=8, seed=1)
    assert not same(tmp_path / "m", unbroken)


def test_a_loss_that_is_not_finite_stops_and_names_the_last_good_checkpoint(tmp_path: Path) -> None:
    trained(tmp_path / "m", steps=4, checkpoint_every=2, log_every=1)
    bad = tiny(checkpoint_every=2, log_every=1, learning_rate=1e30)
    with pytest.raises(GeneratorError, match=r"not finite.*The last good checkpoint is checkpoints/step-000000004"):
        bad.train(discs(), 40, tmp_path / "m", resume=True)
    assert all(torch.isfinite(t).all() for t in tensors_in(tmp_path / "m").values())
    tiny(checkpoint_every=2, log_every=1, learning_rate=1e-3, clip_norm=1).train(
        discs(), 6, tmp_path / "m", resume=True
    )
    assert len(read_scalars(tmp_path / "m")) == 6 + 3, "the remedy that the error gives works"


def test_weights_that_broke_in_the_last_step_are_not_saved(tmp_path: Path) -> None:
    with pytest.raises(GeneratorError, match=r"A weight is not finite after step 1.*No checkpoint was written yet"):
        tiny(learning_rate=1e37).train(discs(), 1, tmp_path / "m")


def test_a_batch_in_parts_is_the_same_batch(tmp_path: Path) -> None:
    trained(tmp_path / "whole", steps=2)
    trained(tmp_path / "parts", steps=2, accumulation=3)
    whole, parts = tensors_in(tmp_path / "whole"), tensors_in(tmp_path / "parts")
    moments = [name for name in whole if name.endswith("exp_avg")]
    assert moments
    assert all(torch.allclose(whole[n], parts[n], rtol=1e-3, atol=1e-6) for n in moments)


@pytest.mark.parametrize(
    "changes", [{"precision": "bf16"}, {"precision": "fp16"}, {"clip_norm": 0.1}, {"average_warmup": False}]
)
def test_options_train_and_are_resumed(tmp_path: Path, changes: dict[str, Any]) -> None:
    trained(tmp_path / "one", steps=4, **changes)
    trained(tmp_path / "two", steps=2, **changes)
    tiny(**changes).train(discs(), 4, tmp_path / "two", resume=True)
    assert same(tmp_path / "one", tmp_path / "two")


def test_the_average_moves_a_little_of_the_way(tmp_path: Path) -> None:
    trained(tmp_path / "m", steps=1, average_warmup=False, average_decay=0.75)
    latest = checkpoint.latest(tmp_path / "m")
    assert latest is not None
    state = checkpoint.load(latest).networks
    last = "network.conv_out.bias"  # starts at 0
    assert torch.allclose(state[AVERAGE][last], 0.25 * state["denoiser"][last])
    assert float(state["denoiser"][last].abs().max()) > 0


def test_a_screen_that_finds_copies_stops_and_its_checkpoint_is_not_the_best(tmp_path: Path) -> None:
    seen: list[tuple[int, np.ndarray]] = []

    def screen(step: int, sampler: Sampler) -> Screened:
        seen.append((step, np.concatenate(list(sampler(range(6))))))
        return Screened(stop=step >= 4, scalars={"near copies": step / 10}, reason="near copies exceed the holdout's")

    progress = Watched(100, power_failure)
    generator = tiny(screen_kimg=0.008)
    generator.train(discs(), 8, tmp_path / "m", callbacks=Callbacks(progress=progress, screen=screen))
    assert [step for step, _ in seen] == [2, 4]
    assert seen[0][1].dtype == np.uint8
    assert seen[0][1].shape == (6, 3, 16, 16)
    assert set(np.unique(seen[0][1][:, 2])) <= {0, 51}, "masks as they would be released"
    assert [row["near copies"] for row in read_scalars(tmp_path / "m") if "near copies" in row] == [0.2, 0.4]
    best, latest = checkpoint.best(tmp_path / "m"), checkpoint.latest(tmp_path / "m")
    assert best is not None
    assert best.name.endswith("2")
    assert latest is not None
    assert latest.name.endswith("4")
    assert "near copies exceed the holdout's" in progress.said[-1]


def test_the_best_checkpoint_is_the_best_in_what_was_asked_for(tmp_path: Path) -> None:
    callbacks = Callbacks(judge=lambda step, network: abs(step - 4), judge_name="FD")
    tiny(checkpoint_every=2, keep_last=1).train(discs(), 8, tmp_path / "m", callbacks=callbacks)
    best = checkpoint.best(tmp_path / "m")
    assert best is not None
    assert best.name.endswith("4")
    assert json.loads((tmp_path / "m" / "best.json").read_text())["metric"] == "FD"
    assert [row["FD"] for row in read_scalars(tmp_path / "m") if "FD" in row] == [2, 0, 2, 4]
    assert Diffusion.open(tmp_path / "m", device="cpu").weights != Diffusion.open(tmp_path / "m", which="last").weights


def test_without_a_judge_the_denoising_loss_decides(tmp_path: Path) -> None:
    trained(tmp_path / "m", steps=2)
    assert json.loads((tmp_path / "m" / "best.json").read_text())["metric"] == PROBE


def test_sample_grids_show_each_channel_and_names_choose_no_folder(tmp_path: Path) -> None:
    images = discs(channels=("../../T1", "mask"))
    tiny(sample_every=2, grid=5).train(images, 2, tmp_path / "m")
    grids = sorted((tmp_path / "m" / "samples").iterdir())
    assert [grid.name for grid in grids] == ["step-000000002-0-______T1.png", "step-000000002-1-mask.png"]
    assert Image.open(grids[0]).size == (48, 32)


@pytest.mark.parametrize("resolution", [16, 32])
@pytest.mark.parametrize("channels", [("T1",), ("T1", "T1ce", "T2", "FLAIR", "mask"), tuple("abcdefg")])
def test_any_channel_count_and_size_is_learnt(tmp_path: Path, resolution: int, channels: tuple[str, ...]) -> None:
    generator = tiny(resolution=resolution)
    generator.train(discs(6, channels=channels), 1, tmp_path / "m")
    (batch,) = generator.sample([3])
    assert batch.shape == (1, len(channels), resolution, resolution)
    assert np.isfinite(batch).all()


def test_one_image_is_an_error_that_says_so(tmp_path: Path) -> None:
    with pytest.raises(ScanError, match="one image"):
        tiny().train(discs(1), 2, tmp_path / "m")
    assert not (tmp_path / "m").exists()


def test_a_training_is_not_overwritten_nor_mixed_with_another(tmp_path: Path) -> None:
    trained(tmp_path / "m")
    with pytest.raises(GeneratorError, match="holds a training already"):
        tiny().train(discs(), 2, tmp_path / "m")
    with pytest.raises(GeneratorError, match="differs in: trained_on"):
        tiny().train(discs(18), 4, tmp_path / "m", resume=True)
    with pytest.raises(SettingsError, match="0 steps"):
        tiny().train(discs(), 0, tmp_path / "new")
    with pytest.raises(GeneratorError, match="differs in: training"):
        tiny(batch=8).train(discs(), 4, tmp_path / "m", resume=True)
    tiny(log_every=1).train(discs(), 3, tmp_path / "m", resume=True)


def test_an_opened_model_makes_the_same_images(tmp_path: Path) -> None:
    generator = trained(tmp_path / "m")
    opened = Diffusion.open(tmp_path / "m", sampling=QUICK, device="cpu")
    assert (opened.channels, opened.mask_levels) == (("T1", "FLAIR", "mask"), (0, 51))
    assert np.array_equal(next(generator.sample([1, 2])), next(opened.sample([1, 2])))


def test_an_untrained_model_says_so(tmp_path: Path) -> None:
    with pytest.raises(GeneratorError, match="not trained"):
        next(tiny().sample([1]))


@pytest.mark.slow
def test_two_processes_learn_what_one_does(tmp_path: Path) -> None:
    tests = Path(__file__).resolve().parents[1]
    script = tmp_path / "together.py"
    script.write_text(
        "import sys\nfrom pathlib import Path\nfrom diffusion_helpers import discs, tiny\n"
        "tiny(checkpoint_every=3).train(discs(), 6, Path(sys.argv[1]))\n"
    )
    environment = {**os.environ, "PYTHONPATH": str(tests), "OMP_NUM_THREADS": "1"}
    launch = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    subprocess.run([*launch, str(script), str(tmp_path / "two")], check=True, env=environment, timeout=300)
    trained(tmp_path / "one", steps=6, checkpoint_every=3)
    one, two = tensors_in(tmp_path / "one"), tensors_in(tmp_path / "two")
    assert all(torch.allclose(one[n], two[n], rtol=1e-2, atol=1e-4) for n in one if n.endswith("exp_avg"))
    assert len(checkpoint.saved(tmp_path / "two")) == 2
