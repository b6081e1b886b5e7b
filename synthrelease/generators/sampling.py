"""Seeds to an image set on disk: 8-bit contrasts, masks on legal levels, a piece at a time."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, JsonValue

from synthrelease import store
from synthrelease.errors import GeneratorError, ScanError, SettingsError, StoreError
from synthrelease.generators.interface import RESERVED_SEEDS, STANDARD_LEVELS, Batch, Generator
from synthrelease.image_set import MASK, ImageRow, ImageSet, is_image_set, open_set
from synthrelease.image_writer import ImageSetWriter
from synthrelease.progress import SILENT, Progress
from synthrelease.records import Record

RECORD = "sampling.json"
PIECE = 256  # images in memory, and the most that an interruption costs
NEAR = 3  # grey levels: nearer to a label than this, a pixel counts as that label in the comparison with the study


class MaskLevels(Record):
    """How far the generated masks were from label maps before they were re-quantised: a measure of quality."""

    levels: tuple[int, ...] = Field(description="Legal grey levels of the mask channel")
    pixels: int = Field(description="Mask pixels looked at")
    off_level_share: float = Field(description="Share of all mask pixels that were on no legal level")
    off_level_share_of_tumour: float = Field(
        description="Share of mask pixels above 3 that were more than 3 grey levels from every legal level; in the "
        "reference study's figure 0.25 to 0.45 for GANs and 0.03 for diffusion"
    )


class SampleRecord(Record):
    """How an image set was sampled."""

    digest: str = Field(description="Changes with the weights, the sampler's settings and the seeds")
    generator: str
    made_with: dict[str, JsonValue] = Field(description="Weights (SHA-256) and sampler, as the generator states them")
    images: int
    first_seed: int
    last_seed: int
    mask: MaskLevels | None = Field(description="Null for images without a mask")


def as_released(
    batch: Batch, *, mask: int | None, levels: Sequence[int] = STANDARD_LEVELS
) -> tuple[NDArray[np.uint8], dict[str, int]]:
    """Return images (k, c, r, r) in 8 bits, their masks on legal levels, and counts of mask pixels that were not.

    Args:
        batch: -1 to 1; values beyond are clipped.
        mask: Number of the mask channel, or None.
        levels: Legal levels. A pixel takes the nearest; for 0, 51, 102, 204 the cuts are 25.5, 76.5 and 153.

    Raises:
        GeneratorError: A pixel is not finite.
    """
    if not np.isfinite(batch).all():
        raise GeneratorError(
            "The generator made pixels that are not finite.", "Use an earlier checkpoint, or precision = none."
        )
    grey = np.clip((batch + 1) * 127.5, 0, 255)
    images = np.rint(grey).astype(np.uint8)
    if mask is None:
        return images, {}
    legal = np.array(sorted(levels), dtype=np.uint8)
    cuts = (legal[:-1].astype(np.float64) + legal[1:]) / 2
    before, nearest = images[:, mask], legal[np.digitize(grey[:, mask], cuts)]
    distance = np.abs(before.astype(np.int16) - nearest)
    tumour = before > NEAR
    counts = {
        "mask pixels": before.size,
        "off level": int((distance > 0).sum()),
        "tumour pixels": int(tumour.sum()),
        "off level in tumour": int((tumour & (distance > NEAR)).sum()),
    }
    images[:, mask] = nearest
    return images, counts


def write_samples(
    generator: Generator,
    seeds: Sequence[int],
    out: Path,
    *,
    mask_levels: Sequence[int] = STANDARD_LEVELS,
    made_with: Mapping[str, JsonValue] | None = None,
    voxel_size: tuple[float, float, float] = (1.0, 1.0, 1.0),
    progress: Progress = SILENT,
) -> ImageSet:
    """Sample every seed into an image set at ``out`` and return it; a rerun goes on where the last one stopped.

    Args:
        generator: Trained.
        seeds: One per image, e.g. a range; different and not negative.
        out: Folder of the set; `sampling.json` in it holds the `SampleRecord`.
        mask_levels: Legal levels of the mask channel.
        made_with: What names these weights and this sampler: pieces made with anything else are not continued.
        voxel_size: Of the training set, mm.
        progress: Counts images.

    Raises:
        SettingsError: Seeds repeat or are negative.
        StoreError: ``out`` holds an unfinished set of another model, sampler or seeds.
    """
    _check_seeds(seeds)
    channels = tuple(generator.channels)
    about: dict[str, Any] = {
        "generator": generator.name,
        "channels": channels,
        "mask_levels": list(mask_levels),
        "made_with": dict(made_with or {}),
    }
    digest = store.digest({**about, "seeds": _seeds_in_short(seeds)})
    if _made_before(out, digest):
        try:
            found = open_set(out, check_content=True)
        except ScanError:
            progress.say(f"{out.name} is damaged, and is sampled again.")
        else:
            progress.say(f"{out.name} is complete already.")
            return found
    pieces = {f"{digest}:{start}": seeds[start : start + PIECE] for start in range(0, len(seeds), PIECE)}
    with ImageSetWriter(out, channels, voxel_size) as writer, progress.task("sampling (images)", len(seeds)) as advance:
        if writer.finished - pieces.keys():
            raise StoreError(
                f"{writer.partial.name} holds samples of another model, sampler or seeds.",
                "Finish them with the command that began them, delete that folder, or choose another --out.",
            )
        for piece, some in pieces.items():
            if piece in writer.finished:
                advance(len(some))
            else:
                images, counts = _sampled(generator, some, channels, mask_levels, advance)
                rows = [_row(seed, generator.name) for seed in some]
                writer.add(piece, images, rows, tally=counts)
        record = _record(about, digest, seeds, writer.tally)
        store.write_text(writer.partial / RECORD, record.model_dump_json(indent=1))
        return writer.close()


def read_record(folder: Path) -> SampleRecord:
    """Return how a sampled image set was made, or raise `StoreError`."""
    try:
        return SampleRecord.model_validate_json((folder / RECORD).read_bytes())
    except (OSError, ValueError) as error:
        raise StoreError(f"{folder / RECORD} cannot be read: {error}", "Sample the set again.") from error


def _check_seeds(seeds: Sequence[int]) -> None:
    if len(seeds) == 0:
        raise SettingsError("No images were asked for.", "Give --count 1 or more.")
    if min(seeds) < 0:
        raise SettingsError("Seeds cannot be negative.", "Give --seed 0 or more.")
    if max(seeds) >= RESERVED_SEEDS:
        raise SettingsError(
            f"Seeds from {RESERVED_SEEDS} on are kept for looking at trainings.", "Give a smaller --seed."
        )
    if not isinstance(seeds, range) and len(set(seeds)) != len(seeds):
        raise SettingsError("Seeds repeat: the same image would be made twice.", "Give every image its own seed.")


def _seeds_in_short(seeds: Sequence[int]) -> list[int] | str:
    return [seeds.start, seeds.stop, seeds.step] if isinstance(seeds, range) else store.digest(list(seeds))


def _made_before(out: Path, digest: str) -> bool:
    try:
        return is_image_set(out) and read_record(out).digest == digest
    except StoreError:
        return False


def _sampled(
    generator: Generator, seeds: Sequence[int], channels: Sequence[str], levels: Sequence[int], advance: Any
) -> tuple[NDArray[np.uint8], dict[str, int]]:
    mask = channels.index(MASK) if MASK in channels else None
    made, counts = [], dict[str, int]()
    for batch in generator.sample(seeds):
        images, found = as_released(batch, mask=mask, levels=levels)
        made.append(images)
        counts = {name: counts.get(name, 0) + number for name, number in found.items()}
        advance(len(images))
    images = np.concatenate(made) if made else np.empty((0, len(channels), 0, 0), np.uint8)
    if len(images) != len(seeds) or images.shape[1] != len(channels):
        raise GeneratorError(
            f"{generator.name} made {len(images)} images with {images.shape[1]} channels for {len(seeds)} seeds and "
            f"{len(channels)} channels.",
            "`sample` must yield one image per seed, in their order.",
        )
    return images, counts


def _row(seed: int, name: str) -> ImageRow:
    return ImageRow(f"seed-{seed:09d}", seed=seed, generator=name)


def _record(about: Mapping[str, Any], digest: str, seeds: Sequence[int], tally: Mapping[str, int]) -> SampleRecord:
    mask = None
    if "mask pixels" in tally:
        mask = MaskLevels(
            levels=tuple(about["mask_levels"]),
            pixels=tally["mask pixels"],
            off_level_share=tally["off level"] / tally["mask pixels"],
            off_level_share_of_tumour=tally["off level in tumour"] / max(tally["tumour pixels"], 1),
        )
    return SampleRecord(
        digest=digest,
        generator=about["generator"],
        made_with=about["made_with"],
        images=len(seeds),
        first_seed=seeds[0],
        last_seed=seeds[-1],
        mask=mask,
    )
