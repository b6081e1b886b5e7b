"""Weights, arrays, caches and checkpoints are data: an audit hook proves that reading them runs nothing.

The hook sees every `pickle.find_class` (Python's own unpickler asking for a class or function), `exec`, `compile`,
`os.system`, `subprocess.Popen` and `socket.connect`. Two things are known beside it:

* `torch.load(weights_only=True)` brings an unpickler of its own, written in Python. It never raises
  `pickle.find_class`: it looks each name up in its own short list of tensor parts and refuses all others. So the hook
  stays silent for good files, and `test_a_malicious_file_runs_nothing` shows what becomes of bad ones.
* NumPy parses the header of an array with `ast.literal_eval`, which compiles to a syntax tree and runs nothing; this
  one caller of `compile` is allowed.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tarfile
import time
import zipfile
from pathlib import Path

import numpy as np
import pytest
from make_sbom import sbom
from project import ROOT, project_files

from synthrelease.errors import ScanError, WeightsError
from synthrelease.scans.blocks import Unusable

HOOK = """
import sys
FORBIDDEN = {"pickle.find_class", "exec", "compile", "os.system", "subprocess.Popen", "socket.connect"}
seen, watching = [], False

def hook(event, arguments):
    if not watching or event not in FORBIDDEN:
        return
    caller = sys._getframe(1).f_code.co_filename
    if event == "compile" and caller.replace("\\\\", "/").endswith("/ast.py"):
        return
    seen.append(event)
    raise RuntimeError(f"{event} from {caller}: {arguments!r}"[:300])

sys.addaudithook(hook)
"""
READ = """
from pathlib import Path
from fuzz_readers import check, readers
home = Path(sys.argv[1])
known = readers(home)
for name, reader in known.items():  # once unwatched: libraries are imported when they are first needed
    assert check(reader, reader.valid, home / "first"), name
watching = True
for name, reader in known.items():
    assert check(reader, reader.valid, home / "second"), name
watching = False
print("read", len(known), "seen", seen)
"""
RESUME = """
from pathlib import Path
import numpy as np
from training_helpers import heads, tiny_generator
from checkpoint_helpers import Watched, power_failure
from segmentation_helpers import trained
from synthrelease import store
home = Path(sys.argv[1])
images = heads()
kinds = ("progan", "stylegan1", "stylegan2", "stylegan3", "diffusion")
for name in kinds:
    tiny_generator(name).train(images, 8, home / name)
    tiny_generator(name).train(images, 12, home / name, resume=True)  # once unwatched
    watching = True
    tiny_generator(name).train(images, 16, home / name, resume=True)
    watching = False

for place in (home / "unwatched", home / "segmenter"):
    try:
        trained(place, progress=Watched(5, power_failure))
    except RuntimeError:
        watching = place.name == "segmenter"
        trained(place, resume=True)
        watching = False

def entry(folder):
    np.save(folder / "a.npy", np.arange(3), allow_pickle=False)

for watching in (False, True):
    store.kept(home, "test", 1, entry, lambda folder: np.load(folder / "a.npy", allow_pickle=False))
watching = False
print("resumed", len(kinds), "and a segmenter:", (home / "segmenter" / "SEGMENTER.json").is_file(), "seen", seen)
"""


PUBLISHED = """
from pathlib import Path
import torch
from test_inception import reference
from test_radimagenet import LAYOUTS, Case
from synthrelease.features.inception import open_inception
from synthrelease.features.radimagenet import open_network
home = Path(sys.argv[1])
torch.save(reference()[1], home / "inception.pth")
files = [(one, Case(one, form, home).path) for one, form in LAYOUTS]
for watching in (False, True):
    for one, path in files:
        open_network(one, path)
    open_inception(home / "inception.pth")
watching = False
print("opened", len(files) + 1, "seen", seen)
"""


def watched(code: str, place: Path) -> subprocess.CompletedProcess[str]:
    paths = [ROOT, ROOT / "docs", *(ROOT / "tests" / part for part in ("", "report", "features", "real"))]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(map(str, paths)), "OMP_NUM_THREADS": "1"}
    return subprocess.run(
        [sys.executable, "-c", HOOK + code, str(place)], capture_output=True, text=True, env=environment, timeout=600
    )


def test_reading_every_kind_of_file_runs_no_code(tmp_path):
    done = watched(READ, tmp_path)

    assert done.returncode == 0, done.stderr[-3000:]
    assert done.stdout.strip().endswith("seen []")


@pytest.mark.slow
def test_opening_weights_in_every_published_layout_runs_no_code(tmp_path):
    done = watched(PUBLISHED, tmp_path)

    assert done.returncode == 0, done.stderr[-3000:]
    assert done.stdout.strip().endswith("opened 9 seen []")


@pytest.mark.slow
def test_resuming_every_generator_and_a_segmenter_and_reading_the_cache_runs_no_code(tmp_path):
    done = watched(RESUME, tmp_path)

    assert done.returncode == 0, done.stderr[-3000:]
    assert done.stdout.strip().endswith("resumed 5 and a segmenter: True seen []")


@pytest.mark.parametrize(
    ("act", "event"),
    [
        ("import pickle\nwatching = True\npickle.loads(pickle.dumps(print))", "pickle.find_class"),
        ("watching = True\nexec((lambda: 0).__code__)", "exec"),
        ("watching = True\ncompile('1', 'x', 'eval')", "compile"),
        ("import os\nwatching = True\nos.system('true')", "os.system"),
    ],
)
def test_the_hook_sees_what_it_should(act, event, tmp_path):
    assert f"RuntimeError: {event} from" in watched(act, tmp_path).stderr


class _Payload:
    """Makes a folder when it is unpickled."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[object, ...]:
        return os.mkdir, (str(self.mark),)


def _read(path: Path) -> object:
    from synthrelease.features.heads import read_head
    from synthrelease.features.interface import ExtractorInfo
    from synthrelease.features.weight_files import read_weights
    from synthrelease.image_set import open_set
    from synthrelease.scans.readers import read_file

    if path.is_dir():
        return open_set(path, check_content=True)
    if path.name == "head.npz":
        return read_head(path, ExtractorInfo("x", "1", None, "nothing", False), 4)
    return read_weights(path) if path.suffix == ".pt" else list(read_file(path))


@pytest.mark.parametrize("kind", ["old.pt", "new.pt", "a.npy", "a.npz", "head.npz", "set"])
def test_a_malicious_file_runs_nothing(kind, tmp_path):
    mark, path = tmp_path / "it-ran", tmp_path / kind
    payload = f"c{os.mkdir.__module__}\nmkdir\n(V{mark}\ntR.".encode()
    array = np.array([_Payload(mark)], dtype=object)
    match kind:
        case "old.pt":
            path.write_bytes(payload)
        case "new.pt":
            with zipfile.ZipFile(path, "w") as archive:
                archive.writestr("archive/data.pkl", payload)
                archive.writestr("archive/version", "3\n")
        case "set":
            _set_that_unpickles(path, payload)
        case "a.npy":
            np.save(path, array, allow_pickle=True)
        case _:
            np.savez(path, images=array, weight=array, bias=array)

    with pytest.raises((WeightsError, Unusable, ScanError)):
        _read(path)

    assert not mark.exists()
    (tmp_path / "payload").write_bytes(payload)
    subprocess.run([sys.executable, "-m", "pickle", str(tmp_path / "payload")], check=True, capture_output=True)
    assert mark.exists()  # so it would have run


def _set_that_unpickles(path: Path, payload: bytes) -> None:
    """Write an image set whose array is of Zarr's second format, with pickle among its codecs."""
    place = path / "images.zarr"
    place.mkdir(parents=True)
    about = {"zarr_format": 2, "shape": [1, 1, 4, 4], "chunks": [1, 1, 4, 4], "dtype": "|O", "fill_value": 0}
    codecs = {"order": "C", "compressor": {"id": "pickle", "protocol": 5}, "filters": [{"id": "vlen-utf8"}]}
    (place / ".zarray").write_text(json.dumps(about | codecs))
    (place / "0.0.0.0").write_bytes(payload)
    (path / "index.csv").write_text("image_id,subject\na,s\n")
    said = {"channels": ["grey"], "content": "0", "voxel_size": [1, 1, 1], "unread": [], "notes": []}
    (path / "set.json").write_text(json.dumps(said))


def _build(place: Path) -> dict[str, bytes]:
    """Build wheel and sdist from a copy of the project in ``place`` with a fixed date, and return their bytes."""
    for file in project_files():
        to = place / "source" / file.relative_to(ROOT)
        to.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(file, to)
    environment = {**os.environ, "SOURCE_DATE_EPOCH": "1700000000"}
    command = [sys.executable, "-m", "hatchling", "build", "-d", str(place / "dist")]
    subprocess.run(command, cwd=place / "source", check=True, capture_output=True, env=environment)
    return {path.name: path.read_bytes() for path in (place / "dist").iterdir()}


def test_wheel_and_sdist_are_the_same_bytes_wherever_and_whenever_they_are_built(tmp_path):
    pytest.importorskip("hatchling")

    first = _build(tmp_path / "here")
    time.sleep(2.1)  # a ZIP counts in two seconds
    second = _build(tmp_path / "quite" / "another" / "place")

    assert sorted(Path(name).suffix for name in first) == [".gz", ".whl"]
    assert first == second
    (sdist,) = (path for path in (tmp_path / "here" / "dist").glob("*.tar.gz"))
    with tarfile.open(sdist) as archive:
        assert {member.mtime for member in archive.getmembers()} == {1700000000}


def test_the_list_of_what_a_release_consists_of_is_whole_and_repeatable():
    listed = sbom()

    names = {item["name"].lower() for item in listed["components"]}
    assert {"numpy", "torch", "pydantic", "zarr"} <= names
    assert not {"pytest", "hypothesis", "ruff"} & names  # developers' alone
    assert all(item["version"] and item["purl"].startswith("pkg:pypi/") for item in listed["components"])
    refs = {item["bom-ref"] for item in listed["components"]} | {listed["metadata"]["component"]["bom-ref"]}
    assert {item["ref"] for item in listed["dependencies"]} == refs
    assert {ref for item in listed["dependencies"] for ref in item["dependsOn"]} <= refs
    assert sbom() == listed
