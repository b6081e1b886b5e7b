"""Builds an evidence folder by hand, as an audit leaves it, without running one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from sample import sample_record, suspect

from synthrelease import policy
from synthrelease.decision import decide as deciding
from synthrelease.decision import keeping, log
from synthrelease.decision.folder import Evidence, open_evidence, write_images, write_pairs, write_record
from synthrelease.records import AuditRecord, Bound, MembershipAttack, Suspect
from synthrelease.release_records import DecisionRecord, Identities, PairInfo, Source, Sources

IMAGES = {f"made/{i:03d}.png": f"{i:064x}" for i in range(2000)}
SYNTHETIC = "c" * 64


def clean_record(**changes: Any) -> AuditRecord:
    """Return a record that every rule of `public` is content with."""
    record = sample_record("pass")
    holdout = record.inputs.holdout
    assert holdout is not None
    inputs = record.inputs.model_copy(
        update={
            "holdout": holdout.model_copy(update={"subjects": 80}),
            "unread": (),
            "synthetic": record.inputs.synthetic.model_copy(update={"content": SYNTHETIC, "images": len(IMAGES)}),
        }
    )
    attack = record.membership
    assert attack is not None
    fields: dict[str, Any] = {
        "inputs": inputs,
        "bounds": (bound("mirror"), bound("blur")),
        "membership": attack.model_copy(update={"auc": 0.5, "null_high": 0.6}),
        "near_copies": record.near_copies.model_copy(
            update={"excess": record.near_copies.excess and record.near_copies.excess.model_copy(update={"low": -0.01})}
        ),
    }
    return record.model_copy(update={**fields, **changes})


def bound(kind: str, **changes: Any) -> Bound:
    """Return a bound that every shipped policy is content with."""
    fields: dict[str, Any] = {"kind": kind, "power_low": 0.95, "at_most": 0.002, "residual_at_most": 3}
    return Bound(**{**fields, **changes})


def alarm(number: int, **changes: Any) -> Suspect:
    """Return a suspect above alarm among the released images."""
    return suspect(number, image_id=f"made/{number:03d}.png", above_alarm=True, **changes)


def pair_of(found: Suspect, **changes: Any) -> PairInfo:
    """Return the pair that a reader sees for a suspect."""
    fields: dict[str, Any] = {
        "pair_id": f"{abs(hash(found.image_id)) % 16**12:012x}",
        "kind": "suspect",
        "image_id": found.image_id,
        "train_image_id": found.train_image_id,
        "train_subject": found.train_subject,
        "score": found.score,
        "exact": found.exact,
        "above_alarm": found.above_alarm,
        "channels": ("t1",),
    }
    return PairInfo(**{**fields, **changes})


def with_alarms(*alarms: Suspect, **changes: Any) -> AuditRecord:
    """Return the clean record with these alarms."""
    return clean_record(
        suspects=alarms, alarms=alarms, exact_copies=tuple(a for a in alarms if a.exact), part_suspects=(), **changes
    )


def write_evidence(
    folder: Path, record: AuditRecord | None = None, pairs: tuple[PairInfo, ...] | None = None
) -> Evidence:
    """Write an evidence folder for a record; pairs are those of its alarms unless given."""
    record = record or clean_record()
    folder.mkdir(parents=True, exist_ok=True)
    write_record(folder / "audit.json", record)
    write_images(folder, IMAGES)
    where = Source(path="", content=SYNTHETIC)
    write_record(folder / "sources.json", Sources(train=where, holdout=where, synthetic=where))
    write_record(folder / "identities.json", Identities(subjects=("TCGA_01",), images=(), paths=()))
    (folder / "fingerprints.txt").write_text("")
    (folder / "pairs").mkdir(exist_ok=True)
    write_pairs(folder, tuple(pair_of(a) for a in record.alarms) if pairs is None else pairs)
    keeping.note_audit(folder, synthetic=SYNTHETIC, verdict=record.verdict, images=len(IMAGES), attempt=1)
    return open_evidence(folder)


def say(evidence: Evidence, pair: PairInfo, answer: str, by: str = "R. Reader") -> None:
    """Log what a reader said about a pair."""
    data = {"pair_id": pair.pair_id, "image_id": pair.image_id, "answer": answer, "planted": False}
    log.append(evidence.folder, "pair", by=by, role="reader", reason="seen", data=data)


def decided(evidence: Evidence, name: str = "public", **options: Any) -> DecisionRecord:
    """Decide under a shipped policy."""
    rules, text = policy.open_release_policy(name)
    return deciding.decide(evidence, rules, text, **options)


def attack(record: AuditRecord) -> MembershipAttack:
    """Return the record's membership attack."""
    assert record.membership is not None
    return record.membership
