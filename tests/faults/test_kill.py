"""Commands that are killed leave nothing half done, and give the unbroken run's answer when they are run again."""

from __future__ import annotations

import random

import pytest
from fault_helpers import chunk_of, flip_pixel
from kill_harness import NAMES, differences, kills
from review_clients import killed_review
from same import half_there
from segmentation_helpers import stored, tumours


def test_preparing_killed_four_times_gives_the_unbroken_sets(tmp_path):
    found = list(kills(tmp_path, names=["prepare"], count=4, seed=5))

    assert [kill.faults for kill in found] == [()] * 4
    assert any(kill.killed for kill in found)


@pytest.mark.parametrize("seed", [1, 2])
def test_a_review_server_that_is_killed_has_lost_no_answer_that_it_acknowledged(seed, tmp_path):
    where, faults = killed_review(tmp_path, random.Random(seed))

    assert faults == (), where


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_every_verb_killed_five_times_gives_the_unbroken_result(name, tmp_path):
    found = list(kills(tmp_path, names=[name], count=5, seed=11))

    assert [(kill.where, kill.faults) for kill in found if kill.faults] == []


# --- the harness itself: a check that cannot fail shows nothing -------------------------------------------------------


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (lambda root: (root / "record.json").write_text('{"half'), "record.json"),
        (lambda root: (root / "table.csv").write_text("a,b\n1,2\n3"), "table.csv"),
        (lambda root: (root / "report.html").write_text("<html><p>half"), "report.html"),
        (lambda root: (root / "search-0123456789abcdef").mkdir(), "without its seal"),
        (lambda root: (root / "set" / "set.json").unlink(), "cannot be opened"),
        (lambda root: (root / "set" / "index.csv").write_text("image_id,subject\n"), "set"),
        (lambda root: chunk_of(root / "set").unlink(), "set"),
        (lambda root: flip_pixel(root / "set"), "set"),
    ],
)
def test_the_harness_sees_what_is_half_there(spoil, said, tmp_path):
    stored(tmp_path / "set", tumours(4))
    assert half_there(tmp_path) == []

    spoil(tmp_path)

    assert said in " ".join(half_there(tmp_path))


def test_the_harness_sees_every_difference():
    one = {"a.json": {"x": 1}, "b.csv": b"1", "log/scalars.jsonl": [{"step": 1, "loss": 2.0}]}

    assert list(differences(one, dict(one))) == []
    assert list(differences(one, {**one, "a.json": {"x": 2}})) == ["a.json differs"]
    assert list(differences(one, {name: one[name] for name in ("a.json", "b.csv")})) == ["log/scalars.jsonl is missing"]
    assert list(differences(one, {**one, "c": b""})) == ["c is too much"]
    assert list(differences(one, {**one, "log/scalars.jsonl": []})) == ["log/scalars.jsonl differs"]
