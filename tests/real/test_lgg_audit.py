"""The audit on real patients: what it must find, and what it must leave alone (issue figures, per transformation)."""

from __future__ import annotations

import json
from pathlib import Path

import lgg_copies as lgg
import pytest

from synthrelease import study
from synthrelease.records import AuditRecord
from synthrelease.settings import AuditSettings

pytestmark = pytest.mark.real

ALL = ("mirror", "rotation_5", "gamma", "blur")  # found without exception


def audited(folders: dict[str, Path], out: Path) -> AuditRecord:
    return study.audit(
        train=folders["train"],
        holdout=folders["holdout"],
        synthetic=folders["standin"],
        out=out,
        settings=AuditSettings(permutations=199, bootstrap=400),
    )


def caught(record: AuditRecord, truth: dict[str, tuple[str, str]]) -> dict[str, tuple[int, int]]:
    """Return, per kind, how many copies are suspects with their right source subject, of how many."""
    found = {suspect.image_id: suspect.train_subject for suspect in record.suspects}
    table: dict[str, tuple[int, int]] = {}
    for image_id, (kind, subject) in truth.items():
        hits, of = table.get(kind, (0, 0))
        table[kind] = (hits + (found.get(image_id) == subject), of + 1)
    return table


@pytest.mark.parametrize("seed", [0, pytest.param(1, marks=pytest.mark.slow), pytest.param(2, marks=pytest.mark.slow)])
def test_copies_hidden_among_a_perfect_generators_images_are_named_with_their_patient(real_data, tmp_path, seed):
    folders = lgg.split(real_data / "lgg", tmp_path, seed)
    truth = lgg.hide_copies(folders["train"], folders["standin"], lgg.ISSUE_KINDS, seed)
    unseen = lgg.hide_copies(folders["train"], folders["standin"], lgg.HELD_OUT, seed + 7)

    record = audited(folders, tmp_path / "out")

    table = caught(record, truth)
    print(json.dumps({kind: f"{hits}/{of}" for kind, (hits, of) in table.items()}))
    print("never seen in tuning:", json.dumps({k: f"{h}/{of}" for k, (h, of) in caught(record, unseen).items()}))
    assert len(truth) == 360
    assert all(of == lgg.COPIES for _, of in table.values())
    assert sum(hits for hits, _ in table.values()) >= 0.95 * 360
    assert {kind: table[kind] for kind in ALL} == dict.fromkeys(ALL, (lgg.COPIES, lgg.COPIES))
    assert record.verdict == "reject"
    assert len([s for s in record.suspects if s.image_id not in truth and s.image_id not in unseen]) <= 8


@pytest.mark.slow
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_a_perfect_generator_has_no_excess_of_near_copies(real_data, tmp_path, seed):
    folders = lgg.split(real_data / "lgg", tmp_path, seed)

    record = audited(folders, tmp_path / "out")

    excess = record.near_copies.excess
    assert excess is not None
    assert excess.low <= 0 <= excess.high
    assert record.verdict in ("pass", "review")
    assert record.representative is not None
    assert record.representative.representative
    assert not record.exact_copies
    power = [bound.power_low for bound in record.bounds if bound.required]
    assert min(power) >= 0.8
