"""`synthrelease study`: a whole grid of generators and segmenters from one file, resumable, with one report."""

from __future__ import annotations

import json
import os
import shlex
import textwrap
from collections import Counter
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from synthrelease.cli import printable
from synthrelease.cli.console import ConsoleProgress
from synthrelease.cli.setting import largest
from synthrelease.errors import ExitCode
from synthrelease.study_records import Interval, StudyRecord

if TYPE_CHECKING:
    from synthrelease.grid.places import JobState
    from synthrelease.grid.reporting import Left, Planned
    from synthrelease.grid.running import Outcome

A100 = 32.0  # 10^12 operations a second; see `plan`
_FILE = click.argument("file", type=click.Path(path_type=Path))


@click.group("study")
def command() -> None:
    """Run a whole study: generators, segmenters, quality, audit and decision, over seeds.

    FILE is a study.toml: data sets, generators and segmenters by name, and the grid that is made of them. See
    examples/tiny_study.toml (minutes on a CPU) and examples/brats_study.toml (the reference study, GPU months).

    \b
    synthrelease study plan study.toml
    synthrelease study run study.toml
    synthrelease study status study.toml
    synthrelease study report study.toml
    """


@command.command("plan")
@_FILE
@click.option(
    "--tflops",
    type=click.FloatRange(min=0, min_open=True),
    default=A100,
    show_default=True,
    help="What your GPU does, 10^12 operations a second.",
)
@click.option("--all", "every", is_flag=True, help="List every job.")
@click.option("--json", "as_json", is_flag=True, help="Print jobs and costs on stdout as JSON.")
def plan(file: Path, tflops: float, every: bool, as_json: bool) -> None:
    """Show the grid and what it will cost; needs no data and no GPU, and runs nothing.

    Operations are counted on the networks themselves. GPU hours follow from --tflops: StyleGAN 2 at 256 px takes
    12.5 s per thousand images on an A100 in its authors' table, which is 32 TFLOP/s by this count. Regularisers,
    validation, audits and waiting for disks come on top.

    \b
    synthrelease study plan study.toml --tflops 60
    """
    from synthrelease.grid.reporting import planned

    found = planned(file)
    click.echo(json.dumps(_plan_document(found, tflops), indent=1) if as_json else _plan_text(found, tflops, every))


def _plan_document(found: Planned, tflops: float) -> dict[str, Any]:
    from synthrelease.grid.cost import hours

    return {
        "name": found.settings.name,
        "tflops": tflops,
        "jobs": [
            {
                "job": job.name,
                "needs": job.needs,
                **(asdict(cost) if (cost := found.costs.get(job.name)) else {}),
                **({"gpu_hours": hours(cost.operations, tflops)} if cost else {}),
            }
            for job in found.jobs
        ],
    }


def _plan_text(found: Planned, tflops: float, every: bool) -> str:
    from synthrelease.grid.cost import hours, total

    settings, grid = found.settings, found.settings.grid
    lines = [f"{settings.name}: {len(found.jobs)} jobs", ""]
    lines += [
        f"  data        {', '.join(settings.data)}",
        f"  generators  {', '.join(settings.generators) or 'none'}",
        f"  segmenters  {', '.join(settings.segmenters) or 'none'}",
        f"  trained on  {', '.join(grid.train_on)}",
        f"  augmented   {', '.join('yes' if augmented else 'no' for augmented in grid.augmented)}",
        f"  seeds       {grid.seeds}",
    ]
    if grid.sweep:
        lines.append(f"  sweep       {', '.join(f'{share:g}' for share in sorted(grid.sweep))} of the real subjects")
    lines += ["", f"  {'':<10}{'jobs':>6}{'operations':>14}{'GPU hours':>12}{'disk':>10}"]
    for verb, (count, cost) in found.by_verb().items():
        known = cost.operations > 0
        lines.append(
            f"  {verb:<10}{count:>6}{_operations(cost.operations) if known else '-':>14}"
            f"{_hours(hours(cost.operations, tflops)) if known else '-':>12}{_bytes(cost.bytes) if known else '-':>10}"
        )
    together = total(list(found.costs.values()))
    lines.append(
        f"  {'together':<10}{len(found.jobs):>6}{_operations(together.operations):>14}"
        f"{_hours(hours(together.operations, tflops)):>12}{_bytes(together.bytes):>10}"
    )
    lines += [
        "",
        f"GPU hours at {tflops:g} TFLOP/s. Not counted: regularisers, validation, audits, disks;",
        "growing generators see most images at lower resolutions and take less.",
    ]
    if every:
        lines += ["", *(f"  {job.name}" for job in found.jobs)]
    return printable("\n".join(lines))


def _operations(count: float) -> str:
    for scale, unit in ((1e18, "E"), (1e15, "P"), (1e12, "T")):
        if count >= scale:
            return f"{_rounded(count / scale)} {unit}FLOP"
    return f"{count / 1e9:.3g} GFLOP"


def _rounded(number: float) -> str:
    return f"{number:,.0f}" if number >= 100 else f"{number:.3g}"


def _hours(count: float) -> str:
    return f"{count:,.0f}" if count >= 10 else f"{count:.2g}" if count >= 0.01 else "< 0.01"


def _bytes(count: float) -> str:
    for scale, unit in ((1e12, "TB"), (1e9, "GB"), (1e6, "MB")):
        if count >= scale:
            return f"{_rounded(count / scale)} {unit}"
    return "-" if count == 0 else f"{count / 1e3:.3g} kB"


@command.command("run")
@_FILE
@click.option(
    "--device",
    "devices",
    multiple=True,
    default=("auto",),
    show_default=True,
    help="auto, cpu, cuda or cuda:N; repeat it to run jobs side by side, one per device.",
)
@click.option("--only", multiple=True, help="Pattern of job names, e.g. 'train/*'; what they need is made too.")
@click.option("--no-report", is_flag=True, help="Do not write the report at the end.")
@largest
@click.option("--json", "as_json", is_flag=True, help="Print what was done on stdout as JSON.")
def run(file: Path, devices: tuple[str, ...], only: tuple[str, ...], no_report: bool, as_json: bool) -> int:
    """Do every job that has no result yet.

    Run it again after any interruption: finished jobs are skipped, trainings go on from their checkpoints, and
    failed jobs are tried again. A failed job stops only those that need it. The exit code is 1 if one failed.

    \b
    synthrelease study run study.toml
    synthrelease study run study.toml --device cuda:0 --device cuda:1
    synthrelease study run study.toml --only 'segment/*/unet/*'
    """
    from synthrelease.grid.reporting import report as write
    from synthrelease.grid.running import run as do

    outcome = do(file, devices=devices, only=only, progress=ConsoleProgress())
    record, folder = (None, None) if no_report else write(file)
    if as_json:
        page = None if folder is None else str(folder / "study.html")
        click.echo(json.dumps({**asdict(outcome), "report": page}, indent=1, default=list))
    else:
        click.echo(_outcome_text(outcome, file))
        if record is not None and folder is not None:
            click.echo("\n" + _report_text(record, folder))
    return ExitCode.FIXABLE if outcome.failed else ExitCode.DONE


def _outcome_text(outcome: Outcome, file: Path) -> str:
    lines = [f"{len(outcome.made)} jobs done, {len(outcome.failed)} failed, {outcome.left} of the study left."]
    lines += [f"  failed: {name}: {problem}" for name, problem in outcome.failed.items()]
    if outcome.blocked:
        lines.append(f"  {len(outcome.blocked)} more need what failed.")
    if outcome.failed:
        lines.append(f"Run it again after mending the cause; see `synthrelease study status {shlex.quote(str(file))}`.")
    return printable("\n".join(lines))


@command.command("status")
@_FILE
@click.option("--all", "every", is_flag=True, help="List every job.")
@click.option("--json", "as_json", is_flag=True, help="Print the state of every job on stdout as JSON.")
def status(file: Path, every: bool, as_json: bool) -> None:
    """Show what is built, what is left, and how long it may take.

    The time left goes by finished jobs of the same kind; where none has finished, nothing is guessed.

    \b
    synthrelease study status study.toml
    """
    from synthrelease.grid.reporting import status as look
    from synthrelease.grid.reporting import time_left

    states = look(file)
    if as_json:
        document = [
            {
                "job": state.place.job.name,
                "state": state.state,
                "reason": state.reason,
                "folder": state.place.folder.name,
                "seconds": state.place.seconds(),
            }
            for state in states
        ]
        click.echo(json.dumps({"jobs": document}, indent=1))
    else:
        click.echo(_status_text(states, time_left(states), every))


def _status_text(states: tuple[JobState, ...], left: dict[str, Left], every: bool) -> str:
    count = Counter(state.state for state in states)
    said = ", ".join(
        f"{count[name]} {name}" for name in ("finished", "started", "failed", "blocked", "waiting") if count[name]
    )
    lines = [f"{len(states)} jobs: {said}.", "", f"  {'':<10}{'finished':>12}{'time taken':>14}{'time left':>14}"]
    for verb, rest in left.items():
        own = [state for state in states if state.place.job.verb == verb]
        finished = sum(state.state == "finished" for state in own)
        taken = sum(state.place.seconds() for state in own)
        more = "" if not rest.unknown else "?" if rest.unknown == rest.jobs else "+ ?"
        time = " ".join(part for part in (_time(rest.seconds) if rest.seconds else "", more) if part) or "-"
        lines.append(f"  {verb:<10}{f'{finished} of {len(own)}':>12}{_time(taken):>14}{time:>14}")
    unknown = sum(rest.unknown for rest in left.values())
    if unknown:
        lines.append(f"\n? stands for {unknown} jobs of kinds of which none has finished yet.")
    failed = [state for state in states if state.state == "failed"]
    lines += ["", *(f"  failed: {state.place.job.name}: {state.reason}" for state in failed)] if failed else []
    if every:
        lines += ["", *(f"  {state.state:<9} {state.place.job.name}  {state.reason}".rstrip() for state in states)]
    return printable("\n".join(lines))


def _time(seconds: float) -> str:
    if seconds >= 36_000:
        return f"{seconds / 3600:,.0f} h"
    if seconds >= 600:
        return f"{seconds / 60:.0f} min"
    return f"{seconds:.0f} s"


@command.command("report")
@_FILE
@click.option("--out", type=click.Path(path_type=Path), help="Folder; default: report in the study's results.")
@click.option("--json", "as_json", is_flag=True, help="Print the record on stdout as JSON.")
def report(file: Path, out: Path | None, as_json: bool) -> None:
    """Write tables, ranks and figures of what is finished so far: study.html and study.json.

    \b
    synthrelease study report study.toml
    """
    from synthrelease.grid.reporting import report as write

    record, folder = write(file, out)
    click.echo(record.model_dump_json(indent=1) if as_json else _report_text(record, folder))


def _report_text(record: StudyRecord, folder: Path) -> str:
    lines = [f"{record.name}: {record.finished} of {record.jobs} jobs finished", ""]
    rows = [item for item in record.usefulness if item.real_fraction == 1]
    if rows:
        lines.append(f"  {'trained on':<32}{'Dice (95 %)':<24}relative")
    for item in rows:
        who = "real" if item.train_on == "real" else f"{item.generator}{' + real' if item.train_on == 'both' else ''}"
        name = f"{item.segmenter}: {who}{', augmented' if item.augmented else ''}"
        if len(record.generated) and len({row.data for row in rows}) > 1:
            name = f"{item.data}, {name}"
        if len(name) > 31:
            lines.append(f"  {name}")
            name = ""
        lines.append(f"  {name:<32}{_interval(item.regions[0].dice):<24}{_interval(item.relative_dice)}".rstrip())
    for made in record.generated:
        if made.verdict is not None:
            decided = f", decision {made.decision}" if made.decision else ""
            lines.append(f"  {made.data}, {made.generator}: audit {made.verdict}{decided}")
    if record.small:
        lines.append("")
    for text in record.small:
        lines += textwrap.wrap(text, 76, initial_indent="  ", subsequent_indent="    ")
    lines += ["", f"Report: {os.path.normpath(folder / 'study.html')}  (it stays inside)"]
    return printable("\n".join(lines))


def _interval(found: Interval | None) -> str:
    if found is None or found.value is None:
        return ""
    if found.low is None or found.high is None:
        return f"{found.value:.3f}"
    return f"{found.value:.3f} ({found.low:.3f}-{found.high:.3f})"
