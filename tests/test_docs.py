"""The documentation cannot lie about commands, options, links and generated pages."""

from __future__ import annotations

import importlib
import json
import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import make_cli
import make_schema
import pytest
from project import ROOT, project_files, working_commands

PAGES = [path for path in project_files("*.md") if path.parent == ROOT or "docs" in path.relative_to(ROOT).parts]
COMMANDS = dict(working_commands())
LINK = re.compile(r"(?<!!)\[[^\]]+\]\(([^)\s]+)\)")


def _id(path: Path) -> str:
    return str(path.relative_to(ROOT))


def _blocks(path: Path) -> Iterator[str]:
    yield from re.findall(r"^```[a-z]*\n(.*?)^```", path.read_text(encoding="utf-8"), re.S | re.M)


def _shown_commands(path: Path) -> Iterator[str]:
    """Yield the synthrelease commands of fenced blocks, and those in backticks that are more than a name."""
    for block in _blocks(path):
        for line in block.replace("\\\n", " ").splitlines():
            if line.removeprefix("$ ").startswith("synthrelease "):
                yield line.removeprefix("$ ")
    yield from re.findall(r"`(synthrelease [a-z][^`]*)`", path.read_text(encoding="utf-8"))


def _complaints(line: str) -> list[str]:
    """Return what is wrong with one shown command."""
    words = shlex.split(line, comments=True)
    name = next((" ".join(words[:n]) for n in (3, 2) if " ".join(words[:n]) in COMMANDS), None)
    if name is None:
        groups = {" ".join(known.split()[:2]) for known in COMMANDS}
        return [] if words[1].startswith("-") or " ".join(words[:2]) in groups else [f"no such command: {line}"]
    known = {option: p for p in COMMANDS[name].params if isinstance(p, click.Option) for option in p.opts}
    given = [word.split("=")[0] for word in words if word.startswith("--")]
    found = [f"{name} has no {option}" for option in given if option not in {*known, "--help"}]
    required = {p.opts[0] for p in known.values() if p.required}
    if len(words) > len(name.split()) and not {"...", "--help"} & set(words) and given:
        found += [f"{line}: {option} is missing" for option in sorted(required - set(given))]
    return found


@pytest.mark.parametrize("path", PAGES, ids=_id)
def test_every_command_in_the_documentation_exists(path: Path) -> None:
    assert not [problem for line in _shown_commands(path) for problem in _complaints(line)]


@pytest.mark.parametrize(
    ("line", "complaint"),
    [
        ("synthrelease audt --out x", "no such command"),
        ("synthrelease audit --train a --synthetic b --out c --holdot d", "has no --holdot"),
        ("synthrelease audit --train a --out c", "--synthetic is missing"),
        ("synthrelease weights fetch x", ""),
        ("synthrelease phantom out --subjects 3", ""),
    ],
)
def test_the_check_of_commands_sees_what_is_wrong(line: str, complaint: str) -> None:
    found = _complaints(line)
    assert (complaint in " ".join(found)) if complaint else not found


@pytest.mark.parametrize("path", PAGES, ids=_id)
def test_every_make_target_in_the_documentation_exists(path: Path) -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.M))
    shown = {line.split()[1] for block in _blocks(path) for line in block.splitlines() if line.startswith("make ")}
    shown |= set(re.findall(r"`make ([a-z-]+)`", path.read_text(encoding="utf-8")))
    assert shown <= targets


@pytest.mark.parametrize("path", PAGES, ids=_id)
def test_every_relative_link_leads_somewhere(path: Path) -> None:
    links = [link for link in LINK.findall(path.read_text(encoding="utf-8")) if "://" not in link]
    broken = []
    for link in links:
        target, _, anchor = link.partition("#")
        place = (path.parent / target) if target else path
        if not place.exists() or (anchor and anchor not in _anchors(place)):
            broken.append(link)
    assert not broken


def _anchors(path: Path) -> set[str]:
    headings = re.findall(r"^#+ +(.*)$", path.read_text(encoding="utf-8"), re.M)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).strip().replace(" ", "-") for heading in headings}


def test_every_page_is_reached_from_the_index() -> None:
    index = (ROOT / "docs" / "index.md").read_text(encoding="utf-8")
    linked = {(ROOT / "docs" / link).resolve() for link in LINK.findall(index)}
    pages = {path for path in PAGES if "docs" in path.relative_to(ROOT).parts and path.name != "index.md"}
    assert not sorted(_id(path) for path in pages - linked)


def test_the_command_reference_is_current() -> None:
    assert make_cli.PAGE.read_text(encoding="utf-8") == make_cli.page(), "run `make docs`"


@pytest.mark.parametrize("page", make_schema.PAGES, ids=lambda page: page.name)
def test_the_schema_of_each_record_is_current(page: Path) -> None:
    # Fields, not bytes: versions of pydantic write the same schema in different words.
    shipped = json.loads(page.read_text(encoding="utf-8"))
    assert _fields(shipped) == _fields(json.loads(make_schema.schema(make_schema.PAGES[page]))), "run `make schema`"


def _fields(schema: dict[str, Any]) -> dict[str, dict[str, tuple[bool, str]]]:
    """Return, for each record, its fields: whether required, and what they say."""
    records = {schema["title"]: schema, **schema["$defs"]}
    return {
        name: {
            field: (field in record.get("required", []), about.get("description", ""))
            for field, about in record.get("properties", {}).items()
        }
        for name, record in records.items()
    }


def test_verdicts_and_exit_codes_in_the_readme_are_those_of_the_program() -> None:
    audit = importlib.import_module("synthrelease.cli.audit")
    rows = re.findall(r"^\| (\w+) \| (\d+) \|", (ROOT / "README.md").read_text(encoding="utf-8"), re.M)
    assert {verdict: int(code) for verdict, code in rows} == {v: int(c) for v, c in audit.EXIT_CODES.items()}


@pytest.mark.parametrize("path", PAGES, ids=_id)
def test_no_page_promises_what_the_tool_cannot_know(path: Path) -> None:
    text = re.sub(r"\s+", " ", path.read_text(encoding="utf-8").lower())
    promises = re.findall(r"(?:is|are|fully|completely) (?:anonymous|anonymised|safe|private)\b", text)
    assert not promises
