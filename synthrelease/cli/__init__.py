"""The command line. Commands are loaded when called, so that `--help` and completion stay instant."""

from __future__ import annotations

import importlib
import json
import os
import sys
from typing import Any

import click

from synthrelease import __version__
from synthrelease.errors import ExitCode, SynthreleaseError

KEPT = "Finished work is kept: run the same command again to continue."
TRACEBACK = "SYNTHRELEASE_TRACEBACK"  # set to anything: unforeseen errors show where they arose
REPORT = (
    f"This is a fault of the program. Finished work is kept. Set {TRACEBACK}=1, run the same command again, "
    "and report what it prints, without names of patients."
)
COMMANDS = {  # name: module within synthrelease.cli, and where not `command` its name; in the order of the work
    "phantom": "phantom",
    "prepare": "prepare",
    "train": "train",
    "sample": "sample",
    "measure": "measure",
    "segment": "segment",
    "audit": "audit",
    "study": "study",
    "review": "review",
    "decide": "decide",
    "policy": "policy",
    "approve": "approve:approve",
    "reject": "approve:reject",
    "withdraw": "approve:withdraw",
    "package": "package",
    "verify": "verify",
    "report": "report",
    "keys": "keys",
    "weights": "weights",
    "cache": "cache",
}


class _LazyGroup(click.Group):
    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        module, _, name = COMMANDS[cmd_name].partition(":")
        command: click.Command = getattr(importlib.import_module(f"synthrelease.cli.{module}"), name or "command")
        return command

    def resolve_command(self, ctx: click.Context, args: list[str]) -> tuple[Any, Any, list[str]]:
        import difflib

        if args and args[0] not in COMMANDS and not args[0].startswith("-"):
            near = difflib.get_close_matches(args[0], COMMANDS, n=1)
            hint = f" Did you mean '{near[0]}'?" if near else ""
            ctx.fail(f"No such command '{args[0]}'.{hint}")
        return super().resolve_command(ctx, args)


@click.group(cls=_LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="synthrelease")
def group() -> None:
    """Audit synthetic medical images, decide about their release, and package it.

    Everything runs offline. Exit codes: 0 done or passed, 1 an error you can fix, 2 usage,
    3 review or incomplete, 4 rejected, 5 integrity failure, 130 interrupted.
    """


def main() -> None:
    """Run the command line; turn every error into a sentence or two and an exit code, never into a traceback."""
    wants_json = "--json" in sys.argv[1:]
    code: object
    try:
        code = group.main(standalone_mode=False)
    except click.exceptions.Exit as error:
        code = error.exit_code
    except click.ClickException as error:
        error.show()
        code = ExitCode.USAGE
        _answer("UsageError", error.format_message(), "See --help.", wants_json)
    except (click.Abort, KeyboardInterrupt):
        code = _explain("Interrupted", "Interrupted.", KEPT, wants_json, ExitCode.INTERRUPTED)
    except SynthreleaseError as error:
        code = _explain(type(error).__name__, error.problem, error.remedy, wants_json, error.exit_code)
    except Exception as error:  # a fault of ours: the user gets a sentence, we get the traceback when asked for
        if os.environ.get(TRACEBACK):
            raise
        problem = f"synthrelease met a problem that it did not foresee: {type(error).__name__}: {error}"
        code = _explain("UnforeseenError", problem, REPORT, wants_json, ExitCode.FIXABLE)
    sys.exit(int(code) if isinstance(code, int) else 0)


def _explain(name: str, problem: str, remedy: str, wants_json: bool, code: ExitCode) -> ExitCode:
    click.echo(f"Error: {printable(problem)}" if name != "Interrupted" else problem, err=True)
    if remedy:
        click.echo(printable(remedy), err=True)
    _answer(name, problem, remedy, wants_json)
    return code


def _answer(name: str, problem: str, remedy: str, wants_json: bool) -> None:
    """Keep the promise of --json: exactly one document on stdout, also for errors."""
    if wants_json:
        click.echo(json.dumps({"error": name, "problem": problem, "remedy": remedy}))


def printable(text: str) -> str:
    """Return text whose control characters are escaped: a file name must not steer the terminal."""
    return "".join(c if c.isprintable() or c == "\n" else c.encode("unicode_escape").decode() for c in text)
