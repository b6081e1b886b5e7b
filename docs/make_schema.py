"""Writes the JSON Schemas of the records: of an audit, a decision and a package. Run it, or `make schema`."""

from __future__ import annotations

import json
from pathlib import Path

from synthrelease.records import AuditRecord, Record
from synthrelease.release_records import DecisionRecord, PublicRecord
from synthrelease.study_records import StudyRecord

PAGE = Path(__file__).with_name("records.schema.json")
PAGES: dict[Path, type[Record]] = {
    PAGE: AuditRecord,  # evidence/audit.json
    PAGE.with_name("decision.schema.json"): DecisionRecord,  # evidence/decision.json
    PAGE.with_name("release.schema.json"): PublicRecord,  # release/report/record.json
    PAGE.with_name("study.schema.json"): StudyRecord,  # results/report/study.json
}


def schema(record: type[Record] = AuditRecord) -> str:
    """Return the schema of a record as JSON, with a line break at its end."""
    return json.dumps(record.model_json_schema(), indent=1, ensure_ascii=False) + "\n"


if __name__ == "__main__":
    for page, record in PAGES.items():
        page.write_text(schema(record), encoding="utf-8")
        print(page.name)
