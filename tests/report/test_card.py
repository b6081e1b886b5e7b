"""The dataset card: valid front matter, every value of the record, and nothing that a hostile text could smuggle in."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from markdown_it import MarkdownIt
from nasty import NASTY, nasty_record
from release_sample import sample_images, sample_options, sample_public

from synthrelease.report import escapes, formats, public_words
from synthrelease.report.card import HUGGING_FACE_LICENCES, card, front_matter

# Shown in words instead, or only meant for machines.
IN_WORDS = {"schema_version", "side", "passed", "outcome", "decides", "part", "required", "held_out", "release_model"}
IN_WORDS |= {"image_format", "decision", "measure", "method", "flagged", "count", "evidence_sha256", "readers"}


def _front(text: str) -> dict[str, Any]:
    parts = text.split("\n---\n", 1)
    assert text.startswith("---\n")
    loaded = yaml.safe_load(parts[0].removeprefix("---\n"))
    assert isinstance(loaded, dict)
    return loaded


def _body(text: str) -> str:
    return text.split("\n---\n", 1)[1]


def _html(text: str) -> str:
    return MarkdownIt("commonmark", {"html": True}).enable(["table", "strikethrough"]).render(_body(text))


def _leaves(value: Any, place: str = "") -> Iterator[tuple[str, Any]]:
    if isinstance(value, dict):
        for name, item in value.items():
            yield from _leaves(item, f"{place}.{name}")
    elif isinstance(value, list):
        for item in value:
            yield from _leaves(item, place)
    elif value is not None and value != "":
        yield place, value


def _forms(value: Any) -> set[str]:
    if isinstance(value, str):
        return set(value.splitlines()) | ({f"{int(value):,}"} if value.isdecimal() else set())
    if isinstance(value, int):
        return {str(value), f"{value:,}"}
    shares = {formats.percent(value, how) for how in ("nearest", "up", "down")}  # type: ignore[arg-type]
    return {form.replace("\xa0", " ") for form in {*shares, formats.number(value), formats.score(value)}}


def _text(text: str) -> str:
    """Return what a reader of the rendered card sees."""
    import html

    plain = html.unescape(re.sub(r"<[^>]+>", " ", _html(text)))
    return " ".join(plain.replace("\xa0", " ").split())


def test_every_value_of_the_record_stands_on_the_card():
    record = sample_public()
    shown = _text(card(record))

    missing = [
        (place, value)
        for place, value in _leaves(record.model_dump(mode="json"))
        if place.rpartition(".")[2] not in IN_WORDS and not all(_stands(form, value, shown) for form in _lines(value))
    ]

    assert not missing


def _lines(value: Any) -> list[str]:
    return value.splitlines() if isinstance(value, str) else [""]


def _stands(line: str, value: Any, shown: str) -> bool:
    return any(form in shown for form in ({line, *_forms(value)} if isinstance(value, str) else _forms(value)))


def test_the_front_matter_says_what_hugging_face_reads():
    front = _front(card(sample_public()))

    assert front["pretty_name"] == "Synthetic gliomas of Linköping"
    assert front["license"] == "cc-by-4.0"
    assert {"synthetic", "medical"} <= set(front["tags"])
    assert front["size_categories"] == ["1K<n<10K"]
    assert front["task_categories"] == ["image-segmentation"]
    assert front["configs"] == [{"config_name": "default", "data_files": "images.csv"}]


def test_hugging_faces_own_parser_reads_the_front_matter():
    hub = pytest.importorskip("huggingface_hub")

    data = hub.DatasetCard(card(sample_public())).data

    assert data.license == "cc-by-4.0"
    assert data.pretty_name == "Synthetic gliomas of Linköping"


def test_pictures_are_opened_as_pictures():
    record = sample_public(options=sample_options(image_format="png"), images=sample_images(channels=("t1",)))
    front = _front(card(record))

    assert front["configs"][0]["data_files"] == "images/**"
    assert "task_categories" not in front


@pytest.mark.parametrize(
    ("licence", "front"),
    [
        ("Apache-2.0", {"license": "apache-2.0"}),
        ("ODbL-1.0", {"license": "odbl"}),
        ("CC0-1.0", {"license": "cc0-1.0"}),
        ("LicenseRef-Hospital", {"license": "other", "license_name": "LicenseRef-Hospital", "license_link": "LICENSE"}),
        ("CC-BY-4.0 OR MIT", {"license": "other", "license_name": "CC-BY-4.0 OR MIT", "license_link": "LICENSE"}),
    ],
)
def test_a_licence_gets_the_name_that_hugging_face_has_for_it(licence, front):
    shown = _front(card(sample_public(options=sample_options(licence=licence))))

    assert {name: shown[name] for name in shown if name.startswith("license")} == front
    assert all(name == name.lower() for name in HUGGING_FACE_LICENCES)


@pytest.mark.parametrize(
    ("count", "size"), [(999, "n<1K"), (1000, "1K<n<10K"), (99_999, "10K<n<100K"), (10**6, "1M<n<10M")]
)
def test_sizes_have_the_names_that_hugging_face_knows(count, size):
    assert _front(card(sample_public(images=sample_images(count=count))))["size_categories"] == [size]


@pytest.mark.parametrize("text", NASTY)
def test_a_hostile_text_stays_one_value_of_the_front_matter(text):
    plain = _front(card(sample_public()))
    front = _front(card(nasty_record(text)))

    assert front["pretty_name"] == formats.shown(text)
    assert set(front) - {"license_name", "license_link"} == set(plain) - {"task_categories"}  # no channel is a mask
    assert front["tags"] == plain["tags"]
    assert "\n" not in front["pretty_name"]


@pytest.mark.parametrize("text", NASTY)
def test_a_hostile_text_becomes_no_markup(text):
    plain, hostile = _html(card(sample_public())), _html(card(nasty_record(text)))

    tags = set(re.findall(r"<(\w+)", hostile))
    assert tags <= {"h1", "h2", "h3", "p", "table", "thead", "tbody", "tr", "th", "td", "ul", "li", "strong", "code"}
    for tag in ("h1", "h2", "h3", "table", "tr", "td", "li", "strong", "code"):
        assert hostile.count(f"<{tag}>") == plain.count(f"<{tag}>"), tag
    for row in re.findall(r"<tr>.*?</tr>", hostile, re.DOTALL):
        assert "javascript:" not in re.sub(r">[^<]*<", "><", row)


@pytest.mark.parametrize("text", NASTY)
def test_a_hostile_text_is_still_readable(text):
    rendered = (
        MarkdownIt("commonmark", {"html": True}).enable(["table", "strikethrough"]).render(escapes.markdown(text))
    )

    import html

    assert html.unescape(re.sub(r"</?p>", "", rendered)).strip() == formats.shown(text).strip()


def test_an_override_is_said_with_its_reason():
    shown = _text(card(sample_public()))

    assert "Approved as an override of INCOMPLETE by Stina Steward (data steward)" in shown
    assert "Override of INCOMPLETE. Reason: The holdout cannot grow; the recipients sign an agreement." in shown
    assert "Internal remark" not in shown


def test_uses_that_nobody_named_are_the_usual_ones_and_refused_uses_always_stand():
    shown = _text(card(sample_public(options=sample_options(intended_uses="", contact="", generator=""))))

    for sentence in (*public_words.INTENDED_USES, *public_words.REFUSED_USES, *public_words.LIMITS):
        assert sentence in shown
    assert shown.count(public_words.NOT_TOLD) == 2


def test_the_card_never_calls_the_images_anonymous_or_safe():
    shown = card(sample_public()).lower()

    assert "anonym" not in shown
    assert not re.search(r"\bsafe\b", shown)


OPEN = """
import os, sys
os.environ["HF_HUB_OFFLINE"] = os.environ["HF_DATASETS_OFFLINE"] = "1"
import datasets
datasets.disable_progress_bars()
found = datasets.load_dataset(sys.argv[1], cache_dir=sys.argv[2], split="train")
print(found.num_rows, sorted(found.features))
"""


@pytest.mark.slow
@pytest.mark.parametrize("image_format", ["nifti", "png"])
def test_datasets_opens_a_folder_with_this_card(tmp_path: Path, image_format: str) -> None:
    pytest.importorskip("datasets")
    from PIL import Image

    package = tmp_path / "release"
    (package / "images" / "001").mkdir(parents=True)
    (package / "README.md").write_text(card(sample_public(options=sample_options(image_format=image_format))), "utf-8")
    (package / "images.csv").write_text("file_name,synthetic_id\nimages/001/a_t1.png,synthetic-000001\n", "utf-8")
    if image_format == "png":
        Image.new("L", (8, 8)).save(package / "images" / "001" / "a_t1.png")
        (package / "images" / "metadata.csv").write_text("synthetic_id,t1_file_name\nsynthetic-000001,001/a_t1.png\n")

    done = subprocess.run(
        [sys.executable, "-c", OPEN, str(package), str(tmp_path / "cache")],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "HF_HOME": str(tmp_path / "hub")},
    )

    columns = ["synthetic_id", "t1"] if image_format == "png" else ["file_name", "synthetic_id"]
    assert done.stdout.split(" ", 1)[0] == "1"
    assert all(name in done.stdout for name in columns)


def test_the_front_matter_is_the_same_for_the_same_record():
    assert front_matter(sample_public()) == front_matter(sample_public())
