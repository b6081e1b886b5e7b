"""`synthrelease study` as a user meets it: plan, run, status, report, mistakes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from grid_helpers import STUDY, a_study
from project import ROOT

from synthrelease.cli.study import command
from synthrelease.errors import ExitCode, SettingsError, StoreError
from synthrelease.grid import running
from synthrelease.study_records import StudyRecord

WIDTH = 80
ONE_SEED = STUDY.replace("seeds = 2", "seeds = 1")


def _called(*arguments: object) -> Result:
    # standalone_mode=False hands the exit code back as `main` sees it
    result = CliRunner().invoke(command, [str(argument) for argument in arguments], standalone_mode=False)
    if result.exception:
        raise result.exception
    return result


def _fits(text: str, folder: Path) -> bool:
    return max(map(len, text.replace(str(folder), "").splitlines())) <= WIDTH


def test_the_plan_of_the_reference_study_fits_a_terminal_and_cuts_no_name() -> None:
    shown = _called("plan", ROOT / "examples" / "brats_study.toml", "--all").stdout
    table, _, names = shown.partition("\n  prepare/")
    assert _fits(table, ROOT)
    for name in ("progan", "stylegan1", "stylegan2", "stylegan3", "diffusion", "unet", "swin", "brats2021"):
        assert name in table
        assert name in names
    assert "segment/brats2021/stylegan3/swin/synthetic/augmented/seed9" in names


def test_a_faster_gpu_takes_fewer_hours() -> None:
    def hours(tflops: int) -> float:
        file = ROOT / "examples" / "tiny_study.toml"
        jobs = json.loads(_called("plan", file, "--tflops", tflops, "--json").stdout)["jobs"]
        return sum(job.get("gpu_hours", 0) for job in jobs)

    assert hours(10) == pytest.approx(6 * hours(60))


def test_a_study_from_its_plan_to_its_report(tmp_path: Path) -> None:
    file = a_study(tmp_path, ONE_SEED)
    before = _called("status", file).stdout
    assert "2 jobs: 2 waiting" in before
    assert "none has finished" in before
    done = _called("run", file, "--device", "cpu")
    assert done.return_value == ExitCode.DONE
    for words in (
        "2 jobs done, 0 failed, 0 of the study left",
        "unet: real",
        "unet: good",
        "study.html",
        "trained once",
    ):
        assert words in done.stdout
    assert _fits(done.stdout, tmp_path)
    after = _called("status", file).stdout
    assert "2 of 2" in after
    assert _fits(after, tmp_path)
    record = StudyRecord.model_validate(json.loads(_called("report", file, "--json").stdout))
    assert record.finished == 2
    assert (tmp_path / "results" / "report" / "study.html").is_file()


def test_a_failed_job_gives_exit_code_one_and_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(**_: Any) -> None:
        raise StoreError("the disk\x1b[2J is full")

    monkeypatch.setattr(running.study, "segment", broken)
    file = a_study(tmp_path, ONE_SEED)
    result = _called("run", file, "--device", "cpu")
    assert result.return_value == ExitCode.FIXABLE
    assert "failed: segment/one/real/unet/real/plain/seed0: the disk" in result.stdout
    assert "\x1b" not in result.stdout
    states = json.loads(_called("status", file, "--json").stdout)["jobs"]
    assert {state["state"] for state in states} == {"failed"}


def test_json_of_a_run_is_one_document(tmp_path: Path) -> None:
    file = a_study(tmp_path, ONE_SEED)
    answer = json.loads(_called("run", file, "--device", "cpu", "--json", "--no-report").stdout)
    assert len(answer["made"]) == 2
    assert answer["report"] is None
    assert not (tmp_path / "results" / "report").exists()


def test_a_pattern_that_fits_nothing_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="fits 'x'"):
        _called("run", a_study(tmp_path), "--only", "x")
