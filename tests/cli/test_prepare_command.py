"""`synthrelease prepare` as the shell sees it: exit codes, one JSON document, no escape codes from names."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner
from rich.console import Console
from scans_helpers import picture, write_png

from synthrelease.cli import group
from synthrelease.cli.console import ConsoleProgress

PROGRAM = [sys.executable, "-c", "from synthrelease.cli import main; main()"]


@pytest.fixture
def cohort(tmp_path: Path) -> Path:
    for index in range(4):
        write_png(tmp_path / "cohort" / f"S{index}" / "a.png", picture(index))
    return tmp_path / "cohort"


def run(cohort: Path, out: Path, *more: str) -> subprocess.CompletedProcess[str]:
    words = ["prepare", str(cohort), "--out", str(out), "--workers", "1", *more]
    return subprocess.run([*PROGRAM, *words], capture_output=True, text=True, check=False, timeout=120)


def test_json_is_one_document_on_success_and_on_error(cohort, tmp_path):
    done = run(cohort, tmp_path / "out", "--json")
    refused = run(cohort, tmp_path / "out", "--json", "--seed", "5")
    usage = run(cohort, tmp_path / "out", "--json", "--preset", "pretty")

    assert (done.returncode, refused.returncode, usage.returncode) == (0, 1, 2)
    assert {role: entry["subjects"] for role, entry in json.loads(done.stdout)["sets"].items()} == {
        "train": 2,
        "holdout": 1,
        "test": 1,
    }
    assert json.loads(refused.stdout)["error"] == "StoreError"
    assert "prepared differently" in json.loads(refused.stdout)["problem"]
    assert json.loads(usage.stdout)["error"] == "UsageError"


def test_an_error_is_two_sentences_on_stderr_without_a_traceback(tmp_path):
    found = run(tmp_path / "nowhere", tmp_path / "out")

    assert (found.returncode, found.stdout) == (1, "")
    assert "nowhere does not exist." in found.stderr
    assert "Traceback" not in found.stderr


def test_names_of_files_cannot_steer_the_terminal(cohort, tmp_path):
    small = picture(5) * 0
    small[3, 3] = 9
    write_png(cohort / "S\x1b[31mred" / "a.png", small)
    words = ["prepare", str(cohort), "--out", str(tmp_path / "out"), "--workers", "1"]

    shown = CliRunner().invoke(group, words, color=True)

    assert shown.exit_code == 0, shown.output
    assert "\x1b" not in shown.stdout
    assert r"S\x1b[31mred" in shown.stdout


def test_lines_of_progress_escape_control_characters(capsys):
    progress = ConsoleProgress()
    progress.console = Console(stderr=True, highlight=False, force_terminal=True)

    progress.say("train: \x1b]0;owned\x07.nii could not be used")

    assert "\x1b]0" not in capsys.readouterr().err
