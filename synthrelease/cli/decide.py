"""`synthrelease decide`: evidence held against a release policy."""

from __future__ import annotations

import shlex
import textwrap
from pathlib import Path

import click

from synthrelease.cli import printable
from synthrelease.cli.console import ConsoleProgress
from synthrelease.errors import ExitCode
from synthrelease.records import Finding
from synthrelease.release_records import DecisionRecord

EXIT_CODES = {
    "APPROVE": ExitCode.DONE,
    "REVIEW": ExitCode.REVIEW_OR_INCOMPLETE,
    "INCOMPLETE": ExitCode.REVIEW_OR_INCOMPLETE,
    "REJECT": ExitCode.REJECTED,
}
MEANING = {
    "APPROVE": "No rule stands against this release. A person signs: synthrelease approve.",
    "REVIEW": "A person has to judge what is listed here; an approval overrides it with its reason.",
    "INCOMPLETE": "Something could not be shown. Mend it, or override it with a reason.",
    "REJECT": "These images must not leave as they are. Nobody can override this.",
}
SHARES = {"power_low", "at_most", "excess_low", "reader_sensitivity"}


@click.command("decide")
@click.argument("evidence", type=click.Path(path_type=Path))
@click.option(
    "--policy",
    "policy_name",
    required=True,
    metavar="NAME_OR_FILE",
    help="controlled, registered, public, or a TOML file.",
)
@click.option("--quality", type=click.Path(path_type=Path), help="Import a quality.json that was made elsewhere.")
@click.option("--utility", type=click.Path(path_type=Path), help="Import a utility.json that was made elsewhere.")
@click.option(
    "--generator-author",
    "authors",
    multiple=True,
    metavar="NAME",
    help="Somebody who made the generator, and so may not approve. May be given several times.",
)
@click.option(
    "--remove-suspects",
    is_flag=True,
    help="Take out every suspect that no reader has cleared, audit what remains, and decide on that.",
)
@click.option("--json", "as_json", is_flag=True, help="Print the decision on stdout.")
def command(
    evidence: Path,
    policy_name: str,
    quality: Path | None,
    utility: Path | None,
    authors: tuple[str, ...],
    remove_suspects: bool,
    as_json: bool,
) -> None:
    """Hold an audit's evidence against a release policy: one finding per rule.

    EVIDENCE is OUT of an audit, or its folder `evidence`. The worst finding decides: REJECT, INCOMPLETE, REVIEW,
    APPROVE. What could not be measured never approves. Every audit of other images, and every removal, is counted
    as an attempt and printed on the package.

    \b
    synthrelease decide result --policy controlled
    synthrelease decide result --policy public --remove-suspects

    Exit codes: 0 approve, 3 review or incomplete, 4 reject, 1 an error you can fix, 5 an edited log.
    """
    from synthrelease import study

    record = study.decide(
        evidence,
        policy_name=policy_name,
        quality=quality,
        utility=utility,
        generator_authors=authors,
        remove_suspects=remove_suspects,
        progress=ConsoleProgress(),
    )
    click.echo(record.model_dump_json(indent=1) if as_json else printable(_summary(record, evidence)))
    click.get_current_context().exit(EXIT_CODES[record.decision])


def _summary(record: DecisionRecord, evidence: Path) -> str:
    lines = [f"Decision: {record.decision} under policy {record.policy}, version {record.policy_version}"]
    lines += [*textwrap.wrap(MEANING[record.decision], 78), ""]
    against = [f for f in record.findings if f.decides and not f.passed]
    for finding in sorted(against, key=lambda f: -("review", "incomplete", "reject").index(f.outcome)):
        lines += _against(finding)
    if against:
        lines.append("")
    held = [f for f in record.findings if f.decides and f.passed]
    lines.append(f"  {len(held)} of {len(held) + len(against)} deciding rules held.")
    reading = record.reading
    if reading.to_read:
        lines.append(
            f"  {reading.read} of {reading.to_read} pairs above alarm were read, {reading.copies} found to be copies."
        )
    removed = sum(len(removal.images) for removal in record.removals)
    taken = f", {removed} images taken out" if removed else ""
    lines.append(f"  Attempt {record.attempts}{taken}.")
    lines += ["", f"Next: {_next(record, against, evidence)}"]
    return "\n".join(lines)


def _against(finding: Finding) -> list[str]:
    value = "not measured" if finding.value is None else _number(finding.measure, finding.value)
    limit = f"{finding.side} {_number(finding.measure, finding.limit)}"
    text = f"{finding.outcome.upper():<11} {finding.rule}: {value}, needed {limit}"
    text += f" ({finding.detail})" if finding.detail else ""
    return textwrap.wrap(text, 78, initial_indent="  ", subsequent_indent=" " * 14)


def _number(measure: str, value: float) -> str:
    if measure in SHARES:
        return f"{value:.1%}"
    if measure in ("calibrated", "representative", "transferable"):
        return "yes" if value == 1 else "no"
    return f"{value:.4g}"


def _next(record: DecisionRecord, against: list[Finding], evidence: Path) -> str:
    place = shlex.quote(str(evidence))
    measures = {finding.measure for finding in against}
    if "unread_alarms" in measures:
        return f"synthrelease review {place}   (read the pairs above alarm)"
    if measures & {"confirmed_copies", "excess_low"}:
        return f"synthrelease decide {place} --policy {record.policy} --remove-suspects"
    people = "two people: " if record.approvers_needed == 2 else ""
    return f"{people}synthrelease approve {place} --by NAME --role ROLE --reason TEXT"
