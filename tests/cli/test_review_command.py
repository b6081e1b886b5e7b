"""`synthrelease review`: what it hands on, what it prints, and how it ends."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from synthrelease import study
from synthrelease.cli.review import command
from synthrelease.release_records import Reading

READ = Reading(to_read=3, read=3, copies=1, not_copies=2, unsure=0, planted_copies=3, planted_copies_recognised=2)


@pytest.fixture
def asked(monkeypatch) -> dict[str, Any]:
    """Take the place of the page: keep what the command asked for, and answer with `found`."""
    kept: dict[str, Any] = {"found": READ}

    def review(evidence: Path, **options: Any) -> Reading:
        options["say"]("Review page: http://127.0.0.1:1/open?token=x\x1b[2J")
        kept.update(options, evidence=evidence)
        return kept["found"]

    monkeypatch.setattr(study, "review", review, raising=False)
    return kept


def run(*arguments: str) -> Any:
    return CliRunner().invoke(command, arguments)


def test_options_reach_the_page(asked):
    run("result", "--by", "Ada Reader", "--port", "8123", "--no-browser")

    assert asked["evidence"] == Path("result")
    assert (asked["by"], asked["port"], asked["open_browser"]) == ("Ada Reader", 8123, False)


def test_it_says_what_was_read_and_what_comes_next(asked):
    done = run("result")

    assert done.exit_code == 0
    assert "Alarms read: 3 of 3." in done.stdout
    assert "2 of 3 copies and 0 of 0 strangers recognised" in done.stdout
    assert "synthrelease decide result --policy controlled" in done.stdout
    assert max(map(len, done.stdout.splitlines())) <= 80


def test_unread_alarms_are_exit_code_three_and_known_pairs_stay_closed(asked):
    asked["found"] = READ.model_copy(update={"read": 2})
    done = run("result")

    assert done.exit_code == 3
    assert "1 alarm is unread or unsure. Next: synthrelease review result" in done.stdout
    assert "recognised" not in done.stdout


def test_json_is_one_document_and_the_address_goes_to_stderr(asked):
    done = run("result", "--json")

    assert json.loads(done.stdout) == READ.model_dump()
    assert "Review page" in done.stderr
    assert "\x1b" not in done.stderr


def test_there_is_no_way_to_bind_elsewhere():
    names = {option for parameter in command.params for option in parameter.opts}

    assert names == {"evidence", "--by", "--port", "--no-browser", "--json"}
    assert run("result", "--port", "99999").exit_code == 2
