"""Faults once found in the reading of folders: files that were lost, mixed up, scaled twice or refused without need."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pydicom
import pytest
from numpy.lib import format as npy
from numpy.typing import NDArray
from PIL import Image
from pydicom.dataset import FileDataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, MRImageStorage, generate_uid
from scans_helpers import flat, opened, picture, volume, write_case, write_nifti, write_png

from synthrelease.errors import ScanError, StoreError
from synthrelease.image_set import ImageSet
from synthrelease.progress import SILENT
from synthrelease.scans.prepare import prepare_cohort
from synthrelease.settings import PrepareSettings


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    return tmp_path / "cache"


def prepared(cohort: Path, out: Path, **options: object) -> dict[str, ImageSet]:
    settings = PrepareSettings.checked(**{"workers": 1, **options})
    return prepare_cohort(cohort, out, settings, lists=None, progress=SILENT)


@pytest.mark.parametrize("role", ["train", "holdout", "test"])
def test_a_users_own_files_in_the_out_folder_are_never_replaced(role, tmp_path):
    for index in range(5):
        write_png(tmp_path / "in" / f"S{index}" / "a.png", picture(index))
    precious = write_png(tmp_path / "out" / role / "precious.png", picture(9))

    with pytest.raises(StoreError, match=f"{role} holds files that are no image set") as caught:
        prepared(tmp_path / "in", tmp_path / "out")
    assert "move these files away" in caught.value.remedy
    assert precious.is_file()
    precious.rename(tmp_path / "elsewhere.png")
    assert sorted(prepared(tmp_path / "in", tmp_path / "out")) == ["holdout", "test", "train"]


def test_an_out_folder_inside_the_cohort_is_resumed_and_not_read(tmp_path):
    for index in range(4):
        write_png(tmp_path / "in" / f"S{index}" / "a.png", picture(index))

    first, second = (prepared(tmp_path / "in", tmp_path / "in" / "sets") for _ in range(2))

    assert {role: s.content for role, s in first.items()} == {role: s.content for role, s in second.items()}
    assert sum(len(images) for images in second.values()) == 4


@pytest.mark.parametrize("text", ["[]", "{", '"made"'])
def test_a_damaged_record_of_an_out_folder_is_an_error(text, tmp_path):
    for index in range(3):
        write_png(tmp_path / "in" / f"S{index}" / "a.png", picture(index))
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "made_from.json").write_text(text)

    with pytest.raises(StoreError, match=r"made_from\.json is damaged"):
        prepared(tmp_path / "in", tmp_path / "out")


def test_cases_that_change_their_subjects_make_another_cohort(tmp_path):
    cases = [f"BraTS2021_{index:05}" for index in range(5)]
    for index in range(5):
        write_case(tmp_path / "in", index)

    def table(subjects: str) -> None:
        rows = "".join(f"{case},{subject}\n" for case, subject in zip(cases, subjects, strict=True))
        (tmp_path / "in" / "subjects.csv").write_text(f"file,subject\n{rows}")

    table("abcde")
    sets = prepared(tmp_path / "in", tmp_path / "out")
    whose = {row.image_id.partition("#")[0]: row.subject for images in sets.values() for row in images.rows}
    assert whose == dict(zip(cases, "abcde", strict=True))
    table("edcba")
    with pytest.raises(StoreError, match="scans changed"):
        prepared(tmp_path / "in", tmp_path / "out")


def test_a_short_row_in_subjects_csv_is_no_crash(tmp_path, cache):
    write_png(tmp_path / "in" / "a.png", picture(1))
    (tmp_path / "in" / "subjects.csv").write_text("subject,file\nA,a.png\nB\n")

    assert opened(tmp_path / "in", cache).subjects.tolist() == ["A"]


@pytest.mark.parametrize("ids", [True, False])
def test_eight_bit_entries_of_an_npz_keep_their_scale_with_and_without_ids(ids, tmp_path):
    pixels = np.stack([picture(index) // 2 for index in range(6)])
    named = {"ids": np.array(list("uvwxyz"))} if ids else {}
    np.savez(tmp_path / "a.npz", images=pixels, subjects=np.array(list("aabbcc")), **named)

    images = prepared(tmp_path / "a.npz", tmp_path / "out", fractions=(1, 0, 0), foreground=0)["train"]

    np.testing.assert_array_equal(images.read(slice(None))[:, 0, 8:24, 8:24], pixels)


def test_float_entries_of_one_subject_are_scaled_together(tmp_path):
    pixels = np.stack([picture(index) for index in range(4)]).astype(np.float32)
    pixels[1] *= 0.5
    np.savez(tmp_path / "a.npz", images=pixels, subjects=np.array(list("aabb")))

    images = prepared(tmp_path / "a.npz", tmp_path / "out", fractions=(1, 0, 0), foreground=0)["train"]

    wanted = [np.rint(pixels[i] / pixels[2 * (i // 2) :][:2].max() * 255) for i in range(4)]
    np.testing.assert_allclose(images.read(slice(None))[:, 0, 8:24, 8:24], np.stack(wanted), atol=1)


@pytest.mark.parametrize("count", [9, 64, 65, 150])
def test_a_stack_of_any_length_takes_the_mask_file_beside_it(count, tmp_path, cache):
    pixels = np.stack([picture(index) for index in range(count)])
    (tmp_path / "in").mkdir()
    np.save(tmp_path / "in" / "a.npy", pixels)
    np.save(tmp_path / "in" / "a_mask.npy", (pixels > 200).astype(np.uint8))

    images = opened(tmp_path / "in", cache, real=False)

    assert images.unread == ()
    np.testing.assert_array_equal(images.read(slice(None), ["mask"])[:, 0], (pixels > 200) * 51)


@pytest.mark.parametrize("masks", [64, 100, 130, 200])
def test_a_mask_file_with_another_number_of_images_is_refused(masks, tmp_path, cache):
    (tmp_path / "in").mkdir()
    np.save(tmp_path / "in" / "a.npy", np.stack([picture(index) for index in range(128)]))
    np.save(tmp_path / "in" / "a_mask.npy", np.stack([picture(index) > 200 for index in range(masks)]))

    with pytest.raises(ScanError, match="its mask"):
        opened(tmp_path / "in", cache, real=False)


def test_a_volume_takes_its_mask_from_a_volume_of_another_format(tmp_path, cache):
    write_nifti(tmp_path / "in" / "a.nii", volume(1, depth=80))
    mask = np.moveaxis(volume(1, depth=80) > 800, 2, 0).swapaxes(1, 2)
    np.save(tmp_path / "in" / "a_mask.npy", mask)

    images = opened(tmp_path / "in", cache)

    assert len(images) == 79
    np.testing.assert_array_equal(images.read(slice(None), ["mask"])[:, 0], mask[1:] * 51)


def test_a_mask_of_fractions_is_refused_before_rounding_destroys_it(tmp_path, cache):
    masks = np.resize(np.array([0, 0.2, 0.4, 0.8], np.float32), (9, 16, 16))
    (tmp_path / "in").mkdir()
    np.savez(tmp_path / "in" / "a.npz", images=np.stack([picture(i)[None] for i in range(9)]) / 255, masks=masks)

    with pytest.raises(ScanError, match="fractions between 0 and 1"):
        opened(tmp_path / "in", cache, real=False)
    np.savez(tmp_path / "in" / "a.npz", images=np.stack([picture(i)[None] for i in range(9)]), masks=masks * 255)
    assert set(np.unique(opened(tmp_path / "in", cache, real=False).read([0], ["mask"]))) == {0, 51, 102, 204}


@pytest.mark.parametrize("shape", [(1200, 1200), (800, 800, 3), (9, 1200, 1200)])
def test_a_sparse_npy_is_refused_before_its_pixels_are_read(shape, tmp_path, cache, monkeypatch):
    flat(tmp_path / "in")
    with (tmp_path / "in" / "bomb.npy").open("wb") as file:
        npy.write_array_header_1_0(file, {"descr": "|u1", "fortran_order": False, "shape": shape})
        file.truncate(int(np.prod(shape)) + 128)  # holes: the disk holds a few bytes
    monkeypatch.setenv("SYNTHRELEASE_LARGEST", "1_000_000")
    monkeypatch.setattr(np, "load", lambda *args, **options: pytest.fail("its pixels were opened"))

    unread = opened(tmp_path / "in", cache).unread

    assert [item.image_id for item in unread] == ["bomb.npy"]
    assert "too large to be a scan" in unread[0].reason


def test_a_segmentation_without_tumour_is_known_by_its_role_not_by_the_case_of_its_name(tmp_path, cache):
    folder = write_case(tmp_path / "in", 1, suffix=".nii", seg=False)
    write_nifti(folder / "BraTS2021_00001_SEG.nii", np.zeros((20, 20, 6), np.uint8))

    images = opened(tmp_path / "in", cache)

    assert images.unread == ()
    assert not images.read(slice(None), ["mask"]).any()


def dicom(path: Path, pixels: NDArray[np.uint16]) -> FileDataset:
    meta = FileMetaDataset()
    meta.TransferSyntaxUID, meta.MediaStorageSOPClassUID = ExplicitVRLittleEndian, MRImageStorage
    meta.MediaStorageSOPInstanceUID = generate_uid()
    data = FileDataset(str(path), {}, file_meta=meta, preamble=b"\0" * 128)
    data.SOPClassUID, data.SOPInstanceUID = meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID
    data.Rows, data.Columns = pixels.shape
    data.SamplesPerPixel, data.PhotometricInterpretation, data.PixelRepresentation = 1, "MONOCHROME2", 0
    data.BitsAllocated, data.BitsStored, data.HighBit = 16, 16, 15
    data.PixelData = pixels.tobytes()
    return data


@pytest.mark.parametrize(("spacing", "found"), [(None, (1.0, 1.0)), ([0.5, 0.7], (0.5, 0.7))])
def test_dicom_with_an_empty_pixel_spacing_is_read_as_one_millimetre(spacing, found, tmp_path, cache):
    (tmp_path / "in").mkdir()
    data = dicom(tmp_path / "in" / "a.dcm", picture(1, dtype=np.uint16))
    data.PixelSpacing = spacing
    data.save_as(tmp_path / "in" / "a.dcm", enforce_file_format=True)
    assert "PixelSpacing" in pydicom.dcmread(tmp_path / "in" / "a.dcm")

    images = opened(tmp_path / "in", cache)

    assert images.voxel_size[:2] == found
    np.testing.assert_array_equal(images.read([0])[0, 0], picture(1))


def test_the_table_of_contents_of_a_dicom_disc_is_not_an_unread_image(tmp_path, cache):
    flat(tmp_path / "in")
    (tmp_path / "in" / "DICOMDIR").write_bytes(b"\0" * 128 + b"DICM" + b"\0" * 60)

    images = opened(tmp_path / "in", cache)

    assert (len(images), images.unread) == (3, ())


def test_a_nifti_of_two_axes_is_one_picture(tmp_path, cache):
    tall = np.vstack([picture(1), picture(2)]).astype(np.int16)
    write_nifti(tmp_path / "in" / "a.nii.gz", tall)

    images = opened(tmp_path / "in", cache)

    assert (images.ids, images.size) == (["a.nii.gz"], (16, 32))
    np.testing.assert_array_equal(images.read([0])[0, 0], tall.T)


def test_a_tiff_in_a_compression_that_only_pillow_knows_is_read(tmp_path, cache):
    (tmp_path / "in").mkdir()
    Image.fromarray(picture(1)).save(tmp_path / "in" / "a.tif", compression="tiff_lzw")

    np.testing.assert_array_equal(opened(tmp_path / "in", cache).read([0])[0, 0], picture(1))


def test_an_npz_in_column_order_gives_the_same_pixels(tmp_path, cache):
    pixels = np.stack([np.stack([picture(i), picture(i + 50)]) for i in range(70)])
    np.savez(tmp_path / "a.npz", images=np.asfortranarray(pixels))

    np.testing.assert_array_equal(opened(tmp_path / "a.npz", cache, real=False).read(slice(None)), pixels)


def test_hostile_subjects_are_split_and_written_by_two_workers_as_by_one(tmp_path):
    names = ["<b>", "a\nb", "=1+1", "\udcff", "x,y"]
    for index, name in enumerate(names):
        write_png(tmp_path / "in" / name / "a.png", picture(index))

    one, two = (prepared(tmp_path / "in", tmp_path / f"out{n}", workers=n) for n in (1, 2))

    assert sorted(s for images in two.values() for s in images.subjects.tolist()) == sorted(names)
    assert {role: s.content for role, s in one.items()} == {role: s.content for role, s in two.items()}
    assert json.loads((tmp_path / "out2" / "made_from.json").read_text())["roles"]["train"]
