"""Tumour volumes per subject: closed forms, and a reason instead of a number where slices belong to nobody."""

from __future__ import annotations

import numpy as np
import pytest

from synthrelease import measuring_pixels
from synthrelease.errors import AuditError
from synthrelease.image_set import MASK, ImageRow, ImageSet, from_arrays
from synthrelease.measuring_pixels import measure_volumes, volumes_of
from synthrelease.metrics import mask_volume_distance
from synthrelease.records import AREA_EDGES, Curve
from synthrelease.settings import MeasureSettings


def masks(areas: list[list[int]], named: bool = True) -> tuple[ImageSet, np.ndarray]:
    """A subject per list, a 10 x 10 mask of 1 x 1 x 2 mm voxels per entry with as many tumour pixels."""
    pixels, rows = [], []
    for subject, slices in enumerate(areas):
        for number, area in enumerate(slices):
            one = np.zeros(100, np.uint8)
            one[:area] = 51
            pixels.append(one.reshape(1, 10, 10))
            rows.append(ImageRow(f"s{subject}-{number}", f"s{subject}" if named else "", slice=number))
    images = from_arrays(np.stack(pixels), rows, channels=(MASK,), voxel_size=(1.0, 1.0, 2.0))
    return images, np.array([(one > 0).mean() for one in pixels])


def test_volumes_are_sums_over_slices_in_millilitres() -> None:
    assert volumes_of(*masks([[10, 40], [0, 0], [100, 100]])) == pytest.approx([0.1, 0.0, 0.4])


def test_slices_without_a_subject_or_a_neighbour_have_no_volume() -> None:
    assert volumes_of(*masks([[10, 40], [0, 0]], named=False)) is None
    assert volumes_of(*masks([[10], [40], [3]])) is None


def test_a_tumour_that_is_larger_in_everyone_is_as_far_away_as_it_is_larger() -> None:
    assert mask_volume_distance(real=[1.0, 2.0, 6.0], synthetic=[[3.5], [8.5], [4.5]]) == pytest.approx(2.5)
    assert mask_volume_distance(real=[0.0, 4.0], synthetic=[0.0]) == pytest.approx(2.0)
    for bad in ([], [np.nan], [-1.0], [np.inf]):
        with pytest.raises(AuditError, match="Tumour volumes"):
            mask_volume_distance(real=[1.0], synthetic=bad)


def test_the_same_areas_stacked_in_fewer_slices_are_smaller_volumes() -> None:
    random = np.random.default_rng(0)
    many = [[int(area)] * 4 for area in random.integers(10, 40, 12)]
    few = [[slices[0]] * 2 for slices in many]
    settings = MeasureSettings(parts=3)

    found = measure_volumes(real=masks(many), synthetic=masks(few), settings=settings)
    expected = np.mean([slices[0] for slices in many]) * 2 * 2 / 1000
    assert found.value == pytest.approx(expected)
    assert (found.count, found.real_count) == (24, 48)
    assert found.low is not None
    assert 0 <= found.low <= found.value <= found.high
    assert found.floor is not None
    assert found.floor < found.value
    assert found.floor_count == 6
    assert found.note.startswith("Of 12 synthetic and 12 real subjects")


def test_generated_slices_get_a_reason_and_no_number() -> None:
    found = measure_volumes(
        real=masks([[10, 40], [0, 20]]), synthetic=masks([[10, 4]], named=False), settings=MeasureSettings()
    )

    assert found.value is None
    assert found.note.startswith("Not computable: the synthetic images are single slices")


def test_as_many_patients_stand_behind_a_point_as_give_equally_to_it() -> None:
    alike, giant, nobody = [3.0, 3.0, 3.0, 3.0], [1000.0, 1.0, 1.0, 1.0], [0.0, 0.0, 0.0, 0.0]
    by_subject = [np.array(values) for values in zip(alike, giant, nobody, strict=True)]
    assert measuring_pixels._behind(by_subject).tolist() == [4, 1, 0]


def test_every_tumour_is_in_a_bin_and_none_counts_where_there_is_none() -> None:
    areas = np.array([0.0, 1e-9, 0.01, 0.5, 0.9999])
    counts = measuring_pixels._binned(areas, AREA_EDGES)
    assert counts.sum() == 4
    assert counts[0] == 1
    assert counts[-1] >= 1


def volume_curves(real: list[list[int]], synthetic: list[list[int]], named: bool = True) -> list[Curve]:
    sides = [masks(real), masks(synthetic, named)]
    roles = [
        measuring_pixels._Role(images, np.asarray, np.zeros(len(images)), np.zeros(len(images)), areas.tolist())
        for images, areas in sides
    ]
    return list(measuring_pixels._volume_curve(*roles))


def test_volumes_are_drawn_per_subject_with_one_subject_behind_each() -> None:
    (curve,) = volume_curves([[10, 40], [9, 41], [100, 100], [0, 0]], [[100, 100], [50, 50]])

    bins = {round(at, 3): (real, made, n) for at, real, made, n in zip(*_columns(curve), strict=True) if real or made}
    assert bins == {0.088: (pytest.approx(2 / 3), 0.0, 2), 0.354: (pytest.approx(1 / 3), 0.5, 1), 0.177: (0.0, 0.5, 0)}
    assert sum(curve.real) == pytest.approx(1, abs=1e-5)


def _columns(curve: Curve) -> tuple[tuple[float, ...], ...]:
    return curve.at, curve.real, curve.synthetic, curve.real_subjects


def test_volumes_of_nobody_or_of_no_tumour_are_not_drawn() -> None:
    assert volume_curves([[10, 40], [9, 41]], [[100, 100], [50, 50]], named=False) == []
    assert volume_curves([[0, 0], [0, 0]], [[100, 100], [50, 50]]) == []
