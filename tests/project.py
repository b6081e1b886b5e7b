"""What the tests of the project itself share: where things are, which files count, and every command."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import click

from synthrelease.cli import group

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "synthrelease"
_BUILT = {".venv", "dist", "build", "demo-output", "results", "__pycache__"}


def project_files(pattern: str = "*") -> list[Path]:
    """Return the project's files: what git knows or would add; without git, what is not built or cached."""
    if (ROOT / ".git").exists() and shutil.which("git"):
        command = ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"]
        listed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout
        found = {ROOT / name for name in listed.split("\0") if name}
    else:
        hidden = {path for path in ROOT.iterdir() if path.name.startswith(".") and path.name not in {".ci", ".gitignore"}}
        found = {p for p in ROOT.rglob("*") if not _BUILT & set(p.parts) and not hidden & {*p.parents, p}}
    return sorted(path for path in found if path.is_file() and path.match(pattern))


def all_commands() -> list[tuple[str, click.Command]]:
    """Return every command with its full name, e.g. `synthrelease weights list`; groups are left out."""

    def walk(name: str, command: click.Command) -> list[tuple[str, click.Command]]:
        if not isinstance(command, click.Group):
            return [(name, command)]
        context = click.Context(command)
        found: list[tuple[str, click.Command]] = []
        for child in command.list_commands(context):
            below = command.get_command(context, child)
            if below is not None:
                found += walk(f"{name} {child}", below)
        return found

    return walk("synthrelease", group)
