"""Reproduce: make the kernel of a result once more, elsewhere and without a cache, and compare the bytes.

What comes in is a result's folder with its provenance; what goes out says of each file whether it is the same. Neither
the store's kernel nor ccache decides: the build directory is new, and every object is compiled. A machine that would
make something else from the start (another compiler, another tree) is refused by name before anything is built.
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
    """What a statement says of a kernel.

    Attributes:
        inputs: what decided it (kernel.Ready).
        files: name -> sha256.
        revision: of the kit that made the statement; empty if it is not known.
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
        sections: of an ELF file, those that differ; empty if that is not known, since the first one is not here.
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
    """What came of it.

    Attributes:
        directory: in which it was built; it is gone.
        objects: how many were compiled.
    """

    cell: CellNames
    compared: tuple[Compared, ...]
    directory: str
    objects: int
    cpu_seconds: float
    folder: Path

    def as_json(self) -> dict[str, Any]:
        """As JSON values."""
        files = [{**asdict(one), "same": one.same} for one in self.compared]
        own = {"cell": asdict(self.cell), "files": files, "folder": str(self.folder)}
        return {**own, "directory": self.directory, "objects": self.objects, "cpu_seconds": self.cpu_seconds}

    def require(self) -> None:
        """Raises UnderTest if a file differs."""
        differ = [one for one in self.compared if not one.same]
        if differ:
            told = [f"{one.name} ({_listed(one.sections)})" if one.sections else one.name for one in differ]
            raise UnderTest(
                f"{len(differ)} of {len(self.compared)} files differ: {', '.join(told)}",
                "both are kept for a look",
                self.folder / FILE,
            )


def load(place: Path) -> Recorded:
    """The statement beside a result.

    Args:
        place: a run's folder, or a file in it.

    Raises:
        UserError: there is none, it is not one of ours, or a name of its cell is not known here.
    """
    folder = place if place.is_dir() else place.parent
    file = folder / provenance.STATEMENT
    try:
        told = json.loads(file.read_bytes())
    except FileNotFoundError:
        raise UserError(
            f"{folder} has no {provenance.STATEMENT}", "name the folder of a run that built a kernel"
        ) from None
    except (OSError, ValueError, RecursionError) as error:
        raise UserError(f"{file}: cannot be read: {error}") from None
    try:
        build = told["predicate"]["buildDefinition"]
        if told["_type"] != provenance.STATEMENT_TYPE or build["buildType"] != provenance.BUILD_TYPE:
            raise UserError(f"{file}: it is no statement of a kernel of this kit")
        inner, commits = build["internalParameters"], build["resolvedDependencies"][:1]
        files = {str(one["name"]): str(one["digest"]["sha256"]) for one in told["subject"]}
        commit = next((str(one["digest"]["gitCommit"]) for one in commits if "gitCommit" in one["digest"]), "")
        cell = resolve(_cell(build["externalParameters"]["cell"]))
        recorded = Recorded(file, cell, str(inner["runtime"]), dict(inner["inputs"]), files, commit)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise UserError(f"{file}: a part of it is missing or of another kind: {error}") from None
    if recorded.runtime not in ("docker", "host") or not files:
        raise UserError(f"{file}: it names no runtime that there is, or no file")
    return recorded


def _cell(told: Mapping[str, Any]) -> CellNames:
    def word(axis: str) -> str:
        if not isinstance(told[axis], str):
            raise TypeError(f"cell.{axis}")
        return str(told[axis])

    def words(option: str) -> tuple[str, ...]:
        found = told[option]
        if not isinstance(found, list) or not all(isinstance(one, str) for one in found):
            raise TypeError(f"cell.{option}")
        return tuple(found)

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
    """Make the kernel of a statement once more and compare.

    Args:
        folder: of this run; gets `reproduced.json`, and what differs.

    Raises:
        UserError: this machine would make another kernel, with what differs.
        UnderTest: it does not compile, though it did.
        InfraError: the machine failed.
    """
    ready = kernels.prepare(recorded.cell, Runtime(recorded.runtime, install))
    if other := sorted(differences(recorded.inputs, ready.inputs)):
        at = f"; it was made at commit {recorded.revision[:12]}" if recorded.revision else ""
        raise UserError(
            f"what is here would make another kernel than {recorded.file}: {_listed(other)}{at}",
            "check that commit out, or take toolchain and image from where it was made (toolchain.export, store.push)",
        )
    builds = store.home() / "build"
    with store.disk_errors(builds):
        builds.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(dir=builds, prefix="reproduce-") as scratch:
        build_dir, out = Path(scratch) / "elsewhere" / "build", Path(scratch) / "out"
        out.mkdir()
        with open_workplace(ready, build_dir=build_dir) as place:
            place = replace(place, env={**place.env, "CCACHE_DISABLE": "1"})
            made = kernels.make(place, out)
        if made["ccache"]["hits"]:
            raise InfraError(
                "ccache gave objects though it was told not to", "this is a bug of ours: report it", place.log
            )
        first = built.by_key(store.key_of(recorded.inputs))
        compared = tuple(_compare(name, recorded.files, made["files"], out, first) for name in sorted(recorded.files))
        done = Reproduced(recorded.cell.names, compared, str(build_dir), made["objects"], made["cpu_seconds"], folder)
        for one in compared:
            if not one.same and one.now:
                target = folder / Path(one.name).name
                target.write_bytes((out / one.name).read_bytes())
    store.write_json(folder / FILE, done.as_json())
    return done


def _compare(name: str, then: Mapping[str, str], made: Mapping[str, Any], out: Path, first: Kernel | None) -> Compared:
    now = str(made[name]["sha256"]) if name in made else ""
    if now == then[name] or not now or first is None or not (first.path / name).is_file():
        return Compared(name, then[name], now)
    return Compared(name, then[name], now, tuple(sections(first.path / name, out / name)))


def differences(then: Any, now: Any, path: str = "") -> Iterator[str]:
    """Places in which two JSON values differ, such as `request.asked.FRAME_WARN`."""
    if isinstance(then, Mapping) and isinstance(now, Mapping):
        for key in sorted({*then, *now}):
            yield from differences(then.get(key), now.get(key), f"{path}.{key}" if path else str(key))
    elif json.dumps(then) != json.dumps(now):
        yield path


def sections(first: Path, second: Path) -> list[str]:
    """Names of the sections in which two ELF files differ; empty if one is not ELF."""
    from elftools.common.exceptions import ELFError
    from elftools.elf.elffile import ELFFile

    def hashes(file: Path) -> dict[str, str]:
        with file.open("rb") as stream:
            elf = ELFFile(stream)
            return {one.name: hashlib.sha256(one.data()).hexdigest() for one in elf.iter_sections() if one.name}

    try:
        mine, theirs = hashes(first), hashes(second)
    except ELFError:
        return []
    return [name for name in {**mine, **theirs} if mine.get(name) != theirs.get(name)]


def _listed(found: Iterable[str]) -> str:
    words = list(found)
    more = f" and {len(words) - _SHOWN} more" if len(words) > _SHOWN else ""
    return ", ".join(words[:_SHOWN]) + more
