"""The dataset card: README.md of a release, a view of its public record that computes nothing."""

from __future__ import annotations

import functools

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from synthrelease.image_set import MASK
from synthrelease.release_records import PublicRecord
from synthrelease.report import decisions, escapes, formats, public_words, words
from synthrelease.report.pages import PACKAGE, templates_folder

# SPDX identifiers, lower case, for which Hugging Face has a licence of its own; any other is `other` with its name.
HUGGING_FACE_LICENCES = frozenset({
    *("apache-2.0", "mit", "bsd", "bsd-2-clause", "bsd-3-clause", "cc0-1.0", "cc-by-2.0", "cc-by-2.5", "cc-by-3.0"),
    *("cc-by-4.0", "cc-by-sa-3.0", "cc-by-sa-4.0", "cc-by-nc-2.0", "cc-by-nc-3.0", "cc-by-nc-4.0", "cc-by-nd-4.0"),
    *("cc-by-nc-nd-3.0", "cc-by-nc-nd-4.0", "cc-by-nc-sa-2.0", "cc-by-nc-sa-3.0", "cc-by-nc-sa-4.0"),
    *("cdla-sharing-1.0", "cdla-permissive-1.0", "cdla-permissive-2.0", "unlicense", "zlib", "ecl-2.0", "artistic-2.0"),
})  # fmt: skip
OTHER_NAMES = {"odc-by-1.0": "odc-by", "odbl-1.0": "odbl", "pddl-1.0": "pddl"}  # SPDX: Hugging Face
SIZES = ((1_000, "n<1K"), (10_000, "1K<n<10K"), (100_000, "10K<n<100K"), (1_000_000, "100K<n<1M"))


def card(record: PublicRecord) -> str:
    """Return README.md: front matter that Hugging Face reads, then Markdown that answers what a user must know.

    Every text of the record is escaped for the place where it stands; see `escapes`.
    """
    template = _environment().get_template("card.md.j2")
    return template.render(
        record=record,
        front=front_matter(record),
        groups=decisions.grouped(record.findings),
        readings=decisions.reading_sentences(record.reading),
        attempts=decisions.attempts_sentence(record.attempts),
    )


def front_matter(record: PublicRecord) -> str:
    """Return the YAML between the card's first two lines of dashes."""
    options = record.options
    name = options.licence.lower()
    known = OTHER_NAMES.get(name, name if name in HUGGING_FACE_LICENCES else None)
    lines = [f"pretty_name: {escapes.yaml(options.title)}", f"license: {known or 'other'}"]
    if known is None:
        lines += [f"license_name: {escapes.yaml(options.licence)}", "license_link: LICENSE"]
    tags = ("synthetic", "synthetic-data", "medical", "medical-imaging", options.image_format)
    lines += ["tags:", *(f"- {tag}" for tag in tags)]
    lines += ["annotations_creators:", "- machine-generated", "source_datasets:", "- original"]
    if MASK in record.images.channels:
        lines += ["task_categories:", "- image-segmentation"]
    lines += ["size_categories:", f"- {escapes.yaml(_size(record.images.count))}"]
    # PNG opens as images (by images/metadata.csv); the others open as a list of files for nibabel or pydicom.
    files = "images/**" if options.image_format == "png" else "images.csv"
    lines += ["configs:", "- config_name: default", f"  data_files: {escapes.yaml(files)}"]
    return "\n".join(lines)


def _size(images: int) -> str:
    return next((name for below, name in SIZES if images < below), "1M<n<10M")


@functools.cache
def _environment() -> Environment:
    environment = Environment(
        loader=FileSystemLoader(templates_folder(PACKAGE)),
        autoescape=True,  # what `_written` marks as Markup passes; nothing else reaches the page
        undefined=StrictUndefined,
        finalize=_written,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.globals.update(words=words, public=public_words)
    environment.filters.update(
        percent=formats.percent,
        at_most=lambda share: formats.percent(share, "up"),
        at_least=lambda share: formats.percent(share, "down"),
        number=formats.number,
        score=formats.score,
        count=formats.count,
        counted=formats.counted,
        paragraphs=lambda text: Markup(escapes.markdown_paragraphs(text)),
        front=lambda text: Markup(text),
        approval=decisions.approval_sentence,
        cohort=decisions.cohort_count,
    )
    return environment


def _written(value: object) -> object:
    """Escape text for Markdown; a raw float or None in a template is a mistake of ours, not a value."""
    if isinstance(value, Markup):
        return value
    if isinstance(value, str):
        return Markup(escapes.markdown(value))
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    raise TypeError(f"A template prints {value!r} without a format.")
