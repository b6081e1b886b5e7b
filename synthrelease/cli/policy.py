"""`synthrelease policy`: the rules by which a release is decided."""

from __future__ import annotations

import textwrap
from pathlib import Path

import click

from synthrelease.cli import printable
from synthrelease.errors import SettingsError
from synthrelease.policy import MEASURES, SHIPPED, Policy, Rule

ESSENTIAL = (
    "confirmed_copies",
    "unread_alarms",
    "power_low",
    "holdout_subjects",
    "at_most",
    "unread_files",
    "calibrated",
)
OUTCOMES = {"reject": "REJECT", "incomplete": "INCOMPLETE", "review": "REVIEW"}


@click.group("policy", epilog="\b\nMeasures that a rule may name:\n" + "\n".join(f"  {name}" for name in MEASURES))
def command() -> None:
    """Show, check and write release policies.

    A policy is a TOML file of rules: a measure, a limit, the outcome on failure, the reason and its source. Three
    come with synthrelease: controlled (named recipients under an agreement), registered, and public.

    \b
    synthrelease policy show public
    synthrelease policy init my-policy.toml --from controlled
    """


@command.command("show")
@click.argument("name", metavar="NAME_OR_FILE")
@click.option("--json", "as_json", is_flag=True, help="Print the policy on stdout as JSON.")
def show(name: str, as_json: bool) -> None:
    """Print a policy's rules with their limits, reasons and sources.

    \b
    synthrelease policy show controlled
    """
    from synthrelease import study

    policy, _ = study.release_policy(name)
    click.echo(policy.model_dump_json(indent=1) if as_json else printable(_shown(policy)))


@command.command("check")
@click.argument("file", metavar="NAME_OR_FILE")
@click.option("--json", "as_json", is_flag=True, help="Print the policy on stdout as JSON.")
def check(file: str, as_json: bool) -> None:
    """Check a policy file: every problem at once, and what no rule looks at.

    \b
    synthrelease policy check my-policy.toml
    """
    from synthrelease import study

    policy, _ = study.release_policy(file)
    if as_json:
        click.echo(policy.model_dump_json(indent=1))
        return
    count = len([rule for rule in policy.rules if rule.decides])
    click.echo(printable(f"{policy.name} is valid: {count} rules decide, {policy.approvers} must approve."))
    ruled = {rule.measure for rule in policy.rules if rule.decides}
    for measure in ESSENTIAL:
        if measure not in ruled:
            click.echo(f"  no rule on {measure}: {MEASURES[measure].lower()}")


@command.command("init")
@click.argument("file", type=click.Path(path_type=Path))
@click.option(
    "--from", "name", default="controlled", show_default=True, help=f"One of {', '.join(SHIPPED)}, or a file."
)
@click.option("--json", "as_json", is_flag=True, help="Print the policy on stdout as JSON.")
def init(file: Path, name: str, as_json: bool) -> None:
    """Write a policy of your own, to be edited.

    \b
    synthrelease policy init my-policy.toml --from public
    """
    from synthrelease import store, study

    policy, text = study.release_policy(name)
    if file.exists():
        raise SettingsError(f"{file} exists, and is not replaced.", "Choose another name.")
    store.write_text(file, text)
    click.echo(
        policy.model_dump_json(indent=1)
        if as_json
        else f"Wrote {file}. Edit it, then: synthrelease policy check {file}"
    )


def _shown(policy: Policy) -> str:
    people = "1 person approves" if policy.approvers == 1 else f"{policy.approvers} different people approve"
    lines = [
        f"Policy {policy.name}, version {policy.version}, for {policy.release_model} release",
        f"{people}; real counts under {policy.minimum_cell} are not printed.",
        "",
    ]
    for rule in (r for r in policy.rules if r.decides):
        lines += _lines(rule, f"else {OUTCOMES[rule.outcome]}; not measured: {OUTCOMES[rule.absent]}")
    context = [r for r in policy.rules if not r.decides]
    lines += ["Context, never part of the decision", ""] if context else []
    for rule in context:
        lines += _lines(rule, "shown beside the findings")
    return "\n".join(lines).rstrip()


def _lines(rule: Rule, outcome: str) -> list[str]:
    limit = f"at most {rule.at_most:g}" if rule.at_most is not None else f"at least {rule.at_least:g}"
    text = [rule.name, f"  {rule.measure} {limit}; {outcome}"]
    text += textwrap.wrap(rule.reason, 78, initial_indent="  ", subsequent_indent="  ")
    if rule.source:
        text += textwrap.wrap(f"Source: {rule.source}", 78, initial_indent="  ", subsequent_indent="  ")
    return [*text, ""]
