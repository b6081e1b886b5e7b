"""What every reader hands over: a block of images of one size, checked, in one of three number types."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from synthrelease import store

MOST_CHANNELS = 8
EMPTY_BELOW = 0.01  # a slice of a volume with less foreground than this share holds no anatomy
LEVEL = 51  # grey levels per label: 0, 51 (NCR, label 1), 102 (ED, label 2), 204 (ET, label 4)

Kind = Literal["picture", "volume", "stack"]


class Unusable(Exception):  # noqa: N818 - a finding about one file, not an error of the program
    """One file cannot be used; the text is the reason that the user reads."""


@dataclass(frozen=True)
class Block:
    """Images from one file: ``pixels`` (k, c, h, w) with one number, id and subject each.

    A picture is one 2-D image; a volume's empty slices are left out (``empty`` counts them); a stack
    holds images that do not belong together, so an unusable one is listed in ``unread``.
    """

    pixels: NDArray[Any]
    names: tuple[str, ...]  # of the channels
    kind: Kind
    numbers: tuple[int, ...]  # place of each image in its file
    mask: NDArray[np.uint8] | None = None  # (k, h, w) label levels
    voxel_size: tuple[float, float, float] = (1.0, 1.0, 1.0)
    ids: tuple[str, ...] = ()  # where the file itself names its images
    subjects: tuple[str, ...] = ()
    unread: tuple[tuple[int, str], ...] = ()
    empty: int = 0
    notes: tuple[str, ...] = ()

    def keep(self, wanted: list[int]) -> Block:
        """Return the block with only these of its images."""

        def chosen(values: tuple[Any, ...]) -> tuple[Any, ...]:
            return tuple(values[i] for i in wanted) if values else ()

        mask = None if self.mask is None else self.mask[wanted]
        return replace(
            self,
            pixels=self.pixels[wanted],
            mask=mask,
            numbers=chosen(self.numbers),
            ids=chosen(self.ids),
            subjects=chosen(self.subjects),
        )


def default_names(channels: int, *, colour: bool = False) -> tuple[str, ...]:
    """Return channel names for a file that states none."""
    if channels == 1:
        return ("grey",)
    if colour and channels == 3:
        return ("red", "green", "blue")
    return tuple(f"channel{i}" for i in range(channels))


def check_size(*shape: int) -> None:
    """Refuse an empty image, or one beyond `store.largest`, before its pixels are decoded."""
    if min(shape, default=0) < 1:
        raise Unusable(f"it has no pixels (shape {shape})")
    count = 1
    for length in shape:  # Python integers: NumPy's product would wrap around
        count *= int(length)
    if count > store.largest():
        raise Unusable(store.too_large(count))


def stored_type(pixels: NDArray[Any]) -> NDArray[Any]:
    """Return the same numbers as uint8, uint16 or float32, the three types that image sets hold.

    Booleans become 0 / 255. Integers keep their values exactly where they fit; others become float32.
    """
    if pixels.dtype == np.bool_:
        return pixels.astype(np.uint8) * np.uint8(255)
    if pixels.dtype == np.uint8:
        return pixels
    if pixels.dtype.kind in "iu":
        low, high = int(pixels.min(initial=0)), int(pixels.max(initial=0))
        return pixels.astype(np.uint16 if low >= 0 and high <= 65535 else np.float32)
    if pixels.dtype.kind == "f":
        with np.errstate(over="ignore"):
            return pixels.astype(np.float32)
    raise Unusable(f"its numbers are of type {pixels.dtype}, not integers or real numbers")


def foreground(volume: NDArray[Any]) -> NDArray[np.bool_]:
    """Return where ``volume`` (any shape) is brighter than its background.

    Background reaches 5 % of the way from the smallest value to the 99.5 % quantile: zero in a
    skull-stripped scan, air and its noise in others.
    """
    low = float(volume.min())
    high = float(np.quantile(volume, 0.995))
    if high <= low:
        high = float(volume.max())
    threshold = low + 0.05 * (high - low)
    return np.asarray(volume > threshold)


def checked(block: Block) -> Block:
    """Return the block with stored number types and without what cannot be used.

    Raises:
        Unusable: a picture or volume that is constant or holds NaN or infinity.
    """
    check_size(*block.pixels.shape[1:])
    if block.pixels.shape[1] > MOST_CHANNELS:
        raise Unusable(f"it has {block.pixels.shape[1]} channels, more than {MOST_CHANNELS}")
    block = replace(block, pixels=stored_type(block.pixels))
    match block.kind:
        case "picture":
            if reason := _fault(block.pixels):
                raise Unusable(reason)
            return block
        case "volume":
            if reason := _fault(block.pixels):
                raise Unusable(reason)
            return _without_empty_slices(block)
        case "stack":
            faults = [_fault(image) for image in block.pixels]
            unread = tuple((block.numbers[i], reason) for i, reason in enumerate(faults) if reason)
            kept = block.keep([i for i, reason in enumerate(faults) if not reason]) if unread else block
            return replace(kept, unread=block.unread + unread)


def _fault(pixels: NDArray[Any]) -> str:
    if pixels.dtype.kind == "f" and not np.isfinite(pixels).all():
        count = int(np.count_nonzero(~np.isfinite(pixels)))
        return f"{count} of its values are not finite (NaN, infinite or beyond 32 bits)"
    if pixels.min() == pixels.max():
        return f"every pixel has the same value ({float(pixels.flat[0]):g})"
    return ""


def _without_empty_slices(block: Block) -> Block:
    share = np.zeros(len(block.pixels))
    for channel in range(block.pixels.shape[1]):  # channel by channel: a quantile copies what it sorts
        share = np.maximum(share, foreground(block.pixels[:, channel]).mean(axis=(1, 2)))
    kept = [int(i) for i in np.flatnonzero(share >= EMPTY_BELOW)]
    if not kept:
        raise Unusable(f"no slice has {EMPTY_BELOW:.0%} foreground")
    empty = len(share) - len(kept)
    return replace(block.keep(kept), empty=empty) if empty else block


def label_levels(mask: NDArray[Any]) -> NDArray[np.uint8]:
    """Return a label mask as levels: label 1 is 51, 2 is 102, 4 is 204, whatever type the images have.

    A mask of one label, stored as false / true, 0 / 1 or 0 / 255, is label 1: level 51. Values 0 to 4 are
    labels; 3 is another name for label 4 (enhancing tumour, BraTS 2023). Anything else within
    0 to 255 is kept, because a generator's blurred mask has levels in between, which the audit counts.

    Raises:
        Unusable: values that are no labels and do not fit 8 bits, or fractions of 1, which rounding would destroy.
    """
    if mask.dtype == np.bool_:
        return mask.astype(np.uint8) * np.uint8(LEVEL)
    if mask.dtype.kind == "f" and not np.isfinite(mask).all():
        raise Unusable("its mask holds values that are not finite")
    if mask.min() < 0 or mask.max() > 255:
        raise Unusable(f"its mask holds values from {mask.min():g} to {mask.max():g}, which are no labels")
    if mask.dtype.kind == "f" and 0 < mask.max() <= 1 and ((mask > 0) & (mask < 1)).any():
        raise Unusable("its mask holds fractions between 0 and 1: save the levels 0 to 255, or whole labels")
    whole = np.rint(mask).astype(np.uint8)
    values = set(np.unique(whole).tolist())
    if values <= {0, 255}:
        return np.where(whole > 0, np.uint8(LEVEL), np.uint8(0))
    if values <= {0, 1, 2, 3, 4}:
        return tumour_levels(whole)
    return np.asarray(whole)


def tumour_levels(labels: NDArray[Any]) -> NDArray[np.uint8]:
    """Return BraTS labels 0, 1, 2, 4 (or 3 for 4) as levels 0, 51, 102, 204; others are Unusable."""
    values = set(np.unique(labels).tolist())
    if not values <= {0, 1, 2, 3, 4} or {3, 4} <= values:
        shown = ", ".join(f"{value:g}" for value in sorted(values)[:8])
        raise Unusable(f"its segmentation holds labels {shown}; expected 0, 1, 2 and either 3 or 4")
    table = np.array([0, LEVEL, 2 * LEVEL, 4 * LEVEL, 4 * LEVEL], dtype=np.uint8)
    return table[labels.astype(np.uint8)]
