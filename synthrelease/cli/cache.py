"""`synthrelease cache`: what the cache holds, and emptying it."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import Any

import click


@click.group()
def command() -> None:
    """Show or empty the cache, which holds data of real patients."""


@command.command("show")
@click.option("--json", "as_json", is_flag=True, help="One JSON document on stdout.")
def show(as_json: bool) -> None:
    """Show where the cache is and how large each kind of entry is.

    \b
    synthrelease cache show
    """
    from synthrelease import study

    _print(study.cache_show(), as_json)


@command.command("clear")
@click.option("--weights", is_flag=True, help="Delete imported weights too.")
@click.option("--json", "as_json", is_flag=True, help="One JSON document on stdout.")
def clear(weights: bool, as_json: bool) -> None:
    """Delete cached features and intermediate images; imported weights stay unless --weights is given.

    \b
    synthrelease cache clear
    synthrelease cache clear --weights
    """
    from synthrelease import study

    _print(study.cache_clear(weights=weights), as_json)


def _print(content: Any, as_json: bool) -> None:
    if as_json:
        click.echo(json.dumps(asdict(content), default=str))
        return
    click.echo(str(content.folder))
    if content.removed_bytes:
        click.echo(f"  removed {_readable(content.removed_bytes)}")
    for kind in content.kinds:
        entries = "1 entry" if kind.entries == 1 else f"{kind.entries} entries"
        click.echo(f"  {kind.kind:<12} {_readable(kind.bytes):>10}   {entries}")
    click.echo(f"  {'together':<12} {_readable(content.bytes):>10}\n{content.note}")


def _readable(size: int) -> str:
    amount = float(size)
    for unit in ("B", "kB", "MB"):
        if amount < 1000:
            return f"{amount:.0f} {unit}" if unit == "B" else f"{amount:.1f} {unit}"
        amount /= 1000
    return f"{amount:.1f} GB"
