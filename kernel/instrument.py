"""Check that every word of `--instrument` names something that was instrumented.

Takes the words and, after the build, the build directory. Raises if a word is malformed or did not add a callback to
any object. This looks at the objects, because make does not report a word that matches nothing.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from core.errors import UserError

CALLBACK = "__sanitizer_cov_trace_"
_OURS = (f"{CALLBACK}args", f"{CALLBACK}ret")


def check_words(words: Sequence[str]) -> None:
    """Refuse words that name neither an object nor a directory of the tree.

    Raises:
        UserError: a word is not a relative path that ends in `.o` or `/`.
    """
    for word in words:
        if (
            word.startswith(("/", "."))
            or ".." in word
            or not word.endswith((".o", "/"))
            or any(c in word for c in " $%'\"")
        ):
            raise UserError(
                f"--instrument {word} is neither an object nor a directory of the tree",
                "name objects as fs/open.o and directories as net/",
            )


def _objects(build_dir: Path, word: str) -> Iterator[Path]:
    if word.endswith("/"):
        yield from (build_dir / word).rglob("*.o")
    elif (build_dir / word).is_file():
        yield build_dir / word


def calls_back(path: Path) -> bool:
    """Return whether an object refers to a callback."""
    from elftools.common.exceptions import ELFError
    from elftools.elf.elffile import ELFFile
    from elftools.elf.sections import SymbolTableSection

    try:
        with path.open("rb") as source:
            table = ELFFile(source).get_section_by_name(".symtab")
            return isinstance(table, SymbolTableSection) and any(table.get_symbol_by_name(name) for name in _OURS)
    except ELFError:
        return False  # LLVM bitcode and empty archives are not ELF files


def require(build_dir: Path, words: Sequence[str], log: Path) -> None:
    """Refuse words that did not add a callback to any object.

    Raises:
        UserError: a word names nothing that was compiled, or nothing that can be instrumented.
    """
    for word in words:
        objects = list(_objects(build_dir, word))
        if not objects:
            raise UserError(
                f"--instrument {word}: this configuration does not compile such an object",
                "look at the build log for its name",
                log,
            )
        if not any(calls_back(path) for path in objects):
            raise UserError(
                f"--instrument {word}: it has no callback, because the tree excludes it (KCOV_INSTRUMENT := n)",
                "name another object",
                log,
            )
