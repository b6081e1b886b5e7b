"""Evidence that is damaged or was edited: named, and never shown as if it were whole."""

from __future__ import annotations

import numpy as np
import pytest
from review_helpers import (
    Browser,
    browser,
    make_evidence,
    pair_id,
    pair_info,
)

from synthrelease import store
from synthrelease.decision import log, reading
from synthrelease.decision.folder import Evidence, write_pairs
from synthrelease.errors import DecisionError, IntegrityError
from synthrelease.review.desk import in_reading_order


@pytest.fixture
def evidence(tmp_path) -> Evidence:
    return make_evidence(tmp_path)


@pytest.fixture
def ada(evidence) -> Browser:
    return browser(evidence)


def test_evidence_without_pairs_says_what_to_run(evidence):
    (evidence.folder / "pairs" / "index.json").unlink()

    with pytest.raises(DecisionError, match="no pairs to read"):
        in_reading_order(evidence)


@pytest.mark.parametrize("name", ["../../secret", "ABCDEF012345", "", "<script>"])
def test_an_index_with_other_ids_than_the_audit_writes_is_refused(evidence, name):
    write_pairs(evidence.folder, [pair_info("suspect a", pair_id=name)])

    with pytest.raises(IntegrityError, match=r"index\.json"):
        in_reading_order(evidence)


def test_an_index_that_names_a_pair_twice_is_refused(evidence):
    write_pairs(evidence.folder, [pair_info("suspect a"), pair_info("closest a", pair_id=pair_id("suspect a"))])

    with pytest.raises(IntegrityError, match="twice"):
        in_reading_order(evidence)


def test_an_index_that_is_no_index_is_an_integrity_failure(evidence):
    store.write_text(evidence.folder / "pairs" / "index.json", '{"pairs": [{"pair_id": 3}]}')

    with pytest.raises(IntegrityError, match=r"index\.json"):
        in_reading_order(evidence)


def test_a_log_that_was_edited_stops_the_review_with_its_reason(evidence, ada):
    ada.answer("suspect a", "not a copy")
    path = evidence.folder / log.NAME
    path.write_text(path.read_text().replace("not a copy", "copy      "))

    page = ada.get("/summary")

    assert page.status_code == 409
    assert "Line 1 of decisions.jsonl" in page.text
    assert ada.client.get("/pair/x", base_url="http://127.0.0.1:8123").status_code == 409


@pytest.mark.parametrize("damage", ["missing", "cut", "not zip", "pickle", "other shape"])
def test_damaged_pixels_are_named_and_the_review_goes_on(evidence, ada, damage):
    path = evidence.folder / "pairs" / f"{pair_id('suspect a')}.npz"
    match damage:
        case "missing":
            path.unlink()
        case "cut":
            path.write_bytes(path.read_bytes()[:500])
        case "not zip":
            path.write_bytes(b"not an archive")
        case "pickle":
            np.savez(path, synthetic=np.array([{}], object), train=np.array([{}], object))
        case "other shape":
            np.savez(path, synthetic=np.zeros((3, 8, 8), np.uint8), train=np.zeros((3, 9, 9), np.uint8))

    broken = ada.get(f"/picture/{pair_id('suspect a')}.png")

    assert broken.status_code == 409
    assert f"{pair_id('suspect a')}.npz" in broken.text
    assert ada.get(f"/picture/{pair_id('copy a')}.png").status_code == 200
    assert ada.answer("suspect a", "unsure", "no picture").status_code == 303


def test_answers_on_the_page_count_as_the_decision_reads_them(evidence, ada):
    ada.answer_all()

    found = reading.answers(evidence.pairs(), log.read(evidence.folder))

    assert found[pair_id("suspect b")] == "copy"
    assert found[pair_id("suspect a")] == "not a copy"
