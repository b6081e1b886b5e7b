"""BraTS cohorts: names of three years, odd files, and what makes a case unusable."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from scans_helpers import labels, opened, volume, write_case, write_nifti, write_png

from synthrelease.errors import ScanError
from synthrelease.scans import brats

CHANNELS = ("t1", "t1ce", "t2", "flair", "mask")


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    return tmp_path / "cache"


@pytest.mark.parametrize("year", ["2020", "2021", "2023"])
@pytest.mark.parametrize("flat", [False, True])
@pytest.mark.parametrize("suffix", [".nii", ".nii.gz"])
def test_every_naming_gives_the_same_images(year, flat, suffix, tmp_path, cache):
    for index in (3, 8):
        write_case(tmp_path / "in", index, year=year, flat=flat, suffix=suffix)

    images = opened(tmp_path / "in", cache)

    assert images.channels == CHANNELS
    assert len(images) == 10
    assert len(set(images.subjects)) == 2
    for number, row in enumerate(images.rows[:5]):
        wanted = [volume(30 + c)[..., row.slice].T for c in range(4)]
        mask = labels()[..., row.slice].T * 51
        np.testing.assert_array_equal(images.read([number])[0], np.stack([*wanted, mask]))


def test_the_visit_of_a_2023_name_is_not_the_patient():
    assert brats.subject_of("BraTS-GLI-00012-001") == "BraTS-GLI-00012"
    assert brats.subject_of("BraTS2021_00006") == "BraTS2021_00006"
    assert brats.subject_of("BraTS20_Training_001") == "BraTS20_Training_001"


def test_two_visits_of_one_patient_are_one_subject(tmp_path, cache):
    write_case(tmp_path / "in", 1, year="2023")
    first = tmp_path / "in" / "BraTS-GLI-00001-000"
    for path in first.iterdir():
        second = path.name.replace("-000-", "-001-")
        (tmp_path / "in" / "BraTS-GLI-00001-001").mkdir(exist_ok=True)
        (tmp_path / "in" / "BraTS-GLI-00001-001" / second).write_bytes(path.read_bytes())

    images = opened(tmp_path / "in", cache)

    assert set(images.subjects) == {"BraTS-GLI-00001"}
    assert images.ids[5:7] == ["BraTS-GLI-00001-001#1", "BraTS-GLI-00001-001#2"]


def test_the_odd_segmentation_name_of_case_355_is_recognised(tmp_path, cache):
    folder = write_case(tmp_path / "in", 355, year="2020", suffix=".nii")
    (folder / "BraTS20_Training_355_seg.nii").rename(folder / "W39_1998.09.19_Segm.nii")

    images = opened(tmp_path / "in", cache)

    assert images.channels == CHANNELS
    assert set(np.unique(images.read(slice(None), ["mask"]))) == {0, 51, 102, 204}


def test_mixed_years_are_refused(tmp_path, cache):
    write_case(tmp_path / "in", 1, year="2020")
    write_case(tmp_path / "in", 2, year="2021")

    with pytest.raises(ScanError, match="1 cases of 2020, 1 cases of 2021") as caught:
        opened(tmp_path / "in", cache)
    assert "under other names" in caught.value.remedy


def missing(folder: Path) -> None:
    (folder / f"{folder.name}_t2.nii.gz").unlink()


def truncated(folder: Path) -> None:
    path = folder / f"{folder.name}_flair.nii.gz"
    path.write_bytes(path.read_bytes()[:400])


def other_shape(folder: Path) -> None:
    write_nifti(folder / f"{folder.name}_t2.nii.gz", volume(1, depth=5))


def unknown_label(folder: Path) -> None:
    write_nifti(folder / f"{folder.name}_seg.nii.gz", labels(enhancing=7))


def not_finite(folder: Path) -> None:
    write_nifti(folder / f"{folder.name}_t1.nii.gz", np.where(volume(1) > 900, np.inf, volume(1)))


def without_segmentation(folder: Path) -> None:
    (folder / f"{folder.name}_seg.nii.gz").unlink()


def twice(folder: Path) -> None:
    write_nifti(folder / f"{folder.name}_t1.nii", volume(1))


def constant(folder: Path) -> None:
    write_nifti(folder / f"{folder.name}_t1ce.nii.gz", np.ones((20, 20, 6), np.int16))


FAULTS = [
    (missing, "it has no t2 file"),
    (truncated, "flair.nii.gz cannot be read"),
    (other_shape, "t2.nii.gz has shape"),
    (unknown_label, "labels 0, 1, 2, 7"),
    (not_finite, "values are not finite"),
    (without_segmentation, "it has no segmentation, while other cases have one"),
    (twice, "more than one t1 file"),
    (constant, "every voxel has the same value"),
]


@pytest.mark.parametrize(("spoil", "reason"), FAULTS, ids=lambda value: getattr(value, "__name__", ""))
def test_an_unusable_case_is_listed_and_the_others_are_read(spoil, reason, tmp_path, cache):
    write_case(tmp_path / "in", 1)
    spoil(write_case(tmp_path / "in", 2))

    images = opened(tmp_path / "in", cache)

    assert set(images.subjects) == {"BraTS2021_00001"}
    assert [item.image_id for item in images.unread] == ["BraTS2021_00002"]
    assert reason in images.unread[0].reason


def test_a_case_without_tumour_is_a_case(tmp_path, cache):
    folder = write_case(tmp_path / "in", 1)
    write_nifti(folder / "BraTS2021_00001_seg.nii.gz", np.zeros((20, 20, 6), np.uint8))

    assert opened(tmp_path / "in", cache).unread == ()


def test_a_cohort_without_segmentations_has_no_mask_channel(tmp_path, cache):
    write_case(tmp_path / "in", 1, seg=False)

    assert opened(tmp_path / "in", cache).channels == CHANNELS[:4]


def test_stray_pictures_in_a_brats_folder_are_noted(tmp_path, cache):
    write_png(write_case(tmp_path / "in", 1) / "screenshot.png", np.eye(16, dtype=np.uint8))

    assert (
        "1 files without a BraTS name left out (BraTS2021_00001/screenshot.png)" in opened(tmp_path / "in", cache).notes
    )


def test_a_case_is_excluded_by_its_name(tmp_path, cache):
    write_case(tmp_path / "in", 1)
    missing(write_case(tmp_path / "in", 2))

    assert opened(tmp_path / "in", cache, exclude=["BraTS2021_00002"]).unread == ()


@pytest.mark.real
def test_the_real_case_is_read_as_it_is_stored(real_data, cache):
    import nibabel as nib

    images = opened(real_data / "brats", cache)

    assert images.channels == CHANNELS
    assert images.size == (240, 240)
    assert images.voxel_size == (1.0, 1.0, 1.0)
    middle = images.ids.index("BraTS2021_00006#80")
    stored = np.asarray(nib.load(real_data / "brats/BraTS2021_00006/BraTS2021_00006_t1ce.nii.gz").dataobj)[..., 80]
    np.testing.assert_array_equal(images.read([middle], ["t1ce"])[0, 0], stored.T)
    assert set(np.unique(images.read([middle], ["mask"]))) <= {0, 51, 102, 204}


@pytest.mark.real
def test_the_real_lgg_folder_is_seventy_subjects_with_masks(real_data, cache):
    images = opened(real_data / "lgg", cache)

    assert (len(images), images.size) == (896, (256, 256))
    assert images.channels == ("red", "green", "blue", "mask")
    assert len(set(images.subjects)) == 70
    assert images.unread == ()
    assert set(np.unique(images.read(slice(0, 20), ["mask"]))) == {0, 51}
    assert images.rows[0].slice == 11
