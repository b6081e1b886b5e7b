"""`synthrelease report`: the pages of an evidence folder or a package, made again from their records."""

from __future__ import annotations

import json
from pathlib import Path

import click


@click.command("report")
@click.argument("evidence_or_package", type=click.Path(path_type=Path))
@click.option(
    "--out",
    type=click.Path(path_type=Path, file_okay=False),
    help="Folder to write to. Left out, an audit's report.html is written anew where it lies; a package needs --out.",
)
@click.option("--json", "as_json", is_flag=True, help="Print the paths of the files on stdout.")
def command(evidence_or_package: Path, out: Path | None, as_json: bool) -> None:
    """Make reports again from their records, years later, without the audited images.

    Of an audit (OUT, or its folder `evidence`): report.html from audit.json, the decision, the log and the kept
    pairs. It shows patients' images and must stay inside. Of a package: README.md and report/index.html from
    report/record.json, into --out, because a package is sealed by its manifest.

    \b
    synthrelease report result
    synthrelease report release --out pages

    Exit codes: 0 done, 1 an error you can fix, 5 a damaged or edited record.
    """
    from synthrelease import study

    files = study.report(evidence_or_package, out)
    click.echo(json.dumps({"files": [str(file) for file in files]}) if as_json else "\n".join(map(str, files)))
