"""The grid: its jobs, their order, their names, and what they cost."""

from __future__ import annotations

from pathlib import Path

import pytest
from grid_helpers import STUDY
from project import ROOT

from synthrelease.errors import SettingsError
from synthrelease.grid.cost import hours
from synthrelease.grid.plan import jobs_of
from synthrelease.grid.reporting import planned
from synthrelease.grid.settings import StudySettings, read_study

EXAMPLES = ROOT / "examples"
FIVE = ("progan", "stylegan1", "stylegan2", "stylegan3", "diffusion")


def _study(folder: Path, text: str) -> StudySettings:
    (folder / "study.toml").write_text(text, encoding="utf-8")
    return read_study(folder / "study.toml")


@pytest.mark.parametrize("name", ["tiny_study.toml", "brats_study.toml"])
def test_every_job_comes_after_what_it_needs_and_has_a_name_of_its_own(name: str) -> None:
    seen: set[str] = set()
    for job in jobs_of(read_study(EXAMPLES / name)):
        assert set(job.needs) <= seen
        assert job.name not in seen
        seen.add(job.name)


def test_the_reference_study_has_the_size_of_its_grid() -> None:
    study = read_study(EXAMPLES / "brats_study.toml")
    jobs = jobs_of(study)
    whole = [job for job in jobs if job.verb == "segment" and job.real_fraction == 1]
    # Years x segmenters x augmentation x seeds x (real once, and two training sets for each of five generators).
    assert len(whole) == 2 * 2 * 2 * 10 * (1 + 2 * 5)
    swept = [job for job in jobs if job.verb == "segment" and job.real_fraction < 1]
    assert len(swept) == 2 * 2 * 5 * (1 + 5)
    assert {job.generator for job in jobs if job.verb == "train"} == set(FIVE)
    for verb in ("train", "sample", "measure", "audit", "decide"):
        assert sum(job.verb == verb for job in jobs) == 2 * 5
    assert any(job.name == "segment/brats2021/stylegan3/swin/both/augmented/seed9" for job in jobs)


def test_training_on_real_images_is_done_once_for_all_generators(tmp_path: Path) -> None:
    two = STUDY + '\n[generators.other]\nimages = { one = "good" }\n'
    names = [job.name for job in jobs_of(_study(tmp_path, two)) if job.verb == "segment"]
    assert [name for name in names if "/real/unet/real/" in name] == [
        f"segment/one/real/unet/real/plain/seed{seed}" for seed in (0, 1)
    ]
    assert len(names) == 2 * (1 + 2)


def test_a_sweep_trains_on_shares_of_the_real_subjects_alone_and_with_synthetic_images(tmp_path: Path) -> None:
    study = _study(tmp_path, STUDY.replace("seeds = 2", "seeds = 1\nsweep = [0.5, 0.1]\nsweep_seeds = 2"))
    swept = [job for job in jobs_of(study) if job.real_fraction < 1]
    assert [(job.generator, job.train_on, job.real_fraction, job.seed) for job in swept] == [
        (generator, arm, share, seed)
        for generator, arm in (("", "real"), ("good", "both"))
        for share in (0.1, 0.5)
        for seed in (0, 1)
    ]


def test_a_decision_needs_the_first_segmenters_trainings_without_augmentation() -> None:
    study = read_study(EXAMPLES / "brats_study.toml")
    decision = next(job for job in jobs_of(study) if job.name == "decide/brats2020/diffusion")
    segments = [name for name in decision.needs if name.startswith("segment/")]
    assert len(segments) == 3 * 10
    assert all("/unet/" in name and "/plain/" in name and "2020" in name for name in segments)
    assert not any("stylegan" in name for name in segments)


def test_the_plan_costs_arithmetic_and_disk_without_data() -> None:
    found = planned(EXAMPLES / "brats_study.toml")
    training = found.costs["train/brats2020/stylegan2"]
    # 25 million images; at 32 TFLOP/s an A100 takes about 11 s per thousand with 3 channels (its authors: 12.5).
    assert 250 < hours(training.operations, 32) < 300
    sampled = found.costs["sample/brats2020/diffusion"]
    assert sampled.bytes == 100_000 * 5 * 256 * 256
    assert sampled.operations == pytest.approx(100_000 * 50 * 167.02e9, rel=1e-3)
    assert found.by_verb()["prepare"][1].operations == 0


def test_twice_the_steps_cost_twice_as_much(tmp_path: Path) -> None:
    text = STUDY + "\n[generators.progan]\nconfig = 'small'\nsteps = {steps}\nsamples = 4\n"
    costs = []
    for steps in (10, 20):
        _study(tmp_path, text.replace("{steps}", str(steps)))
        costs.append(planned(tmp_path / "study.toml").costs["train/one/progan"].operations)
    assert costs[1] == pytest.approx(2 * costs[0])


@pytest.mark.parametrize(
    ("generator", "words"),
    [
        ("[segmenters.swin]\nset = { heads = 3 }", "segmenters.swin: "),
        ("[segmenters.swin]\nset = { colour = 3 }", "segmenters.swin: There is no setting colour"),
        ("[generators.progan]\nset = { checkpoint_every = 0 }", "generators.progan: .*checkpoint_every"),
        ("[generators.diffusion]\nconfig = 'small'", "generators.diffusion: nothing says how long"),
        ("[generators.progan]\nconfig = 'large'", "no configuration 'large'"),
        ("[generators.progan]\nkimg = 1\nset = { chanel_base = 3 }", "channel_base"),
    ],
)
def test_what_could_not_be_trained_is_found_while_planning(tmp_path: Path, generator: str, words: str) -> None:
    _study(tmp_path, f"{STUDY}\n{generator}\n")
    with pytest.raises(SettingsError, match=words):
        planned(tmp_path / "study.toml")
