"""`prepare`: three image sets by subject, the same for any number of workers, resumable, and nothing lost silently."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from scans_helpers import opened, picture, volume, write_case, write_nifti, write_png

from synthrelease.cli import group
from synthrelease.errors import ScanError, SplitError, StoreError
from synthrelease.image_set import ImageSet, open_set
from synthrelease.progress import SILENT, Silent
from synthrelease.scans import prepare as module
from synthrelease.scans.prepare import prepare_cohort
from synthrelease.settings import PrepareSettings

BRATS = tuple(f"BraTS2021_{i:05}" for i in range(5))


@pytest.fixture
def cohort(tmp_path: Path) -> Path:
    for index in range(5):
        write_case(tmp_path / "cohort", index)
    return tmp_path / "cohort"


def prepared(cohort: Path, out: Path, lists: dict[str, Path] | None = None, **options: object) -> dict[str, ImageSet]:
    settings = PrepareSettings.checked(**{"workers": 1, **options})
    return prepare_cohort(cohort, out, settings, lists=lists, progress=SILENT)


def contents(sets: dict[str, ImageSet]) -> dict[str, str]:
    return {role: images.content for role, images in sets.items()}


def test_three_sets_hold_every_subject_once_in_eight_bits(cohort, tmp_path):
    sets = prepared(cohort, tmp_path / "out")

    assert list(sets) == ["train", "holdout", "test"]
    assert [len(set(images.subjects)) for images in sets.values()] == [3, 1, 1]
    assert sorted(s for images in sets.values() for s in set(images.subjects)) == list(BRATS)
    for images in sets.values():
        assert images.channels == ("t1", "t1ce", "t2", "flair", "mask")
        assert images.pixels.dtype == np.uint8
        assert images.size == (32, 32)
        assert (images.folder.stat().st_mode & 0o777) == 0o700


def test_pixels_are_those_of_the_reference_study(cohort, tmp_path):
    images = prepared(cohort, tmp_path / "out", fractions=(1, 0, 0))["train"]

    row = images.ids.index("BraTS2021_00002#3")
    stored = volume(21)  # t1ce of case 2
    wanted = np.zeros((32, 32), np.uint8)
    wanted[6:26, 6:26] = np.rint(stored[..., 3].T / stored.max() * 255)
    np.testing.assert_array_equal(images.read([row], ["t1ce"])[0, 0], wanted)
    assert set(np.unique(images.read([row], ["mask"]))) == {0, 51, 102, 204}


def test_any_number_of_workers_gives_the_same_content(cohort, tmp_path):
    assert contents(prepared(cohort, tmp_path / "one")) == contents(prepared(cohort, tmp_path / "two", workers=2))


def test_a_run_cut_short_continues_without_making_a_subject_twice(cohort, tmp_path, monkeypatch):
    whole = contents(prepared(cohort, tmp_path / "whole"))
    made: list[str] = []
    real = module.prepare_subject

    def dies_at_the_third(part, settings):
        if len(made) == 2:
            raise KeyboardInterrupt
        made.append(part.subjects[0])
        return real(part, settings)

    with monkeypatch.context() as patched:
        patched.setattr(module, "prepare_subject", dies_at_the_third)
        with pytest.raises(KeyboardInterrupt):
            prepared(cohort, tmp_path / "out")
    monkeypatch.setattr(module, "prepare_subject", lambda *task: made.append(task[0].subjects[0]) or real(*task))

    assert contents(prepared(cohort, tmp_path / "out")) == whole
    assert sorted(made) == list(BRATS)
    assert contents(prepared(cohort, tmp_path / "out")) == whole
    assert len(made) == 5  # the third run made nothing


@pytest.mark.parametrize(
    ("change", "named"),
    [({"seed": 1}, "roles, settings"), ({"preset": "robust"}, "settings"), ({"foreground": 0.2}, "settings")],
)
def test_an_out_folder_of_other_settings_is_refused(change, named, cohort, tmp_path):
    prepared(cohort, tmp_path / "out")

    with pytest.raises(StoreError, match=f"{named} changed") as caught:
        prepared(cohort, tmp_path / "out", **change)
    assert "another --out" in caught.value.remedy


def test_an_out_folder_of_other_scans_is_refused(cohort, tmp_path):
    prepared(cohort, tmp_path / "out")
    write_nifti(cohort / BRATS[0] / f"{BRATS[0]}_t1.nii.gz", volume(99))

    with pytest.raises(StoreError, match="scans changed"):
        prepared(cohort, tmp_path / "out")


def test_lists_replace_fractions_and_the_unlisted_are_noted(cohort, tmp_path):
    lists = {}
    for role, subjects in (("train", BRATS[:2]), ("test", BRATS[3:4])):
        lists[role] = tmp_path / f"{role}.txt"
        lists[role].write_text("\n".join(subjects))

    sets = prepared(cohort, tmp_path / "out", lists)

    assert {role: sorted(set(images.subjects)) for role, images in sets.items()} == {
        "train": list(BRATS[:2]),
        "test": [BRATS[3]],
    }
    assert "2 subjects in no list left out" in sets["train"].notes


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:500])


def test_an_unreadable_case_is_listed_in_its_set_and_reported(cohort, tmp_path):
    for index in range(5, 10):
        write_case(cohort, index)
    truncate(cohort / BRATS[2] / f"{BRATS[2]}_t2.nii.gz")
    (cohort / BRATS[3] / f"{BRATS[3]}_flair.nii.gz").unlink()
    (cohort / "gone.png").symlink_to(tmp_path / "nowhere.png")
    said: list[str] = []

    class Listener(Silent):
        def say(self, text: str) -> None:
            said.append(text)

    settings = PrepareSettings(workers=1)
    sets = prepare_cohort(cohort, tmp_path / "out", settings, lists=None, progress=Listener())

    wanted = [BRATS[2], BRATS[3], "gone.png"]
    assert sorted(item.image_id for images in sets.values() for item in images.unread) == wanted
    stored = [json.loads((tmp_path / "out" / role / "set.json").read_text())["unread"] for role in sets]
    assert sorted(item["image_id"] for unread in stored for item in unread) == wanted
    assert all(any(name in line for line in said) for name in wanted)


def test_a_role_of_which_nothing_can_be_read_stops_before_any_set_is_finished(cohort, tmp_path):
    lists = {}
    for role, subject in (("train", BRATS[0]), ("holdout", BRATS[1])):
        lists[role] = tmp_path / f"{role}.txt"
        lists[role].write_text(subject)
    truncate(cohort / BRATS[1] / f"{BRATS[1]}_t2.nii.gz")

    with pytest.raises(ScanError, match="Nothing in holdout could be read"):
        prepared(cohort, tmp_path / "out", lists)
    assert not (tmp_path / "out" / "train").exists()


def test_a_case_known_to_be_incomplete_never_empties_a_role(cohort, tmp_path):
    for name in BRATS[:2]:
        (cohort / name / f"{name}_flair.nii.gz").unlink()

    sets = prepared(cohort, tmp_path / "out")

    assert [len(set(images.subjects)) for images in sets.values()] == [1, 1, 1]
    assert [item.image_id for item in sets["train"].unread] == list(BRATS[:2])


def test_a_subject_that_the_slice_rule_would_empty_keeps_its_fullest_slice(cohort, tmp_path):
    small = np.zeros((20, 20, 6), np.int16)
    small[8:10, 8:12, 3], small[8:10, 8:10, 2] = 900, 900
    for contrast in ("t1", "t1ce", "t2", "flair"):
        write_nifti(cohort / BRATS[4] / f"{BRATS[4]}_{contrast}.nii.gz", small)

    images = prepared(cohort, tmp_path / "out", fractions=(1, 0, 0))["train"]

    assert [name for name in images.ids if name.startswith(BRATS[4])] == [f"{BRATS[4]}#3"]
    assert any(note.startswith(f"no slice of {BRATS[4]} passed") for note in images.notes)


def test_slices_per_subject_are_prepared_with_their_masks(tmp_path):
    for index in range(8):
        stem = tmp_path / "lgg" / f"P{index // 2}" / f"P{index // 2}_{index}"
        write_png(stem.with_suffix(".png"), np.stack([picture(index + k) for k in (0, 50, 90)], axis=2))
        write_png(stem.with_name(stem.name + "_mask.png"), picture(index) > 200)

    sets = prepared(tmp_path / "lgg", tmp_path / "out", foreground=0.05)

    assert [len(set(images.subjects)) for images in sets.values()] == [2, 1, 1]
    images = sets["train"]
    assert images.channels == ("red", "green", "blue", "mask")
    index = int(images.ids[0].rpartition("_")[2].removesuffix(".png"))
    np.testing.assert_array_equal(images.read([0])[0, 0, 8:24, 8:24], picture(index))  # 8-bit pictures keep their scale
    np.testing.assert_array_equal(images.read([0])[0, 3, 8:24, 8:24], (picture(index) > 200) * 51)


def test_volumes_of_any_other_naming_are_scaled_one_by_one(tmp_path):
    for index in range(3):
        write_nifti(tmp_path / "in" / f"S{index}" / "a.nii", volume(index))
        write_nifti(tmp_path / "in" / f"S{index}" / "b.nii", volume(index) * 2)

    images = prepared(tmp_path / "in", tmp_path / "out", fractions=(1, 0, 0))["train"]

    pairs = dict(zip(images.ids, images.read(slice(None)), strict=True))
    np.testing.assert_array_equal(pairs["S1/a.nii#2"], pairs["S1/b.nii#2"])


def test_a_prepared_set_is_a_cohort_too(cohort, tmp_path):
    whole = prepared(cohort, tmp_path / "whole", fractions=(1, 0, 0))["train"]

    again = prepared(whole.folder, tmp_path / "again")

    assert [len(set(images.subjects)) for images in again.values()] == [3, 1, 1]


def test_two_subjects_are_too_few_for_three_roles(tmp_path):
    for index in range(2):
        write_case(tmp_path / "in", index)

    with pytest.raises(SplitError, match="2 subjects cannot fill"):
        prepared(tmp_path / "in", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_slices_of_two_sizes_are_refused_from_their_headers(cohort, tmp_path):
    for contrast in ("t1", "t1ce", "t2", "flair", "seg"):
        write_nifti(cohort / BRATS[1] / f"{BRATS[1]}_{contrast}.nii.gz", volume(1, size=24))

    with pytest.raises(ScanError, match=r"20x20: 4 cases, e\.g\. BraTS2021_00000; 24x24: 1 cases"):
        prepared(cohort, tmp_path / "out")


def test_a_finished_set_is_what_its_json_says(cohort, tmp_path):
    for role, images in prepared(cohort, tmp_path / "out").items():
        assert open_set(tmp_path / "out" / role, check_content=True).content == images.content


def test_the_command_prints_a_table_and_the_next_command(cohort, tmp_path):
    run = CliRunner().invoke(group, ["prepare", str(cohort), "--out", str(tmp_path / "out"), "--workers", "1"])

    assert run.exit_code == 0, run.output
    lines = run.stdout.splitlines()
    assert lines[0].split() == ["role", "subjects", "images", "size", "channels"]
    assert lines[1].split()[:4] == ["train", "3", "15", "32x32"]
    assert "Next: synthrelease audit --train" in lines[-1]


def test_the_command_gives_one_json_document(cohort, tmp_path):
    arguments = ["prepare", str(cohort), "--out", str(tmp_path / "out"), "--json", "--fractions", "0.5,0.5,0"]

    run = CliRunner().invoke(group, [*arguments, "--workers", "1"])

    document = json.loads(run.stdout)
    assert sorted(document["sets"]) == ["holdout", "train"]
    assert sum(entry["subjects"] for entry in document["sets"].values()) == 5


@pytest.mark.parametrize("value", ["0.6,0.2", "a,b,c", "0.9,0.9,0.9"])
def test_wrong_fractions_are_refused(value, cohort, tmp_path):
    run = CliRunner().invoke(group, ["prepare", str(cohort), "--out", str(tmp_path / "out"), "--fractions", value])

    assert run.exit_code != 0
    assert not (tmp_path / "out").exists()


@pytest.mark.real
@pytest.mark.parametrize("preset", ["akbar2024", "robust"])
def test_the_real_case_is_prepared_as_the_reference_study_did(preset, real_data, tmp_path):
    (tmp_path / "train.txt").write_text("BraTS2021_00006\n")

    images = prepared(real_data / "brats", tmp_path / "out", {"train": tmp_path / "train.txt"}, preset=preset)["train"]

    assert images.size == (256, 256)
    assert 60 < len(images) < 110
    assert set(np.unique(images.read(slice(None), ["mask"]))) == {0, 51, 102, 204}
    shown = images.read(slice(None), ["t1"])
    if preset == "akbar2024":
        assert shown.max() <= 255
        assert ((shown > 50).mean(axis=(1, 2, 3)) > 0.15).all()
        raw = opened(real_data / "brats", tmp_path / "cache")
        row = images.rows[40]
        stored = raw.read([raw.ids.index(row.image_id)], ["t1"])[0, 0]
        top = raw.read(slice(None), ["t1"]).max()
        np.testing.assert_array_equal(images.read([40], ["t1"])[0, 0, 8:248, 8:248], np.rint(stored / top * 255))
