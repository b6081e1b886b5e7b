"""The internal edition of an audit's report: a view of one record that computes nothing."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from synthrelease import store
from synthrelease.records import AuditRecord
from synthrelease.release_records import DecisionRecord, Entry
from synthrelease.report import decisions, figures
from synthrelease.report.evidence import evidence_rows
from synthrelease.report.pages import page
from synthrelease.report.pairs import Pair, shown_pairs
from synthrelease.report.quality import quality_section
from synthrelease.report.utility import utility_section

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
