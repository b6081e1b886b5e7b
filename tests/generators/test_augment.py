"""Adaptive augmentation: what must stay as it is, what must move together, and how p follows the discriminator."""

from __future__ import annotations

import itertools

import pytest
import torch
from torch import Tensor

from synthrelease.errors import SettingsError
from synthrelease.generators.augment import AdaptiveProbability, AugmentSettings, augment

LEVELS = torch.tensor([0, 51, 102, 204]) / 127.5 - 1
PRESETS = ("medical", "shifts", "official")
NOTHING = dict.fromkeys(("flip", "quarter_turns"), False) | dict.fromkeys(
    ("shift", "scale", "rotation", "stretch", "fine_shift", "contrast", "brightness"), 0.0
)


def only(**options: object) -> AugmentSettings:
    """Return settings with nothing but these changes."""
    return AugmentSettings.checked(**{**NOTHING, **options})


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def heads(count: int = 8, size: int = 32, seed: int = 0) -> Tensor:
    """Return (count, 3, size, size): two smooth contrasts and a mask with all four labels, black around."""
    random = seeded(seed)
    place = (torch.arange(size) + 0.5) / size - 0.5
    centre = torch.rand(count, 2, generator=random) * 0.2 - 0.1
    y, x = place[None, :, None] - centre[:, 0, None, None], place[None, None, :] - centre[:, 1, None, None]
    near = torch.exp(-(y**2 / 0.03 + x**2 / 0.05))
    far = torch.exp(-((y - 0.1) ** 2 / 0.01 + x**2 / 0.02))
    mask = LEVELS[(near > 0.4).long() + (near > 0.6) + (near > 0.8)]
    return torch.stack([near * 1.8 - 1, far * 1.5 - 1, mask], 1)


def changed(images: Tensor, settings: AugmentSettings, *, probability: float = 1.0, seed: int = 0) -> Tensor:
    return augment(images, probability=probability, masks=[2], settings=settings, random=seeded(seed))


@pytest.mark.parametrize("preset", PRESETS)
def test_at_probability_zero_every_bit_stays(preset: str) -> None:
    images = heads()

    assert torch.equal(changed(images, AugmentSettings.preset(preset), probability=0.0), images)  # type: ignore[arg-type]


@pytest.mark.parametrize("preset", PRESETS)
def test_images_that_were_not_chosen_keep_every_bit_beside_those_that_were(preset: str) -> None:
    images = heads(64)

    made = changed(images, AugmentSettings.preset(preset), probability=0.08)  # type: ignore[arg-type]

    same = (made == images).flatten(1).all(1)
    assert 5 < int(same.sum()) < 64


def test_how_many_images_change_is_the_probability() -> None:
    images = heads(1).expand(4000, -1, -1, -1)[:, :, ::4, ::4].contiguous()

    for settings, factor in ((only(contrast=0.5), 1 - 0.7**2), (only(rotation=90), 0.3), (only(flip=True), 0.15)):
        made = changed(images, settings, probability=0.3)
        share = float((made != images).flatten(1).any(1).double().mean())
        assert share == pytest.approx(factor, abs=0.03)  # two contrasts each on its own; half of the flips are none


@pytest.mark.parametrize("preset", PRESETS)
@pytest.mark.parametrize("probability", [0.2, 0.8, 1.0])
def test_mask_labels_stay_legal_at_any_probability(preset: str, probability: float) -> None:
    made = changed(heads(16), AugmentSettings.preset(preset), probability=probability)  # type: ignore[arg-type]

    assert set(made[:, 2].unique().tolist()) <= set(LEVELS.tolist())
    assert (made[:, 2] > -1).any()


def test_intensity_never_touches_the_mask() -> None:
    images = heads()

    made = changed(images, only(contrast=1.0, brightness=0.5))

    assert torch.equal(made[:, 2], images[:, 2])
    assert (made[:, :2] != images[:, :2]).flatten(2).any(2).all()


def test_each_contrast_changes_by_its_own_gain_about_black() -> None:
    images = heads()

    made = changed(images, only(contrast=0.5))

    gain = (made[:, :2] + 1).flatten(2).sum(2) / (images[:, :2] + 1).flatten(2).sum(2)
    torch.testing.assert_close(made[:, :2], (images[:, :2] + 1) * gain[:, :, None, None] - 1)
    assert float((gain[:, 0] - gain[:, 1]).abs().min()) > 1e-3


def test_air_stays_black_in_the_medical_preset() -> None:
    black = torch.full((8, 3, 16, 16), -1.0)

    torch.testing.assert_close(changed(black, AugmentSettings()), black, atol=1e-5, rtol=0)


def test_brightness_adds_the_same_to_every_pixel_of_a_contrast() -> None:
    images = heads()

    added = (changed(images, only(brightness=0.2)) - images)[:, :2].flatten(2)

    torch.testing.assert_close(added, added[:, :, :1].expand_as(added), atol=1e-6, rtol=0)
    assert added[:, :, 0].abs().min() > 1e-4


@pytest.mark.parametrize(
    "settings",
    [
        only(rotation=40),
        only(scale=0.2),
        only(stretch=0.3),
        only(fine_shift=0.05),
        only(shift=0.125, flip=True, quarter_turns=True),
        AugmentSettings.preset("official", contrast=0, brightness=0),
        AugmentSettings(contrast=0),
    ],
)
def test_geometry_moves_contrasts_and_mask_together(settings: AugmentSettings) -> None:
    """A contrast that shows the mask's outline still shows it afterwards, to the pixel at its edge."""
    images = heads(24, 48)
    # Smooth, and zero exactly at the outline.
    images[:, 1] = (images[:, 0] + 1) / 1.8 - 0.4

    made = changed(images, settings)

    inside, bright = made[:, 2] > -1, made[:, 1] > 0
    assert (made != images).any()
    apart, one_pixel_off = (float((inside ^ bright.roll(k, 2)).double().mean()) for k in (0, 1))
    assert apart < 0.6 * one_pixel_off


def centre_of_mass(image: Tensor) -> Tensor:
    weight = image + 1
    place = (torch.arange(image.shape[-1]) + 0.5).to(image)
    total = weight.sum((1, 2))
    return torch.stack([(weight.sum(1) * place).sum(1), (weight.sum(2) * place).sum(1)], 1) / total[:, None]


def test_resampling_shifts_nothing_on_the_way() -> None:
    """Turning and resizing about the middle leave a blob in the middle where it is, contrast and mask alike."""
    size = 33
    place = torch.arange(size) - size // 2
    radius = place[:, None] ** 2 + place[None, :] ** 2
    blob = torch.exp(-radius / 30.0) * 2 - 1
    images = torch.stack([blob, blob, torch.where(radius < 40, LEVELS[3], LEVELS[0])])[None].expand(16, -1, -1, -1)

    made = changed(images.contiguous(), only(rotation=180, scale=0.1))

    middle = torch.full((16, 2), size / 2)
    torch.testing.assert_close(centre_of_mass(made[:, 0]), middle, atol=0.02, rtol=0)
    torch.testing.assert_close(centre_of_mass(made[:, 2]), middle, atol=0.3, rtol=0)


def test_a_turned_smooth_image_is_the_smooth_image_turned() -> None:
    """Resampling is accurate: a pattern known at every position comes out as its formula says."""
    size, count = 64, 12
    place = torch.arange(size) + 0.5 - size / 2

    def pattern(angle: Tensor) -> Tensor:
        c, s = torch.cos(angle)[:, None, None], torch.sin(angle)[:, None, None]
        x, y = c * place - s * place[:, None], s * place + c * place[:, None]
        fade = torch.exp(-(x**2 + y**2) / 150)
        return torch.cos(0.7 * x + 0.3 * y) * fade

    plain = pattern(torch.zeros(count))[:, None]
    made = augment(plain, probability=1.0, masks=[], settings=only(rotation=20), random=seeded(4))

    grid = torch.linspace(-0.75, 0.75, 3001)
    for image in made[:, 0]:
        coarse = torch.stack([(image - p).square().mean() for p in pattern(grid[::50])])
        near = grid[::50][coarse.argmin()]
        fine = near + torch.linspace(-0.02, 0.02, 201)
        error = min(float((image - p).square().mean()) for p in pattern(fine))
        assert error / float(image.square().mean()) < 1e-3


@pytest.mark.parametrize("masks", [[2], [0, 1, 2], []])
def test_whole_pixel_changes_resample_nothing(masks: list[int]) -> None:
    images = heads(16)
    settings = AugmentSettings.preset("shifts", quarter_turns=True)

    made = augment(images, probability=1.0, masks=masks, settings=settings, random=seeded())

    for before, after in zip(images, made, strict=True):
        shifts = list(itertools.product(range(-2, 3), repeat=2))
        views = [before.rot90(k, (1, 2)) for k in range(4)]
        views += [v.flip(2) for v in views]
        padded = [torch.cat([v[:, :2].flip(1), v, v[:, -2:].flip(1)], 1) for v in views]
        padded = [torch.cat([v[..., :2].flip(2), v, v[..., -2:].flip(2)], 2) for v in padded]
        candidates = (p[:, 2 + dy : 34 + dy, 2 + dx : 34 + dx] for p in padded for dy, dx in shifts)
        assert any(torch.equal(after, c) for c in candidates)


def test_heads_stay_upright_in_the_medical_preset() -> None:
    """The lower of the two blobs stays below the upper one in every image."""
    images = heads(200)

    made = changed(images, AugmentSettings())

    assert (centre_of_mass(made[:, 1]) - centre_of_mass(made[:, 0]))[:, 1].min() > 0


def test_gradients_reach_every_channel_and_are_exact_to_second_order() -> None:
    images = heads(2, 10).double().requires_grad_(True)
    settings = AugmentSettings.preset("official")

    def wavy(x: Tensor) -> Tensor:
        return changed(x, settings, seed=5)[:, :, 4:6, 5:7].square()

    assert torch.autograd.gradcheck(wavy, (images,), fast_mode=True)
    assert torch.autograd.gradgradcheck(wavy, (images,), fast_mode=True)
    (slope,) = torch.autograd.grad(changed(images, settings).square().sum(), images)
    assert (slope.flatten(2).abs().amax(2) > 0).all()


def test_the_same_generator_state_makes_the_same_images_and_each_image_its_own_change() -> None:
    images = heads(1).expand(6, -1, -1, -1)
    settings = AugmentSettings()

    assert torch.equal(changed(images, settings, seed=3), changed(images, settings, seed=3))
    assert not torch.equal(changed(images, settings, seed=3), changed(images, settings, seed=4))
    made = changed(images, settings, seed=3)
    assert all(not torch.equal(a, b) for a, b in itertools.combinations(made, 2))


def test_the_number_of_draws_does_not_depend_on_p() -> None:
    states = []
    for probability in (0.0, 0.5, 1.0):
        random = seeded()
        augment(heads(4), probability=probability, masks=[2], settings=AugmentSettings(), random=random)
        states.append(random.get_state())

    assert torch.equal(states[0], states[1])
    assert torch.equal(states[0], states[2])


def test_sixteen_bit_images_come_back_in_their_type() -> None:
    made = changed(heads().bfloat16(), AugmentSettings())

    assert made.dtype == torch.bfloat16
    assert torch.isfinite(made).all()


def test_mixed_precision_changes_nothing_here() -> None:
    """Positions in 16 bits would be off by half a pixel at 128."""
    images = heads()
    expected = changed(images, AugmentSettings())

    with torch.autocast("cpu", dtype=torch.bfloat16):
        made = changed(images, AugmentSettings())

    assert torch.equal(made, expected)


def test_p_grows_while_real_images_are_recognised_and_falls_when_not() -> None:
    p = AdaptiveProbability(AugmentSettings(speed_kimg=1.0))

    p.observe(torch.ones(60))
    p.observe(torch.ones(40))
    assert p.adjust() == pytest.approx(0.1)  # 100 of 1,000 images
    p.observe(torch.tensor([1.0] * 75 + [-2.0] * 25))  # mean sign 0.5, under the target of 0.6
    assert p.adjust() == pytest.approx(0.0)
    p.observe(-torch.ones(500))
    assert p.adjust() == 0.0  # never below
    assert p.adjust() == 0.0  # nothing seen, nothing learnt


def test_p_stops_at_its_cap_and_says_so() -> None:
    p = AdaptiveProbability(AugmentSettings(speed_kimg=0.1, cap=0.7))

    values = []
    for _ in range(12):
        p.observe(torch.full((10,), 3.0))
        values.append(p.adjust())

    assert values[:3] == pytest.approx([0.1, 0.2, 0.3])
    assert max(values) == values[-1] == 0.7
    assert p.at_cap
    p.observe(-torch.ones(10))
    p.adjust()
    assert not p.at_cap


def test_the_cap_cannot_be_lifted_to_certainty() -> None:
    with pytest.raises(SettingsError, match="cap"):
        AugmentSettings.checked(cap=1.0)
    assert AdaptiveProbability(AugmentSettings(), start=5.0).value == 0.8


def test_p_continues_exactly_where_it_was_saved() -> None:
    first, second = (AdaptiveProbability(AugmentSettings(speed_kimg=1.0)) for _ in range(2))
    first.observe(torch.ones(30))
    first.adjust()
    first.observe(torch.ones(7))

    second.restore(first.state())

    assert first.adjust() == second.adjust() == pytest.approx(0.037)


def test_processes_agree_on_p_when_their_answers_are_summed() -> None:
    """One process alone would lower p; together with another that recognises everything it grows."""
    one = AdaptiveProbability(AugmentSettings(speed_kimg=1.0), start=0.5)
    one.observe(torch.tensor([1.0] * 6 + [-1.0] * 4))

    assert one.adjust(lambda sums: sums + torch.tensor([90.0, 90.0])) == pytest.approx(0.6)


def test_a_discriminator_that_is_undecided_leaves_p_alone() -> None:
    p = AdaptiveProbability(AugmentSettings(target=0.0, speed_kimg=1.0), start=0.4)
    p.observe(torch.tensor([2.0, -0.1]))

    assert p.adjust() == 0.4


def test_presets_have_names_and_options_can_be_changed() -> None:
    assert AugmentSettings.preset("medical") == AugmentSettings()
    assert AugmentSettings.preset("medical", cap=0.5).cap == 0.5
    assert AugmentSettings.preset("official").rotation == 180
    with pytest.raises(SettingsError, match="did you mean 'rotation'"):
        AugmentSettings.preset("medical", rotations=3)
