"""Draw the plan of a run: the workloads of the agent and their values.

Draws every value that a workload passes to the kernel, so that a record cannot match it by chance. Records the seed, so
that a run can be repeated. Gives JSON for the host, and `key=value` lines for the agent.
"""

from __future__ import annotations

import json
import random
import secrets
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any

from core.errors import UserError, nearest
from guest.initramfs import MODULES_PATH, PROGRAM_PATH

VERSION = 1

# 1 Mi words (8 MiB): several times what `fork` needs with a fully instrumented kernel (see docs/guest.md).
DEFAULT_WORDS = 1 << 20
# The sizes that the device accepts: 2 to 16777216 words with K1, in whole pages of 512 words for mmap.
PAGE_WORDS = 512
MAX_WORDS = 1 << 24

# The agent's limits: PLAN_ROOM and MAX_LINES of agent/agent.c, MAX_ARGUMENTS of agent/workloads.c.
_MAX_BYTES = 65536
_MAX_LINES = 2048
_MAX_ARGUMENTS = 62

# Open flags that work on every file of a tmpfs and have the same value on x86-64 and arm64
# (include/uapi/asm-generic/fcntl.h; arm64 differs only in O_DIRECTORY, O_NOFOLLOW, O_DIRECT and O_LARGEFILE).
_O_CREAT = 0o100
_ACCESS = (0o1, 0o2)
_FREE_FLAGS = (0o200, 0o400, 0o1000, 0o2000, 0o4000, 0o2000000)  # EXCL, NOCTTY, TRUNC, APPEND, NONBLOCK, CLOEXEC

# pids: above those that a defconfig kernel uses while it boots, below pid_max of a small machine (32768).
_PIDS = range(2000, 30000)
# Modes: all twelve bits, so that no other open of a booted kernel has the same mode.
_MODES = range(0o1001, 0o7777)
_LETTERS = "abcdefghijklmnopqrstuvwxyz"


@dataclass(frozen=True)
class Work:
    """One workload with the values that were drawn for it.

    Attributes:
        name: a name that the agent knows.
        values: the values that the agent reads; each number is in its usual base.
        arguments: of the user's program.
    """

    name: str
    values: Mapping[str, str]
    arguments: tuple[str, ...] = ()

    def number(self, key: str) -> int:
        """Return a value as a number.

        Raises:
            KeyError: the plan has no such value.
        """
        return number(self.values[key])


@dataclass(frozen=True)
class Plan:
    """The workloads and modules of a guest.

    Attributes:
        seed: the seed of all draws.
        token: the token that the agent sends last.
        works: workloads, in the order in which they run.
        modules: paths in the guest, loaded before the first workload.
    """

    seed: str
    token: str
    works: tuple[Work, ...]
    modules: tuple[str, ...] = ()


def number(text: str) -> int:
    """Read a number of a plan or of facts: decimal, hexadecimal with 0x, or octal with a leading 0.

    Raises:
        ValueError: it is not a number.
    """
    digits = text.removeprefix("-")
    value = int(digits, 8) if len(digits) > 1 and digits[0] == "0" and digits[1] != "x" else int(digits, 0)
    return -value if text.startswith("-") else value


class _Draw:
    """Draws values; pids and modes never repeat within one plan."""

    def __init__(self, seed: str) -> None:
        self.random = random.Random(seed)  # noqa: S311  (repeatable on purpose; the seed itself is from `secrets`)
        self._pids: set[int] = set()
        self._modes: set[int] = set()

    def pid(self) -> str:
        return str(self._fresh(self._pids, _PIDS))

    def mode(self) -> str:
        return f"0{self._fresh(self._modes, _MODES):o}"

    def flags(self) -> str:
        chosen = self.random.choice(_ACCESS) | _O_CREAT
        for flag in _FREE_FLAGS:
            if self.random.random() < 0.5:
                chosen |= flag
        return f"{chosen:#x}"

    def path(self) -> str:
        return "/tmp/kdf-" + "".join(self.random.choices(_LETTERS, k=12))  # noqa: S108  (in the guest)

    def fd(self) -> str:
        return str(self.random.randrange(10, 60))

    def _fresh(self, used: set[int], values: range) -> int:
        while (value := self.random.choice(values)) in used:
            pass
        used.add(value)
        return value


def _getpid(draw: _Draw) -> dict[str, str]:
    return {"pid": draw.pid()}


def _open_close(draw: _Draw) -> dict[str, str]:
    return {"pid": draw.pid(), "path": draw.path(), "flags": draw.flags(), "mode": draw.mode(), "fd": draw.fd()}


def _fork(draw: _Draw) -> dict[str, str]:
    child = {"child_pid": draw.pid(), "child_path": draw.path(), "child_mode": draw.mode()}
    return {**_open_close(draw), **child}


def _overflow(draw: _Draw) -> dict[str, str]:
    return {
        "pid": draw.pid(),
        "loops": str(draw.random.randrange(150, 450)),
        "again": str(draw.random.randrange(2, 6)),
        # Five calls of getpid must fit. One takes 924 words if inlined functions report as well (kit-l3 on tiny).
        "small_words": str(PAGE_WORDS * draw.random.randrange(10, 24)),
    }


def _exec(draw: _Draw) -> dict[str, str]:
    return {"pid": draw.pid(), "program": f"/{PROGRAM_PATH}"}


def _call(language: str) -> Callable[[_Draw], dict[str, str]]:
    """Draw a number for a sample module, which calls its functions with multiples of it (kernel/samples)."""

    def drawn(draw: _Draw) -> dict[str, str]:
        file = f"/sys/kernel/debug/kcov_dataflow_{language}/call"
        return {"pid": draw.pid(), "file": file, "number": str(draw.random.getrandbits(63) | 1 << 62)}

    return drawn


# Rounds of each loop of agent/loops.c. A loop takes a few milliseconds of guest time, and records less than MAX_WORDS.
LOOPS = {"getpid": 2000, "open_close": 200, "read": 2000, "fstat": 2000, "lseek": 2000, "pipe": 200, "fork": 20}


def _loops(_draw: _Draw) -> dict[str, str]:
    return {name: str(rounds) for name, rounds in LOOPS.items()}


_WORKS: Mapping[str, Callable[[_Draw], dict[str, str]]] = {
    "getpid": _getpid,
    "open-close": _open_close,
    "fork": _fork,
    "overflow": _overflow,
    "call-c": _call("c"),
    "call-rust": _call("rust"),
    "exec": _exec,
    "loops": _loops,
    "loops-recording": _loops,
    "gates": lambda _draw: {},
}
NAMES = tuple(_WORKS)
# The workload of `tests`; a user cannot choose it.
TEST = "test"
# The workloads of an acceptance run; `exec` is not one of them, since it needs a program.
STANDARD = ("getpid", "open-close", "fork", "overflow")
# The additional workloads for kernels with the sample modules.
SAMPLES = ("call-c", "call-rust")


def draw(
    names: Sequence[str] = STANDARD,
    *,
    seed: str = "",
    words: int = DEFAULT_WORDS,
    modules: Sequence[str] = (),
    arguments: Sequence[str] = (),
    timeout: float = 60.0,
) -> Plan:
    """Draw a plan.

    Args:
        names: workloads in order; a name may come several times.
        seed: of an earlier plan, to repeat its draws; if empty, a new one.
        words: size of the buffers, word 0 included.
        modules: file names of kernel modules to load first.
        arguments: of the program of `exec`.
        timeout: seconds of guest time that one workload may take.

    Raises:
        UserError: a workload is not known, or the device does not accept the size of the buffers.
    """
    for name in names:
        if name not in _WORKS:
            raise UserError(f"there is no workload {name}{nearest(name, NAMES)}")
    if words % PAGE_WORDS or not 0 < words <= MAX_WORDS:
        raise UserError(
            f"a buffer cannot have {words} words",
            f"use a multiple of {PAGE_WORDS} up to {MAX_WORDS}, since mmap needs whole pages",
        )
    seed = seed or secrets.token_hex(8)
    drawing = _Draw(seed)
    token = f"{drawing.random.getrandbits(128):032x}"
    common = {"words": str(words), "timeout_ms": str(int(timeout * 1000))}
    works = tuple(
        Work(name, {**_WORKS[name](drawing), **common}, tuple(arguments) if name == "exec" else ()) for name in names
    )
    return Plan(seed, token, works, tuple(f"/{MODULES_PATH}/{module}" for module in modules))


@dataclass(frozen=True)
class Program:
    """A test: a program in the guest whose output and exit status are its result.

    Attributes:
        title: its name in results.
        path: its path in the guest.
        seconds: limit of its guest time.
    """

    title: str
    path: str
    arguments: tuple[str, ...] = ()
    seconds: float = 60.0


def tests(programs: Sequence[Program], *, modules: Sequence[str] = ()) -> Plan:
    """Make a plan that runs tests, each in the directory of its program and without recording.

    Args:
        modules: file names of kernel modules to load first.
    """
    seed = secrets.token_hex(8)
    drawing = _Draw(seed)
    token = f"{drawing.random.getrandbits(128):032x}"
    works = tuple(
        Work(
            TEST,
            {
                "title": program.title,
                "pid": drawing.pid(),
                "program": program.path,
                "cwd": str(PurePosixPath(program.path).parent),
                "timeout_ms": str(int(program.seconds * 1000)),
            },
            program.arguments,
        )
        for program in programs
    )
    return Plan(seed, token, works, tuple(f"/{MODULES_PATH}/{module}" for module in modules))


def _escape(value: str) -> str:
    """Write control characters and the percent sign as %XX, so that a value stays on one line.

    Raises:
        UserError: it contains a NUL, which an argument of a program cannot.
    """
    if "\0" in value:
        raise UserError(f"an argument cannot contain a NUL character: {value!r}")
    return "".join(f"%{ord(c):02x}" if c == "%" or ord(c) < ord(" ") else c for c in value)


def as_lines(plan: Plan) -> str:
    """Return the plan as lines for the agent; the lines of a workload follow its `workload=` line.

    Raises:
        UserError: the plan is larger than the agent's limits, or an argument contains a NUL.
    """
    lines = [f"version={VERSION}", f"token={plan.token}", *(f"module={_escape(m)}" for m in plan.modules)]
    for work in plan.works:
        lines.append(f"workload={work.name}")
        lines += [f"{key}={_escape(value)}" for key, value in work.values.items()]
        lines += [f"arg={_escape(argument)}" for argument in work.arguments]
        if len(work.arguments) > _MAX_ARGUMENTS:
            raise UserError(f"the agent has room for {_MAX_ARGUMENTS} arguments, not {len(work.arguments)}")
    text = "\n".join(lines) + "\n"
    if len(lines) > _MAX_LINES or len(text.encode()) >= _MAX_BYTES:
        raise UserError(f"the agent has room for a plan of {_MAX_BYTES} bytes and {_MAX_LINES} lines")
    return text


def as_json(plan: Plan) -> dict[str, Any]:
    """Return the plan as JSON values."""
    return {
        "version": VERSION,
        "seed": plan.seed,
        "token": plan.token,
        "modules": list(plan.modules),
        "works": [work_json(work) for work in plan.works],
    }


def work_json(work: Work) -> dict[str, Any]:
    """Return one workload as a JSON object: its name, its values as further keys, and the arguments of a program."""
    return {"workload": work.name, **work.values, **({"arguments": list(work.arguments)} if work.arguments else {})}


def from_json(value: Mapping[str, Any]) -> Plan:
    """Read a plan that `as_json` wrote.

    Raises:
        UserError: it is not a plan of this version.
    """
    try:
        if value["version"] != VERSION:
            raise UserError(f"the plan has version {value['version']}, but this kit reads {VERSION}")
        works = tuple(
            Work(
                work["workload"],
                {k: str(v) for k, v in work.items() if k not in ("workload", "arguments")},
                tuple(work.get("arguments", ())),
            )
            for work in value["works"]
        )
        return Plan(value["seed"], value["token"], works, tuple(value["modules"]))
    except (KeyError, TypeError, AttributeError) as error:
        raise UserError(f"this is not a plan: {error}") from error


def dump(plan: Plan) -> str:
    """Return the plan as the text of a JSON file."""
    return json.dumps(as_json(plan), indent=2) + "\n"
