"""The store: whole or absent, private, named after what made it, and clear about disks that refuse."""

from __future__ import annotations

import errno
import json
import stat
import subprocess
import sys

import pytest

from synthrelease import store
from synthrelease.errors import StoreError


def mode(path):
    return stat.S_IMODE(path.stat().st_mode)


def test_private_folders_are_readable_by_their_owner_alone(tmp_path):
    old = tmp_path / "open"
    old.mkdir(mode=0o755)

    assert mode(store.private_folder(old)) == 0o700
    assert mode(store.private_folder(tmp_path / "a" / "b")) == 0o700


def test_the_cache_lies_where_the_user_says(tmp_path, monkeypatch):
    monkeypatch.setenv("SYNTHRELEASE_CACHE", str(tmp_path / "mine"))

    assert store.cache_folder() == tmp_path / "mine"
    assert mode(tmp_path / "mine") == 0o700


def test_a_file_is_written_whole_or_not_at_all(tmp_path):
    place = tmp_path / "deep" / "record.json"
    store.write_text(place, "first")

    def fail_halfway():
        with store.atomic_path(place) as partial:
            partial.write_text("half")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail_halfway()

    assert place.read_text() == "first"
    assert [item.name for item in place.parent.iterdir()] == ["record.json"]
    assert mode(place) & 0o077 == 0


@pytest.mark.parametrize(
    ("first", "second"),
    [({"a": 1}, {"a": 2}), ({"a": 1}, {"b": 1}), ([1, 2], [2, 1]), (["ab"], ["a", "b"]), (None, ""), (1, "1")],
)
def test_anything_that_differs_names_another_result(first, second):
    assert store.digest(first) != store.digest(second)


def test_the_order_of_keys_does_not_matter():
    assert store.digest({"a": 1, "b": [2]}) == store.digest({"b": [2], "a": 1})
    assert len(store.digest({})) == 16


def test_a_result_is_made_once_and_says_what_it_was_made_from(tmp_path):
    calls = []

    def make(folder):
        calls.append(folder)
        (folder / "answer").write_text("42")

    made = [store.result(tmp_path, "search", {"k": 4}, make) for _ in range(2)]

    assert len(calls) == 1
    assert made[0] == made[1] == tmp_path / f"search-{store.digest({'k': 4})}"
    assert json.loads((made[0] / "made_from.json").read_text()) == {"k": 4}
    assert mode(made[0]) == 0o700
    assert store.result(tmp_path, "search", {"k": 5}, make) != made[0]


def test_an_interrupted_result_keeps_its_work_and_no_final_name(tmp_path):
    def make(folder):
        done = folder / "done"
        if not done.exists():
            done.write_text("first half")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        store.result(tmp_path, "search", 1, make)
    assert [item.suffix for item in tmp_path.iterdir()] == [".partial"]

    found = store.result(tmp_path, "search", 1, make)

    assert (found / "done").read_text() == "first half"
    assert not list(tmp_path.glob("*.partial"))


def test_a_result_that_another_process_finished_first_is_taken(tmp_path):
    final = tmp_path / f"search-{store.digest(1)}"

    def make(folder):
        final.mkdir()
        (final / "theirs").write_text("done")

    assert store.result(tmp_path, "search", 1, make) == final
    assert (final / "theirs").exists()
    assert not list(tmp_path.glob("*.partial"))


@pytest.mark.parametrize(
    ("fault", "says"),
    [
        (PermissionError(errno.EACCES, "denied"), "permission denied"),
        (OSError(errno.ENOSPC, "No space left on device"), "No space left"),
        (OSError(errno.EROFS, "Read-only file system"), "Read-only"),
        (OSError(errno.EDQUOT, "Quota exceeded"), "Quota"),
        (NotADirectoryError(errno.ENOTDIR, "not a directory"), "a file stands where a folder is needed"),
    ],
)
def test_a_disk_that_refuses_is_explained_with_a_remedy(fault, says, tmp_path):
    with pytest.raises(StoreError, match=says) as caught, store.disk_errors(tmp_path):
        raise fault

    assert caught.value.remedy


def test_other_faults_are_not_dressed_up(tmp_path):
    with pytest.raises(OSError, match="odd") as caught, store.disk_errors(tmp_path):
        raise OSError(errno.EIO, "odd")

    assert not isinstance(caught.value, StoreError)


def test_a_file_in_the_place_of_a_folder_is_named(tmp_path):
    (tmp_path / "out").write_text("I am a file")

    for place in (tmp_path / "out", tmp_path / "out" / "evidence"):
        with pytest.raises(StoreError, match="out"):
            store.private_folder(place)


def test_hashing_reads_the_whole_file(tmp_path):
    import hashlib

    data = bytes(range(256)) * 5000
    (tmp_path / "x").write_bytes(data)

    assert store.sha256_of(tmp_path / "x") == hashlib.sha256(data).hexdigest()


def test_one_process_at_a_time_makes_a_result_and_the_other_takes_it(tmp_path):
    script = (
        "import sys, time; from pathlib import Path; from synthrelease import store\n"
        "def make(folder):\n"
        "    (Path(sys.argv[1]) / f'made-by-{sys.argv[2]}').touch(); time.sleep(1)\n"
        "    (folder / 'value').write_text('done')\n"
        "print((store.result(Path(sys.argv[1]), 'search', ['x'], make) / 'value').read_text())\n"
    )
    runs = [
        subprocess.Popen([sys.executable, "-c", script, str(tmp_path), str(n)], stdout=subprocess.PIPE, text=True)
        for n in range(3)
    ]

    assert [run.communicate(timeout=60)[0].strip() for run in runs] == ["done"] * 3
    assert len(list(tmp_path.glob("made-by-*"))) == 1
