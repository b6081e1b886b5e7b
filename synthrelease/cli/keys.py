"""`synthrelease keys`: the key that signs packages."""

from __future__ import annotations

import json
from pathlib import Path

import click

from synthrelease.cli import printable
from synthrelease.release_records import KeyInfo


@click.group("keys")
def command() -> None:
    """Make and show the key that signs packages.

    The private key stays with you (readable by you alone, never inside a package or evidence). Publish the
    public one where recipients look for it: on your web site, or in print.

    \b
    synthrelease keys new
    synthrelease keys show
    """


@command.command("new")
@click.option("--out", type=click.Path(path_type=Path), help="File of the private key; default: your settings folder.")
@click.option("--json", "as_json", is_flag=True, help="Print the key's public half on stdout as JSON.")
def new(out: Path | None, as_json: bool) -> None:
    """Make an Ed25519 key; an existing one is never overwritten.

    \b
    synthrelease keys new
    synthrelease keys new --out vault/publisher.pem
    """
    from synthrelease import study

    made = study.keys_new(out)
    click.echo(made.model_dump_json(indent=1) if as_json else f"Made a key. Keep a copy in a safe.\n\n{_shown(made)}")


@command.command("show")
@click.option("--json", "as_json", is_flag=True, help="Print the public halves on stdout as JSON.")
def show(as_json: bool) -> None:
    """Show your public keys, for recipients; private keys are never printed.

    \b
    synthrelease keys show
    """
    from synthrelease import study

    keys = study.keys_show()
    if as_json:
        click.echo(json.dumps({"keys": [key.model_dump() for key in keys]}, indent=1))
    elif keys:
        click.echo("\n".join(_shown(key) for key in keys))
    else:
        click.echo("No key yet: `synthrelease keys new` makes one, and so does the first `synthrelease package`.")


def _shown(key: KeyInfo) -> str:
    lines = [f"  private key  {key.path}", f"  key id       {key.key_id[:16]}", "", key.public_key]
    return printable("\n".join(lines))
