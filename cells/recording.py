"""Captures of runs: find one to show, or record a user's own program."""

from __future__ import annotations

import json
import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from cells import runs
from core import store
from core.errors import UnderTest, UserError, nearest
from dataflow import check, show
from dataflow.show import Shown
from guest import initramfs, plan
from guest.guests import CAPTURES
from kernel import kernels
from kernel.cell import Cell


@dataclass(frozen=True)
class Recorded:
    """A program that was recorded."""

    folder: Path
    shown: Shown
    summary: str


def find(run: str) -> Path:
    """The directory of a run.

    Args:
        run: its name or path; the latest run with captures if empty.

    Raises:
        UserError: there is none.
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
    raise UserError(f"there is no run {run}{nearest(run, known)}")


def prepare(run: str, workload: str) -> Shown:
    """Open a capture of a run, with the kernel that made it.

    Args:
        workload: the capture's name; needed if the run has several.

    Raises:
        UserError: there is no such run or capture, or its kernel is gone from the store.
    """
    folder = find(run) / CAPTURES
    names = sorted(p.stem for p in folder.glob("*.words"))
    if not workload and len(names) == 1:
        workload = names[0]
    if workload not in names:
        raise UserError(f"{folder.parent} has {', '.join(names) or 'no captures'}", "name one with --workload")
    try:
        key = str(json.loads((folder / f"{workload}.json").read_text())["kernel"])
    except (ValueError, KeyError, TypeError, RecursionError, OSError) as error:
        raise UserError(f"{folder / workload}.json does not name its kernel: {error}") from None
    kernel = store.product("kernel", key)
    if kernel is None:
        raise UserError(
            f"the kernel {key[:16]} of this capture is no longer in the store", "build and capture it again"
        )
    return show.prepare(folder / f"{workload}.words", kernel.path)


def program(line: str) -> tuple[Path, tuple[str, ...]]:
    """A program and its arguments, from what the user wrote.

    Raises:
        UserError: it is not there or is no static ELF program.
    """
    words = shlex.split(line)
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
    where: str,
    path: Path,
    arguments: Sequence[str],
    *,
    words: int,
    install: bool = True,
    guard: bool = True,
) -> Recorded:
    """Build a kernel, run a program in it while it records, and open the capture.

    Args:
        words: size of the buffer.

    Raises:
        UnderTest: the guest failed, has no recording device, or recorded nothing.
    """
    todo = plan.draw(["exec"], words=words, arguments=arguments)
    kernel = kernels.build(cell, where, install=install, guard=guard)
    folder = runs.new_folder(f"exec-{path.name}-{cell.profile}-{cell.base}")
    booted = runs.boot(cell, kernel, where, todo, folder, install=install, program=path)
    booted.verdict.require(booted.outcome.console)
    check.require_device(booted.outcome.said.hello)
    if not (folder / CAPTURES / "exec.words").is_file():
        raise UnderTest("the program ran, but no buffer came back", "read the console", booted.outcome.console)
    shown = show.prepare(folder / CAPTURES / "exec.words", kernel.path)
    if not shown.calls:
        raise UnderTest(
            "nothing was recorded: the program ran through no instrumented function",
            "instrument more: --profile all, or --instrument with what it calls",
            booted.outcome.console,
        )
    status = shown.capture.facts.get("exit", "unknown")
    dropped = shown.capture.dropped or 0
    return Recorded(
        folder,
        shown,
        f"{len(shown.calls)} calls, {dropped} records dropped, the program ended with {status}\n{folder}",
    )
