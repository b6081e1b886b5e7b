"""Every reader with a small valid file of its own: what the Hypothesis tests and the atheris harness feed."""

from __future__ import annotations

import gzip
import io
import os
import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import nibabel as nib
import numpy as np
from PIL import Image
from sample import sample_record

from synthrelease.errors import SynthreleaseError
from synthrelease.image_set import ImageRow
from synthrelease.image_writer import ImageSetWriter
from synthrelease.records import Record
from synthrelease.scans.blocks import Unusable

SECONDS = 20.0  # no file of a few kilobytes may take longer, on a busy machine


@dataclass(frozen=True)
class Reader:
    """One reader: a file that it accepts, and how it is called with that file's place."""

    valid: bytes
    name: str  # of the file
    read: Callable[[Path], object]
    beside: Path | None = None  # a folder that the file belongs into


def check(reader: Reader, content: bytes, folder: Path) -> bool:
    """Read the content; return whether it was accepted. Anything but an error with problem and remedy escapes."""
    place = folder
    if reader.beside is not None:
        place = folder / "copy"
        shutil.copytree(reader.beside, place, symlinks=True)
    file = place / reader.name
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(content)
    said: tuple[str, ...] = ()
    start = time.process_time()
    try:
        reader.read(file)
    except Unusable as reason:  # becomes an entry of `unread`, with this text
        said = (str(reason),)
    except SynthreleaseError as error:
        said = (error.problem, error.remedy)
    finally:
        if reader.beside is not None:
            shutil.rmtree(place)
    taken = time.process_time() - start
    assert taken < SECONDS, f"{reader.name}: {taken:.0f} s"
    assert all(text.strip() for text in said), f"no problem or no remedy: {said}"
    assert "Traceback" not in "".join(said)
    return not said


def readers(home: Path) -> dict[str, Reader]:
    """Return every reader by name; ``home`` is a folder for what they need beside the file."""
    return {**_scans(home), **_tables_and_settings(), **_sets(home), **_records(home), **_weights(home)}


def pixels(*shape: int) -> np.ndarray:
    """Return images that no reader refuses."""
    return np.random.default_rng(0).integers(1, 200, shape).astype(np.uint8)


def _scans(home: Path) -> dict[str, Reader]:
    from synthrelease.scans.readers import read_file

    def all_blocks(path: Path) -> object:
        return list(read_file(path))

    volume = nib.Nifti1Image(pixels(6, 5, 4), np.diag([-1.0, -1.0, 1.0, 1.0])).to_bytes()
    second = nib.Nifti2Image(pixels(6, 5, 4), np.diag([-1.0, -1.0, 1.0, 1.0])).to_bytes()
    found = {
        "nifti": (volume, "a.nii"),
        "nifti-2": (second, "a.nii"),
        "nifti-gz": (gzip.compress(volume, mtime=0), "a.nii.gz"),
        "dicom": (_dicom(), "a.dcm"),
        "npy": (_npy(pixels(12, 1, 8, 8)), "a.npy"),
        "npz": (_npz(images=pixels(3, 1, 8, 8), masks=pixels(3, 8, 8), ids=np.array(["a", "b", "c"])), "a.npz"),
        "npz-packed": (_npz(packed=True, images=pixels(3, 1, 8, 8), subjects=np.array(["a", "b", "c"])), "a.npz"),
        **{kind: (_picture(kind), f"a.{kind}") for kind in ("png", "jpeg", "webp", "bmp", "tiff")},
        "tiff-packed": (_tiff(home), "a.tif"),
    }
    return {key: Reader(content, name, all_blocks) for key, (content, name) in found.items()}


def _picture(kind: str) -> bytes:
    file = io.BytesIO()
    Image.fromarray(pixels(9, 8)).save(file, kind.upper())
    return file.getvalue()


def _tiff(home: Path) -> bytes:
    import tifffile

    tifffile.imwrite(home / "seed.tif", pixels(2, 9, 8), compression="zlib")
    return (home / "seed.tif").read_bytes()


def _npy(array: np.ndarray) -> bytes:
    file = io.BytesIO()
    np.save(file, array)
    return file.getvalue()


def _npz(*, packed: bool = False, **arrays: np.ndarray) -> bytes:
    file = io.BytesIO()
    (np.savez_compressed if packed else np.savez)(file, **arrays)
    return file.getvalue()


def _dicom() -> bytes:
    from synthrelease.release.export import Geometry, Label, dicom

    return dicom(pixels(6, 5), Geometry(6, 5, "uint8", (1.0, 1.0, 1.0)), Label("synthetic-000001", "t1", 1, "root"))


def _tables_and_settings() -> dict[str, Reader]:
    from synthrelease.grid.settings import read_study
    from synthrelease.policy import open_release_policy, shipped_text
    from synthrelease.release import manifest
    from synthrelease.scans.split import by_lists
    from synthrelease.settings import AuditSettings, PrepareSettings

    study = (Path(__file__).resolve().parents[1] / "examples" / "tiny_study.toml").read_bytes()
    return {
        "policy": Reader(shipped_text("public").encode(), "p.toml", lambda path: open_release_policy(str(path))),
        "study": Reader(study, "study.toml", read_study),
        "audit-settings": Reader(b"alpha = 0.02\nchannels = ['t1']\n", "s.toml", AuditSettings.from_toml),
        "prepare-settings": Reader(b"fractions = [0.5, 0.5, 0.0]\nseed = 3\n", "s.toml", PrepareSettings.from_toml),
        "subject-list": Reader(b"s1\ns2\n", "train.txt", lambda path: by_lists(["s1", "s2"], {"train": path})),
        "subjects-csv": Reader(b"file,subject\na.png,s1\n", "subjects.csv", _subjects),
        "manifest": Reader(b"0" * 64 + b"  README.md\n", "m.txt", lambda path: manifest.parsed(path.read_bytes())),
    }


def _subjects(path: Path) -> object:
    from synthrelease.scans.files import Listing, Source
    from synthrelease.scans.subjects import subject_finder

    source = Source("a.png", path.parent / "a.png")
    return subject_finder(Listing(path.parent, [source]), None, needs_subject=True)("a.png", source, "")


def _sets(home: Path) -> dict[str, Reader]:
    from synthrelease.image_set import open_set

    folder = home / "set"
    with ImageSetWriter(folder, ("grey",)) as writer:
        writer.add("a", pixels(2, 1, 8, 8), [ImageRow("a", "s1"), ImageRow("b", "s2", 1)])
        writer.close()

    def opened(path: Path) -> object:
        root = next(parent for parent in path.parents if parent.name == "copy")
        return open_set(root).read(slice(0, 2)), open_set(root, check_content=True)

    chunk = next(path for path in (folder / "images.zarr").rglob("*") if path.is_file() and path.name != "zarr.json")
    inside = ("set.json", "index.csv", "images.zarr/zarr.json", chunk.relative_to(folder).as_posix())
    names = ("set-json", "index-csv", "zarr-json", "zarr-chunk")
    return {
        key: Reader((folder / name).read_bytes(), name, opened, folder) for key, name in zip(names, inside, strict=True)
    }


def _records(home: Path) -> dict[str, Reader]:
    from release_sample import sample_decision, sample_quality, sample_utility

    from synthrelease.decision import log
    from synthrelease.decision.folder import Evidence, open_evidence
    from synthrelease.release import attestation, signing

    def of(path: Path) -> Evidence:
        return Evidence(path.parent.parent if path.parent.name == "pairs" else path.parent, None)  # type: ignore[arg-type]

    made = home / "log"
    made.mkdir()
    for number in range(2):
        log.append(made, "decide", by="Stina", data={"number": number})
    key = signing.SigningKey(home / "key.pem", signing.Ed25519PrivateKey.generate())
    sealed = signing.envelope(attestation.payload({"predicate": {}}), key).encode()

    def kept(file: str, record: Record, read: Callable[[Evidence], object]) -> Reader:
        return Reader(record.model_dump_json().encode(), file, lambda path: read(of(path)))

    return {
        "audit-json": replace(kept("audit.json", sample_record(), id), read=lambda path: open_evidence(path.parent)),
        "decision-json": kept("decision.json", sample_decision(), Evidence.decision),
        "quality-json": kept("quality.json", sample_quality(), Evidence.quality),
        "utility-json": kept("utility.json", sample_utility(), Evidence.utility),
        "pairs-json": Reader(b'{"pairs": []}', "pairs/index.json", lambda p: of(p).pairs()),
        "images-csv": Reader(b"image_id,pixels_sha256\na,00\n", "images.csv", lambda p: of(p).images()),
        "fingerprints": Reader(b"00ff\n11ee\n", "fingerprints.txt", lambda p: of(p).fingerprints()),
        "decision-log": Reader((made / log.NAME).read_bytes(), log.NAME, lambda path: log.read(path.parent), made),
        "attestation": Reader(sealed, "r.json", lambda path: signing.opened(path.read_bytes(), key.public_pem)),
    }


def _weights(home: Path) -> dict[str, Reader]:
    import h5py
    import torch
    from safetensors.torch import save

    from synthrelease.features.heads import read_head
    from synthrelease.features.interface import ExtractorInfo
    from synthrelease.features.torchscript import is_torchscript, read_torchscript
    from synthrelease.features.weight_files import read_weights
    from synthrelease.training import checkpoint

    table = {"layer.weight": torch.ones(3, 2), "layer.bias": torch.zeros(3)}
    torch.save(table, home / "w.pt")
    torch.save(table, home / "old.pt", _use_new_zipfile_serialization=False)
    with h5py.File(home / "w.h5", "w") as file:
        file["layer/kernel:0"] = np.ones((2, 3), np.float32)
    script = torch.jit.script(torch.nn.Linear(2, 3))
    script.save(str(home / "script.pt"))
    step = checkpoint.save(home / "training", checkpoint.Checkpoint(4, {"net": table}, {}, {"p": 0.5}))
    info = ExtractorInfo("x", "1", "0" * 64, "nothing", False)
    head = _npz(weight=np.ones((2, 4)), bias=np.zeros(2), about=np.array("{}"))

    def program(path: Path) -> object:
        return is_torchscript(path) and read_torchscript(path)

    def resumed(path: Path) -> object:
        return checkpoint.load(path.parent)

    return {
        "safetensors": Reader(save(table), "w.safetensors", read_weights),
        "torch": Reader((home / "w.pt").read_bytes(), "w.pt", read_weights),
        "torch-old": Reader((home / "old.pt").read_bytes(), "w.pt", read_weights),
        "keras": Reader((home / "w.h5").read_bytes(), "w.h5", read_weights),
        "torchscript": Reader((home / "script.pt").read_bytes(), "s.pt", program),
        "class-head": Reader(head, "head.npz", lambda path: read_head(path, info, 4)),
        "checkpoint-state": Reader((step / "state.json").read_bytes(), "state.json", resumed, step),
        "checkpoint-tensors": Reader(
            (step / "network-net.safetensors").read_bytes(), "network-net.safetensors", resumed, step
        ),
    }


os.environ.setdefault("OMP_NUM_THREADS", "1")
