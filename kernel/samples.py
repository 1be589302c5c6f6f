"""Build the sample modules: Rust and C functions that are called with known arguments.

Takes a kernel with Rust that has just been compiled. Gives `modules/*.ko`; `kernel.run` loads and calls them, and
`dataflow.samples` compares the records. They are external modules of the kit, so they do not change any series.
"""

from __future__ import annotations

import hashlib
import shutil
from pathlib import Path

from core import step, store
from kconfig.profiles import Request
from kernel.workplace import Workplace

FOLDER = Path(__file__).parent / "samples"
NAMES = ("kcov_dataflow_c", "kcov_dataflow_rust")
# Increase this when the same sources give other modules. 2: fixed objects that contained another module's directory.
_MAKER = b"2\n"
# The samples need Rust, instrumentation of every object, and records of both kinds.
_ASKED = ("RUST", "KCOV_DATAFLOW_ARGS", "KCOV_DATAFLOW_RET", "KCOV_DATAFLOW_INSTRUMENT_ALL")


def wanted(request: Request) -> bool:
    """Return whether a kernel of this request gets them: it must ask for Rust and for dataflow in every object."""
    values = {asked.symbol: asked.value for asked in request.asked}
    return all(values.get(symbol) == "y" for symbol in _ASKED)


def identity() -> str:
    """Return a sha256 of the version of this recipe and of the names and bytes of their sources."""
    digest = hashlib.sha256(_MAKER)
    for path in sorted(FOLDER.iterdir()):
        digest.update(f"{path.name}\0{store.hash_file(path)}\n".encode())
    return digest.hexdigest()


def build(place: Workplace) -> list[Path]:
    """Compile the sample modules for the kernel of a workplace.

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
    for words, env in place.module_steps(folder):
        done = place.session.run(words, env=env, log=place.log)
        step.require(done, "compiling the sample modules", place.log)
    return [folder / f"{name}.ko" for name in NAMES]
