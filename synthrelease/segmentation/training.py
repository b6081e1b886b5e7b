"""One segmenter's training: it goes on to the bit wherever it stopped, stops when told to, and says what went wrong.

What step s does depends on the weights before it, on the seed and on s alone. A checkpoint holds weights, their
average, the optimiser and the record of validations.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, closing, contextmanager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import Tensor, nn

from synthrelease import seeds as randomness
from synthrelease import store
from synthrelease.errors import SegmentationError
from synthrelease.progress import SILENT, Progress
from synthrelease.segmentation.augmentation import AugmentSettings
from synthrelease.segmentation.feed import MixedFeed
from synthrelease.segmentation.loss import deep_loss
from synthrelease.segmentation.mixing import Mix
from synthrelease.segmentation.model_folder import Model, begin_or_resume, write_model
from synthrelease.segmentation.networks import Segmenter, built
from synthrelease.segmentation.recipe import SegmenterTraining, rate_at
from synthrelease.segmentation.scoring import validation_dice
from synthrelease.training import checkpoint as saved
from synthrelease.training.ema import averaged_copy, update_average, warmed_decay
from synthrelease.training.running import (
    Processes,
    StopRequest,
    autocast,
    average_gradients,
    choose_device,
    in_any,
    processes,
    stop_requests,
)
from synthrelease.training.training_log import TrainingLog

NETWORK, AVERAGE = "segmenter", "segmenter-average"
LOSS_METRIC = "1 - validation Dice"
_NOTHING_YET = -1.0  # below any Dice


@dataclass
class Validations:
    """What validations said so far; checkpoints keep it, so that a resumed training stops where it would have."""

    best: float = _NOTHING_YET
    stale: int = 0  # validations since the last gain
    latest: float | None = None
    finished: bool = False  # early stopping ended the training

    def add(self, value: float, training: SegmenterTraining) -> None:
        """Take in one validation and decide whether it was the last."""
        self.latest = value
        if value > self.best + (training.min_gain if self.best >= 0 else 0):
            self.best, self.stale = value, 0
        else:
            self.stale += 1
        self.finished = training.patience > 0 and self.stale >= training.patience


@dataclass
class Learner:
    """Network, optimiser and position of one training."""

    training: SegmenterTraining
    together: Processes
    network: Segmenter
    average: Segmenter | None
    optimiser: torch.optim.Optimizer
    scaler: torch.amp.GradScaler
    step: int = 0
    validations: Validations = field(default_factory=Validations)

    @classmethod
    def new(cls, model: Model, training: SegmenterTraining, together: Processes) -> Learner:
        """Return a learner at step 0; the same seed gives the same weights in every process."""
        seed = int(randomness.named(training.seed, "weights").integers(2**63))
        reader = model.reader
        made = built(model.network, contrasts=len(reader.contrasts), classes=reader.labels.classes, seed=seed)
        network = made.to(together.device).train()
        average = averaged_copy(network) if training.average_decay else None
        scaler = torch.amp.GradScaler(together.device.type, enabled=training.precision == "fp16")
        return cls(training, together, network, average, _optimiser(network, training), scaler)

    @property
    def used(self) -> Segmenter:
        """The network that is validated and used."""
        return self.network if self.average is None else self.average

    def learn(self, images: Tensor, labels: Tensor) -> Tensor:
        """Take the next step and return the whole batch's loss, on the device."""
        device, training = self.together.device, self.training
        for group in self.optimiser.param_groups:
            group["lr"] = rate_at(self.step, training)
        with self._random(device):
            with autocast(device, training.precision):
                outputs = self.network.outputs(images.to(device, non_blocking=True))
            loss, value = deep_loss(
                outputs,
                labels.to(device, non_blocking=True),
                background=training.background,
                total=self.together.total,
                world=self.together.world,
            )
            self.scaler.scale(loss).backward()  # type: ignore[no-untyped-call]
        average_gradients(self.network.parameters(), self.together)
        if training.clip_norm:
            self.scaler.unscale_(self.optimiser)
            nn.utils.clip_grad_norm_(self.network.parameters(), training.clip_norm)
        self.scaler.step(self.optimiser)
        self.scaler.update()
        self.optimiser.zero_grad(set_to_none=True)
        self.step += 1
        if self.average is not None:
            update_average(self.average, self.network, warmed_decay(training.average_decay, self.step))
        return value

    @contextmanager
    def _random(self, device: torch.device) -> Iterator[None]:
        """Make the network's own draws a function of seed, step and process."""
        if not self.network.is_random:
            yield
            return
        number = randomness.named(self.training.seed, "skipped blocks", self.step, self.together.rank)
        with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
            torch.manual_seed(int(number.integers(2**63)))
            yield

    def checkpoint(self) -> saved.Checkpoint:
        """Return all that the next step depends on."""
        networks = {NETWORK: self.network.state_dict()}
        if self.average is not None:
            networks[AVERAGE] = self.average.state_dict()
        scalars = {"scaler": self.scaler.state_dict(), "validations": vars(self.validations)}
        return saved.Checkpoint(self.step, networks, {NETWORK: self.optimiser.state_dict()}, scalars)

    def restore(self, checkpoint: saved.Checkpoint) -> None:
        """Go on from a checkpoint."""
        saved.restore(self.network, checkpoint.networks[NETWORK], name=NETWORK)
        if self.average is not None:
            saved.restore(self.average, checkpoint.networks[AVERAGE], name=AVERAGE)
        self.optimiser.load_state_dict(dict(checkpoint.optimisers[NETWORK]))
        if self.scaler.is_enabled() and checkpoint.scalars["scaler"]:
            self.scaler.load_state_dict(checkpoint.scalars["scaler"])
        self.validations = Validations(**checkpoint.scalars["validations"])
        self.step = checkpoint.step

    def is_finite(self) -> bool:
        """Return whether every weight is."""
        norms = torch._foreach_norm(list(self.used.parameters()))
        return bool(torch.isfinite(torch.stack(list(norms))).all())


def _optimiser(network: Segmenter, training: SegmenterTraining) -> torch.optim.Optimizer:
    if training.optimiser == "adamw":
        return torch.optim.AdamW(network.parameters(), lr=training.learning_rate, weight_decay=training.weight_decay)
    return torch.optim.SGD(
        network.parameters(),
        lr=training.learning_rate,
        momentum=training.momentum,
        nesterov=training.momentum > 0,
        weight_decay=training.weight_decay,
    )


@dataclass
class _Loop:
    """A learner and everything around it: log, validation, checkpoints, reasons to stop."""

    learner: Learner
    feed: MixedFeed
    model: Model
    mix: Mix
    folder: Path
    progress: Progress
    losses: list[tuple[int, Tensor]] = field(default_factory=list)
    since: float = field(default_factory=time.perf_counter)

    def run(self, stop: StopRequest) -> None:
        """Train until the last step, or until validation gains nothing any more."""
        learner, training, leads = self.learner, self.learner.training, self.learner.together.leads
        log = TrainingLog(self.folder, step=learner.step, board=training.tensorboard) if leads else None
        with (
            log or nullcontext(),
            self.progress.task("training (images)", training.steps * training.batch) as advance,
            closing(self.feed.batches(learner.step)) as batches,
        ):
            advance(learner.step * training.batch)
            while learner.step < training.steps and not learner.validations.finished:
                self.losses.append((learner.step + 1, learner.learn(*next(batches))))
                advance(training.batch)
                self._after_step(log, stop)

    def _after_step(self, log: TrainingLog | None, stop: StopRequest) -> None:
        learner, training = self.learner, self.learner.training
        asked = in_any(bool(stop), learner.together)
        validates = learner.step % training.validate_every == 0 or learner.step == training.steps
        saves = validates or asked
        if saves or learner.step % training.log_every == 0:
            self._report(log)
        if saves:
            self._save(log, validates=validates)
        if asked:
            self.progress.say(f"Stopped after step {learner.step}; `--resume` goes on from there.")
            raise KeyboardInterrupt

    def _report(self, log: TrainingLog | None) -> None:
        """Write the mean loss since the last line; raise if a loss was not finite."""
        values = torch.stack([loss for _, loss in self.losses]).float().cpu()
        broken = (~torch.isfinite(values)).nonzero()
        if in_any(len(broken) > 0, self.learner.together):
            step = self.losses[int(broken[0])][0] if len(broken) else self.learner.step
            raise self._failure(f"The loss is not finite at step {step}")
        training, step = self.learner.training, self.learner.step
        pace = len(values) * training.batch / max(time.perf_counter() - self.since, 1e-9)
        if log is not None:
            rate = rate_at(step - 1, training)
            log.row(step, {"loss": float(values.mean()), "learning_rate": rate, "images_per_second": pace})
        self.losses, self.since = [], time.perf_counter()

    def _save(self, log: TrainingLog | None, *, validates: bool) -> None:
        learner = self.learner
        if in_any(not learner.is_finite(), learner.together):
            raise self._failure(f"A weight is not finite after step {learner.step}")
        if validates:
            value = self._validated()
            learner.validations.add(value, learner.training)
            if log is not None:
                log.row(learner.step, {"validation_dice": value})
            if learner.validations.finished:
                count, gain = learner.training.patience, learner.training.min_gain
                self.progress.say(
                    f"Stopped after step {learner.step}: {count} validations without a gain of {gain:g} in Dice."
                )
        if learner.together.leads:
            path = saved.save(self.folder, learner.checkpoint(), keep_last=learner.training.keep_last)
            if validates:
                mark(self.folder, path, learner.validations)
        self.since = time.perf_counter()

    def _validated(self) -> float:
        """Return the validation Dice in every process; the leading one measures it."""
        value, together = 0.0, self.learner.together
        if together.leads:
            value = validation_dice(
                self.learner.used,
                self.mix.validation,
                by_subject=self.mix.by_subject,
                reader=self.model.reader,
                device=together.device,
            )
        return float(together.total(torch.tensor(value, dtype=torch.float64)))

    def _failure(self, what: str) -> SegmentationError:
        good = saved.latest(self.folder)
        where = f"The last good checkpoint is {good.name}" if good else "No checkpoint was written yet"
        return SegmentationError(
            f"{what}: the training is stopped. {where}.",
            "Train with a lower learning rate, clipped gradients, or precision none or bf16.",
        )


def mark(folder: Path, path: Path, validations: Validations) -> None:
    """Mark a checkpoint as the best if its validation says so; said again on resuming, in case a crash came between."""
    if validations.latest is not None:
        saved.mark_best(folder, path, metric=LOSS_METRIC, value=1 - validations.latest)


def train_segmenter(
    folder: Path,
    mix: Mix,
    model: Model,
    training: SegmenterTraining,
    *,
    augment: AugmentSettings | None = None,
    device: str = "auto",
    resume: bool = False,
    progress: Progress = SILENT,
) -> bool:
    """Train a segmenter into a folder and return whether this process is the one that writes.

    Args:
        folder: `SEGMENTER.json`, `checkpoints/`, `scalars.jsonl`, `best.json`.
        mix: What it sees, and what chooses its checkpoint.
        model: Network, contrasts, size and labels.
        training: How it learns.
        augment: None trains on images as they are.
        device: auto, cpu, cuda or cuda:N. Under torchrun each process takes a share of each batch.
        resume: Go on from the newest checkpoint in ``folder``, of the same training.
        progress: Hears of every step.

    Raises:
        SegmentationError: The folder holds a training already, or another one; or numbers went wrong.
        KeyboardInterrupt: Stopped by Ctrl-C or SIGTERM, after writing a checkpoint.
    """
    with processes(choose_device(device)) as together, stop_requests() as stop, _alone(folder, together):
        described = model.described(mix, training, augment)
        path = begin_or_resume(folder, described, resume=resume)
        learner = Learner.new(model, training, together)
        feed = MixedFeed(
            mix,
            model.reader,
            batch=training.batch,
            seed=training.seed,
            augment=augment,
            rank=together.rank,
            world=together.world,
            memory=training.memory_mib * 2**20,
            workers=training.workers,
        )
        with closing(feed):
            if together.leads:
                write_model(folder, described)
            if path is not None:
                learner.restore(saved.load(path))
                if together.leads and learner.validations.latest is not None and _is_validation(learner):
                    mark(folder, path, learner.validations)
            _Loop(learner, feed, model, mix, folder, progress if together.leads else SILENT).run(stop)
    return together.leads


def _is_validation(learner: Learner) -> bool:
    """Say whether the checkpoint that a learner stands at was validated itself."""
    return learner.step % learner.training.validate_every == 0 or learner.step == learner.training.steps


def _alone(folder: Path, together: Processes) -> AbstractContextManager[object]:
    return store.one_writer(folder) if together.leads else nullcontext()
