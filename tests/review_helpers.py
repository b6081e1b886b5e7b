"""An evidence folder with pairs to read, made by hand, and a reader who uses the page as a browser does."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
from jinja2 import StrictUndefined
from numpy.typing import NDArray
from sample import sample_record
from scipy import ndimage
from werkzeug.test import Client, TestResponse

from synthrelease import store
from synthrelease.decision.folder import AUDIT, Evidence, open_evidence, write_pairs, write_record
from synthrelease.release_records import PairInfo
from synthrelease.review.app import make_app
from synthrelease.review.desk import Desk
from synthrelease.review.gate import Gate

PORT = 8123
HOST = f"127.0.0.1:{PORT}"
ORIGIN = f"http://{HOST}"
CHANNELS = ("t1", "t1ce", "flair")
KINDS = {  # in the order of reading; the last three are optional
    "suspect a": {"kind": "suspect", "above_alarm": True, "score": 0.71},
    "copy a": {"kind": "planted copy", "score": 0.77},
    "suspect b": {"kind": "suspect", "above_alarm": True, "exact": True, "score": 1.0},
    "stranger a": {"kind": "planted stranger", "score": 0.2345},
    "part a": {"kind": "part", "part": "tumour", "box": (3, 4, 20, 24), "above_alarm": True, "score": 0.81},
    "copy b": {"kind": "planted copy", "score": 0.68},
    "below a": {"kind": "suspect", "score": 0.45},
    "closest a": {"kind": "closest", "score": 0.31},
    "closest b": {"kind": "closest", "score": 0.30},
}
DUE = tuple(KINDS)[:6]


def pair_info(name: str, **changes: object) -> PairInfo:
    """Return one of the pairs of `KINDS`."""
    fields = {
        "pair_id": pair_id(name),
        "image_id": f"made/{name.replace(' ', '_')}.png",
        "train_image_id": f"real/{name.replace(' ', '_')}.png",
        "train_subject": f"patient {name}",
        "holdout_image_id": None if name.startswith("part") else f"held/{name.replace(' ', '_')}.png",
        "channels": CHANNELS,
        **KINDS[name],
        **changes,
    }
    return PairInfo.model_validate(fields)


def pair_id(name: str) -> str:
    """Return the id of a pair, which says nothing about it."""
    return store.digest(["pair", name])[:12]


def make_evidence(folder: Path, pairs: list[PairInfo] | None = None, side: int = 48) -> Evidence:
    """Write an evidence folder with the pairs and their pixels, and return it."""
    pairs = [pair_info(name) for name in KINDS] if pairs is None else pairs
    folder.mkdir(parents=True, exist_ok=True)
    write_record(folder / AUDIT, sample_record())
    write_pairs(folder, pairs)
    for number, pair in enumerate(pairs):
        write_pixels(folder, pair, number, side)
    return open_evidence(folder)


def write_pixels(folder: Path, pair: PairInfo, seed: int, side: int = 48) -> None:
    """Write a pair's pixels: a copy resembles its train image, everything else a stranger's."""
    train, stranger = _head(seed, side), _head(seed + 1000, side)
    copied = pair.kind == "planted copy" or pair.exact
    synthetic = train if pair.exact else np.roll(train, 1, axis=2) if copied else _head(seed + 500, side)
    arrays = {"synthetic": synthetic, "train": train}
    if pair.holdout_image_id is not None:
        arrays["holdout"] = stranger
    np.savez(folder / "pairs" / f"{pair.pair_id}.npz", **arrays)


def _head(seed: int, side: int) -> NDArray[np.uint8]:
    random = np.random.default_rng(seed)
    y, x = np.mgrid[-1 : 1 : side * 1j, -1 : 1 : side * 1j]
    inside = (y / 0.9) ** 2 + (x / 0.72) ** 2 < 1
    folds = ndimage.gaussian_filter(random.normal(size=(len(CHANNELS), side, side)), (0.5, side / 24, side / 24))
    return np.where(inside, np.clip(130 + 60 * folds / folds.std(), 20, 255), 0).astype(np.uint8)


class Browser:
    """One browser on the page: keeps its cookie, sends the form token that the page gave, and its own origin."""

    def __init__(self, desk: Desk, gate: Gate) -> None:
        self.desk, self.gate, self.ended = desk, gate, []
        app = make_app(desk, gate, finish=lambda: self.ended.append(True))
        app.jinja_env.undefined = StrictUndefined  # a misspelt name in a template fails
        app.testing = True
        self.client = Client(app)

    def get(self, path: str, **headers: str) -> TestResponse:
        return self.client.get(path, base_url=ORIGIN, headers=headers)

    def post(self, path: str, **fields: str) -> TestResponse:
        headers = {"Origin": ORIGIN}
        return self.client.post(path, base_url=ORIGIN, headers=headers, data={**self.form_token(), **fields})

    def form_token(self) -> dict[str, str]:
        found = re.search(r'name="form_token" value="([^"]+)"', self.get("/").text)
        return {"form_token": found.group(1)} if found else {}

    def enter(self, name: str = "", role: str = "radiologist") -> Browser:
        self.get(self.gate.invite().removeprefix(ORIGIN))
        if name:
            assert self.post("/reader", name=name, role=role).status_code == 303
        return self

    def answer(self, name: str, answer: str, reason: str = "other folds") -> TestResponse:
        return self.post(f"/pair/{pair_id(name)}", answer=answer, reason=reason)

    def answer_all(self, truth: bool = True) -> None:
        for name in DUE:
            copy = name.startswith("copy") or name == "suspect b"
            self.answer(name, "copy" if copy is truth else "not a copy")


def browser(evidence: Evidence, name: str = "Ada Reader") -> Browser:
    """Return a browser whose reader has given a name."""
    return outsider(evidence).enter(name)


def outsider(evidence: Evidence) -> Browser:
    """Return a browser that has not come in yet."""
    gate = Gate()
    gate.port = PORT
    return Browser(Desk(evidence), gate)
