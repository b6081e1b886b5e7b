"""The GANs' training: schedules, lazy penalties, augmentation, growth, processes, precision, what goes wrong."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from checkpoint_helpers import curve, everything_in, same
from training_helpers import GANS, heads, nearly, tiny_generator, tiny_settings

from synthrelease.errors import GeneratorError, SettingsError
from synthrelease.generators import losses
from synthrelease.generators.gan_games import Draws, game_of
from synthrelease.generators.gan_model import Gan
from synthrelease.generators.gan_sampling import GanSampling
from synthrelease.generators.gan_training import GanLearner, GanTraining
from synthrelease.generators.image_feed import ImageFeed
from synthrelease.generators.plans import open_model
from synthrelease.generators.schedule import images_after, steps_for
from synthrelease.generators.training_loop import Callbacks
from synthrelease.training import checkpoint
from synthrelease.training.running import Processes

ALONE = Processes(0, 1, torch.device("cpu"))


def learner(name: str, *, network: dict[str, Any] | None = None, **training: Any) -> GanLearner:
    """Return a learner of 16 px images and its networks, outside any loop."""
    images = heads()
    feed = ImageFeed(images, resolution=16, batch=4, seed=0)
    settings = tiny_settings(name, **(network or {}))
    return GanLearner(name, settings, GanTraining(**training), feed=feed, channels=images.channels, together=ALONE)


# -- schedules ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["progan", "stylegan1"])
def test_networks_grow_and_reals_are_shown_at_the_level_reached(name: str, tmp_path: Path) -> None:
    made = tiny_generator(name, log_every=1)
    made.train(heads(), 5, tmp_path / "m")
    levels = [row["level"] for row in curve(tmp_path / "m")]
    assert levels == [3.0, 3.0, 3.5, 4.0, 4.0], "4 images stable, 8 images of fading, in batches of 4"


def test_an_unfinished_growth_is_sampled_at_its_level_and_enlarged(tmp_path: Path) -> None:
    made = tiny_generator("progan", network={"fade_kimg": 10, "stable_kimg": 10})
    made.train(heads(), 1, tmp_path / "m")
    assert made.level == 3.0
    image = next(made.sample([0]))[0]
    assert image.shape == (3, 16, 16)
    assert np.array_equal(image[:, ::2, ::2], image[:, 1::2, 1::2]), "8 px, every pixel doubled"


def test_adam_forgets_when_the_levels_in_use_change_and_only_then() -> None:
    made = learner("progan")
    counts = []
    for _ in range(5):
        made.learn()
        entries = made.optimisers["discriminator"].state.values()
        counts.append(max(int(entry["step"]) for entry in entries))
    assert counts == [1, 2, 1, 1, 2], "8 px twice; fading; 16 px, twice"


def test_batches_shrink_as_networks_grow_and_images_are_counted() -> None:
    settings = tiny_settings("progan", batches={8: 8, 16: 2})
    assert images_after(settings, 0, 16) == 0  # type: ignore[arg-type]
    made = learner("progan", network={"batches": {8: 8, 16: 2}})
    seen = []
    for step in range(1, 6):
        made.learn()
        seen.append(made.images)
        assert images_after(settings, step, 16) == made.images  # type: ignore[arg-type]
    assert seen == [8, 10, 12, 14, 16]
    assert steps_for(settings, 0.012, 16) == 3  # type: ignore[arg-type]
    assert steps_for(settings, 0.0121, 16) == 4  # type: ignore[arg-type]


def test_a_long_schedule_is_counted_at_once() -> None:
    settings = Gan("progan", resolution=256, device="cpu").network
    steps = steps_for(settings, 12_000, 256)
    assert images_after(settings, steps, 256) >= 12_000_000
    assert images_after(settings, steps - 1, 256) < 12_000_000


# -- what a step does -----------------------------------------------------------------------------------------


def test_lazy_penalties_come_every_few_steps_and_weigh_as_many_times() -> None:
    made = learner("stylegan2", network={"r1_interval": 3, "path_interval": 2})
    seen = [set(made.learn()) for _ in range(6)]
    assert ["penalty/r1" in names for names in seen] == [True, False, False] * 2
    assert ["penalty/path" in names for names in seen] == [True, False] * 3
    assert float(made.path_mean) > 0


def test_the_lazy_penalty_equals_r1_written_out_times_its_interval() -> None:
    made = learner("stylegan2", network={"r1_interval": 3, "r1": 5.0})
    real = made.feed.at(0, 4)
    lazy = made.game.lazy_penalty
    assert lazy is not None
    found = lazy.of(made.discriminator, real)
    shown = real.clone().requires_grad_(True)
    (slope,) = torch.autograd.grad(made.discriminator(shown).sum(), shown)
    expected = 3 * 5.0 / 2 * slope.square().flatten(1).sum(1).mean()
    assert torch.allclose(found, expected, rtol=1e-5)


def test_stylegan1_pays_r1_at_every_step_and_progan_a_gradient_penalty_and_drift() -> None:
    for name, extra in (("stylegan1", "r1"), ("progan", "penalty")):
        made = learner(name, network={"first_resolution": 16})
        draws = Draws(ALONE, 0, "here")
        real, fake = made.feed.at(0, 4), torch.zeros(4, 3, 16, 16)
        with_penalty, scores = made.game.discriminator_loss(made.discriminator, real, fake, draws)
        assert torch.allclose(scores, made.discriminator(real))
        without = game_of(name, tiny_settings(name, **{extra: 0.0, **({"drift": 0.0} if name == "progan" else {})}), 16)
        plain, _ = without.discriminator_loss(made.discriminator, real, fake, Draws(ALONE, 0, "here"))
        judged = made.discriminator(fake)
        known = losses.wasserstein_discriminator if name == "progan" else losses.logistic_discriminator
        assert torch.allclose(plain, known(scores, judged))
        assert float(with_penalty.detach() - plain.detach()) > 0


@pytest.mark.parametrize("name", GANS)
def test_each_network_learns_in_its_own_turn_only(name: str) -> None:
    made = learner(name, network={"first_resolution": 16} if name in ("progan", "stylegan1") else {})
    real = made.feed.at(0, 4)
    before = {part: [p.detach().clone() for p in getattr(made, part).parameters()] for part in PARTS}
    made._teach_generator([real], 4.0)
    assert moved(made.generator, before["generator"]) > 0.5
    assert moved(made.discriminator, before["discriminator"]) == 0
    before["generator"] = [p.detach().clone() for p in made.generator.parameters()]
    made._teach_discriminator([real], 4.0)
    assert moved(made.generator, before["generator"]) == 0
    assert moved(made.discriminator, before["discriminator"]) > 0.5


PARTS = ("generator", "discriminator")


def moved(network: torch.nn.Module, before: list[torch.Tensor]) -> float:
    """Return the share of a network's parameters that are not what they were."""
    changes = [not torch.equal(p, old) for p, old in zip(network.parameters(), before, strict=True)]
    return sum(changes) / len(changes)


@pytest.mark.parametrize("name", ["stylegan1", "stylegan2", "stylegan3"])
def test_running_statistics_move_once_a_step_with_the_discriminator(name: str) -> None:
    made = learner(name, network={"first_resolution": 16} if name == "stylegan1" else {})
    real = made.feed.at(0, 4)
    statistics = made.generator.mapping.average
    before = statistics.clone()
    made._teach_generator([real], 4.0)
    assert torch.equal(statistics, before)
    made._teach_discriminator([real], 4.0)
    assert not torch.equal(statistics, before)
    made.learn()
    assert torch.equal(made.average.mapping.average, statistics), "buffers are copied, not averaged again"


def test_parts_of_a_batch_teach_what_the_batch_teaches() -> None:
    """Minibatch statistics are taken in each part, so they are switched off."""
    network = {"group": 1, "path_length": 0.0}
    whole, parts = (learner("stylegan2", network=network, accumulation=n) for n in (1, 2))
    parts._draws = lambda purpose, part: _Rows(Draws(ALONE, 0, purpose, parts.step, 0), part)  # type: ignore[method-assign,assignment]
    gradients = []
    for made in (whole, parts):
        keep = _Keeping(made)
        made.learn()
        gradients.append(keep.seen)
    assert len(gradients[0]) == 3, "generator, discriminator, lazy penalty"
    for one, two in zip(*gradients, strict=True):
        largest = max(float(gradient.abs().max()) for gradient in one)
        for first, second in zip(one, two, strict=True):
            assert torch.allclose(first, second, rtol=1e-3, atol=1e-5 * largest)


class _Keeping:
    """Keeps the gradients that a learner's optimisers are given."""

    def __init__(self, made: GanLearner) -> None:
        self.seen: list[list[torch.Tensor]] = []
        for optimiser in made.optimisers.values():
            optimiser.register_step_pre_hook(self._keep)

    def _keep(self, optimiser: torch.optim.Optimizer, *arguments: Any) -> None:
        grads = [p.grad for group in optimiser.param_groups for p in group["params"]]
        self.seen.append([torch.zeros(1) if g is None else g.clone() for g in grads])


class _Rows:
    """Draws of a whole batch of 4, of which one part of 2 is handed out."""

    def __init__(self, draws: Draws, part: int) -> None:
        self.draws, self.part, self.own = draws, part, draws.own

    def normal(self, count: int, *shape: int) -> torch.Tensor:
        """Return this part's rows."""
        return self.draws.normal(4, *shape)[2 * self.part :][:count]

    def crossovers(self, count: int, layers: int, probability: float) -> torch.Tensor:
        """Return this part's rows."""
        return self.draws.crossovers(4, layers, probability)[2 * self.part :][:count]


# -- augmentation ---------------------------------------------------------------------------------------------


def test_augmentation_follows_the_discriminator_and_is_kept_for_resuming(tmp_path: Path) -> None:
    def made() -> Any:
        return tiny_generator("stylegan2", augment="medical", network={"learning_rate": 0.02}, checkpoint_every=6)

    made().train(heads(), 24, tmp_path / "unbroken")
    values = [row["augment/p"] for row in curve(tmp_path / "unbroken") if "augment/p" in row]
    assert values[0] == 0.0
    assert max(values) > 0, "a discriminator that is sure of the real images gets them augmented"
    made().train(heads(), 14, tmp_path / "m")
    made().train(heads(), 24, tmp_path / "m", resume=True)
    assert same(tmp_path / "m", tmp_path / "unbroken")


def test_at_p_0_augmentation_changes_nothing(tmp_path: Path) -> None:
    tiny_generator("stylegan2").train(heads(), 3, tmp_path / "plain")
    tiny_generator("stylegan2", augment="medical").train(heads(), 3, tmp_path / "augmented")
    one, two = everything_in(tmp_path / "plain"), everything_in(tmp_path / "augmented")
    tensors = [name for name, value in one.items() if isinstance(value, torch.Tensor)]
    assert all(torch.equal(one[name], two[name]) for name in tensors)


# -- precision, processes, mistakes ---------------------------------------------------------------------------


@pytest.mark.parametrize("name", GANS)
def test_sixteen_bits_stay_near_thirty_two(name: str, tmp_path: Path) -> None:
    for precision in ("none", "bf16"):
        tiny_generator(name, precision=precision, log_every=1).train(heads(), 2, tmp_path / precision)
    first = [curve(tmp_path / precision)[0] for precision in ("none", "bf16")]
    for loss in ("loss/generator", "loss/discriminator"):
        assert first[1][loss] == pytest.approx(first[0][loss], rel=0.1, abs=0.05)
        assert first[1][loss] != first[0][loss], "16 bits were used"


@pytest.mark.parametrize(
    ("name", "training", "said"),
    [
        ("progan", {"precision": "fp16"}, "no clamp for 16-bit floats"),
        ("progan", {"augment": "medical"}, "augmentation cannot follow"),
        ("stylegan2", {"accumulation": 3}, "batches of 4 cannot be divided by 1 processes x 3 parts"),
    ],
)
def test_what_cannot_be_done_together_is_told_before_anything_is_read(
    name: str, training: dict[str, Any], said: str
) -> None:
    with pytest.raises(SettingsError, match=said):
        tiny_generator(name, **training)


def test_a_loss_that_is_not_finite_stops_and_names_the_last_good_checkpoint(tmp_path: Path) -> None:
    tiny_generator("stylegan2").train(heads(), 2, tmp_path / "m")
    wild = tiny_generator("stylegan2", rate_scale=1e30, log_every=1)
    with pytest.raises(GeneratorError, match=r"not finite.*The last good checkpoint is checkpoints/step-000000002"):
        wild.train(heads(), 9, tmp_path / "m", resume=True)
    assert json.loads((tmp_path / "m" / "checkpoints" / "step-000000002" / "state.json").read_text())["step"] == 2


def test_resuming_with_other_settings_names_them_and_the_rescue_settings_may_change(tmp_path: Path) -> None:
    tiny_generator("stylegan2").train(heads(), 2, tmp_path / "m")
    with pytest.raises(GeneratorError, match="differs in: network"):
        tiny_generator("stylegan2", network={"mixing": 0.0}).train(heads(), 4, tmp_path / "m", resume=True)
    with pytest.raises(GeneratorError, match="differs in: training"):
        tiny_generator("stylegan2", augment="medical").train(heads(), 4, tmp_path / "m", resume=True)
    with pytest.raises(GeneratorError, match="--resume"):
        tiny_generator("stylegan2").train(heads(), 4, tmp_path / "m")
    tiny_generator("stylegan2", rate_scale=0.5, precision="bf16").train(heads(), 4, tmp_path / "m", resume=True)


def test_the_best_checkpoint_is_the_judges(tmp_path: Path) -> None:
    callbacks = Callbacks(judge=lambda step, sampler: abs(step - 4), judge_name="FD")
    made = tiny_generator("stylegan3", checkpoint_every=2, keep_last=1)
    made.train(heads(), 8, tmp_path / "m", callbacks=callbacks)
    best = checkpoint.best(tmp_path / "m")
    assert best is not None
    assert best.name.endswith("4")
    assert Gan.open(tmp_path / "m", device="cpu").weights != Gan.open(tmp_path / "m", which="last").weights


def test_truncation_pulls_images_together_and_has_no_meaning_elsewhere(tmp_path: Path) -> None:
    tiny_generator("stylegan2").train(heads(), 2, tmp_path / "s")
    free, mean = (Gan.open(tmp_path / "s", sampling=GanSampling(truncation=psi), device="cpu") for psi in (1, 0))
    spread = [np.concatenate(list(made.sample(range(8)))).std(0).mean() for made in (free, mean)]
    assert spread[1] < spread[0]
    tiny_generator("progan").train(heads(), 2, tmp_path / "p")
    tiny_generator("diffusion").train(heads(), 2, tmp_path / "d")
    with pytest.raises(SettingsError, match="no styles to truncate"):
        open_model(tmp_path / "p", device="cpu", truncation=0.7)
    with pytest.raises(SettingsError, match="--truncation has no meaning for diffusion"):
        open_model(tmp_path / "d", device="cpu", truncation=0.7)
    with pytest.raises(SettingsError, match="--sampler, --sampling-steps has no meaning for stylegan2"):
        open_model(tmp_path / "s", device="cpu", sampler="ddim", steps=3)


_TOGETHER = """
import sys, torch
torch.set_num_threads(1)
sys.path[:0] = {paths!r}
from pathlib import Path
from training_helpers import GANS, heads, tiny_generator
for name in GANS:
    tiny_generator(name, network={{"group": 1}}, log_every=1).train(heads(), 6, Path(sys.argv[1]) / name)
"""


@pytest.mark.slow
def test_two_processes_learn_what_one_learns(tmp_path: Path) -> None:
    """Also with lazy penalties. Minibatch statistics, which each process takes of its own images, are off."""
    script = tmp_path / "train.py"
    script.write_text(_TOGETHER.format(paths=[str(Path(__file__).parent.parent)]))
    launch = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2", "--standalone"]
    done = subprocess.run(
        [*launch, str(script), str(tmp_path / "two")], capture_output=True, text=True, timeout=240, check=False
    )
    assert done.returncode == 0, done.stderr[-2000:]
    for name in GANS:
        tiny_generator(name, network={"group": 1}, log_every=1).train(heads(), 6, tmp_path / "one" / name)
        one, two = everything_in(tmp_path / "one" / name), everything_in(tmp_path / "two" / name)
        assert nearly(one, two), name
        tiny_generator(name, network={"group": 1}, seed=1).train(heads(), 6, tmp_path / "other" / name)
        assert not nearly(one, everything_in(tmp_path / "other" / name)), "the comparison can tell trainings apart"
        steps = zip(curve(tmp_path / "one" / name), curve(tmp_path / "two" / name), strict=True)
        for row, other in steps:
            assert row.keys() == other.keys()
            assert row["level"] == other["level"]
        tiny_generator(name, network={"group": 1}, log_every=1).train(heads(), 8, tmp_path / "two" / name, resume=True)
        assert curve(tmp_path / "two" / name)[-1]["step"] == 8, "one process goes on from what two began"
