"""Splits: by subject, complete, disjoint, repeatable, and never with an empty role."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from synthrelease.errors import SplitError
from synthrelease.scans.split import ROLES, by_fractions, by_lists

names = st.sets(st.text(min_size=1, max_size=6), min_size=3, max_size=60)
parts = st.tuples(*(st.integers(0, 100) for _ in ROLES)).filter(lambda p: sum(p) > 0)


def fractions(whole: tuple[int, int, int]) -> tuple[float, float, float]:
    return tuple(part / sum(whole) for part in whole)  # type: ignore[return-value]


@given(names, parts, st.integers(0, 5))
def test_every_subject_plays_one_role_and_every_wanted_role_is_filled(subjects, whole, seed):
    split = by_fractions(subjects, fractions(whole), seed)

    assert sorted(s for role in ROLES for s in split[role]) == sorted(subjects)
    for role, part in zip(ROLES, whole, strict=True):
        assert bool(split[role]) == (part > 0)
        if part:  # at most one subject from the exact share, unless a small role had to be filled
            assert abs(len(split[role]) - len(subjects) * part / sum(whole)) < 2


@given(names, st.integers(0, 5), st.randoms())
def test_the_order_of_subjects_does_not_matter(subjects, seed, random):
    shuffled = list(subjects)
    random.shuffle(shuffled)

    assert by_fractions(shuffled, (0.6, 0.2, 0.2), seed) == by_fractions(subjects, (0.6, 0.2, 0.2), seed)


def test_shares_are_exact_where_they_can_be_and_the_seed_changes_who_is_where():
    subjects = [f"s{i:03}" for i in range(100)]

    first, second = (by_fractions(subjects, (0.6, 0.2, 0.2), seed) for seed in (0, 1))

    assert [len(first[role]) for role in ROLES] == [60, 20, 20]
    assert first["train"] != second["train"]


def test_too_few_subjects_are_refused():
    with pytest.raises(SplitError, match="2 subjects cannot fill train, holdout, test"):
        by_fractions(["a", "b"], (0.6, 0.2, 0.2), 0)
    assert by_fractions(["a", "b"], (0.5, 0.5, 0), 0)["test"] == ()


def write(tmp_path, **lists):
    paths = {}
    for role, text in lists.items():
        paths[role] = tmp_path / f"{role}.txt"
        paths[role].write_text(text, encoding="utf-8")
    return paths


def test_lists_are_followed_and_the_unlisted_are_told(tmp_path):
    lists = write(tmp_path, train="\ufeff# mine\na\n\n  b \n", holdout="c\n")

    assert by_lists(["a", "b", "c", "d"], lists) == ({"train": ("a", "b"), "holdout": ("c",), "test": ()}, ("d",))


def test_all_problems_of_the_lists_are_named_at_once(tmp_path):
    lists = write(tmp_path, train="a\nb\n", holdout="b\nx\n", test="")

    with pytest.raises(SplitError) as caught:
        by_lists(["a", "b", "c"], {**lists})
    for words in ("'b' is in the train list and in the holdout list", "'x' in the holdout list is not", "names no"):
        assert words in caught.value.problem


def test_an_unreadable_list_is_named(tmp_path):
    with pytest.raises(SplitError, match="nowhere"):
        by_lists(["a"], {"train": tmp_path / "nowhere.txt"})
