"""What may leave: nothing of the audit that names, or counts few, of the real patients."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from release_sample import sample_decision, sample_findings, sample_options, sample_public, sample_utility
from sample import sample_record

from synthrelease.features.analysis import SCALING
from synthrelease.metrics.table import METRICS
from synthrelease.privacy import words as audit_words
from synthrelease.privacy.bounds import bounds
from synthrelease.privacy.transformations import KINDS
from synthrelease.records import AuditRecord, Comparison, Finding
from synthrelease.release.croissant import croissant
from synthrelease.release.publish import public_record
from synthrelease.release.sentences import UNTOLD, public_sentences, without_small_counts
from synthrelease.release_records import DecisionRecord, PublicRecord
from synthrelease.report.card import card
from synthrelease.report.public import public_page

MARK = "Zebra7Marker"
# Text of an audit that may leave as it is, where it has the form that the program gives it. Any other place may not.
MAY_LEAVE = {
    *("planted.transformation", "planted.strength", "bounds.kind"),
    *("comparisons.name", "comparisons.unit", "comparisons.features", "comparisons.direction"),
    *("near_copies.synthetic.method", "near_copies.holdout.method", "near_copies.excess.method"),
    *("made_with.extractors.name", "made_with.extractors.preprocessing", "made_with.extractors.weights_sha256"),
    *("made_with.synthrelease", "inputs.scaling"),
}
CHOICES = {"verdict", "outcome", "side", "part", "role", "fitted_on"}  # fields with a fixed list of values
DECIDED = {  # every field of the audit, by what happens to it: a new field fails here until somebody decides
    "left out": {
        *("schema_version", "verdict", "findings", "calibrated", "threshold", "alarm", "part_thresholds"),
        *("part_alarms", "suspects", "alarms", "exact_copies", "part_suspects", "part_alarms_count"),
        *("exposed_subjects", "exposure", "closest", "representative", "transfer", "distribution"),
    },
    "in part or in other words": {
        *("alpha", "stranger_bound", "near_copies", "planted", "bounds", "membership", "masks", "comparisons"),
        *("not_tested", "warnings", "inputs", "made_with"),
    },
}


def _outputs(record: PublicRecord) -> str:
    files = {"README.md": (1, "0" * 64), "images.csv": (2, "1" * 64)}
    return "\n".join((record.model_dump_json(), card(record), public_page(record), croissant(record, files)))


def _marked(value: Any, place: str, mark: Callable[[str], str]) -> Any:
    """Return a JSON value with every free text replaced, also keys of free mappings."""
    name = place.rpartition(".")[2]
    if isinstance(value, dict):
        free = place in {"made_with.packages", "made_with.settings", "part_thresholds", "part_alarms"}
        return {
            (mark(place) + key if free else key): _marked(item, f"{place}.{key}".lstrip("."), mark)
            for key, item in value.items()
        }
    if isinstance(value, list):
        return [_marked(item, place, mark) for item in value]
    return mark(place) if isinstance(value, str) and name not in CHOICES and place not in MAY_LEAVE else value


def test_every_field_of_the_audit_is_decided():
    assert set(AuditRecord.model_fields) == set().union(*DECIDED.values())


@pytest.mark.parametrize("verdict", ["review", "reject", "incomplete"])
def test_no_text_of_the_audit_leaves_but_that_of_the_program(verdict):
    record = AuditRecord.model_validate(
        _marked(sample_record(verdict).model_dump(mode="json"), "", lambda place: f"{MARK}/{place}")
    )
    assert record.model_dump_json().count(MARK) > 150

    assert MARK not in _outputs(sample_public(record))


@pytest.mark.parametrize(
    "text", ["/srv/anna/TCGA_02", "..\\x", "TCGA_02/slice.nii", "anna@ward.example", "a\nb", "<b>"]
)
def test_text_of_another_form_than_the_program_gives_it_stays_inside(text):
    changed = sample_record().model_dump(mode="json")
    for place in MAY_LEAVE - {"made_with.extractors.preprocessing"}:  # which holds slashes
        _set(changed, place.split("."), text)

    record = sample_public(AuditRecord.model_validate(changed))

    assert json.dumps(text)[1:-1] not in record.model_dump_json()


def _set(value: Any, path: list[str], text: str) -> None:
    if isinstance(value, list):
        for item in value:
            _set(item, path, text)
    elif len(path) == 1:
        value[path[0]] = text
    else:
        _set(value[path[0]], path[1:], text)


def test_names_in_a_decision_leave_only_where_they_are_meant_to():
    plain = sample_decision().model_dump(mode="json")
    plain["removals"][0]["images"] = [MARK]
    plain["generator_authors"] = [MARK]
    for about in ("quality", "utility"):
        plain[about]["synthetic"] = MARK
        for item in plain[about]["measurements"]:
            item["note"] = MARK
    plain["quality"]["measurements"][0] |= {"name": f"/scans/{MARK}", "extractor": f"/weights/{MARK}"}

    record = sample_public(decision=DecisionRecord.model_validate(plain))

    assert MARK not in _outputs(record)
    assert record.removed_images == 1


def test_the_reason_of_an_approval_leaves_only_where_it_overrides():
    override, plain = sample_public().approvals

    assert override.reason.startswith("The holdout cannot grow")
    assert plain.reason == ""


# --- small counts -----------------------------------------------------------------------------------------------------


def _with_cohorts(train: int, holdout: int, planted: int | None = None) -> AuditRecord:
    record = sample_record()
    inputs = record.inputs.model_copy(
        update={
            "train": record.inputs.train.model_copy(update={"subjects": train}),
            "holdout": record.inputs.holdout.model_copy(update={"subjects": holdout}),
        }
    )
    kinds = record.planted
    if planted is not None:
        kinds = tuple(item.model_copy(update={"planted": planted, "caught": planted}) for item in kinds)
    return record.model_copy(update={"inputs": inputs, "planted": kinds})


def test_real_cohorts_under_the_minimum_cell_are_told_in_words():
    record = sample_public(_with_cohorts(9, 8, planted=9))

    assert (record.train.subjects, record.holdout.subjects) == ("fewer than 10", "fewer than 10")
    assert (record.train.images, record.holdout.images) == ("1046", "388")
    assert "fewer than 10" in card(record)
    assert "fewer than 10" in public_page(record)


def test_a_policy_may_ask_for_a_larger_cell():
    record = sample_public(decision=sample_decision(minimum_cell=20))

    assert record.train.subjects == "44"
    assert record.holdout.subjects == "fewer than 20"


def test_numbers_from_which_a_small_holdout_could_be_counted_are_withheld():
    record = sample_public(_with_cohorts(44, 9))
    values = {finding.measure: finding.value for finding in record.findings}

    assert record.stranger_bound is None
    assert record.near_copies_holdout is None
    assert record.excess is None
    assert record.membership is None
    assert [item.holdout_value for item in record.comparisons] == [None] * len(record.comparisons)
    assert {values[name] for name in ("excess_low", "attack_auc")} == {None}
    assert record.planted  # train is large enough
    assert any("withheld" in sentence for sentence in record.not_tested)


def test_numbers_from_which_a_small_train_could_be_counted_are_withheld():
    record = sample_public(_with_cohorts(9, 44, planted=9))
    values = {finding.measure: finding.value for finding in record.findings}

    assert (record.planted, record.bounds, record.comparisons) == ((), (), ())
    assert record.membership is None
    assert record.residual_at_most is None
    assert {values[name] for name in ("power_low", "at_most")} == {None}
    assert not any(char.isdigit() for question in record.questions for char in question.result.replace("10", ""))


@pytest.mark.parametrize(
    ("planted", "told"), [(72, True), (62, True), (63, False), (71, False), (12, True), (9, False)]
)
def test_a_kind_is_withheld_when_its_count_tells_of_few_patients(planted, told):
    record = sample_record()
    first, *others = record.planted
    odd = first.model_copy(
        update={"planted": planted, "caught": planted, "caught_at_alarm": planted, "right_source": planted}
    )

    public = sample_public(record.model_copy(update={"planted": (odd, *others)}))

    assert (odd.transformation in {item.transformation for item in public.planted}) is told
    assert (f"{odd.transformation} {odd.strength}" in {bound.kind for bound in public.bounds}) is told
    assert len(public.bounds) == len(public.planted)
    power = next(finding for finding in public.findings if finding.measure == "power_low")
    assert (power.value is not None) is told


def test_how_many_strangers_images_lie_above_the_line_is_not_told():
    record = sample_public()

    assert record.near_copies_holdout.flagged is None
    assert record.near_copies_synthetic.flagged == 9


def test_how_many_strangers_lie_above_the_line_is_not_told_by_the_way_of_counting_either():
    record = sample_record()
    near = record.near_copies
    method = "Cross-fitted over subjects; Clopper-Pearson for 3 of 16 subjects above the threshold"
    told = near.model_copy(update={"holdout": near.holdout.model_copy(update={"method": method})})

    public = sample_public(record.model_copy(update={"near_copies": told}))

    assert public.near_copies_holdout.method == method.replace("3 of 16", "fewer than 10 of 16")


def test_what_the_program_says_of_its_measures_leaves_unchanged():
    record = sample_record()
    rows = tuple(
        Comparison(name=name, value=1.0, unit=about.unit, features="pixels at 64 px", direction=about.copying)
        for name, about in METRICS.items()
    )
    inputs = record.inputs.model_copy(update={"scaling": SCALING})

    public = sample_public(record.model_copy(update={"comparisons": rows, "inputs": inputs}))

    assert [(item.name, item.unit, item.direction) for item in public.comparisons] == [
        (item.name, item.unit, item.direction) for item in rows
    ]
    assert public.scaling == SCALING


def test_every_kind_that_is_planted_leaves_under_its_name():
    first = sample_record().planted[0]
    kinds = tuple(first.model_copy(update={"transformation": k.name, "strength": k.strength}) for k in KINDS)

    stated = bounds(kinds, alarms={"whole": 0}, images=1000, attempt=1)
    public = sample_public(sample_record(planted=kinds, bounds=stated))

    assert [bound.kind for bound in public.bounds] == [f"{k.name} {k.strength}" for k in KINDS]
    assert [(item.transformation, item.strength) for item in public.planted] == [(k.name, k.strength) for k in KINDS]


@pytest.mark.parametrize(("value", "told"), [(0, 0), (1, None), (9, None), (10, 10), (16, 16)])
def test_counts_of_real_patients_in_findings_follow_the_minimum_cell(value, told):
    findings = tuple(
        item.model_copy(update={"value": value}) if item.measure == "holdout_subjects" else item
        for item in sample_findings()
    )

    public = sample_public(decision=sample_decision(findings=findings))

    found = next(item for item in public.findings if item.measure == "holdout_subjects")
    assert found.value == told
    assert found.detail == ("Fewer than 10" if told is None else "")


def test_the_value_of_a_measure_that_nobody_decided_on_stays_inside():
    odd = Finding(
        rule="New", measure="subjects_with_rare_tumour", value=3, limit=5, passed=True, outcome="pass", reason="why"
    )

    (found,) = sample_public(decision=sample_decision(findings=(odd,))).findings

    assert found.value is None
    assert found.passed


@pytest.mark.parametrize(
    ("text", "public"),
    [
        ("3 train subjects were hit", "fewer than 10 train subjects were hit"),
        ("seen in 1 of 16 patients", "seen in fewer than 10 of 16 patients"),
        ("12 subjects, 7 real patients", "12 subjects, fewer than 10 real patients"),
        ("0 patients", "0 patients"),
        ("5 of 5 pairs were read", "5 of 5 pairs were read"),
        ("AUC 0.5 with 95 % confidence", "AUC 0.5 with 95 % confidence"),
        ("power 0.9 subjects", "power 0.9 subjects"),
    ],
)
def test_counts_of_few_people_in_sentences_become_words(text, public):
    assert without_small_counts(text, 10) == public


@pytest.mark.parametrize(("images", "told"), [(999, None), (1000, 0.31)])
def test_an_extreme_hundredth_of_few_images_is_that_of_single_ones(images, told):
    record = sample_record()
    inputs = record.inputs.model_copy(
        update={"synthetic": record.inputs.synthetic.model_copy(update={"images": images})}
    )
    row = Comparison(name="calibrated_l2", value=0.31, holdout_value=0.29, direction="lower", note="anything")

    (public,) = sample_public(record.model_copy(update={"inputs": inputs, "comparisons": (row,)})).comparisons

    assert public.value == told
    assert public.holdout_value is None  # 388 holdout images
    assert public.note == "Withheld: it rests on a few single images."


def test_a_utility_scored_on_few_patients_is_withheld_with_its_finding():
    utility = sample_utility()
    few = utility.model_copy(update={"relative_dice": utility.relative_dice.model_copy(update={"subjects": 9})})
    finding = sample_findings()[-1].model_copy(update={"value": 0.8531, "passed": True, "outcome": "pass"})

    public = sample_public(decision=sample_decision(utility=few, findings=(finding,)))

    assert public.utility.relative_dice is None
    assert public.findings[0].value is None


# --- sentences --------------------------------------------------------------------------------------------------------


def test_the_audits_own_sentences_leave_in_the_same_words():
    assert public_sentences(audit_words.ALWAYS) == audit_words.ALWAYS


@pytest.mark.parametrize(
    "sentence",
    [
        "Channel 'anna_t1' was not compared: train does not have it.",
        "Significance of single images: with 7 holdout subjects no p-value can be below 0.12.",
        "Membership was not attacked: TCGA_02 has no features.",
        "Image sizes differ (train 240x240, synthetic 256x256); all were compared at 128 px.",
        "Only 7 train subjects: even if every planted copy is caught, a power of 0.8 cannot be shown.",
        "train: TCGA_02/scan.nii has no affine.",
    ],
)
def test_what_a_sentence_names_or_counts_stays_inside(sentence):
    (public,) = public_sentences((sentence,))

    assert not any(text in public for text in ("anna", "TCGA", "7", "240", "0.12"))


def test_a_sentence_that_nobody_knows_is_said_to_be_untold():
    assert public_sentences(("Dr. Anna's scanner was odd.", "So was the other one.")) == (UNTOLD,)


def test_the_record_survives_its_own_json():
    record = sample_public()

    assert PublicRecord.model_validate_json(record.model_dump_json()) == record


def test_what_the_publisher_says_is_printed_as_it_is():
    assert sample_public(options=sample_options(title="A: <b>")).options.title == "A: <b>"
    assert public_record.__module__ == "synthrelease.release.publish"
