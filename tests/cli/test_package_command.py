"""`synthrelease package`, `verify` and `keys` as a person types them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from package_helpers import evidence_in, images_of, packed

from synthrelease import cli, study
from synthrelease.decision.folder import open_evidence
from synthrelease.release.package import build

Run = Callable[..., tuple[int, str, str]]
NEEDED = ("--licence", "CC-BY-4.0", "--title", "Synthetic slices", "--creator", "Radiology")


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """Return a function that runs one command line and gives exit code, stdout and stderr."""
    monkeypatch.setenv("SYNTHRELEASE_KEYS", str(tmp_path / "keys"))
    monkeypatch.chdir(tmp_path)
    images = images_of()

    def package(evidence: Path, out: Path, options: Any, **rest: Any) -> Any:  # the images lie in memory here
        return build(open_evidence(evidence), lambda: images, out, options, **rest)

    monkeypatch.setattr(study, "package", package)

    def call(*arguments: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["synthrelease", *arguments])
        with pytest.raises(SystemExit) as stopped:
            cli.main()
        text = capsys.readouterr()
        return int(stopped.value.code or 0), text.out, text.err

    return call


def test_package_then_verify_with_and_without_the_key(run: Run, tmp_path: Path) -> None:
    evidence_in(tmp_path, images_of())
    code, out, _ = run("package", ".", "--out", "release", *NEEDED)
    assert code == 0, out
    assert str(tmp_path / "keys" / "publisher.pem") in out
    assert "made just now" in out
    assert max(map(len, out.replace(str(tmp_path), "").splitlines())) <= 80
    code, out, _ = run("verify", "release")
    assert code == 0
    assert "Intact" in out
    assert "not shown who" in out
    assert max(map(len, out.splitlines())) <= 80
    code, out, _ = run("verify", "release", "--key", "keys/publisher.pub")
    assert (code, "the key that you gave" in out) == (0, True)


def test_json_is_one_document_for_success_and_for_problems(run: Run, tmp_path: Path) -> None:
    evidence_in(tmp_path, images_of())
    assert json.loads(run("package", ".", "--out", "release", *NEEDED, "--json")[1])["images"] == 8
    assert json.loads(run("package", ".", "--out", "release", *NEEDED, "--json")[1])["unchanged"] is True
    found = json.loads(run("verify", "release", "--json")[1])
    assert (found["intact"], found["signer"], found["problems"]) == (True, "unverified", [])
    (tmp_path / "release" / "README.md").write_text("edited")
    code, out, _ = run("verify", "release", "--json")
    assert code == 5
    assert [problem["code"] for problem in json.loads(out)["problems"]] == ["changed-file"]
    code, out, _ = run("verify", "nothing", "--json")
    assert (code, json.loads(out)["error"]) == (1, "StoreError")


def test_each_refusal_has_its_exit_code_and_a_remedy(run: Run, tmp_path: Path) -> None:
    evidence_in(tmp_path, images_of(), approve=False)
    code, _, err = run("package", ".", "--out", "release", *NEEDED)
    assert (code, "approve" in err) == (3, True)
    assert run("package", "nowhere", "--out", "release", *NEEDED)[0] == 1
    assert run("package", ".", "--out", "release", "--title", "x", "--creator", "y")[0] == 2
    other = tmp_path / "other"
    other.mkdir()
    evidence_in(other, images_of(), decision="REJECT", approve=False)
    assert run("package", "other", "--out", "release", *NEEDED)[0] == 4
    changed = tmp_path / "changed"
    changed.mkdir()
    evidence_in(changed, images_of(seed=7))
    code, _, err = run("package", "changed", "--out", "release", *NEEDED)
    assert (code, "changed since the audit" in err) == (5, True)
    assert not (tmp_path / "release").exists()


def test_a_leak_is_named_and_leaves_nothing(run: Run, tmp_path: Path) -> None:
    evidence_in(tmp_path, images_of())
    code, _, err = run("package", ".", "--out", "release", *NEEDED, "--description", "like TCGA_CS_4941")
    assert (code, "tcga_cs_4941" in err, "README.md" in err) == (1, True, True)
    assert not (tmp_path / "release").exists()


def test_problems_of_a_package_are_listed_with_their_files(run: Run, tmp_path: Path, monkeypatch: Any) -> None:
    packed(tmp_path)
    (tmp_path / "release" / "README.md").write_text("edited")
    (tmp_path / "release" / "\x1b[31m.txt").write_text("x")
    code, out, _ = run("verify", "release")
    assert code == 5
    assert "2 problems" in out
    assert "README.md" in out
    assert "\x1b" not in out


def test_keys_are_made_shown_and_never_overwritten(run: Run, tmp_path: Path) -> None:
    assert "No key yet" in run("keys", "show")[1]
    code, out, _ = run("keys", "new")
    assert code == 0
    assert "BEGIN PUBLIC KEY" in out
    assert "PRIVATE" not in out
    assert run("keys", "new")[0] == 1
    assert "BEGIN PUBLIC KEY" in run("keys", "show")[1]
    made = json.loads(run("keys", "new", "--out", "vault/mine.pem", "--json")[1])
    assert Path(made["path"]) == Path("vault/mine.pem")
    assert len(json.loads(run("keys", "show", "--json")[1])["keys"]) == 1
    evidence_in(tmp_path, images_of())
    run("package", ".", "--out", "release", *NEEDED, "--key", "vault/mine.pem")
    assert run("verify", "release", "--key", "vault/mine.pub")[0] == 0
    assert run("verify", "release", "--key", "keys/publisher.pub")[0] == 5
    code, _, err = run("verify", "release", "--key", "vault/mine.pem")
    assert (code, "must never leave" in err) == (1, True)
    assert run("keys", "new", "--out", "release/key.pem")[0] == 1


def test_verify_as_its_own_process_needs_no_torch(run: Run, tmp_path: Path) -> None:
    packed(tmp_path)
    code = (
        "import sys; sys.argv = ['synthrelease', 'verify', 'release']\n"
        "from synthrelease.cli import main\n"
        "try: main()\n"
        "finally: print(sorted({'torch', 'faiss', 'sklearn', 'matplotlib'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=tmp_path, env=os.environ)
    assert (done.returncode, done.stdout.splitlines()[-1]) == (0, "[]"), done.stderr


def test_pages_of_a_package_come_back_the_same_and_not_at_all_from_an_edited_one(run: Run, tmp_path: Path) -> None:
    packed(tmp_path)
    package = tmp_path / "release"
    code, _, err = run("report", "release", "--out", "pages")
    assert code == 0, err
    for page in ("README.md", "report/index.html"):
        assert (tmp_path / "pages" / page).read_bytes() == (package / page).read_bytes()

    record = package / "report" / "record.json"
    record.write_text(record.read_text() + " ")
    code, _, err = run("report", "release", "--out", "again")
    assert code == 5
    assert "not what its publisher signed" in err
    assert not (tmp_path / "again").exists()
