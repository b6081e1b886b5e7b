"""Disks that refuse, clocks that jump, two at once, files that change: a clear error or the same answer."""

from __future__ import annotations

import datetime
import json
import os
import resource
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from audit_helpers import run_cli, without_time, write_png, write_role
from fault_helpers import flip, flip_chunk, flip_pixel, small_disk
from package_helpers import agree, evidence_in, images_of
from review_helpers import browser, make_evidence
from same import said
from segmentation_helpers import BRATS, stored, tumours

from synthrelease import store
from synthrelease.decision import approval, log, seal
from synthrelease.errors import NotApprovedError, ScanError, StoreError
from synthrelease.generators.sampling import write_samples
from synthrelease.image_set import is_image_set, open_set

LEVELS = (102, 51, 204)
QUICK = ("--extractor", "pixels", "--no-parts", "--image-size", 64)
SPLIT = ("--fractions", "0.4,0.3,0.3", "--foreground", 0.05, "--workers", 1)
TRAINED = ("--generator", "stylegan2", "--config", "small", "--resolution", 64, "--steps", 1, "--best", "own")
SAID = ("--licence", "CC-BY-4.0", "--title", "Made-up", "--creator", "Nobody")
ONE = ("--by", "A. Steward", "--role", "steward", "--reason", "Made-up.")


@pytest.fixture(scope="module")
def scans(tmp_path_factory) -> Path:
    """Ten made-up patients in PNG files."""
    return write_role(tmp_path_factory.mktemp("scans") / "cohort", range(10), 2)


@pytest.fixture(scope="module")
def kept_sets(tmp_path_factory) -> Path:
    """Image sets of all roles, never changed, and a cache that knows them."""
    root = tmp_path_factory.mktemp("sets")
    for seed, role in enumerate(("train", "holdout", "test")):
        stored(root / role, tumours(18, seed=seed, name=role, channels=BRATS, levels=LEVELS, size=64))
    made = tumours(12, seed=9, name="made", channels=BRATS, levels=LEVELS, size=64, subjects=False)
    stored(root / "made", made)
    return root


@pytest.fixture
def sets(kept_sets, tmp_path) -> Path:
    """A copy that a test may spoil."""
    return shutil.copytree(kept_sets, tmp_path / "sets")


def roles(sets: Path) -> tuple[object, ...]:
    return ("--train", sets / "train", "--holdout", sets / "holdout", "--synthetic", sets / "made")


# --- disks that refuse ------------------------------------------------------------------------------------------------


def test_a_disk_that_fills_up_while_preparing_is_told_and_the_same_command_goes_on(scans, tmp_path):
    unbroken = run_cli("prepare", scans, "--out", tmp_path / "unbroken", *SPLIT)
    assert unbroken.code == 0, unbroken.err
    with small_disk(tmp_path / "disk", "96k") as disk:
        out = disk.folder / "sets"
        full = run_cli("prepare", scans, "--out", out, *SPLIT)
        assert full.code == 1
        assert "No space left" in full.err
        assert "run the same command again" in full.err
        assert not any(is_image_set(out / role) for role in ("train", "holdout", "test"))

        disk.grow("64m")
        again = run_cli("prepare", scans, "--out", out, *SPLIT)

        assert again.code == 0, again.err
        assert said(out) == said(tmp_path / "unbroken")


def test_a_read_only_disk_is_told(scans, tmp_path):
    with small_disk(tmp_path / "disk", "4m") as disk:
        disk.read_only()
        refused = run_cli("prepare", scans, "--out", disk.folder / "sets", *SPLIT)

        assert refused.code == 1
        assert "Read-only file system" in refused.err
        assert list(disk.folder.iterdir()) == []


def test_an_answer_that_does_not_fit_on_the_disk_is_refused_and_the_log_stays_whole(tmp_path):
    with small_disk(tmp_path / "disk", "64k") as disk:
        for name in ("A", "B"):
            log.append(disk.folder, "pair", by=name)
        filler = disk.fill()
        with pytest.raises(StoreError, match="No space left"):
            log.append(disk.folder, "pair", by="C", reason="x" * 5000)
        assert [entry.by for entry in log.read(disk.folder)] == ["A", "B"]

        filler.unlink()
        log.append(disk.folder, "pair", by="C")
        assert [entry.by for entry in log.read(disk.folder)] == ["A", "B", "C"]


def test_a_checkpoint_that_does_not_fit_is_told_and_the_one_before_it_stays(tmp_path):
    import torch

    from synthrelease.training import checkpoint

    def of(step: int, numbers: int) -> checkpoint.Checkpoint:
        return checkpoint.Checkpoint(step, {"network": {"weight": torch.full((numbers,), float(step))}})

    with small_disk(tmp_path / "disk", "128k") as disk:
        checkpoint.save(disk.folder, of(1, 100))
        with pytest.raises(StoreError, match="No space left") as caught:
            checkpoint.save(disk.folder, of(2, 100_000))
        assert "--resume" in caught.value.remedy

        newest = checkpoint.latest(disk.folder)
        assert newest is not None
        assert checkpoint.load(newest).step == 1
        assert [path.name for path in newest.parent.iterdir()] == [newest.name]


def test_a_limit_on_the_size_of_files_is_told_as_a_full_disk_is(tmp_path):
    code = (
        "import resource, sys; from pathlib import Path; from synthrelease import store\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))\n"
        "try: store.write_text(Path(sys.argv[1]), 'x' * 5000)\n"
        "except store.StoreError as error: print(error.problem)"
    )
    assert resource.getrlimit(resource.RLIMIT_FSIZE)[0] != 1000
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path / "record.json")], capture_output=True, text=True, check=True
    )

    assert "File too large" in done.stdout
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("verb", ["prepare", "train", "segment", "measure", "audit"])
def test_a_file_in_the_place_of_the_output_folder_stays_and_is_named(verb, scans, sets, tmp_path):
    """Also for root, whom permissions do not bind."""
    out = tmp_path / "out"
    out.write_text("mine")
    words = {
        "prepare": (scans, *SPLIT),
        "train": ("--images", sets / "train", *TRAINED),
        "segment": ("--real", sets / "train", "--test", sets / "test", "--preset", "small", "--steps", 1),
        "measure": ("--real", sets / "train", "--synthetic", sets / "made", "--extractor", "pixels", "--no-intervals"),
        "audit": (*roles(sets), *QUICK),
    }[verb]

    run = run_cli(verb, *words, "--out", out)

    assert run.code == 1
    assert "a file stands where a folder is needed" in run.err
    assert out.read_text() == "mine"


# --- clocks that jump -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("jump", ["1999-01-01T00:00:00+00:00", "2099-01-01T00:00:00+00:00"])
def test_a_clock_that_jumps_while_pairs_are_read_loses_no_answer_and_no_order(jump, tmp_path, monkeypatch):
    evidence = make_evidence(tmp_path)
    reader = browser(evidence)
    reader.answer("suspect a", "copy")
    monkeypatch.setattr(log, "now", lambda: jump)
    assert reader.answer("suspect a", "not a copy", "looked again").status_code == 303
    monkeypatch.undo()
    assert reader.answer("copy a", "copy").status_code == 303

    entries = log.read(evidence.folder)
    assert [entry.number for entry in entries] == [1, 2, 3]
    assert entries[1].time == jump
    holding = reader.desk.standing().holding
    assert sorted(holding.values()) == ["copy", "not a copy"], "the later answer holds, whatever the clock said"


def test_locks_do_not_look_at_the_clock(tmp_path):
    with store.one_writer(tmp_path):
        pass
    (lock,) = [path for path in (store.cache_folder() / "locks").iterdir() if path.is_file()]
    for moment in (0, 4_000_000_000):
        os.utime(lock, (moment, moment))
        with store.one_writer(tmp_path):
            pass


# --- two at once ------------------------------------------------------------------------------------------------------


def both(*commands: list[str], cache: Path) -> list[subprocess.CompletedProcess[str]]:
    """Run commands at once, in processes of their own."""
    env = {**os.environ, "SYNTHRELEASE_CACHE": str(cache), "OMP_NUM_THREADS": "1"}

    def call(words: list[str]) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "synthrelease", *words]
        return subprocess.run(command, env=env, capture_output=True, text=True, check=False, timeout=300)

    with ThreadPoolExecutor(len(commands)) as pool:
        return list(pool.map(call, commands))


def test_two_preparations_into_one_folder_end_with_one_result_and_one_clear_refusal(scans, tmp_path):
    words = ["prepare", str(scans), "--out", str(tmp_path / "sets"), "--foreground", "0.05", "--workers", "1"]
    done = both([*words, "--seed", "1"], [*words, "--seed", "2"], cache=tmp_path / "cache")

    assert sorted(run.returncode for run in done) == [0, 1]
    refused = next(run for run in done if run.returncode == 1)
    assert "was prepared differently: roles, settings changed" in refused.stderr
    made_from = json.loads((tmp_path / "sets" / "made_from.json").read_text())
    for role, subjects in made_from["roles"].items():
        assert set(open_set(tmp_path / "sets" / role, check_content=True).subjects) == set(subjects)


@pytest.mark.slow
def test_two_audits_into_one_folder_come_one_after_the_other(sets, tmp_path):
    other = tumours(12, seed=10, name="other", channels=BRATS, levels=LEVELS, size=64, subjects=False)
    stored(sets / "other", other)
    first = ["audit", *map(str, roles(sets)), "--out", str(tmp_path / "out"), *map(str, QUICK)]
    second = [word.replace(str(sets / "made"), str(sets / "other")) for word in first]
    done = both(first, second, cache=tmp_path / "cache")

    assert all(run.returncode in (0, 3, 4) for run in done), [run.stderr for run in done]
    folder = tmp_path / "out" / "evidence"
    entries = log.read(folder)
    assert seal.changed(folder, entries) == (), "the evidence is that of one audit"
    assert [entry.data["attempt"] for entry in entries if entry.action == "audit"] == [1, 2]
    assert (folder / "attempts" / "1" / "audit.json").is_file()


class Patterns:
    """A generator whose image i shows i."""

    name, channels = "patterns", ("t1",)

    def sample(self, seeds):
        yield np.stack([np.full((1, 16, 16), seed / 1000, np.float32) for seed in seeds])


def test_two_samplings_into_one_folder_leave_the_images_of_one_of_them(tmp_path):
    wanted = [range(300), range(300, 700)]
    with ThreadPoolExecutor(2) as pool:
        list(pool.map(lambda seeds: write_samples(Patterns(), seeds, tmp_path / "made"), wanted))  # type: ignore[arg-type]

    found = open_set(tmp_path / "made", check_content=True)
    assert [row.seed for row in found.rows] in [list(seeds) for seeds in wanted]
    assert not (tmp_path / "made.partial").exists()


# --- what changed on the disk -----------------------------------------------------------------------------------------


def test_a_scan_that_changed_between_two_runs_is_not_mixed_with_the_others(scans, tmp_path):
    cohort = shutil.copytree(scans, tmp_path / "cohort")
    assert run_cli("prepare", cohort, "--out", tmp_path / "sets", *SPLIT).code == 0
    before = said(tmp_path / "sets")
    picture = next(cohort.rglob("*.png"))
    write_png(picture, np.random.default_rng(0).integers(0, 255, (3, 64, 64)).astype(np.uint8))

    changed = run_cli("prepare", cohort, "--out", tmp_path / "sets", *SPLIT)

    assert changed.code == 1
    assert "was prepared differently: scans changed" in changed.err
    assert said(tmp_path / "sets") == before


def test_every_kind_of_damaged_cache_entry_is_made_again_and_said(tmp_path, caplog):
    for role, indices in (("train", range(6)), ("holdout", range(20, 26)), ("made", range(40, 44))):
        write_role(tmp_path / role, indices, 2)  # raw files: their import is cached, too
    cache = tmp_path / "cache"
    first = run_cli("audit", *roles(tmp_path), "--out", tmp_path / "one", *QUICK, "--json", cache=cache)
    entries = [path for path in cache.iterdir() if path.is_dir() and path.name != "locks"]
    kinds = {path.name.rpartition("-")[0] for path in entries}
    assert {"images", "features", "screen", "prepared", "fingerprints", "pairs"} <= kinds
    for entry in entries:
        whole = entry / "images.zarr" / "c" if is_image_set(entry) else entry
        flip(max((path for path in whole.rglob("*") if _is_content(path)), key=lambda path: path.stat().st_size))

    again = run_cli("audit", *roles(tmp_path), "--out", tmp_path / "two", *QUICK, "--json", cache=cache)

    assert without_time(again.document) == without_time(first.document)
    told = caplog.text + again.err
    for entry in entries:
        assert entry.name in told, f"{entry.name} was damaged, and nobody said so"
    for name in ("images.csv", "fingerprints.txt", "identities.json", "pairs/index.json"):
        one, two = (tmp_path / place / "evidence" / name for place in ("one", "two"))
        assert one.read_bytes() == two.read_bytes()


def _is_content(path: Path) -> bool:
    return path.is_file() and path.name not in ("made_from.json", store.SEALS, "seal.json")


@pytest.mark.parametrize("spoil", [flip_chunk, flip_pixel])
@pytest.mark.parametrize("verb", ["train", "segment", "measure", "audit"])
def test_one_bit_that_turned_over_in_an_image_set_ends_every_verb_that_reads_it(verb, spoil, sets, tmp_path):
    spoil(sets / ("made" if verb in ("measure", "audit") else "train"))
    words = {
        "train": ("--images", sets / "train", *TRAINED),
        "segment": ("--real", sets / "train", "--test", sets / "test", "--preset", "small", "--steps", 1),
        "measure": ("--real", sets / "train", "--synthetic", sets / "made", "--extractor", "pixels"),
        "audit": (*roles(sets), *QUICK),
    }[verb]

    run = run_cli(verb, *words, "--out", tmp_path / "out")

    assert run.code == 1
    assert "does not hold what set.json recorded" in run.err
    assert not any(path.is_file() for path in (tmp_path / "out").rglob("*"))


@pytest.mark.slow
def test_one_bit_that_turned_over_after_the_approval_ends_packaging_with_an_integrity_error(sets, tmp_path):
    out = tmp_path / "out"
    assert run_cli("audit", *roles(sets), "--out", out, *QUICK).code in (0, 3)
    assert run_cli("decide", out, "--policy", "controlled").code in (0, 3)
    assert run_cli("approve", out, *ONE).code == 0
    package = (
        "package",
        out,
        "--out",
        tmp_path / "release",
        "--licence",
        "CC-BY-4.0",
        "--title",
        "T",
        "--creator",
        "C",
    )
    flip_pixel(sets / "made")

    refused = run_cli(*package)

    assert refused.code == 5
    assert "cannot be read again" in refused.err
    assert not (tmp_path / "release").exists()


def test_a_finished_preparation_that_was_damaged_is_not_taken_for_whole(scans, tmp_path):
    assert run_cli("prepare", scans, "--out", tmp_path / "sets", *SPLIT).code == 0
    flip_pixel(tmp_path / "sets" / "train")

    run = run_cli("prepare", scans, "--out", tmp_path / "sets", *SPLIT)

    assert run.code == 5
    assert "Remove" in run.err


def test_samples_that_were_damaged_are_sampled_again(tmp_path):
    content = write_samples(Patterns(), range(20), tmp_path / "made").content  # type: ignore[arg-type]
    flip_pixel(tmp_path / "made")
    with pytest.raises(ScanError):
        open_set(tmp_path / "made", check_content=True)

    assert write_samples(Patterns(), range(20), tmp_path / "made").content == content  # type: ignore[arg-type]
    assert open_set(tmp_path / "made", check_content=True).content == content


def test_an_approval_that_was_to_be_reviewed_lapses_with_the_clock_and_holds_when_it_is_set_right(
    tmp_path, monkeypatch
):
    evidence = evidence_in(tmp_path, images_of(), approve=False)
    agree(evidence, review_by=datetime.date(2090, 1, 1))
    monkeypatch.setattr(log, "now", lambda: "2099-01-01T00:00:00+00:00")
    with pytest.raises(NotApprovedError, match="lapsed"):
        approval.in_force(evidence)

    monkeypatch.setattr(log, "now", lambda: "1999-01-01T00:00:00+00:00")
    assert len(approval.in_force(evidence)) == 1
