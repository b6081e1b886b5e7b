"""Which weights files are known, importing them into the user's cache, and finding them there.

Weights are not shipped: redistribution of RadImageNet's is unresolved, FID's are large. Users fetch a file from its own
project page.
"""

from __future__ import annotations

import json
import shutil
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

from synthrelease import store
from synthrelease.errors import WeightsError
from synthrelease.features.interface import unknown

HashStatus = Literal[
    "published", "reported", "unknown"
]  # reported: stated alike by independent users, not by the authors
PREFIX = "radimagenet-"
OFFICIAL = "BMEII-AI/RadImageNet (https://github.com/BMEII-AI/RadImageNet): the links in its README"
MIRROR = "Lab-Rasool/RadImageNet on the Hugging Face hub, or the PyTorch link in the README of BMEII-AI/RadImageNet"
PORT = "Warvito/radimagenet-models (https://github.com/Warvito/radimagenet-models)"
LICENCE = "MIT (repository); the model card of the RSNA atlas states CC BY 4.0"


@dataclass(frozen=True)
class KnownFile:
    """One published weights file."""

    name: str  # of the extractor that reads it
    form: str  # as `Layout.form`
    file_names: tuple[str, ...]
    sha256: str | None
    sha256_status: HashStatus
    source: str
    licence: str


@dataclass(frozen=True)
class InstalledWeights:
    """A file in the user's cache."""

    name: str
    path: Path
    sha256: str
    form: str
    original_name: str
    recognised: str  # in words: whether the hash is a known one


@dataclass(frozen=True)
class Listing:
    """What `synthrelease weights list` shows."""

    known: tuple[KnownFile, ...]
    installed: tuple[InstalledWeights, ...]
    folder: Path


def _keras(network: str, sha256: str | None = None) -> KnownFile:
    files = (f"RadImageNet-{network}_notop.h5", f"RadImageNet-{network}-notop.h5")
    status: HashStatus = "reported" if sha256 else "unknown"
    return KnownFile(PREFIX + network.lower(), "keras-h5", files, sha256, status, OFFICIAL, LICENCE)


def _pytorch(network: str, sha256: str | None = None) -> KnownFile:
    status: HashStatus = "reported" if sha256 else "unknown"
    return KnownFile(PREFIX + network.lower(), "pytorch", (f"{network}.pt",), sha256, status, MIRROR, LICENCE)


INCEPTION = "inception"
FID_SHA256 = "6726825d0af5f729cebd5821db510b11b1cfad8faad88a03f1befd49fb9129b2"
FID_SOURCE = "pytorch-fid (https://github.com/mseitzer/pytorch-fid) or torch-fidelity: their releases hold it"

KNOWN: tuple[KnownFile, ...] = (
    _pytorch("ResNet50", "08629f7e7bd3e29b8ee9522ca3f65ce4d010a7ddf74f0ea3c7e3f3d0bbab0734"),
    _pytorch("InceptionV3"),
    _pytorch("DenseNet121"),
    _keras("ResNet50", "1f1d1c9fe6ab6980daa5e528145fe0db249c55415f8b3e1f3e3b1624d184f159"),
    _keras("InceptionV3"),
    _keras("DenseNet121"),
    KnownFile(
        PREFIX + "resnet50",
        "keras-port",
        ("RadImageNet-ResNet50_notop.pth",),
        None,
        "unknown",
        PORT,
        "Apache-2.0 (code)",
    ),
    KnownFile(
        PREFIX + "inceptionv3",
        "keras-port-children",
        ("RadImageNet-InceptionV3_notop.pth",),
        None,
        "unknown",
        "lzl199704/radimagenet-models (https://github.com/lzl199704/radimagenet-models)",
        "Apache-2.0 (code)",
    ),
    KnownFile(
        INCEPTION,
        "fid-state-dict",
        ("pt_inception-2015-12-05-6726825d.pth", "weights-inception-2015-12-05-6726825d.pth"),
        FID_SHA256,
        "reported",
        FID_SOURCE,
        "Apache-2.0 (code)",
    ),
    KnownFile(
        INCEPTION,
        "torchscript",
        ("inception-2015-12-05.pt",),
        None,
        "unknown",
        "stylegan2-ada-pytorch (https://github.com/NVlabs/stylegan2-ada-pytorch)",
        "the project's own",
    ),
)


def weights_folder() -> Path:
    """Return where imported weights lie, a folder per extractor."""
    return store.private_folder(store.cache_folder() / "weights")


def listing() -> Listing:
    """Return every known file, what is installed, and where."""
    return Listing(KNOWN, imported(), weights_folder())


def installed() -> tuple[InstalledWeights, ...]:
    """Return the imported networks that an audit searches with by default: RadImageNet's, which know medical images."""
    return tuple(found for found in imported() if found.name.startswith(PREFIX))


def imported() -> tuple[InstalledWeights, ...]:
    """Return every imported file, by name; their hashes as recorded at import."""
    names = sorted({file.name for file in KNOWN})
    return tuple(found for found in map(_installed, names) if found is not None)


def import_weights(name: str, file: Path) -> InstalledWeights:
    """Copy ``file`` into the cache as the weights of extractor ``name``, replacing earlier ones.

    The file is loaded strictly first, so that what is installed works.

    Raises:
        SettingsError: No extractor has that name.
        WeightsError: The extractor takes no weights, or the file is not a complete one of a known layout.
    """
    if name not in {known.name for known in KNOWN}:
        if name in {"pixels", "copy-encoder"}:
            raise WeightsError(f"The extractor {name!r} needs no weights file.", "It works as installed.")
        raise unknown(name)
    form = _form_of(name, file)
    sha256 = store.sha256_of(file)
    folder = store.private_folder(weights_folder() / name)
    place = folder / f"{sha256[:16]}{file.suffix.lower()}"
    with store.atomic_path(place) as partial:
        shutil.copyfile(file, partial)
        if store.sha256_of(partial) != sha256:
            raise WeightsError(f"{file.name} changed while it was copied.", "Import it again.")
    found = InstalledWeights(name, place, sha256, form, file.name, recognised(name, form, sha256))
    store.write_text(folder / "about.json", json.dumps({**asdict(found), "path": place.name}, indent=1))
    for old in folder.iterdir():
        if old.name not in {place.name, "about.json"}:
            old.unlink()
    return found


def _form_of(name: str, file: Path) -> str:
    """Load a file strictly and return the form that it is in; torch is not needed to list, so it is imported here."""
    if name == INCEPTION:
        from synthrelease.features.inception import open_inception

        return open_inception(file)[1].form
    from synthrelease.features.radimagenet import open_network

    return open_network(name.removeprefix(PREFIX), file)[1].form


def recognised(name: str, form: str, sha256: str) -> str:
    """Say in a sentence how a file's hash compares with what is known of published ones."""
    for known in KNOWN:
        if known.sha256 == sha256:
            return f"The SHA-256 equals the one that independent users report for {known.file_names[0]}."
    same = [known for known in KNOWN if (known.name, known.form) == (name, form)]
    if any(known.sha256 for known in same):
        return (
            f"The SHA-256 differs from the one reported for {same[0].file_names[0]}: "
            "a conversion or a later version, or other weights. Check where it came from."
        )
    return "No SHA-256 is published for this file: its layout is right, its origin cannot be checked."


def weights_for(name: str) -> Path:
    """Return the imported weights of an extractor.

    Raises:
        WeightsError: Nothing was imported (the message says where to get it), or the file changed since.
    """
    found = _installed(name)
    if found is None:
        sources = "; or ".join(f"{file.file_names[0]} from {file.source}" for file in KNOWN if file.name == name)
        raise WeightsError(
            f"No weights are installed for {name}.",
            f"Get {sources}. Then run: synthrelease weights import {name} FILE",
        )
    if store.sha256_of(found.path) != found.sha256:
        raise WeightsError(
            f"{found.path} changed since it was imported.", f"Import it again: weights import {name} FILE"
        )
    return found.path


def _installed(name: str) -> InstalledWeights | None:
    folder = weights_folder() / name
    try:
        about = json.loads((folder / "about.json").read_text(encoding="utf-8"))
        found = InstalledWeights(**{**about, "path": folder / about["path"]})
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise WeightsError(f"{folder} is damaged: {error}", f"Import again: weights import {name} FILE") from error
    return found if found.path.is_file() else None
