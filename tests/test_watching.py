"""What a training is watched with: copies stop it, strangers do not, and what cannot be decided is said."""

from __future__ import annotations

from contextlib import contextmanager

import numpy as np
import pytest
import torch
from audit_helpers import images_of, masks_of, names_of
from scipy import ndimage

import synthrelease
from synthrelease import watching
from synthrelease.errors import GeneratorError, SettingsError, SplitError
from synthrelease.generators.image_feed import ImageFeed, fitted
from synthrelease.image_set import ImageRow, from_arrays
from synthrelease.settings import AuditSettings
from synthrelease.watching import JUDGE_SEEDS, SCREEN_SEEDS, as_trained, frechet_judge, judge_name, memorisation_screen

TRAIN, HOLDOUT, OTHERS = range(16), range(24, 36), range(44, 54)
CHANNELS = ("T1", "T1ce", "FLAIR", "mask")
AT = 32  # pixels of the training; the phantoms have 64
SETTINGS = AuditSettings(image_size=64, bootstrap=100, permutations=99, planted_subjects=2, extractors=("pixels",))


class Heard:
    """Remembers what it was told."""

    def __init__(self):
        self.tasks, self.lines = [], []

    @contextmanager
    def task(self, name, total):
        self.tasks.append(name)
        yield lambda units: None

    def say(self, text):
        self.lines.append(text)


def pixels_of(indices):
    return np.concatenate([images_of(indices), masks_of(indices)], axis=1)


def a_set(indices, pixels=None):
    rows = [ImageRow(f"{name}/{i}", name) for i, name in enumerate(names_of(indices))]
    return from_arrays(pixels_of(indices) if pixels is None else pixels, rows, channels=CHANNELS)


def small(pixels):
    return fitted(pixels, AT, mask=CHANNELS.index("mask"))


def sampler_of(pixels, first=SCREEN_SEEDS, asked=None):
    """Return a sampler whose seed ``first + i`` makes image i."""

    def sampler(seeds):
        if asked is not None:
            asked.append(list(seeds))
        for at in range(0, len(seeds), 7):
            yield pixels[[seed - first for seed in seeds[at : at + 7]]]

    return sampler


def strangers():
    return small(pixels_of(OTHERS))


def with_copies(share=0.5):
    """Return strangers, a share of them replaced by train images: mirrored and brighter."""
    made = strangers()
    count = round(share * len(made))
    copies = small(pixels_of(TRAIN))[:count, ..., ::-1].copy()
    copies[:, :3] = np.rint(255 * (copies[:, :3] / 255) ** 0.8)
    made[:count] = copies
    return made


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    return tmp_path_factory.mktemp("watching")


@pytest.fixture
def screen(place, monkeypatch):
    """The screen of one train and holdout, from one cache for all tests here."""
    monkeypatch.setenv("SYNTHRELEASE_CACHE", str(place / "cache"))

    def make(holdout=None, images=30, **changes):
        return memorisation_screen(
            a_set(TRAIN), holdout or a_set(HOLDOUT), resolution=AT, images=images, **{"settings": SETTINGS, **changes}
        )

    return make


def test_a_training_that_copies_is_stopped_and_told_why(screen):
    found = screen()(1000, sampler_of(with_copies()))

    assert found.stop
    assert found.scalars["near_copy_excess_low"] > 0
    assert found.scalars["near_copy_rate"] == pytest.approx(0.5, abs=0.1)
    assert found.scalars["above_alarm"] == pytest.approx(0.5, abs=0.1)
    assert found.scalars["screen_decided"] == 1
    assert "near copies" in found.reason
    assert "of 30 samples" in found.reason


def test_images_of_strangers_do_not_stop_a_training(screen):
    found = screen()(1000, sampler_of(strangers()))

    assert not found.stop
    assert found.reason == ""
    assert found.scalars["screen_decided"] == 1
    assert found.scalars["near_copy_rate"] <= 0.1
    assert found.scalars["near_copy_excess_low"] <= 0 <= found.scalars["near_copy_excess_high"]


@pytest.mark.parametrize("share", [0.0, 0.2])
def test_the_numbers_are_those_of_an_audit_at_the_trainings_resolution(screen, share):
    made = with_copies(share)

    found = screen()(1, sampler_of(made)).scalars

    record = synthrelease.audit(
        train=small(pixels_of(TRAIN)),
        train_subjects=names_of(TRAIN),
        holdout=small(pixels_of(HOLDOUT)),
        holdout_subjects=names_of(HOLDOUT),
        synthetic=made,
        channels=CHANNELS,
        **SETTINGS.model_dump(exclude_defaults=True),
    )
    assert record.near_copies.synthetic.flagged >= round(share * 30)
    assert found["near_copy_rate"] == record.near_copies.synthetic.value
    assert found["near_copy_rate_holdout"] == record.near_copies.holdout.value
    excess = record.near_copies.excess
    limits = [found[f"near_copy_excess{end}"] for end in ("", "_low", "_high")]
    assert limits == [excess.value, excess.low, excess.high]
    assert found["above_alarm"] == len(record.alarms) / len(made)


def test_a_look_does_not_depend_on_the_looks_before_it_and_searches_the_patients_once(screen):
    heard = Heard()
    look = screen(holdout=a_set(range(60, 70)), progress=heard)
    assert heard.tasks.count("Searching holdout images") == 1
    torch_state, numpy_state = torch.random.get_rng_state(), np.random.get_state()[1].copy()  # noqa: NPY002

    first = look(1000, sampler_of(strangers()))
    assert look(2000, sampler_of(with_copies())).stop
    assert look(3000, sampler_of(strangers())) == first

    assert heard.tasks.count("Searching holdout images") == 1
    assert torch.equal(torch.random.get_rng_state(), torch_state)  # the training goes on as if nobody had looked
    assert (np.random.get_state()[1] == numpy_state).all()  # noqa: NPY002


def test_what_is_sampled_is_never_what_a_release_samples(screen):
    asked = []
    screen()(1, sampler_of(strangers(), asked=asked))
    frechet_judge(a_set(TRAIN), resolution=AT, images=30)(1, sampler_of(strangers(), JUDGE_SEEDS, asked))

    assert asked == [list(range(SCREEN_SEEDS, SCREEN_SEEDS + 30)), list(range(JUDGE_SEEDS, JUDGE_SEEDS + 30))]
    assert SCREEN_SEEDS > 10**12  # no release has so many images, and releases count up from small seeds
    assert JUDGE_SEEDS - SCREEN_SEEDS > 10**12


def test_without_a_holdout_there_is_no_screen():
    empty = from_arrays(pixels_of(HOLDOUT)[:0], [], channels=CHANNELS)
    for holdout in (None, empty):
        with pytest.raises(SettingsError, match="without a holdout") as error:
            memorisation_screen(a_set(TRAIN), holdout, resolution=AT)
        assert "--holdout" in error.value.remedy


def test_a_patient_in_both_roles_is_told_before_the_training_starts(screen):
    with pytest.raises(SplitError, match="p003"):
        screen(holdout=a_set([3, *HOLDOUT]))
    renamed = a_set(HOLDOUT, np.concatenate([pixels_of([3]), pixels_of(HOLDOUT)[3:]]))
    with pytest.raises(SplitError, match="also in train"):
        screen(holdout=renamed)


def test_too_few_strangers_are_never_an_all_clear_and_yet_a_flood_of_copies_stops(screen):
    heard = Heard()
    few = screen(holdout=a_set(range(24, 27)), progress=heard)
    assert "its silence will mean nothing" in heard.lines[0]

    quiet, loud = few(1000, sampler_of(strangers())), few(2000, sampler_of(with_copies(1.0)))

    assert not quiet.stop
    assert quiet.scalars["screen_decided"] == 0
    assert "3 subject(s)" in quiet.reason
    assert heard.lines[1].startswith("After step 1000 the screen cannot decide")
    assert loud.stop


def _noise():
    return np.random.default_rng(0).integers(0, 256, (30, 4, AT, AT)).astype(np.uint8)


def _not_finite():
    made = strangers().astype(np.float32)
    made[3, 0, 5, 5] = np.nan
    return made


@pytest.mark.parametrize(
    ("made", "reason"),
    [(_noise, "resemble train less"), (_not_finite, "1 of 30 samples"), (lambda: strangers()[:, :3], "shape")],
)
def test_images_that_cannot_be_compared_are_never_an_all_clear(screen, made, reason):
    found = screen()(1000, sampler_of(made()))

    assert not found.stop
    assert found.scalars["screen_decided"] == 0
    assert reason in found.reason


@pytest.mark.parametrize("blank", [1, 30])
def test_blank_samples_are_no_copies_and_no_all_clear(screen, blank):
    made = strangers()
    made[:blank] = 0

    found = screen()(1000, sampler_of(made))

    assert not found.stop
    assert found.scalars["screen_decided"] == 0
    assert "blank" in found.reason


def test_a_generator_that_fails_is_said_and_does_not_end_the_training_here(screen):
    def broken(seeds):
        raise GeneratorError("The generator made pixels that are not finite.")
        yield

    assert "not finite" in screen()(1, broken).reason
    assert frechet_judge(a_set(TRAIN), resolution=AT, images=30)(1, broken) == np.inf


def test_the_judge_falls_as_samples_come_nearer_to_the_real_law():
    judge = frechet_judge(a_set(TRAIN), resolution=AT, images=30)
    clean = strangers()

    def blurred(sd):
        made = clean.copy()
        made[:, :3] = ndimage.gaussian_filter(made[:, :3].astype(np.float32), (0, 0, sd, sd)).astype(np.uint8)
        return made

    values = [judge(1, sampler_of(made, JUDGE_SEEDS)) for made in (_noise(), blurred(3), blurred(1.5), clean)]

    assert values == sorted(values, reverse=True)
    assert values[-1] < 0.5 * values[1]
    assert judge(2, sampler_of(clean, JUDGE_SEEDS)) == values[-1]  # however often it is asked
    assert judge_name() == "fd_embedded of 500 samples against train"


def test_the_judge_equals_the_distance_of_the_embedded_encoders_features():
    from synthrelease.features.analysis import analysis_images
    from synthrelease.features.copy_encoder import CopyEncoder
    from synthrelease.metrics.frechet import frechet_distance

    made, real = strangers(), small(pixels_of(TRAIN))
    expected = frechet_distance(
        real=CopyEncoder().embed(analysis_images(real[:, :3], 128)),
        synthetic=CopyEncoder().embed(analysis_images(made[:, :3], 128)),
    )

    assert frechet_judge(a_set(TRAIN), resolution=AT, images=30)(1, sampler_of(made, JUDGE_SEEDS)) == pytest.approx(
        expected, rel=1e-4
    )


def test_samples_that_all_look_alike_are_infinitely_far_away():
    same = np.repeat(strangers()[:1], 30, axis=0)

    assert frechet_judge(a_set(TRAIN), resolution=AT, images=30)(1, sampler_of(same, JUDGE_SEEDS)) == np.inf


@pytest.mark.parametrize("images", [0, 1])
def test_too_few_samples_are_refused(images):
    for make in (frechet_judge, lambda *args, **more: memorisation_screen(*args, a_set(HOLDOUT), **more)):
        with pytest.raises(SettingsError, match="samples"):
            make(a_set(TRAIN), resolution=AT, images=images)


@pytest.mark.parametrize("resolution", [32, 64, 128])
@pytest.mark.parametrize("size", [(64, 64), (60, 44)])
@pytest.mark.parametrize("kind", ["uint8", "uint16", "float32"])
def test_real_images_are_seen_as_the_training_sees_them(resolution, size, kind):
    pixels = pixels_of(range(3))[:, :, : size[0], : size[1]]
    if kind != "uint8":
        pixels = pixels.astype(kind)
        pixels[:, :3] = pixels[:, :3] * 3 + (200 if kind == "uint16" else -200)
    images = a_set(range(3), pixels)

    seen = as_trained(images, resolution)

    fed = 127.5 * (ImageFeed(images, resolution=resolution, batch=1, seed=0).fixed(9).numpy() + 1)
    assert seen.size == (resolution, resolution)
    np.testing.assert_array_equal(seen.read([5, 2]), seen.read(slice(None))[[5, 2]])
    read = seen.read(slice(None)).astype(np.float64)
    read[:, :3] -= 0 if kind == "uint8" else read[:, :3].min((0, 2, 3), keepdims=True)
    span = 255.0 if kind == "uint8" else np.ptp(pixels[:, :3].astype(np.float64), axis=(0, 2, 3), keepdims=True)
    np.testing.assert_allclose(read[:, :3] / span * 255, fed[:, :3], atol=1.5)
    np.testing.assert_allclose(read[:, 3], fed[:, 3], atol=0.01)
    assert (seen.content == images.content) == (images.size == (resolution, resolution))


def test_a_fitted_set_has_a_name_of_its_own_in_every_cache():
    contents = {as_trained(a_set(range(3)), resolution).content for resolution in (16, 32, 64)}
    assert len(contents) == 3
    assert watching.VERSION
