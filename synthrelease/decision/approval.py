"""People approve, reject and withdraw; the log keeps it, bound to the evidence as it was."""

from __future__ import annotations

import datetime
import unicodedata
from collections.abc import Sequence
from typing import Literal

from synthrelease import store
from synthrelease.decision import log, seal
from synthrelease.decision.decide import declared_authors
from synthrelease.decision.folder import DECISION, Evidence
from synthrelease.decision.reading import same_name
from synthrelease.errors import DecisionError, IntegrityError, NotApprovedError, RejectedError
from synthrelease.release_records import Approval, DecisionRecord, Entry

LONGEST = 4000  # characters of one text


def approve(
    evidence: Evidence,
    *,
    by: str,
    role: str,
    reason: str,
    conditions: Sequence[str] = (),
    review_by: datetime.date | None = None,
) -> tuple[tuple[Approval, ...], int]:
    """Record an approval; return all that stand for this evidence, and how many different people are needed.

    Raises:
        RejectedError: The decision is REJECT; nobody can override it.
        DecisionError: No decision, one older than the evidence, or a person who may not approve.
    """
    decision = current_decision(evidence)
    if decision.decision == "REJECT":
        raise RejectedError(
            "The decision is REJECT, and no approval can override it.",
            "Take the copies out (synthrelease decide --remove-suspects), or make other images.",
        )
    by, role, reason = _said(by=by, role=role, reason=reason)
    if same_person(by, decision.generator_authors):
        raise DecisionError(
            f"{by} made the generator, and so cannot approve its images.", "Ask somebody who did not make it."
        )
    if review_by is not None and review_by < _today():
        raise DecisionError(f"--review-by {review_by} is in the past.", "Give a date to come.")
    override = decision.decision if decision.decision in ("REVIEW", "INCOMPLETE") else None
    log.append(
        evidence.folder,
        "approve",
        by=by,
        role=role,
        reason=reason,
        data={
            "binding": decision.binding,
            "decision": decision.decision,
            "override_of": override,
            "conditions": [_text("condition", condition) for condition in conditions],
            "review_by": review_by.isoformat() if review_by else None,
        },
    )
    return standing(evidence), decision.approvers_needed


def reject(evidence: Evidence, *, by: str, role: str, reason: str) -> None:
    """Record that a person says no; approvals given before it no longer count."""
    _no(evidence, "reject", by=by, role=role, reason=reason)


def withdraw(evidence: Evidence, *, by: str, role: str, reason: str) -> None:
    """Record that an approval is taken back, also after packaging; nothing can be packaged from here on."""
    _no(evidence, "withdraw", by=by, role=role, reason=reason)


def in_force(evidence: Evidence, today: datetime.date | None = None) -> tuple[Approval, ...]:
    """Return the approvals on which a package can rest.

    Raises:
        NotApprovedError: None, too few different people, lapsed, or withdrawn: it says which.
        RejectedError: The decision is REJECT.
        IntegrityError: Log or decision were edited.
    """
    decision = current_decision(evidence)
    if decision.decision == "REJECT":
        raise RejectedError("The decision is REJECT: these images cannot be packaged.")
    approvals = standing(evidence)
    people = _people(approvals)
    if len(people) < decision.approvers_needed:
        raise NotApprovedError(_why_not(evidence, decision, len(people)), _remedy(decision))
    day = today or _today()
    lapsed = [a for a in approvals if a.review_by is not None and datetime.date.fromisoformat(a.review_by) < day]
    if lapsed:
        raise NotApprovedError(
            f"The approval by {lapsed[0].by} was to be reviewed by {lapsed[0].review_by}, and has lapsed.",
            "Approve again.",
        )
    return approvals


def standing(evidence: Evidence) -> tuple[Approval, ...]:
    """Return the approvals given for the evidence as it is now and not taken back; the last one of each person.

    Those of people who were declared as the generator's authors do not count, whenever that was declared.
    """
    binding, entries = evidence.binding(), log.read(evidence.folder)
    authors = declared_authors(entries)
    kept: dict[str, Approval] = {}
    for entry in entries:
        if entry.action in ("reject", "withdraw"):
            kept.clear()
        if entry.action == "approve" and entry.data.get("binding") == binding and not same_person(entry.by, authors):
            kept[same_name(entry.by)] = _approval(entry)
    return tuple(kept.values())


def current_decision(evidence: Evidence) -> DecisionRecord:
    """Return the latest decision if it was made from the evidence as it is now.

    Raises:
        DecisionError: There is none, or evidence, readings, policy or image list changed since.
        IntegrityError: decision.json is not what the log recorded.
    """
    decision = evidence.decision()
    entries = log.read(evidence.folder)
    made = [entry for entry in entries if entry.action == "decide"]
    if decision is None or not made:
        raise DecisionError("There is no decision yet.", "Run `synthrelease decide EVIDENCE --policy POLICY` first.")
    seal.refuse_changed(evidence.folder, entries)
    if made[-1].data.get("decision_sha256") != store.sha256_of(evidence.folder / DECISION):
        raise IntegrityError(
            "decision.json is not the decision that the log recorded: it was edited or replaced.",
            "Run `synthrelease decide` again.",
        )
    if decision.binding != evidence.binding():
        raise DecisionError(
            "The decision is older than the evidence: audit, readings, policy, image list, quality or utility changed.",
            "Run `synthrelease decide` again, then approve. Approvals given before have lapsed.",
        )
    return decision


def same_person(name: str, others: Sequence[str]) -> bool:
    """Say whether a name is among others, whatever its case, spaces and Unicode form."""
    return same_name(name) in {same_name(other) for other in others}


def _no(evidence: Evidence, action: Literal["reject", "withdraw"], *, by: str, role: str, reason: str) -> None:
    by, role, reason = _said(by=by, role=role, reason=reason)
    log.append(evidence.folder, action, by=by, role=role, reason=reason, data={"binding": evidence.binding()})


def _said(*, by: str, role: str, reason: str) -> tuple[str, str, str]:
    return _text("name", by), _text("role", role), _text("reason", reason)


def _text(what: str, text: str) -> str:
    """Return a person's text without outer spaces, or raise: empty, far too long, or with control characters."""
    text = " ".join(text.split())  # printed in tables and on one line
    if not text:
        raise DecisionError(f"The {what} is empty.", f"Give a {what} that a reader in ten years understands.")
    if len(text) > LONGEST:
        raise DecisionError(f"The {what} has {len(text)} characters, more than {LONGEST}.", "Say it in fewer words.")
    bad = [char for char in text if unicodedata.category(char) in ("Cc", "Cf", "Cs", "Zl", "Zp")]
    if bad:
        raise DecisionError(f"The {what} holds invisible characters ({bad[0]!r}).", "Type it as plain text.")
    return text


def _people(approvals: Sequence[Approval]) -> set[str]:
    return {same_name(approval.by) for approval in approvals}


def _approval(entry: Entry) -> Approval:
    return Approval.model_validate(
        {
            "by": entry.by,
            "role": entry.role,
            "reason": entry.reason,
            "conditions": entry.data.get("conditions", []),
            "review_by": entry.data.get("review_by"),
            "date": entry.time,
            "override_of": entry.data.get("override_of"),
        }
    )


def _why_not(evidence: Evidence, decision: DecisionRecord, people: int) -> str:
    acts = [entry for entry in log.read(evidence.folder) if entry.action in ("approve", "reject", "withdraw")]
    if people:
        return f"{people} of {decision.approvers_needed} different people have approved under policy {decision.policy}."
    if acts and acts[-1].action != "approve":
        word = "rejected" if acts[-1].action == "reject" else "withdrawn"
        return f"The release was {word} by {acts[-1].by} on {acts[-1].time}."
    if acts and same_person(acts[-1].by, decision.generator_authors):
        return f"The approval by {acts[-1].by} does not count: the same person made the generator."
    if acts:
        return "The approval has lapsed: evidence, readings, policy or image list changed since it was given."
    return f"Nobody has approved this release (decision: {decision.decision})."


def _remedy(decision: DecisionRecord) -> str:
    return f"Run `synthrelease approve EVIDENCE --by NAME --role ROLE --reason TEXT` (decision: {decision.decision})."


def _today() -> datetime.date:
    return datetime.datetime.fromisoformat(log.now()).date()
