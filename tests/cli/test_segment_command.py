"""`synthrelease segment` as a user meets it: help, summary, JSON, resuming, mistakes."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from segmentation_helpers import BRATS, stored, tumours

from synthrelease.cli.segment import command
from synthrelease.errors import SegmentationError
from synthrelease.release_records import UtilityRecord

QUICK = ["--preset", "small", "--steps", "4", "--batch", "4", "--device", "cpu"]
QUICK += [
    part
    for change in ("filters=[4, 8, 8]", "heads=1", "validate_every=2", "warmup_steps=0")
    for part in ("--set", change)
]


@pytest.fixture(scope="module")
def sets(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    folder = tmp_path_factory.mktemp("sets")
    made = [tumours(12, seed=i, name=n, channels=BRATS, levels=(102, 51, 204)) for i, n in enumerate(("test", "real"))]
    made.append(tumours(9, seed=2, name="made", channels=BRATS, levels=(102, 51, 204), subjects=False))
    found = [str(stored(folder / name, images)) for name, images in zip(("test", "real", "made"), made, strict=True)]
    return ["--test", found[0], "--real", found[1], "--synthetic", found[2]]


def _called(*arguments: str) -> Result:
    result = CliRunner().invoke(command, [*arguments])
    if result.exception and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result


def test_the_summary_shows_every_training_and_fits_a_terminal(tmp_path: Path, sets: list[str]) -> None:
    shown = _called(*sets, *QUICK, "--out", str(tmp_path / "o"), "--train-on", "real", "--train-on", "both").stdout
    for words in ("relative Dice of synthetic + real", "WT", "subjects.csv", "One training each"):
        assert words in shown
    assert max(map(len, shown.replace(str(tmp_path), "").splitlines())) <= 80


def test_json_is_the_record_alone_and_what_was_written(tmp_path: Path, sets: list[str]) -> None:
    arguments = [*sets, *QUICK, "--out", str(tmp_path / "o"), "--seeds", "2", "--first-seed", "7", "--json"]
    record = UtilityRecord.model_validate(json.loads(_called(*arguments).stdout))
    assert record.seeds == 2
    assert {path.name for path in (tmp_path / "o" / "models").iterdir()} == {
        "real-seed7", "real-seed8", "synthetic-seed7", "synthetic-seed8",
    }  # fmt: skip
    assert UtilityRecord.model_validate_json((tmp_path / "o" / "utility.json").read_text()) == record
    assert json.loads(_called(*arguments, "--resume").stdout) == json.loads(record.model_dump_json())
    with pytest.raises(SegmentationError, match="--resume"):
        _called(*arguments)


def test_options_reach_what_they_name(tmp_path: Path, sets: list[str]) -> None:
    options = ["--train-on", "both", "--real-share", "0.2", "--real-fraction", "0.5", "--augment", "--patience", "3"]
    _called(*sets, *QUICK, *options, "--set", "rotation=10", "--size", "16", "--out", str(tmp_path / "o"))
    about = json.loads((tmp_path / "o" / "models" / "both-seed0" / "SEGMENTER.json").read_text())
    assert about["mix"]["real_share"] == 0.2
    assert about["mix"]["real"]["images"] == 3
    assert (about["training"]["patience"], about["training"]["steps"], about["training"]["batch"]) == (3, 4, 4)
    assert about["augment"]["rotation"] == 10
    assert about["reader"]["size"] == [16, 16]
    assert about["network"] == {"filters": [4, 8, 8], "heads": 1}


def test_without_images_to_train_on_nothing_starts(tmp_path: Path, sets: list[str]) -> None:
    result = _called(*sets[:2], "--out", str(tmp_path / "o"))
    assert result.exit_code == 2
    assert "--real, --synthetic or both" in result.output


def test_help_explains_relative_dice_and_shows_examples() -> None:
    shown = _called("--help").stdout
    for words in ("Relative Dice", "synthrelease segment --real", "torchrun", "--resume", "audit"):
        assert words in shown
