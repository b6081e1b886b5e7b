"""The whole comparison: a good stand-in is worth what real images are, a broken one nothing; nothing leaks."""

from __future__ import annotations

import csv
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from checkpoint_helpers import Watched, everything_in, same
from segmentation_helpers import BRATS, tumours

from synthrelease.errors import SegmentationError, SettingsError, SplitError, SynthreleaseError
from synthrelease.image_set import MASK, ImageSet, from_arrays
from synthrelease.progress import SILENT
from synthrelease.release_records import UtilityRecord
from synthrelease.segmentation.plan import Roles
from synthrelease.segmenting import segment_into

REAL = tumours(24, seed=1, name="real")
TEST = tumours(12, seed=2, name="test")
GOOD = tumours(30, seed=3, name="made", subjects=False)
QUICK: dict[str, Any] = {
    "filters": [4, 8, 8], "heads": 1, "steps": 6, "batch": 4, "validate_every": 3, "workers": 1, "warmup_steps": 0,
    "learning_rate": 0.01,
}  # fmt: skip


def _run(out: Path, roles: Roles, *, progress: Any = SILENT, **options: Any) -> UtilityRecord:
    changes = {**QUICK, **options.pop("changes", {})}
    record = segment_into(out, roles, preset="small", changes=changes, device="cpu", progress=progress, **options)
    assert record is not None
    return record


def _shuffled(images: ImageSet) -> ImageSet:
    """Return the images with each other's masks."""
    pixels = images.pixels.copy()
    place = images.channels.index(MASK)
    pixels[:, place] = np.roll(pixels[:, place], 7, axis=0)
    pixels[:, place] = pixels[:, place, ::-1]
    return from_arrays(pixels, images.rows, channels=images.channels)


def test_a_good_stand_in_is_worth_what_real_images_are_and_a_broken_one_far_less(tmp_path: Path) -> None:
    longer = {"changes": {"steps": 80, "validate_every": 20}}
    good = _run(tmp_path / "good", Roles(TEST, REAL, GOOD), **longer).relative_dice
    bad = _run(tmp_path / "bad", Roles(TEST, REAL, _shuffled(GOOD)), **longer).relative_dice
    assert good is not None
    assert bad is not None
    assert 0.9 < good.value < 1.1
    assert good.low <= good.value <= good.high
    assert bad.high < 0.75
    assert (good.count, good.subjects) == (12, 4)


def test_absolute_scores_and_the_table_tell_of_every_training(tmp_path: Path) -> None:
    channels = {"channels": BRATS, "levels": (102, 51, 204)}
    sets = [tumours(12, seed=i, name=n, **channels) for i, n in enumerate(("test", "real", "made"))]
    roles = Roles(sets[0], sets[1], replace(sets[2], rows=tuple(replace(r, subject="") for r in sets[2].rows)))
    record = _run(tmp_path, roles, train_on=("both", "synthetic", "real"), seeds=(0, 5), augment=True)
    names = {item.name: item for item in record.measurements}
    for arm in ("real", "synthetic", "both"):
        for region in ("mean", "NCR", "ED", "ET", "WT", "TC"):
            for measure, unit in (("dice", "0 to 1"), ("hausdorff", "mm"), ("hausdorff_95", "mm")):
                assert names[f"{measure}_{region}_{arm}"].unit == unit
    whole = names["dice_WT_real"]
    assert whole.value is not None
    assert whole.low is not None
    assert whole.high is not None
    assert 0 <= whole.low <= whole.value <= whole.high <= 1
    assert {"relative_dice_synthetic", "relative_dice_both"} <= set(names)
    assert record.seeds == 2
    assert record.synthetic == roles.synthetic.content if roles.synthetic else ""
    assert "2 training seeds" in (record.relative_dice.method if record.relative_dice else "")
    with (tmp_path / "subjects.csv").open(newline="") as file:
        lines = list(csv.DictReader(file))
    assert len(lines) == 3 * 2 * 4 * 5
    mean = np.mean([float(x["dice"]) for x in lines if (x["trained_on"], x["region"]) == ("real", "WT") and x["dice"]])
    assert whole.value == pytest.approx(mean)
    assert UtilityRecord.model_validate_json((tmp_path / "utility.json").read_text()) == record


def test_training_on_synthetic_alone_depends_on_no_real_pixel(tmp_path: Path) -> None:
    other_test, other_real = tumours(12, seed=8, name="test"), tumours(24, seed=9, name="real")
    _run(tmp_path / "one", Roles(TEST, REAL, GOOD), train_on=("synthetic",))
    _run(tmp_path / "two", Roles(other_test, other_real, GOOD), train_on=("synthetic",))
    _run(tmp_path / "alone", Roles(TEST, None, GOOD), train_on=("synthetic",))
    folders = [tmp_path / name / "models" / "synthetic-seed0" for name in ("one", "two", "alone")]
    assert same(folders[0], folders[1])
    assert same(folders[0], folders[2])
    assert (folders[0] / "best.json").read_text() == (folders[1] / "best.json").read_text()


def test_an_interrupted_comparison_goes_on_and_repeats_nothing(tmp_path: Path) -> None:
    def crash() -> None:
        raise RuntimeError("power failure")

    whole = _run(tmp_path / "whole", Roles(TEST, REAL, GOOD))
    # Real is trained and scored (6 steps, 4 subjects, and what each task reports first), synthetic is half done.
    with pytest.raises(RuntimeError, match="power failure"):
        _run(tmp_path / "cut", Roles(TEST, REAL, GOOD), progress=Watched(15, crash))
    finished = tmp_path / "cut" / "models" / "real-seed0"
    assert (finished / "scores.json").is_file()
    assert not (tmp_path / "cut" / "models" / "synthetic-seed0" / "scores.json").exists()
    before = (finished / "scores.json").stat().st_mtime_ns
    assert _run(tmp_path / "cut", Roles(TEST, REAL, GOOD), resume=True) == whole
    assert (finished / "scores.json").stat().st_mtime_ns == before
    with pytest.raises(SegmentationError, match="holds a training already"):
        _run(tmp_path / "cut", Roles(TEST, REAL, GOOD))


@pytest.mark.slow
def test_two_processes_compare_what_one_does_and_one_of_them_writes(tmp_path: Path) -> None:
    script = tmp_path / "together.py"
    script.write_text(
        "import sys\nfrom pathlib import Path\nfrom segmentation_helpers import tumours\n"
        "from synthrelease.progress import SILENT\nfrom synthrelease.segmentation.plan import Roles\n"
        "from synthrelease.segmenting import segment_into\n"
        "sets = [tumours(12, seed=i, name=name) for i, name in enumerate(('test', 'real', 'made'))]\n"
        "options = {'preset': 'small', 'device': 'cpu', 'progress': SILENT}\n"
        f"segment_into(Path(sys.argv[1]), Roles(*sets), changes={QUICK!r}, **options)\n"
    )
    tests = Path(__file__).resolve().parent
    environment = {**os.environ, "PYTHONPATH": str(tests), "OMP_NUM_THREADS": "1"}
    launch = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    subprocess.run([*launch, str(script), str(tmp_path / "two")], check=True, env=environment, timeout=200)
    subprocess.run([sys.executable, str(script), str(tmp_path / "one")], check=True, env=environment, timeout=200)
    one, two = (UtilityRecord.model_validate_json((tmp_path / n / "utility.json").read_text()) for n in ("one", "two"))
    assert [item.name for item in one.measurements] == [item.name for item in two.measurements]
    assert one.relative_dice is not None
    assert two.relative_dice is not None
    assert two.relative_dice.value == pytest.approx(one.relative_dice.value, abs=0.02)


def test_scores_of_another_test_set_are_not_reused(tmp_path: Path) -> None:
    first = _run(tmp_path, Roles(TEST, REAL), train_on=("real",))
    other = _run(tmp_path, Roles(tumours(12, seed=8, name="test"), REAL), train_on=("real",), resume=True)
    assert first.measurements != other.measurements
    assert first.relative_dice is None


def test_training_at_half_the_size_is_scored_at_full_size(tmp_path: Path) -> None:
    _run(tmp_path, Roles(TEST, REAL), train_on=("real",), size=12)
    with (tmp_path / "subjects.csv").open(newline="") as file:
        (first, *_) = csv.DictReader(file)
    place = TEST.channels.index(MASK)
    rows = [i for i, row in enumerate(TEST.rows) if row.subject == first["subject"]]
    assert int(first["truth_voxels"]) == int((TEST.pixels[rows, place] > 0).sum())


def test_results_are_for_their_owner_alone(tmp_path: Path) -> None:
    _run(tmp_path / "out", Roles(TEST, REAL), train_on=("real",))
    assert (tmp_path / "out").stat().st_mode & 0o077 == 0
    assert everything_in(tmp_path / "out" / "models" / "real-seed0")["step"] == 6


def _overlapping() -> Roles:
    return Roles(REAL.subset(range(6)), REAL, GOOD)


@pytest.mark.parametrize(
    ("roles", "options", "kind", "said"),
    [
        (_overlapping, {}, SplitError, "2 test subjects are also in the real images"),
        (lambda: Roles(TEST, REAL, TEST), {}, SplitError, "also in the synthetic images"),
        (lambda: Roles(TEST, REAL), {}, SegmentationError, "needs synthetic images"),
        (lambda: Roles(TEST), {"train_on": ("real",)}, SegmentationError, "needs images"),
        (lambda: Roles(TEST, REAL, tumours(channels=("FLAIR", "T1"), name="m")), {}, SegmentationError, "have no mask"),
        (lambda: Roles(TEST, REAL, GOOD), {"train_on": ("rael",)}, SettingsError, "Choose among real"),
        (lambda: Roles(TEST, REAL, GOOD), {"seeds": (1, 1)}, SettingsError, "different seeds"),
        (lambda: Roles(TEST, REAL, GOOD), {"changes": {"stepps": 3}}, SettingsError, "no setting stepps"),
        (lambda: Roles(TEST, REAL, GOOD), {"changes": {"batch": 0}}, SettingsError, "batch"),
        (lambda: Roles(tumours(levels=(51, 102), name="t"), REAL, GOOD), {}, SegmentationError, "learnt were"),
    ],
)
def test_comparisons_that_say_nothing_are_refused_before_anything_is_trained(
    tmp_path: Path, roles: Callable[[], Roles], options: dict[str, Any], kind: type[SynthreleaseError], said: str
) -> None:
    with pytest.raises(kind, match=said):
        _run(tmp_path / "out", roles(), **options)
    assert not (tmp_path / "out" / "models").exists()


def test_every_dice_stands_beside_that_of_one_fixed_mask(tmp_path: Path) -> None:
    record = _run(tmp_path, Roles(TEST, REAL, GOOD))
    found = {item.name: item for item in record.measurements}
    chance, real, relative = (found[name] for name in ("dice_mean_chance", "dice_mean_real", "relative_dice_chance"))
    assert chance.value is not None
    assert real.value is not None
    assert 0 < chance.value < 1
    assert relative.value == pytest.approx(chance.value / real.value)
    assert chance.count == 4
    alone = _run(tmp_path / "alone", Roles(TEST, None, GOOD), train_on=("synthetic",))
    assert not any("chance" in item.name for item in alone.measurements)  # no real train images to take it from
