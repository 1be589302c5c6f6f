"""Sample modules: functions with known arguments in Rust and in C, built beside a kernel that has Rust.

What comes in is a kernel that has just been compiled; what goes out are `modules/*.ko`, which `kernel.run` loads, calls
and compares (`dataflow.samples`). They are external modules of the kit, not of the tree: no series changes for them.
"""

from __future__ import annotations

import hashlib
import shutil
from pathlib import Path

from core import process, store
from kconfig.profiles import Request
from kernel.workplace import Workplace

FOLDER = Path(__file__).parent / "samples"
NAMES = ("kcov_dataflow_c", "kcov_dataflow_rust")
# Another one when the same sources become other modules. 2: no object of another module's directory.
_MAKER = b"2\n"
# What makes them meaningful: a language, modules, and records of both kinds.
_ASKED = ("RUST", "KCOV_DATAFLOW_ARGS", "KCOV_DATAFLOW_RET", "KCOV_DATAFLOW_INSTRUMENT_ALL")


def wanted(request: Request) -> bool:
    """Whether a kernel of this request gets them: it asks for Rust, and for dataflow in every object."""
    asked = {one.symbol: one.value for one in request.asked}
    return all(asked.get(symbol) == "y" for symbol in _ASKED)


def identity() -> str:
    """sha256 over how they are made, and the names and bytes of their sources."""
    digest = hashlib.sha256(_MAKER)
    for path in sorted(FOLDER.iterdir()):
        digest.update(f"{path.name}\0{store.hash_file(path)}\n".encode())
    return digest.hexdigest()


def build(place: Workplace) -> list[Path]:
    """Compile them against the kernel of a workplace.

    Returns:
        The modules.

    Raises:
        UnderTest: they do not compile.
        InfraError: make was killed, or the disk is full.
    """
    folder = place.build_dir / "samples"
    folder.mkdir(exist_ok=True)
    for path in sorted(FOLDER.iterdir()):
        target = folder / path.name
        if not target.is_file() or target.read_bytes() != path.read_bytes():
            shutil.copyfile(path, target)
    errors: list[str] = []

    def listen(line: str) -> None:
        if line.startswith(("error", "ERROR")) or ": error: " in line:
            errors.append(line)

    for words, env in place.module_steps(folder):
        done = place.session.run(words, env=env, log=place.log, on_line=listen)
        process.require(done, "compiling the sample modules", place.log, errors)
    return [folder / f"{name}.ko" for name in NAMES]
