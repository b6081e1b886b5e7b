"""Pairs side by side: the right image in the right column, the same scale everywhere, within the page's budget."""

from __future__ import annotations

import base64
import io
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image, ImageDraw, ImageFont
from sample import CHANNELS, sample_pairs, sample_record, suspect

from synthrelease.report import pairs as strips
from synthrelease.report.pairs import Pair, shown_pairs, strip
from synthrelease.report.views import audit_page


def _flat(value: float, side: int = 128) -> np.ndarray:
    return np.full((2, side, side), value, np.float32)


def _pair(**changes) -> Pair:
    plain = Pair(suspect(0), _flat(1.0), _flat(0.0), _flat(0.5), ("t1", "flair"), "suspect")
    return replace(plain, **changes)


def _colour(pair: Pair, column: int, row: int = 0) -> tuple[int, ...]:
    step = 128 + strips.GAP
    at = (strips.MARGIN + column * step + 64, strips.HEAD + row * step + 30)
    return strip(pair, 128).convert("RGB").getpixel(at)


def test_columns_are_synthetic_train_holdout_difference():
    assert _colour(_pair(), 0) == (255, 255, 255)
    assert _colour(_pair(), 1) == (0, 0, 0)
    assert abs(_colour(_pair(), 2)[0] - 128) <= 3


def test_swapping_synthetic_and_train_swaps_the_colour_of_the_difference():
    brighter, darker = _colour(_pair(), 3), _colour(_pair(synthetic=_flat(0.0), train=_flat(1.0)), 3)

    assert brighter[0] > brighter[2]  # orange
    assert darker[2] > darker[0]  # purple


def test_agreement_is_almost_white():
    assert min(_colour(_pair(synthetic=_flat(0.3), train=_flat(0.3)), 3)) > 235


def test_every_contrast_has_its_row():
    synthetic = np.stack([_flat(1.0)[0], _flat(0.0)[0]])

    assert _colour(_pair(synthetic=synthetic), 0, row=0) == (255, 255, 255)
    assert _colour(_pair(synthetic=synthetic), 0, row=1) == (0, 0, 0)


def test_a_missing_holdout_leaves_its_column_empty():
    assert _colour(_pair(holdout=None), 2, row=1) == (255, 255, 255)


def test_small_images_are_enlarged_without_inventing_pixels():
    image = np.zeros((1, 2, 2), np.float32)
    image[0, 0, 0] = 1
    pair = _pair(synthetic=image, train=image, holdout=None, channels=("t1",))
    tile = np.asarray(strip(pair, 112).convert("L"))[strips.HEAD : strips.HEAD + 112, strips.MARGIN :][:, :112]

    assert set(np.unique(tile)) == {0, 255}
    assert (tile == 255).sum() == 56 * 56


def test_images_that_are_not_square_keep_their_shape():
    flat = np.zeros((1, 60, 120), np.float32)
    shown = strip(_pair(synthetic=flat, train=flat, holdout=None, channels=("t1",)), 120)

    assert shown.width == strips.MARGIN + 4 * (120 + strips.GAP)
    assert shown.height == strips.HEAD + 60 + strips.GAP + strips.SCALE


def test_a_long_contrast_name_stays_in_its_margin():
    named = np.asarray(strip(_pair(channels=("x" * 500, "flair")), 128).convert("L"))
    plain = np.asarray(strip(_pair(channels=("", "flair")), 128).convert("L"))

    assert (named != plain)[:, : strips.MARGIN].any()
    assert not (named != plain)[:, strips.MARGIN :].any()


def test_the_alternative_text_states_the_finding():
    record = sample_record()
    closest = _pair(suspect=suspect(1, score=0.71, above_alarm=True, mirrored=True))
    (shown,) = shown_pairs([closest], record)

    for words in ("seed00001.png", "scores 0.710", "TCGA_01", "after mirroring", "above the alarm line", "holdout"):
        assert words in shown.picture.finding


def test_without_a_holdout_no_line_is_mentioned_as_if_there_were_one():
    (shown,) = shown_pairs([_pair(holdout=None)], sample_record("incomplete"))

    assert "no holdout, so no line" in shown.picture.finding


def test_a_part_is_shown_with_its_place_in_the_image():
    record = sample_record()
    page = audit_page(record, [pair for pair in sample_pairs(record, side=64) if pair.kind == "part"])

    assert "rows 31 to 97, columns 44 to 118" in page


def test_every_label_of_a_strip_has_its_glyph(monkeypatch):
    drawn = []
    monkeypatch.setattr(ImageDraw.ImageDraw, "text", lambda self, at, text, **_: drawn.append(text))

    strip(Pair(suspect(0), *[np.zeros((4, 64, 64), np.float32)] * 2, None, CHANNELS, "suspect"), 112)

    font = ImageFont.load_default(20)
    missing = bytes(font.getmask("\ue000"))
    assert {"synthetic", "-0.5", "+0.5", "none shown", "flair"} <= set(drawn)
    assert not [char for text in drawn for char in text if bytes(font.getmask(char)) == missing]


@pytest.mark.slow
def test_forty_pairs_of_four_contrasts_at_256_pixels_stay_under_five_megabytes():
    random = np.random.default_rng(0)
    noise = random.random((3, 4, 256, 256), dtype=np.float32)  # the worst case: nothing compresses less
    pairs = [Pair(suspect(i), noise[0], noise[1], noise[2], CHANNELS, "suspect") for i in range(40)]

    page = audit_page(sample_record(), pairs)

    assert len(page.encode()) < 5_000_000


def test_strips_shrink_until_they_fit_the_budget():
    pairs = sample_pairs(sample_record(), side=128)[:3]
    large, small = strips._strips_within(pairs, 10**9), strips._strips_within(pairs, 90_000)

    assert sum(map(len, small)) <= 90_000 < sum(map(len, large))


def test_strips_are_png_with_nothing_but_pixels():
    (shown,) = shown_pairs([_pair()], sample_record())
    data = base64.b64decode(shown.picture.address.removeprefix("data:image/png;base64,"))

    with Image.open(io.BytesIO(data)) as image:
        assert image.format == "PNG"
        assert (image.width, image.height) == (shown.picture.width, shown.picture.height)
        assert not image.info
