"""The benchmark for a GPU, at tiny sizes on a CPU: every row is measured, and none keeps the others from it."""

from __future__ import annotations

import importlib
import json
import math
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from synthrelease.features.on_device import PRECISION
from synthrelease.generators.interface import NAMES
from synthrelease.generators.plans import plan, sizes_of

FOLDER = Path(__file__).resolve().parents[1] / "benchmarks"
MODULES = ("gpu", "rows", "embedding", "generators")


@pytest.fixture
def gpu(monkeypatch):
    monkeypatch.syspath_prepend(str(FOLDER))
    yield importlib.import_module("gpu")
    for name in MODULES:
        sys.modules.pop(name, None)


@pytest.fixture
def clock(gpu, monkeypatch) -> list[float]:
    """Seconds that the benchmark believes in."""
    now = [0.0]
    monkeypatch.setattr(sys.modules["rows"].time, "perf_counter", lambda: now[0])
    return now


def stepping(clock: list[float], seconds: float):
    def step() -> None:
        clock[0] += seconds

    return step


CPU = torch.device("cpu")
QUICK = ["--tiny", "--no-compile", "--seconds-per-row", "0.01", "--batch", "4", "--lanes", "2"]


def test_every_row_is_measured_at_tiny_sizes(gpu, tmp_path, capsys, monkeypatch):
    monkeypatch.delenv(PRECISION, raising=False)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)

    assert gpu.main([*QUICK, "--json", str(tmp_path / "rows.json")]) == 0

    document = json.loads((tmp_path / "rows.json").read_text())
    rows, printed = document["rows"], capsys.readouterr().out
    found = {(row["part"], row["what"].split(" ")[0].rstrip(","), row["precision"]) for row in rows}
    assert found >= {(part, name, p) for part in ("training", "sampling") for name in NAMES for p in ("fp32", "bf16")}
    assert found >= {("embedding", name, p) for name in ("ResNet-50", "copy") for p in ("full", "bf16")}
    assert {row["what"] for row in rows} >= {"diffusion, 25 steps, 32 px", "diffusion, 50 steps, 32 px"}
    assert [row["part"] for row in rows].count("search") == 1
    for row in rows:
        assert row["images_per_second"] > 0, row
        assert row["seconds_per_kimg"] == pytest.approx(1000 / row["images_per_second"])
        assert row["what"] in printed
    assert "say nothing about a GPU" in printed
    assert torch.__version__ in printed
    assert PRECISION not in gpu.os.environ


def test_without_a_gpu_it_says_so(gpu, capsys, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)

    assert gpu.main([]) == 1

    assert "no GPU" in capsys.readouterr().out


def test_generators_are_measured_at_their_default_width_256_px_and_5_channels(gpu):
    for name in NAMES:
        config, settings = gpu.settings_of(name, gpu.FULL, 8)
        default = plan(name, config=None, resolution=256, channels=5)

        made = sizes_of(name, settings, channels=len(gpu.CHANNELS), resolution=gpu.FULL.resolution)

        assert (config, made) == (default.config, default.networks)


def test_growing_generators_are_measured_fully_grown(gpu):
    for name in gpu.GROWING:
        learner = gpu.learner_of(name, gpu.TINY, batch=4, precision="none", device=CPU)

        assert learner.level == math.log2(gpu.TINY.resolution)
        assert learner.settings.batch_at(gpu.TINY.resolution) == 4


@pytest.mark.parametrize(("name", "steps"), [("progan", 1), ("stylegan2", 16), ("stylegan3", 16), ("diffusion", 1)])
def test_a_cycle_holds_every_lazy_penalty(name, steps, gpu):
    learner = gpu.learner_of(name, gpu.TINY, batch=4, precision="none", device=CPU)

    assert gpu.cycle_of(learner) == steps


def test_numbers_are_those_of_the_steps_and_the_images(gpu, clock):
    row = gpu.Bench(CPU, seconds=2).row(("a", "b", "c"), 8, lambda: gpu.Work(stepping(clock, 0.5)))

    assert (row.steps, row.milliseconds_per_step, row.images_per_second) == (4, 500, 16)
    assert row.seconds_per_kimg == 62.5
    assert row.note == ""


@pytest.mark.parametrize(
    ("seconds", "steps", "note"),
    [(0.01, 208, ""), (0.1, 32, ""), (0.3, 16, ""), (0.7, 8, "whole cycle"), (7.0, 1, "whole cycle")],
)
def test_penalties_are_measured_in_whole_cycles_where_there_is_time_for_one(seconds, steps, note, gpu, clock):
    row = gpu.Bench(CPU, seconds=2).row(("a", "b", "c"), 8, lambda: gpu.Work(stepping(clock, seconds), cycle=16))

    assert row.steps == steps
    assert note in row.note
    assert bool(row.note) == bool(note)


def test_rows_without_memory_or_time_and_rows_that_fail_leave_the_others_alone(gpu, capsys):
    def refused(error: Exception):
        def make():
            raise error

        return make

    bench = gpu.Bench(CPU, seconds=0)
    short = bench.row(("part", "large", ""), 8, refused(torch.cuda.OutOfMemoryError("CUDA out of memory. Tried ...")))
    assert (short.note, short.images_per_second, bench.failed) == ("out of memory", None, 0)

    broken = bench.row(("part", "broken", ""), 8, refused(ValueError("what went wrong\nand where")))
    assert (broken.note, bench.failed) == ("failed: ValueError: what went wrong", 1)

    bench.until = -math.inf
    late = bench.row(("part", "late", ""), 8, refused(AssertionError("begun after the end")))
    assert (late.note, bench.failed) == ("no time left", 1)

    bench.until = math.inf
    assert bench.row(("part", "good", ""), 8, lambda: gpu.Work(lambda: None)).images_per_second > 0
    assert [line.split()[1] for line in capsys.readouterr().out.splitlines()] == ["large", "broken", "late", "good"]


def test_a_failure_is_in_the_exit_status_but_not_that_of_the_compiler(gpu, capsys, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    # The network is replaced by nothing: this is about what fails around it.
    nothing = SimpleNamespace(on=SimpleNamespace(network=None), embed=lambda images: images)
    monkeypatch.setattr(gpu, "RadImageNet", lambda name, weights: nothing)
    monkeypatch.setattr(gpu, "write_weights", lambda path: path)
    quick = [option for option in QUICK if option != "--no-compile"]

    def no_compiler(network):
        raise RuntimeError("no compiler here")

    monkeypatch.setattr(gpu.torch, "compile", no_compiler)
    monkeypatch.setattr(gpu, "from_disk", lambda images, extractor: None)
    assert gpu.main([*quick, "--only", "embedding"]) == 0
    assert "failed: RuntimeError: no compiler here" in capsys.readouterr().out

    def no_disk(images, extractor):
        raise OSError("no disk here")

    monkeypatch.setattr(gpu, "from_disk", no_disk)
    assert gpu.main([*quick, "--only", "embedding"]) == 1
    assert "failed: OSError: no disk here" in capsys.readouterr().out
