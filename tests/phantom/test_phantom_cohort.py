"""Phantom subjects and the folders they are written to."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import nibabel
import numpy as np
import pytest
from click.testing import CliRunner

from synthrelease.cli import group
from synthrelease.errors import SettingsError, StoreError
from synthrelease.phantom.cohort import PhantomSubject, make_slices, make_subject, slice_count, write_cohort
from synthrelease.progress import Advance
from synthrelease.settings import PhantomSettings

SIZE = 64


@pytest.fixture(scope="module")
def cohort() -> list[PhantomSubject]:
    return [make_subject(seed=1, index=index, size=SIZE) for index in range(14)]


def settings(**options: object) -> PhantomSettings:
    return PhantomSettings.checked(**{"subjects": 2, "size": 32, **options})


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def central_flair(subject: PhantomSubject) -> dict[int, np.ndarray]:
    """Central axial FLAIR slices that show tumour, by slice number."""
    first, last = round(0.3 * subject.labels.shape[2]), round(0.72 * subject.labels.shape[2])
    shown = [z for z in range(first, last) if (subject.labels[:, :, z] > 0).sum() >= 4]
    return {z: subject.contrasts[3, :, :, z].ravel().astype(float) for z in shown}


def test_neighbouring_slices_are_alike_and_subjects_differ_as_in_real_scans(cohort: list[PhantomSubject]) -> None:
    """At 64 px FLAIR, whole image. Real LGG patients: neighbours 0.94, nearest other patient 0.82, at most 0.943."""
    slices = [central_flair(subject) for subject in cohort]
    neighbours = [np.corrcoef(own[z], own[z + 1])[0, 1] for own in slices for z in own if z + 1 in own]
    owner = np.array([index for index, own in enumerate(slices) for _ in own])
    alike = np.corrcoef(np.stack([image for own in slices for image in own.values()]))
    nearest_other = np.where(owner[:, None] == owner[None], -1, alike).max(axis=1)

    assert len(neighbours) > 100
    assert np.mean(neighbours) >= 0.9
    assert np.quantile(neighbours, 0.02) >= 0.85
    assert 0.7 <= np.mean(nearest_other) <= 0.9
    assert nearest_other.max() < 0.96
    assert np.mean(neighbours) > np.quantile(nearest_other, 0.9)


def test_a_subject_depends_on_seed_and_index_alone(cohort: list[PhantomSubject]) -> None:
    again = make_subject(seed=1, index=3, size=SIZE)
    other_seed = make_subject(seed=2, index=3, size=SIZE)

    np.testing.assert_array_equal(again.contrasts, cohort[3].contrasts)
    np.testing.assert_array_equal(again.labels, cohort[3].labels)
    assert (other_seed.contrasts > 0).mean() > 0.1
    assert np.mean((other_seed.contrasts[0] > 0) != (again.contrasts[0] > 0)) > 0.005


def test_a_subject_is_the_same_head_at_every_size(cohort: list[PhantomSubject]) -> None:
    fine = make_subject(seed=1, index=0, size=2 * SIZE)
    small = cohort[0]
    heights = range(10, 30)
    blocks = fine.contrasts.astype(float).reshape(4, SIZE, 2, SIZE, 2, -1).mean(axis=(2, 4))
    for contrast in range(4):
        halved = np.stack([blocks[contrast, :, :, 2 * z : 2 * z + 2].mean(axis=-1) for z in heights])
        coarse = np.stack([small.contrasts[contrast, :, :, z] for z in heights])
        assert np.corrcoef(halved.ravel(), coarse.ravel())[0, 1] > 0.96
    volumes = [(subject.labels > 0).sum() * subject.voxel**3 for subject in (small, fine)]
    assert volumes[0] == pytest.approx(volumes[1], rel=0.15)


def test_slices_alone_equal_those_of_the_whole_volume(cohort: list[PhantomSubject]) -> None:
    images, masks = make_slices(seed=1, index=2, size=SIZE, count=5)
    whole = cohort[2]

    assert images.shape == (5, 4, SIZE, SIZE)
    assert images.dtype == np.float32
    assert masks.dtype == np.uint8
    assert 0 <= images.min() < images.max() <= 1
    for image, mask in zip(images, masks, strict=True):
        scores = [np.corrcoef(image[0].ravel(), whole.contrasts[0, :, :, z].ravel())[0, 1] for z in range(10, 32)]
        z = 10 + int(np.argmax(scores))
        np.testing.assert_array_equal(mask, whole.labels[:, :, z])
        for contrast in range(4):
            stored = whole.contrasts[contrast, :, :, z].astype(float)
            scale = stored.sum() / image[contrast].sum()
            np.testing.assert_allclose(image[contrast] * scale, stored, atol=1)


def test_slices_are_refused_where_the_central_brain_has_too_few() -> None:
    with pytest.raises(SettingsError, match="central"):
        make_slices(seed=0, index=0, size=32, count=40)


def test_the_background_is_exactly_zero_and_the_head_nowhere(cohort: list[PhantomSubject]) -> None:
    for subject in cohort[:4]:
        head = subject.contrasts > 0
        assert (subject.contrasts >= 0).all()
        assert (head == head[0]).all()
        assert not head[:, [0, -1]].any()
        assert not head[:, :, [0, -1]].any()
        assert (subject.labels[~head[0]] == 0).all()
        assert 0.1 < head[0].mean() < 0.25  # a real BraTS case: 0.17


def test_tumours_vary_and_show_as_they_should(cohort: list[PhantomSubject]) -> None:
    volumes, seen, bright, enhancing = [], set(), [], []
    for subject in cohort:
        labels, brain = subject.labels, (subject.contrasts[0] > 0) & (subject.labels == 0)
        volumes.append((labels > 0).sum() * subject.voxel**3 / 1000)
        seen |= set(np.unique(labels).tolist())
        _, t1ce, _, flair = subject.contrasts
        bright.append(np.median(flair[labels == 2]) / np.median(flair[brain]))
        if (labels == 4).sum() > 10:
            enhancing.append(np.median(t1ce[labels == 4]) / np.median(t1ce[brain]))

    assert seen == {0, 1, 2, 4}
    assert min(volumes) > 3  # millilitres
    assert max(volumes) > 4 * min(volumes)
    assert min(bright) > 1.2
    assert np.median(enhancing) > 1.4
    centres = np.array([np.argwhere(subject.labels > 0).mean(axis=0) for subject in cohort])
    assert (centres[:, 1] < SIZE / 2 - 2).any()
    assert (centres[:, 1] > SIZE / 2 + 2).any()


def test_most_central_slices_pass_the_foreground_rule_of_the_reference_study(cohort: list[PhantomSubject]) -> None:
    kept = []
    for subject in cohort:
        t1 = subject.contrasts[0] / subject.contrasts[0].max()
        kept.append(((t1 * 255 > 50).mean(axis=(0, 1)) > 0.15).sum() * 155 / slice_count(SIZE))

    assert 70 < np.mean(kept) < 105  # a real BraTS case keeps 86 of 155
    assert min(kept) > 50


def test_voxels_shrink_in_proportion() -> None:
    assert [slice_count(size) for size in (240, 128, 64, 32)] == [155, 83, 41, 21]
    assert make_subject(seed=0, index=0, size=32).voxel == 7.5


@pytest.mark.parametrize(
    ("naming", "case", "files", "enhancing"),
    [
        ("2020", "BraTS20_Training_001", ["_flair", "_seg", "_t1", "_t1ce", "_t2"], 4),
        ("2021", "BraTS2021_00000", ["_flair", "_seg", "_t1", "_t1ce", "_t2"], 4),
        ("2023", "BraTS-GLI-00000-000", ["-seg", "-t1c", "-t1n", "-t2f", "-t2w"], 3),
    ],
)
def test_cases_are_named_and_labelled_as_in_each_year(
    tmp_path: Path, naming: str, case: str, files: list[str], enhancing: int
) -> None:
    folders = write_cohort(tmp_path / "cohort", settings(naming=naming, seed=1, size=48))

    assert folders[0] == tmp_path / "cohort" / case
    assert sorted(path.name for path in folders[0].iterdir()) == [f"{case}{end}.nii.gz" for end in files]
    seen = {
        int(x) for folder in folders for path in folder.glob("*seg*") for x in np.unique(nibabel.load(path).dataobj)
    }
    assert enhancing in seen
    assert 7 - enhancing not in seen
    assert "not patients" in (tmp_path / "cohort" / "README.txt").read_text()


def test_files_hold_the_subject_in_brats_axes_and_types(tmp_path: Path) -> None:
    (folder,) = write_cohort(tmp_path / "cohort", settings(subjects=1, seed=5))
    subject = make_subject(seed=5, index=0, size=32)

    for position, name in enumerate(("t1", "t1ce", "t2", "flair")):
        image = nibabel.load(folder / f"{folder.name}_{name}.nii.gz")
        assert image.get_data_dtype() == np.int16
        assert nibabel.aff2axcodes(image.affine) == ("L", "P", "S")
        np.testing.assert_array_equal(np.asarray(image.dataobj), subject.contrasts[position].transpose(1, 0, 2))
    labels = nibabel.load(folder / f"{folder.name}_seg.nii.gz")
    assert labels.get_data_dtype() == np.uint8
    np.testing.assert_allclose(labels.header.get_zooms(), 7.5)
    # The field of view is that of BraTS at every size: its corner lies half a millimetre outside voxel (0, 239, 0).
    np.testing.assert_allclose(labels.affine @ [-0.5, -0.5, -0.5, 1], [0.5, 239.5, -0.5, 1])


class StopsAfterOne:
    """A progress that is interrupted once the first subject is done."""

    @contextmanager
    def task(self, name: str, total: int) -> Iterator[Advance]:
        def advance(units: int) -> None:
            raise KeyboardInterrupt

        yield advance

    def say(self, text: str) -> None:
        """Say nothing."""


def test_an_interrupted_cohort_continues_to_the_same_bytes(tmp_path: Path) -> None:
    unbroken, broken = tmp_path / "unbroken", tmp_path / "broken"
    write_cohort(unbroken, settings(subjects=3))
    with pytest.raises(KeyboardInterrupt):
        write_cohort(broken, settings(subjects=3), StopsAfterOne())
    half = broken / ".BraTS2021_00001.partial"
    half.mkdir()
    (half / "BraTS2021_00001_t1.nii.gz").write_bytes(b"cut off")
    first = broken / "BraTS2021_00000" / "BraTS2021_00000_t1.nii.gz"
    made = first.stat().st_mtime_ns

    write_cohort(broken, settings(subjects=3))

    assert contents(broken) == contents(unbroken)
    assert first.stat().st_mtime_ns == made


def test_a_larger_cohort_extends_a_smaller_one(tmp_path: Path) -> None:
    write_cohort(tmp_path, settings(subjects=1))
    before = contents(tmp_path)

    write_cohort(tmp_path, settings(subjects=2))

    assert before.items() <= contents(tmp_path).items()
    assert len(contents(tmp_path)) == len(before) + 5


@pytest.mark.parametrize("changed", [{"seed": 9}, {"size": 48}, {"naming": "2020"}])
def test_another_cohort_is_not_mixed_into_a_folder(tmp_path: Path, changed: dict[str, object]) -> None:
    write_cohort(tmp_path, settings(subjects=1))

    with pytest.raises(StoreError, match="another kind or cohort"):
        write_cohort(tmp_path, settings(subjects=1, **changed))


def test_phantoms_are_not_written_among_other_files(tmp_path: Path) -> None:
    (tmp_path / "BraTS2021_00000").mkdir()

    with pytest.raises(StoreError, match="something else"):
        write_cohort(tmp_path, settings(subjects=1))


def test_more_cases_than_the_year_can_name_are_refused_before_any_work(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="three digits"):
        write_cohort(tmp_path / "cohort", settings(subjects=1000, naming="2020"))
    assert not (tmp_path / "cohort").exists()


def test_the_command_says_where_things_are_and_what_comes_next(tmp_path: Path) -> None:
    out = tmp_path / "my phantoms"
    result = CliRunner().invoke(group, ["phantom", str(out), "--subjects", "1", "--size", "32"])

    assert result.exit_code == 0, result.output
    assert f"synthrelease prepare '{out}' --out '{out}-sets'" in result.stdout
    assert (out / "BraTS2021_00000" / "BraTS2021_00000_seg.nii.gz").is_file()


def test_the_command_prints_one_document_with_json(tmp_path: Path) -> None:
    arguments = ["phantom", str(tmp_path / "p"), "--subjects", "2", "--size", "32", "--seed", "3", "--json"]
    result = CliRunner().invoke(group, arguments)

    document = json.loads(result.stdout)
    assert document["cases"] == ["BraTS2021_00000", "BraTS2021_00001"]
    assert (document["seed"], document["size"], document["naming"]) == (3, 32, "2021")


@pytest.mark.real
def test_a_full_size_case_has_the_header_and_coverage_of_a_real_one(tmp_path: Path, real_data: Path) -> None:
    (folder,) = write_cohort(tmp_path / "cohort", PhantomSettings(subjects=1, size=240))
    real = next((real_data / "brats").iterdir())
    for name in ("t1", "t1ce", "t2", "flair", "seg"):
        ours = nibabel.load(folder / f"{folder.name}_{name}.nii.gz")
        theirs = nibabel.load(real / f"{real.name}_{name}.nii.gz")
        assert ours.shape == theirs.shape
        assert ours.get_data_dtype() == theirs.get_data_dtype()
        np.testing.assert_array_equal(ours.affine, theirs.affine)
        np.testing.assert_array_equal(ours.header.get_zooms(), theirs.header.get_zooms())
        assert ours.header.get_xyzt_units() == theirs.header.get_xyzt_units()
        assert (ours.header["qform_code"], ours.header["sform_code"]) == (1, 1)
        if name == "t1":
            covered, reference = (np.mean(np.asarray(image.dataobj) > 0) for image in (ours, theirs))
            assert covered == pytest.approx(reference, rel=0.25)
