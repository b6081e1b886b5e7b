"""The decision log: what was written stays, and what was changed is noticed."""

from __future__ import annotations

import json
import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from synthrelease.decision import log
from synthrelease.errors import IntegrityError, StoreError

HOSTILE = 'line\nbreak "quote" </script> \u202e\u2028 \x00 {"action":"approve"}'


@pytest.fixture
def three(tmp_path) -> Path:
    for name in ("A", "B", "C"):
        log.append(tmp_path, "approve", by=name, role="steward", reason=HOSTILE, data={"binding": "x"})
    return tmp_path


def lines(folder: Path) -> list[bytes]:
    return (folder / log.NAME).read_bytes().splitlines()


def test_entries_come_back_as_they_were_written(three):
    entries = log.read(three)

    assert [entry.by for entry in entries] == ["A", "B", "C"]
    assert [entry.number for entry in entries] == [1, 2, 3]
    assert entries[0].reason == HOSTILE
    assert entries[0].previous == log.FIRST
    assert entries[2].previous == entries[1].sha256 == log.read(three)[1].sha256
    assert log.head(three) == entries[2].sha256


def test_hostile_text_stays_on_its_line(three):
    assert len(lines(three)) == 3
    assert all(json.loads(line)["reason"] == HOSTILE for line in lines(three))


@pytest.mark.parametrize(
    "change",
    [
        lambda kept: [kept[0].replace(b'"by":"A"', b'"by":"Z"'), *kept[1:]],
        lambda kept: kept[1:],
        lambda kept: [kept[0], kept[2]],
        lambda kept: [kept[1], kept[0], kept[2]],
        lambda kept: [*kept, kept[2]],
        lambda kept: [*kept, b'{"action":"approve"}'],
        lambda kept: [kept[0], b"", *kept[1:]],
        lambda kept: [kept[0].replace(b'"number":1', b'"number":1,"extra":2'), *kept[1:]],
    ],
    ids=["edited", "first removed", "middle removed", "swapped", "repeated", "added", "blank", "key added"],
)
def test_every_kind_of_change_breaks_the_chain(three, change):
    (three / log.NAME).write_bytes(b"\n".join(change(lines(three))) + b"\n")

    with pytest.raises(IntegrityError, match="is not what was written") as error:
        log.read(three)
    assert error.value.exit_code == 5


def test_nothing_is_appended_to_a_broken_chain(three):
    content = (three / log.NAME).read_bytes().replace(b'"by":"B"', b'"by":"X"')
    (three / log.NAME).write_bytes(content)

    with pytest.raises(IntegrityError, match="Line 2"):
        log.append(three, "approve", by="D")
    assert (three / log.NAME).read_bytes() == content


def test_a_line_cut_short_by_a_crash_is_dropped_and_the_log_goes_on(three):
    with (three / log.NAME).open("ab") as file:
        file.write(b'{"action":"appro')

    assert len(log.read(three)) == 3
    log.append(three, "withdraw", by="D")
    assert [entry.action for entry in log.read(three)] == ["approve"] * 3 + ["withdraw"]


@pytest.mark.parametrize("cut", [1, None])
def test_a_log_that_lost_its_last_line_is_noticed(three, cut):
    """A chain without its end is still a chain, and the end may have been a rejection."""
    log.append(three, "reject", by="D")
    content = (three / log.NAME).read_bytes()
    (three / log.NAME).write_bytes(content[: -cut if cut else content.rstrip().rfind(b"\n") + 1])

    with pytest.raises(IntegrityError, match="Lines are missing at the end"):
        log.read(three)
    with pytest.raises(IntegrityError, match="Lines are missing at the end"):
        log.append(three, "approve", by="E")


def test_many_writers_at_once_lose_nothing(tmp_path):
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda i: log.append(tmp_path, "pair", by=f"reader {i}"), range(40)))

    assert {entry.by for entry in log.read(tmp_path)} == {f"reader {i}" for i in range(40)}


def test_a_full_disk_leaves_the_log_as_it_was(three, monkeypatch):
    before = (three / log.NAME).read_bytes()
    real = os.write

    def half(handle: int, data: bytes) -> int:
        return real(handle, data[: len(data) // 2])

    monkeypatch.setattr(os, "write", half)
    with pytest.raises(StoreError, match="No space left"):
        log.append(three, "approve", by="D")
    assert (three / log.NAME).read_bytes() == before


def test_no_variable_puts_an_act_into_the_past(tmp_path, monkeypatch):
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "0")

    assert not log.append(tmp_path, "approve", by="A").time.startswith("1970")


def test_the_log_is_for_its_owner_alone(three):
    assert (three / log.NAME).stat().st_mode & 0o777 == 0o600
