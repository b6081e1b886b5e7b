"""What a pair is stays hidden until everything is read; then the last page opens it."""

from __future__ import annotations

import re

import pytest
from review_helpers import (
    CHANNELS,
    DUE,
    KINDS,
    Browser,
    browser,
    make_evidence,
    pair_id,
    pair_info,
    write_pixels,
)

from synthrelease.decision.folder import Evidence


@pytest.fixture
def evidence(tmp_path) -> Evidence:
    return make_evidence(tmp_path)


@pytest.fixture
def ada(evidence) -> Browser:
    return browser(evidence)


def test_what_a_pair_is_changes_no_byte_of_any_page_before_all_is_read(tmp_path):
    told = make_evidence(tmp_path / "a")
    suspect = {"kind": "suspect", "above_alarm": True, "exact": False, "score": 0.9}
    order = [pair_info(name, **({} if name.startswith("part") else suspect)) for name in DUE]
    rest = [pair_info(name) for name in KINDS if name not in DUE]
    untold = make_evidence(tmp_path / "b", [*order, *rest])
    for number, name in enumerate(KINDS):  # the same pixels under both
        for evidence in (told, untold):
            write_pixels(evidence.folder, pair_info(name), number)
    first, second = browser(told), browser(untold)

    for name in DUE[:-1]:
        for path in (f"/pair/{pair_id(name)}", "/", "/summary", "/read"):
            assert shown(first, path) == shown(second, path)
        assert first.get(f"/picture/{pair_id(name)}.png").data == second.get(f"/picture/{pair_id(name)}.png").data
        for answer, reason in (("not a copy", ""), ("unsure", ""), ("not a copy", "why"), ("copy", "")):
            assert page(first.answer(name, answer, reason)) == page(second.answer(name, answer, reason))
    assert first.desk.standing().unread("Ada Reader"), "nobody was through"


def shown(reader: Browser, path: str) -> tuple[int, str, str | None]:
    return page(reader.get(path))


def page(response) -> tuple[int, str, str | None]:
    """Return what a reader gets, without the secret of the session and the place of the evidence."""
    text = re.sub(r'name="form_token" value="[^"]+"', "", response.text)
    return response.status_code, text, response.headers.get("Location")


def test_no_page_before_the_end_tells_names_scores_or_kinds(evidence, ada):
    hidden = {"planted", "0.771", "0.2345", "0.234", "made/", "real/", "held/", "patient ", "above alarm"}
    for name in DUE[:-1]:
        ada.answer(name, "copy")
    pages = "".join(ada.get(path).text for path in ("/", "/summary", *(f"/pair/{pair_id(name)}" for name in KINDS)))

    assert not [word for word in hidden if word in pages.replace("patients' images", "")]


def test_every_picture_of_a_whole_image_has_the_same_size_and_description(evidence, ada):
    whole = [name for name in KINDS if not name.startswith("part")]
    pictures = [ada.get(f"/picture/{pair_id(name)}.png").data for name in whole]
    pages = [ada.get(f"/pair/{pair_id(name)}").text for name in whole]
    descriptions = {re.sub(r"[0-9a-f]{12}", "", re.findall("<img [^>]+>", page)[0]) for page in pages}

    assert len({picture[16:24] for picture in pictures}) == 1, "width and height stand in bytes 16 to 24"
    assert len(descriptions) == 1
    assert all(name in descriptions.pop() for name in CHANNELS[:1])


def test_the_picture_shows_every_contrast_and_changes_with_the_pixels(evidence, ada):
    before = ada.get(f"/picture/{pair_id('suspect a')}.png").data
    path = evidence.folder / "pairs" / f"{pair_id('suspect a')}.npz"
    write_pixels(evidence.folder, pair_info("suspect a"), seed=77)
    assert path.is_file()

    assert before.startswith(b"\x89PNG")
    assert before != ada.get(f"/picture/{pair_id('suspect a')}.png").data


# --- the end ----------------------------------------------------------------------------------------------------------


def test_the_last_page_says_what_was_read_how_well_and_what_comes_next(evidence, ada):
    ada.answer_all()

    page = " ".join(ada.get("/summary").text.split())

    assert "You have read every pair" in page
    assert "<dt>Alarms of the audit that are read</dt><dd>3 of 3</dd>" in page
    assert "<dt>Known copies recognised</dt><dd>2 of 2</dd>" in page
    assert "<dt>Known strangers recognised</dt><dd>1 of 1</dd>" in page
    assert f"synthrelease decide {evidence.folder} --policy controlled" in page
    assert "made/suspect_a.png" in page
    assert "known: stranger" in page
    assert "Have a second person read" not in page
    assert "That costs images" not in page


def test_a_reader_who_misses_known_copies_is_told_so(ada):
    ada.answer_all(truth=False)

    page = ada.get("/summary").text

    assert "0 of 2" in page
    assert "Have a second person read" in page
    assert "That costs images, not privacy" in page


def test_unsure_answers_stay_open_alarms(ada):
    ada.answer_all()
    ada.answer("part a", "unsure", "too small to tell")

    page = ada.get("/summary").text

    assert "2 of 3" in page
    assert "1 alarm is still open" in page


def test_the_results_are_opened_to_the_reader_who_is_through_alone(evidence, ada):
    ada.answer_all()

    assert "known: stranger" in ada.get("/summary").text
    assert "made/" not in browser(evidence, "Ben").get("/summary").text


def test_the_button_ends_the_review(ada):
    assert ada.get("/finish").status_code == 405
    assert ada.post("/finish").status_code == 200
    assert ada.ended == [True]


def test_single_keys_can_be_turned_off(ada):
    assert "keys.js" in ada.get("/").text
    ada.post("/keys")
    assert "keys.js" not in ada.get("/").text


def test_an_audit_without_alarms_has_nothing_to_read(tmp_path):
    evidence = make_evidence(tmp_path, [pair_info("closest a")])
    reader = browser(evidence)

    assert "nothing has to be read" in reader.get("/").text.lower()
    assert reader.get("/read").headers["Location"] == "/summary"
    assert "Nothing has to be read" in reader.get("/summary").text
    assert "0 of 0" in reader.get("/summary").text
