"""`from synthrelease import audit`: arrays in, the record of the command line out."""

from __future__ import annotations

import json
import subprocess
import sys

import numpy as np
import pytest
from audit_helpers import QUICK, images_of, names_of, run_cli, write_role

import synthrelease
from synthrelease.errors import SettingsError, SynthreleaseError

TRAIN, HOLDOUT, MADE = range(6), range(20, 26), range(40, 44)
OPTIONS = {**QUICK, "extractors": ("pixels",), "parts": False}


def audit(**changes):
    given = {
        "train": images_of(TRAIN, 2),
        "train_subjects": names_of(TRAIN, 2),
        "holdout": images_of(HOLDOUT, 2),
        "holdout_subjects": names_of(HOLDOUT, 2),
        "synthetic": images_of(MADE, 2),
        **OPTIONS,
        **changes,
    }
    return synthrelease.audit(**given)


def numbers(record):
    """Everything of a record but names, times and hashes of content."""
    return {
        "scores": [s["score"] for s in record["closest"]],
        "planted": record["planted"],
        **{name: record[name] for name in ("verdict", "threshold", "alarm", "near_copies", "bounds", "findings")},
        **{name: record[name] for name in ("membership", "comparisons", "representative", "transfer", "distribution")},
    }


def test_arrays_give_the_record_of_the_same_folders(tmp_path):
    copies = images_of([2], 2)[1:]
    made = np.concatenate([images_of(MADE, 2), copies])
    for role, indices in (("train", TRAIN), ("holdout", HOLDOUT), ("synthetic", MADE)):
        write_role(tmp_path / role, indices, 2)
    from audit_helpers import write_png

    write_png(tmp_path / "synthetic" / "z" / "copy.png", copies[0])
    roles = [part for role in ("train", "holdout", "synthetic") for part in (f"--{role}", tmp_path / role)]

    by_folders = run_cli(
        "audit", *roles, "--out", tmp_path / "out", "--extractor", "pixels", "--no-parts", "--image-size", 64, "--json"
    ).document
    record = audit(synthetic=made, channels=("red", "green", "blue"), out=tmp_path / "o2")

    by_arrays = json.loads(record.model_dump_json())
    for name, value in numbers(by_folders).items():
        assert numbers(by_arrays)[name] == value, name
    assert [s["train_subject"] for s in by_arrays["suspects"]] == [s["train_subject"] for s in by_folders["suspects"]]
    assert [s["image_id"] for s in by_folders["exact_copies"]] == ["z/copy.png"]
    assert [s.image_id for s in record.exact_copies] == ["synthetic/8"]
    assert json.loads((tmp_path / "o2" / "evidence" / "audit.json").read_text()) == by_arrays
    assert (tmp_path / "o2" / "evidence" / "report.html").is_file()


def test_nothing_is_written_unless_asked_for(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)

    assert audit().calibrated
    assert not list(tmp_path.iterdir())


def test_without_a_holdout_nothing_is_calibrated():
    record = audit(holdout=None, holdout_subjects=None)

    assert (record.verdict, record.threshold, record.alarm, record.calibrated) == ("incomplete", None, None, False)
    assert record.suspects == ()
    assert record.near_copies.excess is None


def test_number_types_do_not_change_the_answer():
    eight = audit()
    real = audit(
        **{role: images_of(i, 2) / 255 for role, i in (("train", TRAIN), ("holdout", HOLDOUT), ("synthetic", MADE))}
    )
    sixteen = audit(train=images_of(TRAIN, 2).astype(np.uint16) * 257)

    for other in (real, sixteen):
        assert other.threshold == pytest.approx(eight.threshold, abs=1e-3)
        assert [s.score for s in other.closest] == pytest.approx([s.score for s in eight.closest], abs=2e-3)
        assert other.verdict == eight.verdict


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"holdout_subjects": None}, "holdout_subjects"),
        ({"train_subjects": ["a"]}, "12 images but 1 subjects"),
        ({"train": images_of(TRAIN, 2)[0]}, r"\(n, c, h, w\)"),
        ({"synthetic": images_of(MADE, 2)[:0]}, "at least one image"),
        ({"synthetic": images_of(MADE, 2).astype(str)}, "real numbers"),
        ({"synthetic": np.where(images_of(MADE, 2) > 200, np.nan, 0.5)}, "NaN"),
        ({"holdout": np.zeros((12, 3, 64, 64), np.uint8)}, "all of one value"),
        ({"channels": ("a", "b")}, "3"),
        ({"channels": ("a", "mask", "mask")}, "mask"),
        ({"alhpa": 0.1}, "did you mean 'alpha'"),
        ({"extractors": ("pixel",)}, "Did you mean 'pixels'"),
        ({"holdout_subjects": names_of(TRAIN, 2)}, "in both train and holdout"),
        ({"train_subjects": ["one"] * 12}, "1 subject"),
    ],
)
def test_arrays_that_cannot_be_audited_are_refused_in_words(changes, says):
    with pytest.raises(SynthreleaseError, match=says):
        audit(**changes)


def test_settings_errors_say_what_to_do():
    with pytest.raises(SettingsError) as caught:
        audit(holdout_subjects=None)

    assert caught.value.remedy


def test_importing_the_package_loads_no_torch():
    code = "import sys, synthrelease; assert synthrelease.__version__; assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)
    with pytest.raises(AttributeError, match="nothing"):
        _ = synthrelease.nothing
