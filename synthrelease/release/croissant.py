"""croissant.json: Croissant 1.1 with the Responsible AI vocabulary 1.0, as a view of the public record.

Images are described as one set of files, whatever their number; each one's hash stands in manifest-sha256.txt. That
manifest holds the hash of this document, so this document cannot hold the manifest's.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import PurePosixPath

from synthrelease.release_records import PublicCohort, PublicRecord
from synthrelease.report import decisions, formats, public_words

VERSIONS = ("http://mlcommons.org/croissant/1.1", "http://mlcommons.org/croissant/RAI/1.0")
COLUMNS = (  # of images.csv: name, type, meaning
    ("file_name", "sc:Text", "File of the image, or of one slice of it"),
    ("synthetic_id", "sc:Text", "The synthetic image; its number says nothing about the training images"),
    ("slice", "sc:Text", "Number of the slice, from 1; empty where a file holds a single image or a whole volume"),
    ("slices", "sc:Integer", "Slices in this file"),
    ("channel", "sc:Text", "Contrast, or mask"),
)
IMAGE_TYPES = {
    "nifti": ("images/*/*.nii.gz", "application/x-nifti+gzip"),
    "png": ("images/*/*.png", "image/png"),
    "dicom": ("images/*/*.dcm", "application/dicom"),
}
DOCUMENT_TYPES = {".md": "text/markdown", ".csv": "text/csv", ".html": "text/html", ".json": "application/json"}
# Data Use Ontology: general research use; for approved users only, where somebody decides who gets the data.
RESEARCH, APPROVED_USERS = "DUO_0000042", "DUO_0000026"
DUO = "http://purl.obolibrary.org/obo/"
_ONE_LICENCE = re.compile(r"[A-Za-z0-9.-]+")

CONTEXT = {
    "@language": "en",
    "@vocab": "https://schema.org/",
    "arrayShape": "cr:arrayShape",
    "citeAs": "cr:citeAs",
    "column": "cr:column",
    "conformsTo": "dct:conformsTo",
    "containedIn": "cr:containedIn",
    "cr": "http://mlcommons.org/croissant/",
    "data": {"@id": "cr:data", "@type": "@json"},
    "dataType": {"@id": "cr:dataType", "@type": "@vocab"},
    "dct": "http://purl.org/dc/terms/",
    "description": {"@container": "@language"},
    "equivalentProperty": "cr:equivalentProperty",
    "examples": {"@id": "cr:examples", "@type": "@json"},
    "extract": "cr:extract",
    "field": "cr:field",
    "fileObject": "cr:fileObject",
    "fileProperty": "cr:fileProperty",
    "fileSet": "cr:fileSet",
    "format": "cr:format",
    "includes": "cr:includes",
    "isArray": "cr:isArray",
    "isLiveDataset": "cr:isLiveDataset",
    "jsonPath": "cr:jsonPath",
    "key": "cr:key",
    "md5": "cr:md5",
    "name": {"@container": "@language"},
    "parentField": "cr:parentField",
    "path": "cr:path",
    "prov": "http://www.w3.org/ns/prov#",
    "rai": "http://mlcommons.org/croissant/RAI/",
    "recordSet": "cr:recordSet",
    "references": "cr:references",
    "regex": "cr:regex",
    "repeated": "cr:repeated",
    "replace": "cr:replace",
    "samplingRate": "cr:samplingRate",
    "sc": "https://schema.org/",
    "separator": "cr:separator",
    "source": "cr:source",
    "subField": "cr:subField",
    "transform": "cr:transform",
}

Json = dict[str, object]


def croissant(record: PublicRecord, files: Mapping[str, tuple[int, str]]) -> str:
    """Return croissant.json: the same record and files give the same bytes.

    Args:
        record: What the package says about its release.
        files: Path within the package -> (bytes, SHA-256). Documents among them are described one by one; images are
            described as a set, so they may be left out.
    """
    options = record.options
    document: Json = {
        "@context": CONTEXT,
        "@type": "sc:Dataset",
        "conformsTo": list(VERSIONS),
        "name": _shown(options.title),
        "description": _description(record),
        "version": _shown(options.version),
        "license": _licence(options.licence),
        "creator": [{"@type": "sc:Person", "name": _shown(name)} for name in options.creators],
        "datePublished": record.date[:10],
        "inLanguage": "en",
        "isLiveDataset": False,
        "keywords": ["synthetic", "medical imaging", *map(_shown, record.images.channels)],
        "citeAs": _cited(record),
        "usageInfo": _usage(record),
        **_responsible(record),
        "prov:wasGeneratedBy": _generation(record),
        "distribution": [*_documents(files), _image_files(record)],
        "recordSet": [_table()],
    }
    return json.dumps(document, ensure_ascii=False, indent=2, sort_keys=True, allow_nan=False) + "\n"


def _documents(files: Mapping[str, tuple[int, str]]) -> list[Json]:
    listed = {path: about for path, about in files.items() if not _is_image(path)}
    return [
        {
            "@type": "cr:FileObject",
            "@id": path,
            "name": path,
            "contentUrl": path,
            "contentSize": f"{size} B",
            "encodingFormat": DOCUMENT_TYPES.get(PurePosixPath(path).suffix, "text/plain"),
            "sha256": sha256,
        }
        for path, (size, sha256) in sorted(listed.items())
    ]


def _is_image(path: str) -> bool:
    return path.startswith("images/") and not path.endswith(".csv")


def _image_files(record: PublicRecord) -> Json:
    pattern, kind = IMAGE_TYPES[record.options.image_format]
    return {
        "@type": "cr:FileSet",
        "@id": "image-files",
        "name": "image-files",
        "description": f"{record.images.files} files. The SHA-256 of each stands in manifest-sha256.txt.",
        "encodingFormat": kind,
        "includes": pattern,
    }


def _table() -> Json:
    return {
        "@type": "cr:RecordSet",
        "@id": "images",
        "name": "images",
        "description": "One line per image file, with the synthetic image and the channel that it holds.",
        "key": {"@id": "images/file_name"},
        "field": [
            {
                "@type": "cr:Field",
                "@id": f"images/{name}",
                "name": name,
                "description": meaning,
                "dataType": kind,
                "source": {"fileObject": {"@id": "images.csv"}, "extract": {"column": name}},
            }
            for name, kind, meaning in COLUMNS
        ],
    }


def _responsible(record: PublicRecord) -> Json:
    """Return the Responsible AI properties, in the words of the card."""
    options, decision = record.options, public_words.DECISIONS[record.decision]
    train = f"{_cohort(record.train)} (train)"
    holdout = f" and audited against {_cohort(record.holdout)} (holdout)" if record.holdout else ""
    intended = _shown(options.intended_uses) or " ".join(public_words.INTENDED_USES)
    removed = formats.counted(record.removed_images, "image")
    return {
        "rai:dataCollection": f"Generated, not collected: by {_generator(record)}, which learnt from {train}{holdout}.",
        "rai:dataCollectionType": "Synthetic data",
        "rai:dataLimitations": [*public_words.LIMITS, *record.not_tested],
        "rai:dataBiases": public_words.LIMITS[0],
        "rai:dataUseCases": f"Intended: {intended} Refused: {' '.join(public_words.REFUSED_USES)}",
        "rai:personalSensitiveInformation": (
            f"{public_words.WHAT_THEY_ARE} {public_words.COPY_SCREENING} {public_words.NO_PROOF} "
            f"Decision by the policy {_shown(record.policy)}: {decision.word}. {decision.meaning}"
        ),
        "rai:dataManipulationProtocol": (
            f"{removed} taken out before release. {decisions.attempts_sentence(record.attempts)} "
            "Files have fresh headers and numbers from a keyed shuffle."
        ),
        "rai:dataReleaseMaintenancePlan": _maintenance(record),
    }


def _generation(record: PublicRecord) -> Json:
    return {
        "@type": "prov:Activity",
        "prov:label": "Synthesis of images by a generator that learnt from images of real patients",
        "prov:used": {"@type": "prov:Entity", "prov:label": f"Train: {_cohort(record.train)}"},
        "prov:wasAssociatedWith": [
            {"@type": "prov:SoftwareAgent", "prov:label": _generator(record)},
            {"@type": "prov:SoftwareAgent", "prov:label": f"synthrelease {record.synthrelease} (audit and packaging)"},
        ],
    }


def _maintenance(record: PublicRecord) -> str:
    contact = _shown(record.options.contact) or public_words.NOT_TOLD
    reviews = sorted({approval.review_by for approval in record.approvals if approval.review_by})
    review = f" The approval is to be reviewed by {_shown(reviews[0])}." if reviews else ""
    return f"Requests for withdrawal: {contact}{review} When withdrawn, copies and what was made of them are deleted."


def _usage(record: PublicRecord) -> list[str]:
    open_to_all = record.release_model == "public"
    return [DUO + term for term in ((RESEARCH,) if open_to_all else (RESEARCH, APPROVED_USERS))]


def _description(record: PublicRecord) -> str:
    own = _shown(" ".join(record.options.description.split()))
    return f"{own} {public_words.WHAT_THEY_ARE}".strip()


def _cited(record: PublicRecord) -> str:
    options = record.options
    creators = ", ".join(map(_shown, options.creators))
    return f"{creators}: {_shown(options.title)}, version {_shown(options.version)}, {record.date[:4]}"


def _generator(record: PublicRecord) -> str:
    return _shown(" ".join(record.options.generator.split())) or "a generator that the publisher does not name"


def _cohort(cohort: PublicCohort) -> str:
    return f"{cohort.images} images of {cohort.subjects} real patients"


def _licence(expression: str) -> str:
    """Return the address of a single SPDX licence; an expression of several stays as it is."""
    named = _ONE_LICENCE.fullmatch(expression) and not expression.startswith("LicenseRef-")
    return f"https://spdx.org/licenses/{expression}" if named else _shown(expression)


def _shown(text: str) -> str:
    return formats.shown(text).strip()
