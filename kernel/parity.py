"""Check that the pass as a plugin and the pass built into the same compiler emit the same calls.

Takes a cell whose toolchain was compiled from source. Compiles every instrumented object of its kernel both ways, and
gives the differences in the callbacks that each function calls and in the tables that they get. Objects with the same
bytes are equal; objects with different bytes are compared as LLVM's text.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from core import step, store
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
_ALLOCATED, _EXECUTABLE = 2, 4  # SHF_ALLOC, SHF_EXECINSTR (ELF gABI)


@dataclass(frozen=True)
class Parity:
    """The result of a comparison.

    Attributes:
        files: number of objects that were compiled both ways.
        identical: number of objects whose code, data and relocations are the same bytes.
        functions: number of functions that call a callback.
        calls: number of calls of callbacks.
        differences: one sentence each.
    """

    files: int
    identical: int
    functions: int
    calls: int
    differences: tuple[str, ...]

    def as_json(self) -> dict[str, Any]:
        """Return all of it as JSON values."""
        return asdict(self)


@dataclass(frozen=True)
class Object:
    """The parts of an object file that are compared.

    Attributes:
        calls: function -> the callbacks that it calls, in the order of its code.
        loaded: name of a section that the kernel loads -> its bytes and relocations.
    """

    calls: Mapping[str, tuple[str, ...]]
    loaded: Mapping[str, object]


@dataclass(frozen=True)
class _Task:
    """One object and its compile command, without ccache and without the commands that follow the compiler."""

    target: str
    words: tuple[str, ...]


def check(cell: Cell, runtime: Runtime, folders: Sequence[str] = ()) -> Parity:
    """Compile the instrumented objects of a cell's kernel with the built-in pass and with the plugin, and compare.

    Args:
        folders: directories of the kernel; empty for all.

    Raises:
        UserError: the toolchain's compiler does not have the pass built in.
        UnderTest: something does not compile, or nothing was instrumented.
    """
    if cell.toolchain.kind != "patched":
        raise UserError(
            f"the toolchain {cell.toolchain.name} does not have the pass built in", "use --toolchain llvm-23"
        )
    ready = kernels.prepare(cell, runtime)
    with open_workplace(ready, [Mount(PASS_FOLDER, "/kdf/pass")]) as place:
        place.configure()
        compilation.compile_all(place)
        tasks = list(_tasks(place.build_dir, folders))
        if not tasks:
            raise UnderTest("no instrumented object was compiled", "use a profile that instruments, such as all")
        root = place.build_dir / "parity"
        store.remove_tree(root)
        wrapped = root / "plugin"
        wrapped.mkdir(parents=True)
        tools = place.session.path(ready.toolchain.product.path)
        plugin.build_beside(place.session, f"{tools}/bin", PASS_FOLDER, wrapped)
        compilers = {"built-in": f"{tools}/bin/clang", "plugin": f"{place.session.path(wrapped)}/bin/clang"}
        for name, compiler in compilers.items():
            _compile(place, root / name, name, compiler, tasks)
        parity, different = compare(root / "built-in", root / "plugin", [task.target for task in tasks])
        if odd := [task for task in tasks if task.target in different]:
            for name, compiler in compilers.items():
                _compile(place, root / f"{name}-text", f"{name}, as text", compiler, odd, "-S", "-emit-llvm")
        text = _compare_text(root, [task.target for task in odd])
        result = Parity(parity.files, parity.identical, parity.functions, parity.calls, (*parity.differences, *text))
        store.remove_tree(root)
    return result


def _tasks(build_dir: Path, folders: Sequence[str]) -> Iterator[_Task]:
    """Yield the compilations of instrumented C files from a build's `.cmd` files (scripts/Kbuild.include, savedcmd)."""
    for path in sorted(build_dir.rglob(".*.o.cmd")):
        match = _SAVED.match(path.read_text(errors="replace"))
        if not match or "dataflow-" not in match[2]:
            continue
        target = match[1]
        if folders and not target.startswith(tuple(f"{folder.rstrip('/')}/" for folder in folders)):
            continue
        words = shlex.split(match[2].partition(" ; ")[0])
        words = words[1:] if words[0] == "ccache" else words
        if "-c" in words and words[-1].endswith(".c") and Path(words[0]).name == "clang":
            yield _Task(target, tuple(words))


def _compile(place: Workplace, out: Path, name: str, compiler: str, tasks: Sequence[_Task], *instead: str) -> None:
    """Compile all tasks with one compiler; `instead` replaces -c.

    Raises:
        UnderTest: an object does not compile.
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
        # Progress counts the last line.
        script.write_text(f"{shlex.join(words)} || exit 1\necho done {shlex.quote(task.target)}\n")
        scripts.append(place.session.path(script))
    (out / "list").write_text("\n".join(scripts) + "\n")
    with Progress(f"compiling, {name}", len(tasks), "objects") as progress:

        def listen(line: str) -> None:
            if line.startswith("done "):
                progress.step(1, line[5:])

        done = place.session.run(
            ["xargs", "-a", place.session.path(out / "list"), "-n", "1", "-P", str(place.jobs), "sh"],
            cwd=place.build_dir,
            log=place.log,
            on_line=listen,
            timeout=3600,
        )
    step.require(done, f"compiling, {name},", place.log)


def read_object(path: Path) -> Object:
    """Read the callbacks that an object calls, and the sections that the kernel loads.

    Raises:
        UnderTest: it is not a 64-bit little-endian object.
    """
    from elftools.common.exceptions import ELFError
    from elftools.elf.elffile import ELFFile

    try:
        with path.open("rb") as stream:
            elf = ELFFile(stream)
            if elf.elfclass == 64 and elf.little_endian:
                return _read(elf)
    except ELFError:
        pass
    raise UnderTest(f"{path} is not a 64-bit little-endian ELF object")


def _read(elf: Any) -> Object:
    sections = list(elf.iter_sections())
    table = elf.get_section_by_name(".symtab")
    symbols = list(table.iter_symbols()) if table else []

    def name(number: int) -> str:
        symbol = symbols[number]
        own = isinstance(symbol["st_shndx"], int)  # other values are names, such as SHN_UNDEF
        return str(symbol.name or (sections[symbol["st_shndx"]].name if own else ""))

    moves: dict[int, list[tuple[int, int, str, int]]] = {}
    for section in sections:
        if section["sh_type"] == "SHT_RELA" and sections[section["sh_info"]]["sh_flags"] & _ALLOCATED:
            moves[section["sh_info"]] = sorted(
                (move["r_offset"], move["r_info_type"], name(move["r_info_sym"]), move["r_addend"])
                for move in section.iter_relocations()
            )
    calls: dict[str, list[str]] = {}
    loaded: dict[str, object] = {}
    for number, section in enumerate(sections):
        if not section["sh_flags"] & _ALLOCATED:
            continue
        data = b"" if section["sh_type"] == "SHT_NOBITS" else section.data()
        loaded[f"{number} {section.name}"] = (data, section["sh_size"], moves.get(number, []))
        if not section["sh_flags"] & _EXECUTABLE:
            continue
        functions = sorted(
            (symbol["st_value"], symbol.name)
            for symbol in symbols
            if symbol["st_info"]["type"] == "STT_FUNC" and symbol["st_shndx"] == number
        )
        for at, _kind, callback, _add in moves.get(number, []):
            if callback in CALLBACKS:
                inside = next((f for start, f in reversed(functions) if start <= at), section.name)
                calls.setdefault(inside, []).append(callback)
    return Object({function: tuple(row) for function, row in calls.items()}, loaded)


def compare(one: Path, other: Path, targets: Sequence[str]) -> tuple[Parity, set[str]]:
    """Compare two folders of objects.

    Returns:
        The result, and the objects whose bytes differ.
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
    """Return function -> calls in LLVM's text, with operands without value names and with the content of tables."""
    tables = dict(_TABLE.findall(ir))
    calls: dict[str, list[str]] = {}
    function = ""
    for line in ir.splitlines():
        if define := _DEFINE.match(line):
            function = define[1]
        elif call := _CALL.search(line):
            table = re.search(r"@__kcov_dataflow_fields[\w.]*", call[2])
            numbers = re.findall(r"\bi32 (?:noundef )?(-?\d+)", call[2])
            calls.setdefault(function, []).append(f"{call[1]} {numbers} {tables.get(table[0]) if table else None}")
    return calls


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
