"""Crashes at the very points where a random kill seldom lands, and where something was lost before it was mended."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from audit_helpers import run_cli, write_role
from decision_helpers import clean_record, write_evidence
from training_helpers import heads, tiny_generator

from synthrelease import store
from synthrelease.decision import keeping, log
from synthrelease.decision.folder import AUDIT, write_record
from synthrelease.generators.training_loop import Callbacks
from synthrelease.image_set import ImageRow, open_set
from synthrelease.image_writer import ImageSetWriter
from synthrelease.training import checkpoint
from synthrelease.training.training_log import read_scalars


class Killed(BaseException):
    """Stands for SIGKILL: nothing catches it, and what was on the disk stays there."""


def write(folder: Path, value: int) -> str:
    """Write or go on with a set of two pieces and return its content."""
    with ImageSetWriter(folder, ("t1",)) as writer:
        for name in ("a", "b"):
            if name not in writer.finished:
                writer.add(name, np.full((2, 1, 8, 8), value, np.uint8), [ImageRow(f"{name}{i}") for i in range(2)])
        return writer.close().content


@pytest.mark.parametrize("rename", [1, 2])
def test_an_image_set_that_replaces_another_is_one_of_the_two_whenever_the_run_is_killed(rename, tmp_path, monkeypatch):
    old, new = write(tmp_path / "made", 1), write(tmp_path / "other", 2)
    renames, real = [], Path.replace

    def replace(self: Path, target: Path) -> Path:
        if {self.name, target.name} & {"made"}:  # Zarr renames, too
            renames.append(self.name)
            if len(renames) == rename:
                raise Killed
        return real(self, target)

    monkeypatch.setattr(Path, "replace", replace)
    added = []
    real_add = ImageSetWriter.add
    monkeypatch.setattr(ImageSetWriter, "add", lambda *a, **k: added.append(a[1]) or real_add(*a, **k))
    with pytest.raises(Killed):
        write(tmp_path / "made", 2)
    if (tmp_path / "made").is_dir():
        assert open_set(tmp_path / "made", check_content=True).content == old
    monkeypatch.setattr(Path, "replace", real)
    added.clear()

    assert write(tmp_path / "made", 2) == new
    assert open_set(tmp_path / "made", check_content=True).content == new
    assert added == [], "finished pieces are kept"
    assert {path.name for path in tmp_path.iterdir()} == {"made", "other"}


def test_a_checkpoint_that_is_deleted_when_the_run_is_killed_is_gone_by_name(tmp_path, monkeypatch):
    import shutil

    import torch

    def save(step: int) -> None:
        state = {"network": {"weight": torch.full((4,), float(step))}}
        checkpoint.save(tmp_path, checkpoint.Checkpoint(step, state), keep_last=1)

    save(1)

    def killed(path: Path, **options: object) -> None:
        if Path(path).exists() and "gone" in Path(path).name:
            raise Killed

    monkeypatch.setattr(shutil, "rmtree", killed)
    with pytest.raises(Killed):
        save(2)
    monkeypatch.undo()

    assert [path.name for path in checkpoint.saved(tmp_path)] == ["step-000000002"]
    save(3)
    assert [path.name for path in (tmp_path / "checkpoints").iterdir()] == ["step-000000003"]


def test_a_checkpoint_whose_judging_was_cut_short_is_judged_on_resuming(tmp_path):
    """Judging takes long, so this is where a kill lands: the best checkpoint was then another than without the kill."""

    def judge(step: int, sampler: object) -> float:
        if step == 4 and not killed:
            killed.append(step)
            raise Killed
        return abs(step - 4)

    killed: list[int] = []
    images = heads()
    with pytest.raises(Killed):
        tiny_generator("stylegan2", checkpoint_every=2).train(
            images, 8, tmp_path / "killed", callbacks=Callbacks(judge=judge, judge_name="FD")
        )
    for folder in ("killed", "unbroken"):
        tiny_generator("stylegan2", checkpoint_every=2).train(
            images, 8, tmp_path / folder, resume=True, callbacks=Callbacks(judge=judge, judge_name="FD")
        )

    best = [json.loads((tmp_path / folder / "best.json").read_text()) for folder in ("killed", "unbroken")]
    assert best[0] == best[1]
    assert best[0]["checkpoint"] == "step-000000004"
    judged = [[row["FD"] for row in read_scalars(tmp_path / f) if "FD" in row] for f in ("killed", "unbroken")]
    assert judged[0] == judged[1] == [2, 0, 2, 4]


def test_an_attempt_that_was_put_aside_is_not_overwritten_by_half_of_the_next(tmp_path):
    folder = write_evidence(tmp_path, clean_record()).folder
    first = (folder / AUDIT).read_bytes()
    keeping.put_aside(folder, "another")
    write_record(folder / AUDIT, clean_record(warnings=("the next audit",)))  # then the run was killed

    keeping.put_aside(folder, "another")

    assert (folder / "attempts" / "1" / AUDIT).read_bytes() == first


@pytest.mark.slow
def test_a_removal_that_was_killed_before_its_audit_is_logged_once(tmp_path, monkeypatch):
    from synthrelease import auditing

    for role, indices in (("train", range(6)), ("holdout", range(20, 26)), ("made", range(40, 44))):
        write_role(tmp_path / role, indices, 2)
    copy = next((tmp_path / "train").rglob("*.png"))
    (tmp_path / "made" / "copy.png").write_bytes(copy.read_bytes())
    roles = [part for role in ("train", "holdout") for part in (f"--{role}", tmp_path / role)]
    words = ("--synthetic", tmp_path / "made", "--extractor", "pixels", "--no-parts", "--image-size", 64)
    assert run_cli("audit", *roles, *words, "--out", tmp_path / "out").code == 4
    remove = ("decide", tmp_path / "out", "--policy", "controlled", "--remove-suspects")
    real = auditing.audit_into

    def killed(*arguments: object, **options: object) -> None:
        raise Killed

    monkeypatch.setattr(auditing, "audit_into", killed)
    with pytest.raises(Killed):
        run_cli(*remove)
    monkeypatch.setattr(auditing, "audit_into", real)

    assert run_cli(*remove).code in (0, 3)
    folder = tmp_path / "out" / "evidence"
    assert [entry.action for entry in log.read(folder)].count("remove") == 1
    assert len(json.loads((folder / "decision.json").read_text())["removals"]) == 1


def test_a_result_of_folders_within_folders_is_sealed_and_made_again_when_damaged(tmp_path, caplog):
    made = []

    def make(folder: Path) -> None:
        made.append(folder)
        store.write_text(folder / "pairs" / "one.txt", "1")

    def kept() -> str:
        return store.kept(tmp_path, "pairs", 1, make, lambda folder: (folder / "pairs" / "one.txt").read_text())

    assert kept() == kept() == "1"
    assert len(made) == 1
    (tmp_path / f"pairs-{store.digest(1)}" / "pairs" / "one.txt").write_text("2")

    assert kept() == "1"
    assert "is made again" in caplog.text
