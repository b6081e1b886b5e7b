"""Evidence held against a release policy: one finding per rule, and which suspects may be taken out."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from synthrelease import policy as rules
from synthrelease import store
from synthrelease.decision import log, seal
from synthrelease.decision.folder import DECISION, POLICY, Evidence, write_record
from synthrelease.decision.guidance import questions
from synthrelease.decision.reading import answers, summarise
from synthrelease.errors import DecisionError
from synthrelease.records import AuditRecord, Finding, Verdict
from synthrelease.release_records import (
    Answer,
    Decision,
    DecisionRecord,
    Entry,
    PairInfo,
    QualityRecord,
    Reading,
    Removal,
    UtilityRecord,
)

WORDS: dict[Verdict, Decision] = {"pass": "APPROVE", "review": "REVIEW", "incomplete": "INCOMPLETE", "reject": "REJECT"}
OF_SUSPECTS = frozenset({"confirmed_copies", "exact_copies", "unread_alarms", "alarms", "excess_low", "at_most"})
"""Measures that taking suspects out can mend."""
OF_SIZE = frozenset({"holdout_subjects", "power_low", "membership_above_null", "train_subjects", "attempts"})
"""Measures that it cannot mend, but that leave the list of suspects as good as it was."""


@dataclass(frozen=True)
class State:
    """Everything that a decision looks at."""

    audit: AuditRecord
    images: frozenset[str]
    pairs: tuple[PairInfo, ...]
    entries: tuple[Entry, ...]
    quality: QualityRecord | None
    utility: UtilityRecord | None
    changed: tuple[str, ...]  # files that are not what the audit wrote

    @cached_property
    def answers(self) -> dict[str, Answer]:
        return answers(self.pairs, self.entries)

    @cached_property
    def reading(self) -> Reading:
        return summarise(self.pairs, self.entries)

    @property
    def removals(self) -> tuple[Removal, ...]:
        """Removals that led to the images as they are, oldest first."""
        return tuple(Removal.model_validate(entry.data) for entry in self.entries if entry.action == "remove")

    @property
    def attempts(self) -> int:
        """Audits of different images in this folder, or what the audit itself was told."""
        contents = {str(entry.data.get("synthetic")) for entry in self.entries if entry.action == "audit"}
        told = self.audit.made_with.settings.get("attempt", 1)
        return max(len(contents), int(told) if isinstance(told, int) else 1, 1)


def state_of(evidence: Evidence) -> State:
    """Return what the evidence folder holds; raise where quality or utility were measured on other images."""
    entries = log.read(evidence.folder)
    state = State(
        audit=evidence.audit,
        images=frozenset(evidence.images()),
        pairs=evidence.pairs(),
        entries=entries,
        quality=evidence.quality(),
        utility=evidence.utility(),
        changed=seal.changed(evidence.folder, entries),
    )
    contents = {str(entry.data.get("synthetic")) for entry in state.entries if entry.action == "audit"}
    contents |= {"", state.audit.inputs.synthetic.content}
    for name, record in (("quality.json", state.quality), ("utility.json", state.utility)):
        if record is not None and record.synthetic not in contents:
            raise DecisionError(
                f"{name} was measured on other images than the ones that were audited here.",
                f"Measure these images again, or remove {name} from {evidence.folder}.",
            )
    return state


def measures(state: State) -> tuple[dict[str, float | None], dict[str, str]]:
    """Return the value of every measure that a release policy may name, and what some of them rest on."""
    record, reading = state.audit, state.reading
    found = dict(rules.measures_of(record))
    found |= {
        "confirmed_copies": float(len(copies_left(state))),
        "unread_alarms": float(max(0, len(_alarmed(record)) + record.part_alarms_count - reading.read))
        if record.calibrated
        else None,
        "at_most": _at_most(state),
        "attack_auc": record.membership.auc if record.membership else None,
        "relative_dice": state.utility.relative_dice.value if state.utility and state.utility.relative_dice else None,
        "train_subjects": None if record.inputs.train.subjects is None else float(record.inputs.train.subjects),
        "attempts": float(state.attempts),
        "reader_sensitivity": reading.planted_copies_recognised / reading.planted_copies
        if reading.planted_copies
        else None,
    }
    return found, _details(state)


def copies_left(state: State) -> frozenset[str]:
    """Return the images still in the release that are exact copies or that a reader found to be copies."""
    said = {pair.pair_id for pair in state.pairs if not pair.kind.startswith("planted")}
    copies = {pair.image_id for pair in state.pairs if pair.pair_id in said and _answer(state, pair) == "copy"}
    copies |= {suspect.image_id for suspect in state.audit.exact_copies}
    return frozenset(copies) & state.images if state.images else frozenset(copies)


def decide(
    evidence: Evidence,
    policy: rules.Policy,
    text: str,
    *,
    generator_authors: Sequence[str] = (),
) -> DecisionRecord:
    """Hold the evidence against the policy; write `decision.json`, `policy.toml` and a line of the log.

    Args:
        evidence: An audit's evidence folder.
        policy: With a release model.
        text: The policy's TOML, kept beside the decision.
        generator_authors: People who made the generator; they cannot approve. Earlier declarations stay.
    """
    with store.one_writer(evidence.folder):  # two at once would leave one's policy beside the other's decision
        return _decide_alone(evidence, policy, text, generator_authors)


def _decide_alone(
    evidence: Evidence, policy: rules.Policy, text: str, generator_authors: Sequence[str]
) -> DecisionRecord:
    state = state_of(evidence)
    found, details = measures(state)
    verdict, findings = rules.judge(found, policy, details)
    if state.changed:
        verdict = rules.worse(verdict, "incomplete")
        findings = (_edited(state.changed), *findings)
    assert policy.release_model is not None
    store.write_text(evidence.folder / POLICY, text)
    record = DecisionRecord(
        decision=WORDS[verdict],
        policy=policy.name,
        policy_version=policy.version,
        policy_sha256=rules.sha256(text),
        release_model=policy.release_model,
        approvers_needed=policy.approvers,
        minimum_cell=policy.minimum_cell,
        findings=findings,
        questions=questions(state.audit, confirmed_copies=len(copies_left(state)), at_most=_at_most(state)),
        reading=state.reading,
        attempts=state.attempts,
        removals=state.removals,
        generator_authors=tuple(dict.fromkeys([*declared_authors(state.entries), *generator_authors])),
        quality=state.quality,
        utility=state.utility,
        binding=evidence.binding(),
        date=log.now(),
    )
    if (told := _just_told(evidence, state.entries)) and told.model_copy(update={"date": record.date}) == record:
        return told
    write_record(evidence.folder / DECISION, record)
    log.append(
        evidence.folder,
        "decide",
        data={
            "decision": record.decision,
            "policy": record.policy,
            "policy_sha256": record.policy_sha256,
            "binding": record.binding,
            "decision_sha256": store.sha256_of(evidence.folder / DECISION),
            "failed": [finding.rule for finding in findings if finding.decides and not finding.passed],
            "generator_authors": list(record.generator_authors),
        },
    )
    return record


def _just_told(evidence: Evidence, entries: Sequence[Entry]) -> DecisionRecord | None:
    """Return the decision that the log's last line tells of, if it lies here as it was written.

    A command that was killed after it decided, or is run twice, then says nothing twice.
    """
    file = evidence.folder / DECISION
    if not entries or entries[-1].action != "decide" or not file.is_file():
        return None
    return evidence.decision() if entries[-1].data.get("decision_sha256") == store.sha256_of(file) else None


def removable(evidence: Evidence, decision: DecisionRecord) -> Removal:
    """Return which images `--remove-suspects` takes out: every suspect that no reader has cleared.

    Raises:
        DecisionError: There is none, or the audit itself is in doubt, so that its list of suspects is, too.
    """
    state = state_of(evidence)
    seal.refuse_changed(evidence.folder, state.entries)
    others = [f for f in decision.findings if f.decides and not f.passed and f.measure not in OF_SUSPECTS | OF_SIZE]
    if others:
        listed = "; ".join(finding.rule for finding in others)
        raise DecisionError(
            f"Taking suspects out would not mend these findings, and they put the list of suspects in doubt: {listed}.",
            "Mend them first, and audit again.",
        )
    suspects = {s.image_id for s in (*state.audit.suspects, *state.audit.exact_copies)}
    suspects |= {part.image_id for part in state.audit.part_suspects}
    said: dict[str, set[str]] = {}
    for pair in state.pairs:
        if not pair.kind.startswith("planted"):
            said.setdefault(pair.image_id, set()).add(_answer(state, pair) or "")
    suspects |= {image for image, words in said.items() if "copy" in words}
    exact = {suspect.image_id for suspect in state.audit.exact_copies}
    cleared = {image for image in suspects - exact if said.get(image) == {"not a copy"}}
    gone = sorted((suspects - cleared) & state.images)
    if not gone:
        raise DecisionError("There is no suspect to take out.", "Nothing was changed.")
    if len(gone) == len(state.images):
        raise DecisionError("Every image is a suspect: nothing would remain.", "Do not release these images.")
    residual = max(
        (bound.residual_at_most for bound in state.audit.bounds if bound.required), default=len(state.images)
    )
    return Removal(
        attempt=state.attempts, images=tuple(gone), kept_after_reading=len(cleared), residual_at_most=residual
    )


def _edited(names: Sequence[str]) -> Finding:
    """Return the finding on evidence that somebody changed: no rule can be content with it, and nobody can approve."""
    return Finding(
        rule="Evidence is what the audit wrote",
        measure="evidence_unchanged",
        value=0,
        limit=1,
        side="at least",
        passed=False,
        outcome="incomplete",
        detail=f"changed: {', '.join(names)}",
        reason="Files of the evidence are not what the audit wrote. Restore them from a copy, or audit again.",
        source="Decision 0009 of synthrelease",
    )


def _at_most(state: State) -> float | None:
    """Return the largest share that may be copies of any one required kind, also after suspects were taken out.

    After removal no alarm is left because it was taken out, so the new audit's own bound would be circular: what the
    audit before it leaves (`residual_at_most`, and what readers kept) counts too, and the larger one is taken.
    """
    shares = [bound.at_most for bound in state.audit.bounds if bound.required]
    if not shares:
        return None
    left = max(len(state.images), 1)
    shares += [(removal.residual_at_most + removal.kept_after_reading) / left for removal in state.removals]
    return min(1.0, max(shares))


def _details(state: State) -> dict[str, str]:
    required = [bound for bound in state.audit.bounds if bound.required]
    details = {}
    if required:
        hardest = min(required, key=lambda bound: bound.power_low)
        widest = max(required, key=lambda bound: bound.at_most)
        details = {
            "power_low": f"hardest required kind: {hardest.kind}",
            "at_most": f"widest for: {widest.kind}",
        }
        if state.removals:
            details["at_most"] += "; counts what may remain after suspects were taken out"
    reading = state.reading
    details["unread_alarms"] = f"{reading.read} of {reading.to_read} pairs above alarm were read"
    return details


def _alarmed(record: AuditRecord) -> set[str]:
    return {suspect.image_id for suspect in (*record.alarms, *record.exact_copies)}


def _answer(state: State, pair: PairInfo) -> Answer | None:
    return state.answers.get(pair.pair_id)


def declared_authors(entries: Sequence[Entry]) -> list[str]:
    """Return everybody whom an earlier decision named as an author of the generator."""
    names: list[str] = []
    for entry in entries:
        listed = entry.data.get("generator_authors", [])
        names += [str(name) for name in listed] if isinstance(listed, list) else []
    return names


@functools.cache
def shipped_words() -> frozenset[str]:
    """Return the texts of the shipped policies: in them, a short id such as "A" is a word."""
    shipped = [rules.load(rules.shipped_text(name), name) for name in rules.SHIPPED]
    words = {text for one in shipped for rule in one.rules for text in (rule.name, rule.reason, rule.source)}
    return frozenset(words | {one.name for one in shipped})


def import_record(path: Path, evidence: Evidence, name: str, kind: type[QualityRecord] | type[UtilityRecord]) -> None:
    """Check a quality or utility record and copy it beside the audit."""
    try:
        record = kind.model_validate_json(path.read_bytes())
    except (OSError, ValueError) as error:
        raise DecisionError(
            f"{path} is no {name}: {str(error).splitlines()[0]}.", "Name the file that was made."
        ) from error
    write_record(evidence.folder / name, record)
