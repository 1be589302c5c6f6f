"""Parity: the pass as a plugin and the pass built into the same compiler must emit the same calls.

What comes in is a cell whose toolchain was compiled from source; what goes out is a comparison of every instrumented
object of its kernel, compiled both ways: which callbacks each function calls, and the tables that they get.
Equal bytes are equal calls and equal tables; only where bytes differ does the comparison go through LLVM's text.
"""

from __future__ import annotations

import re
import shlex
import struct
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from core import process, store
from core.errors import UnderTest, UserError
from core.progress import Progress
from core.runtime import Mount, Runtime
from kernel import compilation, kernels
from kernel.cell import Cell
from kernel.workplace import Workplace, open_workplace
from toolchain import plugin
from toolchain.toolchains import PASS_FOLDER

CALLBACKS = ("__sanitizer_cov_trace_args", "__sanitizer_cov_trace_ret")
_SAVED = re.compile(r"^savedcmd_(\S+\.o) := (.*)$", re.MULTILINE)
_DEFINE = re.compile(r"^define .*?@([\w.$]+)\(")
_CALL = re.compile(r"call void @(__sanitizer_cov_trace_(?:args|ret))\((.*)\)")
_TABLE = re.compile(r"^(@__kcov_dataflow_fields[\w.]*) = .* constant \[\d+ x i64\] (\[.*\])", re.MULTILINE)
# ELF-64 (gABI): a section header, a symbol, a relocation with addend, little-endian.
_SECTION = struct.Struct("<IIQQQQIIQQ")
_SYMBOL = struct.Struct("<IBBHQQ")
_RELA = struct.Struct("<QQq")
_RELA_TYPE, _ALLOCATED, _EXECUTABLE, _NO_BITS, _FUNCTION = 4, 2, 4, 8, 2


@dataclass(frozen=True)
class Parity:
    """What came out.

    Attributes:
        files: objects that were compiled both ways.
        identical: those whose code, data and relocations are the same bytes.
        functions: with at least one call of a callback.
        calls: of the callbacks, all of them.
        differences: one sentence each.
    """

    files: int
    identical: int
    functions: int
    calls: int
    differences: tuple[str, ...]

    def as_json(self) -> dict[str, Any]:
        """All of it as JSON values."""
        return asdict(self)


@dataclass(frozen=True)
class Object:
    """What counts of an object file.

    Attributes:
        calls: function -> the callbacks that it calls, in the order of its code.
        loaded: name of a section that the kernel loads -> its bytes and relocations.
    """

    calls: Mapping[str, tuple[str, ...]]
    loaded: Mapping[str, object]


@dataclass(frozen=True)
class _Task:
    """One object, and the command that made it, without compiler cache and what follows the compiler."""

    target: str
    words: tuple[str, ...]


def check(cell: Cell, runtime: Runtime, folders: Sequence[str] = ()) -> Parity:
    """Compile the instrumented objects of a cell's kernel with the pass built in and with the plugin, and compare.

    Args:
        folders: directories of the kernel; all by default.

    Raises:
        UserError: the toolchain has no pass built in.
        UnderTest: something does not compile, or nothing was instrumented.
    """
    if cell.toolchain.kind != "patched":
        raise UserError(f"the toolchain {cell.toolchain.name} has no pass built in", "say --toolchain llvm-23")
    ready = kernels.prepare(cell, runtime)
    with open_workplace(ready, [Mount(PASS_FOLDER, "/kdf/pass")]) as place:
        place.configure()
        compilation.compile_all(place)
        tasks = list(_tasks(place.build_dir, folders))
        if not tasks:
            raise UnderTest("no instrumented object was compiled", "take a profile that instruments, such as all")
        root = place.build_dir / "parity"
        store.remove_tree(root)
        beside = root / "plugin"
        beside.mkdir(parents=True)
        tools = place.session.path(ready.toolchain.product.path)
        plugin.build_beside(place.session, f"{tools}/bin", PASS_FOLDER, beside)
        compilers = {"built-in": f"{tools}/bin/clang", "plugin": f"{place.session.path(beside)}/bin/clang"}
        for name, compiler in compilers.items():
            _compile(place, root / name, name, compiler, tasks)
        found = compare(root / "built-in", root / "plugin", [task.target for task in tasks])
        if odd := [task for task in tasks if task.target in found[1]]:
            for name, compiler in compilers.items():
                _compile(place, root / f"{name}-text", f"{name}, as text", compiler, odd, "-S", "-emit-llvm")
        text = _compare_text(root, [task.target for task in odd])
        parity = found[0]
        result = Parity(parity.files, parity.identical, parity.functions, parity.calls, (*parity.differences, *text))
        store.remove_tree(root)
    return result


def _tasks(build_dir: Path, folders: Sequence[str]) -> Iterator[_Task]:
    """The compilations of instrumented C files that a kernel build left behind (scripts/Kbuild.include, savedcmd)."""
    for path in sorted(build_dir.rglob(".*.o.cmd")):
        found = _SAVED.match(path.read_text(errors="replace"))
        if not found or "dataflow-" not in found[2]:
            continue
        target = found[1]
        if folders and not target.startswith(tuple(f"{folder.rstrip('/')}/" for folder in folders)):
            continue
        words = shlex.split(found[2].partition(" ; ")[0])
        words = words[1:] if words[0] == "ccache" else words
        if "-c" in words and words[-1].endswith(".c") and Path(words[0]).name == "clang":
            yield _Task(target, tuple(words))


def _compile(place: Workplace, out: Path, name: str, compiler: str, tasks: Sequence[_Task], *instead: str) -> None:
    """Compile all tasks with one compiler; `instead` replaces -c.

    Raises:
        UnderTest: one does not compile.
    """
    scripts: list[str] = []
    for number, task in enumerate(tasks):
        to = out / task.target
        to.parent.mkdir(parents=True, exist_ok=True)
        words = [compiler]
        rest = iter(task.words[1:])
        for word in rest:
            if word == "-o":
                next(rest)
                words += ["-o", place.session.path(to)]
            elif word == "-c" and instead:
                words += instead
            elif not word.startswith("-Wp,-MMD,"):
                words.append(word)
        script = out / f"{number}.sh"
        # The last line is what progress counts.
        script.write_text(f"{shlex.join(words)} || exit 1\necho done {shlex.quote(task.target)}\n")
        scripts.append(place.session.path(script))
    (out / "list").write_text("\n".join(scripts) + "\n")
    errors: list[str] = []
    with Progress(f"compiling, {name}", len(tasks), "objects") as progress:

        def listen(line: str) -> None:
            if line.startswith("done "):
                progress.step(1, line[5:])
            elif "error: " in line:
                errors.append(line)

        done = place.session.run(
            ["xargs", "-a", place.session.path(out / "list"), "-n", "1", "-P", str(place.jobs), "sh"],
            cwd=place.build_dir,
            log=place.log,
            on_line=listen,
            timeout=3600,
        )
    process.require(done, f"compiling, {name},", place.log, errors)


def read_object(path: Path) -> Object:
    """The callbacks that an object calls, and what the kernel loads of it.

    Raises:
        UnderTest: it is no relocatable 64-bit object.
    """
    data = path.read_bytes()
    if data[:6] != b"\x7fELF\x02\x01":
        raise UnderTest(f"{path} is no 64-bit little-endian ELF object")
    offset, size, count, index = (*struct.unpack_from("<Q", data, 40), *struct.unpack_from("<HHH", data, 58))
    headers = [_SECTION.unpack_from(data, offset + size * number) for number in range(count)]
    content = [data[h[4] : h[4] + h[5]] if h[1] != _NO_BITS else b"" for h in headers]
    labels = [_text(content[index], h[0]) for h in headers]
    table = next((number for number, h in enumerate(headers) if h[1] == 2), None)
    symbols = list(_SYMBOL.iter_unpack(content[table])) if table is not None else []
    strings = content[headers[table][6]] if table is not None else b""

    def name(number: int) -> str:
        own = symbols[number]
        return _text(strings, own[0]) or (labels[own[3]] if own[3] < count else "")

    calls: dict[str, list[str]] = {}
    loaded: dict[str, object] = {}
    moves: dict[int, list[tuple[int, int, str, int]]] = {}
    for number, header in enumerate(headers):
        if header[1] == _RELA_TYPE and headers[header[7]][2] & _ALLOCATED:
            rows = [
                (at, info & 0xFFFFFFFF, name(info >> 32), add) for at, info, add in _RELA.iter_unpack(content[number])
            ]
            moves[header[7]] = sorted(rows)
    for number, header in enumerate(headers):
        if not header[2] & _ALLOCATED:
            continue
        loaded[f"{number} {labels[number]}"] = (content[number], header[5], moves.get(number, []))
        if not header[2] & _EXECUTABLE:
            continue
        functions = sorted((s[4], _text(strings, s[0])) for s in symbols if s[1] & 15 == _FUNCTION and s[3] == number)
        for at, _kind, callback, _add in moves.get(number, []):
            if callback in CALLBACKS:
                inside = next((f for start, f in reversed(functions) if start <= at), labels[number])
                calls.setdefault(inside, []).append(callback)
    return Object({function: tuple(row) for function, row in calls.items()}, loaded)


def _text(strings: bytes, start: int) -> str:
    return strings[start : strings.index(b"\0", start)].decode()


def compare(one: Path, other: Path, targets: Sequence[str]) -> tuple[Parity, set[str]]:
    """Compare two sets of objects.

    Returns:
        What came out, and the objects that have other bytes.
    """
    identical = functions = calls = 0
    differences: list[str] = []
    odd: set[str] = set()
    with Progress("comparing", len(targets), "objects") as progress:
        for target in targets:
            left, right = read_object(one / target), read_object(other / target)
            functions += len(left.calls)
            calls += sum(map(len, left.calls.values()))
            if left.loaded == right.loaded:
                identical += 1
            else:
                odd.add(target)
            for function in sorted(left.calls.keys() | right.calls.keys()):
                a, b = left.calls.get(function, ()), right.calls.get(function, ())
                if a != b:
                    differences.append(f"{target}: {function} has {len(a)} calls built in and {len(b)} with the plugin")
            progress.step(1, target)
    return Parity(len(targets), identical, functions, calls, tuple(differences)), odd


def read_text(ir: str) -> dict[str, list[str]]:
    """The calls in LLVM's text, by function: operands without the names of values, tables by their content."""
    tables = dict(_TABLE.findall(ir))
    found: dict[str, list[str]] = {}
    function = ""
    for line in ir.splitlines():
        if define := _DEFINE.match(line):
            function = define[1]
        elif call := _CALL.search(line):
            table = re.search(r"@__kcov_dataflow_fields[\w.]*", call[2])
            numbers = re.findall(r"\bi32 (?:noundef )?(-?\d+)", call[2])
            found.setdefault(function, []).append(f"{call[1]} {numbers} {tables.get(table[0]) if table else None}")
    return found


def _compare_text(root: Path, targets: Sequence[str]) -> list[str]:
    differences: list[str] = []
    for target in targets:
        left, right = (read_text((root / f"{name}-text" / target).read_text()) for name in ("built-in", "plugin"))
        differences += [
            f"{target}: {function} passes other sizes or tables"
            for function in sorted(left.keys() | right.keys())
            if left.get(function) != right.get(function)
        ]
    return differences
