"""The order of a release: nobody without the key can tell it, and volumes stay whole."""

from __future__ import annotations

import csv
import io
import itertools

from package_helpers import volume_ids

from synthrelease.release import layout, numbering


def hashes(count: int, start: int = 0) -> dict[str, str]:
    return {f"made/{i:05d}.png": f"{i + start:064x}" for i in range(count)}


def ids(images: tuple[numbering.Numbered, ...]) -> list[str]:
    return [name for image in images for name in image.image_ids]


def test_order_follows_from_pixels_and_key_alone() -> None:
    forward = hashes(200)
    backward = dict(reversed(forward.items()))
    first = numbering.numbered(forward, b"k" * 32, "nifti")
    assert ids(first) == ids(numbering.numbered(backward, b"k" * 32, "nifti"))
    assert ids(first) != ids(numbering.numbered(forward, b"j" * 32, "nifti"))
    assert sorted(ids(first)) == list(forward)


def test_order_says_nothing_about_the_order_of_generation() -> None:
    place = [int(name[5:10]) for name in ids(numbering.numbered(hashes(2000), b"k" * 32, "nifti"))]
    kept = sum(later == earlier + 1 for earlier, later in itertools.pairwise(place))
    assert kept < 10  # one pair in 2,000 stays together by chance


def test_slices_of_a_volume_stay_together_and_in_order_only_where_all_are_there() -> None:
    units = numbering.volumes_and_slices(["v.nii.gz#10", "v.nii.gz#9", "w.nii.gz#0", "w.nii.gz#2", "lone.nii.gz#4"])
    assert units == [("v.nii.gz#9", "v.nii.gz#10"), ("w.nii.gz#0",), ("w.nii.gz#2",), ("lone.nii.gz#4",)]
    assert ("a.nii.gz#3", "a.nii.gz#4", "a.nii.gz#5") in numbering.volumes_and_slices(volume_ids())


def test_images_in_a_row_of_an_array_file_are_no_volume() -> None:
    assert numbering.volumes_and_slices(["x.npz#0", "x.npz#1", "y.NPY#0", "y.NPY#1"]) == [
        ("x.npz#0",), ("x.npz#1",), ("y.NPY#0",), ("y.NPY#1",)
    ]  # fmt: skip


def test_hostile_ids_are_only_ever_looked_up() -> None:
    names = ["../../etc/x#1", "../../etc/x#2", "\x00#7", "#", "#3", "a#\u0663", "F#1", "F#01", "\n#1"]
    units = numbering.volumes_and_slices(names)
    assert sorted(name for unit in units for name in unit) == sorted(names)
    for image in numbering.numbered({name: f"{i:064x}" for i, name in enumerate(names)}, b"k", "png"):
        for k in image.slice_numbers("png"):
            assert layout.IMAGE.fullmatch(image.path("t1", "png", k))


def test_folders_hold_a_thousand_images() -> None:
    images = numbering.numbered(hashes(2001), b"k" * 32, "nifti")
    folders = [image.folder for image in images]
    assert [folders.count(number) for number in (1, 2, 3)] == [1000, 1000, 1]
    assert images[1000].path("t1", "nifti") == "images/002/synthetic-001001_t1.nii.gz"


def test_tables_list_every_file_once_and_name_nothing_else() -> None:
    images = numbering.numbered({name: f"{i:064x}" for i, name in enumerate(volume_ids())}, b"k", "png")
    text = numbering.table(images, ("t1", "mask"), "png")
    rows = list(csv.DictReader(io.StringIO(text)))
    assert len(rows) == len({row["file_name"] for row in rows}) == 16
    assert all(layout.IMAGE.fullmatch(row["file_name"]) for row in rows)
    assert "nii.gz" not in text
    pictures = list(csv.DictReader(io.StringIO(numbering.picture_table(images, ("t1", "mask")))))
    assert {f"images/{row[c]}" for row in pictures for c in ("t1_file_name", "mask_file_name")} == {
        row["file_name"] for row in rows
    }


def test_channel_names_become_file_names_that_cannot_collide_or_climb() -> None:
    channels = ("T1", "t1", "../../x", "", "ÅÄÖ", "mask", "Mask!", "a" * 500, "t1-2")
    names = layout.channel_names(channels)
    assert len(set(names)) == len(channels)
    assert names[0] == "t1"
    assert names[5] == "mask"
    for name in names:
        assert layout.IMAGE.fullmatch(f"images/001/synthetic-000001_{name}.png"), name
