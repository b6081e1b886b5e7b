"""The review page as a reader uses it: order, answers, reasons, progress, and what stays hidden until the end."""

from __future__ import annotations

import re
import threading

import pytest
from review_helpers import (
    DUE,
    KINDS,
    Browser,
    browser,
    make_evidence,
    outsider,
    pair_id,
    pair_info,
)

from synthrelease.decision import log
from synthrelease.decision.folder import Evidence, write_pairs
from synthrelease.review.desk import Desk, in_reading_order


@pytest.fixture
def evidence(tmp_path) -> Evidence:
    return make_evidence(tmp_path)


@pytest.fixture
def ada(evidence) -> Browser:
    return browser(evidence)


def said(evidence: Evidence) -> list[tuple[str, str, str]]:
    return [(entry.by, str(entry.data["answer"]), entry.reason) for entry in log.read(evidence.folder)]


def test_the_first_page_explains_copies_in_five_sentences_and_asks_who_reads(evidence):
    page = outsider(evidence).enter().get("/").text

    copies = re.search(r'<ol class="copy">(.*?)</ol>', page, re.S)
    assert copies
    assert copies.group(1).count("<li>") == 5
    assert 'name="name"' in page
    assert all(f"<kbd>{key}</kbd>" in page for key in ("1", "2", "3", "n", "p"))


def test_without_a_name_there_is_nothing_to_read(evidence):
    nobody = outsider(evidence).enter()

    for path in ("/read", "/summary", f"/pair/{pair_id('suspect a')}"):
        assert nobody.get(path).headers["Location"] == "/"
    assert nobody.answer("suspect a", "copy").headers["Location"] == "/"
    assert not said(evidence)


def test_pairs_are_read_in_the_audits_order_and_optional_ones_last(evidence, ada):
    pairs = list(reversed([pair_info(name) for name in KINDS]))
    write_pairs(evidence.folder, pairs)

    names = [pair.image_id.removeprefix("made/").removesuffix(".png") for pair in in_reading_order(evidence)]

    assert names[:6] == [name.replace(" ", "_") for name in reversed(DUE)]
    assert names[6:] == ["below_a", "closest_b", "closest_a"]


def test_an_answer_is_in_the_log_and_the_next_unread_pair_is_shown(evidence, ada):
    assert ada.get("/read").headers["Location"].endswith(pair_id("suspect a"))

    following = ada.answer("suspect a", "not a copy", "other ventricles")

    assert following.headers["Location"].endswith(pair_id("copy a"))
    (entry,) = log.read(evidence.folder)
    assert (entry.action, entry.by, entry.role, entry.reason) == (
        "pair",
        "Ada Reader",
        "radiologist",
        "other ventricles",
    )
    assert entry.data == {
        "pair_id": pair_id("suspect a"),
        "image_id": "made/suspect_a.png",
        "answer": "not a copy",
        "planted": False,
    }


def test_skipped_pairs_come_back_after_the_last_one(ada):
    assert ada.answer("part a", "copy").headers["Location"].endswith(pair_id("copy b"))
    assert ada.answer("copy b", "copy").headers["Location"].endswith(pair_id("suspect a"))


@pytest.mark.parametrize("answer", ["not a copy", "unsure"])
@pytest.mark.parametrize("name", DUE)
@pytest.mark.parametrize("reason", ["", "  \t\n "])
def test_what_speaks_against_the_alarm_needs_a_reason(evidence, ada, name, answer, reason):
    refused = ada.answer(name, answer, reason)

    assert refused.status_code == 400
    assert "give a reason" in refused.text
    assert f'value="{answer}" data-key' in refused.text
    assert re.search(rf'value="{answer}"[^>]* checked', refused.text), "what was chosen stays chosen"
    assert not said(evidence)


def test_a_copy_needs_no_reason_and_below_the_alarm_only_unsure_does(evidence, ada):
    assert ada.answer("suspect a", "copy", "").status_code == 303
    assert ada.answer("closest a", "not a copy", "").status_code == 303
    assert ada.answer("closest b", "unsure", "").status_code == 400
    assert [answer for _, answer, _ in said(evidence)] == ["copy", "not a copy"]


@pytest.mark.parametrize("answer", ["", "COPY", "safe", "copy\n"])
def test_an_answer_that_is_none_is_refused(evidence, ada, answer):
    assert ada.answer("suspect a", answer).status_code == 400
    assert not said(evidence)


def test_a_reason_has_an_end(evidence, ada):
    assert ada.answer("suspect a", "not a copy", "x" * 1000).status_code == 303
    assert ada.answer("copy a", "not a copy", "x" * 1001).status_code == 400
    assert len(said(evidence)) == 1


def test_a_second_thought_replaces_the_answer_and_both_stay_in_the_log(evidence, ada):
    ada.answer("suspect a", "copy", "")
    assert "You answered" in ada.get(f"/pair/{pair_id('suspect a')}").text
    ada.answer("suspect a", "not a copy", "looked again")

    assert said(evidence) == [("Ada Reader", "copy", ""), ("Ada Reader", "not a copy", "looked again")]
    assert ada.desk.standing().reading.not_copies == 1


def test_saving_the_same_answer_twice_writes_it_once(evidence, ada):
    ada.answer("suspect a", "copy", "same fold")
    ada.answer("suspect a", "copy", "same fold")

    assert len(said(evidence)) == 1


def test_progress_counts_the_readers_own_answers(evidence, ada):
    ada.answer("suspect a", "copy")
    ada.answer("stranger a", "unsure")
    ada.answer("closest a", "copy")

    assert "2 of 6 read, 4 unread" in ada.get("/").text
    assert "0 of 6 read, 6 unread" in browser(evidence, "Ben").get("/summary").text


def test_another_program_run_goes_on_where_this_one_stopped(evidence, ada):
    ada.answer("suspect a", "copy")
    ada.answer("copy a", "copy")

    again = browser(evidence, "ada  reader")

    assert again.get("/read").headers["Location"].endswith(pair_id("suspect b"))
    assert "2 of 6 read" in again.get("/").text


def test_the_name_given_on_the_command_line_is_the_first_readers_alone(evidence):
    from synthrelease.review.gate import Gate

    gate = Gate("Ada Reader", "reader")
    gate.port = 8123
    first, second = Browser(Desk(evidence), gate).enter(), Browser(Desk(evidence), gate).enter()

    assert "<strong>Ada Reader</strong>" in first.get("/").text
    assert "Who reads?" in second.get("/").text


@pytest.mark.parametrize("name", ["", "   ", "a" * 81, "Ada\u202eredaeR", "Ada\x00"])
def test_a_name_that_the_log_could_not_show_is_refused(evidence, name):
    nobody = outsider(evidence).enter()

    assert nobody.post("/reader", name=name, role="").status_code == 400
    assert 'role="alert"' in nobody.post("/reader", name=name, role="").text


# --- two readers ------------------------------------------------------------------------------------------------------


def test_what_another_reader_said_is_shown_only_after_ones_own_answer(evidence, ada):
    ada.answer("suspect a", "not a copy", "other sulci")
    ben = browser(evidence, "Ben")

    assert "other sulci" not in ben.get(f"/pair/{pair_id('suspect a')}").text + ben.get("/summary").text
    ben.answer("suspect a", "copy", "")
    page = ben.get(f"/pair/{pair_id('suspect a')}").text
    assert "Ada Reader (radiologist) answered" in page
    assert "You differ." in page
    assert "Readers differ." in ben.get("/summary").text


def test_readers_on_one_server_write_one_unbroken_log(evidence):
    readers = [browser(evidence, f"Reader {number}") for number in range(6)]
    threads = [threading.Thread(target=reader.answer_all) for reader in readers]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    entries = log.read(evidence.folder)

    assert len(entries) == 6 * len(DUE)
    assert {entry.by for entry in entries} == {f"Reader {number}" for number in range(6)}
    assert all(not reader.desk.standing().unread(f"Reader {n}") for n, reader in enumerate(readers))


def test_answers_of_another_process_are_seen_at_once(evidence, ada):
    assert "0 of 6 read" in ada.get("/").text
    Desk(evidence).answer(pair_info("suspect a"), "copy", by="Ada Reader", role="", reason="")

    assert "1 of 6 read" in ada.get("/").text


def test_the_log_is_read_from_disk_only_when_it_changed(evidence, ada, monkeypatch):
    reads = []
    whole = log.read
    monkeypatch.setattr(log, "read", lambda folder: reads.append(1) or whole(folder))
    for _ in range(5):
        ada.get("/summary")
    quiet = len(reads)
    ada.answer("suspect a", "copy")
    ada.get("/summary")

    assert quiet == 0
    assert 1 <= len(reads) <= 2  # by `append` itself, and once afterwards
