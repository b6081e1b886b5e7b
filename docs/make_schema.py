"""Writes docs/records.schema.json, the shape of `evidence/audit.json`: run it, or `make schema`."""

from __future__ import annotations

import json
from pathlib import Path

from synthrelease.records import AuditRecord

PAGE = Path(__file__).with_name("records.schema.json")


def schema() -> str:
    """Return the schema as JSON, with a line break at its end."""
    return json.dumps(AuditRecord.model_json_schema(), indent=1, ensure_ascii=False) + "\n"


if __name__ == "__main__":
    PAGE.write_text(schema(), encoding="utf-8")
    print(PAGE.name)
