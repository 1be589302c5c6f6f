"""Build the kernel of a result again, in another directory and without a cache, and compare the bytes.

Takes the folder of a run with its provenance. Gives for each file whether it is the same. Compiles every object in a
new build directory. If this machine would build another kernel (another compiler, another tree), it refuses before it
builds, and names what differs.
"""

from __future__ import annotations

import hashlib
import json
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from cells import provenance
from core import store
from core.arch import check_arch
from core.errors import InfraError, UnderTest, UserError
from core.runtime import Runtime
from kernel import built, kernels
from kernel.built import Kernel
from kernel.cell import Cell, CellNames, resolve
from kernel.workplace import open_workplace

FILE = "reproduced.json"
_SHOWN = 6


@dataclass(frozen=True)
class Recorded:
    """The parts of a statement that a reproduction needs.

    Attributes:
        file: the statement itself.
        runtime: `docker` or `host`.
        inputs: the inputs of the kernel (`Ready.inputs` in kernel.workplace).
        files: name -> sha256.
        revision: commit of the kit that made the statement; empty if it is not known.
    """

    file: Path
    cell: Cell
    runtime: str
    inputs: Mapping[str, Any]
    files: Mapping[str, str]
    revision: str


@dataclass(frozen=True)
class Compared:
    """One file, then and now.

    Attributes:
        then, now: sha256 of the first build and of this one; `now` is empty if this build does not have the file.
        sections: sections of an ELF file that differ; empty if the first file is not in this store.
    """

    name: str
    then: str
    now: str
    sections: tuple[str, ...] = ()

    @property
    def same(self) -> bool:
        return self.then == self.now


@dataclass(frozen=True)
class Reproduced:
    """The result of a reproduction.

    Attributes:
        directory: the build directory; it is removed afterwards.
        objects: number of objects that were compiled.
    """

    cell: CellNames
    compared: tuple[Compared, ...]
    directory: str
    objects: int
    cpu_seconds: float
    folder: Path

    def as_json(self) -> dict[str, Any]:
        """Return all of it as JSON values."""
        files = [{**asdict(file), "same": file.same} for file in self.compared]
        own = {"cell": asdict(self.cell), "files": files, "folder": str(self.folder)}
        return {**own, "directory": self.directory, "objects": self.objects, "cpu_seconds": self.cpu_seconds}

    def require(self) -> None:
        """Raise UnderTest if a file differs."""
        differ = [file for file in self.compared if not file.same]
        if differ:
            names = [f"{file.name} ({_listed(file.sections)})" if file.sections else file.name for file in differ]
            raise UnderTest(
                f"{len(differ)} of {len(self.compared)} files differ: {', '.join(names)}",
                "compare them: this build's files are in the run's folder, the first build's in the store",
                self.folder / FILE,
            )


def load(place: Path) -> Recorded:
    """Load the statement of a run.

    Args:
        place: folder of the run, or a file in it.

    Raises:
        UserError: there is no statement, it is not from this kit, or a name in its cell is unknown here.
    """
    folder = place if place.is_dir() else place.parent
    file = folder / provenance.STATEMENT
    try:
        statement = json.loads(file.read_bytes())
    except FileNotFoundError:
        raise UserError(
            f"{folder} has no {provenance.STATEMENT}", "give the folder of a run that built a kernel"
        ) from None
    except (OSError, ValueError, RecursionError) as error:
        raise UserError(f"{file}: cannot be read: {error}") from None
    try:
        build = statement["predicate"]["buildDefinition"]
        if statement["_type"] != provenance.STATEMENT_TYPE or build["buildType"] != provenance.BUILD_TYPE:
            raise UserError(f"{file}: it is not a statement about a kernel of this kit")
        inner, commits = build["internalParameters"], build["resolvedDependencies"][:1]
        files = {str(item["name"]): str(item["digest"]["sha256"]) for item in statement["subject"]}
        commit = next((str(item["digest"]["gitCommit"]) for item in commits if "gitCommit" in item["digest"]), "")
        cell = resolve(_cell(build["externalParameters"]["cell"]))
        recorded = Recorded(file, cell, str(inner["runtime"]), dict(inner["inputs"]), files, commit)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise UserError(f"{file}: a part of it is missing or has the wrong type: {error}") from None
    if recorded.runtime not in ("docker", "host") or not files:
        raise UserError(f"{file}: it names no known runtime, or no file")
    return recorded


def _cell(names: Mapping[str, Any]) -> CellNames:
    def word(axis: str) -> str:
        if not isinstance(names[axis], str):
            raise TypeError(f"cell.{axis}")
        return str(names[axis])

    def words(option: str) -> tuple[str, ...]:
        values = names[option]
        if not isinstance(values, list) or not all(isinstance(value, str) for value in values):
            raise TypeError(f"cell.{option}")
        return tuple(values)

    return CellNames(
        word("toolchain"),
        word("series"),
        word("profile"),
        word("base"),
        check_arch(word("arch")),
        word("linux"),
        words("instrument"),
        words("fragments"),
        words("sets"),
    )


def run(recorded: Recorded, folder: Path, *, install: bool = True) -> Reproduced:
    """Build the kernel of a statement again and compare.

    Args:
        folder: of this run; gets `reproduced.json` and the files that differ.
        install: whether missing packages may be installed.

    Raises:
        UserError: this machine would build another kernel; the error names what differs.
        UnderTest: the kernel does not compile this time.
        InfraError: the machine failed.
    """
    ready = kernels.prepare(recorded.cell, Runtime(recorded.runtime, install))
    if other := sorted(differences(recorded.inputs, ready.inputs)):
        at = f"; it was made at commit {recorded.revision[:12]}" if recorded.revision else ""
        raise UserError(
            f"this machine would build another kernel than {recorded.file}; what differs: {_listed(other)}{at}",
            "check that commit out, or get toolchain and image from the first machine (toolchain.export, store.push)",
        )
    builds = store.home() / "build"
    with store.disk_errors(builds):
        builds.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(dir=builds, prefix="reproduce-") as scratch:
        build_dir, out = Path(scratch) / "elsewhere" / "build", Path(scratch) / "out"
        out.mkdir()
        with open_workplace(ready, build_dir=build_dir) as work:
            work = replace(work, env={**work.env, "CCACHE_DISABLE": "1"})
            build = kernels.make(work, out)
        if build["ccache"]["hits"]:
            raise InfraError(
                "ccache gave objects although it was disabled", "this is a bug of ours: report it", work.log
            )
        first = built.by_key(store.key_of(recorded.inputs))
        compared = tuple(_compare(name, recorded.files, build["files"], out, first) for name in sorted(recorded.files))
        done = Reproduced(recorded.cell.names, compared, str(build_dir), build["objects"], build["cpu_seconds"], folder)
        for file in compared:
            if not file.same and file.now:
                target = folder / Path(file.name).name
                target.write_bytes((out / file.name).read_bytes())
    store.write_json(folder / FILE, done.as_json())
    return done


def _compare(name: str, then: Mapping[str, str], build: Mapping[str, Any], out: Path, first: Kernel | None) -> Compared:
    now = str(build[name]["sha256"]) if name in build else ""
    if now == then[name] or not now or first is None or not (first.path / name).is_file():
        return Compared(name, then[name], now)
    return Compared(name, then[name], now, tuple(sections(first.path / name, out / name)))


def differences(then: Any, now: Any, path: str = "") -> Iterator[str]:
    """Yield the paths at which two JSON values differ, such as `request.asked.FRAME_WARN`."""
    if isinstance(then, Mapping) and isinstance(now, Mapping):
        for key in sorted({*then, *now}):
            yield from differences(then.get(key), now.get(key), f"{path}.{key}" if path else str(key))
    elif json.dumps(then) != json.dumps(now):
        yield path


def sections(first: Path, second: Path) -> list[str]:
    """Return the names of the sections in which two ELF files differ; empty if a file is not ELF."""
    from elftools.common.exceptions import ELFError
    from elftools.elf.elffile import ELFFile

    def hashes(file: Path) -> dict[str, str]:
        with file.open("rb") as stream:
            elf = ELFFile(stream)
            return {part.name: hashlib.sha256(part.data()).hexdigest() for part in elf.iter_sections() if part.name}

    try:
        mine, theirs = hashes(first), hashes(second)
    except ELFError:
        return []
    return [name for name in {**mine, **theirs} if mine.get(name) != theirs.get(name)]


def _listed(names: Iterable[str]) -> str:
    words = list(names)
    more = f" and {len(words) - _SHOWN} more" if len(words) > _SHOWN else ""
    return ", ".join(words[:_SHOWN]) + more
