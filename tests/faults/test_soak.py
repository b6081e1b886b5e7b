"""Many readers at once: no answer is lost, memory stays, and an answer costs no more when many were given before."""

from __future__ import annotations

import time

import pytest
from review_helpers import make_evidence
from soak_review import soak

from synthrelease.decision import log, reading
from synthrelease.review.desk import Desk, Standing


def test_twenty_readers_at_once_lose_nothing_and_leak_nothing(tmp_path):
    found = soak(tmp_path, clients=20, seconds=4, pause=0.2)

    assert found.answers > 40
    assert found.passed, found


@pytest.mark.slow
def test_fifty_readers_for_five_minutes_lose_nothing_and_leak_nothing(tmp_path):
    found = soak(tmp_path, clients=50, seconds=300, pause=1)

    assert found.answers > 3000
    assert found.passed, found


def test_a_line_that_was_checked_is_not_parsed_again_at_every_answer(tmp_path, monkeypatch):
    """Checking the whole log at every answer made thousands of answers cost the square of their number."""
    parsed = []
    real = log._entry
    monkeypatch.setattr(log, "_entry", lambda line: parsed.append(line) or real(line))

    begun = time.process_time()
    for number in range(300):
        log.append(tmp_path, "pair", by=f"reader {number}")
        log.read(tmp_path)

    assert len(parsed) == 300, f"{time.process_time() - begun:.1f} s"
    assert [entry.number for entry in log.read(tmp_path)] == list(range(1, 301))


def test_what_was_said_before_is_not_gone_through_again_at_every_answer(tmp_path, monkeypatch):
    evidence = make_evidence(tmp_path)
    desk = Desk(evidence)
    pair = evidence.pairs()[0]
    looked = []
    real = reading.pair_entries
    monkeypatch.setattr(
        reading, "pair_entries", lambda pairs, entries: looked.append(len(entries)) or real(pairs, entries)
    )

    for number in range(50):
        desk.answer(pair, "copy", by=f"reader {number}", role="", reason="")
        assert len(desk.standing().said[pair.pair_id]) == number + 1

    assert sum(looked) == 50
    assert Standing(desk.standing().pairs, desk.standing().entries).said == desk.standing().said
