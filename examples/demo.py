"""From scans to a checked release, on made-up patients: `make demo`, or `python examples/demo.py --out demo-output`.

It draws a cohort of phantoms, splits it by patient, and audits two "generators": one that is perfect (it returns
images of patients that nobody trained on) and one that leaks (the same, with six disguised images of train patients
hidden among them). Then it decides about the leaky one, takes the suspects out, approves the rest as an override,
packages it, and checks the package. Every command is printed first, so that this file is also the documentation.
"""

from __future__ import annotations

import argparse
import json
import os
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from scipy import ndimage

from synthrelease.image_set import MASK, ImageRow, ImageSet, open_set
from synthrelease.image_writer import ImageSetWriter

SEED = 1
PASSED, REVIEW, REJECTED = 0, 3, 4  # exit codes of `synthrelease audit` and `decide`
REASON = "Eighteen holdout patients are what there is; recipients are bound by agreement."
CAUTION = """
The perfect generator did not get PASS; its report says why. Some innocent image or part may lie closer to a train
patient than any of only 18 holdout patients does: common with so few, and the reason why a person looks and the
number alone does not decide."""


def main() -> None:
    """Run the demo; exit 1 if an audit says something else than it must."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path("demo-output"))
    out: Path = parser.parse_args().out
    sets = out / "sets"

    title("1. Sixty made-up patients, and a split by patient")
    synthrelease(out, "phantom", out / "cohort", "--subjects", 60, "--size", 64, "--seed", SEED)
    synthrelease(out, "prepare", out / "cohort", "--out", sets, "--fractions", "0.5,0.3,0.2", "--foreground", 0.25)

    title("2. A perfect generator: images of patients that it never trained on")
    roles = ("--train", sets / "train", "--holdout", sets / "holdout")
    clean = synthrelease(out, "audit", *roles, "--synthetic", sets / "test", "--out", out / "perfect")

    title("3. A leaky one: the same images, and six of train patients hidden among them")
    hidden = hide_copies(sets / "train", sets / "test", out / "leaky-images")
    leaky = synthrelease(out, "audit", *roles, "--synthetic", out / "leaky-images", "--out", out / "leaky")

    title("What was hidden, and what the audit found")
    problems = compare(hidden, out / "leaky" / "evidence" / "audit.json")
    if clean not in {PASSED, REVIEW}:
        problems.append(f"the perfect generator's audit ended with {clean}, not with {PASSED} or {REVIEW}")
    if leaky != REJECTED:
        problems.append(f"the leaky generator's audit ended with {leaky}, not with {REJECTED}")
    problems += release(out)
    closing(out, clean)
    sys.exit("The demo failed: " + "; ".join(problems) if problems else 0)


def release(out: Path) -> list[str]:
    """Decide, take the suspects out, approve, package and verify; return what must not have happened."""
    leaky, package = out / "leaky", out / "release"
    shutil.rmtree(package, ignore_errors=True)

    title("4. The decision: nobody can approve these images as they are")
    codes = [synthrelease(out, "decide", leaky, "--policy", "controlled")]
    person = ("--by", "A. Steward", "--role", "data steward", "--reason", REASON)
    codes.append(synthrelease(out, "approve", leaky, *person))

    title("5. Without the suspects: what remains is audited again, as a second attempt")
    codes.append(synthrelease(out, "decide", leaky, "--policy", "controlled", "--remove-suspects"))

    title("6. A person signs, and the approved images are packaged and checked")
    codes.append(synthrelease(out, "approve", leaky, *person))
    told = ("--licence", "CC-BY-4.0", "--title", "Made-up brains", "--creator", "The demo")
    codes.append(synthrelease(out, "package", leaky, "--out", package, *told))
    codes.append(synthrelease(out, "verify", package))
    expected = [REJECTED, REJECTED, REVIEW, PASSED, PASSED, PASSED]
    return [] if codes == expected else [f"deciding and releasing ended with {codes}, not with {expected}"]


def synthrelease(out: Path, *arguments: object) -> int:
    """Print one command, run it as a user would, and return its exit code; 1, 2 and 5 end the demo."""
    words = [str(argument) for argument in arguments]
    print("\n$ synthrelease " + shlex.join(words), flush=True)
    program = shutil.which("synthrelease", path=str(Path(sys.executable).parent)) or shutil.which("synthrelease")
    if program is None:
        sys.exit("synthrelease is not installed in this environment: pip install -e .")
    # Cache and keys are the demo's own, apart from the user's: in real life the cache holds patients' data.
    own = {"SYNTHRELEASE_CACHE": str((out / "cache").absolute()), "SYNTHRELEASE_KEYS": str((out / "keys").absolute())}
    environment = {**os.environ, **own}
    code = subprocess.run([program, *words], env=environment, check=False).returncode
    if code in {1, 2, 5}:
        sys.exit(f"The demo failed: exit code {code}.")
    print(f"(exit code {code})", flush=True)
    return code


def hide_copies(train: Path, clean: Path, into: Path) -> dict[str, tuple[str, str]]:
    """Write the clean images with disguised train images among them; return image id -> (disguise, patient)."""
    random = np.random.default_rng(SEED)
    patients, innocent = open_set(train), open_set(clean)
    shutil.rmtree(into, ignore_errors=True)
    rows: list[ImageRow] = [ImageRow("") for _ in range(len(innocent))]
    pixels: list[Any] = list(innocent.read(slice(None)))
    subjects = random.choice(np.unique(patients.subjects), len(DISGUISES), replace=False)
    for subject, (disguise, change) in zip(subjects, DISGUISES.items(), strict=True):
        source = int(random.choice(np.flatnonzero(patients.subjects == subject)))
        place = int(random.integers(len(pixels) + 1))
        pixels.insert(place, change(patients.read([source])[0], contrasts(patients), random))
        rows.insert(place, ImageRow(disguise, str(subject)))
    named = [ImageRow(f"made_{number:04d}", generator="leaky") for number in range(len(rows))]
    hidden = {
        image.image_id: (row.image_id, row.subject) for image, row in zip(named, rows, strict=True) if row.image_id
    }
    with ImageSetWriter(into, innocent.channels, innocent.voxel_size) as writer:
        writer.add("all", np.stack(pixels), named)
        writer.close()
    return hidden


def contrasts(images: ImageSet) -> list[int]:
    """Return the numbers of the channels that hold intensities, and not labels."""
    return [i for i, name in enumerate(images.channels) if name != MASK]


def turned(image: Any, which: list[int], random: np.random.Generator) -> Any:
    """Turn every channel by 8 degrees; labels keep their values."""
    result = ndimage.rotate(image, 8, axes=(1, 2), reshape=False, order=0)
    result[which] = ndimage.rotate(image[which], 8, axes=(1, 2), reshape=False, order=1)
    return result


def noisy(image: Any, which: list[int], random: np.random.Generator) -> Any:
    """Add noise of 5 % of the range to the contrasts."""
    result = image.copy()
    result[which] = np.clip(image[which] + random.normal(0, 0.05 * 255, image[which].shape), 0, 255)
    return result


def brighter(image: Any, which: list[int], random: np.random.Generator) -> Any:
    """Brighten the contrasts as a gamma of 0.7 does."""
    result = image.copy()
    result[which] = 255 * (image[which] / 255) ** 0.7
    return result


DISGUISES: dict[str, Callable[[Any, list[int], np.random.Generator], Any]] = {
    "verbatim": lambda image, which, random: image,
    "mirrored": lambda image, which, random: image[..., ::-1],
    "turned by 8 degrees": turned,
    "noisy": noisy,
    "brighter": brighter,
    "mirrored and noisy": lambda image, which, random: noisy(image[..., ::-1], which, random),
}


def compare(hidden: dict[str, tuple[str, str]], record: Path) -> list[str]:
    """Print each hidden copy beside the audit's finding; return what must not have happened."""
    found = json.loads(record.read_text(encoding="utf-8"))
    suspects = {suspect["image_id"]: suspect for suspect in found["suspects"]}
    heading = f"score (flag above {found['threshold']:.2f})"
    print(f"\n{'image':<11}{'disguise':<22}{'source':<18}{'the audit says':<18}{heading}")
    for image_id, (disguise, subject) in hidden.items():
        suspect = suspects.get(image_id)
        said = f"{suspect['train_subject']:<18}{suspect['score']:.2f}" if suspect else "not a suspect"
        print(f"{image_id:<11}{disguise:<22}{subject:<18}{said}")
    innocent = found["near_copies"]["synthetic"]["count"] - len(hidden)
    print(f"{len(set(suspects) - set(hidden))} of the {innocent} other images are suspects too.")
    exact = {suspect["image_id"] for suspect in found["exact_copies"]}
    verbatim = {image_id for image_id, (disguise, _) in hidden.items() if disguise == "verbatim"}
    return [] if exact == verbatim else [f"exact copies found: {sorted(exact)}, hidden: {sorted(verbatim)}"]


def title(text: str) -> None:
    """Print a heading."""
    print(f"\n{text}\n{'-' * len(text)}", flush=True)


def closing(out: Path, clean: int) -> None:
    """Say where the reports are and what to look at."""
    print(f"""
Open both reports side by side:
  {out / "perfect" / "evidence" / "report.html"}
  {out / "leaky" / "evidence" / "attempts" / "1" / "report.html"}
and look at
  - the verdict, and the rule behind it: the leaky set holds one image that equals a patient's in every pixel;
  - the pairs: each suspect beside the train image that it resembles;
  - the power table: which kinds of hidden copies this audit would have caught, and which it would not;
  - the list of what was not tested.
Then open what may leave:
  {out / "release" / "report" / "index.html"} and {out / "release" / "README.md"}""")
    if clean == REVIEW:
        print(CAUTION)


if __name__ == "__main__":
    main()
