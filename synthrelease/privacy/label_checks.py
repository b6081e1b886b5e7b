"""Are the synthetic masks legal, nested as tumours are, and sized as real ones?"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage, stats

from synthrelease import seeds
from synthrelease.image_set import MASK, ImageSet
from synthrelease.records import MaskCheck

LEVELS = np.array([0, 51, 102, 204])  # background, NCR, ED, ET as prepared
FEWEST = 5  # subjects, or synthetic images, whose tumour areas are compared
_STEP = 64


def check_masks(*, real: ImageSet, synthetic: ImageSet, holdout: ImageSet | None) -> MaskCheck | None:
    """Return how the synthetic masks compare with the train masks; None where either set has no masks.

    Legal values are the levels that the real masks use (0, 51, 102, 204 after `prepare`). A nesting violation is a mask
    whose enhancing tumour touches more background than tumour: blurred levels draw such rims.
    """
    if MASK not in real.channels or MASK not in synthetic.channels:
        return None
    legal = np.unique(np.concatenate([np.unique(block) for block in real.blocks(_STEP, (MASK,))]))
    levels = legal if len(legal) <= 8 else LEVELS
    off, nesting, areas = _of(synthetic, levels)
    off_real, nesting_real, areas_real = _of(real, levels)
    p_value = None
    if holdout is not None and MASK in holdout.channels:
        _, _, held = _of(holdout, levels)
        held, made = _one_each(held, holdout), _one_each(areas, synthetic)
        if min(len(held), len(made)) >= FEWEST:
            p_value = float(stats.ks_2samp(held, made).pvalue)
    return MaskCheck(
        images=len(synthetic),
        off_level_share=off,
        off_level_share_real=off_real,
        nesting_violations=nesting,
        nesting_violations_real=nesting_real,
        area_quantiles=_quantiles(areas),
        area_quantiles_real=_quantiles(areas_real),
        area_p_value=p_value,
    )


def _one_each(areas: NDArray[np.float64], images: ImageSet) -> NDArray[np.float64]:
    """Return the area of one image, drawn at random, of each subject; all of them where no subjects are known."""
    subjects, random = images.subjects, seeds.named(0, "mask areas")
    if (subjects == "").any():
        return areas
    return np.array([random.choice(areas[subjects == name]) for name in np.unique(subjects)])


def _of(images: ImageSet, levels: NDArray[np.generic]) -> tuple[float, float, NDArray[np.float64]]:
    """Return the share of pixels off the levels, the share of masks with a nesting violation, and tumour areas (n,)."""
    off, tumour_pixels, violations, areas = 0, 0, 0, []
    for block in images.blocks(_STEP, (MASK,)):
        for mask in block[:, 0]:
            tumour = mask > 0
            off += int((tumour & ~np.isin(mask, levels)).sum())
            tumour_pixels += int(tumour.sum())
            violations += _enhancing_touches_background(mask)
            areas.append(tumour.mean())
    return off / max(tumour_pixels, 1), violations / max(len(images), 1), np.array(areas)


def _enhancing_touches_background(mask: NDArray[np.generic]) -> bool:
    enhancing = np.abs(mask.astype(np.float64) - LEVELS[3]) < 25.5
    if not enhancing.any():
        return False
    rim = ndimage.binary_dilation(enhancing) & ~enhancing
    return bool((mask[rim] == 0).mean() > 0.5) if rim.any() else False


def _quantiles(areas: NDArray[np.float64]) -> tuple[float, float, float]:
    low, middle, high = np.quantile(areas, (0.25, 0.5, 0.75))
    return float(low), float(middle), float(high)
