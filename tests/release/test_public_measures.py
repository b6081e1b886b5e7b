"""Quality and utility as they may leave: of a real distribution only what enough patients stand behind."""

from __future__ import annotations

import shutil
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from package_helpers import evidence_in, images_of, packed
from release_sample import sample_decision, sample_public, sample_quality, sample_utility
from sample import sample_record

from synthrelease.decision.folder import open_evidence
from synthrelease.errors import LeakError
from synthrelease.features.copy_encoder import CopyEncoder
from synthrelease.features.inception import ROUTES
from synthrelease.progress import SILENT
from synthrelease.records import AREA_EDGES, VOLUME_EDGES, Curve, PublicCurve
from synthrelease.release import layout, leak_gate, measures
from synthrelease.release_records import Measurement, PublicRecord, QualityRecord
from synthrelease.report.card import card
from synthrelease.report.public import public_page

AT = (0.1, 0.3, 0.5, 0.7)
REAL, MADE = (0.611, 0.25, 0.1, 0.039), (0.6, 0.2, 0.1, 0.1)


def intensities(*behind: int, **changes: Any) -> Curve:
    fields = {"name": "intensity", "view": "t1", "at": AT, "real": REAL, "synthetic": MADE, "real_subjects": behind}
    return Curve(**(fields | changes))


def measured(*curves: Curve, real: str | None = None) -> QualityRecord:
    content = sample_record().inputs.train.content if real is None else real
    return sample_quality().model_copy(update={"curves": curves, "made_with": {"real": content, "date": "2026-11-22"}})


def public(*curves: Curve, real: str | None = None) -> PublicRecord:
    return sample_public(decision=sample_decision(quality=measured(*curves, real=real)))


def test_a_real_value_leaves_only_where_as_many_patients_stand_as_the_minimum_cell():
    (curve,) = public(intensities(44, 10, 9, 0)).curves

    assert curve.real == (round(0.611 / 0.861, 4), round(0.25 / 0.861, 4), None, None)
    assert curve.synthetic == MADE


def test_what_is_told_of_a_distribution_does_not_tell_how_much_was_left_out():
    (curve,) = public(intensities(44, 44, 44, 3)).curves

    assert sum(value for value in curve.real if value is not None) == pytest.approx(1, abs=1e-3)


def test_an_empty_bin_is_not_told_from_one_with_few_patients():
    few = intensities(44, 44, 44, 3)
    none = few.model_copy(update={"real": (*REAL[:3], 0.0), "real_subjects": (44, 44, 44, 0)})

    assert public(few).curves == public(none).curves


def test_a_spectrum_is_no_distribution_and_keeps_its_values():
    (curve,) = public(intensities(44, 44, 44, 44, name="spectrum", real=(4.0, 3.0, 2.0, -1.25))).curves

    assert curve.real == (4.0, 3.0, 2.0, -1.25)


def test_where_every_point_has_few_patients_the_synthetic_curve_leaves_alone():
    record = public(intensities(9, 9, 1, 0))

    assert record.curves[0].real == ()
    assert "Synthetic images alone" in public_page(record)


@pytest.mark.parametrize(
    "curve",
    [
        pytest.param(intensities(), id="nobody counted the patients"),
        pytest.param(intensities(44, 44, 44), id="one count is missing"),
        pytest.param(intensities(44, 44, 44, 44, view="anna"), id="a contrast that is not released"),
        pytest.param(intensities(44, 44, 44, 44, name="tumour area", view=""), id="bins end at the largest tumour"),
        pytest.param(intensities(44, 44, 44, 44, name="tumour volume", view=""), id="bins end at the largest volume"),
    ],
)
def test_a_curve_that_cannot_be_judged_stays_inside(curve):
    assert public(curve).curves == ()


@pytest.mark.parametrize(("name", "edges"), [("tumour area", AREA_EDGES), ("tumour volume", VOLUME_EDGES)])
def test_tumour_sizes_in_fixed_bins_leave(name, edges):
    bins = len(edges) - 1
    middles = tuple((low * high) ** 0.5 for low, high in pairwise(edges))
    even = (1 / bins,) * bins
    fixed = intensities(*[44] * bins, name=name, view="", at=middles, real=even, synthetic=even)

    assert len(public(fixed).curves) == 1


def test_curves_of_another_real_set_than_the_audits_train_stay_inside():
    assert public(intensities(44, 44, 44, 44), real="f" * 64).curves == ()


def test_page_and_card_show_the_curves_in_pixels_with_their_numbers():
    record = public(intensities(44, 44, 44, 9))
    page = public_page(record)
    quality = page[page.index('<section id="quality"') :]
    quality = quality[: quality.index("</section>")]

    assert "data:image/png" in quality
    assert "image/svg" not in quality
    assert quality.count("not told") == 1
    assert "0.260" in quality  # 0.25 of the 0.961 that is told
    assert "side by side" in card(record)


# --- measures ---------------------------------------------------------------------------------------------------------


def test_a_region_that_few_test_patients_have_is_not_scored_outside():
    utility = sample_utility()
    items = [Measurement(name=f"dice_{n}", value=0.7, low=0.6, high=0.8, count=n) for n in (56, 47, 46, 9)]

    found = sample_public(decision=sample_decision(utility=utility.model_copy(update={"measurements": items}))).utility

    assert [(item.value, item.count) for item in found.measurements] == [
        (0.7, 56),
        (0.7, None),
        (0.7, 46),
        (None, None),
    ]


def test_without_a_relative_dice_scores_on_few_patients_stay_inside_too():
    items = (Measurement(name="dice_mean_real", value=0.7, count=9),)
    utility = sample_utility().model_copy(update={"measurements": items, "relative_dice": None})

    assert sample_public(decision=sample_decision(utility=utility)).utility.measurements == ()


@pytest.mark.parametrize(("floor", "told"), [(3 / 1046, None), (10 / 1046, 10 / 1046), (0.0, 0.0)])
def test_a_floor_that_counts_a_handful_of_real_masks_stays_inside(floor, told):
    item = Measurement(name="mask_nesting", metric="mask_nesting", value=0.1, count=500, floor=floor, real_count=1046)

    (found,) = sample_public(decision=sample_decision(quality=QualityRecord(measurements=(item,)))).quality.measurements

    assert found.floor == told


def test_a_number_leaves_with_its_weights_preprocessing_and_the_value_at_the_floors_count():
    item = sample_quality().measurements[0].model_copy(
        update={"matched": 33.5, "floor_count": 523, "real_count": 1046, "weights_sha256": "a" * 64}
        | {"preprocessing": "radimagenet-v1, 224 px"}
    )  # fmt: skip
    record = sample_public(decision=sample_decision(quality=QualityRecord(measurements=(item,))))

    page = public_page(record)

    for text in ("33.500", "523", "1,046", "a" * 64, "radimagenet-v1, 224 px"):
        assert text in page, text


def test_how_each_network_sees_images_may_leave_as_it_is_recorded():
    tail = "contrasts side by side/1"
    said = [f"{form}/grey to 3/{route}/{tail}" for form, route in ROUTES.items()]
    said += [
        f"keras/grey to 3/bilinear 224/(255x-bgr means)/255/mean pool/{tail}/bf16",
        CopyEncoder().info.preprocessing,
    ]
    for text in said:
        item = sample_quality().measurements[0].model_copy(update={"preprocessing": text})
        record = sample_public(decision=sample_decision(quality=QualityRecord(measurements=(item,))))
        assert record.quality.measurements[0].preprocessing == text


def test_the_public_page_draws_measures_beside_their_floor_in_pixels():
    item = sample_quality().measurements[0].model_copy(update={"matched": 38.58, "floor_count": 523})
    record = sample_public(decision=sample_decision(quality=QualityRecord(measurements=(item,))))

    page = public_page(record)

    quality = page[page.index('<section id="quality"') :]
    quality = quality[: quality.index("</section>")]
    assert "fid_radimagenet-resnet50, 3 times" in quality
    assert "data:image/png" in quality
    assert "image/svg" not in quality


# --- the gate ---------------------------------------------------------------------------------------------------------


@pytest.fixture
def gate(plain_page: None, tmp_path: Path) -> Any:
    """Return what the gate says of a package's record after a change; the package held a curve with one gap."""
    evidence = evidence_in(tmp_path, images_of(), quality=measured(intensities(44, 44, 44, 3)), approve=True)
    packed(tmp_path)
    clean = PublicRecord.model_validate_json((tmp_path / "release" / layout.RECORD).read_bytes())
    assert clean.curves[0].real[3] is None
    shutil.copytree(tmp_path / "release", tmp_path / "tree")

    def said(record: PublicRecord, written: str | None = None) -> list[str]:
        text = record.model_dump_json(indent=1) + "\n" if written is None else written
        (tmp_path / "tree" / layout.RECORD).write_text(text, encoding="utf-8")
        return [problem.text for problem in leak_gate.leaks(tmp_path / "tree", evidence, record, SILENT)]

    return clean, said


def test_the_gate_passes_the_record_as_it_was_made(gate):
    clean, said = gate

    assert said(clean) == []


def test_the_gate_finds_a_real_value_with_too_few_patients(gate):
    clean, said = gate
    telling = clean.curves[0].model_copy(update={"real": REAL})

    assert said(clean.model_copy(update={"curves": (telling,)})) == [
        "Its curve 'intensity t1' tells of too few real patients."
    ]


def test_the_gate_finds_a_curve_that_the_evidence_does_not_hold(gate):
    clean, said = gate
    invented = PublicCurve(name="spectrum", view="t1", at=AT, real=REAL, synthetic=MADE)

    assert said(clean.model_copy(update={"curves": (*clean.curves, invented)}))


def test_the_gate_finds_anything_more_in_the_written_record(gate):
    clean, said = gate
    told = clean.curves[0].model_copy(update={"real": (*clean.curves[0].real[:3], 0.039)})
    more = clean.model_copy(update={"curves": (told,)}).model_dump_json()

    assert said(clean, more) == ["It holds more or other than what may leave."]
    extra = clean.model_dump_json()[:-1] + ', "real_subjects": [44, 44, 44, 3]}'
    assert said(clean, extra) == ["It holds fields that no public record has."]


def test_no_package_comes_out_when_the_rule_itself_is_broken(plain_page, tmp_path, monkeypatch):
    evidence_in(tmp_path, images_of(), quality=measured(intensities(44, 44, 44, 3)))
    assert open_evidence(tmp_path).decision() is not None
    kept = measures.public_curve
    monkeypatch.setattr(measures, "public_curve", lambda curve, cell: kept(curve, 0))

    with pytest.raises(LeakError, match="too few real patients"):
        packed(tmp_path)

    assert not (tmp_path / "release").exists()
