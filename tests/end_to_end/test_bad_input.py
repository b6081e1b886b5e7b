"""Bad input through the real command line: a clear message, the right exit code, never a traceback."""

from __future__ import annotations

import json
import os
import shutil
import signal
import stat
import subprocess
import sys
import time
from pathlib import Path

import nibabel
import numpy as np
import pytest
from audit_helpers import images_of, run_cli, subject, without_time, write_png, write_role
from PIL import Image

TRAIN, HOLDOUT, MADE = range(6), range(20, 26), range(40, 44)
QUICKLY = ("--extractor", "pixels", "--no-parts", "--image-size", 64)


@pytest.fixture(scope="module")
def clean(tmp_path_factory) -> Path:
    """A folder with `train`, `holdout` and `synthetic`, never changed, and the cache of all tests here."""
    root = tmp_path_factory.mktemp("clean")
    for role, indices in (("train", TRAIN), ("holdout", HOLDOUT), ("synthetic", MADE)):
        write_role(root / role, indices, 2)
    return root


@pytest.fixture
def roles(clean, tmp_path) -> Path:
    """A copy of the clean folders that a test may spoil."""
    for role in ("train", "holdout", "synthetic"):
        shutil.copytree(clean / role, tmp_path / role)
    return tmp_path


@pytest.fixture
def audit(clean, tmp_path):
    def call(root: Path, *extra: object, holdout: bool = True):
        given = [part for role in ("train", "holdout", "synthetic") for part in (f"--{role}", root / role)]
        if not holdout:
            given = given[:2] + given[4:]
        run = run_cli("audit", *given, "--out", tmp_path / "out", *QUICKLY, "--json", *extra, cache=clean / "cache")
        run.document  # one JSON document whatever happened  # noqa: B018
        return run

    return call


def write_nifti(path: Path, index: int) -> Path:
    volume = np.stack([subject(index)[0][k, 3] * 1000 for k in range(3)], axis=-1).astype(np.int16)
    path.parent.mkdir(parents=True, exist_ok=True)
    nibabel.save(nibabel.Nifti1Image(volume, np.eye(4)), path)
    return path


def test_clean_folders_run_through(clean, audit):
    run = audit(clean)

    assert run.code in (0, 3)
    assert run.document["inputs"]["unread"] == []
    assert run.document["inputs"]["train"]["folder"] == "train"


def test_a_truncated_nifti_is_listed_and_the_audit_incomplete_until_it_is_excluded(tmp_path, audit):
    for role, indices in (("train", TRAIN), ("holdout", HOLDOUT), ("synthetic", MADE)):
        for i in indices:
            write_nifti(tmp_path / role / f"p{i}" / "flair.nii.gz", i)
    broken = tmp_path / "synthetic" / "p40" / "flair.nii.gz"
    broken.write_bytes(broken.read_bytes()[:2000])

    run = audit(tmp_path)

    assert run.code == 3
    assert run.document["verdict"] == "incomplete"
    (unread,) = run.document["inputs"]["unread"]
    assert (unread["role"], unread["image_id"]) == ("synthetic", "p40/flair.nii.gz")
    assert unread["reason"]
    assert not next(f for f in run.document["findings"] if f["measure"] == "unread_files")["passed"]

    again = audit(tmp_path, "--exclude", "p40/flair.nii.gz")
    assert again.document["inputs"]["unread"] == []
    assert again.document["inputs"]["excluded"] == ["p40/flair.nii.gz"]
    assert next(f for f in again.document["findings"] if f["measure"] == "unread_files")["passed"]


def test_excluding_what_is_not_there_is_an_error(clean, audit):
    run = audit(clean, "--exclude", "p40/slice9.png")

    assert run.code == 1
    assert "p40/slice9.png" in run.err


def test_constant_images_and_nan_voxels_are_unread_with_their_reasons(roles, audit):
    write_png(roles / "synthetic" / "flat" / "a.png", np.full((3, 64, 64), 7, np.uint8))
    broken = images_of([45], 1)[0].astype(np.float32)
    broken[:, 10, 10] = np.nan
    (roles / "synthetic" / "holes").mkdir()
    np.save(roles / "synthetic" / "holes" / "b.npy", broken)

    run = audit(roles)

    reasons = {u["image_id"]: u["reason"] for u in run.document["inputs"]["unread"]}
    assert (run.code, run.document["verdict"]) == (3, "incomplete")
    assert "same value" in reasons["flat/a.png"]
    assert "NaN" in reasons["holes/b.npy"]


def test_one_image_per_role_says_that_there_is_nothing_to_compare_with(tmp_path, audit):
    for role, index in (("train", 0), ("holdout", 20), ("synthetic", 40)):
        write_png(tmp_path / role / f"p{index}.png", images_of([index], 1)[0])

    run = audit(tmp_path)

    assert run.code == 1
    assert "1 image(s) of 1 subject(s)" in run.err


def test_two_train_images_and_one_of_each_other_role_give_an_incomplete_record(tmp_path, audit):
    for role, indices in (("train", [0, 1]), ("holdout", [20]), ("synthetic", [40])):
        for index in indices:
            write_png(tmp_path / role / f"p{index}.png", images_of([index], 1)[0])

    run = audit(tmp_path)

    assert (run.code, run.document["verdict"]) == (3, "incomplete")
    assert isinstance(run.document["threshold"], float)


@pytest.mark.parametrize("role", ["train", "holdout", "synthetic"])
def test_an_empty_or_missing_folder_is_named(role, roles, audit):
    shutil.rmtree(roles / role)
    missing = audit(roles)
    (roles / role).mkdir()
    empty = audit(roles)

    assert missing.code == empty.code == 1
    assert f"{roles / role} does not exist" in missing.err
    assert f"{roles / role} holds no images" in empty.err
    assert "Formats" in empty.err


def test_mixed_shapes_in_one_folder_are_refused_with_examples(roles, audit):
    write_png(roles / "synthetic" / "p40" / "large.png", np.pad(images_of([40], 1)[0], ((0, 0), (0, 16), (0, 16))))

    run = audit(roles)

    assert run.code == 1
    assert "64x64" in run.err
    assert "80x80" in run.err
    assert "large.png" in run.err


def test_float_and_sixteen_bit_images_give_the_answer_of_eight_bit_ones(clean, tmp_path, audit):
    shutil.copytree(clean / "train", tmp_path / "train")
    for name, pixels in (("holdout", np.float32), ("synthetic", np.uint16)):
        for file in (clean / name).rglob("*.png"):
            place = tmp_path / name / file.relative_to(clean / name).with_suffix(".npy")
            place.parent.mkdir(parents=True, exist_ok=True)
            stored = np.asarray(Image.open(file)).transpose(2, 0, 1)
            np.save(place, (stored / 255).astype(pixels) if pixels is np.float32 else stored.astype(pixels) * 257)

    eight, other = audit(clean).document, audit(tmp_path).document
    assert "findings" in other, other

    broken = [f["rule"] for f in other["findings"] if not f["passed"]]
    assert (other["verdict"], broken) == (eight["verdict"], [f["rule"] for f in eight["findings"] if not f["passed"]])
    assert other["threshold"] == pytest.approx(eight["threshold"], abs=2e-3)
    assert [s["score"] for s in other["closest"]] == pytest.approx([s["score"] for s in eight["closest"]], abs=2e-3)


def test_a_subject_in_both_train_and_holdout_is_an_error_that_names_the_subject(roles, audit):
    shutil.copytree(roles / "train" / "p003", roles / "holdout" / "p003")

    run = audit(roles)

    assert run.code == 1
    assert "p003" in run.document["problem"]
    assert "both train and holdout" in run.err


def test_a_patient_hidden_in_the_holdout_under_another_name_is_an_error_that_names_the_pair(roles, audit):
    shutil.copytree(roles / "train" / "p003", roles / "holdout" / "x900")

    run = audit(roles)

    assert run.code == 1
    for name in ("x900/slice0.png", "p003/slice0.png", "x900", "p003"):
        assert name in run.document["problem"]


def test_the_same_file_in_train_and_synthetic_is_an_exact_copy_and_rejected(roles, audit):
    shutil.copyfile(roles / "train" / "p002" / "slice1.png", roles / "synthetic" / "innocent.png")

    run = audit(roles)

    assert (run.code, run.document["verdict"]) == (4, "reject")
    (exact,) = run.document["exact_copies"]
    assert (exact["image_id"], exact["train_image_id"], exact["train_subject"]) == (
        "innocent.png",
        "p002/slice1.png",
        "p002",
    )
    assert "innocent.png" in {s["image_id"] for s in run.document["suspects"]}
    assert "p002" in run.document["exposed_subjects"]


def test_without_a_holdout_the_audit_is_incomplete_and_nothing_is_calibrated(clean, audit):
    run = audit(clean, holdout=False)

    assert (run.code, run.document["verdict"]) == (3, "incomplete")
    assert run.document["threshold"] is None
    assert run.document["alarm"] is None
    assert run.document["suspects"] == []
    assert any("Nothing is calibrated" in sentence for sentence in run.document["not_tested"])


def test_a_wrong_weights_file_is_told_what_it_is_and_what_was_expected(clean, tmp_path):
    import torch

    wrong = tmp_path / "mine.pt"
    torch.save({"layer.weight": torch.zeros(3, 3)}, wrong)
    given = [part for role in ("train", "synthetic") for part in (f"--{role}", clean / role)]

    def call(file):
        extractor = ("--extractor", "radimagenet-resnet50", "--weights", file)
        return run_cli("audit", *given, "--out", tmp_path / "out", *extractor, "--json", cache=clean / "cache")

    run, missing = call(wrong), call(tmp_path / "nowhere.pt")

    assert run.code == missing.code == 1
    assert "mine.pt looks like" in run.document["problem"]
    assert "expected RadImageNet ResNet" in run.document["problem"]
    assert "nowhere.pt" in missing.document["problem"]


HOSTILE = [
    "<script>alert(1)</script>.png".replace("/", "_"),
    "line\nbreak.png",
    "quote\"'`$(touch x).png",
    "x" * 240 + ".png",
    "a..%2e%2e..b.png",
    "\u202egnp.txt.png",
    "-rf.png",
    "100%{}[].png",
]


def test_hostile_file_names_are_audited_escaped_and_never_executed(roles, audit, tmp_path):
    copy = images_of([1], 2)[0]
    for name in HOSTILE:
        write_png(roles / "synthetic" / "p40" / name, copy)
    (roles / "synthetic" / "p40").rename(roles / "synthetic" / "<img src=x>")
    invalid = os.fsencode(str(roles / "synthetic")) + b"/bad\xff.png"
    Path(os.fsdecode(invalid)).write_bytes((roles / "synthetic" / "<img src=x>" / HOSTILE[0]).read_bytes())

    run = audit(roles)

    assert run.code == 4
    found = {s["image_id"] for s in run.document["exact_copies"]}
    assert found == {*(f"<img src=x>/{name}" for name in HOSTILE), "bad\\xff.png"}
    page = (tmp_path / "out" / "evidence" / "report.html").read_text(encoding="utf-8")
    assert "<script" not in page
    assert "<img src=x>" not in page
    assert "&lt;script&gt;" in page
    assert not Path("x").exists()


def test_a_bad_pattern_or_one_that_matches_nothing_is_an_error(clean, audit):
    broken, groupless, lost = (audit(clean, "--subject-pattern", p) for p in ("(", "p0", "(zzz)"))

    assert broken.code == groupless.code == lost.code == 1
    assert "not a regular expression" in broken.err
    assert "no group" in groupless.err
    assert "does not match" in lost.err
    assert "slice0.png" in lost.err


def test_an_unknown_channel_is_answered_with_those_there_are(clean, audit):
    run = audit(clean, "--channels", "T2")

    assert run.code == 1
    assert "T2" in run.document["problem"]
    assert "red, green, blue" in run.document["remedy"]


def test_an_out_folder_that_is_a_file_is_an_error(clean, audit, tmp_path):
    (tmp_path / "out").write_text("mine")

    run = audit(clean)

    assert run.code == 1
    assert "a file stands where a folder is needed" in run.err
    assert (tmp_path / "out").read_text() == "mine"


def test_a_read_only_out_folder_is_an_error_with_a_remedy(clean, audit, tmp_path, monkeypatch):
    if os.geteuid() == 0:  # root may write anywhere: let the system call refuse
        real = Path.mkdir

        def refuse(self, *arguments, **options):
            if tmp_path / "out" in (self, *self.parents):
                raise PermissionError(13, "Permission denied", str(self))
            real(self, *arguments, **options)

        monkeypatch.setattr(Path, "mkdir", refuse)
    else:
        (tmp_path / "out").mkdir(mode=0o500)

    run = audit(clean)

    assert run.code == 1
    assert "permission denied" in run.document["problem"]
    assert "--out" in run.document["remedy"]


def test_what_holds_patients_is_private(clean, audit, tmp_path):
    audit(clean)

    for place in (tmp_path / "out" / "evidence", clean / "cache", *(clean / "cache").iterdir()):
        if place.is_dir():
            assert stat.S_IMODE(place.stat().st_mode) == 0o700, place
    for file in (tmp_path / "out" / "evidence").rglob("*"):
        assert not file.stat().st_mode & 0o022


# Interruptions: real processes, killed in the middle of the search.

CHILD = """
import signal, sys, time
signal.signal(signal.SIGINT, signal.default_int_handler)  # a run in the background would ignore it
sys.path.insert(0, {tests!r})
import audit_helpers
from synthrelease import cli
from synthrelease.privacy.gallery import Gallery
real = Gallery.screen_block
def slowly(self, *arguments):
    found = real(self, *arguments)
    print("BLOCK", flush=True, file=sys.stderr)
    time.sleep({pause})
    return found
Gallery.screen_block = slowly
with audit_helpers.quick_settings():
    cli.main()
"""


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGINT])
def test_an_interrupted_run_is_resumed_with_the_same_result(how, clean, tmp_path, audit):
    arguments = [part for role in ("train", "holdout", "synthetic") for part in (f"--{role}", str(clean / role))]
    arguments = ["audit", *arguments, "--out", str(tmp_path / "out"), *map(str, QUICKLY)]
    environment = {**os.environ, "SYNTHRELEASE_CACHE": str(tmp_path / "cache"), "OMP_NUM_THREADS": "1"}
    code = CHILD.format(
        tests=str(Path(__file__).resolve().parents[1]), pause=2
    )  # the block in hand is finished and kept
    child = subprocess.Popen(
        [sys.executable, "-c", code, *arguments],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    seen = ""
    while "BLOCK" not in seen:
        line = child.stderr.readline()
        assert line, seen
        seen += line
    time.sleep(0.2)
    child.send_signal(how)
    out, err = child.communicate(timeout=60)

    assert not (tmp_path / "out" / "evidence" / "audit.json").exists()
    assert "Traceback" not in seen + err
    if how == signal.SIGINT:
        assert child.returncode == 130
        assert "Finished work is kept" in err
        assert out == ""
    kept = {path.name for path in (tmp_path / "cache").iterdir() if not path.name.endswith(".partial")}
    assert kept

    resumed = run_cli(*arguments, "--json", cache=tmp_path / "cache")
    unbroken = run_cli(*arguments[:-5], *map(str, QUICKLY), "--json", cache=clean / "cache")

    assert without_time(resumed.document) == without_time(unbroken.document)
    assert kept <= {path.name for path in (tmp_path / "cache").iterdir()}
    assert json.loads((tmp_path / "out" / "evidence" / "audit.json").read_text()) == unbroken.document
