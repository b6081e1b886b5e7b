"""`synthrelease verify`: is a package what its publisher signed?"""

from __future__ import annotations

import textwrap
from pathlib import Path

import click

from synthrelease.cli import printable
from synthrelease.errors import ExitCode
from synthrelease.release_records import Verification

SIGNERS = {
    "verified": "the key that you gave",
    "unverified": "the key enclosed in the package: nothing changed since somebody signed, but not shown who; "
    "ask the publisher for the public key and give it with --key",
    "failed": "not shown",
}


MOST_SHOWN = 100  # problems printed for people


@click.command("verify")
@click.argument("package", type=click.Path(path_type=Path))
@click.option("--key", type=click.Path(path_type=Path), help="The publisher's public key, from a place you trust.")
@click.option("--json", "as_json", is_flag=True, help="Print the result on stdout.")
def command(package: Path, key: Path | None, as_json: bool) -> None:
    """Check a package: every file, its hash, the signature, and what files say in their headers.

    All problems are listed, each with its file. Without --key the enclosed public key is used; then the
    signer stays unverified. Links are not followed, and nothing is unpacked beyond its declared size.

    \b
    synthrelease verify release
    synthrelease verify release --key publisher.pub

    Exit codes: 0 intact, 5 not what was signed, 1 there is nothing to check.
    """
    from synthrelease import study

    found = study.verify(package, key)
    click.echo(found.model_dump_json(indent=1) if as_json else printable(_summary(found)))
    click.get_current_context().exit(ExitCode.DONE if found.intact else ExitCode.INTEGRITY)


def _summary(found: Verification) -> str:
    if not found.intact:
        count = len(found.problems)
        lines = [f"NOT INTACT: {count} problem{'s' if count > 1 else ''}. Do not use these images.", ""]
        for problem in found.problems[:MOST_SHOWN]:
            text = f"{problem.path}: {problem.text} [{problem.code}]"
            lines += textwrap.wrap(text, 78, initial_indent="  ", subsequent_indent="    ", break_long_words=False)
        if count > MOST_SHOWN:
            lines.append(f"  ... and {count - MOST_SHOWN} more: --json lists them all.")
        return "\n".join(lines)
    lines = [
        "Intact: every file is what the publisher signed.",
        "",
        f"  title      {found.title}, version {found.version}, {found.date}",
        f"  images     {found.images} in {found.files} files, {found.bytes} bytes",
        f"  decision   {found.decision}{', overridden by an approval with its reason' if found.overridden else ''}",
        "             (report/index.html says what that rests on)",
    ]
    signer = f"{SIGNERS[found.signer]} ({found.key_id[:16]})"
    lines += textwrap.wrap(f"  signed by  {signer}", 78, subsequent_indent=" " * 13)
    lines += ["", "This shows that nothing was changed, not how good the images are."]
    return "\n".join(lines)
