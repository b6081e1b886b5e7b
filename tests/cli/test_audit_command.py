"""`synthrelease audit`: options become settings, verdicts become exit codes, errors become sentences."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
from pathlib import Path

import click
import pytest
from audit_helpers import run_cli, write_role

from synthrelease import cli, study
from synthrelease.cli import audit as audit_command
from synthrelease.cli.audit import EXIT_CODES, _settings
from synthrelease.errors import AuditError, ScanError
from synthrelease.policy import SEVERITY

ROLES = ("--train", "t", "--holdout", "h", "--synthetic", "s", "--out", "o")


def options(**changes):
    plain = {"extractors": (), "weights": (), "channels": None, "no_parts": False, "exclude": ()}
    return _settings({**plain, **changes})


def failing(error):
    def audit(**_):
        raise error

    return audit


@pytest.fixture
def record():
    place = Path(__file__).resolve().parents[1] / "report" / "sample.py"
    spec = importlib.util.spec_from_file_location("sample_record_module", place)
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module.sample_record()


@pytest.mark.parametrize(("verdict", "code"), [("pass", 0), ("review", 3), ("incomplete", 3), ("reject", 4)])
@pytest.mark.parametrize("as_json", [False, True])
def test_every_verdict_has_its_exit_code(verdict, code, as_json, record, monkeypatch):
    decided = record.model_copy(update={"verdict": verdict})
    monkeypatch.setattr(study, "audit", lambda **_: decided)

    run = run_cli("audit", *ROLES, *(["--json"] if as_json else []))

    assert run.code == code == EXIT_CODES[verdict]
    if as_json:
        assert run.document == json.loads(decided.model_dump_json())
    else:
        assert verdict.upper() in run.out.splitlines()[0]
        assert "report.html" in run.out
    assert set(EXIT_CODES) == set(SEVERITY)


@pytest.mark.parametrize(
    ("error", "code", "name"),
    [
        (AuditError("It is broken.", "Mend it."), 1, "AuditError"),
        (ScanError("No such folder."), 1, "ScanError"),
        (ValueError("surprise"), 1, "UnforeseenError"),
        (MemoryError(), 1, "UnforeseenError"),
        (KeyboardInterrupt(), 130, "Interrupted"),
        (click.UsageError("Not so."), 2, "UsageError"),
    ],
)
def test_json_is_exactly_one_document_for_errors_too(error, code, name, monkeypatch):
    monkeypatch.setattr(study, "audit", failing(error))

    spoken, quiet = run_cli("audit", *ROLES, "--json"), run_cli("audit", *ROLES)

    assert spoken.code == quiet.code == code
    assert spoken.document["error"] == name
    assert spoken.document["problem"].split(".")[0] in spoken.err
    assert quiet.out == ""
    assert quiet.err.strip()


def test_an_interrupted_run_promises_that_work_is_kept(monkeypatch):
    monkeypatch.setattr(study, "audit", failing(KeyboardInterrupt()))

    assert "Finished work is kept: run the same command again" in run_cli("audit", *ROLES).err


def test_a_fault_of_ours_is_shown_in_full_when_asked_for(monkeypatch):
    monkeypatch.setattr(study, "audit", failing(ValueError("surprise")))
    assert cli.TRACEBACK in run_cli("audit", *ROLES).err
    monkeypatch.setenv(cli.TRACEBACK, "1")

    with pytest.raises(ValueError, match="surprise"):
        run_cli("audit", *ROLES)


def test_control_characters_in_messages_do_not_reach_the_terminal(monkeypatch):
    monkeypatch.setattr(study, "audit", failing(ScanError("a\x1b[2Jb\rc\udcffd.png is bad.", "Line one\nline two")))

    run = run_cli("audit", *ROLES)

    assert "\x1b" not in run.err
    assert "\r" not in run.err
    assert "\\x1b[2Jb" in run.err
    assert "Line one\nline two" in run.err


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        (["audit", "--train", "t"], "--synthetic"),
        (["audit", *ROLES, "--alpha", "much"], "--alpha"),
        (["audit", *ROLES, "--colour", "red"], "--colour"),
        (["audit", *ROLES, "--weights", "file.pt"], "exactly one --extractor"),
        (["audti"], "audit"),
    ],
)
def test_wrong_usage_exits_with_two_and_names_the_option(arguments, word):
    run = run_cli(*arguments, "--json")

    assert run.code == 2
    assert word in run.err
    assert word in run.document["problem"]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--alpha", "0.5"], ["alpha"]),
        (["--image-size", "8"], ["image_size"]),
        (["--attempt", "0"], ["attempt"]),
        (["--extractor", "embeded"], ["embeded", "Did you mean 'embedded'"]),
        (["--extractor", "radimagenet-resnet18"], ["Did you mean 'radimagenet-resnet50'"]),
        (["--extractor", "pixels", "--weights", "f.pt"], ["takes no weights", "f.pt"]),
        (["--weights", "radimagenet-resnet50=f.pt"], ["not among the extractors", "--extractor radimagenet-resnet50"]),
        (["--extractor", "pixels", "--weights", "x=f.pt"], ["x"]),
        (["--memory", "plenty"], ["'plenty' is no amount of memory", "8GB"]),
    ],
)
def test_options_that_cannot_be_are_refused_before_any_folder_is_read(arguments, words, tmp_path):
    nowhere = tmp_path / "no"
    run = run_cli("audit", "--train", nowhere, "--synthetic", nowhere, "--out", tmp_path / "o", *arguments)

    assert run.code == 1
    assert all(word in run.err for word in words)
    assert not (tmp_path / "o").exists()


def test_memory_that_cannot_hold_a_search_is_refused_before_anything_is_embedded(tmp_path):
    train, made = write_role(tmp_path / "t", range(2)), write_role(tmp_path / "s", range(4, 6))

    run = run_cli(
        "audit", "--train", train, "--synthetic", made, "--out", tmp_path / "o", "--memory", "0.5GB", "--json"
    )

    assert run.code == 1
    assert run.document["problem"] == "The search needs 1.5 GB of memory, and 0.5 GB are allowed."
    assert "--memory" in run.document["remedy"]
    assert "Embedding" not in run.err


def test_options_become_settings():
    found = options(
        extractors=("pixels", "radimagenet-resnet50"),
        weights=("radimagenet-resnet50=/w/a=b.pt",),
        channels="T1, T2,",
        no_parts=True,
        exclude=("a.png",),
        alpha=0.02,
    )

    assert found.extractors == ("pixels", "radimagenet-resnet50")
    assert found.weights == {"radimagenet-resnet50": Path("/w/a=b.pt")}
    assert found.channels == ("T1", "T2")
    assert (found.parts, found.exclude, found.alpha) == (False, ("a.png",), 0.02)


def test_a_plain_weights_file_belongs_to_the_one_extractor_even_with_an_equals_sign_in_its_path(tmp_path):
    file = tmp_path / "a=b.pt"
    file.touch()

    for given in (str(file), "f.pt"):
        found = options(extractors=("radimagenet-resnet50",), weights=(given,))
        assert found.weights == {"radimagenet-resnet50": Path(given)}


def test_help_needs_no_torch_and_explains_the_exit_codes():
    code = (
        "import sys; sys.argv = ['x', 'audit', '--help']\n"
        "from synthrelease import cli\n"
        "try: cli.main()\n"
        "except SystemExit as stop: assert not stop.code\n"
        "assert 'torch' not in sys.modules"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)

    assert run.returncode == 0, run.stderr
    assert "3 review or incomplete" in run.stdout
    assert audit_command.command.help
