"""The public page: every value of its record, synthetic images alone, nothing to run, nothing to fetch."""

from __future__ import annotations

import base64
import hashlib
import html
import io
import re
from collections.abc import Iterator
from html.parser import HTMLParser
from typing import Any

import numpy as np
import pytest
from nasty import NASTY, nasty_record
from PIL import Image
from release_sample import sample_decision, sample_findings, sample_images, sample_options, sample_public

from synthrelease.report import formats, public_words, samples
from synthrelease.report.public import public_page

IN_WORDS = {"schema_version", "side", "passed", "outcome", "decides", "part", "required", "held_out", "release_model"}
IN_WORDS |= {"image_format", "decision"}


class _Page(HTMLParser):
    def __init__(self, page: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.text: list[str] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attributes)))

    def handle_data(self, data: str) -> None:
        self.text.append(data)


def _text(page: str) -> str:
    return " ".join(" ".join(_Page(page).text).split())


def _pictures(page: str) -> list[Image.Image]:
    found = re.findall(r'src="data:image/png;base64,([^"]+)"', page)
    return [Image.open(io.BytesIO(base64.b64decode(data))) for data in found]


def _leaves(value: Any, place: str = "") -> Iterator[tuple[str, Any]]:
    if isinstance(value, dict):
        for name, item in value.items():
            yield from _leaves(item, f"{place}.{name}")
    elif isinstance(value, list):
        for item in value:
            yield from _leaves(item, place)
    elif value is not None and value != "":
        yield place, value


def _stands(value: Any, shown: str) -> bool:
    if isinstance(value, str):
        lines = value.splitlines()
        return all(line in shown for line in lines) or (value.isdecimal() and f"{int(value):,}" in shown)
    if isinstance(value, int):
        forms = {str(value), f"{value:,}"}
    else:
        shares = {formats.percent(value, how) for how in ("nearest", "up", "down")}  # type: ignore[arg-type]
        forms = {form.replace("\xa0", " ") for form in {*shares, formats.number(value), formats.score(value)}}
    return any(re.search(rf"(?<![\w.]){re.escape(form)}(?!\w)", shown) for form in forms)


def _drawn(count: int = 3, channels: int = 5) -> list[np.ndarray]:
    random = np.random.default_rng(0)
    return [random.integers(0, 256, (channels, 256, 240), dtype=np.uint8) for _ in range(count)]


def test_every_value_of_the_record_stands_on_the_page():
    record = sample_public()
    shown = _text(public_page(record)).replace("\xa0", " ")

    missing = [
        (place, value)
        for place, value in _leaves(record.model_dump(mode="json"))
        if place.rpartition(".")[2] not in IN_WORDS and not _stands(value, shown)
    ]

    assert not missing


def test_the_page_fetches_and_runs_nothing_and_pins_its_style():
    page = public_page(sample_public(), _drawn())
    elements = _Page(page).elements
    style = re.search(r"<style>(.*?)</style>", page, re.DOTALL)
    policy = next(a["content"] for tag, a in elements if tag == "meta" and a.get("http-equiv"))

    assert style is not None
    assert base64.b64encode(hashlib.sha256(style[1].encode()).digest()).decode() in str(policy)
    assert str(policy).startswith("default-src 'none'; img-src data:;")
    assert not {tag for tag, _ in elements} & {"script", "svg", "iframe", "object", "link", "form", "base"}
    assert all(str(a["src"]).startswith("data:image/png;base64,") for tag, a in elements if tag == "img")
    assert all(str(a["href"]).startswith("#") for tag, a in elements if tag == "a")
    assert "image/svg" not in page


def test_every_picture_says_its_finding_and_stands_beside_a_table():
    page = public_page(sample_public(), _drawn())
    alts = [str(a["alt"]) for tag, a in _Page(page).elements if tag == "img"]

    assert alts[-1].startswith("Planted copies caught, for 8 kinds. Hardest at the alarm line: crop")
    assert alts[0] == (
        "Synthetic image 1 of 3 in the order of a keyed shuffle; from left to right: t1, t1ce, t2, flair, mask."
    )
    power = page[page.index('<section id="power"') :]
    assert "<table>" in power[: power.index("</section>")]


def test_the_decision_band_has_word_sign_and_text():
    page = public_page(sample_public())
    band = page[page.index('<section id="decision"') : page.index("</section>")]

    assert 'class="verdict incomplete"' in band
    assert '<span class="sign" aria-hidden="true">?</span>' in band
    assert "Decision: Incomplete" in band
    assert "Approved as an override of INCOMPLETE." in band
    assert html.escape(public_words.NO_PROOF) in band


def test_findings_are_sorted_by_what_they_speak_for():
    shown = _text(public_page(sample_public()))
    evidence = shown[shown.index("Blocks release: 2 findings") : shown.index("What guidance asks What")]
    order = [
        *("Blocks release: 2 findings", "The audit can see copies", "Enough strangers"),
        *("Argues against: 2 findings", "Every alarm was read by a person", "Membership attack is weak"),
        *("Supports release: 4 findings", "No confirmed copies", "Calibrated on strangers"),
        *("Not measured: 1 finding", "Images are useful"),
    ]

    places = [evidence.index(text) for text in order]
    assert places == sorted(places)


def test_context_is_marked_as_context():
    page = public_page(sample_public())

    assert page.count("context, does not decide") == 2


def test_questions_that_no_test_speaks_to_say_so():
    guidance = _text(public_page(sample_public()))

    assert re.search(r"Inference Can attributes be inferred\? none not tested", guidance)


def test_the_same_record_and_images_give_the_same_page():
    assert public_page(sample_public(), _drawn()) == public_page(sample_public(), _drawn())


@pytest.mark.parametrize("text", NASTY)
def test_a_hostile_text_stays_text(text):
    undrawn = {"planted": ()}  # spares the figure, which holds nothing that a person types
    plain = public_page(sample_public().model_copy(update=undrawn))
    hostile = public_page(nasty_record(text).model_copy(update=undrawn))
    tags, usual = ([tag for tag, _ in _Page(page).elements] for page in (hostile, plain))

    for tag in set(tags) | set(usual):
        assert tag == "p" or tags.count(tag) == usual.count(tag), tag  # a description of other lines
    assert " ".join(formats.shown(text).split()) in _text(hostile)
    assert not [a for _, a in _Page(hostile).elements if any(name.startswith("on") for name in a)]


# --- images -----------------------------------------------------------------------------------------------------------


def test_at_most_twelve_images_are_shown_with_all_their_channels():
    page = public_page(sample_public(), _drawn(14, 2))
    pictures = _pictures(page)[:-1]  # the last is the figure

    assert len(pictures) == samples.MOST == 12
    assert {picture.mode for picture in pictures} == {"L"}
    assert all(picture.width == 2 * 165 + samples.GAP for picture in pictures)


def test_a_shown_image_is_the_released_one():
    image = np.zeros((1, 96, 96), np.uint8)
    image[0, 10, 20] = 201

    (picture,) = samples.pictures([image], ["t1"])

    shown = np.asarray(Image.open(io.BytesIO(base64.b64decode(picture.address.split(",")[1]))))
    assert np.array_equal(shown, image[0])


@pytest.mark.parametrize("kind", ["uint16", "int16", "float32", "float64", "uint8", "bool"])
def test_pixels_of_any_type_are_shown_from_dark_to_bright(kind):
    image = (np.arange(64).reshape(1, 8, 8) % 5 > 2).astype(kind)
    if kind == "float32":
        image[0, 0, 0] = np.nan

    (picture,) = samples.pictures([image], ["mask"])

    shown = np.asarray(Image.open(io.BytesIO(base64.b64decode(picture.address.split(",")[1]))))
    assert (shown.min(), shown.max()) == (0, 255)


def test_a_blank_image_is_shown_black():
    (picture,) = samples.pictures([np.full((1, 8, 8), 7.0)], ["t1"])

    assert not np.asarray(Image.open(io.BytesIO(base64.b64decode(picture.address.split(",")[1])))).any()


def test_a_page_without_images_and_without_optional_evidence_still_says_what_is_missing():
    record = sample_public(
        decision=sample_decision(quality=None, utility=None, findings=sample_findings()[:1], removals=()),
        approvals=(),
        options=sample_options(description="", intended_uses="", contact="", generator=""),
        images=sample_images(volumes=0),
    ).model_copy(
        update={"planted": (), "bounds": (), "membership": None, "holdout": None, "near_copies_holdout": None}
        | {"excess": None, "stranger_bound": None, "comparisons": ()}
    )

    shown = _text(public_page(record))

    for text in ("No images are shown", "Not measured in this evidence.", "Not told, or not attacked."):
        assert text in shown
    assert "Nobody's approval is on record." in shown
    assert "nobody outside can know what this audit was able to find" in shown
    assert public_words.NOT_TOLD in shown
