"""`synthrelease review`: people read the pairs on a local web page."""

from __future__ import annotations

import shlex
from pathlib import Path

import click

from synthrelease.cli import printable
from synthrelease.errors import ExitCode
from synthrelease.release_records import Reading


@click.command("review")
@click.argument("evidence", type=click.Path(path_type=Path))
@click.option("--by", default="", metavar="NAME", help="Who reads; without it the page asks.")
@click.option(
    "--port", default=0, type=click.IntRange(0, 65535), help="Of 127.0.0.1; 0, the default, takes a free one."
)
@click.option("--no-browser", is_flag=True, help="Only print the address.")
@click.option("--json", "as_json", is_flag=True, help="Print what was read on stdout, at the end.")
def command(evidence: Path, by: str, port: int, no_browser: bool, as_json: bool) -> None:
    """Read the pairs of an audit: copy, not a copy, or unsure.

    Opens a page on this computer alone. It shows each alarm as synthetic image, nearest train image, nearest
    holdout image and difference, and writes every answer to the log of the evidence folder at once. Some known
    pairs are mixed in to measure the reader. Stop whenever you like and start again: it goes on where you stopped.

    EVIDENCE is the OUT folder of `synthrelease audit`, or OUT/evidence.

    \b
    synthrelease review result --by "A. Reader"
    synthrelease review result --no-browser --port 8123

    Exit codes: 0 every alarm is read, 3 some are not, 1 an error you can fix, 5 the evidence is damaged.
    """
    from synthrelease import study

    def say(text: str) -> None:
        click.echo(printable(text), err=True)

    found = study.review(evidence, by=by, port=port, open_browser=not no_browser, say=say)
    click.echo(found.model_dump_json(indent=1) if as_json else _summary(found, evidence))
    unread = found.read < found.to_read
    click.get_current_context().exit(ExitCode.REVIEW_OR_INCOMPLETE if unread else ExitCode.DONE)


def _summary(found: Reading, evidence: Path) -> str:
    unread = found.to_read - found.read
    lines = [
        f"Alarms read: {found.read} of {found.to_read}.",
        f"  copies        {found.copies}",
        f"  not copies    {found.not_copies}",
        f"  unsure        {found.unsure}",
    ]
    if not unread and (found.planted_copies or found.planted_strangers):  # else the reader may still be reading
        lines += [
            "  known pairs   "
            f"{found.planted_copies_recognised} of {found.planted_copies} copies and "
            f"{found.planted_strangers_recognised} of {found.planted_strangers} strangers recognised"
        ]
    place = shlex.quote(str(evidence))
    next_step = f"synthrelease review {place}" if unread else f"synthrelease decide {place} --policy controlled"
    still = f"{unread} {'alarm is' if unread == 1 else 'alarms are'} unread or unsure. " if unread else ""
    return "\n".join([*lines, "", f"{still}Next: {printable(next_step)}"])
