"""The same decision again: told once where nothing happened in between, told again where something did."""

from __future__ import annotations

import pytest
from decision_helpers import alarm, decided, pair_of, say, with_alarms, write_evidence

from synthrelease.decision import log
from synthrelease.decision.folder import DECISION, Evidence


def told(evidence: Evidence) -> list[str]:
    return [entry.action for entry in log.read(evidence.folder)]


def test_the_same_decision_is_told_once_whenever_it_is_made_again(tmp_path, monkeypatch):
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "1700000000")
    evidence = write_evidence(tmp_path)
    first = decided(evidence, "controlled")
    before = told(evidence)
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "1700086400")

    again = decided(evidence, "controlled")

    assert before[-1] == "decide"
    assert told(evidence) == before
    assert again == first


@pytest.mark.parametrize("what", ["another policy", "a reader", "an author", "an edit", "a decision that is gone"])
def test_whatever_happened_in_between_makes_a_decision_of_its_own(what, tmp_path):
    found = alarm(0)
    evidence = write_evidence(tmp_path, with_alarms(found))
    decided(evidence, "controlled")
    before = told(evidence).count("decide")
    file = evidence.folder / DECISION
    if what == "a reader":
        say(evidence, pair_of(found), "not a copy")
    if what == "an edit":
        file.write_text(file.read_text().replace('"controlled"', '"public"'))
    if what == "a decision that is gone":
        file.unlink()

    again = decided(
        evidence,
        "public" if what == "another policy" else "controlled",
        **({"generator_authors": ["A. Maker"]} if what == "an author" else {}),
    )

    assert told(evidence).count("decide") == before + 1
    assert evidence.decision() == again
