"""What a training is watched with: a screen that finds memorised images, and a judge of how near samples are to train.

Both see what the training sees: real images pass through the same padding and resizing as on their way into the
network, and samples come as they would be released. Then all go through the auditor's own preparation.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from synthrelease import opening, store
from synthrelease.errors import AuditError, GeneratorError, SettingsError
from synthrelease.generators.interface import RESERVED_SEEDS, Judge, Sampler, Screen, Screened
from synthrelease.image_set import MASK, ImageRow, ImageSet, from_arrays
from synthrelease.progress import SILENT, Progress
from synthrelease.settings import AuditSettings

if TYPE_CHECKING:
    from synthrelease.generators.training_loop import Callbacks

VERSION = "watching-1"

SCREEN_SEEDS = RESERVED_SEEDS
"""First seed of the samples that are screened. Released images must not have had a say in when their training
stopped: `sample` refuses seeds from here on."""

JUDGE_SEEDS = 2 * RESERVED_SEEDS
"""First seed of the samples that are judged; apart from those of the screen."""

SCREENED_IMAGES = 1000
JUDGED_IMAGES = 500
FEWEST_SUBJECTS = 5
"""Holdout subjects below which finding nothing means nothing; the audit's own verdict is INCOMPLETE there."""

MOST_REAL = 4000
"""Train images that the judge compares with, evenly spread over the set; the same ones for every value."""

BLOCK = 64  # images embedded at once


def callbacks(
    train: ImageSet, holdout: ImageSet | None, *, resolution: int, judged_images: int, progress: Progress
) -> Callbacks:
    """Return what a training is watched with.

    Args:
        train: Its images.
        holdout: Images of other subjects for the screen; None: no screen.
        resolution: Of the training, pixels.
        judged_images: Samples for the distance to train at each checkpoint; 0: the learner's own measure.
        progress: Hears of every step.
    """
    from synthrelease.generators.training_loop import Callbacks

    found = Callbacks(progress=progress)
    if judged_images:
        judge = frechet_judge(train, resolution=resolution, images=judged_images, progress=progress)
        found = replace(found, judge=judge, judge_name=judge_name(judged_images))
    if holdout is not None:
        found = replace(found, screen=memorisation_screen(train, holdout, resolution=resolution, progress=progress))
    return found


def memorisation_screen(
    train: ImageSet,
    holdout: ImageSet | None,
    *,
    resolution: int,
    images: int = SCREENED_IMAGES,
    first_seed: int = SCREEN_SEEDS,
    settings: AuditSettings | None = None,
    progress: Progress = SILENT,
) -> Screen:
    """Return a screen that samples a training now and then, and stops it when near copies exceed those of strangers.

    What counts as a near copy, its threshold and the excess with its interval are the audit's, for whole images: an
    audit of the same samples against the same sets at the training's resolution gives the same numbers. Left out is
    what takes long and answers other questions: parts, planted copies, membership, comparisons.

    Train is made searchable and the holdout is searched in it here, once, so that a mistake is told before the first
    step; a resumed training finds both in the cache. Every look uses the same seeds, so that looks can be compared.

    Each look logs `near_copy_rate`, `near_copy_rate_holdout`, `near_copy_excess` with `_low` and `_high` (95 %),
    `above_alarm` (share of the samples above every slice of every holdout subject) and `screen_decided`. That is 0, and
    the reason says why, where finding nothing would mean nothing: fewer than 5 holdout subjects, samples that resemble
    train less than strangers do (noise, early in a training), or images that cannot be compared.

    The interval is cautious where holdout subjects or samples are few, so the screen stops a flood of copies and not
    the first one. With 13 slices a subject and 1,000 samples it takes near copies in about 33 % of them at 10 holdout
    subjects, 20 % at 30, 11 % at 100 and 3 % at 300; with 200 samples 26 % at 30. `above_alarm` needs no interval.

    Args:
        train: Images that the generator is trained on, of at least 2 subjects.
        holdout: Images of other subjects from the same source; without them nothing can be called a copy.
        resolution: Of the training, pixels. Real images are fitted to it as for the training, so that all three are
            equally coarse; samples are then compared with what the generator saw.
        images: Samples at each look, held in memory at once.
        first_seed: Their seeds start here.
        settings: Of the audit; by default its own, with the extractors that need no download.
        progress: Hears of every step, and of looks that decide nothing.

    Raises:
        SettingsError: There is no holdout, or too few samples.
        SplitError: A subject or an image is in both train and holdout.
        AuditError: Train and holdout have no contrast in common, or train has one subject only.
    """
    if holdout is None or not len(holdout):
        raise SettingsError(
            "Memorised images cannot be told without a holdout.",
            "Give --holdout images of patients that the training does not use.",
        )
    _check_request(images, first_seed)
    chosen = settings or AuditSettings(extractors=(opening.EMBEDDED,))
    return _MemorisationScreen(
        as_trained(train, resolution),
        as_trained(holdout, resolution),
        range(first_seed, first_seed + images),
        chosen,
        progress,
    )


def frechet_judge(
    train: ImageSet,
    *,
    resolution: int,
    images: int = JUDGED_IMAGES,
    first_seed: int = JUDGE_SEEDS,
    progress: Progress = SILENT,
) -> Judge:
    """Return a judge: the Frechet distance of samples to train, lower is better; `judge_name` names it.

    Features are those of the copy encoder that comes with the tool: of the embedded descriptors the one that the audit
    takes where features must be fitted on no images of this study. Contrasts alone are compared, each image scaled by
    its own range, so neither masks nor overall brightness count. The distance depends on the number of samples: compare
    values of one `images` alone. It cannot tell a good generator from one that copies train; the screen can.

    Train's features are made here, once. Samples that all look alike, or whose features are not finite, are infinitely
    far away, so that no checkpoint that makes them is ever the best.

    Args:
        train: Images that the generator is trained on; `MOST_REAL` of them are compared, evenly spread.
        resolution: Of the training, pixels; train is fitted to it as for the training.
        images: Samples for each value, held in memory at once.
        first_seed: Their seeds start here; the same for every value.
        progress: Hears of the embedding.
    """
    from synthrelease.features.analysis import analysis_images

    _check_request(images, first_seed)
    settings = AuditSettings(extractors=(opening.EMBEDDED,))
    seen = as_trained(train, resolution)
    extractor = opening.extractors(settings, seen, store.cache_folder(), progress)[1]
    kept = [seen.channels.index(name) for name in seen.contrasts]

    def features(pixels: NDArray[Any]) -> NDArray[np.float32]:
        return extractor.embed(analysis_images(pixels[:, kept], settings.image_size))

    rows = np.unique(np.linspace(0, len(seen) - 1, min(len(seen), MOST_REAL)).round().astype(np.int64))
    real = []
    with progress.task("Embedding train for the judge (images)", len(rows)) as advance:
        for some in np.array_split(rows, math.ceil(len(rows) / BLOCK)):
            real.append(features(seen.read(some.tolist())))
            advance(len(some))
    return _FrechetJudge(seen, np.concatenate(real), features, range(first_seed, first_seed + images))


def judge_name(images: int = JUDGED_IMAGES) -> str:
    """Return what a judge of so many samples measures, for the record of the best checkpoint."""
    return f"fd_embedded of {images} samples against train"


def as_trained(images: ImageSet, resolution: int) -> ImageSet:
    """Return real images (n, c, r, r) as a training at r pixels sees them: padded or resized when they are read."""
    if images.size == (resolution, resolution):
        return images
    pixels = _Fitted(images, resolution)
    return replace(images, pixels=pixels, content=store.digest([VERSION, images.content, resolution]))


class _Fitted:
    """The pixels of a set, fitted to a resolution as they are read."""

    def __init__(self, images: ImageSet, resolution: int) -> None:
        self._images, self._resolution = images, resolution
        self._mask = images.channels.index(MASK) if MASK in images.channels else None
        self._darkest = _darkest(images, self._mask)
        self.shape = (len(images), len(images.channels), resolution, resolution)
        self.ndim, self.dtype = 4, images.pixels.dtype

    @property
    def oindex(self) -> _Fitted:
        return self

    def __getitem__(self, rows: slice | NDArray[np.int64]) -> NDArray[Any]:
        from synthrelease.generators.image_feed import fitted

        block = self._images.read(rows if isinstance(rows, slice) else rows.tolist())
        # What is padded is 0; in a training that is the set's darkest value.
        shifted = block if self._darkest is None else block - self._darkest
        return fitted(shifted, self._resolution, mask=self._mask)


def _darkest(images: ImageSet, mask: int | None) -> NDArray[Any] | None:
    """Return the lowest value of each channel, (c, 1, 1), or None for 8 bits, whose darkest is 0; 0 for the mask."""
    if images.pixels.dtype == np.uint8:
        return None
    lows = [block.min(axis=(0, 2, 3)) for block in images.blocks(BLOCK)]
    lowest = np.min(lows, axis=0)
    if mask is not None:
        lowest[mask] = 0
    return np.asarray(lowest[:, None, None])


class _MemorisationScreen:
    """A look at samples: searched in train, held against strangers; see `memorisation_screen`."""

    def __init__(
        self, train: ImageSet, holdout: ImageSet, seeds: range, settings: AuditSettings, progress: Progress
    ) -> None:
        """Make train searchable, and search the holdout in it."""
        from synthrelease.privacy import audit as auditor
        from synthrelease.privacy.gallery import Frame, Gallery
        from synthrelease.privacy.roles import check_roles

        cache = store.cache_folder()
        self._seeds, self._settings, self._progress = seeds, settings, progress
        self._roles = check_roles(train=train, holdout=holdout, synthetic=train, channels=settings.channels)
        extractors, _ = opening.extractors(settings, self._roles.train, cache, progress)
        frame = Frame(self._roles.channels, settings.image_size, cache, progress)
        self._gallery = Gallery(self._roles.train, extractors, frame, with_parts=False)
        self._strangers = auditor.screen_strangers(self._gallery, self._roles, settings)
        self._subjects = len(np.unique(holdout.subjects))
        if self._subjects < FEWEST_SUBJECTS:
            progress.say(f"{self._few()}: the screen can stop this training, but its silence will mean nothing.")

    def __call__(self, step: int, sampler: Sampler) -> Screened:
        """Sample, search, count; `stop` where the excess of near copies leaves 0."""
        try:
            pixels = _drawn(sampler, self._seeds, self._roles.train)
            found = self._look(pixels, f"samples of step {step}")
        except (AuditError, GeneratorError) as error:
            found = Screened(False, {"screen_decided": 0.0}, f"the screen cannot decide: {error.problem}")
        if found.reason and not found.stop:
            self._progress.say(f"After step {step} {found.reason}")
        return found

    def _look(self, pixels: NDArray[Any], name: str) -> Screened:
        from synthrelease.privacy import audit as auditor
        from synthrelease.privacy.queries import of_set

        blank = int((pixels.reshape(len(pixels), -1) == pixels.reshape(len(pixels), -1)[:, :1]).all(axis=1).sum())
        if blank == len(pixels):
            raise AuditError("All samples are blank.")
        rows = [ImageRow(f"seed-{seed}", seed=seed) for seed in self._seeds]
        samples = from_arrays(pixels, rows, channels=self._roles.train.channels)
        roles, frame, settings = replace(self._roles, synthetic=samples), self._gallery.frame, self._settings
        limits, degradation = auditor.calibrate(self._gallery, roles, self._strangers, settings)
        found = self._gallery.screen(of_set(name, samples, frame.channels, frame.size), settings.candidates)
        near = auditor.count_near_copies(roles, found, limits, settings, ())
        transfer = auditor.check_transfer(degradation, limits, near, roles, found, settings)
        # The holdout is never missing here, so neither are these.
        assert limits is not None
        assert near.holdout is not None
        assert near.excess is not None
        assert transfer is not None
        excess = near.excess
        stops = excess.low > 0
        doubt = "" if stops else self._doubt(blank, transferable=transfer.transferable)
        above = int((found.whole.score > limits.whole.alarm).sum())
        scalars = {
            "near_copy_rate": near.synthetic.value,
            "near_copy_rate_holdout": near.holdout.value,
            "near_copy_excess": excess.value,
            "near_copy_excess_low": excess.low,
            "near_copy_excess_high": excess.high,
            "above_alarm": above / len(samples),
            "screen_decided": 0.0 if doubt else 1.0,
        }
        reason = (
            f"near copies of training images exceed those among strangers by {excess.low:.1%} to {excess.high:.1%} "
            f"({near.synthetic.flagged} of {len(samples)} samples, {above} of them nearer than any stranger comes)"
        )
        return Screened(stops, scalars, reason if stops else doubt)

    def _doubt(self, blank: int, *, transferable: bool) -> str:
        """Return why finding no excess would mean nothing here, or nothing."""
        if blank:
            return f"the screen cannot decide: {blank} of {len(self._seeds)} samples are blank."
        if self._subjects < FEWEST_SUBJECTS:
            return f"the screen cannot decide: {self._few()}."
        if not transferable:
            return "the screen cannot decide: these samples resemble train less than strangers do, so copies may hide."
        return ""

    def _few(self) -> str:
        return f"the holdout has {self._subjects} subject(s), {FEWEST_SUBJECTS} are the least to calibrate on"


@dataclass(frozen=True)
class _FrechetJudge:
    """See `frechet_judge`."""

    train: ImageSet
    real: NDArray[np.float32]  # (n, d)
    features: Callable[[NDArray[Any]], NDArray[np.float32]]  # (k, c, r, r) to (k, d)
    seeds: range

    def __call__(self, step: int, sampler: Sampler) -> float:
        """Return the distance of fresh samples to train; infinity where they have none."""
        from synthrelease.metrics.frechet import frechet_distance

        try:
            pixels = _drawn(sampler, self.seeds, self.train)
            made = np.concatenate([self.features(pixels[at : at + BLOCK]) for at in range(0, len(pixels), BLOCK)])
            return frechet_distance(real=self.real, synthetic=made)
        except (AuditError, GeneratorError):
            return math.inf


def _check_request(images: int, first_seed: int) -> None:
    if images < 2 or first_seed < 0:
        raise SettingsError(
            f"{images} samples from seed {first_seed} cannot be looked at.", "Take 2 or more, from seed 0 or above."
        )


def _drawn(sampler: Sampler, seeds: Sequence[int], train: ImageSet) -> NDArray[Any]:
    """Return one sample per seed (n, c, r, r), or raise `AuditError` if they cannot be compared with train."""
    pixels = np.concatenate(list(sampler(seeds)))
    expected = (len(seeds), len(train.channels), *train.size)
    if pixels.shape != expected:
        raise AuditError(f"The generator made samples of shape {pixels.shape}, not {expected}.")
    bad = int((~np.isfinite(pixels).all(axis=(1, 2, 3))).sum())
    if bad:
        raise AuditError(f"{bad} of {len(pixels)} samples have pixels that are not finite.")
    return pixels
