"""The internal edition's section on decision and sign-off."""

from __future__ import annotations

import html
import re
from typing import Any

import pytest
from nasty import NASTY
from release_sample import sample_decision, sample_findings
from sample import sample_record

from synthrelease.decision import log
from synthrelease.records import AuditRecord, Finding
from synthrelease.release_records import Action, Entry, Reading
from synthrelease.report import decisions, formats
from synthrelease.report.views import audit_page


def _entry(number: int, action: Action, **fields: Any) -> Entry:
    about: dict[str, Any] = {"time": f"2026-11-22T20:0{number}:00+00:00", "previous": log.FIRST, "sha256": "1" * 64}
    return Entry(number=number, action=action, **(about | fields))


def _audit() -> AuditRecord:
    return sample_record("incomplete")  # has no figures, which take their time


def _log(reason: str = "The holdout cannot grow.") -> tuple[Entry, ...]:
    return (
        _entry(1, "audit", data={"synthetic": "c" * 64, "verdict": "review", "attempt": 1}),
        _entry(2, "pair", by="Rita Reader", role="reader", data={"pair_id": "abc", "answer": "copy"}),
        _entry(3, "remove", data={"attempt": 1, "images": [f"generated/{i}.png" for i in range(8)]}),
        _entry(4, "decide", data={"decision": "INCOMPLETE", "failed": ["Enough strangers"]}),
        _entry(
            5,
            "approve",
            by="Stina Steward",
            role="data steward",
            reason=reason,
            data={"override_of": "INCOMPLETE", "conditions": ["No linkage."], "review_by": "2027-11-22"},
        ),
        _entry(6, "withdraw", by="Olle Officer", role="data protection officer", reason="A patient objected."),
    )


def _section(page: str) -> str:
    start = page.index('<section id="decision"')
    shown = re.sub(r"<[^>]+>", " ", page[start : page.index("</section>", start)])
    return " ".join(html.unescape(shown).replace("\xa0", " ").split())


def test_without_decision_and_log_there_is_no_such_section():
    page = audit_page(_audit())

    assert 'id="decision"' not in page
    assert "#decision" not in page


def test_the_section_shows_decision_findings_guidance_readings_and_attempts():
    decision = sample_decision()
    page = audit_page(_audit(), decision=decision)
    shown = _section(page)

    assert "INCOMPLETE by the policy controlled, version 3" in shown
    for finding in decision.findings:
        assert finding.rule in shown
        assert finding.reason in shown
        assert finding.source in shown
    for question in decision.questions:
        assert question.asks in shown
        assert question.result in shown
    assert "Of 23 pairs above the alarm line, 20 read by 2 people: 7 found to be copies, 13 to be none" in shown
    assert "recognised 5 of 6 planted copies and 3 of 4 strangers" in shown
    assert "2 audits of different images were made" in shown
    assert "Attempt 1: 8 suspects removed, 13 kept after reading." in shown
    assert all(image in shown for image in decision.removals[0].images)
    assert "Gene Rator" in shown
    assert "Imported: quality and usefulness" in shown
    assert "31.420" in page.split('id="quality"')[1].split("</section>")[0]
    assert "0.853" in page.split('id="utility"')[1].split("</section>")[0]
    assert decision.binding in shown


def test_the_log_tells_who_did_what_when_and_why():
    page = audit_page(_audit(), decision=sample_decision(), entries=_log())
    shown = _section(page)

    assert "5 override Approved, overriding INCOMPLETE Stina Steward data steward The holdout cannot grow." in shown
    assert "condition: No linkage. to be reviewed by 2027-11-22 2026-11-22T20:05:00+00:00" in shown
    assert "6 Withdrawn Olle Officer data protection officer A patient objected." in shown
    assert "3 Images removed synthrelease" in shown
    assert "1 answer about pairs in the log" in shown
    assert "Rita Reader" not in shown  # single answers stay in the log


def test_a_log_without_a_decision_is_shown_alone():
    shown = _section(audit_page(_audit(), entries=_log()[:1]))

    assert "No decision was made yet" in shown
    assert "Audit synthrelease" in shown


@pytest.mark.parametrize("holds", [True, False])
def test_a_decision_on_evidence_that_changed_since_is_said_to_hold_no_longer(holds):
    shown = _section(audit_page(_audit(), decision=sample_decision(), decision_holds=holds))

    assert ("no longer holds" in shown) is not holds


@pytest.mark.parametrize("text", NASTY)
def test_a_hostile_reason_or_name_stays_text(text):
    entry = _entry(1, "approve", by=text, role=text, reason=text, data={"conditions": [text], "override_of": text})
    page = audit_page(_audit(), decision=sample_decision(generator_authors=(text,)), entries=(entry,))

    assert " ".join(formats.shown(text).split()) in _section(page)
    assert "<script>alert" not in page
    assert "<img src=x" not in page


def _finding(**fields: Any) -> Finding:
    about: dict[str, Any] = {"rule": "r", "measure": "alarms", "value": 1, "limit": 0, "passed": False, "reason": "why"}
    return Finding(**(about | fields))


@pytest.mark.parametrize(
    ("fields", "group"),
    [
        ({"outcome": "reject"}, "blocks"),
        ({"outcome": "incomplete", "value": None}, "blocks"),
        ({"outcome": "review"}, "against"),
        ({"outcome": "pass", "passed": True}, "supports"),
        ({"outcome": "pass", "passed": True, "decides": False}, "supports"),
        ({"outcome": "review", "decides": False}, "against"),
        ({"outcome": "reject", "decides": False}, "against"),
        ({"outcome": "incomplete", "decides": False, "value": None}, "unknown"),
        ({"outcome": "incomplete", "decides": False, "value": None, "detail": "told inside"}, "against"),
    ],
)
def test_each_finding_speaks_for_one_thing(fields, group):
    assert decisions.group_of(_finding(**fields)) == group


def test_no_finding_is_lost_in_the_groups():
    rows = [row.rule for group in decisions.grouped(sample_findings()) for row in group.rows]

    assert sorted(rows) == sorted(finding.rule for finding in sample_findings())


def test_a_bound_is_rounded_so_that_it_looks_no_better_than_it_is():
    findings = (
        _finding(measure="at_most", value=0.01949, limit=0.02, outcome="pass", passed=True),
        _finding(measure="power_low", value=0.79999, limit=0.8, side="at least", outcome="incomplete"),
    )

    shown = [row.value.replace("\xa0", " ") for group in decisions.grouped(findings) for row in group.rows]

    assert shown == ["79.9 %", "2.0 %"]


def test_nobody_had_to_read_where_nothing_was_above_alarm():
    nothing = Reading(to_read=0, read=0, copies=0, not_copies=0, unsure=0)

    (sentence,) = decisions.reading_sentences(nothing)

    assert sentence == "No image lies above the alarm line, so nobody had to read a pair."
