"""What data-protection guidance asks about a release, which tests speak to it, and what they found.

No row is a legal conclusion. Where nothing was tested the row says so; that is for people to weigh.
"""

from __future__ import annotations

from synthrelease.records import AuditRecord
from synthrelease.release_records import Question

NOT_TESTED = "not tested"
WP216 = "Article 29 Working Party, Opinion 05/2014 (WP216)"
EDPB = "EDPB Opinion 28/2024, paragraph 43"
ICO = "ICO anonymisation guidance (2025)"


def questions(record: AuditRecord, *, confirmed_copies: int, at_most: float | None) -> tuple[Question, ...]:
    """Return one row per question, in words that hold no id and no count of real people.

    Args:
        record: The audit.
        confirmed_copies: Copies still in the release.
        at_most: Largest share of the images that may be copies of a required kind; None where unproven.
    """
    return (
        Question(
            question="Singling out",
            asks="Can some or all records that single out a person be found in the data?",
            source=WP216,
            tests=("Search for near copies of whole images", "Exposure of each train subject"),
            result=_copies(record, confirmed_copies, at_most),
        ),
        Question(
            question="Linkability",
            asks="Can records of one person be linked, within the data or with other data?",
            source=WP216,
            tests=("Search for copied patches and tumours",) if _has_parts(record) else (),
            result=_parts(record),
        ),
        Question(
            question="Inference",
            asks="Can the value of an attribute of a person be deduced?",
            source=WP216,
            tests=(),
            result=f"{NOT_TESTED}: attribute inference is not part of the audit",
        ),
        Question(
            question="Extraction",
            asks="Can training data be extracted, also probabilistically, for any single person?",
            source=EDPB,
            tests=("Search for near copies", "Planted copies: the search's own power"),
            result=_power(record),
        ),
        Question(
            question="Membership",
            asks="Can somebody tell who was among the patients that the generator learned from?",
            source=f"{EDPB}; membership inference is among the attacks that it lists",
            tests=("Membership attack with control",) if record.membership else (),
            result=_membership(record),
        ),
        Question(
            question="Queries",
            asks="Can personal data be obtained by querying the model?",
            source=EDPB,
            tests=(),
            result=f"{NOT_TESTED}: the images are released, not the generator; its weights are a release of their own",
        ),
        Question(
            question="Motivated intruder",
            asks="Would a determined person with ordinary means identify somebody?",
            source=ICO,
            tests=(),
            result=f"{NOT_TESTED}: no person has tried with other knowledge; the attacks here know the images alone",
        ),
    )


def _copies(record: AuditRecord, confirmed: int, at_most: float | None) -> str:
    found = "no confirmed copy is left" if confirmed == 0 else f"{confirmed} confirmed copies are left"
    if not record.calibrated or at_most is None:
        return f"{found}; how many may be unseen is {NOT_TESTED}: nothing is calibrated"
    return f"{found}; with 95 % confidence at most {_up(at_most)} of the images are copies of any one required kind"


def _has_parts(record: AuditRecord) -> bool:
    return record.calibrated and bool(record.part_thresholds)


def _parts(record: AuditRecord) -> str:
    if not _has_parts(record):
        return NOT_TESTED
    return (
        f"in part: {record.part_alarms_count} copied parts above alarm in other images; "
        f"linkage with other releases or data is {NOT_TESTED}"
    )


def _power(record: AuditRecord) -> str:
    lows = [bound.power_low for bound in record.bounds if bound.required]
    if not lows:
        return f"{NOT_TESTED}: no known copies could be planted"
    return f"at least {int(min(lows) * 100)} % of known copies of each required kind were caught"


def _membership(record: AuditRecord) -> str:
    attack = record.membership
    if attack is None:
        return NOT_TESTED
    inside = "within" if attack.auc <= attack.null_high else "above"
    return f"attack AUC {attack.auc:.2f}, {inside} what chance gives ({attack.null_low:.2f} to {attack.null_high:.2f})"


def _up(share: float) -> str:
    return f"{-(-share * 10000 // 1) / 100:g} %"
