"""Folders as users have them: subjects, masks beside images, exclusions, and the cache."""

from __future__ import annotations

import csv
import shutil
from pathlib import Path

import numpy as np
import pytest
from scans_helpers import flat, opened, picture, volume, write_nifti, write_png

from synthrelease.errors import ScanError, SettingsError
from synthrelease.scans import importing
from synthrelease.scans.folder import left_out


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    return tmp_path / "cache"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Return a folder of three subjects with two slices each and masks beside them."""
    root = tmp_path / "cohort"
    for index in range(6):
        stem = root / f"P{index // 2}" / f"P{index // 2}_{index + 10}"
        write_png(stem.with_suffix(".png"), picture(index))
        write_png(stem.with_name(stem.name + "_mask.png"), picture(index) > 200)
    return root


def test_folders_name_subjects_and_masks_beside_images_become_a_channel(folder, cache):
    images = opened(folder, cache)

    assert images.ids == [f"P{i // 2}/P{i // 2}_{i + 10}.png" for i in range(6)]
    assert images.subjects.tolist() == ["P0", "P0", "P1", "P1", "P2", "P2"]
    assert [row.slice for row in images.rows] == list(range(10, 16))
    assert images.channels == ("grey", "mask")
    np.testing.assert_array_equal(images.read([4])[0], np.stack([picture(4), (picture(4) > 200) * 51]))


@pytest.mark.parametrize(
    ("stored", "levels"),
    [
        ([0, 1], [0, 51]),
        ([0, 255], [0, 51]),
        ([0, 1, 2, 4], [0, 51, 102, 204]),
        ([0, 1, 2, 3], [0, 51, 102, 204]),
        ([0, 51, 102, 204], [0, 51, 102, 204]),
        ([0, 51, 130], [0, 51, 130]),
    ],
)
def test_masks_become_levels_and_blurred_ones_are_kept(stored, levels, tmp_path, cache):
    labels = np.resize(np.array(stored, np.uint8), (16, 16))
    write_png(tmp_path / "in" / "a.png", picture(1).astype(np.uint16) * 9)
    write_png(tmp_path / "in" / "a_mask.png", labels)

    found = opened(tmp_path / "in", cache).read([0], ["mask"])[0, 0]

    assert found.dtype == np.uint16
    np.testing.assert_array_equal(found, np.resize(levels, (16, 16)))


def test_a_missing_mask_drops_the_channel_and_says_so(folder, cache):
    (folder / "P1" / "P1_12_mask.png").unlink()

    images = opened(folder, cache)

    assert images.channels == ("grey",)
    assert "mask channel dropped: 1 of 6 files have no mask" in images.notes


def test_a_mask_of_another_size_makes_its_image_unread(folder, cache):
    write_png(folder / "P1" / "P1_12_mask.png", picture(1, 20))

    images = opened(folder, cache)

    assert [(u.image_id, "shape 20x20, the image 16x16" in u.reason) for u in images.unread] == [("P1/P1_12.png", True)]
    assert images.channels == ("grey", "mask")


def test_the_pattern_takes_group_one_from_the_relative_path(tmp_path, cache):
    images = opened(flat(tmp_path / "in"), cache, subject_pattern=r"^(case\d+)_")

    assert images.subjects.tolist() == ["case0", "case0", "case1"]


def test_real_files_that_the_pattern_misses_are_named_and_synthetic_ones_are_normal(tmp_path, cache):
    write_png(flat(tmp_path / "in") / "stray.png", picture(9))

    with pytest.raises(ScanError, match=r"does not match 1 of 4 real images, for example 'stray\.png'"):
        opened(tmp_path / "in", cache, subject_pattern=r"^(case\d+)_")
    made = opened(tmp_path / "in", cache, real=False, subject_pattern=r"^(case\d+)_")
    assert made.subjects.tolist() == ["case0", "case0", "case1", ""]


@pytest.mark.parametrize(("pattern", "problem"), [("(", "not a regular expression"), ("case", "has no group")])
def test_a_bad_pattern_is_a_settings_error(pattern, problem, tmp_path, cache):
    with pytest.raises(SettingsError, match=problem):
        opened(flat(tmp_path / "in"), cache, subject_pattern=pattern)


def test_in_a_flat_folder_each_real_file_is_its_own_subject_with_a_warning(tmp_path, cache):
    real, made = (opened(flat(tmp_path / "in"), cache, real=real) for real in (True, False))

    assert real.subjects.tolist() == real.ids
    assert any(note.startswith("warning: 3 files") for note in real.notes)
    assert made.subjects.tolist() == ["", "", ""]
    assert not any(note.startswith("warning") for note in made.notes)


def test_subjects_csv_wins_over_folders_and_pattern(folder, cache):
    names = opened(folder, cache).ids
    (folder / "subjects.csv").write_text("file,subject\n" + "".join(f"{n},S{i % 2}\n" for i, n in enumerate(names)))

    images = opened(folder, cache, subject_pattern="(P.)")

    assert images.subjects.tolist() == ["S0", "S1"] * 3
    assert "subjects.csv names the subjects; --subject-pattern was not used" in images.notes


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("file,subject\nP0/P0_10.png,A\n", "does not list 5 of 6"),
        ("name,person\na,b\n", "has the columns name, person"),
        ("file,subject\na,A\na,B\n", "'a' more than one subject"),
    ],
)
def test_a_wrong_subjects_csv_is_an_error(text, problem, folder, cache):
    (folder / "subjects.csv").write_text(text)

    with pytest.raises(ScanError, match=problem):
        opened(folder, cache)


def test_one_subject_for_everything_is_warned_of(tmp_path, cache):
    flat(tmp_path / "in" / "images")

    notes = opened(tmp_path / "in", cache).notes

    assert any(note.startswith("warning: all 3 images count as one subject, 'images'") for note in notes)


def test_excluding_by_file_or_by_slice_leaves_just_that_out(tmp_path, cache):
    for index in range(2):
        write_nifti(tmp_path / "in" / f"S{index}.nii", volume(index))

    without_file = opened(tmp_path / "in", cache, exclude=["S0.nii"])
    without_slice = opened(tmp_path / "in", cache, exclude=["S0.nii#3"])

    assert without_file.ids == [f"S1.nii#{k}" for k in range(1, 6)]
    assert without_slice.ids == [f"S{i}.nii#{k}" for i in range(2) for k in range(1, 6) if (i, k) != (0, 3)]
    assert left_out(without_file) == {"S0.nii"}
    assert left_out(without_slice) == left_out(opened(tmp_path / "in", cache, exclude=["S0.nii#3"])) == {"S0.nii#3"}


def test_an_exclusion_that_matches_nothing_is_an_error_unless_another_role_may_know_it(folder, cache):
    with pytest.raises(ScanError, match=r"not in cohort: 'P9/nope\.png'"):
        opened(folder, cache, exclude=["P0/P0_10.png", "P9/nope.png"])

    images = opened(folder, cache, exclude=["P0/P0_10.png", "P9/nope.png"], must_match=False)
    assert left_out(images) == {"P0/P0_10.png"}


def test_a_second_run_decodes_nothing_and_any_change_is_seen(folder, cache, monkeypatch):
    first = opened(folder, cache)
    decoded = []
    real_read = importing.read_file
    monkeypatch.setattr(importing, "read_file", lambda *args: decoded.append(args) or real_read(*args))

    assert opened(folder, cache).content == first.content
    assert decoded == []
    write_png(folder / "P0" / "P0_10.png", picture(77))
    assert opened(folder, cache).content != first.content
    shutil.move(folder / "P2", folder / "P3")
    assert "P3" in opened(folder, cache).subjects


@pytest.mark.parametrize(
    "change", [{"subject_pattern": "(P)"}, {"real": False}, {"exclude": ["P0/P0_10.png"]}], ids=lambda c: next(iter(c))
)
def test_every_option_names_its_own_import(change, folder, cache):
    opened(folder, cache)
    opened(folder, cache, **change)

    assert len(list(cache.glob("images-*"))) == 2


def test_an_import_cut_short_continues_to_the_same_content(tmp_path, cache, monkeypatch):
    root = tmp_path / "in"
    for index in range(12):
        write_png(root / f"{index:02}.png", picture(index))
        write_nifti(root / f"v{index:02}.nii", np.repeat(volume(index, 16, 6), 5, axis=2))
    whole = opened(root, tmp_path / "other")
    calls = []

    def dies(writer, key, parts):
        calls.append(key)
        if len(calls) == 4:
            raise KeyboardInterrupt
        real_add(writer, key, parts)

    real_add = importing._add_parts
    with monkeypatch.context() as patched:
        patched.setattr(importing, "_add_parts", dies)
        with pytest.raises(KeyboardInterrupt):
            opened(root, cache)
    monkeypatch.setattr(importing, "_add_parts", lambda w, key, parts: calls.append(key) or real_add(w, key, parts))

    resumed = opened(root, cache)

    assert resumed.content == whole.content
    assert resumed.notes == whole.notes
    assert len(calls) == len(set(calls)) + 1  # only the piece that died was made twice


def test_prepared_sets_open_directly_and_exclusions_copy_nothing_but_the_rest(folder, tmp_path, cache):
    made = opened(folder, tmp_path / "elsewhere")
    prepared = made.folder

    straight = opened(prepared, cache, subject_pattern="(x)")
    less = opened(prepared, cache, exclude=["P0/P0_10.png"])

    assert straight.content == made.content
    assert any("--subject-pattern was not used" in note for note in straight.notes)
    assert less.ids == made.ids[1:]
    np.testing.assert_array_equal(less.read(slice(None)), made.read(slice(1, None)))
    with pytest.raises(ScanError, match="'nope'"):
        opened(prepared, cache, exclude=["nope"])
    with pytest.raises(ScanError, match="Every image"):
        opened(prepared, cache, exclude=made.ids)


def test_a_prepared_synthetic_set_cannot_play_a_real_role_without_subjects(tmp_path, cache):
    made = opened(flat(tmp_path / "in"), cache, real=False)

    with pytest.raises(ScanError, match="no subject is known for 3 of 3"):
        opened(made.folder, cache)


def test_a_folder_of_sets_and_an_unfinished_set_are_told_apart_from_raw_folders(folder, tmp_path, cache):
    made = opened(folder, tmp_path / "out")
    shutil.copytree(made.folder, tmp_path / "sets" / "train")
    with pytest.raises(ScanError, match="holds the image sets train"):
        opened(tmp_path / "sets", cache)
    (tmp_path / "sets" / "train" / "set.json").unlink()
    with pytest.raises(ScanError, match="never finished"):
        opened(tmp_path / "sets" / "train", cache)


def test_a_damaged_cache_is_made_again(folder, cache):
    first = opened(folder, cache)
    (first.folder / "set.json").write_text("{}")

    assert opened(folder, cache).content == first.content


def test_index_csv_is_plain_csv(folder, cache):
    images = opened(folder, cache)

    with (images.folder / "index.csv").open(newline="") as file:
        assert [row["image_id"] for row in csv.DictReader(file)] == images.ids
