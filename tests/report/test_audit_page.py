"""The audit's page: shows every value of its record, fetches nothing, runs nothing, trusts no name."""

from __future__ import annotations

import base64
import hashlib
import html
import json
import re
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from sample import HOSTILE, bounds, sample_pairs, sample_record, suspect

from synthrelease import policy
from synthrelease.records import AuditRecord, Planted
from synthrelease.report import formats, views, words
from synthrelease.report.pages import _printable, templates_folder
from synthrelease.report.views import audit_page, write_audit_report

ROOT = Path(__file__).resolve().parents[2]
VERDICTS = ("pass", "review", "reject", "incomplete")
SHOWN_IN_WORDS = {"calibrated", "required", "held_out", "exact", "above_alarm", "mirrored", "passed", "outcome"}
SHOWN_IN_WORDS |= {"verdict", "part", "role", "representative", "transferable", "searched", "settings"}
SECTION_OF = {
    "findings": "evidence",
    "not_tested": "not-tested",
    "warnings": "not-tested",
    **dict.fromkeys(("alpha", "threshold", "alarm", "stranger_bound", "near_copies", "distribution"), "copies"),
    **dict.fromkeys(("suspects", "exact_copies", "exposed_subjects", "closest"), "suspects"),
    **dict.fromkeys(("part_thresholds", "part_alarms", "part_alarms_count", "part_suspects"), "parts"),
    "planted": "power",
    "bounds": "bounds",
    "exposure": "exposure",
    "membership": "membership",
    **dict.fromkeys(("representative", "transfer"), "checks"),
    "masks": "masks",
    "comparisons": "literature",
    "inputs": "inputs",
    "made_with": "made",
}


class _Page(HTMLParser):
    """Collects elements and the text that a reader sees."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.text: list[str] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attributes)))

    def handle_data(self, data: str) -> None:
        self.text.append(data)

    def named(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.elements if name == tag]


@pytest.fixture(scope="module")
def pages() -> dict[str, str]:
    records = {verdict: sample_record(verdict) for verdict in VERDICTS}  # type: ignore[arg-type]
    return {name: audit_page(record, sample_pairs(record, side=64)[:4]) for name, record in records.items()}


def _text(page: str) -> str:
    return " ".join(" ".join(_Page(page).text).split())


def _section(page: str, name: str) -> str:
    start = page.index(f'<section id="{name}"')
    return page[start : page.index("</section>", start)]


def _leaves(value: Any, place: str = "") -> Iterator[tuple[str, Any]]:
    if isinstance(value, dict):
        for name, item in value.items():
            yield from _leaves(item, f"{place}.{name}")
    elif isinstance(value, list | tuple):
        for item in value:
            yield from _leaves(item, place)
    else:
        yield place, value


def _forms(value: Any) -> set[str]:
    """Return the ways in which a page may print a value."""
    if isinstance(value, str):
        return {value}
    if isinstance(value, int):
        return {str(value), f"{value:,}"}
    shares = {formats.percent(value, how) for how in ("nearest", "up", "down")}  # type: ignore[arg-type]
    return {form.replace("\xa0", " ") for form in {*shares, formats.number(value), formats.score(value)}}


@pytest.mark.parametrize("verdict", VERDICTS)
def test_every_value_of_the_record_stands_in_its_section(pages, verdict):
    record = sample_record(verdict).model_dump(mode="json")
    record["exposure"] = record["exposure"][: views.MOST_EXPOSED]
    assert set(record) - set(SECTION_OF) <= {"schema_version", "calibrated", "verdict", "alarms"}  # alarms are suspects

    missing = [
        (place, value)
        for name, section in SECTION_OF.items()
        for place, value in _leaves(record[name], name)
        if value is not None
        and place.rpartition(".")[2] not in SHOWN_IN_WORDS
        and ".settings." not in place
        and not _stands(value, _text(_section(pages[verdict], section)))
    ]

    assert not missing


def _stands(value: Any, text: str) -> bool:
    return any(re.search(rf"(?<![\w.]){re.escape(form)}(?![\w])", text) for form in _forms(value))


def test_a_changed_number_changes_the_page():
    record = sample_record()
    near = record.near_copies
    changed = near.synthetic.model_copy(update={"value": 0.31337})

    page = audit_page(record.model_copy(update={"near_copies": near.model_copy(update={"synthetic": changed})}))

    assert "31.3" in _text(page)
    assert "31.3" not in _text(audit_page(record))


def test_settings_are_printed_with_their_values(pages):
    made = _text(_section(pages["review"], "made"))

    for name, value in sample_record().made_with.settings.items():
        assert f"{name} {json.dumps(value)}" in made


@pytest.mark.parametrize("verdict", VERDICTS)
def test_the_verdict_is_a_word_an_icon_and_a_next_step(pages, verdict):
    band = _section(pages[verdict], "verdict")

    assert f"Verdict: {words.VERDICTS[verdict].word}" in _text(band)
    assert 'class="icon"' in band
    assert all(html.escape(step, quote=False) in html.unescape(band) for step in words.VERDICTS[verdict].next_steps)


def test_only_the_rules_that_failed_stand_as_reasons_of_the_verdict(pages):
    band = _text(_section(pages["review"], "verdict"))

    assert "Nothing above alarm" in band
    assert "No exact copies" not in band


def test_a_pass_says_beside_it_that_it_is_no_proof(pages):
    for place in ("verdict", "evidence"):
        assert "cannot prove" in _text(_section(pages["pass"], place))


@pytest.mark.parametrize("verdict", VERDICTS)
def test_no_page_promises_anonymity_or_safety_or_an_overall_score(pages, verdict):
    assert not re.search(r"\banonym|\bsafe|overall (privacy )?score", _text(pages[verdict]), re.I)


def test_without_a_holdout_the_page_says_that_nothing_is_calibrated(pages):
    assert "Nothing in this report is calibrated" in _text(pages["incomplete"])
    assert "Nothing in this report is calibrated" not in _text(pages["pass"])
    assert "above the flag line." not in _text(_section(pages["incomplete"], "suspects"))


def test_nothing_found_is_printed_with_what_may_still_be_there(pages):
    assert "0 of 1,987 synthetic images score above the flag line" in _text(pages["pass"])
    assert formats.percent(0.00861, "up") in _section(pages["pass"], "copies")


def test_kinds_under_the_floor_are_marked_in_words():
    record = sample_record()
    power = _section(audit_page(record), "power")
    rows = {row.split("</th>")[0].rpartition(">")[2]: row for row in power.split("<tr>")[2:]}

    for item, bound in zip(record.planted, record.bounds, strict=True):
        assert ("under the floor" in rows[item.transformation]) == (bound.required and bound.power_low < 0.8)
    assert "under the floor" in rows["crop"]
    assert "held out" in rows["swirl"]
    assert "held out" not in rows["mirror"]


def test_too_few_strangers_are_said_to_resolve_no_false_positive_rate(pages):
    membership = _text(_section(pages["review"], "membership"))

    assert membership.count("Not resolvable with 16 holdout subjects") == 2


def test_resolvable_rates_are_printed():
    attack = sample_record().membership.model_copy(update={"tpr_at_fpr_01": 0.0235, "tpr_at_fpr_001": 0.0041})

    membership = _text(_section(audit_page(sample_record(membership=attack)), "membership"))

    assert "Not resolvable" not in membership
    assert "2.4 %" in membership.replace("\xa0", " ")
    assert "0.41 %" in membership.replace("\xa0", " ")


def test_comparisons_never_look_like_a_ruling(pages):
    assert words.COMPARISON_ONLY in _text(_section(pages["review"], "literature"))


def test_more_than_fifty_suspects_are_counted_and_pointed_to():
    many = tuple(suspect(i, image_id=f"number-{i:03d}.png") for i in range(73))
    page = _text(audit_page(sample_record(suspects=many)))

    assert "the first 50 of 73" in page
    assert "23 more stand in audit.json" in page
    assert "number-049.png" in page
    assert "number-050.png" not in page


@pytest.mark.parametrize("verdict", VERDICTS)
def test_a_page_fetches_and_runs_nothing(pages, verdict):
    page = _Page(pages[verdict])

    assert not {"script", "link", "iframe", "object", "embed", "form", "base"} & {tag for tag, _ in page.elements}
    sources = [value for _, attributes in page.elements for name, value in attributes.items() if name == "src"]
    assert sources
    assert all(value.startswith("data:image/") for value in sources)
    assert all(value.startswith("#") for _, a in page.elements for name, value in a.items() if name == "href")
    assert not [a for _, a in page.elements if "style" in a or any(name.startswith("on") for name in a)]
    assert not re.search(r"https?://|url\(|@import", pages[verdict].partition("</style>")[0])


def test_the_style_is_pinned_by_the_hash_of_what_is_inlined(pages):
    style = re.search(r"<style>(.*?)</style>", pages["review"], re.S)[1]
    policy = next(a["content"] for a in _Page(pages["review"]).named("meta") if "http-equiv" in a)
    pin = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()

    assert f"style-src 'sha256-{pin}'" in policy
    assert "default-src 'none'" in policy
    assert "img-src data:" in policy
    assert "unsafe" not in policy


def test_the_same_record_gives_the_same_bytes():
    record = sample_record()
    pairs = sample_pairs(record, side=64)[:2]

    assert audit_page(record, pairs) == audit_page(record, pairs)


def _hostile_record() -> AuditRecord:
    odd = suspect(0, image_id=HOSTILE, train_image_id=HOSTILE, train_subject=HOSTILE, holdout_image_id=HOSTILE)
    record = sample_record(suspects=(odd,), alarms=(), exposed_subjects=(HOSTILE,), not_tested=(HOSTILE,))
    train = record.inputs.train.model_copy(update={"folder": HOSTILE, "notes": (HOSTILE,)})
    kind = Planted.model_validate(record.planted[0].model_dump() | {"transformation": "$x_{<b>" + HOSTILE})
    return record.model_copy(
        update={"inputs": record.inputs.model_copy(update={"train": train}), "planted": (kind,), "bounds": bounds()}
    )


def test_hostile_names_are_shown_and_do_nothing():
    record = _hostile_record()
    pair = sample_pairs(record, side=64)[0]
    page = audit_page(record, [pair])
    parsed = _Page(page)

    assert not parsed.named("script")
    assert not [a for _, a in parsed.elements if any(name.startswith("on") for name in a)]
    assert "<script>alert(1)</script>\\n../../etc/\\u{202e}gnp.exe\\u{0}very-long-name-" in _text(page)
    assert "{{ 7*7 }}" in _text(page)
    assert not re.search("[\u202e\x00]", page)


def test_headings_landmarks_and_tables_serve_a_screen_reader(pages):
    page = _Page(pages["review"])

    assert page.named("html") == [{"lang": "en"}]
    assert all(len(page.named(tag)) == 1 for tag in ("h1", "main", "nav", "header", "footer"))
    assert len(page.named("table")) == len(page.named("caption")) > 10
    assert all(a.get("scope") in {"col", "row"} for a in page.named("th"))
    assert all(len(a["alt"]) > 40 for a in page.named("img"))
    ids = [a["id"] for _, a in page.elements if "id" in a]
    assert len(ids) == len(set(ids))
    assert {a["href"].removeprefix("#") for a in page.named("a")} <= set(ids)
    labels = {label for _, a in page.elements if (label := a.get("aria-labelledby"))}
    assert labels <= set(ids)


def test_the_guide_explains_every_section(pages):
    guide = (ROOT / "docs" / "reading-a-report.md").read_text(encoding="utf-8")
    titles = re.findall(r'<h2 id="[a-z-]+-title">([^<]+)</h2>', pages["review"])

    assert len(titles) > 14
    assert [title for title in titles if title != "At a glance" and f"## {title}\n" not in guide] == []


def test_the_guide_states_every_rule_of_the_built_in_policy():
    guide = " ".join((ROOT / "docs" / "reading-a-report.md").read_text(encoding="utf-8").split())

    for rule in policy.built_in().rules:
        assert f"| {rule.name} | {rule.outcome} |" in guide


def test_every_figure_has_its_numbers_in_a_table(pages):
    for name, caption in (
        ("copies", "Densities per bin"),
        ("power", "Planted copies per kind"),
        ("membership", "Points"),
    ):
        section = _section(pages["review"], name)
        assert section.count("<img") == 1
        assert f"<caption><span>{caption}" in section


def test_parts_above_alarm_are_counted_at_a_glance_beside_images():
    page = audit_page(sample_record(alarms=(), part_alarms_count=3))

    assert "0 images and 3 parts above the alarm line" in _text(page)


def test_every_line_for_parts_stands_in_words(pages):
    parts = _text(_section(pages["review"], "parts"))

    for name in sample_record().part_thresholds:
        assert words.PART_LINES[name] in parts
        assert name not in parts or name == "patch"


@pytest.mark.parametrize(("settings", "reason"), [({}, "too few holdout subjects"), ({"parts": False}, "switched off")])
def test_parts_without_lines_say_why(settings, reason):
    made = sample_record().made_with.model_copy(update={"settings": settings})
    record = sample_record(part_thresholds={}, part_alarms={}, part_suspects=(), part_alarms_count=0, made_with=made)

    assert reason in _text(_section(audit_page(record), "parts"))


def test_a_report_replaces_the_former_one_whole(tmp_path):
    (tmp_path / "report.html").write_text("old")

    path = write_audit_report(sample_record(), [], tmp_path)

    assert path.read_text(encoding="utf-8") == audit_page(sample_record())
    assert [item.name for item in tmp_path.iterdir()] == ["report.html"]


def test_templates_are_found_in_a_wheel_and_in_a_checkout(tmp_path):
    package = tmp_path / "synthrelease"
    (tmp_path / "templates").mkdir()
    package.mkdir()
    assert templates_folder(package) == tmp_path / "templates"

    (package / "templates").mkdir()
    assert templates_folder(package) == package / "templates"


def test_a_template_that_prints_a_raw_number_or_nothing_is_an_error():
    for value in (0.5, None, True):
        with pytest.raises(TypeError, match="without a format"):
            _printable(value)
