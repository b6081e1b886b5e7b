"""One loop for everything that learns: scalars, sample grids, checkpoints, the memorisation screen, stopping.

What one step does is the learner's. What step s does depends on the weights before it, on the seed and on s alone, so
an interrupted training goes on from its checkpoint as if it had never stopped, on a CPU to the bit.
"""

from __future__ import annotations

import math
import statistics
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field
from torch import Tensor

from synthrelease.errors import GeneratorError
from synthrelease.generators.interface import Judge, Screen
from synthrelease.progress import SILENT, Progress
from synthrelease.settings import Settings
from synthrelease.training import checkpoint as saved
from synthrelease.training.running import Precision, Processes, StopRequest, from_leader, in_any
from synthrelease.training.training_log import TrainingLog, read_scalars

JUDGED = {"judged": 1.0}  # in the line of scalars.jsonl that ends a judging


class TrainingSettings(Settings):
    """How any generator learns; each kind adds what is its own."""

    seed: int = Field(default=0, ge=0, description="Of weights, order of images, noise")
    precision: Precision = Field(default="none", description="Arithmetic: none is 32 bits; bf16 on recent GPUs, fp16")
    accumulation: int = Field(default=1, ge=1, description="Parts a batch is cut into, where memory is short")
    log_every: int = Field(default=50, ge=1, description="Steps between lines in scalars.jsonl and NaN checks")
    checkpoint_every: int = Field(default=2000, ge=1, description="Steps between checkpoints")
    sample_every: int = Field(default=2000, ge=0, description="Steps between sample grids; 0 makes none")
    screen_kimg: float = Field(
        default=0, ge=0, description="Thousand images between looks for memorised ones; 0 never looks"
    )
    keep_last: int = Field(default=2, ge=1, description="Newest checkpoints that stay; the best one stays besides")
    grid: int = Field(default=16, ge=1, description="Images in a sample grid")
    memory_mib: int = Field(default=2048, ge=1, description="MiB of training images held at once")
    tensorboard: bool = Field(default=True, description="Also write for TensorBoard, where it is installed")


@dataclass(frozen=True)
class Callbacks:
    """What others look at while a model trains; generators know nothing of privacy or metrics."""

    progress: Progress = SILENT
    screen: Screen | None = None  # called every `screen_kimg` thousand images
    judge: Judge | None = None  # what the best checkpoint is best in; by default the learner's own measure, if any
    judge_name: str = "judge"


@dataclass(frozen=True)
class State:
    """What of a learner a checkpoint keeps."""

    networks: Mapping[str, Mapping[str, Tensor]]
    optimisers: Mapping[str, Mapping[str, Any]]
    scalars: Mapping[str, Any]


class Learner(Protocol):
    """One model that learns, step by step."""

    @property
    def step(self) -> int:
        """Steps taken."""

    @property
    def images(self) -> int:
        """Training images seen, by all processes together."""

    def learn(self) -> Mapping[str, Tensor | float]:
        """Take the next step and return its scalars, losses still on the device; those logged are means over steps."""

    def weights(self) -> Sequence[Tensor]:
        """Return every tensor that must stay finite."""

    def state(self) -> State:
        """Return all that the next step depends on."""

    def restore(self, checkpoint: saved.Checkpoint) -> None:
        """Go on from a checkpoint."""

    def sampler(self, seeds: Sequence[int]) -> Iterator[NDArray[np.uint8]]:
        """Yield what the averaged weights make of seeds, as it would be released: (k, c, r, r) uint8."""

    def own_measure(self) -> tuple[str, float] | None:
        """Return name and value of what the learner itself is best in, lower is better; None: it has no such thing."""

    def images_in(self, steps: int) -> int:
        """Return how many training images so many steps see, from the very first."""


@dataclass
class _Window:
    """Scalars since the last line of the log, left on the device until they are wanted."""

    entries: list[tuple[int, Mapping[str, Tensor | float]]] = field(default_factory=list)
    since: float = field(default_factory=time.perf_counter)
    images: int = 0

    def means(self) -> dict[str, float]:
        names = dict.fromkeys(name for _, values in self.entries for name in values)
        means = {}
        for name in names:
            found = [values[name] for _, values in self.entries if name in values]
            tensors = [value.detach().float() for value in found if isinstance(value, Tensor)]
            means[name] = float(torch.stack(tensors).mean()) if tensors else statistics.fmean(map(float, found))
        seconds = max(time.perf_counter() - self.since, 1e-9)
        return {**means, "images_per_second": self.images / seconds}

    def first_broken(self) -> int | None:
        """Return the first step with a scalar that is not finite."""
        for step, values in self.entries:
            if not all(math.isfinite(float(value)) for value in values.values()):
                return step
        return None


@dataclass
class Loop:
    """A learner, and everything around it."""

    learner: Learner
    training: TrainingSettings
    channels: Sequence[str]
    folder: Path
    together: Processes
    callbacks: Callbacks

    def run(self, steps: int, stop: StopRequest) -> None:
        """Train up to ``steps`` steps in all.

        Raises:
            GeneratorError: The loss or a weight stopped being finite.
            KeyboardInterrupt: Somebody asked to stop; a checkpoint was written.
        """
        total = self.learner.images_in(steps)
        with self._log() as log, self._progress.task("training (images)", total) as advance:
            advance(self.learner.images)
            self._judge_again(log)
            window = _Window()
            while self.learner.step < steps:
                before = self.learner.images
                values = self.learner.learn()
                window.entries.append((self.learner.step, values))
                window.images += self.learner.images - before
                advance(self.learner.images - before)
                if not self._after_step(log, window, before=before, steps=steps, stop=stop):
                    break
        if in_any(bool(stop), self.together):  # asked for while the last checkpoint was judged: whoever asked meant it
            raise KeyboardInterrupt

    def _after_step(self, log: Any, window: _Window, *, before: int, steps: int, stop: StopRequest) -> bool:
        """Log, sample, screen and save what is due; return whether to go on."""
        step, due = self.learner.step, self._due
        asked = in_any(bool(stop), self.together)
        every = self.training.screen_kimg * 1000
        looks = self.callbacks.screen is not None and every > 0 and self.learner.images // every > before // every
        saves = asked or step == steps or looks or due(self.training.checkpoint_every)
        if saves or due(self.training.log_every):
            self._report(log, window)
        if due(self.training.sample_every) and self.together.leads:
            log.grid(step, self._samples(self.training.grid), self.channels)
        clean = not looks or self._clean(log)
        if saves:
            self._save(log, clean=clean)
        if asked:
            self._progress.say(f"Stopped after step {step}; `--resume` goes on from there.")
            raise KeyboardInterrupt
        return clean

    def _due(self, every: int) -> bool:
        return every > 0 and self.learner.step % every == 0

    @property
    def _progress(self) -> Progress:
        return self.callbacks.progress if self.together.leads else SILENT

    def _log(self) -> Any:
        if not self.together.leads:
            return nullcontext(_NoLog())
        return TrainingLog(self.folder, step=self.learner.step, board=self.training.tensorboard)

    def _samples(self, count: int) -> NDArray[np.uint8]:
        return np.concatenate(list(self.learner.sampler(range(count))))

    def _report(self, log: Any, window: _Window) -> None:
        means = window.means()
        if in_any(not all(math.isfinite(value) for value in means.values()), self.together):
            step = window.first_broken() or self.learner.step
            raise self._failure(f"The loss is not finite at step {step}")
        log.row(self.learner.step, means)
        window.entries, window.since, window.images = [], time.perf_counter(), 0

    def _failure(self, what: str) -> GeneratorError:
        good = saved.latest(self.folder)
        where = f"The last good checkpoint is {saved.FOLDER}/{good.name}" if good else "No checkpoint was written yet"
        return GeneratorError(
            f"{what}: the training is stopped. {where}.",
            "Resume with a lower learning rate, with clipped gradients (diffusion), or with precision none or bf16.",
        )

    def _clean(self, log: Any) -> bool:
        """Have samples screened and say whether training may go on."""
        found = None
        if self.together.leads and self.callbacks.screen is not None:
            found = self.callbacks.screen(self.learner.step, self.learner.sampler)
            log.row(self.learner.step, dict(found.scalars))
        stops = from_leader(found is not None and found.stop, self.together)
        if stops and found is not None:
            self._progress.say(
                f"Stopped after step {self.learner.step} by the screen: {found.reason or 'no reason given'}."
            )
        return not stops

    def _save(self, log: Any, *, clean: bool) -> None:
        """Write a checkpoint, and mark it if it is the best so far; what the screen stopped is never the best."""
        norms = torch._foreach_norm(list(self.learner.weights()))
        if not bool(torch.isfinite(torch.stack(list(norms))).all()):
            raise self._failure(f"A weight is not finite after step {self.learner.step}")
        if not self.together.leads:
            return
        state = self.learner.state()
        path = saved.save(
            self.folder,
            saved.Checkpoint(self.learner.step, state.networks, state.optimisers, {**state.scalars, "clean": clean}),
            keep_last=self.training.keep_last,
        )
        self._judge(log, path, clean=clean)

    def _judge(self, log: Any, path: Path, *, clean: bool) -> None:
        name, value = self.callbacks.judge_name, math.nan
        if self.callbacks.judge is not None:
            value = self.callbacks.judge(self.learner.step, self.learner.sampler)
        elif (own := self.learner.own_measure()) is not None:
            name, value = own
        else:
            return
        if clean and math.isfinite(value):
            saved.mark_best(self.folder, path, metric=name, value=value)
        log.row(self.learner.step, {name: value, **JUDGED})  # last: it says that nothing of the judging is missing

    def _judge_again(self, log: Any) -> None:
        """Judge the checkpoint that a resumed training stands at, if a crash came between saving and judging it."""
        path = saved.latest(self.folder)
        if path is None or not self.together.leads:
            return
        rows = [row for row in read_scalars(self.folder) if row["step"] == self.learner.step]
        if not any(JUDGED.keys() <= row.keys() for row in rows):
            self._judge(log, path, clean=bool(saved.scalars_of(path).get("clean", True)))


class _NoLog:
    """The log of a process that does not write."""

    def row(self, step: int, values: Any) -> None:
        """Write nothing."""

    def grid(self, step: int, images: Any, channels: Any) -> None:
        """Write nothing."""
