"""Parts: a pasted piece of anatomy and a pasted tumour are found with their source; empty places are skipped."""

from __future__ import annotations

import numpy as np
import pytest
from audit_helpers import masks_of, subject

from synthrelease import mapped
from synthrelease.features.analysis import analysis_images, analysis_masks
from synthrelease.privacy import parts, tables
from synthrelease.privacy.confirmation import SIZE, prepare
from synthrelease.privacy.parts import PatchSearch, TumourSearch, TumourTables, tumour_boxes

TRAIN, OTHERS = range(8), range(20, 26)


def images(indices):
    return analysis_images(np.concatenate([subject(i)[0] for i in indices]), 128)


def masks(indices):
    return analysis_masks(masks_of(indices)[:, 0], 128)


def tumour_search(train, boxes):
    return TumourSearch(train, TumourTables.of(train, boxes))


@pytest.fixture(scope="module")
def train():
    return images(TRAIN)


@pytest.fixture(scope="module")
def patches(train):
    return PatchSearch(prepare(train))


@pytest.fixture(scope="module")
def tumours(train):
    return tumour_search(prepare(train), tumour_boxes(masks(TRAIN)))


def pasted(head, source, top, left, side):
    made = head.copy()
    where = np.s_[:, top : top + side, left : left + side]
    made[where] = source[where]
    return made


@pytest.mark.parametrize("mirrored", [False, True])
def test_a_pasted_patch_is_found_with_its_source_and_place(mirrored, train, patches):
    heads = images(OTHERS)[::3]
    sources = [1, 4, 10, 13, 16, 22]
    made = np.stack([pasted(h, train[s], 32, 32, 64) for h, s in zip(heads, sources, strict=True)])
    made = np.ascontiguousarray(made[..., ::-1]) if mirrored else made

    found = patches.match(prepare(made))
    strangers = patches.match(prepare(heads))

    right = found.index // 3 == np.array(sources) // 3
    assert right.mean() >= 5 / 6
    assert found.score[right].min() > 0.9
    assert np.median(found.score) > strangers.score.max()
    for top, left, bottom, right_edge in found.box[right]:
        assert bottom - top == right_edge - left == parts.PATCH
        assert 0 <= top < bottom <= SIZE
        assert 0 <= left < right_edge <= SIZE
        overlap = (min(bottom, 48) - max(top, 16)) * (min(right_edge, 48) - max(left, 16))
        assert overlap > 0.7 * parts.PATCH**2


def test_a_train_image_finds_itself(train, patches):
    found = patches.match(prepare(train[:6]))

    assert (found.index == np.arange(6)).all()
    assert found.score.min() > 0.98


@pytest.mark.parametrize("mirrored", [False, True])
def test_a_pasted_tumour_is_found_with_its_source(mirrored, train, tumours):
    boxes = tumour_boxes(masks(TRAIN))
    rows = np.flatnonzero(boxes[:, 2] > boxes[:, 0])[::3]
    heads = images(OTHERS)
    made, marks = [], []
    for number, row in enumerate(rows):
        top, left, bottom, right = (round(float(edge) * 2) for edge in boxes[row])
        image, mark = heads[number % len(heads)].copy(), masks(TRAIN)[row]
        window = np.s_[:, max(top, 0) : bottom, max(left, 0) : right]
        image[window] = train[row][window]
        made.append(image[..., ::-1] if mirrored else image)
        marks.append(mark[..., ::-1] if mirrored else mark)
    queries, labels = np.ascontiguousarray(np.stack(made)), np.stack(marks)

    found = tumours.match(prepare(queries), tumour_boxes(labels))

    assert (found.index == rows).mean() > 0.8
    assert np.median(found.score) > 0.9
    others = tumours.match(prepare(heads), tumour_boxes(masks(OTHERS)))
    there = others.score > -1
    assert there.any()
    assert np.median(found.score) > others.score[there].max()


def test_images_without_a_tumour_match_none(train, tumours):
    found = tumours.match(prepare(images(OTHERS)), np.zeros((18, 4), np.float32))

    assert (found.score == -1).all()
    assert (found.index == -1).all()


def test_a_train_set_without_tumours_or_foreground_matches_nothing(train):
    none = tumour_search(prepare(train), np.zeros((len(train), 4), np.float32))
    black = np.zeros_like(train[:3])

    assert (none.match(prepare(train), tumour_boxes(masks(TRAIN))).score == -1).all()
    assert (PatchSearch(prepare(black)).match(prepare(train[:2])).score == -1).all()
    assert (PatchSearch(prepare(train)).match(prepare(black)).score == -1).all()


def test_the_box_encloses_the_mask_with_a_margin():
    mask = np.zeros((3, 128, 128), np.uint8)
    mask[0, 40:80, 50:70] = 102
    mask[1, 60:64, 60:64] = 102  # 2 pixels of 64: too small to recognise

    boxes = tumour_boxes(mask)

    top, left, bottom, right = boxes[0]
    assert (top + bottom) / 2 == 30
    assert (left + right) / 2 == 30
    assert bottom - top == right - left == pytest.approx(parts.TUMOUR_MARGIN * 20)
    assert (boxes[1:] == 0).all()


def test_the_description_of_a_box_is_the_same_for_its_mirror_image(train):
    box = np.array([[10, 12, 40, 42]], np.float32)
    mirrored = np.array([[10, SIZE - 42, 40, SIZE - 12]], np.float32)
    images_, flipped = prepare(train[:1]), prepare(np.ascontiguousarray(train[:1, :, :, ::-1]))

    np.testing.assert_allclose(parts._describe_boxes(images_, box), parts._describe_boxes(flipped, mirrored), atol=2e-2)


@pytest.mark.parametrize("portion", [5, 512])
def test_tables_on_disk_and_in_portions_are_those_in_memory(portion, train, tmp_path, monkeypatch):
    monkeypatch.setattr(parts, "PORTION", portion)
    prepared, boxes = prepare(train), tumour_boxes(masks(TRAIN))
    heard = []

    def patch_tables(new):
        return parts.PatchTables.of(prepared, new, heard.append)

    def tumour_tables(new):
        return TumourTables.of(prepared, boxes, new)

    for kind, make in ((parts.PatchTables, patch_tables), (TumourTables, tumour_tables)):
        kept = tables.kept(tmp_path, kind.__name__, "these", kind, make)
        for name, expected in vars(make(mapped.in_memory)).items():
            np.testing.assert_array_equal(getattr(kept, name), expected, err_msg=name)
    assert sum(heard) == 2 * len(train)


def test_tables_of_train_without_anything_to_search_are_kept_too(train, tmp_path):
    black = prepare(np.zeros_like(train[:3]))

    patches = tables.kept(tmp_path, "p", "black", parts.PatchTables, lambda new: parts.PatchTables.of(black, new))
    tumours = tables.kept(
        tmp_path, "t", "black", TumourTables, lambda new: TumourTables.of(black, np.zeros((3, 4), np.float32), new)
    )

    assert (PatchSearch(black, patches).match(prepare(train[:2])).score == -1).all()
    assert (TumourSearch(black, tumours).match(prepare(train[:2]), tumour_boxes(masks(TRAIN)[:2])).score == -1).all()


def test_large_tables_are_mapped_and_small_ones_read(train, tmp_path, monkeypatch):
    prepared = prepare(train)
    monkeypatch.setattr(mapped, "MAPPED", 10_000)

    kept = tables.kept(tmp_path, "p", "these", parts.PatchTables, lambda new: parts.PatchTables.of(prepared, new))

    assert isinstance(kept.features, np.memmap)
    assert not isinstance(kept.counts, np.memmap)
    with pytest.raises(ValueError, match="read-only"):
        kept.features[0] = 0
