"""`synthrelease approve`, `reject` and `withdraw`: what people say about a release, kept in its log."""

from __future__ import annotations

import datetime
import json
import shlex
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

Command = TypeVar("Command", bound=Callable[..., Any])


def _person(command: Command) -> Command:
    """Add what every act needs: the evidence, who acts, in which role, and why."""
    for decorate in (
        click.option("--json", "as_json", is_flag=True, help="Print what was recorded on stdout."),
        click.option("--reason", required=True, help="Why; printed on card and report."),
        click.option("--role", required=True, help="In which role, e.g. 'data steward'."),
        click.option("--by", required=True, metavar="NAME", help="Who; one person, by full name."),
        click.argument("evidence", type=click.Path(path_type=Path)),
    ):
        command = decorate(command)
    return command


@click.command("approve")
@_person
@click.option("--condition", "conditions", multiple=True, metavar="TEXT", help="On which condition; may be repeated.")
@click.option("--review-by", metavar="YYYY-MM-DD", help="Day after which the approval lapses.")
def approve(
    evidence: Path,
    by: str,
    role: str,
    reason: str,
    as_json: bool,
    conditions: tuple[str, ...],
    review_by: str | None,
) -> None:
    r"""Approve a release: a named person signs for the decision as it is.

    An approval is bound to the evidence, the policy and the image list, and lapses when any of them changes. It may
    override REVIEW and INCOMPLETE, which is recorded and printed with its reason; it never overrides REJECT. Under
    `public` two different people approve, and never somebody who made the generator.

    \b
    synthrelease approve result --by "A. Steward" --role "data steward" \
        --reason "..." --review-by 2027-12-31
    """
    from synthrelease import study

    approvals, needed = study.approve(
        evidence, by=by, role=role, reason=reason, conditions=conditions, review_by=_day(review_by)
    )
    missing = max(0, needed - len(approvals))
    if as_json:
        standing = [approval.model_dump(mode="json") for approval in approvals]
        click.echo(json.dumps({"approvals": standing, "needed": needed, "missing": missing}, indent=1))
        return
    override = next((approval.override_of for approval in approvals if approval.by == by.strip()), None)
    if override:
        click.echo(f"Recorded as an override of {override}, with its reason: it will be printed on card and report.")
    if missing:
        click.echo(f"Recorded. {len(approvals)} of {needed} different people have approved; {missing} to go.")
    else:
        click.echo("Recorded. The approval is in force. Next:")
        click.echo(f"  synthrelease package {shlex.quote(str(evidence))} --out release \\")
        click.echo("      --licence CC-BY-4.0 --title ... --creator ...")


@click.command("reject")
@_person
def reject(evidence: Path, by: str, role: str, reason: str, as_json: bool) -> None:
    """Reject a release: approvals given before no longer count.

    \b
    synthrelease reject result --by "A. Steward" --role steward --reason "..."
    """
    _refuse(evidence, by, role, reason, as_json, withdraw=False)


@click.command("withdraw")
@_person
def withdraw(evidence: Path, by: str, role: str, reason: str, as_json: bool) -> None:
    """Withdraw an approval, also after packaging: nothing more is packaged. Packages that are out stay out.

    \b
    synthrelease withdraw result --by "A. Steward" --role steward --reason "..."
    """
    _refuse(evidence, by, role, reason, as_json, withdraw=True)


def _refuse(evidence: Path, by: str, role: str, reason: str, as_json: bool, *, withdraw: bool) -> None:
    from synthrelease import study

    study.refuse(evidence, by=by, role=role, reason=reason, withdraw=withdraw)
    done = "withdrawn" if withdraw else "rejected"
    if as_json:
        click.echo(json.dumps({"done": done, "by": by, "role": role, "reason": reason}))
    elif withdraw:
        click.echo("Recorded. No approval is in force. Tell whoever holds a package that was made before.")
    else:
        click.echo("Recorded. No approval is in force.")


def _day(text: str | None) -> datetime.date | None:
    if text is None:
        return None
    try:
        return datetime.date.fromisoformat(text)
    except ValueError as error:
        raise click.UsageError(f"--review-by {text!r} is no day: write it as YYYY-MM-DD.") from error
