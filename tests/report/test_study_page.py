"""The study's page: it shows the record's numbers, names what failed, runs nothing and claims nothing too much."""

from __future__ import annotations

import re

import pytest
from sample import HOSTILE
from study_sample import FAILED, GENERATORS, about, made, study_sample, useful

from synthrelease.grid.comparing import compared
from synthrelease.report import formats
from synthrelease.report.study_page import interval, study_page, write_study_page
from synthrelease.study_records import Interval, StudyRecord, Unfinished


@pytest.fixture(scope="module")
def record() -> StudyRecord:
    return study_sample(unfinished=FAILED)


@pytest.fixture(scope="module")
def text(record: StudyRecord) -> str:
    return study_page(record)


def _small(usefulness, generated, **changes) -> StudyRecord:
    rankings, associations, sweeps = compared(usefulness, generated)
    fields = {
        "name": "small",
        "jobs": 9,
        "finished": 9,
        "usefulness": tuple(usefulness),
        "generated": tuple(generated),
        "rankings": rankings,
        "associations": associations,
        "sweeps": sweeps,
    }
    return StudyRecord(**(fields | changes))


def test_every_score_and_interval_of_the_record_is_on_the_page(record, text):
    for item in record.usefulness:
        for region in item.regions if item.real_fraction == 1 else ():
            assert interval(region.dice) in text
            for found in (region.hausdorff, region.hausdorff_95):
                assert (
                    f"{found.value:.1f} ({found.low:.1f}\N{NO-BREAK SPACE}to\N{NO-BREAK SPACE}{found.high:.1f})" in text
                )


def test_the_fixed_mask_stands_beside_the_scores_and_in_the_figure(record, text):
    fixed = record.usefulness[0].fixed_mask
    row = next(line for line in text.splitlines() if "no image looked at" in line and "<tr>" in line)
    assert interval(fixed.relative_dice) in row
    assert all(interval(dice) in row for dice in fixed.dice.values())
    assert f"One fixed mask: {formats.score(fixed.relative_dice.value)}" in text


def test_without_a_fixed_mask_nothing_is_said_of_one():
    page = study_page(_small([useful(fixed_mask=None)], []))

    assert "no image looked at" not in page


def test_an_interval_is_written_with_its_number():
    assert interval(about(0.5, 0.1)) == "0.500 (0.400\N{NO-BREAK SPACE}to\N{NO-BREAK SPACE}0.590)"


def test_every_quality_copy_rate_and_correlation_is_on_the_page(record, text):
    for item in record.generated:
        assert formats.rate(item.near_copies) in text
        assert all(formats.number(m.value) in text for m in item.quality if m.value is not None)
    for item in record.associations:
        assert formats.number(item.spearman.value) in text
        assert formats.p_value(item.kendall_p) in text
    for sweep in record.sweeps:
        assert all(formats.number(point.dice.value) in text for point in sweep.points)


def test_jobs_that_failed_are_named_before_any_result(text):
    first = text.index("2 jobs failed or blocked")

    assert first < text.index("segment/brats2021/stylegan3/swin/both/augmented/2") < text.index('id="tradeoff"')
    assert "Loss is not finite." in text
    assert "sample/brats2021/progan" in text
    assert "170 of 173 jobs finished" in text


def test_a_finished_study_reports_no_failure():
    page = study_page(_small([useful()], []))

    assert "failed" not in page.split('id="tradeoff"')[0].split("<main")[1]


def test_what_is_too_small_is_said_at_the_top(text):
    assert text.index("trained twice") < text.index('id="tradeoff"')


def test_own_and_published_ranks_stand_side_by_side(text):
    ranks = text.split('<section id="ranks"')[1].split("</section>")[0]

    assert "BraTS 2020 as published" in ranks
    assert re.search(r'<td>5 \(5 to 5\) <span class="note">published 5</span></td>', ranks)
    assert "does not say whether the ranks" in ranks
    nothing_beside = [useful(name, "synthetic") for name in GENERATORS]
    assert "ublished" not in study_page(_small(nothing_beside, []))


def test_a_generator_of_the_published_study_alone_has_no_rank_of_its_own():
    names = GENERATORS[:2]
    rankings, _, _ = compared([useful(n, "synthetic") for n in names], [], {}, {"brats2020": "2020"})
    page = study_page(StudyRecord(name="two", jobs=1, finished=1, rankings=rankings))

    assert '<td>– <span class="note">published 1</span></td>' in page


def test_associations_say_how_few_pairs_they_have(text):
    assert "The number of pairs is tiny." in text
    assert "chance alone gives one in twenty" in text


def test_hostile_names_are_shown_and_never_run():
    items = [useful(), *(useful(n, "synthetic", data=HOSTILE, segmenter=HOSTILE) for n in (HOSTILE, "$x_{"))]
    one = made("progan", HOSTILE, policy=HOSTILE, verdict=HOSTILE)
    found = [one.model_copy(update={"generator": name}) for name in (HOSTILE, "$x_{")]
    failed = (Unfinished(job=HOSTILE, state="failed", reason=HOSTILE),)
    page = study_page(_small(items, found, name=HOSTILE, unfinished=failed, small=(HOSTILE,)))

    assert "<script" not in page
    assert "&lt;script&gt;" in page
    assert "\u202e" not in page
    assert '"onerror' not in page
    assert "{{ 7*7 }}" in page


def test_the_page_loads_and_runs_nothing(text):
    assert "<script" not in text
    assert "default-src 'none'; img-src data:; style-src 'sha256-" in text
    assert not re.search(r'(?:src|href)="(?!data:image/|#)', text)
    assert not re.search(r"\son[a-z]+=|style=\"|javascript:", text)


def test_every_figure_says_its_finding_and_has_its_numbers_beside_it(text):
    images = re.findall(r'<img [^>]*alt="([^"]*)"', text)

    assert len(images) == 1 + 4 + 1  # the three questions, relative Dice per data set and segmenter, the sweep
    assert all(len(alt) > 40 and re.search(r"\d", alt) for alt in images)
    assert text.count("The numbers in this figure") == len(images)
    assert "most near copies: diffusion on brats2020 (unet) with 7.1" in images[0]
    assert "beyond 63 real subjects more help little" in images[-1]


def test_verdict_and_decision_stand_as_words_and_not_as_colours_alone(text):
    table = text.split('<section id="generators"')[1].split("</section>")[0]

    assert all(word in table for word in ("Pass", "Review", "Reject", "Incomplete", "APPROVE", "REJECT"))


def test_nothing_is_called_safe_or_anonymous_and_no_score_is_overall(text):
    assert not re.search(r"\b(safe|anonymous|anonymised|overall)\b", text, re.IGNORECASE)


def test_an_empty_study_is_a_page_that_says_so():
    page = study_page(StudyRecord(name="nothing", jobs=0, finished=0))

    assert "No job yet" in page
    assert "<img" not in page
    for words in ("No segmenter has finished", "No ranks", "Nothing to hold against each other", "No synthetic images"):
        assert words in page


def test_one_generator_has_figures_but_no_ranks_and_no_correlation():
    page = study_page(_small([useful(), useful("progan", "synthetic")], [made("progan")]))

    assert page.count("<img") == 2
    assert "with fewer than two generators" in page
    assert "Not computed for any of 2 measures: Too few pairs: 1" in page


def test_images_that_were_not_audited_are_said_not_to_be():
    bare = made("progan", near_copies=None, near_copies_holdout=None, above_alarm=None, verdict=None, decision=None)
    page = study_page(_small([useful(), useful("progan", "synthetic")], [bare]))

    assert "not audited" in page
    assert "Not audited" in page
    assert "Not decided" in page


def test_an_unknown_score_is_said_to_be_unknown():
    item = useful("progan", "synthetic", relative_dice=Interval())
    blank = tuple(r.model_copy(update={"hausdorff": Interval(), "dice": Interval(value=0.5)}) for r in item.regions)
    page = study_page(_small([item.model_copy(update={"regions": blank})], []))

    assert "not available" in page
    assert "0.500 (no interval)" in page


def test_one_seed_of_three_is_told():
    item = useful("progan", "synthetic", seeds=(1,), relative_dice=about(0.8))

    assert "1 of 3" in study_page(_small([item], []))


def test_the_same_record_gives_the_same_page(tmp_path):
    record = _small([useful(), useful("progan", "synthetic")], [made("progan")])
    path = write_study_page(record, tmp_path / "study.html")

    assert path.read_text(encoding="utf-8") == study_page(record)
