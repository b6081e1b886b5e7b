"""Real images, ids, paths, users and machines are planted wherever packaging reads; none gets out."""

from __future__ import annotations

import base64
import gzip
import io
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from package_helpers import HOME, SUBJECTS, agree, evidence_in, images_of, options, packed, real_planes, volume_ids
from PIL import Image
from release_sample import sample_decision, sample_quality, sample_utility
from sample import sample_record

from synthrelease.decision.folder import open_evidence
from synthrelease.errors import LeakError
from synthrelease.image_set import ImageSet, from_arrays
from synthrelease.progress import SILENT
from synthrelease.release import layout, leak_gate
from synthrelease.release.known_names import KnownNames, absolute_paths
from synthrelease.release.package import build
from synthrelease.release_records import Identities, PackageProblem, PublicRecord

T1 = "images/001/synthetic-000001_t1.nii.gz"
pytestmark = pytest.mark.usefixtures("plain_page")


@pytest.fixture(autouse=True)
def _somebody(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LOGNAME", "asvensson")
    monkeypatch.setattr("platform.node", lambda: "ws-17.clinic.example")


def caught(place: Path, images: ImageSet | None = None, **changes: Any) -> str:
    """Return what the gate said; fail if a package came out."""
    with pytest.raises(LeakError) as error:
        packed(place, images, **changes)
    assert not (place / "release").exists()
    assert not [path for path in place.iterdir() if "partial" in path.name]
    return error.value.problem


def with_real(change: Callable[[Any], Any], channel: int = 0) -> ImageSet:
    """Return synthetic images, one of which has a real plane in it, changed so that no plain hash finds it."""
    images = images_of()
    pixels = images.read(slice(None)).astype(np.float32)
    plane = change(real_planes()[1].astype(np.float32))
    pixels = np.zeros((len(pixels), 3, *plane.shape), np.float32) if plane.shape != pixels.shape[2:] else pixels
    pixels[3, channel] = plane
    return from_arrays(pixels, images.rows, channels=images.channels)


REAL: dict[str, Callable[[Any], Any]] = {
    "renamed": lambda plane: plane,
    "rescaled": lambda plane: plane * 3.7 + 100,
    "mirrored": lambda plane: plane[:, ::-1],
    "upside down": lambda plane: plane[::-1, ::-1],
    "turned": lambda plane: np.rot90(plane),
}


@pytest.mark.parametrize("how", REAL)
def test_a_real_image_among_the_synthetic_ones_is_found(tmp_path: Path, how: str) -> None:
    assert "equals a real image" in caught(tmp_path, with_real(REAL[how]))


def test_a_real_image_is_found_in_any_channel_and_inside_a_volume(tmp_path: Path) -> None:
    images = images_of(ids=volume_ids())
    pixels = images.read(slice(None)).copy()
    pixels[1, 2] = real_planes()[2]  # the middle slice of a volume, as a mask
    said = caught(tmp_path, from_arrays(pixels, images.rows, channels=images.channels))
    assert "_mask.nii.gz: It equals a real image" in said


def test_blank_masks_of_real_images_stop_nothing(tmp_path: Path) -> None:
    blank = np.zeros((24, 20), np.uint8)
    few = blank.copy()
    few[0, :5] = 204
    pixels = images_of().read(slice(None)).copy()
    pixels[:, 2], pixels[0, 2] = blank, few
    evidence_in(tmp_path, images := from_arrays(pixels, images_of().rows, channels=("t1", "flair", "mask")))
    from synthrelease import fingerprints

    with (tmp_path / "evidence" / "fingerprints.txt").open("a") as file:
        file.writelines(f"{one}\n" for one in map(fingerprints.of_plane, (blank, few)) if one)
    packed(tmp_path, images)


SAID = ("title", "description", "creators", "contact", "generator", "intended_uses")


@pytest.mark.parametrize("field", SAID)
@pytest.mark.parametrize("name", ["TCGA_CS_4941", "see tcga_du_5849_12", "P0071", "p0071,"])
def test_a_patient_in_what_people_write_is_found(tmp_path: Path, field: str, name: str) -> None:
    text = f"Slices like {name}"
    assert "TCGA" in caught(tmp_path, **{field: (text,) if field == "creators" else text}).upper() or "0071" in name


def test_a_patient_in_an_approval_is_found(tmp_path: Path) -> None:
    images = images_of()
    evidence = evidence_in(tmp_path, images, approve=False)
    for changes in ({"conditions": ["Not TCGA_CS_4941."]}, {"by": "P0071"}, {"role": "friend of TCGA_CS_4941"}):
        agree(evidence, **changes)
        with pytest.raises(LeakError, match=r"approval 1|tcga"):
            build(evidence, lambda: images, tmp_path / "release", options())


def test_a_patient_in_the_users_own_policy_is_found(tmp_path: Path) -> None:
    """Letters alone and small numbers count in what people write, and people write policies."""
    known = Identities(subjects=("Lindqvist", "17"), images=(), paths=())
    rule = sample_decision().findings[0]
    for number, changes in enumerate(
        ({"rule": "As for Lindqvist"}, {"reason": "Asked for by patient 17."}, {"source": "Letter of Lindqvist"})
    ):
        place = tmp_path / str(number)
        evidence_in(place, images_of(), identities=known, findings=(rule.model_copy(update=changes),))
        assert "Policy rule holds" in caught(place)
    evidence_in(tmp_path / "name", images_of(), identities=known, policy="lindqvist")
    assert "Policy holds 'lindqvist'" in caught(tmp_path / "name")


def test_a_patient_in_an_override_or_a_measurement_is_found_or_left_out(tmp_path: Path) -> None:
    images = images_of()
    quality = sample_quality().model_dump() | {
        "measurements": [{"name": "fid", "value": 1.0, "note": f"worst for TCGA_CS_4941 in {HOME}/x"}]
    }
    utility = sample_utility().model_dump() | {"segmenter": f"U-Net from {HOME}/TCGA_CS_4941"}
    evidence = evidence_in(tmp_path, images, approve=False, decision="REVIEW", quality=quality, utility=utility)
    agree(evidence, reason="Patient TCGA_CS_4941 agreed.")
    with pytest.raises(LeakError, match="tcga_cs_4941"):
        build(evidence, lambda: images, tmp_path / "release", options())
    agree(evidence, reason="The patients agreed.")
    build(evidence, lambda: images, tmp_path / "release", options())
    assert not [path for path in (tmp_path / "release").rglob("*") if path.is_file() and b"TCGA" in path.read_bytes()]


def test_a_patient_as_the_name_of_a_channel_is_found(tmp_path: Path) -> None:
    images = images_of()
    named = from_arrays(images.pixels, images.rows, channels=("TCGA_CS_4941", "flair", "mask"))
    assert "tcga_cs_4941" in caught(tmp_path, named)


PLACES = {
    "a path": "/".join(("", "home", "x", "scans")),
    "another path": "/".join(("kept in ", "srv")),
    "a folder of the audit": HOME,
    "the same in capitals": HOME.upper(),
    "a Windows path": "see C:\\Users\\x",
    "a Windows path, turned": "see D:/scans",
    "a share": "\\\\fileserver\\scans",
    "a file address": "file:" + "///x",
    "the user's home": "home/asvensson/scans",
    "the user in an address": "asvensson@somewhere.example",
    "this machine in an address": "me@ws-17.clinic.example",
    "this machine's short name": "me@ws-17",
    "this machine in a copy command": "ws-17:~/scans",
    "this machine in a web address": "http://ws-17/data",
}


@pytest.mark.parametrize("place", PLACES)
def test_paths_users_and_machines_are_found(tmp_path: Path, place: str) -> None:
    assert "holds" in caught(tmp_path, description=f"Made there: {PLACES[place]} .")


HARMLESS = (
    "Made by A. Svensson (asvensson) on ws-17",  # names alone are no places
    "T1/T2/FLAIR and/or masks, 1/2 of them; see https://example.org/data/home/x",
    "16:9, a:b, 50 % / 50 %, km/h, n/a, 3 / 4",
    "Version 2 of 12: 7 contrasts, 4941.5 mm, 0.0071, 1007 slices of patients",
)


@pytest.mark.parametrize("text", HARMLESS)
def test_ordinary_sentences_pass(tmp_path: Path, text: str) -> None:
    packed(tmp_path, description=text)


def test_the_publishers_own_address_may_be_the_contact(tmp_path: Path) -> None:
    packed(tmp_path, contact="Anna, asvensson@hospital.example")


def test_short_ids_and_numbers_stop_no_package_unless_they_mean_a_patient(tmp_path: Path) -> None:
    short = (*map(str, range(60)), "T1", "a", "07", "0042", "x9", "2026", "img")
    known = Identities(subjects=short, images=tuple(f"{name}/{k}.png" for name in short for k in (1, 2)), paths=("/d",))
    evidence_in(tmp_path, images_of(), identities=known)
    packed(tmp_path, to="a", title="Brain MRI 2: 12 subjects, T1", version="1.0.7")
    for number, title in enumerate(("Patient 12", "subjects #7", "like case 0042", "as in x9", "patient-07")):
        with pytest.raises(LeakError, match="Title holds"):
            packed(tmp_path, to=f"b{number}", title=title)


def test_nothing_of_the_audit_but_numbers_leaves(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The sample audit names patients, images, folders and hosts in every place that can hold a text."""
    monkeypatch.undo()  # the real page
    monkeypatch.setenv("SYNTHRELEASE_KEYS", str(tmp_path / "keys"))
    record = sample_record("pass")
    names = {exposure.subject for exposure in record.exposure}
    names |= {pair.train_image_id for pair in record.closest} | {pair.train_subject for pair in record.closest}
    names |= {pair.image_id for pair in record.closest}
    folders = {role.folder for role in (record.inputs.train, record.inputs.holdout) if role}
    known = Identities(subjects=tuple(names), images=(), paths=tuple(f"{HOME}/{name}" for name in folders))
    evidence_in(tmp_path, images_of(), identities=known)
    packed(tmp_path)
    together = b"".join(path.read_bytes() for path in (tmp_path / "release").rglob("*") if path.is_file())
    assert len(names) > 20
    assert not [name for name in names if name.encode() in together]


# --- planted in the finished tree, in case packaging itself goes wrong ----------------------------------------------


@pytest.fixture
def tree(built: dict[str, Path], tmp_path: Path) -> Path:
    shutil.copytree(built["nifti"], tmp_path / "tree")
    return tmp_path / "tree"


def found_in(tree: Path, built: dict[str, Path]) -> list[PackageProblem]:
    record = PublicRecord.model_validate_json((built["nifti"] / layout.RECORD).read_bytes())
    return leak_gate.leaks(tree, open_evidence(built["nifti"].parent), record, SILENT)


def test_a_clean_tree_passes(tree: Path, built: dict[str, Path]) -> None:
    assert found_in(tree, built) == []


@pytest.mark.parametrize(
    "name",
    [
        *("embeddings.npz", "images/001/features.npy", "report/weights.safetensors", "pairs/1.npz", "audit.json"),
        *("decisions.jsonl", "images/001/synthetic-000001_t1.nii", "images/001/TCGA_CS_4941_t1.nii.gz", "a.svg"),
        *("images/001/.hidden.png", "report/montage.png", "images/synthetic-000001_t1.png", "generator.pt"),
    ],
)
def test_files_that_no_package_has_are_found_by_name(tree: Path, built: dict[str, Path], name: str) -> None:
    (tree / name).parent.mkdir(exist_ok=True)
    (tree / name).write_bytes(b"x")
    assert name in {leak.path for leak in found_in(tree, built)}


def test_links_are_found(tree: Path, built: dict[str, Path]) -> None:
    (tree / "README.md").unlink()
    (tree / "README.md").symlink_to(built["nifti"] / "README.md")
    assert ("link", "README.md") in {(leak.code, leak.path) for leak in found_in(tree, built)}


@pytest.mark.parametrize("name", [layout.CARD, layout.LICENCE, layout.CROISSANT, layout.PAGE, layout.RECORD])
@pytest.mark.parametrize(
    "written",
    [
        "TCGA_CS_4941",
        "tcga_cs_4941_7.tif",
        "TCGA\\_CS\\_4941",
        "&#84;CGA_CS_4941",
        "TCGA%5FCS%5F4941",
        "\uff34CGA_CS_4941",
        "P0071",
        HOME,
    ],
)
def test_a_patient_in_any_document_is_found_however_it_is_written(
    tree: Path, built: dict[str, Path], name: str, written: str
) -> None:
    text = (tree / name).read_text(encoding="utf-8")
    if name.endswith(".json"):
        if "\\" in written or "%" in written or "&" in written:
            written = SUBJECTS[0]  # JSON knows none of these
        content = json.dumps(json.loads(text) | {"note": [{"deep": f"x {written} y"}]})
    else:
        content = f"{text}\n<p>x {written} y</p>\n"
    (tree / name).write_text(content, encoding="utf-8")
    assert name in {leak.path for leak in found_in(tree, built) if leak.code == "leak"}


def test_a_patient_as_the_name_of_a_json_field_is_found(tree: Path, built: dict[str, Path]) -> None:
    content = json.loads((tree / layout.CROISSANT).read_text())
    (tree / layout.CROISSANT).write_text(json.dumps(content | {"TCGA_CS_4941": 1}))
    assert [leak.path for leak in found_in(tree, built)] == [layout.CROISSANT]


def test_names_in_tables_headers_keys_and_statements_are_found(tree: Path, built: dict[str, Path]) -> None:
    raw = bytearray(gzip.decompress((tree / T1).read_bytes()))
    raw[148:160] = b"TCGA_CS_4941"  # descrip
    packed_again = io.BytesIO()
    with gzip.GzipFile(filename="", mode="wb", fileobj=packed_again, mtime=0) as file:
        file.write(bytes(raw))
    (tree / T1).write_bytes(packed_again.getvalue())
    (tree / layout.TABLE).write_text((tree / layout.TABLE).read_text().replace(",,1,", ",TCGA_CS_4941,1,", 1))
    (tree / layout.PUBLIC_KEY).write_bytes(b"P0071\n" + (tree / layout.PUBLIC_KEY).read_bytes())
    sealed = json.loads((tree / layout.ATTESTATION).read_bytes())
    sealed["payload"] = base64.b64encode(json.dumps({"predicate": ["TCGA_CS_4941"]}).encode()).decode()
    (tree / layout.ATTESTATION).write_text(json.dumps(sealed))
    paths = {leak.path for leak in found_in(tree, built)}
    assert paths == {T1, layout.TABLE, layout.PUBLIC_KEY, layout.ATTESTATION}


def test_a_name_spelled_in_pixels_is_found(tmp_path: Path) -> None:
    pixels = images_of().read(slice(None)).copy()
    pixels[2, 1].reshape(-1)[100:112] = np.frombuffer(b"TCGA_CS_4941", np.uint8)
    assert "pixels spell 'TCGA_CS_4941'" in caught(
        tmp_path, from_arrays(pixels, images_of().rows, channels=("a", "b", "c"))
    )


def _embedded(planes: Any, **options: Any) -> str:
    packed_png = io.BytesIO()
    Image.fromarray(planes).save(packed_png, "PNG", **options)
    return f'<img alt="x" src="data:image/png;base64,{base64.b64encode(packed_png.getvalue()).decode()}">'


def test_pictures_inside_the_page_are_looked_at(tree: Path, built: dict[str, Path]) -> None:
    from PIL.PngImagePlugin import PngInfo

    marks = PngInfo()
    marks.add_text("Comment", "TCGA_CS_4941", zip=True)
    coloured = np.stack([np.zeros((24, 20), np.uint8), real_planes()[0], np.zeros((24, 20), np.uint8)], axis=2)
    page = (tree / layout.PAGE).read_text(encoding="utf-8")
    plants = {
        "equals a real image": _embedded(real_planes()[3]),
        "equals a real": _embedded(coloured),
        "picture says": _embedded(np.zeros((4, 4), np.uint8), pnginfo=marks),
        "data of type 'image/svg+xml'": '<img src="data:image/svg+xml;base64,AAAA">',
        "cannot be read": '<img src="data:image/png;base64,AAAA">',
    }
    for reason, plant in plants.items():
        (tree / layout.PAGE).write_text(page.replace("</body>", f"{plant}</body>"), encoding="utf-8")
        found = found_in(tree, built)
        assert [leak.path for leak in found] == [layout.PAGE]
        assert any(reason in leak.text for leak in found), found


# --- the search itself ------------------------------------------------------------------------------------------------


def known(*subjects: str, images: tuple[str, ...] = ()) -> KnownNames:
    return KnownNames(Identities(subjects=subjects, images=images, paths=()))


def test_image_names_count_whole_or_where_they_are_peculiar() -> None:
    names = known(
        images=("s1/t1.nii.gz", "mask.png", "img_000123.dcm", "scan 7.tif", "vol77a.nii.gz#12", "case9x/0.png")
    )
    assert names.in_text("channels t1 and mask, image 7 of 12") == set()
    assert names.in_text("the file mask.png") == {"mask.png"}
    assert names.in_text("synthetic-000001_mask.png and images/001/synthetic-000002-s0003_t1.nii.gz") == set()
    for leak in ("s1/t1.nii.gz", "xIMG_000123x", "vol77a", "VOL77A.nii.gz#12", "case9x"):
        assert names.in_text(f"see {leak} there"), leak


def test_digests_and_numbers_are_not_mistaken_for_ids() -> None:
    names = known("abc123", "123456", "4941", "a1" * 32)
    assert names.in_text(f"sha256 {'abc123' * 10}abcd and 0.123456, 1234567, 4941 bytes") == set()
    assert names.in_text("patient abc123") == {"abc123"}
    assert names.in_text("number 123456 there") == {"123456"}
    assert names.in_text("A1" * 32) == {"a1" * 32}
    assert names.in_said("from 4941 there") == {"4941"}


def test_names_of_people_are_found_in_what_people_write() -> None:
    names = known("Svensson^Anna", "svensson anna", "anna")
    assert names.in_said("Thanks to Anna") == {"anna"}
    assert names.in_text("anna") == set()
    assert names.in_text("<td>SVENSSON^ANNA</td>") == {"svensson^anna"}


@pytest.mark.parametrize(
    "text", ["</section><section>", "image/png", "x-nifti+gzip", "https://a.b/c/d/e", "1/2/3", "</a/b>"]
)
def test_slashes_of_the_web_are_no_paths(text: str) -> None:
    assert absolute_paths(f"see {text} there") == []


def test_searching_many_names_in_long_texts_takes_no_time() -> None:
    import time

    many = tuple(f"SUBJECT_{i:06d}_X" for i in range(20_000))
    names = known(*many)
    start = time.perf_counter()
    assert names.in_text("lorem ipsum subject dolor " * 40_000 + "subject_000777_x") == {"subject_000777_x"}
    assert names.in_bytes(bytes(range(256)) * 40_000 + b"SUBJECT_000777_X") == {"SUBJECT_000777_X"}
    assert time.perf_counter() - start < 10


@pytest.mark.parametrize("name", ["Ada", "ÅÄÖ", "", " ", "#", "/", "a" * 5000, "\x00", "(", "[a-z]+", "\\", "Å1ÄÖ56"])
def test_any_id_can_be_looked_for(name: str) -> None:
    names = KnownNames(Identities(subjects=(name,), images=(name,), paths=(name,)))
    names.in_said("An ordinary sentence.")
    names.in_bytes(b"bytes" * 10)
