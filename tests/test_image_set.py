"""Image sets on disk: what survives a crash, what tampering is seen, and that reading equals writing."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from synthrelease.errors import ScanError, StoreError
from synthrelease.image_set import ImageRow, Unread, from_arrays, is_image_set, open_set
from synthrelease.image_writer import ImageSetWriter

RANDOM = np.random.default_rng(0)
PIECES = {f"piece {i}": RANDOM.integers(0, 255, (5, 2, 8, 8)).astype(np.uint8) for i in range(4)}


def rows(piece: str) -> list[ImageRow]:
    return [ImageRow(f"{piece}#{k}", subject=piece, slice=k) for k in range(5)]


def writer(folder: Path) -> ImageSetWriter:
    return ImageSetWriter(folder, ("t1", "flair"))


def write(folder: Path, pieces: list[str], *, close: bool = True) -> None:
    with writer(folder) as images:
        for piece in pieces:
            if piece not in images.finished:
                images.add(piece, PIECES[piece], rows(piece), [Unread(f"{piece}!", "why")], {"seen": 2})
        if close:
            images.close()


@pytest.fixture
def whole(tmp_path: Path) -> Path:
    write(tmp_path / "whole", list(PIECES))
    return tmp_path / "whole"


def test_reading_gives_what_was_written_in_every_way_of_reading(whole):
    images = open_set(whole, check_content=True)
    pixels = np.concatenate(list(PIECES.values()))

    np.testing.assert_array_equal(images.read(slice(3, 9)), pixels[3:9])
    np.testing.assert_array_equal(images.read([17, 2, 2], ["flair"]), pixels[[17, 2, 2]][:, 1:])
    np.testing.assert_array_equal(np.concatenate(list(images.blocks(7))), pixels)
    assert images.subset([4, 0]).ids == ["piece 0#4", "piece 0#0"]
    assert images.contrasts == ("t1", "flair")


def test_the_same_images_have_the_same_content_on_disk_and_in_memory(whole):
    images = open_set(whole)

    assert from_arrays(images.read(slice(None)), images.rows, channels=images.channels).content == images.content


@pytest.mark.parametrize("died_after", [0, 1, 3])
def test_a_writer_that_died_continues_to_the_same_set(died_after, whole, tmp_path):
    write(tmp_path / "cut", list(PIECES)[:died_after], close=False)
    assert not is_image_set(tmp_path / "cut")

    write(tmp_path / "cut", list(PIECES))

    first, second = open_set(whole), open_set(tmp_path / "cut")
    assert (second.content, second.rows, second.unread) == (first.content, first.rows, first.unread)


@pytest.mark.parametrize("cut", [1, 2, 40, 300])
def test_a_log_cut_anywhere_loses_only_the_last_piece(cut, whole, tmp_path):
    write(tmp_path / "cut", list(PIECES)[:3], close=False)
    log = tmp_path / "cut.partial" / "log.jsonl"
    log.write_bytes(log.read_bytes()[:-cut])

    with writer(tmp_path / "cut") as images:
        assert images.finished == {"piece 0", "piece 1"}
        assert images.tally["seen"] == 4
    write(tmp_path / "cut", list(PIECES))

    assert open_set(tmp_path / "cut", check_content=True).content == open_set(whole).content


def damage(chunk: Path) -> None:
    data = bytearray(chunk.read_bytes())
    data[len(data) // 2] ^= 0xFF
    chunk.write_bytes(data)


@pytest.mark.parametrize("spoil", [damage, Path.unlink, lambda chunk: chunk.write_bytes(b"")])
def test_pixels_that_a_power_failure_lost_are_made_again(spoil, whole, tmp_path):
    write(tmp_path / "cut", list(PIECES)[:3], close=False)  # 15 images: all in the first chunk
    spoil(tmp_path / "cut.partial" / "images.zarr" / "c" / "0" / "0" / "0" / "0")

    with writer(tmp_path / "cut") as images:
        assert "piece 1" not in images.finished  # the byte in the middle belongs to it
    write(tmp_path / "cut", list(PIECES))

    assert open_set(tmp_path / "cut", check_content=True).content == open_set(whole).content


@pytest.mark.parametrize("spoil", [damage, Path.unlink, lambda chunk: chunk.write_bytes(b"")])
def test_checking_the_content_sees_any_damage_to_a_chunk(spoil, whole):
    spoil(whole / "images.zarr" / "c" / "1" / "0" / "0" / "0")

    with pytest.raises(ScanError, match="does not hold what set"):
        open_set(whole, check_content=True)


def test_checking_the_content_sees_a_changed_subject(whole):
    index = (whole / "index.csv").read_text()
    (whole / "index.csv").write_text(index.replace("piece 2#1,piece 2", "piece 2#1,piece 3"))

    with pytest.raises(ScanError, match="does not hold"):
        open_set(whole, check_content=True)


def drop_row(folder: Path) -> None:
    lines = (folder / "index.csv").read_text().splitlines(keepends=True)
    (folder / "index.csv").write_text("".join(lines[:-1]))


def drop_field(folder: Path) -> None:
    about = json.loads((folder / "set.json").read_text())
    del about["channels"]
    (folder / "set.json").write_text(json.dumps(about))


@pytest.mark.parametrize(
    "spoil",
    [
        drop_row,
        drop_field,
        lambda folder: (folder / "set.json").write_text("[1]"),
        lambda folder: (folder / "set.json").write_text("{"),
        lambda folder: (folder / "index.csv").write_bytes(b"\xff\xfe\x00"),
        lambda folder: (folder / "images.zarr" / "zarr.json").write_text("{}"),
        lambda folder: (folder / "images.zarr" / "zarr.json").unlink(),
    ],
)
def test_a_damaged_set_is_an_error_that_names_its_folder(spoil, whole):
    spoil(whole)

    with pytest.raises(ScanError, match="whole looks like an image set but cannot be opened"):
        open_set(whole)


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(names=st.lists(st.text(st.characters(codec=None), min_size=1, max_size=12), min_size=1, max_size=5, unique=True))
def test_any_text_survives_as_id_and_subject(names, tmp_path_factory):
    folder = tmp_path_factory.mktemp("text") / "set"
    pixels = np.arange(len(names) * 16, dtype=np.uint8).reshape(-1, 1, 4, 4)
    with ImageSetWriter(folder, ("grey",)) as images:
        images.add(
            "all", pixels, [ImageRow(name, subject=name, source=name) for name in names], [Unread(names[0], "x")]
        )
        images.close()

    again = open_set(folder, check_content=True)

    assert again.ids == names
    assert [row.source for row in again.rows] == names
    assert again.unread[0].image_id == names[0]


def test_images_of_two_shapes_do_not_fit_one_set(tmp_path):
    with writer(tmp_path / "set") as images:
        images.add("a", PIECES["piece 0"], rows("a"))
        with pytest.raises(ScanError, match="in one set"):
            images.add("b", PIECES["piece 0"][..., :4], rows("b"))


def test_a_set_without_images_is_an_error_with_the_reasons(tmp_path):
    with writer(tmp_path / "set") as images:
        images.add("a", None, [], [Unread("a.nii", "truncated")])
        with pytest.raises(ScanError, match=r"no image could be read. a\.nii: truncated"):
            images.close()


def test_an_image_set_is_private(whole):
    assert whole.stat().st_mode & 0o777 == 0o700


@pytest.mark.parametrize("cuts", [[150], [1, 149], [64, 64, 22], [15, 17, 118]])
def test_the_content_does_not_depend_on_how_the_images_arrived(cuts, tmp_path):
    pixels = np.random.default_rng(1).integers(0, 255, (150, 2, 8, 8)).astype(np.uint8)
    everything = [ImageRow(f"i{k}", subject="s") for k in range(150)]
    with writer(tmp_path / "set") as images:
        start = 0
        for count in cuts:
            images.add(f"{start}", pixels[start : start + count], everything[start : start + count])
            start += count
        made = images.close()

    assert made.content == from_arrays(pixels, everything, channels=made.channels).content
    assert made.content != from_arrays(pixels, everything, channels=made.channels[::-1]).content
    assert open_set(tmp_path / "set", check_content=True).content == made.content


def test_an_older_set_is_replaced_but_other_files_never(tmp_path):
    write(tmp_path / "set", ["piece 0"])
    write(tmp_path / "set", ["piece 1"])
    assert open_set(tmp_path / "set").ids[0] == "piece 1#0"

    (tmp_path / "mine").mkdir()
    with writer(tmp_path / "mine") as images:
        images.add("piece 0", PIECES["piece 0"], rows("piece 0"))
        (tmp_path / "mine" / "notes.txt").write_text("arrived while the set was written")
        with pytest.raises(StoreError, match="no image set"):
            images.close()
    with pytest.raises(StoreError, match="no image set"):
        writer(tmp_path / "mine").__enter__()
    assert (tmp_path / "mine" / "notes.txt").is_file()
