"""Everything that can be wrong with a folder ends in a reason or an error, never in a traceback."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path

import numpy as np
import pytest
from scans_helpers import flat, opened, picture, volume, write_nifti, write_png

from synthrelease.errors import ScanError
from synthrelease.image_set import open_set


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    return tmp_path / "cache"


def spoil_nifti(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:1200])


@pytest.mark.parametrize(
    ("spoil", "reason"),
    [
        (lambda path: path.write_bytes(b""), "the file is empty"),
        (spoil_nifti, "cannot be read"),
        (lambda path: write_nifti(path, np.where(volume(1) > 900, np.nan, volume(1))), "not finite"),
        (lambda path: write_nifti(path, np.full((20, 20, 6), 7, np.int16)), r"the same value \(7\)"),
        (lambda path: write_nifti(path, np.ones((4, 4, 4, 2, 2), np.int16)), "expected three axes"),
        (lambda path: write_nifti(path, np.ones((20, 20, 6, 9), np.int16)), "at most 8 channels"),
        (lambda path: write_nifti(path, np.zeros((20, 0, 6), np.int16)), "no pixels|cannot be read"),
        (lambda path: write_nifti(path, volume(1).astype(np.complex64)), "complex64"),
    ],
)
def test_a_file_that_cannot_be_used_is_listed_with_its_reason(spoil, reason, tmp_path, cache):
    for index in range(2):
        write_nifti(tmp_path / "in" / f"S{index}" / "scan.nii", volume(index))
    (tmp_path / "in" / "S2").mkdir()
    bad = write_nifti(tmp_path / "in" / "S2" / "scan.nii", volume(2))
    spoil(bad)

    images = opened(tmp_path / "in", cache)

    assert sorted(set(images.subjects)) == ["S0", "S1"]
    assert [item.image_id for item in images.unread] == ["S2/scan.nii"]
    assert re.search(reason, images.unread[0].reason), images.unread[0].reason
    assert opened(tmp_path / "in", cache, exclude=["S2/scan.nii"]).unread == ()


def test_a_picture_of_one_value_and_a_decompression_bomb_are_unread(tmp_path, cache, monkeypatch):
    flat(tmp_path / "in")
    write_png(tmp_path / "in" / "flat.png", np.full((16, 16), 9, np.uint8))
    write_png(tmp_path / "in" / "bomb.png", np.zeros((1200, 1200), np.uint8))
    monkeypatch.setenv("SYNTHRELEASE_LARGEST", "1_000_000")

    reasons = {item.image_id: item.reason for item in opened(tmp_path / "in", cache).unread}

    assert "too large to be a scan" in reasons["bomb.png"]
    assert reasons["flat.png"] == "every pixel has the same value (9)"


def test_a_header_that_declares_terabytes_is_refused_before_anything_is_allocated(tmp_path, cache):
    good = write_nifti(tmp_path / "in" / "a.nii", volume(1))
    lying = bytearray(good.read_bytes())
    lying[42:48] = np.array([30000, 30000, 30000], "<i2").tobytes()  # dim[1..3]
    (tmp_path / "in" / "b.nii").write_bytes(lying)

    assert "too large to be a scan" in opened(tmp_path / "in", cache).unread[0].reason


def test_permission_denied_is_a_reason_not_a_crash(tmp_path, cache, monkeypatch):
    flat(tmp_path / "in")
    real_open = Path.open

    def refuse(self: Path, *args: object, **options: object) -> object:
        if self.name == "case1_slice2.png":
            raise PermissionError(13, "Permission denied", str(self))
        return real_open(self, *args, **options)

    monkeypatch.setattr(Path, "open", refuse)

    assert [(u.image_id, u.reason) for u in opened(tmp_path / "in", cache).unread] == [
        ("case1_slice2.png", "permission denied")
    ]


def test_mixed_sizes_are_refused_with_counts_and_examples(tmp_path, cache):
    write_png(flat(tmp_path / "in") / "zz.png", picture(9, 20))

    with pytest.raises(ScanError, match=r"2 sizes.*16x16: 3 files, e.g. 'case0_slice0.png'; 20x20: 1 files") as caught:
        opened(tmp_path / "in", cache)
    assert "--exclude" in caught.value.remedy
    assert len(opened(tmp_path / "in", cache, exclude=["zz.png"])) == 3


def test_the_rarer_channel_layout_is_unread(tmp_path, cache):
    write_png(flat(tmp_path / "in") / "colour.png", np.stack([picture(i) for i in (5, 6, 7)], axis=2))

    images = opened(tmp_path / "in", cache)

    assert images.channels == ("grey",)
    assert images.unread[0].reason == "it has the channels red, green, blue, the other images grey"


def test_mixed_number_types_are_promoted_with_a_warning(tmp_path, cache):
    write_png(flat(tmp_path / "in") / "deep.png", picture(9).astype(np.uint16) * 100)

    images = opened(tmp_path / "in", cache)

    assert images.pixels.dtype == np.uint16
    assert any("number types uint16, uint8 in one set" in note for note in images.notes)


@pytest.mark.parametrize("content", ["missing", "empty", "text only"])
def test_a_folder_without_images_says_which_formats_there_are(content, tmp_path, cache):
    if content != "missing":
        (tmp_path / "in").mkdir()
    if content == "text only":
        (tmp_path / "in" / "notes.txt").write_text("nothing")

    with pytest.raises(ScanError) as caught:
        opened(tmp_path / "in", cache)
    assert "NIfTI" in caught.value.remedy
    assert "DICOM" in caught.value.remedy


def test_a_folder_of_nothing_but_damage_names_the_reasons(tmp_path, cache):
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "a.png").write_bytes(b"no image")

    with pytest.raises(ScanError, match=r"None of 1 files could be used \(a\.png: it cannot be read"):
        opened(tmp_path / "in", cache)


HOSTILE = [
    "<script>alert(1)</script>",
    "line\nbreak",
    'tab\tand,comma"quote',
    "=cmd()",
    "x" * 200,
    "\udcff\udc80",
    "#3",
]


def test_hostile_names_survive_as_ids(tmp_path, cache):
    for index, name in enumerate(HOSTILE):
        name = name.replace("/", "_")
        write_png(tmp_path / "in" / f"{name}.png", picture(index))

    images = opened(tmp_path / "in", cache)
    again = open_set(next(cache.glob("images-*")), check_content=True)

    assert sorted(images.ids) == sorted(f"{name.replace('/', '_')}.png" for name in HOSTILE)
    assert again.rows == images.rows
    assert again.subjects.tolist() == images.ids
    json.loads(json.dumps(images.ids))


def test_links_out_of_the_folder_pipes_and_hidden_files_are_not_read(tmp_path, cache):
    flat(tmp_path / "in")
    write_png(tmp_path / "secret.png", picture(50))
    (tmp_path / "in" / "out.png").symlink_to(tmp_path / "secret.png")
    (tmp_path / "in" / "inside.png").symlink_to(tmp_path / "in" / "case0_slice0.png")
    (tmp_path / "in" / "loop").symlink_to(tmp_path / "in", target_is_directory=True)
    (tmp_path / "in" / "broken.png").symlink_to(tmp_path / "in" / "nowhere.png")
    os.mkfifo(tmp_path / "in" / "pipe.png")
    write_png(tmp_path / "in" / ".hidden.png", picture(51))
    write_png(tmp_path / "in" / "__MACOSX" / "._a.png", picture(52))

    images = opened(tmp_path / "in", cache)

    assert images.ids == [f"case{i // 2}_slice{i}.png" for i in range(3)] + ["inside.png"]
    assert {item.image_id: item.reason for item in images.unread} == {
        "out.png": "a link that leads out of the folder",
        "loop": "a linked folder, not followed",
        "broken.png": "it cannot be opened: No such file or directory",
        "pipe.png": "not a regular file",
    }
    assert any("start with a dot: 1" in note for note in images.notes)


def test_files_of_other_kinds_are_noted_by_extension(tmp_path, cache):
    flat(tmp_path / "in")
    for name in ("a.mp4", "b.mp4", "c.exe", "readme.txt", "list.csv"):
        (tmp_path / "in" / name).write_text("x")

    assert (
        "files of other kinds left out by extension: 1 with .exe, 2 with .mp4" in opened(tmp_path / "in", cache).notes
    )
