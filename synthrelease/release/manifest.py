"""The list of all files with their SHA-256, as ``sha256sum -c`` reads it."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from pathlib import Path

from synthrelease import store
from synthrelease.release import layout
from synthrelease.release_records import PackageProblem

_LINE = re.compile(r"(?P<sha256>[0-9a-f]{64})  (?P<path>[^\n]+)")


def text(hashes: Mapping[str, str]) -> str:
    """Return the manifest of these files: a line each, sorted by path."""
    return "".join(f"{sha256}  {path}\n" for path, sha256 in sorted(hashes.items()))


def parsed(content: bytes) -> tuple[dict[str, str], list[PackageProblem]]:
    """Return path -> SHA-256 of a manifest's good lines, and a problem for each other one.

    Only what `text` writes is good: two spaces, lower-case hexadecimal, allowed places, sorted, no line twice.
    """
    listed: dict[str, str] = {}
    problems: list[PackageProblem] = []
    try:
        lines = content.decode("ascii").split("\n")
    except UnicodeDecodeError:
        return {}, [_problem("manifest-line", "It holds other than plain ASCII characters.")]
    if lines.pop() != "":
        problems.append(_problem("manifest-line", "Its last line is cut short."))
    for number, line in enumerate(lines, start=1):
        match = _LINE.fullmatch(line)
        if match is None:
            problems.append(_problem("manifest-line", f"Line {number} is not '<sha256>  <path>': {line[:80]!r}."))
        elif not layout.allowed(match["path"]) or match["path"] in layout.UNLISTED:
            problems.append(_problem("manifest-path", f"Line {number} names a place outside: {match['path'][:80]!r}."))
        elif match["path"] in listed:
            problems.append(_problem("manifest-line", f"Line {number} names {match['path']} a second time."))
        else:
            listed[match["path"]] = match["sha256"]
    if not problems and list(listed) != sorted(listed):
        problems.append(_problem("manifest-line", "Its lines are not in order."))
    return listed, problems


def compared(listed: Mapping[str, str], files: Iterable[str]) -> list[PackageProblem]:
    """Return a problem for each file that the manifest misses, and for each that it lists in vain."""
    there = set(files) - set(layout.UNLISTED)
    unlisted = [
        PackageProblem(code="unlisted-file", path=path, text="The manifest does not list this file.")
        for path in sorted(there - set(listed))
    ]
    lost = [
        PackageProblem(code="missing-file", path=path, text="The manifest lists this file; it is not there.")
        for path in sorted(set(listed) - there)
    ]
    return unlisted + lost


def changed(root: Path, listed: Mapping[str, str], files: Iterable[str]) -> list[PackageProblem]:
    """Return a problem for each listed file whose content is another than when the manifest was written."""
    return [
        PackageProblem(code="changed-file", path=path, text="Its content is not what the manifest lists.")
        for path in sorted(set(files) & set(listed))
        if store.sha256_of(root / path) != listed[path]
    ]


def _problem(code: str, text: str) -> PackageProblem:
    return PackageProblem(code=code, path=layout.MANIFEST, text=text)
