"""`synthrelease measure`: what it writes, how numbers are named, and what it refuses."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from audit_helpers import write_role
from click.testing import CliRunner

from synthrelease import measuring, study
from synthrelease.cli import measure as measure_command
from synthrelease.errors import AuditError, SettingsError, SplitError, WeightsError
from synthrelease.features import inception, weights
from synthrelease.image_set import MASK, ImageRow, from_arrays
from synthrelease.progress import SILENT
from synthrelease.release_records import QualityRecord
from synthrelease.report.quality import quality_section
from synthrelease.settings import MeasureSettings
from synthrelease.store import cache_folder, sha256_of

QUICK = MeasureSettings(extractors=("copy-encoder",), parts=0)
CONTRASTS = ("red", "green", "blue")


@pytest.fixture(scope="module")
def folders(tmp_path_factory) -> dict[str, Path]:
    root = tmp_path_factory.mktemp("roles")
    return {
        "real": write_role(root / "real", range(8), masks=True),
        "synthetic": write_role(root / "synthetic", range(20, 26), masks=True),
        "holdout": write_role(root / "holdout", range(40, 44), masks=True),
    }


@pytest.fixture(scope="module")
def record(folders, tmp_path_factory) -> tuple[QualityRecord, Path]:
    import os

    out, cache = tmp_path_factory.mktemp("out"), tmp_path_factory.mktemp("cache")
    before = os.environ.get("SYNTHRELEASE_CACHE")
    os.environ["SYNTHRELEASE_CACHE"] = str(cache)
    try:
        settings = MeasureSettings(extractors=("copy-encoder",), parts=3)
        return measuring.measure(**folders, out=out, settings=settings), out
    finally:
        if before is not None:
            os.environ["SYNTHRELEASE_CACHE"] = before


def by_name(record: QualityRecord) -> dict:
    return {item.name: item for item in record.measurements}


def test_every_measure_stands_per_contrast_and_for_three_together(record):
    names = set(by_name(record[0]))
    views = (*CONTRASTS, "+".join(CONTRASTS))
    metrics = ("fid", "fd_infinity", "kid", "precision", "recall", "density", "coverage", "vendi", "mifid", "fld", "is")

    assert {f"{metric}_copy-encoder ({view})" for metric in (*metrics, "fld_gap") for view in views} <= names
    assert {f"{m} ({c})" for m in ("intensity_distance", "spectrum_distance", "ms_ssim") for c in CONTRASTS} <= names
    assert {"mask_area_distance", "mask_place_overlap", "mask_label_distance", "mask_off_level"} <= names
    assert {"mask_volume_distance", "mask_nesting"} <= names
    assert not any(name.startswith(("fid (", "is (", "kid (")) for name in names)  # FID means one network


def test_every_number_has_interval_counts_floor_and_what_made_it(record):
    for item in record[0].measurements:
        assert item.count == 18
        assert item.real_count == 24
        assert item.metric
        assert item.unit
        if item.value is None:
            assert item.note
            continue
        if item.metric not in {"mask_off_level", "frechet_distance_extrapolated"}:
            assert item.low is not None, item.name
            assert item.low <= item.value <= item.high, item.name
            assert item.floor is not None, item.name
            assert item.matched is not None, item.name
            assert item.floor_count, item.name
        if item.extractor:
            assert len(item.weights_sha256) == 64
            assert item.preprocessing


def test_the_inception_score_is_not_computable_without_a_head(record):
    item = by_name(record[0])["is_copy-encoder (red)"]

    assert item.value is None
    assert item.note.startswith("Not computable")
    assert "fit-head" in item.note


def test_the_record_is_read_back_and_the_folder_is_private(record):
    found, out = record

    assert QualityRecord.model_validate_json((out / "quality.json").read_bytes()) == found
    assert out.stat().st_mode & 0o077 == 0
    page = (out / "quality.html").read_text(encoding="utf-8")
    assert "must not leave" in page
    assert "<script" not in page
    drawn = {item.extractor or item.view for item in found.measurements if item.matched and item.floor}
    assert page.count('alt="') == page.count("<img ") > len(found.curves) + 1
    assert page.count("times.") >= len(drawn) > 0
    for item in found.measurements:
        assert item.name in page


def test_real_images_never_reach_the_public_section(record):
    pair = (np.zeros((1, 8, 8), np.float32), np.ones((1, 8, 8), np.float32))
    inside, public = quality_section(record[0], [pair]), quality_section(record[0], [pair], public=True)

    assert inside.grid is not None
    assert public.grid is None
    assert all(picture.address.startswith("data:image/png") for _, picture, _ in public.figures)


def test_the_same_images_give_the_same_numbers_again(folders, record, tmp_path):
    settings = MeasureSettings(extractors=("copy-encoder",), parts=3)
    again = measuring.measure(**folders, out=tmp_path, settings=settings)

    assert again.measurements == record[0].measurements
    assert again.curves == record[0].curves


def sets_of(real, synthetic, **changes):
    def opened(name, pixels):
        rows = [ImageRow(f"{name}{i}", f"{name}{i // 3}" if name == "real" else "") for i in range(len(pixels))]
        return from_arrays(pixels, rows, channels=("t1", MASK) if pixels.shape[1] == 2 else ("t1",))

    fields = {"holdout": None, "contrasts": ("t1",), "scaling": "bytes", "size": 64} | changes
    return measuring.Sets(opened("real", real), opened("synthetic", synthetic), **fields)


def slices(indices, count=3):
    from audit_helpers import images_of

    return images_of(list(indices), count)[:, :1]


def measured(real, synthetic, settings=QUICK, **changes) -> dict:
    found, _ = measuring.measured(sets_of(real, synthetic, **changes), settings, cache_folder(), SILENT)
    return by_name(found)


def test_corruptions_move_each_measure_the_documented_way():
    from scipy import ndimage

    real, fresh = slices(range(12)), slices(range(20, 32))
    clean = measured(real, fresh)
    blurred = measured(real, ndimage.gaussian_filter(fresh, (0, 0, 1.5, 1.5)))
    dropped = measured(real, np.repeat(fresh[:3], 12, axis=0))
    copied = measured(real, real)

    def moved(found, name):
        return found[f"{name} (t1)"].value - clean[f"{name} (t1)"].value

    assert moved(blurred, "fid_copy-encoder") > 0
    assert moved(blurred, "spectrum_distance") > 0.1
    assert moved(dropped, "fid_copy-encoder") > 0
    assert moved(dropped, "coverage_copy-encoder") < -0.3
    assert moved(dropped, "vendi_copy-encoder") < -1
    assert moved(dropped, "ms_ssim") > 0
    assert copied["fid_copy-encoder (t1)"].value == pytest.approx(0, abs=1e-6)  # copies look perfect
    assert copied["coverage_copy-encoder (t1)"].value == 1
    assert copied["mifid_copy-encoder (t1)"].value < 1  # 0 over next to nothing is still 0: the blind spot of MIFID


def test_sets_of_different_size_and_depth_are_brought_together():
    real, fresh = slices(range(6)), slices(range(20, 26))
    large = np.repeat(np.repeat(fresh, 2, axis=2), 2, axis=3).astype(np.uint16) * 200
    found = measured(real, large, scaling="analysis")

    assert found["intensity_distance (t1)"].value < 0.1
    assert found["fid_copy-encoder (t1)"].value is not None


def test_one_subject_has_no_floor_and_says_so():
    real = from_arrays(slices(range(4)), [ImageRow(f"r{i}", "p") for i in range(12)], channels=("t1",))
    sets = sets_of(slices(range(4)), slices(range(20, 24)))
    found, _ = measuring.measured(
        measuring.Sets(real, sets.synthetic, None, ("t1",), "bytes", 64), QUICK, cache_folder(), SILENT
    )
    item = by_name(found)["fid_copy-encoder (t1)"]

    assert item.floor is None
    assert "one subject" in item.note


def test_features_that_do_not_vary_give_a_reason_and_no_number():
    same = np.repeat(slices(range(1))[:1], 8, axis=0)
    found = measured(slices(range(4)), same)

    for name in ("fid", "kid", "precision", "vendi"):
        item = found[f"{name}_copy-encoder (t1)"]
        assert item.value is None
        assert "same features for every image" in item.note


# Names


class Pretend:
    """The FID network's answers without its cost: features and classes from coarse pixels."""

    classes = 5

    def __init__(self, sha256: str) -> None:
        from synthrelease.features.interface import ExtractorInfo

        self.info = ExtractorInfo("inception", "test", sha256, "nothing", False)

    def with_classes(self, colours):
        coarse = colours.reshape(len(colours), 3, 8, 8, 8, 8).mean((3, 5)).reshape(len(colours), -1)
        raised = np.exp(3 * coarse[:, 20:25])
        return coarse, (raised / raised.sum(1, keepdims=True)).astype(np.float32)


@pytest.mark.parametrize(("sha256", "name"), [(weights.FID_SHA256, "fid"), ("0" * 64, "fid_inception")])
def test_fid_is_only_called_fid_with_the_published_file(sha256, name, monkeypatch):
    monkeypatch.setattr(measuring, "_extractors", lambda settings: [Pretend(sha256)])
    found = measured(slices(range(8)), slices(range(20, 28)))

    assert f"{name} (t1)" in found
    assert found[f"{name} (t1)"].value > 0
    score = found[f"{name.replace('fid', 'is')} (t1)"]
    assert 1 <= score.value <= 5
    assert "5 classes" in score.note
    assert ("is not called FID" in score.note) == (name != "fid")


def test_the_network_itself_is_measured_from_a_file(monkeypatch, tmp_path):
    from synthrelease.features.networks.inception_fid import CHILDREN, FidInception

    torch.manual_seed(0)
    monkeypatch.setattr(inception, "SIZE", 80)
    state = {}
    for name, tensor in FidInception().state_dict().items():
        head, _, rest = name.removeprefix("body.").partition(".")
        state[name if name.startswith("fc") else f"{CHILDREN[int(head)]}.{rest}"] = tensor
    file = tmp_path / "pt_inception.pth"
    torch.save(state, file)
    settings = MeasureSettings(extractors=("inception",), weights={"inception": file}, parts=0)
    found = measured(slices(range(4), 2), slices(range(20, 24), 2), settings)

    item = found["fid_inception (t1)"]
    assert item.value > 0
    assert item.weights_sha256 == sha256_of(file)
    assert "bilinear" in item.preprocessing
    assert found["is_inception (t1)"].value >= 1


def test_a_head_of_the_users_own_gives_a_score(tmp_path):
    head = tmp_path / "head.npz"
    np.savez(head, weight=np.random.default_rng(0).standard_normal((4, 128)) * 5, bias=np.zeros(4))
    settings = QUICK.model_copy(update={"heads": {"copy-encoder": head}})
    item = measured(slices(range(8)), slices(range(20, 28)), settings)["is_copy-encoder (t1)"]

    assert 1 < item.value < 4
    assert "4 classes" in item.note
    np.savez(head, weight=np.zeros((4, 7)), bias=np.zeros(4))
    with pytest.raises(WeightsError, match="takes 7 features"):
        measured(slices(range(8)), slices(range(20, 28)), settings)


# A surrogate head


def test_a_surrogate_head_is_fitted_declared_and_used(folders, tmp_path, monkeypatch):
    from synthrelease import cli, measuring_heads

    monkeypatch.setattr(study, "weights_fit_head", measuring_heads.fit_head, raising=False)
    labels, head = tmp_path / "labels.csv", tmp_path / "head.npz"
    labels.write_text("subject,label\n" + "".join(f"p{i:03d},grade{i % 2}\n" for i in range(8)), encoding="utf-8")
    words = ["weights", "fit-head", "copy-encoder", "--images", folders["real"], "--labels", labels, "--out", head]
    result = CliRunner().invoke(cli.group, [*map(str, words), "--channel", "green"], catch_exceptions=False)

    assert result.exit_code == 0
    assert "2 classes from 24 images" in result.output
    assert "guessing 0.50" in result.output
    settings = QUICK.model_copy(update={"heads": {"copy-encoder": head}})
    found = by_name(
        measuring.measure(real=folders["real"], synthetic=folders["synthetic"], out=tmp_path / "q", settings=settings)
    )
    item = found["radis_surrogate_copy-encoder (green)"]
    assert 1 <= item.value <= 2
    assert "Surrogate head" in item.note
    assert "accuracy 0." in item.note
    assert found["is_copy-encoder (red+green+blue)"].value is None  # the head was not made for three side by side


@pytest.mark.parametrize(
    ("text", "message"), [("a,b\n1,2\n", "has the columns a, b"), ("subject,label\nnobody,x\n", "names none of the 24")]
)
def test_labels_that_fit_no_image_are_refused(text, message, folders, tmp_path):
    from synthrelease.errors import ScanError
    from synthrelease.measuring_heads import fit_head

    (tmp_path / "labels.csv").write_text(text, encoding="utf-8")
    with pytest.raises(ScanError, match=message):
        fit_head("copy-encoder", images=folders["real"], labels=tmp_path / "labels.csv", out=tmp_path / "h.npz")


# The command


@pytest.fixture
def run(monkeypatch):
    if not hasattr(study, "measure"):  # until the study has the verb
        monkeypatch.setattr(study, "measure", measuring.measure, raising=False)

    def invoke(*words: object, fails: bool = False):
        return CliRunner().invoke(measure_command.command, [str(w) for w in words], catch_exceptions=fails)

    return invoke


def test_the_command_prints_lines_of_80_columns_and_names_its_files(run, folders, tmp_path):
    out = tmp_path / "q"
    result = run("--real", folders["real"], "--synthetic", folders["synthetic"], "--out", out, "--no-intervals")

    assert result.exit_code == 0
    text = result.stdout.replace(str(out), "OUT")
    assert max(map(len, text.splitlines())) <= 80
    assert "floor" in text
    assert "Not measured: is_copy-encoder (red)" in text
    assert "synthrelease weights fit-head" in " ".join(text.split())
    assert (out / "quality.json").is_file()


def test_json_is_one_document_on_stdout(run, folders, tmp_path):
    words = ("--real", folders["real"], "--synthetic", folders["synthetic"], "--out", tmp_path / "q", "--no-intervals")
    document = json.loads(run(*words, "--channels", "green", "--json").stdout)

    assert {item["view"] for item in document["measurements"]} <= {"green", ""}


@pytest.mark.parametrize(
    ("words", "error", "message"),
    [
        (("--extractor", "inceptoin"), SettingsError, "Did you mean 'inception'"),
        (("--extractor", "inception"), WeightsError, "No weights are installed for inception"),
        (("--channels", "t9"), AuditError, "do not share t9"),
    ],
)
def test_what_cannot_be_measured_is_an_error_with_a_remedy(words, error, message, run, folders, tmp_path):
    base = ("--real", folders["real"], "--synthetic", folders["synthetic"], "--out", tmp_path / "q")
    with pytest.raises(error, match=message):
        run(*base, *words)


def test_a_holdout_patient_who_is_also_in_the_real_images_is_named(run, folders, tmp_path):
    write_role(tmp_path / "held", [40, 41, 3, 5])
    base = ("--real", folders["real"], "--synthetic", folders["synthetic"], "--out", tmp_path / "q")
    with pytest.raises(SplitError, match="2 holdout subjects are also in the real images: p003, p005"):
        run(*base, "--holdout", tmp_path / "held")
    with pytest.raises(SplitError, match="8 holdout subjects"):
        run(*base, "--holdout", folders["real"])
    assert not (tmp_path / "q").exists()


def test_a_single_synthetic_image_is_refused(run, folders, tmp_path):
    write_role(tmp_path / "one", range(20, 21), 1)
    with pytest.raises(AuditError, match="only 1 image"):
        run("--real", folders["real"], "--synthetic", tmp_path / "one", "--out", tmp_path / "q")


def test_weights_without_a_name_need_one_extractor(run, folders, tmp_path):
    result = run("--real", "a", "--synthetic", "b", "--out", "c", "--weights", "file.pth", fails=True)

    assert result.exit_code == 2
    assert "needs exactly one --extractor" in result.output


def test_loading_the_command_loads_no_torch():
    import subprocess

    code = "import sys, synthrelease.cli.measure; print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
