"""Rows of a table of timings on a device: warmed up, measured for some seconds, and printed whatever happens."""

from __future__ import annotations

import gc
import math
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch

MOST_STEPS = 512  # of a row
PATIENCE = 3  # times its seconds that a row may take for a whole cycle


@dataclass(frozen=True)
class Work:
    """Something to measure: a step, steps until all that comes now and then has come, and what to do first."""

    step: Callable[[], object]
    cycle: int = 1
    warm_up: Callable[[], object] | None = None  # None: the step itself


@dataclass(frozen=True)
class Row:
    """One line of the table; numbers are None where the row could not be measured, and the note says why."""

    part: str
    what: str
    precision: str
    images: int  # a step
    steps: int = 0
    milliseconds_per_step: float | None = None
    images_per_second: float | None = None
    seconds_per_kimg: float | None = None
    peak_gib: float | None = None
    note: str = ""

    def line(self) -> str:
        """Return the row as it is printed."""
        numbers = (
            (self.milliseconds_per_step, 11, 1),
            (self.images_per_second, 11, 1),
            (self.seconds_per_kimg, 10, 2),
            (self.peak_gib, 9, 2),
        )
        shown = "".join(
            f"{'-' if value is None else f'{value:,.{digits}f}':>{wide}}" for value, wide, digits in numbers
        )
        return f"{self.part:<10} {self.what:<34} {self.precision:<5}{self.images:>8}{shown}  {self.note}".rstrip()


HEADER = (
    f"{'part':<10} {'what':<34} {'':<5}{'images':>8}{'ms/step':>11}{'images/s':>11}{'s/kimg':>10}{'peak GiB':>9}  note"
)


@dataclass
class Bench:
    """Measures rows, one after the other, and prints each as soon as it is there."""

    device: torch.device
    seconds: float  # a row
    until: float = math.inf  # time.monotonic() after which no row is begun
    rows: list[Row] = field(default_factory=list)
    failed: int = 0

    def row(self, what: tuple[str, str, str], images: int, make: Callable[[], Work], *, may_fail: bool = False) -> Row:
        """Measure one row.

        Args:
            what: Part, name and precision.
            images: Of a step.
            make: Makes ready what is measured; its memory counts, its time does not.
            may_fail: Something optional: why it could not be done is printed, and is no failure.
        """
        numbers: dict[str, Any] = {}
        if self.device.type == "cuda":
            gc.collect()  # else what the row before left would count
            torch.cuda.empty_cache()
            torch.cuda.reset_peak_memory_stats()
        if time.monotonic() > self.until:
            numbers["note"] = "no time left"
        else:
            try:
                numbers = self._measured(make(), images)
            except Exception as error:
                said = (str(error).strip().splitlines() or [""])[0]
                if isinstance(error, torch.cuda.OutOfMemoryError) or "ALLOC_FAILED" in said:
                    numbers["note"] = "out of memory"
                else:
                    self.failed += not may_fail
                    numbers["note"] = f"failed: {type(error).__name__}: {said[:100]}"
        found = Row(*what, images, **numbers)
        self.rows.append(found)
        print(found.line(), flush=True)
        return found

    def _measured(self, work: Work, images: int) -> dict[str, Any]:
        (work.warm_up or work.step)()
        once = self._time(work.step, 1)
        steps, seconds, note = 1, once, ""
        if once * work.cycle > PATIENCE * self.seconds:
            wanted = int(PATIENCE * self.seconds / once)
            note = "not a whole cycle of penalties: too slow" if work.cycle > 1 else ""
        else:
            cycles = min(math.ceil(self.seconds / (once * work.cycle)), max(1, MOST_STEPS // work.cycle))
            wanted = cycles * work.cycle
        if once < self.seconds and wanted > 0:
            steps, seconds = wanted, self._time(work.step, wanted)
        peak = torch.cuda.max_memory_allocated() / 2**30 if self.device.type == "cuda" else None
        return {
            "steps": steps,
            "milliseconds_per_step": 1000 * seconds / steps,
            "images_per_second": steps * images / seconds,
            "seconds_per_kimg": 1000 * seconds / steps / images,
            "peak_gib": peak,
            "note": note,
        }

    def _time(self, step: Callable[[], object], steps: int) -> float:
        self._wait()
        begun = time.perf_counter()
        for _ in range(steps):
            step()
        self._wait()
        return time.perf_counter() - begun

    def _wait(self) -> None:
        if self.device.type == "cuda":
            torch.cuda.synchronize()
