"""How much memory a command may take: it shapes how much is done at once, and never what comes out."""

from __future__ import annotations

import os
import re
from pathlib import Path

from synthrelease.errors import SettingsError

MEMORY = "SYNTHRELEASE_MEMORY"  # environment; --memory sets it for a command and the processes that it starts
SHARE = 0.8  # of the machine's memory, where nothing is said: the rest belongs to others
BASE, SEARCH_BLOCK = 1_000_000_000, 500_000_000  # bytes: of libraries and results, and of each block of a search
_UNITS = {
    "": 1,
    "B": 1,
    "KB": 1e3,
    "MB": 1e6,
    "GB": 1e9,
    "TB": 1e12,
    "KIB": 2**10,
    "MIB": 2**20,
    "GIB": 2**30,
    "TIB": 2**40,
}
_LIMITS = (  # of a container: control groups of version 2 and 1
    Path("/sys/fs/cgroup/memory.max"),
    Path("/sys/fs/cgroup/memory/memory.limit_in_bytes"),
)


def read_size(text: str) -> int:
    """Return the bytes that a size such as ``8GB``, ``512 MiB`` or ``2.5e9`` names.

    Raises:
        SettingsError: It is no positive size.
    """
    found = re.fullmatch(r"([0-9]{1,18}(?:\.[0-9]{1,9})?(?:e[0-9]{1,2})?)\s*([KMGT]?I?B?)", text.strip(), re.IGNORECASE)
    unit = None if found is None else _UNITS.get(found[2].upper())
    size = 0 if found is None or unit is None else int(float(found[1]) * unit)
    if not 0 < size < 2**60:
        raise SettingsError(f"{text[:40]!r} is no amount of memory.", "Write for example 8GB or 512MB.")
    return size


def given() -> int | None:
    """Return the bytes that ``$SYNTHRELEASE_MEMORY`` allows; None where it is not set."""
    text = os.environ.get(MEMORY, "")
    return read_size(text) if text.strip() else None


def allowed() -> int:
    """Return how many bytes may be taken: what is given, else 80 % of what the machine, or its container, has."""
    return given() or int(SHARE * min([_machine(), *_of_container()]))


def at_once(most: int, base: int, each: int, what: str, remedy: str = "") -> int:
    """Return how many pieces of work fit side by side: at least 1, at most ``most``.

    Args:
        most: Pieces that could run at once.
        base: Bytes that the process takes without any.
        each: Bytes of one piece.
        what: Whose work it is, for the error.
        remedy: What else would help, for the error.

    Raises:
        SettingsError: A limit was given, and not even one piece fits.
    """
    fit = (allowed() - base) // each
    if fit < 1 and given() is not None:
        raise SettingsError(
            f"{what} needs {(base + each) / 1e9:.1f} GB of memory, and {allowed() / 1e9:.1f} GB are allowed.",
            f"Raise --memory or {MEMORY}{remedy and f', or {remedy}'}.",
        )
    return max(1, min(most, int(fit)))


def blocks_at_once(most: int) -> int:
    """Return how many blocks of an audit's queries may be searched side by side, at most ``most``; raises as above."""
    return at_once(most, BASE, SEARCH_BLOCK, "The search")


def _machine() -> int:
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError, OSError):  # a system that does not say
        return 2**60


def _of_container() -> list[int]:
    found = []
    for file in _LIMITS:
        try:
            found.append(int(file.read_text(encoding="ascii")))
        except (OSError, ValueError):  # not there, or "max"
            continue
    return found
