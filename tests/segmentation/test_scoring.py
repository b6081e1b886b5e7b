"""From predictions to scores of subjects: stacking, millimetres, empty regions, tables."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from monai.metrics import compute_hausdorff_distance
from segmentation_helpers import BRATS, reader_of, tumours
from torch import Tensor

from synthrelease.errors import SegmentationError
from synthrelease.image_set import ImageRow, ImageSet, from_arrays
from synthrelease.segmentation.feed import Reader
from synthrelease.segmentation.mixing import Source
from synthrelease.segmentation.networks import Segmenter
from synthrelease.segmentation.prediction import subjects_of
from synthrelease.segmentation.scoring import (
    mean_of,
    places_of,
    score_subjects,
    score_volume,
    stacked,
    validation_dice,
    write_table,
)

CPU = torch.device("cpu")
TUMOUR = reader_of(tumours(channels=BRATS, levels=(102, 51, 204)))


class _Bright(Segmenter):
    """A network that calls a pixel a lesion where the first contrast is bright: what it draws is known."""

    def __init__(self) -> None:
        torch.nn.Module.__init__(self)

    def forward(self, images: Tensor) -> Tensor:
        return torch.stack([torch.full_like(images[:, 0], 0.5), images[:, 0]], 1)


def _drawn(masks: np.ndarray, truth: np.ndarray, *, subjects: list[str], slices: list[int], **options: Any) -> ImageSet:
    """Return images on which `_Bright` draws ``masks`` and whose own masks are ``truth``: (n, h, w) each."""
    pixels = np.stack([np.where(masks, 200, 100), np.where(truth, 51, 0)], 1).astype(np.uint8)
    pixels[:, 0, 0] = 0  # background
    rows = [ImageRow(f"{s}-{z}", s, z) for s, z in zip(subjects, slices, strict=True)]
    return from_arrays(pixels, rows, channels=("FLAIR", "mask"), **options)


def test_slices_are_stacked_by_number_whatever_their_order_in_the_set() -> None:
    random = np.random.default_rng(0)
    truth, drawn = random.random((2, 6, 12, 12)) < 0.3
    drawn[:, 0] = False
    order = [4, 1, 5, 0, 3, 2]
    images = _drawn(drawn[order], truth[order], subjects=["a"] * 6, slices=order, voxel_size=(1.0, 2.0, 5.0))
    (score,) = score_subjects(_Bright(), images, reader_of(images), CPU)
    assert score.dice == pytest.approx(2 * (drawn & truth).sum() / (drawn.sum() + truth.sum()))
    one, two = (torch.from_numpy(mask)[None, None].float() for mask in (drawn, truth))
    for found, percentile in ((score.hausdorff, None), (score.hausdorff_95, 95)):
        theirs = compute_hausdorff_distance(one, two, include_background=True, percentile=percentile, spacing=[5, 1, 2])
        assert found == pytest.approx(float(theirs[0, 0]), rel=1e-5)


def test_a_slice_that_was_not_kept_leaves_its_gap_in_millimetres() -> None:
    masks = np.zeros((3, 12, 12), bool)
    drawn, truth = masks.copy(), masks.copy()
    drawn[0, 5, 5] = truth[2, 5, 5] = True
    images = _drawn(drawn, truth, subjects=["a"] * 3, slices=[10, 11, 14], voxel_size=(1.0, 1.0, 3.0))
    (score,) = score_subjects(_Bright(), images, reader_of(images), CPU)
    assert score.hausdorff == pytest.approx(4 * 3)


@pytest.mark.parametrize(
    ("numbers", "places"),
    [([7, 8, 9], [0, 1, 2]), ([7, 9], [0, 2]), ([0, 0, 0], [0, 1, 2]), ([1, 100000], [0, 1]), ([5], [0])],
)
def test_numbers_that_are_no_places_are_not_taken_for_places(numbers: list[int], places: list[int]) -> None:
    assert places_of(numbers).tolist() == places


@given(st.lists(st.integers(-(10**9), 10**9), min_size=1, max_size=30, unique=True).map(sorted))
def test_every_slice_finds_a_place_of_its_own_in_a_small_volume(numbers: list[int]) -> None:
    places = places_of(numbers)
    assert len(set(places.tolist())) == len(numbers)
    assert places.min() == 0
    assert places.max() < 4 * len(numbers)
    slices = np.arange(1, len(numbers) + 1, dtype=np.uint8)[:, None, None]
    assert np.array_equal(stacked(slices, places)[places], slices)


def test_each_subject_is_one_volume() -> None:
    truth = np.zeros((4, 12, 12), bool)
    truth[:, 4:8, 4:8] = True
    drawn = truth.copy()
    drawn[2:, 4:8, 6:8] = False
    images = _drawn(drawn, truth, subjects=["b", "b", "a", "a"], slices=[0, 1, 0, 1])
    scores = score_subjects(_Bright(), images, reader_of(images), CPU)
    assert [(s.subject, s.dice) for s in scores] == [("a", pytest.approx(2 / 3)), ("b", 1.0)]
    assert [(s.truth_voxels, s.predicted_voxels) for s in scores] == [(32, 16), (32, 32)]


def test_two_volumes_of_a_subject_are_not_shuffled_into_each_other() -> None:
    truth = np.zeros((4, 12, 12), bool)
    truth[:2, 4:8, 4:8] = True
    rows = [ImageRow(f"{i}", "a", i % 2, f"visit{i // 2}") for i in (0, 2, 1, 3)]
    pixels = np.stack([np.where(truth, 200, 100), np.where(truth, 51, 0)], 1).astype(np.uint8)[[0, 2, 1, 3]]
    images = from_arrays(pixels, rows, channels=("FLAIR", "mask"))
    ((_, order),) = subjects_of(Source(images, np.arange(4)))
    assert [images.rows[i].image_id for i in order] == ["0", "1", "2", "3"]


def test_empty_regions_are_named_and_never_dropped() -> None:
    truth, drawn = np.zeros((2, 2, 4, 4), np.uint8)
    truth[0, :2] = 1  # NCR, missed
    drawn[1, 2:] = 2  # ED, predicted though it is not there
    found = {score.region: score for score in score_volume(drawn, truth, TUMOUR, "a", (1, 1, 1))}
    assert list(found) == ["NCR", "ED", "ET", "WT", "TC"]
    assert (found["NCR"].state, found["NCR"].dice, found["NCR"].hausdorff) == ("missed", 0, None)
    assert (found["ED"].state, found["ED"].dice, found["ED"].hausdorff_95) == ("only predicted", 0, None)
    assert (found["ET"].state, found["ET"].dice, found["ET"].hausdorff) == ("absent", None, None)
    assert (found["WT"].state, found["WT"].dice) == ("scored", 0)
    assert found["WT"].hausdorff is not None


def test_a_network_at_another_size_is_scored_at_the_size_of_the_test_images() -> None:
    truth = np.zeros((2, 32, 32), bool)
    truth[:, 8:24, 8:24] = True
    images = _drawn(truth, truth, subjects=["a", "a"], slices=[0, 1])
    reader = reader_of(images)
    (score,) = score_subjects(_Bright(), images, Reader(reader.contrasts, (16, 16), reader.labels), CPU)
    assert score.truth_voxels == 2 * 256
    assert score.dice is not None
    assert score.dice > 0.85


def test_validation_by_subject_and_by_image_are_different_means() -> None:
    truth = np.zeros((3, 12, 12), bool)
    truth[0, 2:10, 2:10] = truth[1, 5, 5] = truth[2, 5:7, 5] = True
    drawn = truth.copy()
    drawn[1] = False
    drawn[1, 9, 9] = True
    images = _drawn(drawn, truth, subjects=["a", "a", "b"], slices=[0, 1, 0])
    source = Source(images, np.arange(3))
    by_image = validation_dice(_Bright(), source, by_subject=False, reader=reader_of(images), device=CPU)
    by_subject = validation_dice(_Bright(), source, by_subject=True, reader=reader_of(images), device=CPU)
    assert by_image == pytest.approx((1 + 0 + 1) / 3)
    assert by_subject == pytest.approx((2 * 64 / 130 + 1) / 2)


def test_images_that_show_no_label_cannot_choose_a_checkpoint() -> None:
    empty = np.zeros((2, 12, 12), bool)
    images = _drawn(empty, empty, subjects=["a", "b"], slices=[0, 0])
    reader = reader_of(tumours())
    reader = Reader(("FLAIR",), (12, 12), reader.labels)
    with pytest.raises(SegmentationError, match="show none of the labels"):
        validation_dice(_Bright(), Source(images, np.arange(2)), by_subject=True, reader=reader, device=CPU)


def test_means_leave_out_what_is_unknown() -> None:
    nan = float("nan")
    assert mean_of(np.array([[0.5, nan, nan], [0.7, 0.2, nan]])) == pytest.approx((0.6 + 0.2) / 2)
    assert np.isnan(mean_of(np.array([[nan]])))


@pytest.mark.parametrize(
    ("test", "said"),
    [
        (tumours(levels=(51, 102)), "levels 102; learnt were"),
        (tumours(channels=("T1", "mask")), "lack the contrasts FLAIR"),
        (tumours(subjects=False), "have no subject"),
        (tumours(channels=("FLAIR", "T1")), "no mask"),
    ],
)
def test_test_sets_that_cannot_be_scored_are_refused(test: ImageSet, said: str) -> None:
    if test.rows[0].subject == "":
        test = from_arrays(test.pixels, [ImageRow(r.image_id) for r in test.rows], channels=test.channels)
    with pytest.raises(SegmentationError, match=said):
        score_subjects(_Bright(), test, reader_of(tumours()), CPU)


def test_the_table_has_a_line_per_training_subject_and_region(tmp_path: Path) -> None:
    masks = np.zeros((1, 4, 4), np.uint8)
    scores = score_volume(masks, masks, TUMOUR, 'a, "quoted"\n=SUM(A1)', (1, 1, 1))
    write_table(tmp_path / "t.csv", [("real", 3, score) for score in scores])
    with (tmp_path / "t.csv").open(newline="") as file:
        lines = list(csv.DictReader(file))
    assert len(lines) == 5
    assert lines[0]["subject"] == 'a, "quoted"\n=SUM(A1)'
    assert (lines[0]["trained_on"], lines[0]["seed"], lines[0]["dice"], lines[0]["state"]) == (
        "real",
        "3",
        "",
        "absent",
    )
