"""The public report, report/index.html of a release: a view of the public record that computes nothing."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from numpy.typing import NDArray

from synthrelease.release_records import PublicRecord
from synthrelease.report import decisions, figures, public_words, words
from synthrelease.report import samples as released
from synthrelease.report.pages import page
from synthrelease.report.quality import groups_of
from synthrelease.report.quality_figures import figures_of
from synthrelease.report.utility import utility_section

# Words of the glossary that only the internal edition uses.
INSIDE_ONLY = frozenset({"q-value", "p-value", "suspect", "evidence"})


def public_page(record: PublicRecord, samples: Sequence[NDArray[Any]] = ()) -> str:
    """Return the public edition as one self-contained page without scripts, vector graphics or real images.

    Args:
        record: What may leave.
        samples: The first released images (c, h, w) by number; at most 12 are shown.
    """
    floors = [finding.limit for finding in record.findings if finding.measure == "power_low"]
    floor = floors[0] if floors else None
    return page(
        "release.html.j2",
        record=record,
        public=public_words,
        decision=public_words.DECISIONS[record.decision],
        overridden=[approval.override_of for approval in record.approvals if approval.override_of],
        curves=figures_of(record.curves, as_png=True),
        quality_groups=() if record.quality is None else groups_of(record.quality.measurements, as_png=True),
        utility=utility_section(record.utility, public=True),
        groups=decisions.grouped(record.findings),
        readings=decisions.reading_sentences(record.reading),
        attempts=decisions.attempts_sentence(record.attempts),
        power=figures.power_figure(record.planted, floor, as_png=True),
        floor=floor,
        pictures=released.pictures(samples, record.images.channels),
        glossary=[entry for entry in words.GLOSSARY if entry[0] not in INSIDE_ONLY],
        plain_icons=True,
    )
