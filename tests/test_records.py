"""Records: frozen, finite, closed; their schema says so and explains every number of the audit."""

from __future__ import annotations

import json
import math
from pathlib import Path

import jsonschema
import pytest
from pydantic import ValidationError

from synthrelease import records
from synthrelease.records import AuditRecord, Finding, Rate, Record, Suspect

SCHEMA = Path(__file__).resolve().parents[1] / "docs" / "records.schema.json"
RATE = {"value": 0.1, "low": 0.0, "high": 0.2, "count": 10}
CLASSES = [
    kind
    for kind in vars(records).values()
    if isinstance(kind, type) and issubclass(kind, Record) and kind is not Record
]


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("field", ["value", "low", "high"])
def test_numbers_that_are_not_finite_are_refused(field, bad):
    with pytest.raises(ValidationError, match="finite"):
        Rate(**{**RATE, field: bad})


def test_records_do_not_change_and_know_no_other_fields():
    rate = Rate(**RATE)

    with pytest.raises(ValidationError, match="frozen"):
        rate.value = 0.5
    with pytest.raises(ValidationError, match="colour"):
        Rate(**RATE, colour="red")
    with pytest.raises(ValidationError, match="count"):
        Rate(value=0.1, low=0, high=1)


@pytest.mark.parametrize("verdict", ["approve", "PASS", "", None])
def test_a_verdict_is_one_of_four_words(verdict):
    with pytest.raises(ValidationError, match="outcome"):
        Finding(rule="r", measure="m", value=1.0, limit=0.0, passed=False, outcome=verdict, reason="because")


def test_a_record_survives_the_round_trip_through_json():
    suspect = Suspect(image_id="<b>\n'\"", train_image_id="é", train_subject="p", score=0.1 + 0.2, p_value=None)

    assert Suspect.model_validate_json(suspect.model_dump_json()) == suspect


@pytest.mark.parametrize("kind", CLASSES, ids=lambda kind: kind.__name__)
def test_every_class_is_frozen_closed_finite_and_explained(kind):
    assert kind.model_config["frozen"]
    assert kind.model_config["extra"] == "forbid"
    assert kind.model_config["allow_inf_nan"] is False
    assert kind.__doc__ or kind in (records.UnreadFile, records.Inputs, records.ExtractorUsed, records.MadeWith)


def test_the_audits_schema_is_valid_and_names_what_was_promised():
    schema = AuditRecord.model_json_schema()
    jsonschema.Draft202012Validator.check_schema(schema)
    promised = ["verdict", "near_copies", "threshold", "suspects", "exposed_subjects", "part_suspects", "closest"]
    promised += ["planted", "membership", "comparisons", "not_tested", "inputs", "made_with", "alarm", "alarms"]
    promised += ["bounds", "exposure", "stranger_bound"]

    assert set(promised) <= set(schema["properties"])
    assert set(schema["$defs"]["Suspect"]["properties"]) >= {
        "image_id", "train_image_id", "train_subject", "score", "p_value", "q_value",
    }  # fmt: skip
    assert set(schema["$defs"]["Planted"]["properties"]) >= {
        "transformation", "strength", "caught", "planted", "low", "high",
    }  # fmt: skip
    assert set(schema["$defs"]["Bound"]["properties"]) >= {"kind", "power_low", "at_most", "residual_at_most"}
    assert set(schema["$defs"]["MembershipAttack"]["properties"]) >= {
        "auc", "low", "high", "tpr_at_fpr_01", "control_auc",
    }  # fmt: skip


@pytest.mark.skipif(not SCHEMA.is_file(), reason="docs/records.schema.json is not there")
def test_the_published_schema_is_the_one_of_the_code():
    published = json.loads(SCHEMA.read_text(encoding="utf-8"))

    jsonschema.Draft202012Validator.check_schema(published)
    assert set(AuditRecord.model_json_schema()["properties"]) <= set(json.dumps(published).split('"'))
