"""Approvals: who may, for what, and when they lapse."""

from __future__ import annotations

import datetime
import json

import pytest
from decision_helpers import SYNTHETIC, alarm, clean_record, decided, say, with_alarms, write_evidence

from synthrelease.decision import approval, keeping, log
from synthrelease.decision.folder import open_evidence, write_pairs, write_record
from synthrelease.errors import DecisionError, IntegrityError, NotApprovedError, RejectedError
from synthrelease.release_records import QualityRecord


def approve(evidence, by="A. Steward", **changes):
    options = {"role": "data steward", "reason": "I looked at every pair.", **changes}
    return approval.approve(evidence, by=by, **options)


@pytest.fixture
def clean(tmp_path):
    evidence = write_evidence(tmp_path)
    decided(evidence, "controlled")
    return evidence


def test_one_person_approves_a_controlled_release(clean):
    with pytest.raises(NotApprovedError, match="Nobody has approved"):
        approval.in_force(clean)
    approve(clean, conditions=["Only under the agreement."], review_by=datetime.date(2999, 1, 1))

    (given,) = approval.in_force(clean)
    assert given.by == "A. Steward"
    assert given.conditions == ("Only under the agreement.",)
    assert given.override_of is None


def test_two_different_people_approve_a_public_release(tmp_path):
    evidence = write_evidence(tmp_path)
    decided(evidence, "public")
    for same in ("A. Steward", "a.  steward ", "Ａ. Steward"):
        approve(evidence, same)
    with pytest.raises(NotApprovedError, match="1 of 2 different people"):
        approval.in_force(evidence)

    standing, needed = approve(evidence, "B. Manager")
    assert (len(standing), needed) == (2, 2)
    assert {a.by for a in approval.in_force(evidence)} == {"Ａ. Steward", "B. Manager"}


def test_who_made_the_generator_cannot_approve_it(tmp_path):
    evidence = write_evidence(tmp_path)
    decided(evidence, "controlled", generator_authors=["G. Author"])
    decided(evidence, "controlled")  # a later decision does not make anybody forget it

    with pytest.raises(DecisionError, match="made the generator"):
        approve(evidence, "g. author")


@pytest.mark.parametrize(("part_alarms", "word"), [(1, "REVIEW")])
def test_an_override_is_recorded_with_what_it_overrides(tmp_path, part_alarms, word):
    evidence = write_evidence(tmp_path, clean_record(part_alarms_count=part_alarms))
    assert decided(evidence, "controlled").decision == word
    approve(evidence, reason="The part is the edge of the field of view.")

    (given,) = approval.in_force(evidence)
    assert given.override_of == word
    assert given.reason == "The part is the edge of the field of view."


def test_nobody_overrides_a_rejection(tmp_path):
    evidence = write_evidence(tmp_path, with_alarms(alarm(1, exact=True)))
    decided(evidence, "controlled")

    with pytest.raises(RejectedError) as error:
        approve(evidence)
    assert error.value.exit_code == 4
    assert not [entry for entry in log.read(tmp_path) if entry.action == "approve"]


def test_a_person_who_rejects_ends_the_approvals_before(clean):
    approve(clean)
    approval.reject(clean, by="B. Manager", role="manager", reason="No agreement is signed.")
    with pytest.raises(NotApprovedError, match=r"rejected by B\. Manager"):
        approval.in_force(clean)
    approve(clean)
    assert approval.in_force(clean)
    approval.withdraw(clean, by="A. Steward", role="steward", reason="A patient asked.")
    with pytest.raises(NotApprovedError, match="withdrawn"):
        approval.in_force(clean)


def audited_again(evidence):
    """Seal what lies in the evidence folder now, as an audit does when it ends."""
    keeping.note_audit(evidence.folder, synthetic=SYNTHETIC, verdict="pass", images=1, attempt=1)


def edit_audit(evidence):
    write_record(evidence.folder / "audit.json", evidence.audit.model_copy(update={"alpha": 0.02}))


def edit_images(evidence):
    (evidence.folder / "images.csv").write_text("image_id,pixels_sha256\nmade/000.png,0\n")


CHANGES = {
    "audit": lambda e: (edit_audit(e), audited_again(e)),
    "quality": lambda e: write_record(e.folder / "quality.json", QualityRecord(measurements=())),
    "policy": lambda e: (e.folder / "policy.toml").write_text((e.folder / "policy.toml").read_text() + "\n"),
    "image list": lambda e: (edit_images(e), audited_again(e)),
    "a reader": lambda e: say(e, e.pairs()[0], "copy"),
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES.keys())
def test_an_approval_lapses_when_what_it_was_given_for_changes(tmp_path, change):
    evidence = write_evidence(tmp_path, with_alarms(alarm(1)))
    say(evidence, evidence.pairs()[0], "not a copy")
    decided(evidence, "controlled")
    approve(evidence)
    assert approval.in_force(evidence)

    change(evidence)
    with pytest.raises(DecisionError, match="older than the evidence"):
        approval.in_force(open_evidence(tmp_path))
    if decided(open_evidence(tmp_path), "controlled").decision != "REJECT" and change is not CHANGES["policy"]:
        with pytest.raises(NotApprovedError, match="lapsed"):
            approval.in_force(open_evidence(tmp_path))


EDITS = {
    "audit.json": edit_audit,
    "images.csv": edit_images,
    "fingerprints.txt": lambda e: (e.folder / "fingerprints.txt").write_text("0" * 64 + "\n"),
    "identities.json": lambda e: (e.folder / "identities.json").write_text("{}"),
    "pairs/index.json": lambda e: write_pairs(e.folder, ()),
    "kept-sha256.txt": lambda e: (e.folder / "kept-sha256.txt").write_text(""),
}


@pytest.mark.parametrize("name", EDITS)
def test_edited_evidence_never_gets_an_approve_and_nobody_can_sign_for_it(tmp_path, name):
    """Else whoever edits it decides and approves anew; the leak gate trusts names and fingerprints in it."""
    evidence = write_evidence(tmp_path, with_alarms(alarm(1)))
    say(evidence, evidence.pairs()[0], "not a copy")
    decided(evidence, "controlled")
    approve(evidence)

    EDITS[name](evidence)
    for act in (approve, approval.in_force):
        with pytest.raises(IntegrityError, match=name):
            act(open_evidence(tmp_path))
    edited(decided(open_evidence(tmp_path), "controlled"), name)
    with pytest.raises(IntegrityError, match=name):
        approve(open_evidence(tmp_path))


def edited(decision, name):
    """Check that a decision says which file was edited, and does not approve."""
    assert decision.decision in ("INCOMPLETE", "REJECT")
    assert decision.findings[0].rule == "Evidence is what the audit wrote"
    assert name in decision.findings[0].detail


def test_pictures_of_pairs_may_be_destroyed_but_not_exchanged(tmp_path):
    picture = tmp_path / "pairs" / "0123456789ab.npz"
    picture.parent.mkdir()
    picture.write_bytes(b"pixels")
    evidence = write_evidence(tmp_path)
    picture.write_bytes(b"others")
    edited(decided(evidence, "controlled"), "0123456789ab")

    picture.unlink()
    assert decided(evidence, "controlled").decision == "APPROVE"


def test_nobody_can_sign_for_evidence_without_its_log(clean):
    (clean.folder / log.NAME).unlink()
    with pytest.raises(IntegrityError, match="Lines are missing"):
        decided(clean, "controlled")

    (clean.folder / log.HEAD).unlink()
    edited(decided(clean, "controlled"), "decisions.jsonl")
    with pytest.raises(IntegrityError, match="knows no audit"):
        approve(clean)


def test_an_approval_by_somebody_who_turns_out_to_have_made_the_generator_no_longer_counts(clean):
    approve(clean)
    decided(clean, "controlled", generator_authors=["a.  STEWARD"])

    with pytest.raises(NotApprovedError, match="made the generator"):
        approval.in_force(clean)


def test_deciding_again_on_the_same_evidence_keeps_the_approval(clean):
    approve(clean)
    decided(clean, "controlled")

    assert approval.in_force(clean)


def test_an_approval_ends_after_the_day_by_which_it_must_be_reviewed(clean):
    tomorrow = datetime.date.today() + datetime.timedelta(days=2)
    approve(clean, review_by=tomorrow)

    assert approval.in_force(clean, today=tomorrow)
    with pytest.raises(NotApprovedError, match="has lapsed"):
        approval.in_force(clean, today=tomorrow + datetime.timedelta(days=1))
    with pytest.raises(DecisionError, match="in the past"):
        approve(clean, review_by=datetime.date(2020, 1, 1))


def test_an_edited_decision_is_noticed(tmp_path):
    evidence = write_evidence(tmp_path, with_alarms(alarm(1, exact=True)))
    decided(evidence, "public")
    path = tmp_path / "decision.json"
    record = json.loads(path.read_text())
    path.write_text(json.dumps({**record, "decision": "APPROVE", "approvers_needed": 1}))

    with pytest.raises(IntegrityError, match="edited or replaced"):
        approve(evidence)


def test_an_edited_log_is_noticed(clean):
    approve(clean)
    path = clean.folder / log.NAME
    path.write_text(path.read_text().replace("A. Steward", "B. Steward"))

    with pytest.raises(IntegrityError, match="is not what was written"):
        approval.in_force(clean)


@pytest.mark.parametrize("field", ["by", "role", "reason"])
@pytest.mark.parametrize("text", ["", "   ", "x" * 5000, "right-to-left \u202e", "bell \x07"])
def test_empty_endless_and_invisible_texts_are_refused(clean, field, text):
    with pytest.raises(DecisionError):
        approve(clean, **{field: text})
    assert not [entry for entry in log.read(clean.folder) if entry.action == "approve"]


def test_approving_needs_a_decision(tmp_path):
    with pytest.raises(DecisionError, match="no decision yet"):
        approve(write_evidence(tmp_path))
