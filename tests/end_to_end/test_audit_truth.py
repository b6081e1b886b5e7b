"""The whole audit against known truth, on phantoms: what is hidden is found, what is innocent is left alone."""

from __future__ import annotations

import json
from pathlib import Path

import jsonschema
import numpy as np
import pytest
from audit_helpers import QUICK, eight_bits, images_of, masks_of, names_of, run_cli, subject, without_time, write_role

import synthrelease
from synthrelease.errors import SplitError
from synthrelease.policy import SEVERITY
from synthrelease.privacy.gallery import Gallery
from synthrelease.privacy.transformations import KINDS
from synthrelease.records import AuditRecord

TRAIN, HOLDOUT, MADE = range(24), range(24, 44), range(44, 52)
HIDDEN = ("identity", "mirror", "rotation_5", "gamma", "blur", "shift", "noise")
SCHEMA = Path(__file__).resolve().parents[2] / "docs" / "records.schema.json"
BY_NAME = {kind.name: kind for kind in KINDS}


@pytest.fixture(scope="module")
def place(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("truth")


@pytest.fixture
def audit(place, monkeypatch):
    """The audit of arrays with one cache for all tests here: roles that do not change are searched once."""
    monkeypatch.setenv("SYNTHRELEASE_CACHE", str(place / "cache"))

    def call(synthetic=None, **changes) -> AuditRecord:
        given = {
            "train": images_of(TRAIN),
            "train_subjects": names_of(TRAIN),
            "holdout": images_of(HOLDOUT),
            "holdout_subjects": names_of(HOLDOUT),
            "synthetic": images_of(MADE) if synthetic is None else synthetic,
            **QUICK,
            **changes,
        }
        return synthrelease.audit(**given)

    return call


def copies(count, first=0):
    return images_of(TRAIN)[first : first + 3 * count : 3]


def disguised():
    """One copy per kind of a train subject, and the subject each was taken from."""
    made = []
    for number, kind in enumerate(HIDDEN):
        image = subject(number)[0][1][[0, 1, 3]]
        made.append(BY_NAME[kind].apply(image, image, np.random.default_rng(number)))
    return eight_bits(np.stack(made)), names_of(range(len(HIDDEN)), 1)


def severity(record):
    return SEVERITY.index(record.verdict)


def test_a_perfect_stand_in_is_not_rejected_and_its_excess_covers_zero(audit):
    record = audit()

    assert record.verdict in ("pass", "review")
    assert record.near_copies.excess.low <= 0 <= record.near_copies.excess.high
    assert record.exact_copies == ()
    assert record.representative.representative
    assert record.transfer.transferable
    assert isinstance(record.threshold, float)


def test_disguised_copies_are_suspects_with_their_right_source(audit):
    hidden, sources = disguised()
    record = audit(np.concatenate([images_of(MADE), hidden]))

    found = {s.image_id: s.train_subject for s in record.suspects}
    expected = {f"synthetic/{24 + i}": name for i, name in enumerate(sources)}
    assert {name: found.get(name) for name in expected} == expected
    assert {s.image_id for s in record.exact_copies} == {"synthetic/24"}
    assert set(sources) <= set(record.exposed_subjects)
    assert record.verdict == "reject"


def test_suspects_are_exactly_the_images_above_the_whole_image_threshold(audit):
    for synthetic in (images_of(MADE), np.concatenate([images_of(MADE)[:8], disguised()[0]])):
        record = audit(synthetic)
        above = {s.image_id for s in record.closest if s.score > record.threshold}

        assert len(record.suspects) == record.near_copies.synthetic.flagged
        assert all(s.score > record.threshold for s in record.suspects)
        assert len({s.image_id for s in record.suspects}) == len(record.suspects)
        assert above == {s.image_id for s in record.suspects}
        assert {s.image_id for s in record.alarms} == {s.image_id for s in record.closest if s.score > record.alarm}
        assert record.threshold <= record.alarm


def test_without_the_search_on_parts_the_count_of_suspects_is_still_that_of_the_rate(audit):
    record = audit(np.concatenate([images_of(MADE), disguised()[0]]), parts=False, alpha=0.1)

    assert len(record.suspects) == record.near_copies.synthetic.flagged
    assert record.part_suspects == ()


def test_swapping_holdout_and_synthetic_changes_the_answer(audit):
    swapped = audit(images_of(HOLDOUT), holdout=images_of(MADE), holdout_subjects=names_of(MADE), parts=False)
    straight = audit(parts=False)

    assert (swapped.threshold, swapped.near_copies) != (straight.threshold, straight.near_copies)
    with_copies = np.concatenate([images_of(MADE), copies(2)])
    assert audit(with_copies, parts=False).verdict == "reject"
    with pytest.raises(SplitError, match="also in train"):
        audit(images_of(HOLDOUT), holdout=with_copies, holdout_subjects=[*names_of(MADE), "x1", "x2"], parts=False)


def test_adding_copies_never_makes_the_verdict_milder(audit):
    clean = images_of(MADE)
    blurred = eight_bits(BY_NAME["blur"].apply(copies(6)[5] / 255, copies(1)[0], np.random.default_rng(0)))[None]
    sets = ([], [blurred], [blurred, copies(1)], [blurred, copies(3)])
    verdicts = [severity(audit(np.concatenate([clean, *extra]), parts=False)) for extra in sets]

    assert verdicts == sorted(verdicts)
    assert SEVERITY[verdicts[-1]] == "reject"


def test_five_verbatim_copies_in_a_larger_clean_set_never_pass(audit):
    clean = images_of(range(100, 160))
    record = audit(np.concatenate([clean, copies(5)]), parts=False)

    assert record.verdict == "reject"
    assert {s.image_id for s in record.exact_copies} == {f"synthetic/{180 + i}" for i in range(5)}
    assert record.near_copies.excess.low <= 0.005  # the excess alone would have missed them


def test_the_order_of_images_does_not_matter(audit):
    hidden, _ = disguised()
    synthetic = np.concatenate([images_of(MADE), hidden])
    order = np.random.default_rng(0).permutation(len(synthetic))
    held = np.random.default_rng(1).permutation(3 * len(HOLDOUT))

    first = audit(synthetic, parts=False)
    second = audit(
        synthetic[order],
        holdout=images_of(HOLDOUT)[held],
        holdout_subjects=list(np.array(names_of(HOLDOUT))[held]),
        parts=False,
    )

    def found(record, rows):
        return {(rows[int(s.image_id.split("/")[1])], s.train_image_id) for s in record.suspects}

    assert second.threshold == pytest.approx(first.threshold, abs=1e-4)
    assert second.verdict == first.verdict
    assert found(second, order) == found(first, np.arange(len(synthetic)))


def test_a_copied_tumour_in_another_head_is_a_part_suspect(audit):
    channels = ("T1", "T1ce", "FLAIR", "mask")

    def with_masks(indices):
        return np.concatenate([images_of(indices), masks_of(indices)], axis=1)

    made, sources = with_masks(MADE), []
    source = with_masks(TRAIN)
    large = sorted(range(0, 72, 3), key=lambda i: -int((source[i, 3] > 0).sum()))[:6]
    for number, row in enumerate(large):
        where = np.argwhere(source[row, 3] > 0)
        (top, left), (bottom, right) = where.min(0), where.max(0) + 1
        half = int(0.75 * max(bottom - top, right - left)) + 1
        y, x = (top + bottom) // 2, (left + right) // 2
        window = np.s_[:, max(y - half, 0) : y + half, max(x - half, 0) : x + half]
        made[3 * number, 3] = 0
        made[3 * number][window] = source[row][window]
        sources.append(names_of(TRAIN)[row])

    record = audit(
        made, train=source, holdout=with_masks(HOLDOUT), channels=channels, extractors=("pixels",), alpha=0.05
    )

    found = {(p.image_id, p.train_subject) for p in record.part_suspects if p.part in ("tumour", "patch")}
    right = sum((f"synthetic/{3 * i}", name) in found for i, name in enumerate(sources))
    assert right >= 4
    assert record.verdict != "pass"
    assert record.masks is not None
    assert record.masks.off_level_share == 0
    for part in record.part_suspects:
        top, left, bottom, right_edge = part.box
        assert 0 <= top < bottom <= 64
        assert 0 <= left < right_edge <= 64


@pytest.fixture(scope="module")
def twice(place):
    """The same command twice on folders: the second time from the cache; calls of the search are counted."""
    for role, indices in (("train", TRAIN), ("holdout", HOLDOUT), ("synthetic", MADE)):
        write_role(place / role, indices)
    roles = [part for role in ("train", "holdout", "synthetic") for part in (f"--{role}", place / role)]
    calls, real = [], Gallery.screen_block

    def counted(self, *arguments):
        calls.append(arguments)
        return real(self, *arguments)

    found = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Gallery, "screen_block", counted)
        for number in (1, 2):
            calls.clear()
            out, cache = place / f"out{number}", place / "folders-cache"
            run = run_cli("audit", *roles, "--out", out, "--image-size", 64, cache=cache)
            files = sorted((path.relative_to(cache), path.stat().st_mtime_ns) for path in cache.rglob("*.np*"))
            found.append((run, (out / "evidence" / "audit.json").read_text(encoding="utf-8"), len(calls), files))
    return found


def test_the_same_inputs_give_the_same_record_to_the_byte_but_for_the_time(twice):
    first, second = (json.loads(text) for _, text, _, _ in twice)

    assert without_time(first) == without_time(second)
    lines = [text.splitlines() for _, text, _, _ in twice]
    differing = [a for a, b in zip(*lines, strict=True) if a != b]
    assert all('"date"' in line or '"seconds"' in line for line in differing)


def test_the_second_run_searches_nothing_and_writes_nothing_to_the_cache(twice):
    (_, _, calls, files), (_, _, later_calls, later_files) = twice

    assert calls > 0
    assert later_calls == 0
    assert later_files == files


def test_the_record_holds_no_nan_and_follows_its_schema(twice):
    text = twice[0][1]
    record = json.loads(text, parse_constant=lambda name: pytest.fail(f"{name} in audit.json"))

    jsonschema.validate(record, AuditRecord.model_json_schema(mode="serialization"))
    assert AuditRecord.model_validate_json(text).verdict == record["verdict"]
    if SCHEMA.is_file():
        jsonschema.validate(record, json.loads(SCHEMA.read_text(encoding="utf-8")))


def test_paths_of_this_machine_are_not_in_the_record(twice, place):
    assert str(place) not in twice[0][1]


@pytest.mark.slow
def test_with_all_planted_copies_a_stand_in_passes_and_power_is_shown(audit):
    record = audit(planted_subjects=72, power_floor=0.8, bootstrap=1000, permutations=999, image_size=128)

    assert record.verdict in ("pass", "review")
    assert min(bound.power_low for bound in record.bounds if bound.required) >= 0.8
