"""The picture of one pair, drawn from the pixels that the audit kept."""

from __future__ import annotations

import functools
import io
import threading
import zipfile
from pathlib import Path

import numpy as np

from synthrelease.decision.folder import PAIRS, Evidence
from synthrelease.errors import IntegrityError
from synthrelease.records import Suspect
from synthrelease.release_records import PairInfo
from synthrelease.report.pairs import Pair, Pixels, strip

SIDE = 256  # least side of a tile, pixels; the page scales it to the window
LARGEST = 512
KEPT = 64  # drawn pictures, so that a second look costs nothing
_ONE_AT_A_TIME = threading.Lock()


def picture(evidence: Evidence, pair: PairInfo) -> bytes:
    """Return a PNG: columns synthetic, nearest train, nearest holdout, difference; a row per contrast.

    The ids and the score are not in it, so that nothing in the file tells planted pairs from others.

    Raises:
        IntegrityError: The pair's pixels are missing, damaged, or do not fit its entry in the index.
    """
    path = evidence.folder / PAIRS / f"{pair.pair_id}.npz"
    if not path.is_file():
        raise _damaged(path, "it is missing")
    with _ONE_AT_A_TIME:
        return _drawn(path, path.stat().st_mtime_ns, pair.channels)


@functools.lru_cache(maxsize=KEPT)
def _drawn(path: Path, changed: int, channels: tuple[str, ...]) -> bytes:
    images = _pixels(path, len(channels))
    nobody = Suspect(image_id="", train_image_id="", train_subject="", score=0.0)
    pair = Pair(nobody, images["synthetic"], images["train"], images.get("holdout"), channels, "suspect")
    file = io.BytesIO()
    strip(pair, _side(max(images["synthetic"].shape[1:]))).save(file, "PNG", compress_level=6)
    return file.getvalue()


def _pixels(path: Path, channels: int) -> dict[str, Pixels]:
    try:
        with np.load(path, allow_pickle=False) as file:
            images = {name: file[name] for name in ("synthetic", "train", "holdout") if name in file}
    except (OSError, ValueError, EOFError, zipfile.BadZipFile) as error:
        raise _damaged(path, "it cannot be read") from error
    if not {"synthetic", "train"} <= set(images):
        raise _damaged(path, "an image is missing in it")
    shape = images["synthetic"].shape
    for image in images.values():
        if (
            image.dtype != np.uint8
            or image.shape != shape
            or image.ndim != 3
            or len(image) != channels
            or not image.size
        ):
            raise _damaged(path, f"its images are not {channels} contrasts of 8 bits")
    return {name: image.astype(np.float32) / 255 for name, image in images.items()}


def _side(native: int) -> int:
    """Return a whole multiple of the native side where it is small: then no pixel is invented."""
    return native * -(-SIDE // native) if native < SIDE else min(native, LARGEST)


def _damaged(path: Path, why: str) -> IntegrityError:
    return IntegrityError(
        f"The pixels of a pair, {PAIRS}/{path.name}, cannot be shown: {why}.",
        "Restore the evidence folder from a copy, or run the audit again: finished steps are reused.",
    )
