"""Who is trained on and who chooses the checkpoint."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest
from segmentation_helpers import tumours

from synthrelease.errors import SegmentationError, SettingsError
from synthrelease.image_set import ImageSet
from synthrelease.segmentation.mixing import MixSettings, Source, mixed, used_subjects

REAL = tumours(60, slices=3)
MADE = tumours(25, seed=1, name="made", subjects=False)


class _NotToBeRead:
    """Pixels that nobody may look at."""

    shape, ndim, dtype = REAL.pixels.shape, 4, REAL.pixels.dtype

    def __getitem__(self, rows: Any) -> Any:
        raise AssertionError("real images were looked at")


def _subjects(source: Source | None) -> set[str]:
    assert source is not None
    return {source.images.rows[i].subject for i in source.rows}


@pytest.mark.parametrize("arm", ["real", "both"])
def test_whole_real_subjects_are_held_back_a_fifth_of_them(arm: Any) -> None:
    mix = mixed(arm, real=REAL, synthetic=MADE, settings=MixSettings())
    learnt, held = _subjects(mix.real), _subjects(mix.validation)
    assert mix.by_subject
    assert (len(learnt), len(held), learnt & held) == (16, 4, set())
    assert len(mix.real or ()) == 48


def test_synthetic_alone_holds_back_images_of_its_own_and_reads_no_real_one() -> None:
    secret = ImageSet(REAL.channels, REAL.rows, _NotToBeRead(), "secret")
    mix = mixed("synthetic", real=secret, synthetic=MADE, settings=MixSettings())
    assert mix.real is None
    assert mix.synthetic is not None
    assert mix.validation.images is MADE
    assert not mix.by_subject
    assert sorted([*mix.synthetic.rows, *mix.validation.rows]) == list(range(25))
    assert len(mix.validation) == 5


def test_with_both_every_synthetic_image_is_learnt_from() -> None:
    mix = mixed("both", real=REAL, synthetic=MADE, settings=MixSettings(real_share=0.3))
    assert mix.synthetic is not None
    assert len(mix.synthetic) == 25
    assert mix.validation.images is REAL
    assert mix.real_share == 0.3


def test_a_fraction_of_subjects_holds_every_smaller_one() -> None:
    names = [f"s{i}" for i in range(40)]
    chosen = [set(used_subjects(names, fraction, 0)) for fraction in (0.05, 0.1, 0.5, 1.0)]
    assert [len(names) for names in chosen] == [2, 4, 20, 40]
    assert all(small <= large for small, large in itertools.pairwise(chosen))
    assert set(used_subjects(names, 0.5, 1)) != chosen[2]


def test_subjects_outside_the_fraction_are_neither_learnt_nor_validated_on() -> None:
    mix = mixed("real", real=REAL, synthetic=None, settings=MixSettings(real_fraction=0.5))
    used = set(used_subjects(REAL.subjects.tolist(), 0.5, 0))
    assert _subjects(mix.real) | _subjects(mix.validation) == used
    assert len(used) == 10


def test_the_split_is_the_same_every_time_and_another_with_another_seed() -> None:
    first, again, other = (
        mixed("real", real=REAL, synthetic=None, settings=MixSettings(split_seed=seed)).validation.rows
        for seed in (0, 0, 1)
    )
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)


@pytest.mark.parametrize(
    ("arm", "real", "synthetic", "settings", "said"),
    [
        ("real", None, MADE, MixSettings(), "needs real images"),
        ("both", REAL, None, MixSettings(), "needs synthetic images"),
        ("both", None, None, MixSettings(), "real and synthetic"),
        ("neither", REAL, MADE, MixSettings(), "no training set"),
        ("real", REAL, None, MixSettings(real_fraction=0.01), "1 real subject is left"),
        ("real", tumours(subjects=False), None, MixSettings(), "no subject"),
        ("synthetic", None, tumours(1), MixSettings(), "1 synthetic image"),
    ],
)
def test_mixes_that_cannot_be_are_refused(arm: Any, real: Any, synthetic: Any, settings: Any, said: str) -> None:
    with pytest.raises(SegmentationError, match=said):
        mixed(arm, real=real, synthetic=synthetic, settings=settings)


@pytest.mark.parametrize("share", [0, 1, 1.5])
def test_a_share_of_nothing_or_everything_is_no_mix(share: float) -> None:
    with pytest.raises(SettingsError, match="real_share"):
        MixSettings.checked(real_share=share)
