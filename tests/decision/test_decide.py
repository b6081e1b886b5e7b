"""Decisions: each rule's limit, absence that never approves, and harm that never helps."""

from __future__ import annotations

import pytest
from decision_helpers import SYNTHETIC, alarm, bound, clean_record, decided, pair_of, say, with_alarms, write_evidence
from hypothesis import given, settings
from hypothesis import strategies as st

from synthrelease import policy
from synthrelease.decision import decide as deciding
from synthrelease.decision import keeping, log
from synthrelease.decision.folder import open_evidence, write_pairs, write_record
from synthrelease.errors import DecisionError, IntegrityError, SettingsError
from synthrelease.records import Rate
from synthrelease.release_records import QualityRecord, UtilityRecord

POLICIES = [policy.open_release_policy(name)[0] for name in policy.SHIPPED]
SEVERITY = ("APPROVE", "REVIEW", "INCOMPLETE", "REJECT")


def finding(decision, measure):
    return next(f for f in decision.findings if f.measure == measure)


@pytest.mark.parametrize("name", policy.SHIPPED)
def test_clean_evidence_is_approved_with_one_finding_per_rule(tmp_path, name):
    decision = decided(write_evidence(tmp_path), name)

    assert decision.decision == "APPROVE"
    assert [f.rule for f in decision.findings] == [r.name for r in policy.open_release_policy(name)[0].rules]
    assert decision.release_model == name
    assert decision.approvers_needed == (2 if name == "public" else 1)


@pytest.mark.parametrize(
    ("name", "measure", "value", "outcome"),
    [
        ("controlled", "holdout_subjects", 19, "incomplete"),
        ("controlled", "power_low", 0.79, "incomplete"),
        ("controlled", "at_most", 0.021, "incomplete"),
        ("controlled", "excess_low", 0.001, "review"),
        ("controlled", "confirmed_copies", 1, "reject"),
        ("controlled", "unread_alarms", 1, "review"),
        ("public", "holdout_subjects", 58, "incomplete"),
        ("public", "power_low", 0.89, "incomplete"),
        ("public", "at_most", 0.0051, "incomplete"),
        ("public", "excess_low", 0.001, "reject"),
        ("public", "confirmed_copies", 1, "reject"),
        ("public", "unread_alarms", 1, "review"),
    ],
)
def test_the_shipped_limits_are_those_that_were_agreed(name, measure, value, outcome):
    rules = policy.open_release_policy(name)[0]
    rule = next(r for r in rules.rules if r.measure == measure)
    limit = rule.at_most if rule.at_most is not None else rule.at_least

    assert policy.judge({measure: value}, rules)[1][rules.rules.index(rule)].outcome == outcome
    assert policy.judge({measure: limit}, rules)[1][rules.rules.index(rule)].passed


def test_identity_risks_of_the_disclosure_literature_are_no_limits():
    limits = {rule.at_most for rules in POLICIES for rule in rules.rules}

    assert not limits & {0.09, 0.05}


@pytest.mark.parametrize("rules", POLICIES, ids=lambda rules: rules.name)
@pytest.mark.parametrize("nothing", [None, float("nan"), float("inf"), -float("inf")])
def test_a_measure_that_is_missing_or_not_finite_never_approves(rules, nothing):
    good = {r.measure: r.at_most if r.at_most is not None else r.at_least for r in rules.rules}
    assert policy.judge(good, rules)[0] == "pass"

    for rule in rules.rules:
        verdict = policy.judge({**good, rule.measure: nothing}, rules)[0]
        assert (verdict != "pass") == rule.decides


@given(data=st.data(), rules=st.sampled_from(POLICIES))
def test_harm_to_any_measure_never_improves_the_verdict(data, rules):
    values = st.none() | st.floats(-2, 100) | st.just(float("nan"))
    measures = {measure: data.draw(values, measure) for measure in policy.MEASURES}
    rule = data.draw(st.sampled_from(rules.rules))
    value = measures[rule.measure]
    if value is None:
        return
    harm = data.draw(st.floats(0, 50))
    worse = {**measures, rule.measure: value + harm if rule.at_most is not None else value - harm}

    before, after = (policy.SEVERITY.index(policy.judge(m, rules)[0]) for m in (measures, worse))
    assert after >= before


@settings(max_examples=50)  # each example writes two evidence folders
@given(
    exact=st.sets(st.integers(0, 5)),
    answers=st.lists(st.sampled_from(["copy", "not a copy", "unsure", None]), min_size=6, max_size=6),
    harmed=st.integers(0, 5),
    how=st.sampled_from(["exact", "copy", "alarm", "unread", "power", "bound"]),
    name=st.sampled_from(policy.SHIPPED),
)
def test_adding_evidence_of_harm_never_improves_a_decision(tmp_path_factory, exact, answers, harmed, how, name):
    def made(exact, answers, alarms, **changes):
        found = tuple(alarm(i, exact=i in exact) for i in range(alarms))
        evidence = write_evidence(tmp_path_factory.mktemp("evidence"), with_alarms(*found, **changes))
        for pair, answer in zip(evidence.pairs(), answers, strict=False):
            if answer:
                say(evidence, pair, answer)
        return SEVERITY.index(decided(evidence, name).decision)

    before = made(exact, answers, 5)
    worse = list(answers)
    match how:
        case "exact":
            after = made(exact | {harmed % 5}, answers, 5)
        case "copy":
            worse[harmed] = "copy"
            after = made(exact, worse, 5)
        case "alarm":
            after = made(exact, answers[:5], 6)
        case "unread":
            after = made(exact, answers, 5, part_alarms_count=harmed)
        case "power":
            after = made(exact, answers, 5, bounds=(bound("mirror", power_low=0.1 * harmed),))
        case _:
            after = made(exact, answers, 5, bounds=(bound("mirror", at_most=0.002 + 0.1 * harmed),))
    assert after >= before


def test_alarms_wait_for_a_reader_and_a_copy_that_was_read_rejects(tmp_path):
    evidence = write_evidence(tmp_path, with_alarms(alarm(1), alarm(2)))
    first, second = evidence.pairs()

    assert decided(evidence).decision == "REVIEW"
    say(evidence, first, "not a copy")
    say(evidence, second, "unsure")
    assert finding(decided(evidence), "unread_alarms").value == 1
    say(evidence, second, "not a copy")
    assert decided(evidence).decision == "APPROVE"
    say(evidence, first, "copy", by="Another")
    assert decided(evidence).decision == "REJECT"
    assert finding(decided(evidence), "confirmed_copies").value == 1


def test_an_alarm_without_a_pair_counts_as_unread(tmp_path):
    evidence = write_evidence(tmp_path, with_alarms(alarm(1)), pairs=())

    assert finding(decided(evidence), "unread_alarms").value == 1


def test_no_reader_can_clear_a_verbatim_copy(tmp_path):
    evidence = write_evidence(tmp_path, with_alarms(alarm(1, exact=True)))
    say(evidence, evidence.pairs()[0], "not a copy")

    assert decided(evidence).decision == "REJECT"


def test_readers_are_measured_on_planted_pairs_which_count_nowhere_else(tmp_path):
    known = pair_of(alarm(7), kind="planted copy")
    evidence = write_evidence(tmp_path, with_alarms(alarm(1)), (pair_of(alarm(1)), known))
    say(evidence, known, "not a copy")
    decision = decided(evidence)

    assert finding(decision, "reader_sensitivity").value == 0
    assert finding(decision, "unread_alarms").value == 1
    say(evidence, known, "copy")
    assert finding(decided(evidence), "confirmed_copies").value == 0


def test_context_never_decides(tmp_path):
    record = clean_record()
    weak = UtilityRecord(relative_dice=Rate(value=0.1, low=0, high=0.2, count=9), synthetic=SYNTHETIC)
    evidence = write_evidence(tmp_path, record)
    write_record(tmp_path / "utility.json", weak)
    decision = decided(open_evidence(tmp_path))

    assert decision.decision == "APPROVE"
    assert not finding(decision, "relative_dice").passed
    assert finding(decided(evidence), "relative_dice").value == pytest.approx(0.1)


def test_quality_of_other_images_is_refused(tmp_path):
    evidence = write_evidence(tmp_path)
    write_record(tmp_path / "quality.json", QualityRecord(measurements=(), synthetic="d" * 64))

    with pytest.raises(DecisionError, match="other images"):
        decided(evidence)


def test_a_damaged_record_is_an_integrity_failure(tmp_path):
    evidence = write_evidence(tmp_path)
    (tmp_path / "audit.json").write_text(
        evidence.audit.model_dump_json().replace('"calibrated":true', '"calibrated":7')
    )

    with pytest.raises(IntegrityError, match=r"audit\.json is damaged"):
        open_evidence(tmp_path)


def test_out_and_its_evidence_folder_are_both_accepted(tmp_path):
    write_evidence(tmp_path / "evidence")

    assert open_evidence(tmp_path).folder == open_evidence(tmp_path / "evidence").folder
    with pytest.raises(DecisionError, match="holds no audit"):
        open_evidence(tmp_path / "elsewhere")


def test_every_audit_of_other_images_is_an_attempt(tmp_path):
    evidence = write_evidence(tmp_path)
    assert keeping.next_attempt(tmp_path, SYNTHETIC) == 1
    assert keeping.next_attempt(tmp_path, "d" * 64) == 2
    keeping.note_audit(tmp_path, synthetic="d" * 64, verdict="pass", images=9, attempt=2)
    keeping.note_audit(tmp_path, synthetic="d" * 64, verdict="pass", images=9, attempt=2)

    assert keeping.next_attempt(tmp_path, SYNTHETIC) == 1
    assert keeping.next_attempt(tmp_path, "e" * 64) == 3
    assert decided(evidence).attempts == 2


def test_suspects_that_no_reader_cleared_are_taken_out(tmp_path):
    evidence = write_evidence(tmp_path, with_alarms(alarm(1), alarm(2), alarm(3, exact=True)))
    for pair in evidence.pairs():
        if pair.image_id != "made/002.png":
            say(evidence, pair, "not a copy")
    removal = deciding.removable(evidence, decided(evidence))

    assert removal.images == ("made/002.png", "made/003.png")  # unread, and verbatim: no reader can clear that
    assert removal.kept_after_reading == 1
    assert removal.residual_at_most == 3


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"calibrated": False}, "Calibrated on strangers"),
        ({"representative": None}, "Holdout represents train"),
        ({"transfer": None}, "Strangers are a fair yardstick"),
    ],
)
def test_suspects_of_a_doubtful_audit_cannot_be_taken_out(tmp_path, change, named):
    evidence = write_evidence(tmp_path, with_alarms(alarm(1), **change))

    with pytest.raises(DecisionError, match=named):
        deciding.removable(evidence, decided(evidence))


def test_there_must_be_something_to_take_out_and_something_left(tmp_path):
    evidence = write_evidence(tmp_path / "none")
    with pytest.raises(DecisionError, match="no suspect"):
        deciding.removable(evidence, decided(evidence))

    evidence = write_evidence(tmp_path / "all", with_alarms(alarm(1)))
    (evidence.folder / "images.csv").write_text(f"image_id,pixels_sha256\nmade/001.png,{'0' * 64}\n")
    keeping.note_audit(evidence.folder, synthetic=SYNTHETIC, verdict="pass", images=1, attempt=1)
    with pytest.raises(DecisionError, match="nothing would remain"):
        deciding.removable(evidence, decided(evidence))


def test_after_removal_the_bound_counts_what_may_remain(tmp_path):
    """No alarm is left because it was taken out: the new audit's own bound would be circular."""
    evidence = write_evidence(tmp_path)
    before = finding(decided(evidence), "at_most").value
    data = {"attempt": 1, "images": ["made/x.png"], "kept_after_reading": 1, "residual_at_most": 9}
    log.append(tmp_path, "remove", data=data)

    assert before == pytest.approx(0.002)
    assert finding(decided(evidence), "at_most").value == pytest.approx(10 / 2000)
    assert decided(evidence).removals[0].images == ("made/x.png",)


def test_pairs_of_an_earlier_audit_do_not_speak_for_this_one(tmp_path):
    evidence = write_evidence(tmp_path, with_alarms(alarm(1)))
    say(evidence, evidence.pairs()[0], "not a copy")
    write_pairs(tmp_path, (pair_of(alarm(1), pair_id="f" * 12),))
    keeping.note_audit(evidence.folder, synthetic=SYNTHETIC, verdict="pass", images=1, attempt=1)

    assert finding(decided(evidence), "unread_alarms").value == 1


def test_guidance_says_not_tested_where_nothing_speaks_to_it(tmp_path):
    rows = {row.question: row for row in decided(write_evidence(tmp_path)).questions}

    assert {"Singling out", "Linkability", "Inference", "Extraction", "Queries", "Motivated intruder"} <= set(rows)
    for name, row in rows.items():
        assert ("not tested" in row.result) == (not row.tests) or name == "Linkability"
    assert not rows["Inference"].tests
    assert not rows["Motivated intruder"].tests


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ('measure = "unread_alarms"', 'measure = "unread_alarm"', "did you mean 'unread_alarms'"),
        ("at_most = 0\n", "atmost = 0\n", "did you mean 'at_most'"),
        ('outcome = "reject"', 'outcome = "pass"', "never passes"),
        ("approvers = 2", "approver = 2", "did you mean 'approvers'"),
        ('release_model = "public"\n', "", "names no release model"),
        ("version = 1", "version = ", "is not valid TOML"),
        ('name = "Enough strangers"', 'name = "No confirmed copies"', "two rules are called"),
    ],
)
def test_a_mistake_in_a_policy_is_named_with_what_was_meant(tmp_path, old, new, said):
    text = policy.shipped_text("public")
    assert old in text
    (tmp_path / "mine.toml").write_text(text.replace(old, new, 1))

    with pytest.raises(SettingsError) as error:
        policy.open_release_policy(str(tmp_path / "mine.toml"))
    assert said in str(error.value)


def test_all_mistakes_of_a_policy_are_named_at_once(tmp_path):
    text = policy.shipped_text("public").replace('measure = "at_most"', 'measure = "atmost"')
    (tmp_path / "mine.toml").write_text(text.replace("minimum_cell", "minimum_cel"))

    with pytest.raises(SettingsError) as error:
        policy.open_release_policy(str(tmp_path / "mine.toml"))
    assert "minimum_cell" in str(error.value)
    assert "'at_most'" in str(error.value)
