"""Which answer holds for a pair, and how well the planted pairs were read."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from review_helpers import DUE, KINDS, pair_id, pair_info

from synthrelease.decision import log, reading
from synthrelease.errors import IntegrityError
from synthrelease.release_records import Entry, PairAnswer, PairInfo

PAIRS = tuple(pair_info(name) for name in KINDS)


def entries(*said: tuple[str, str, str]) -> list[Entry]:
    """Return log entries from (reader, pair, answer)."""
    return [_entry(number, *item) for number, item in enumerate(said, start=1)]


def _entry(number: int, by: str, name: str, answer: str) -> Entry:
    info = pair_info(name)
    given = PairAnswer.model_validate(
        {"pair_id": info.pair_id, "image_id": info.image_id, "answer": answer, "planted": reading.is_planted(info)}
    )
    return Entry(
        number=number, time=log.now(), action="pair", by=by, data=given.model_dump(), previous=log.FIRST, sha256=""
    )


def holding(name: str, said: Sequence[Entry]) -> str | None:
    return reading.answers(PAIRS, said).get(pair_id(name))


def test_nobody_has_said_anything_about_a_fresh_audit():
    found = reading.summarise(PAIRS, [])

    assert (found.to_read, found.read, found.readers) == (3, 0, 0)
    assert reading.answers(PAIRS, []) == {}


def test_a_readers_later_answer_replaces_the_earlier_one():
    said = entries(("Ada", "suspect a", "copy"), ("Ada", "suspect a", "not a copy"))

    assert holding("suspect a", said) == "not a copy"


@pytest.mark.parametrize(
    ("first", "second", "holds"),
    [
        ("copy", "not a copy", "copy"),
        ("not a copy", "copy", "copy"),
        ("unsure", "copy", "copy"),
        ("not a copy", "unsure", "unsure"),
        ("unsure", "not a copy", "unsure"),
        ("not a copy", "not a copy", "not a copy"),
    ],
)
def test_where_readers_differ_the_cautious_answer_holds(first, second, holds):
    said = entries(("Ada", "suspect a", first), ("Ben", "suspect a", second))

    assert holding("suspect a", said) == holds
    assert reading.summarise(PAIRS, said).read == (holds != "unsure")


def test_a_name_written_with_other_capitals_and_spaces_is_the_same_reader():
    said = entries(("Ada Reader", "suspect a", "copy"), ("  ada   READER ", "suspect a", "not a copy"))

    assert holding("suspect a", said) == "not a copy"
    assert reading.summarise(PAIRS, said).readers == 1


def test_only_alarms_and_exact_copies_must_be_read():
    must = {name for name in KINDS if reading.must_be_read(pair_info(name))}

    assert must == {"suspect a", "suspect b", "part a"}
    assert reading.must_be_read(pair_info("below a", exact=True))


def test_planted_pairs_are_never_counted_as_copies_found():
    said = entries(("Ada", "copy a", "copy"), ("Ada", "stranger a", "not a copy"), ("Ada", "below a", "unsure"))

    found = reading.summarise(PAIRS, said)

    assert (found.copies, found.not_copies, found.unsure, found.read) == (0, 0, 1, 0)
    assert (found.planted_copies, found.planted_copies_recognised) == (1, 1)
    assert (found.planted_strangers, found.planted_strangers_recognised) == (1, 1)


def test_a_second_reader_makes_up_for_a_copy_that_the_first_missed():
    said = entries(("Ada", "copy a", "not a copy"), ("Ben", "copy a", "copy"))

    assert reading.summarise(PAIRS, said[:1]).planted_copies_recognised == 0
    assert reading.summarise(PAIRS, said).planted_copies_recognised == 1


def test_changing_a_planted_pair_counts_until_every_due_pair_is_answered():
    slip = entries(("Ada", "copy a", "not a copy"), ("Ada", "copy a", "copy"))

    assert reading.summarise(PAIRS, slip).planted_copies_recognised == 1


def test_changing_a_planted_pair_after_the_results_were_shown_does_not_count():
    said = [("Ada", name, "not a copy") for name in DUE]
    said += [("Ada", "copy a", "copy"), ("Ada", "suspect a", "copy")]

    found = reading.summarise(PAIRS, entries(*said))

    assert found.planted_copies_recognised == 0
    assert found.copies == 1  # on real pairs a second thought counts


def test_answers_on_pairs_that_an_audit_no_longer_holds_are_left_out():
    said = entries(("Ada", "suspect a", "copy"))

    assert reading.answers(PAIRS[1:], said) == {}
    other_image: PairInfo = PAIRS[0].model_copy(update={"image_id": "made/other.png"})
    assert reading.answers((other_image,), said) == {}


def test_a_pair_entry_without_an_answer_is_an_integrity_failure():
    broken = entries(("Ada", "suspect a", "copy"))[0].model_copy(update={"data": {"pair_id": pair_id("suspect a")}})

    with pytest.raises(IntegrityError, match="Entry 1"):
        reading.summarise(PAIRS, [broken])
