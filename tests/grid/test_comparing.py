"""Ranks, associations and sweeps from records: what is compared, with what beside it, and what is left out."""

from __future__ import annotations

import numpy as np
import pytest
from study_sample import FID, GENERATORS, REACHED, about, made, useful, whole_grid

from synthrelease.grid.comparing import compared, higher_is_better
from synthrelease.grid.published import published_ranks, published_rows
from synthrelease.release_records import Measurement
from synthrelease.study_records import Interval

ALONE = [useful(), *(useful(name, "synthetic") for name in GENERATORS)]
MADE = [made(name) for name in GENERATORS]


def _ranking(rankings, measure, **fields):
    found = [r for r in rankings if r.measure == measure and all(getattr(r, k) == v for k, v in fields.items())]
    assert len(found) == 1
    return found[0]


def test_generators_are_ranked_by_dice_and_by_distance():
    rankings, _, _ = compared(ALONE, MADE)

    order = {"diffusion": 1, "stylegan2": 2, "stylegan3": 3, "progan": 4, "stylegan1": 5}
    assert _ranking(rankings, "dice").ranks == order
    assert _ranking(rankings, "hausdorff").ranks == order
    assert not _ranking(rankings, "hausdorff").higher_is_better
    assert _ranking(rankings, "hausdorff_95").train_on == "synthetic"


def test_quality_is_ranked_by_the_direction_of_the_metric_table():
    rankings, _, _ = compared([], MADE)

    assert _ranking(rankings, "fid (t1, t1ce, t2)").ranks["stylegan2"] == 1  # the lowest
    assert _ranking(rankings, "is (t1, t1ce, t2)").ranks["diffusion"] == 1  # the highest
    assert _ranking(rankings, "near_copies").ranks["diffusion"] == 5  # the most copies


def test_measures_without_a_direction_or_a_value_are_not_ranked():
    rankings, _, _ = compared([], MADE)

    assert {r.measure for r in rankings} == {"fid (t1, t1ce, t2)", "is (t1, t1ce, t2)", "near_copies"}


@pytest.mark.parametrize(
    ("name", "metric", "better"),
    [
        ("mifid_x", "memorization_informed_frechet_distance", False),
        ("fld_x", "feature_likelihood_divergence", False),
        ("fld_gap_x", "feature_likelihood_divergence", None),
        ("mask_off_level", "mask_off_level", False),
        ("mean_similarity", "mean_similarity", None),
        ("coverage_x", "precision_recall_density_coverage", True),
        ("new", "of tomorrow", None),
    ],
)
def test_a_direction_is_known_or_said_to_be_unknown(name, metric, better):
    assert higher_is_better(Measurement(name=name, metric=metric, value=1.0)) is better


def test_one_generator_has_no_rank():
    rankings, _, _ = compared([useful(), useful("diffusion", "synthetic")], [made("diffusion")])

    assert rankings == ()


def test_a_generator_without_a_score_has_no_rank_but_the_others_do():
    unknown = useful("progan", "synthetic", regions=())
    rankings, _, _ = compared([*ALONE[2:], unknown], [])

    assert set(_ranking(rankings, "dice").ranks) == set(GENERATORS) - {"progan"}


def test_data_sets_segmenters_arms_and_augmentation_are_ranked_apart():
    usefulness, generated, draws = whole_grid()
    rankings, _, _ = compared(usefulness, generated, draws)

    dice = [r for r in rankings if r.measure == "dice"]
    assert len({(r.data, r.segmenter, r.augmented, r.train_on) for r in dice}) == len(dice) == 16


def test_trainings_on_part_of_the_real_subjects_are_no_part_of_ranks():
    part = useful("stylegan1", "both", dice=0.99, real_fraction=0.1, real_subjects=31)
    full = [useful(name, "both") for name in GENERATORS]
    rankings, _, _ = compared([*full, part], [])

    assert _ranking(rankings, "dice").ranks["stylegan1"] == 5


def test_ranks_have_intervals_where_every_generator_has_draws():
    usefulness, _, draws = whole_grid()
    rankings, _, _ = compared(usefulness, [], draws)
    where = {"data": "brats2020", "segmenter": "unet", "augmented": False, "train_on": "synthetic"}
    clear = _ranking(rankings, "dice", **where)
    del draws["brats2020", "diffusion", "unet", False, "synthetic"]
    rankings, _, _ = compared(usefulness, [], draws)

    assert (clear.low["stylegan1"], clear.high["stylegan1"]) == (5, 5)
    assert _ranking(rankings, "dice", **where).low == {}
    assert all(r.low == {} for r in rankings if r.measure != "dice")


def test_draws_that_differ_in_number_give_no_interval():
    draws = {("brats2020", n, "unet", False, "synthetic"): np.arange(10.0 + (n == "progan")) for n in GENERATORS}
    rankings, _, _ = compared(ALONE, [], draws)

    assert _ranking(rankings, "dice").low == {}


def test_published_ranks_stand_beside_the_same_question_alone():
    rankings, _, _ = compared(ALONE, MADE, {}, {"brats2020": "2020"})

    dice = _ranking(rankings, "dice")
    assert dice.published == {"diffusion": 1, "stylegan3": 2, "stylegan2": 3, "progan": 4, "stylegan1": 5}
    assert (dice.published_year, "does not say" in dice.published_source) == ("2020", True)
    assert _ranking(rankings, "fid (t1, t1ce, t2)").published["stylegan2"] == 5
    assert _ranking(rankings, "hausdorff_95").published == {}  # the study used the maximum
    assert _ranking(rankings, "near_copies").published == {}


def test_other_features_and_other_data_have_nothing_published_beside():
    other = [
        item.model_copy(update={"quality": (item.quality[0].model_copy(update={"name": "fid_radimagenet"}),)})
        for item in MADE
    ]
    rankings, _, _ = compared([], other, {}, {"brats2020": "2020"})
    without, _, _ = compared(ALONE, MADE)

    assert _ranking(rankings, "fid_radimagenet").published == {}
    assert all(r.published == {} and not r.published_year for r in without)


def test_the_published_tables_are_whole():
    rows = published_rows()

    assert len(rows) == len({(r.measure, r.year, r.segmenter, r.augmented) for r in rows}) == 20
    assert all(sorted(r.of.values()) == [1, 2, 3, 4, 5] and set(r.of) == set(GENERATORS) for r in rows)
    # The summary's own finding: diffusion is first in every row of segmentation.
    assert sum(r.of["diffusion"] == 1 for r in rows if r.segmenter) == 16
    assert published_ranks("hausdorff", "2021", segmenter="swin", augmented=False)["progan"] == 5
    assert published_ranks("dice", "2019", segmenter="unet", augmented=False) == {}


def test_quality_is_turned_so_that_more_is_better_and_held_against_usefulness():
    _, associations, _ = compared(ALONE, MADE)

    by = {(a.measure, a.against): a for a in associations}
    useful_name = "relative Dice of unet, without augmentation"
    fid = by["fid (t1, t1ce, t2)", useful_name]
    assert fid.count == 5
    assert ("brats2020 / progan", -FID["progan"], pytest.approx(REACHED["progan"])) in fid.points
    assert fid.spearman.value == pytest.approx(0.9)  # by hand: two neighbours are swapped
    assert by["is (t1, t1ce, t2)", useful_name].spearman.value == 1
    assert "no interval" in by["is (t1, t1ce, t2)", useful_name].note


def test_quality_and_usefulness_are_held_against_copying():
    _, associations, _ = compared(ALONE, MADE)

    measures = [a.measure for a in associations if a.against == "near-copy rate"]
    assert measures == ["fid (t1, t1ce, t2)", "is (t1, t1ce, t2)", "relative Dice of unet, without augmentation"]


def test_pooled_data_sets_are_said_to_be_pooled():
    usefulness, generated, _ = whole_grid()
    _, associations, _ = compared(usefulness, generated)

    assert all(a.count == 10 and "Pools 2 data sets" in a.note for a in associations)


def test_too_few_generators_give_no_correlation_but_a_reason():
    _, associations, _ = compared(ALONE[:3], MADE[:3])

    assert associations
    assert all(a.spearman.value is None and a.spearman_p is None and "Too few pairs" in a.note for a in associations)


def test_the_sweep_starts_at_synthetic_alone_and_ends_at_all_real_subjects():
    usefulness, _, _ = whole_grid()
    _, _, sweeps = compared(usefulness, [])

    by = {sweep.generator: sweep for sweep in sweeps}
    assert set(by) == {"real", "stylegan2", "diffusion"}
    assert [p.real_subjects for p in by["real"].points] == [16, 31, 63, 156, 313]
    assert [p.real_subjects for p in by["diffusion"].points] == [0, 16, 31, 63, 156, 313]
    assert by["diffusion"].points[0].real_fraction == 0
    assert by["diffusion"].points[0].dice.value == pytest.approx(0.71 * REACHED["diffusion"])
    assert by["real"].knee in (63, 156)


def test_without_a_part_of_the_real_subjects_there_is_no_sweep():
    assert compared(ALONE, MADE)[2] == ()


def test_a_sweep_of_three_points_or_of_unknown_ones_has_no_knee():
    few = [useful(dice=0.2 + share, real_fraction=share, real_subjects=round(313 * share)) for share in (0.1, 0.2)]
    blank = useful("progan", "both", real_fraction=0.1, real_subjects=31)
    blank = blank.model_copy(
        update={"regions": tuple(r.model_copy(update={"dice": Interval()}) for r in blank.regions)}
    )
    _, _, sweeps = compared([useful(), *few, blank], [])

    assert [sweep.knee for sweep in sweeps] == [None, None]


def test_nothing_finished_gives_nothing():
    assert compared([], []) == ((), (), ())


def test_a_training_without_a_reference_is_left_out_of_associations():
    bare = [useful(name, "synthetic", relative_dice=None) for name in GENERATORS]
    other = useful("progan", "both", relative_dice=about(1.0))
    _, associations, _ = compared([*bare, other], MADE)

    assert {a.against for a in associations} == {"near-copy rate"}
