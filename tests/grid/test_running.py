"""A study is run: built once, resumed anywhere, one failure stops nobody else, and results are named after causes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from grid_helpers import STUDY, a_study

from synthrelease import segmenting, store
from synthrelease.errors import SettingsError, StoreError
from synthrelease.grid import running
from synthrelease.grid.collecting import collected
from synthrelease.grid.places import places_of, states_of
from synthrelease.grid.plan import jobs_of
from synthrelease.grid.reporting import report, status, time_left
from synthrelease.grid.settings import read_study

REAL0 = "segment/one/real/unet/real/plain/seed0"


def _places(file: Path) -> dict[str, Any]:
    settings = read_study(file)
    return places_of(settings, jobs_of(settings))


def _folders(file: Path) -> dict[str, str]:
    return {name: place.folder.name for name, place in _places(file).items()}


def test_a_study_runs_once_and_a_second_run_does_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = a_study(tmp_path)
    first = running.run(file, devices=("cpu",))
    assert len(first.made) == 4
    assert (first.failed, first.blocked, first.left) == ({}, (), 0)
    assert {state.state for state in status(file)} == {"finished"}
    monkeypatch.setattr(running.study, "segment", lambda **_: pytest.fail("it was trained again"))
    assert running.run(file, devices=("cpu",)).made == ()


def test_the_record_holds_what_the_trainings_scored(tmp_path: Path) -> None:
    file = a_study(tmp_path)
    running.run(file, devices=("cpu",))
    settings = read_study(file)
    record = collected(settings, _places(file))
    assert (record.jobs, record.finished, record.unfinished) == (4, 4, ())
    by_arm = {item.train_on: item for item in record.usefulness}
    assert by_arm.keys() == {"real", "synthetic"}
    scored = [json.loads(path.read_text())["scores"] for path in settings.results.glob("*/models/real-*/scores.json")]
    dice = [score["dice"] for one in scored for score in one if score["region"] in ("NCR", "ED", "ET")]
    assert len(dice) == 2 * 4 * 3  # seeds, subjects, labels
    mean = by_arm["real"].regions[0]
    assert mean.region == "mean"
    assert mean.dice.value == pytest.approx(sum(dice) / len(dice))
    assert by_arm["real"].real_subjects == 4
    assert by_arm["synthetic"].real_subjects is None
    assert by_arm["synthetic"].seeds == (0, 1)
    assert by_arm["real"].relative_dice is None
    fixed = by_arm["real"].fixed_mask
    assert by_arm["synthetic"].fixed_mask is None
    assert fixed.dice.keys() == {region.region for region in by_arm["real"].regions}
    assert 0 < fixed.dice["WT"].value < 1
    assert fixed.relative_dice.value == pytest.approx(fixed.dice["mean"].value / mean.dice.value)
    assert any("test subjects" in words for words in record.small)


def test_weights_of_segmenters_are_not_kept_unless_asked_for(tmp_path: Path) -> None:
    file = a_study(tmp_path, STUDY.replace("seeds = 2", "seeds = 1"))
    running.run(file, devices=("cpu",), only=(REAL0,))
    folder = _places(file)[REAL0].folder
    assert list(folder.glob("models/*/scores.json"))
    assert not list(folder.rglob("*.safetensors"))
    keeping = a_study(tmp_path / "b", STUDY.replace("seeds = 2", "seeds = 1\nkeep_weights = true"))
    running.run(keeping, devices=("cpu",), only=(REAL0,))
    assert list(_places(keeping)[REAL0].folder.rglob("*.safetensors"))


def test_a_failed_job_is_named_and_the_others_go_on_and_it_is_tried_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = a_study(tmp_path)
    true = running.study.segment

    def full(**options: Any) -> Any:
        if options["train_on"] == ("real",) and options["seeds"] == (0,):
            raise StoreError("the disk is full")
        return true(**options)

    monkeypatch.setattr(running.study, "segment", full)
    outcome = running.run(file, devices=("cpu",))
    assert outcome.failed == {REAL0: "the disk is full"}
    assert (len(outcome.made), outcome.left) == (3, 1)
    state = {state.place.job.name: state for state in status(file)}[REAL0]
    assert (state.state, state.reason) == ("failed", "the disk is full")
    record, folder = report(file)
    assert [(item.job, item.state) for item in record.unfinished] == [(REAL0, "failed")]
    assert "the disk is full" in (folder / "study.html").read_text()
    monkeypatch.setattr(running.study, "segment", true)
    assert running.run(file, devices=("cpu",)).made == (REAL0,)
    assert not list((tmp_path / "results" / "failed").iterdir())


def test_an_unforeseen_error_keeps_its_traceback_and_the_grid_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = a_study(tmp_path)
    monkeypatch.setattr(running.study, "segment", lambda **_: 1 / 0)
    outcome = running.run(file, devices=("cpu",))
    assert len(outcome.failed) == 4
    note = json.loads(_places(file)[REAL0].note.read_text())
    assert note["problem"].startswith("ZeroDivisionError")
    assert "Traceback" in note["remedy"]


def test_what_needs_a_failed_job_is_blocked_and_not_tried(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    learning = '[generators.progan]\nconfig = "small"\nsteps = 1\nbatch = 4\nsamples = 4\n[generators.good]'
    file = a_study(tmp_path, STUDY.replace("[generators.good]", learning))

    def broken(*_: Any, **__: Any) -> None:
        raise StoreError("no")

    monkeypatch.setattr(running.study, "train", broken)
    outcome = running.run(file, devices=("cpu",))
    assert set(outcome.failed) == {"train/one/progan"}
    assert set(outcome.blocked) == {"sample/one/progan"} | {
        f"segment/one/progan/unet/synthetic/plain/seed{seed}" for seed in (0, 1)
    }
    states = {state.place.job.name: state for state in status(file)}
    assert states["sample/one/progan"].reason == "needs train/one/progan"


def test_an_interrupted_job_goes_on_to_the_same_weights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    longer = STUDY.replace("seeds = 2", "seeds = 1\nkeep_weights = true").replace("steps = 2, ", "steps = 6, ")
    whole, cut = a_study(tmp_path / "whole", longer), a_study(tmp_path / "cut", longer)
    running.run(whole, devices=("cpu",), only=(REAL0,))
    true = segmenting._scored

    def stopped(*_: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(segmenting, "_scored", stopped)
    with pytest.raises(KeyboardInterrupt):
        running.run(cut, devices=("cpu",), only=(REAL0,))
    place = _places(cut)[REAL0]
    assert not place.finished
    assert [state.state for state in status(cut) if state.place.job.name == REAL0] == ["started"]
    before = place.seconds()
    assert before > 0
    monkeypatch.setattr(segmenting, "_scored", true)
    assert running.run(cut, devices=("cpu",), only=(REAL0,)).made == (REAL0,)
    assert place.seconds() > before
    weights = [
        {path.name: path.read_bytes() for path in _places(file)[REAL0].folder.rglob("*.safetensors")}
        for file in (whole, cut)
    ]
    assert weights[0]
    assert weights[0] == weights[1]


def test_devices_work_side_by_side_in_processes_of_their_own_with_the_same_result(tmp_path: Path) -> None:
    alone, together = a_study(tmp_path / "alone"), a_study(tmp_path / "together")
    running.run(alone, devices=("cpu",))
    outcome = running.run(together, devices=("cpu", "cpu"))
    assert len(outcome.made) == 4
    assert not outcome.failed
    assert _folders(alone) == _folders(together)
    settings = [read_study(file) for file in (alone, together)]
    records = [collected(one, places_of(one, jobs_of(one))) for one in settings]
    assert records[0].usefulness == records[1].usefulness
    assert len(list((tmp_path / "together" / "results" / "logs").iterdir())) == 4


def test_a_process_that_dies_is_a_failed_job(tmp_path: Path) -> None:
    file = a_study(tmp_path, STUDY.replace("seeds = 2", "seeds = 1"))
    outcome = running.run(file, devices=("cpu", "quantum"), only=(REAL0, "segment/one/good/*"))
    assert len(outcome.made) == 1
    (problem,) = outcome.failed.values()
    assert "quantum" in problem


def test_only_does_what_a_pattern_names_and_what_that_needs(tmp_path: Path) -> None:
    file = a_study(tmp_path)
    assert running.run(file, devices=("cpu",), only=("segment/*/seed1",)).made == (
        "segment/one/real/unet/real/plain/seed1",
        "segment/one/good/unet/synthetic/plain/seed1",
    )
    with pytest.raises(SettingsError, match="fits 'segmentation/"):
        running.run(file, devices=("cpu",), only=("segmentation/*",))


def test_results_are_named_after_everything_that_shapes_them(tmp_path: Path) -> None:
    file = a_study(tmp_path)
    before = _folders(file)
    assert len(set(before.values())) == len(before)

    def changed(old: str, new: str) -> set[str]:
        text = file.read_text()
        assert old in text
        file.write_text(text.replace(old, new))
        after = _folders(file)
        file.write_text(text)
        return {name for name in before if after[name] != before[name]}

    assert changed("steps = 2", "steps = 3") == set(before)
    assert changed('name = "A test"', 'name = "Another"') == set()
    assert changed("seeds = 2", "seeds = 3") == set()
    assert changed('"real", "synthetic"]', '"real", "synthetic", "both"]') == set()
    assert changed('{ one = "good" }', '{ one = "one/test" }') == {name for name in before if "/good/" in name}


def test_another_image_set_gives_other_names(tmp_path: Path) -> None:
    file = a_study(tmp_path)
    before = _folders(file)
    (tmp_path / "good").rename(tmp_path / "kept")
    from segmentation_helpers import BRATS, stored, tumours

    stored(tmp_path / "good", tumours(8, seed=9, channels=BRATS, levels=(102, 51, 204), size=32, subjects=False))
    after = _folders(file)
    assert {name for name in before if after[name] != before[name]} == {name for name in before if "/good/" in name}


def test_a_changed_scan_gives_other_names_to_all_that_follows(tmp_path: Path) -> None:
    cohort = tmp_path / "cohort" / "patient1"
    cohort.mkdir(parents=True)
    (cohort / "scan.nii").write_bytes(b"first")
    text = STUDY.replace('sets = "one"', 'cohort = "cohort"')
    file = a_study(tmp_path, text)
    before = _folders(file)
    (cohort / "scan.nii").write_bytes(b"other!")
    after = _folders(file)
    assert all(before[name] != after[name] for name in before)


def test_time_left_goes_by_finished_jobs_of_the_kind_and_guesses_nothing_else(tmp_path: Path) -> None:
    file = a_study(tmp_path)
    nothing = time_left(status(file))["segment"]
    assert (nothing.jobs, nothing.seconds, nothing.unknown) == (4, 0, 4)
    running.run(file, devices=("cpu",), only=(REAL0,))
    place = _places(file)[REAL0]
    store.write_text(place.folder / "job.json", json.dumps({"seconds": 50.0}))
    left = time_left(status(file))["segment"]
    assert (left.jobs, left.seconds, left.unknown) == (3, 150.0, 0)


def test_a_damaged_result_is_said_and_never_counted(tmp_path: Path) -> None:
    file = a_study(tmp_path)
    running.run(file, devices=("cpu",))
    next(_places(file)[REAL0].folder.glob("models/*/scores.json")).write_text("{")
    settings = read_study(file)
    with pytest.raises(StoreError, match=r"scores\.json"):
        collected(settings, places_of(settings, jobs_of(settings)))


def test_states_of_nothing_done_are_waiting(tmp_path: Path) -> None:
    assert {state.state for state in states_of(_places(a_study(tmp_path)))} == {"waiting"}
