"""Reports as web pages: views of one record that compute nothing.

A page is one file without scripts or outside resources. Its style is inline and pinned by hash in the page's
own content security policy, so that nothing else is applied or fetched even if hostile text slipped in.
"""

from __future__ import annotations

import base64
import functools
import hashlib
import json
from collections.abc import Sequence
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from synthrelease import store
from synthrelease.records import AuditRecord
from synthrelease.release_records import DecisionRecord, Entry
from synthrelease.report import decisions, figures, formats, words
from synthrelease.report.evidence import evidence_rows
from synthrelease.report.pairs import Pair, shown_pairs
from synthrelease.report.quality import quality_section
from synthrelease.report.utility import utility_section

PACKAGE = Path(__file__).resolve().parents[1]
MOST_SUSPECTS, MOST_EXPOSED = 50, 20  # rows of a table; the rest is in audit.json
FEWEST_FOR_SIGNIFICANCE = 19  # holdout subjects below which no single image can reach p = 0.05


def audit_page(
    record: AuditRecord,
    pairs: Sequence[Pair] = (),
    *,
    decision: DecisionRecord | None = None,
    entries: Sequence[Entry] = (),
    decision_holds: bool = True,
) -> str:
    """Return the internal edition of an audit report as one self-contained HTML page.

    Args:
        record: What the audit found.
        pairs: Image pairs to show, in the order of the page; 40 pairs of 4 x 256 x 256 stay under 5 MB.
        decision: The latest, if there is one.
        entries: The log of acts, oldest first.
        decision_holds: False where the evidence changed after the decision.
    """
    floor = record.made_with.settings.get("power_floor")
    floor = float(floor) if isinstance(floor, int | float) else None
    return page(
        "audit.html.j2",
        record=record,
        evidence=evidence_rows(record),
        pairs=shown_pairs(pairs, record),
        histogram=figures.score_histogram(record),
        power=figures.power_figure(record.planted, floor),
        roc=figures.roc_figure(record.membership) if record.membership else None,
        floor=floor,
        most_suspects=MOST_SUSPECTS,
        most_exposed=MOST_EXPOSED,
        fewest_for_significance=FEWEST_FOR_SIGNIFICANCE,
        signoff=decisions.sign_off(decision, entries, holds=decision_holds),
        quality=None if decision is None or decision.quality is None else quality_section(decision.quality),
        utility=None if decision is None else utility_section(decision.utility),
    )


def write_audit_report(
    record: AuditRecord,
    pairs: Sequence[Pair],
    folder: Path,
    *,
    decision: DecisionRecord | None = None,
    entries: Sequence[Entry] = (),
    decision_holds: bool = True,
) -> Path:
    """Write ``report.html`` into ``folder``, whole or not at all, and return its path."""
    path = folder / "report.html"
    page = audit_page(record, pairs, decision=decision, entries=entries, decision_holds=decision_holds)
    store.write_text(path, page)
    return path


def page(template: str, **context: object) -> str:
    """Return a template of the templates folder as a page, with its style inline and pinned by hash."""
    folder = templates_folder(PACKAGE)
    style = (folder / "style.css").read_text(encoding="utf-8")
    pin = "sha256-" + base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    return _environment(folder).get_template(template).render(style=Markup(style), style_hash=pin, **context)


def templates_folder(package: Path) -> Path:
    """Return where templates lie: inside the package when installed from a wheel, beside it in a checkout."""
    installed = package / "templates"
    return installed if installed.is_dir() else package.parent / "templates"


@functools.cache
def _environment(folder: Path) -> Environment:
    environment = Environment(
        loader=FileSystemLoader(folder),
        autoescape=True,
        undefined=StrictUndefined,
        finalize=_printable,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.globals["words"] = words
    environment.filters.update(
        percent=formats.percent,
        at_most=lambda share: formats.percent(share, "up"),
        at_least=lambda share: formats.percent(share, "down"),
        number=formats.number,
        score=formats.score,
        p_value=formats.p_value,
        count=formats.count,
        counted=formats.counted,
        rate=formats.rate,
        approval=decisions.approval_sentence,
        cohort=decisions.cohort_count,
        as_json=lambda value: json.dumps(value, ensure_ascii=False, default=str),
    )
    return environment


def _printable(value: object) -> object:
    """Let text and whole numbers through; a raw float or None in a template is a mistake of ours, not a value."""
    if isinstance(value, Markup) or callable(value):
        return value
    if isinstance(value, str):
        return formats.shown(value)
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    raise TypeError(f"A template prints {value!r} without a format.")
