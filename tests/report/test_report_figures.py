"""Figures: same record, same bytes; the finding in words is the record's."""

from __future__ import annotations

import base64
import re

import pytest
from sample import membership, planted, sample_record

from synthrelease.report import figures
from synthrelease.report.evidence import evidence_rows


def _svg(picture: figures.Picture) -> str:
    return base64.b64decode(picture.address.removeprefix("data:image/svg+xml;base64,")).decode()


def test_figures_repeat_byte_for_byte_and_carry_no_date():
    record = sample_record()

    assert figures.score_histogram(record) == figures.score_histogram(record)
    assert "<dc:date>" not in _svg(figures.score_histogram(record))


def test_figures_reference_nothing_outside_themselves():
    for picture in (
        figures.score_histogram(sample_record()),
        figures.power_figure(planted(), 0.8),
        figures.roc_figure(membership()),
    ):
        links = re.findall(r'(?:xlink:href|href)="([^"]+)"', _svg(picture))
        assert all(link.startswith("#") for link in links)


def test_each_figure_says_its_finding():
    assert (
        "9 of 1,987 synthetic images above the flag line at 0.413" in figures.score_histogram(sample_record()).finding
    )
    assert "crop (tumour), 49 of 72 caught" in figures.power_figure(planted(), None).finding
    assert "AUC 0.534, within what chance alone gives" in figures.roc_figure(membership()).finding


def test_an_attack_beyond_chance_is_said_to_be_so():
    attack = membership().model_copy(update={"auc": 0.71})

    assert "outside" in figures.roc_figure(attack).finding


def test_nothing_to_draw_gives_no_figure():
    assert figures.score_histogram(sample_record("incomplete")) is None
    assert figures.power_figure((), 0.8) is None
    assert figures.roc_figure(membership().model_copy(update={"roc": ()})) is None


@pytest.mark.parametrize("name", ["$x_{", "a$b$c", "\\frac", "<b>", "x" * 400])
def test_a_kind_may_be_called_anything(name):
    kind = planted()[0].model_copy(update={"transformation": name})

    assert figures.power_figure((kind,), None) is not None


def test_every_rule_is_a_row_beside_its_reference_and_the_rest_follow_without_a_rule():
    record = sample_record()
    rows = evidence_rows(record)
    ruled = [row for row in rows if row.state is not None]

    assert [row.test for row in ruled] == [finding.rule for finding in record.findings]
    assert [row.state for row in ruled] == [finding.outcome for finding in record.findings]
    by_measure = {row.measure: row for row in ruled}
    assert "388 images, 16 subjects" in by_measure["excess_low"].reference
    assert "control AUC 0.527; chance alone 0.419 to 0.581" in by_measure["membership_above_null"].reference
    assert by_measure["power_low"].limit.replace("\xa0", " ") == "84.1 % measured, limit at least 80.0 %"
    assert by_measure["representative"].limit == "yes measured, limit yes"
    assert by_measure["alarms"].limit == "5 measured, limit at most 0"
    assert {row.anchor for row in rows if row.state is None} == {"copies", "inputs", "checks", "masks"}


def test_a_measure_that_could_not_be_taken_is_said_to_be_nothing():
    rows = {row.measure: row for row in evidence_rows(sample_record("incomplete"))}

    assert rows["holdout_subjects"].limit == "nothing measured, limit at least 5"
    assert rows["holdout_subjects"].state == "incomplete"
    assert rows["excess_low"].result == "not available"


def test_where_no_stranger_had_to_be_degraded_the_table_says_so():
    transfer = sample_record().transfer.model_copy(update={"threshold_degraded": None})
    rows = {row.test: row for row in evidence_rows(sample_record(transfer=transfer))}

    row = rows["Strangers are a fair yardstick for these synthetic images"]
    assert row.reference == "no degrading was needed"
