"""The command line. Commands are loaded when called, so that `--help` and completion stay instant."""

from __future__ import annotations

import importlib
import json
import sys
from typing import Any

import click

from synthrelease import __version__
from synthrelease.errors import ExitCode, SynthreleaseError

COMMANDS = {  # name: module within synthrelease.cli, in the order of the work
    "phantom": "phantom",
    "prepare": "prepare",
    "audit": "audit",
    "weights": "weights",
    "cache": "cache",
}


class _LazyGroup(click.Group):
    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        module = importlib.import_module(f"synthrelease.cli.{COMMANDS[cmd_name]}")
        command: click.Command = module.command
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
    """Audit synthetic medical images before they leave the building.

    Everything runs offline. Exit codes: 0 done or passed, 1 an error you can fix, 2 usage,
    3 review or incomplete, 4 rejected, 5 integrity failure, 130 interrupted.
    """


def main() -> None:
    """Run the command line; turn every foreseen error into two lines and an exit code."""
    wants_json = "--json" in sys.argv[1:]
    try:
        code = group.main(standalone_mode=False)
    except click.exceptions.Exit as error:
        code = error.exit_code
    except click.ClickException as error:
        error.show()
        code = ExitCode.USAGE
    except (click.Abort, KeyboardInterrupt):
        click.echo("Interrupted. Finished work is kept: run the same command again to continue.", err=True)
        code = ExitCode.INTERRUPTED
    except SynthreleaseError as error:
        _explain(error, wants_json)
        code = error.exit_code
    sys.exit(int(code or 0))


def _explain(error: SynthreleaseError, wants_json: bool) -> None:
    click.echo(f"Error: {error.problem}", err=True)
    if error.remedy:
        click.echo(error.remedy, err=True)
    if wants_json:
        document = {"error": type(error).__name__, "problem": error.problem, "remedy": error.remedy}
        click.echo(json.dumps(document))
