"""study.toml: what it may say, and what a mistake in it is answered with."""

from __future__ import annotations

from pathlib import Path

import pytest
from grid_helpers import STUDY

from synthrelease.errors import SettingsError
from synthrelease.grid.settings import read_study


def _read(folder: Path, text: str):
    (folder / "study.toml").write_text(text, encoding="utf-8")
    return read_study(folder / "study.toml")


def test_paths_start_at_the_folder_of_the_file(tmp_path: Path) -> None:
    text = STUDY.replace('policy = ""', 'policy = "strict.toml"')
    text = text.replace("audit = false", "audit = { weights = { x = 'w.h5' } }")
    study = _read(tmp_path, text)
    assert study.results == tmp_path / "results"
    assert study.data["one"].sets == tmp_path / "one"
    assert study.generators["good"].images == {"one": tmp_path / "good"}
    assert study.audit is not None
    assert study.audit.weights == {"x": tmp_path / "w.h5"}
    assert study.policy == str(tmp_path / "strict.toml")


def test_absolute_paths_stay(tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    assert _read(tmp_path, STUDY.replace('"one"\nres', f'"{elsewhere}"\nres')).data["one"].sets == elsewhere


@pytest.mark.parametrize(
    ("before", "after", "words"),
    [
        ('sets = "one"', 'sets = "one"\ncohort = "two"', "exactly one of cohort, sets and phantom"),
        ('sets = "one"', "", "exactly one of cohort, sets and phantom"),
        ("[generators.good]", "[generators.real]", "training on real images"),
        ("[generators.good]", "[generators.'A/../b']", "small letters"),
        ("images = { one = \"good\" }", "kimg = 1", "'good' is none of progan"),
        ("images = { one = \"good\" }", 'images = { two = "good" }', "images are missing for one"),
        ("[segmenters.unet]", "[segmenters.net]", "'net' is none of unet, swin"),
        ("seeds = 2", "seedz = 2", "did you mean"),
        ("seeds = 2", "seeds = 0", "greater than or equal to 1"),
        ("seeds = 2", "sweep = [0.5, 1.0]", "between 0 and 1"),
        ('["real", "synthetic"]', '["fake"]', "'real', 'synthetic' or 'both'"),
        ("augmented = [false]", "augmented = [false, false]", "must not repeat"),
        ('policy = ""', 'policy = "controlled"', "without an audit"),
        ("[data.one]", "[data.one", "not readable TOML"),
    ],
)  # fmt: skip
def test_mistakes_are_named(tmp_path: Path, before: str, after: str, words: str) -> None:
    assert before in STUDY
    with pytest.raises(SettingsError, match=words):
        _read(tmp_path, STUDY.replace(before, after))


def test_a_missing_file_points_to_an_example(tmp_path: Path) -> None:
    with pytest.raises(SettingsError) as error:
        read_study(tmp_path / "nothing.toml")
    assert "tiny_study" in error.value.remedy


def test_steps_and_kimg_exclude_each_other(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="steps or kimg"):
        _read(tmp_path, STUDY + "\n[generators.progan]\nsteps = 3\nkimg = 1\n")
