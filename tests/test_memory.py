"""Memory: sizes as people write them, what fits side by side, and a limit that cannot be kept is an error."""

from __future__ import annotations

import pytest

from synthrelease import memory
from synthrelease.errors import SettingsError


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("8GB", 8_000_000_000),
        ("8 gb", 8_000_000_000),
        ("512MiB", 512 * 2**20),
        ("1.5 GiB", 3 * 2**29),
        ("2e9", 2_000_000_000),
        ("4096", 4096),
        ("1TB", 10**12),
    ],
)
def test_sizes_are_read_as_people_write_them(text: str, size: int) -> None:
    assert memory.read_size(text) == size


@pytest.mark.parametrize(
    "text", ["", "0", "-1GB", "8 apples", "GB", "nan", "1e99", "9" * 400, "8G B", "inf GB", "８GB"]
)
def test_what_is_no_size_is_refused(text: str) -> None:
    with pytest.raises(SettingsError, match="no amount of memory"):
        memory.read_size(text)


def test_nothing_said_is_most_of_the_machine_or_of_its_container(monkeypatch, tmp_path) -> None:
    monkeypatch.delenv(memory.MEMORY, raising=False)
    limit, other = tmp_path / "memory.max", tmp_path / "other"
    limit.write_text("1000000\n", encoding="ascii")
    other.write_text("max\n", encoding="ascii")
    monkeypatch.setattr(memory, "_LIMITS", (limit, other, tmp_path / "missing"))
    assert memory.allowed() == 800_000
    limit.write_text("max\n", encoding="ascii")
    assert memory.allowed() > 10**8  # the machine's own


@pytest.mark.parametrize(("size", "expected"), [("1GB", 1), ("1.1GB", 2), ("1.5GB", 6), ("100GB", 16)])
def test_as_many_pieces_as_fit_run_side_by_side(size: str, expected: int, monkeypatch) -> None:
    monkeypatch.setenv(memory.MEMORY, size)
    assert memory.at_once(16, 900_000_000, 100_000_000, "Counting") == expected


def test_a_limit_that_holds_no_piece_is_an_error_but_a_small_machine_is_not(monkeypatch) -> None:
    monkeypatch.setenv(memory.MEMORY, "0.9GB")
    with pytest.raises(SettingsError, match=r"Counting needs 1.0 GB of memory, and 0.9 GB are allowed") as error:
        memory.at_once(16, 900_000_000, 100_000_000, "Counting")
    assert "--memory" in error.value.remedy
    monkeypatch.delenv(memory.MEMORY)
    monkeypatch.setattr(memory, "_machine", lambda: 10**8)
    assert memory.at_once(16, 900_000_000, 100_000_000, "Counting") == 1
