"""Writes docs/cli.md from the commands themselves: `python docs/make_cli.py` (or `make docs`).

It reads click's own objects and not the printed help, whose line breaks differ between versions of click.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterator
from pathlib import Path

import click

from synthrelease.cli import group

PAGE = Path(__file__).with_name("cli.md")
HEAD = """# Commands

Generated from the commands' own help by `python docs/make_cli.py`; a test keeps it current.
"""


def commands() -> list[tuple[str, click.Command]]:
    """Return every command with its full name, in the order of the work; groups come before what they hold."""

    def walk(name: str, command: click.Command) -> Iterator[tuple[str, click.Command]]:
        yield name, command
        if isinstance(command, click.Group):
            context = click.Context(command)
            for child in command.list_commands(context):
                below = command.get_command(context, child)
                if below is not None:
                    yield from walk(f"{name} {child}", below)

    return list(walk("synthrelease", group))


def page() -> str:
    """Return the whole page as Markdown."""
    return "\n".join([HEAD, *(_section(name, command) for name, command in commands())])


def _section(name: str, command: click.Command) -> str:
    level = "#" * (1 + len(name.split()))
    lines = [f"{level} {name}", "", *_prose(command.help or "")]
    if not isinstance(command, click.Group):
        arguments = " ".join(p.human_readable_name.upper() for p in command.params if isinstance(p, click.Argument))
        lines += [f"Usage: `{' '.join(filter(None, [name, '[OPTIONS]', arguments]))}`", ""]
    options = [p for p in command.params if isinstance(p, click.Option) and not p.hidden]
    options = [option for option in options if "--version" not in option.opts]
    if options:
        lines += ["| option | what it does |", "|---|---|", *map(_row, options), ""]
    return "\n".join(lines)


def _prose(text: str) -> list[str]:
    r"""Turn a help text into paragraphs; what follows a \b is an example and becomes a code block."""
    lines: list[str] = []
    for paragraph in re.split(r"\n\s*\n", inspect.cleandoc(text)):
        if paragraph.startswith("\b"):
            lines += ["```", *paragraph.splitlines()[1:], "```", ""]
        else:
            lines += [*paragraph.splitlines(), ""]
    return lines


def _row(option: click.Option) -> str:
    names = ", ".join(option.opts)
    value = "" if option.is_flag else f" {_value(option)}"
    notes = [option.help or ""]
    if option.required:
        notes.append("Required.")
    elif option.show_default and not option.is_flag:
        notes.append(f"Default: `{option.default}`.")
    if option.multiple and "several times" not in notes[0]:
        notes.append("May be given several times.")
    return f"| `{names}{value}` | {' '.join(notes)} |".replace("\b", "")


def _value(option: click.Option) -> str:
    """Return what an option expects, e.g. NUMBER; a bar would end the table's cell, so choices are joined by commas."""
    if isinstance(option.type, click.Choice):
        return "{" + ", ".join(map(str, option.type.choices)) + "}"
    if option.metavar:
        return option.metavar
    plain = {"integer": "NUMBER", "float": "NUMBER", "text": "TEXT", "path": "PATH", "file": "FILE", "directory": "DIR"}
    return plain.get(option.type.name, option.type.name.upper())


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
    print(PAGE.name)
