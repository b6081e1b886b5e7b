"""Exposure per train subject: counts by hand, Holm, and what strangers make unremarkable."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import betabinom

from synthrelease.privacy.exposure import exposure, holm


def exposed(
    *, synthetic_best, scores=None, holdout_best=(), holdout_subjects=(), train="aaabbbccc", flag=0.8, alarm=0.9
):
    return exposure(
        train_subjects=list(train),
        synthetic_best=list(synthetic_best),
        synthetic_scores=np.full(len(synthetic_best), 0.5) if scores is None else np.array(scores),
        holdout_best=list(holdout_best),
        holdout_subjects=list(holdout_subjects),
        flag=flag,
        alarm=alarm,
    )


def test_the_worst_off_subject_comes_first_with_its_counts():
    rows = exposed(synthetic_best="abbbc", scores=[0.3, 0.95, 0.85, 0.4, 0.85])

    assert [row.subject for row in rows] == ["b", "c", "a"]
    assert (rows[0].alarms, rows[0].suspects, rows[0].highest_score, rows[0].images) == (1, 2, 0.95, 3)
    assert rows[0].share_of_hits == pytest.approx(0.6)
    assert (rows[2].alarms, rows[2].suspects) == (0, 0)


def test_a_score_at_a_threshold_is_not_above_it():
    row = exposed(synthetic_best="a", scores=[0.9])[0]

    assert (row.alarms, row.suspects) == (0, 1)


def test_without_a_holdout_there_is_no_test_and_the_share_of_images_is_expected():
    rows = exposed(synthetic_best="aab", train="aaab", flag=np.inf, alarm=np.inf)

    assert {row.subject: row.expected_share for row in rows} == {"a": 0.75, "b": 0.25}
    assert all(row.p_value is None and row.suspects == 0 for row in rows)


def test_the_expected_share_weighs_each_holdout_subject_the_same():
    rows = exposed(synthetic_best="a", holdout_best="aaab", holdout_subjects="1112")

    assert {row.subject: row.expected_share for row in rows} == {"a": 0.5, "b": 0.5, "c": 0.0}


def test_the_p_value_is_the_beta_binomial_tail_times_holm():
    strangers = [str(i) for i in range(20)]
    rows = exposed(synthetic_best="a" * 30 + "b" * 5 + "c" * 5, holdout_best="bc" * 10, holdout_subjects=strangers)
    first = next(row for row in rows if row.subject == "a")

    # One image per stranger, so every synthetic image is a cluster; prior of one stranger, a third of it for `a`.
    assert first.p_value == pytest.approx(3 * betabinom.sf(29, 40, 1 / 3, 2 / 3 + 20))
    assert first.p_value < 0.001


def test_few_strangers_make_the_same_hits_unremarkable():
    many = exposed(synthetic_best="a" * 8 + "bc" * 8, holdout_best="bc" * 30, holdout_subjects=range(60))
    few = exposed(synthetic_best="a" * 8 + "bc" * 8, holdout_best="bc", holdout_subjects=range(2))
    p = [next(row.p_value for row in rows if row.subject == "a") for rows in (many, few)]

    assert p[0] < 0.01
    assert p[1] > 0.1


def test_a_head_that_strangers_resemble_as_often_is_not_exposed():
    rows = exposed(synthetic_best="a" * 80 + "b" * 20, holdout_best="aaaab" * 8, holdout_subjects=range(40))

    assert min(row.p_value for row in rows) > 0.2


def test_a_subject_that_nothing_resembles_has_score_zero_and_p_one():
    last = exposed(synthetic_best="aab", holdout_best="abc", holdout_subjects="123")[-1]

    assert (last.subject, last.highest_score, last.share_of_hits, last.p_value) == ("c", 0.0, 0.0, 1.0)


def test_one_train_subject_cannot_stand_out():
    assert exposed(synthetic_best="aa", train="aaa", holdout_best="aa", holdout_subjects="12")[0].p_value == 1.0


def test_a_match_outside_train_is_refused():
    with pytest.raises(ValueError, match="z"):
        exposed(synthetic_best="az")


def test_holm_multiplies_by_what_is_left_and_never_falls():
    assert holm(np.array([0.04, 0.01, 0.03])) == pytest.approx([0.06, 0.03, 0.06])
    assert holm(np.array([0.9, 0.8])) == pytest.approx([1.0, 1.0])
    assert len(holm(np.array([]))) == 0
