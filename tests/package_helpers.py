"""Evidence folders made by hand, approved by the real log, and what packaging needs around them."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from release_sample import sample_decision, sample_options
from sample import sample_record

from synthrelease import fingerprints, store
from synthrelease.decision import approval, folder, keeping, log
from synthrelease.decision.folder import Evidence, open_evidence
from synthrelease.image_set import ImageRow, ImageSet, from_arrays, image_hashes
from synthrelease.release.package import build
from synthrelease.release_records import Identities, PackageInfo, ReleaseOptions, Verification

CHANNELS = ("t1", "flair", "mask")
SUBJECTS = ("TCGA_CS_4941", "TCGA_DU_5849", "P0071")
HOME = "/".join(("", "home", "steward", "scans"))  # joined: no file of the project names a machine's folders


def images_of(
    count: int = 8, *, seed: int = 0, size: tuple[int, int] = (24, 20), dtype: str = "uint8", ids: Sequence[str] = ()
) -> ImageSet:
    """Return noise images with an empty mask in every second one."""
    pixels = np.random.default_rng(seed).integers(0, 255, (count, len(CHANNELS), *size)).astype(dtype)
    pixels[:, 2] = 0
    pixels[::2, 2, 4:12, 4:12] = 51
    names = list(ids) or [f"made/{i:04d}.png" for i in range(count)]
    rows = [ImageRow(name) for name in names]
    return from_arrays(pixels, rows, channels=CHANNELS, voxel_size=(1.0, 1.5, 2.0))


def volume_ids() -> list[str]:
    """Return ids of two volumes, one with a gap, and an image alone: 8 in all."""
    return [f"a.nii.gz#{k}" for k in (3, 4, 5)] + [f"b.nii.gz#{k}" for k in (0, 1, 3)] + ["c.png", "stack.npy#0"]


def real_planes(seed: int = 99, size: tuple[int, int] = (24, 20)) -> NDArray[np.uint8]:
    """Return the planes (4, h, w) of the real images."""
    return np.random.default_rng(seed).integers(0, 255, (4, *size)).astype(np.uint8)


def evidence_in(
    place: Path, images: ImageSet, *, approve: bool = True, identities: Identities | None = None, **decision: Any
) -> Evidence:
    """Write an evidence folder for these synthetic images at ``place``, decided and approved as the commands do."""
    evidence = store.private_folder(place / "evidence")
    folder.write_record(evidence / folder.AUDIT, sample_record("pass"))
    folder.write_images(evidence, dict(zip(images.ids, image_hashes(images), strict=True)))
    known = identities or Identities(
        subjects=SUBJECTS,
        images=(*(f"{name}/{name}_{k}.tif" for name in SUBJECTS for k in range(3)), "mask.png", "t1.nii.gz", "7.png"),
        paths=(HOME,),
    )
    folder.write_record(evidence / folder.IDENTITIES, known)
    prints = [fingerprints.of_plane(plane) for plane in real_planes()]
    store.write_text(evidence / folder.FINGERPRINTS, "".join(f"{one}\n" for one in prints))
    store.write_text(evidence / folder.POLICY, "name = 'controlled'\n")
    keeping.note_audit(evidence, synthetic="", verdict="pass", images=len(images), attempt=1)
    decide(evidence, **decision)
    opened = open_evidence(place)
    if approve:
        agree(opened)
    return opened


def decide(evidence: Path, **changes: Any) -> None:
    """Write a decision that fits the evidence, and its line in the log."""
    made = sample_decision(
        **({"decision": "APPROVE", "quality": None, "utility": None, "removals": ()} | changes),
        binding=open_evidence(evidence).binding(),
    )
    folder.write_record(evidence / folder.DECISION, made)
    data = {"decision_sha256": store.sha256_of(evidence / folder.DECISION)}
    log.append(evidence, "decide", data=data)


def agree(evidence: Evidence, **changes: Any) -> None:
    """Approve as a data steward."""
    said: dict[str, Any] = {"by": "Stina Steward", "role": "data steward", "reason": "Read everything."} | changes
    approval.approve(evidence, **said)


def options(**changes: Any) -> ReleaseOptions:
    """Return what is said about the release; nothing of it is known of real patients."""
    return sample_options(**changes)


def packed(place: Path, images: ImageSet | None = None, *, to: str = "release", **changes: Any) -> PackageInfo:
    """Build a package `place/release` from new evidence beside it, signed by the user's own key."""
    images = images or images_of()
    evidence = evidence_in(place, images) if not (place / "evidence").exists() else open_evidence(place)
    return build(evidence, lambda: images, place / to, options(**changes))


def codes(found: Verification) -> set[tuple[str, str]]:
    """Return (code, path) of every problem."""
    return {(problem.code, problem.path) for problem in found.problems}


def tampered(package: Path, to: Path, change: Callable[[Path], object]) -> Path:
    """Return a copy of the package with one change."""
    shutil.copytree(package, to, symlinks=True)
    change(to)
    return to
