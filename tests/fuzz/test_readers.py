"""Every reader, fed with damaged and hostile bytes: an answer, or an error with its remedy; nothing else, and soon.

`SYNTHRELEASE_FUZZ=long` runs many more inputs, other ones each time; `SYNTHRELEASE_FUZZ=20000` as many as it says.
"""

from __future__ import annotations

import os
import re

import pytest
from fuzz_readers import Reader, check, readers
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

WANTED = os.environ.get("SYNTHRELEASE_FUZZ", "")
INPUTS = int(WANTED) if WANTED.isdigit() else 2500 if WANTED == "long" else 25
NAMES = (
    *("nifti", "nifti-2", "nifti-gz", "dicom", "npy", "npz", "npz-packed", "png", "jpeg", "webp", "bmp", "tiff"),
    *("tiff-packed", "policy", "study", "audit-settings", "prepare-settings", "subject-list", "subjects-csv"),
    *("manifest", "set-json", "index-csv", "zarr-json", "zarr-chunk", "audit-json", "decision-json", "quality-json"),
    *("utility-json", "pairs-json", "images-csv", "fingerprints", "decision-log", "attestation", "safetensors"),
    *("torch", "torch-old", "keras", "torchscript", "class-head", "checkpoint-state", "checkpoint-tensors"),
)
HOSTILE = (
    *(b"", b"\x00", b"\xff" * 8, b"\x00" * 64, b"-1", b"NaN", b"Infinity", b"1e999", b"null", b"[]", b"{}", b'""'),
    *(b"9" * 5000, b"[" * 3000, b'{"a":' * 3000, b"(" * 3000, b'"\\ud800"', b"\\u0000", b"../../../etc/passwd"),
    *(b"\x7f\xff\xff\xff", b"\xff\xff\xff\x7f", b"\x80\x00\x00\x00", b"\x00\x00\xc0\x7f", b"cos\nsystem\n"),
    *(b"\xed\xa0\x80", b"'''", b"\r\n", b",,,,", b"a = " + b"[" * 2000, b"true", b"1" * 30, b"<script>"),
)
EDIT = st.tuples(
    st.sampled_from(("flip", "set", "put", "drop", "repeat", "cut", "number")),
    st.floats(0, 1),
    st.integers(0, 255),
    st.one_of(st.sampled_from(HOSTILE), st.binary(max_size=24)),
)


def edited(content: bytes, edits: list[tuple[str, float, int, bytes]]) -> bytes:
    """Return the content with bytes flipped, replaced, inserted, dropped, repeated, cut off, or a number replaced."""
    for kind, share, number, text in edits:
        at = int(share * max(len(content) - 1, 0))
        match kind:
            case "flip":
                content = content[:at] + bytes(b ^ (number or 1) for b in content[at : at + 1]) + content[at + 1 :]
            case "set":
                content = content[:at] + text + content[at + len(text) :]
            case "put":
                content = content[:at] + text + content[at:]
            case "drop":
                content = content[:at] + content[at + 1 + number :]
            case "repeat":
                content = content[: at + number] + content[at:]
            case "cut":
                content = content[:at]
            case "number":
                found = list(re.finditer(rb"-?\d[\d.e+-]*|\"[^\"]*\"|true|false|null", content))
                if found:
                    one = found[int(share * (len(found) - 1))]
                    content = content[: one.start()] + text + content[one.end() :]
    return content


@pytest.fixture(scope="module")
def all_readers(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Reader]:
    os.environ["SYNTHRELEASE_CACHE"] = str(tmp_path_factory.mktemp("cache"))
    return readers(tmp_path_factory.mktemp("home"))


def test_every_reader_is_fuzzed_and_accepts_the_file_that_the_fuzzing_starts_from(all_readers, tmp_path):
    assert set(all_readers) == set(NAMES)
    assert [name for name, one in all_readers.items() if not check(one, one.valid, tmp_path / name)] == []


@pytest.mark.parametrize("name", NAMES)
def test_damaged_bytes_give_an_answer_or_an_error_with_its_remedy(name, all_readers, tmp_path):
    reader = all_readers[name]

    @settings(max_examples=INPUTS, derandomize=not WANTED, database=None, suppress_health_check=list(HealthCheck))
    @given(st.lists(EDIT, min_size=1, max_size=6))
    def feed(edits: list[tuple[str, float, int, bytes]]) -> None:
        check(reader, edited(reader.valid, edits), tmp_path)

    feed()


@pytest.mark.parametrize("name", NAMES)
def test_each_hostile_value_in_place_of_each_part_is_borne(name, all_readers, tmp_path):
    reader = all_readers[name]
    for number, text in enumerate(HOSTILE):
        check(reader, text, tmp_path)
        check(reader, edited(reader.valid, [("number", number / len(HOSTILE), 0, text)]), tmp_path)
