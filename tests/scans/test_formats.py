"""Every format, round trip: what was written is what the image set holds."""

from __future__ import annotations

import bz2
from pathlib import Path

import nibabel as nib
import numpy as np
import pydicom
import pytest
import tifffile
from PIL import Image
from pydicom.dataset import FileDataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, MRImageStorage, generate_uid
from scans_helpers import opened, picture, volume, write_nifti, write_png


def dicom(path: Path, frames: np.ndarray, **about: object) -> Path:
    meta = FileMetaDataset()
    meta.TransferSyntaxUID, meta.MediaStorageSOPClassUID = ExplicitVRLittleEndian, MRImageStorage
    meta.MediaStorageSOPInstanceUID = generate_uid()
    data = FileDataset(str(path), {}, file_meta=meta, preamble=b"\0" * 128)
    data.SOPClassUID, data.SOPInstanceUID = meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID
    data.Rows, data.Columns = frames.shape[-2:]
    data.SamplesPerPixel, data.PhotometricInterpretation = 1, "MONOCHROME2"
    data.BitsAllocated = data.BitsStored = 8 * frames.dtype.itemsize
    data.HighBit, data.PixelRepresentation = data.BitsStored - 1, 0
    if frames.ndim == 3:
        data.NumberOfFrames = len(frames)
    for name, value in about.items():
        setattr(data, name, value)
    data.PixelData = frames.tobytes()
    data.save_as(path, enforce_file_format=True)
    return path


@pytest.mark.parametrize("kind", ["png", "webp", "bmp", "tif"])
def test_lossless_pictures_keep_every_pixel(kind, tmp_path):
    for index in range(3):
        Image.fromarray(picture(index)).save(tmp_path / f"{index}.{kind}", lossless=True)

    images = opened(tmp_path, tmp_path / "cache")

    assert images.ids == [f"{i}.{kind}" for i in range(3)]
    assert images.channels == ("grey",)
    assert images.pixels.dtype == np.uint8
    np.testing.assert_array_equal(images.read(slice(None)), np.stack([picture(i)[None] for i in range(3)]))


def test_jpeg_is_read_as_its_decoder_shows_it(tmp_path):
    Image.fromarray(picture(1)).save(tmp_path / "a.jpg")

    shown = np.asarray(Image.open(tmp_path / "a.jpg"))

    np.testing.assert_array_equal(opened(tmp_path, tmp_path / "cache").read([0])[0, 0], shown)


@pytest.mark.parametrize(("dtype", "stored"), [(np.uint16, "uint16"), (np.float32, "float32"), (np.int32, "uint16")])
def test_deeper_pixels_keep_their_values(dtype, stored, tmp_path):
    deep = picture(3).astype(dtype) * dtype(200)
    tifffile.imwrite(tmp_path / "deep.tif", deep)
    np.save(tmp_path / "deep.npy", deep)

    images = opened(tmp_path, tmp_path / "cache")

    assert str(images.pixels.dtype) == stored
    np.testing.assert_array_equal(images.read(slice(None))[:, 0], np.stack([deep, deep]))


def test_sixteen_bit_grey_png_is_exact_and_sixteen_bit_colour_is_refused(tmp_path):
    write_png(tmp_path / "grey.png", picture(1).astype(np.uint16) * 201)
    header = bytearray((tmp_path / "grey.png").read_bytes())
    header[25] = 2  # the same file claims to hold colour
    (tmp_path / "colour.png").write_bytes(header)

    images = opened(tmp_path, tmp_path / "cache")

    np.testing.assert_array_equal(images.read([0])[0, 0], picture(1).astype(np.uint16) * 201)
    assert [(u.image_id, "16-bit colour" in u.reason) for u in images.unread] == [("colour.png", True)]


def test_colours_keep_their_names_and_grey_stored_as_colour_becomes_one_channel(tmp_path):
    for index in range(2):
        same = np.repeat(picture(index)[..., None], 3, axis=2)
        write_png(tmp_path / f"grey/{index}.png", same)
        write_png(tmp_path / f"mixed/{index}.png", same)
    write_png(tmp_path / "mixed/2.png", np.stack([picture(i) for i in (5, 6, 7)], axis=2))

    grey, mixed = (opened(tmp_path / name, tmp_path / "cache") for name in ("grey", "mixed"))

    assert grey.channels == ("grey",)
    assert any("stored as RGB" in note for note in grey.notes)
    assert mixed.channels == ("red", "green", "blue")
    np.testing.assert_array_equal(mixed.read([2])[0], np.stack([picture(i) for i in (5, 6, 7)]))


def test_a_constant_alpha_is_dropped_with_a_note_and_a_varying_one_is_unread(tmp_path):
    colours = np.stack([picture(i) for i in (5, 6, 7)], axis=2)
    write_png(tmp_path / "a.png", np.dstack([colours, np.full((16, 16), 255, np.uint8)]))
    write_png(tmp_path / "b.png", np.dstack([colours, picture(9)]))

    images = opened(tmp_path, tmp_path / "cache")

    assert images.ids == ["a.png"]
    assert images.channels == ("red", "green", "blue")
    assert any("alpha" in note for note in images.notes)
    assert "transparent" in images.unread[0].reason


def test_tiff_pages_become_slices_and_empty_ones_are_counted(tmp_path):
    tifffile.imwrite(tmp_path / "stack.tif", np.moveaxis(volume(1), 2, 0))

    images = opened(tmp_path, tmp_path / "cache")

    assert images.ids == [f"stack.tif#{k}" for k in range(1, 6)]
    assert [row.slice for row in images.rows] == [1, 2, 3, 4, 5]
    np.testing.assert_array_equal(images.read([2])[0, 0], volume(1)[..., 3])
    assert "1 slices with less than 1 % foreground left out" in images.notes


@pytest.mark.parametrize("suffix", [".nii", ".nii.gz"])
def test_nifti_slices_are_axial_with_rows_to_the_back_and_columns_to_the_left(suffix, tmp_path):
    voxels = volume(2)
    write_nifti(tmp_path / f"scan{suffix}", voxels)

    images = opened(tmp_path, tmp_path / "cache")

    assert images.ids == [f"scan{suffix}#{k}" for k in range(1, 6)]
    for number, row in enumerate(images.rows):
        np.testing.assert_array_equal(images.read([number])[0, 0], voxels[:, :, row.slice].T)


@pytest.mark.parametrize("codes", ["LPS", "RAS", "PIR", "SAL"])
def test_however_a_nifti_is_stored_its_slices_come_out_the_same(codes, tmp_path):
    voxels = np.concatenate([volume(2, size=20), volume(3, size=20)], axis=0)[:, :, :]  # 40 x 20 x 6
    write_nifti(tmp_path / "a" / "scan.nii", voxels, np.diag([-2.0, -3.0, 4.0, 1.0]))
    first = nib.load(tmp_path / "a" / "scan.nii")
    turn = nib.orientations.ornt_transform(nib.io_orientation(first.affine), nib.orientations.axcodes2ornt(codes))
    (tmp_path / "b").mkdir()
    nib.save(first.as_reoriented(turn), tmp_path / "b" / "scan.nii")

    straight, turned = (opened(tmp_path / name, tmp_path / "cache") for name in "ab")

    np.testing.assert_array_equal(straight.read(slice(None)), turned.read(slice(None)))
    assert straight.voxel_size == turned.voxel_size == (3.0, 2.0, 4.0)


def test_dicom_files_give_rescaled_values_and_frames_become_slices(tmp_path):
    dicom(tmp_path / "one.dcm", picture(1, dtype=np.uint16), RescaleSlope=2, RescaleIntercept=-100, InstanceNumber=7)
    dicom(tmp_path / "many.dcm", np.stack([picture(i, dtype=np.uint16) for i in range(3)]))

    images = opened(tmp_path, tmp_path / "cache")

    assert images.ids == ["many.dcm#0", "many.dcm#1", "many.dcm#2", "one.dcm"]
    assert images.rows[3].slice == 7
    np.testing.assert_array_equal(images.read([3])[0, 0], picture(1) * 2.0 - 100)
    np.testing.assert_array_equal(images.read([1])[0, 0], picture(1))


def test_dicom_without_an_extension_is_found_and_inverted_grey_is_turned_back(tmp_path):
    dicom(tmp_path / "1.2.840.113", picture(1), PhotometricInterpretation="MONOCHROME1")

    images = opened(tmp_path, tmp_path / "cache")

    np.testing.assert_array_equal(images.read([0])[0, 0], picture(1).max() - picture(1))


def test_dicom_without_pixels_is_unread(tmp_path):
    data = pydicom.dcmread(dicom(tmp_path / "a.dcm", picture(1)))
    del data.PixelData
    data.save_as(tmp_path / "b.dcm")

    assert [(u.image_id, "no image" in u.reason) for u in opened(tmp_path, tmp_path / "cache").unread] == [
        ("b.dcm", True)
    ]


@pytest.mark.parametrize(
    ("shape", "ids", "channels"),
    [
        ((16, 16), ["a.npy"], ("grey",)),
        ((5, 16, 16), ["a.npy"], tuple(f"channel{i}" for i in range(5))),
        ((16, 16, 3), ["a.npy"], ("channel0", "channel1", "channel2")),
        ((70, 2, 16, 16), [f"a.npy#{k}" for k in range(70)], ("channel0", "channel1")),
        ((9, 16, 16, 2), [f"a.npy#{k}" for k in range(9)], ("channel0", "channel1")),
        ((9, 16, 16), [f"a.npy#{k}" for k in range(9)], ("grey",)),
    ],
)
def test_npy_shapes(shape, ids, channels, tmp_path):
    array = np.random.default_rng(0).integers(0, 255, shape).astype(np.uint8)
    np.save(tmp_path / "a.npy", array)

    images = opened(tmp_path, tmp_path / "cache")

    assert (images.ids, images.channels) == (ids, channels)
    first = images.read([0])[0]
    wanted = array[0] if len(ids) > 1 else array
    np.testing.assert_array_equal(
        first, np.moveaxis(wanted, -1, 0) if shape[-1] in (2, 3) else wanted.reshape(first.shape)
    )


@pytest.mark.parametrize("packed", [True, False])
@pytest.mark.parametrize("point_at", ["file", "folder"])
def test_npz_gives_ids_subjects_channels_and_masks(packed, point_at, tmp_path):
    count = 150  # more than two blocks
    pixels = np.stack([np.stack([picture(i), picture(i + 500)]) for i in range(count)])
    masks = np.stack([picture(i) > 200 for i in range(count)])
    save = np.savez_compressed if packed else np.savez
    ids = np.array([f"image {i}" for i in range(count)])
    subjects = np.array([f"s{i // 10}" for i in range(count)])
    save(tmp_path / "set.npz", images=pixels, masks=masks, ids=ids, subjects=subjects, channels=np.array(["t1", "t2"]))

    images = opened(tmp_path / "set.npz" if point_at == "file" else tmp_path, tmp_path / "cache")

    assert images.channels == ("t1", "t2", "mask")
    assert images.ids == ids.tolist()
    assert images.subjects.tolist() == subjects.tolist()
    np.testing.assert_array_equal(images.read(slice(None))[:, :2], pixels)
    np.testing.assert_array_equal(images.read(slice(None))[:, 2], masks * 51)


def test_npz_takes_the_only_array_of_four_axes_and_a_channel_called_mask_holds_labels(tmp_path):
    pixels = np.stack([np.stack([picture(i), (picture(i) > 100) * np.uint8(4)]) for i in range(12)])
    np.savez(tmp_path / "a.npz", x=pixels, channels=np.array(["flair", "mask"]), other=np.arange(3))

    images = opened(tmp_path, tmp_path / "cache", real=False)

    assert images.channels == ("flair", "mask")
    assert images.ids[11] == "a.npz#11"
    assert set(np.unique(images.read(slice(None), ["mask"]))) == {0, 204}


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ({"x": np.zeros((2, 2))}, "no array named images"),
        ({"images": np.array([["a", {}]], dtype=object)}, "Python objects"),
        ({"images": np.ones((3, 1, 8, 8)), "ids": np.array(["a", "b"])}, "ids has 2 entries for 3 images"),
        ({"images": np.ones((2, 1, 8, 8)), "ids": np.array(["a", "a"])}, "'a' more than once"),
        ({"images": np.ones((2, 1, 8, 8)), "masks": np.ones((2, 4, 4))}, "do not fit"),
        ({"images": np.ones((2, 2, 8, 8)), "channels": np.array(["t1"])}, "do not name 2 channels"),
    ],
)
def test_npz_that_contradicts_itself_is_unread_with_the_reason(content, reason, tmp_path):
    np.savez(tmp_path / "a.npz", **content)
    write_png(tmp_path / "good.png", picture(1))

    images = opened(tmp_path, tmp_path / "cache")

    assert images.ids == ["good.png"]
    assert reason in images.unread[0].reason


def test_a_stack_lists_its_unusable_images_and_keeps_the_others(tmp_path):
    stack = np.stack([picture(i)[None] for i in range(10)]).astype(np.float64)
    stack[3], stack[7, 0, 5, 5] = 4.0, np.nan
    np.save(tmp_path / "a.npy", stack)

    images = opened(tmp_path, tmp_path / "cache")

    assert len(images) == 8
    assert images.pixels.dtype == np.float32
    assert [(u.image_id, u.reason.split("(")[0].strip()) for u in images.unread] == [
        ("a.npy#3", "every pixel has the same value"),
        ("a.npy#7", "1 of its values are not finite"),
    ]


def test_an_archive_that_only_claims_to_be_one_is_unread(tmp_path):
    (tmp_path / "a.npz").write_bytes(bz2.compress(b"not a zip"))
    write_png(tmp_path / "good.png", picture(1))

    assert "cannot be read" in opened(tmp_path, tmp_path / "cache").unread[0].reason
