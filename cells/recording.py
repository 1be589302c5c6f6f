"""Find the capture of a run to show, or record a user's own program.

Takes the name of a run, or a cell and a static program. Gives an opened capture with the kernel that made it.
"""

from __future__ import annotations

import json
import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from cells import runs
from core import outside, store
from core.errors import UnderTest, UserError, nearest
from core.runtime import Runtime
from dataflow import checks, listing
from dataflow.listing import Shown
from guest import initramfs, plan
from guest.guests import CAPTURES
from kernel import built, kernels
from kernel.cell import Cell


@dataclass(frozen=True)
class Recorded:
    """The result of recording a program."""

    folder: Path
    shown: Shown
    summary: str


def find(run: str) -> Path:
    """Return the directory of a run.

    Args:
        run: name or path of the run; the latest run with captures if empty.

    Raises:
        UserError: there is no such run with captures.
    """
    folders = store.home() / "runs"
    known = sorted(p.name for p in folders.iterdir() if (p / CAPTURES).is_dir()) if folders.is_dir() else []
    if not run:
        if not known:
            raise UserError("nothing was captured yet", "run ./invoke kernel.run --profile all --base tiny")
        return folders / known[-1]
    for folder in (Path(run), folders / run):
        if (folder / CAPTURES).is_dir():
            return folder
    raise UserError(f"there is no run {run} with captures{nearest(run, known)}")


def prepare(run: str, workload: str) -> Shown:
    """Open a capture of a run, with the kernel that made it.

    Args:
        run: name or path of the run; the latest run with captures if empty.
        workload: name of the capture; needed if the run has several.

    Raises:
        UserError: there is no such run or capture, or its kernel is no longer in the store.
    """
    folder = find(run) / CAPTURES
    names = sorted(p.stem for p in folder.glob("*.words"))
    if not workload and len(names) == 1:
        workload = names[0]
    if workload not in names:
        raise UserError(f"{folder.parent} has {', '.join(names) or 'no captures'}", "choose one with --workload")
    try:
        key = str(json.loads((folder / f"{workload}.json").read_text())["kernel"])
    except (ValueError, KeyError, TypeError, RecursionError, OSError) as error:
        raise UserError(f"{folder / workload}.json does not name its kernel: {error}") from None
    kernel = built.by_key(key)
    if kernel is None:
        raise UserError(
            f"the kernel {key[:16]} of this capture is no longer in the store", "build and capture it again"
        )
    return listing.prepare(folder / f"{workload}.words", kernel.path)


def program(line: str) -> tuple[Path, tuple[str, ...]]:
    """Split a command line into a program and its arguments.

    Raises:
        UserError: the program is missing or is not a static ELF program.
    """
    try:
        words = shlex.split(line)
    except ValueError as error:
        raise UserError(
            f"the command line {outside.shortened(line, 60)} is not complete: {error}", "close its quotes"
        ) from None
    if not words:
        raise UserError("name a program with --exec", "it must be linked statically: cc -static")
    path = Path(words[0])
    if not path.is_file():
        raise UserError(f"there is no program {path}")
    if why := initramfs.lacking(path):
        raise UserError(f"{path} {why}", "link it statically: cc -static")
    return path, tuple(words[1:])


def record(
    cell: Cell,
    runtime: Runtime,
    path: Path,
    arguments: Sequence[str],
    *,
    words: int,
    guard: bool = True,
) -> Recorded:
    """Build a kernel, record a program in it, and open the capture.

    Args:
        words: size of the buffer, 64-bit words.

    Raises:
        UnderTest: the guest failed, has no recording device, or recorded nothing.
    """
    todo = plan.draw(["exec"], words=words, arguments=arguments)
    kernel = kernels.build(cell, runtime, guard=guard)
    folder = runs.new_folder(f"exec-{path.name}-{cell.profile.name}-{cell.names.base}")
    booted = runs.boot(cell, kernel, runtime, todo, folder, program=path)
    booted.verdict.require(booted.outcome.console)
    checks.require_device(booted.outcome.said.hello)
    if not (folder / CAPTURES / "exec.words").is_file():
        raise UnderTest("the program ran, but the guest sent no buffer", "read the console", booted.outcome.console)
    shown = listing.prepare(folder / CAPTURES / "exec.words", kernel.path)
    if not shown.calls:
        raise UnderTest(
            "nothing was recorded: the program did not call any instrumented function",
            "instrument more: use --profile all, or --instrument with the objects that it calls",
            booted.outcome.console,
        )
    status = shown.capture.facts.get("exit", "unknown")
    dropped = shown.capture.dropped or 0
    return Recorded(
        folder,
        shown,
        f"{len(shown.calls)} calls, {dropped} records dropped, the program ended with {status}\n{folder}",
    )
